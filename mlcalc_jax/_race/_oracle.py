"""What an optimiser asks of a cost, counted while it runs.

Every call of the cost, or of the model inside it, goes through a primitive that changes nothing and
has derivatives of its own kind: the tangent of a value is a tangent, the transpose of a tangent a
cotangent, and a batch of them as many as it holds. So whatever an optimiser makes of the cost, a
gradient, a Jacobian, a Hessian, a line search of unknown length, is a number of these three passes,
and they are counted where they are computed, in loops and branches too.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Primitive, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Int

from .._problem import LeastSquares
from .._types import Cost, Params

#: What one pass of each kind costs, in evaluations of the model: a value, a tangent, a cotangent.
#: With these a gradient is 3, and a Jacobian of p parameters by forward mode 1 + p.
WEIGHTS = (1, 1, 2)
_VALUE, _TANGENT, _COTANGENT = range(3)


def counted_update(
    optimiser: Any, gradient: Params, state: Any, params: Params, value: Any, cost: Cost
) -> tuple[Params, Any, Int[Array, "3"]]:
    """An optimiser's update and new state, and the passes it took: values, tangents, cotangents.

    The gradient that it is given counts where the update uses it, and so does the value.
    """
    marked = marked_cost(cost)
    update = optax.with_extra_args_support(optimiser).update

    def ask(gradient: Params, grad: Params, value: Any, state: Any, params: Params) -> Any:
        return update(gradient, state, params, value=value, grad=grad, value_fn=marked)

    arguments = (gradient, gradient, value, state, params)
    jaxpr, shape = jax.make_jaxpr(ask, return_shape=True)(*arguments)
    flat, passes = _run(jaxpr.jaxpr, jaxpr.consts, jax.tree.leaves(arguments))
    is_used = _used(jaxpr.jaxpr)
    gradients = 2 * len(jax.tree.leaves(gradient))
    if any(is_used[:gradients]):
        passes = passes + jnp.array([1, 0, 1], jnp.int32)
    elif is_used[gradients]:
        passes = passes + jnp.array([1, 0, 0], jnp.int32)
    updates, state = jax.tree.unflatten(jax.tree.structure(shape), flat)
    return updates, state, passes


def marked_cost(cost: Cost) -> Cost:
    """The same cost, of which every evaluation, tangent and cotangent is counted."""
    if isinstance(cost, LeastSquares):
        model = cost.model
        return cost.replace(model=lambda params, x: model(_marked(params), x))
    return lambda params: cost(_marked(params))


def _marked(params: Params) -> Params:
    flat, unravel = ravel_pytree(params)
    return unravel(_pass.bind(flat, kind=_VALUE, copies=1))


_pass = Primitive("oracle_pass")
_pass.def_impl(lambda x, **_: x)
_pass.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(_pass, lambda context, x, **_: [x])


def _jvp(primals: Any, tangents: Any, *, kind: int, copies: int) -> tuple[Any, Any]:
    of_tangent = _TANGENT if kind == _VALUE else kind
    tangent = ad.instantiate_zeros(tangents[0])
    return (
        _pass.bind(primals[0], kind=kind, copies=copies),
        _pass.bind(tangent, kind=of_tangent, copies=copies),
    )


def _transpose(cotangent: Any, x: Any, *, kind: int, copies: int) -> list[Any]:
    other = _COTANGENT if kind == _TANGENT else _TANGENT
    return [_pass.bind(ad.instantiate_zeros(cotangent), kind=other, copies=copies)]


def _batch(args: Any, dims: Any, *, kind: int, copies: int) -> tuple[Any, Any]:
    batch = args[0].shape[dims[0]]
    return _pass.bind(args[0], kind=kind, copies=copies * batch), dims[0]


ad.primitive_jvps[_pass] = _jvp
ad.primitive_transposes[_pass] = _transpose
batching.primitive_batchers[_pass] = _batch


def _run(
    jaxpr: Jaxpr, consts: Sequence[Any], inputs: Sequence[Any]
) -> tuple[list[Any], Int[Array, "3"]]:
    """The results of a jaxpr, and the passes it took."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def value_of(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    total = jnp.zeros(3, jnp.int32)
    for eqn in jaxpr.eqns:
        given = [value_of(atom) for atom in eqn.invars]
        if eqn.primitive is _pass:
            results, passes = given, jnp.zeros(3, jnp.int32)
            passes = passes.at[eqn.params["kind"]].set(eqn.params["copies"])
            total = total + passes
        elif any(_holds_pass(inner) for inner in _inner(eqn)):
            results, passes = _run_nested(eqn, given)
            total = total + passes
        else:
            results = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
            results = results if eqn.primitive.multiple_results else [results]
        known |= dict(zip(eqn.outvars, results, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars], total


def _run_nested(eqn: Any, given: list[Any]) -> tuple[list[Any], Int[Array, "3"]]:
    """An equation with passes inside it: a loop carries their number along, a branch returns it."""
    name, params = eqn.primitive.name, eqn.params
    nothing = jnp.zeros(3, jnp.int32)
    if name == "while":
        test, body = params["cond_jaxpr"], params["body_jaxpr"]
        if _holds_pass(test.jaxpr):
            raise TypeError("the cost cannot be counted in the condition of a while loop")
        of_test, of_body = params["cond_nconsts"], params["body_nconsts"]
        consts = given[of_test : of_test + of_body]

        def turn(carry: tuple[list[Any], Any]) -> tuple[list[Any], Any]:
            results, passes = _run(body.jaxpr, body.consts, [*consts, *carry[0]])
            return results, carry[1] + passes

        return lax.while_loop(
            lambda carry: jaxpr_as_fun(test)(*given[:of_test], *carry[0])[0],
            turn,
            (given[of_test + of_body :], nothing),
        )
    if name == "scan":
        fixed, moving = _parts_of_scan(params, given)
        inner = params["jaxpr"]

        def step(carry: tuple[list[Any], Any], row: list[Any]) -> Any:
            given_now = [*given[:fixed], *carry[0], *row]
            results, passes = _run(inner.jaxpr, inner.consts, given_now)
            return (results[:moving], carry[1] + passes), results[moving:]

        (last, passes), rows = lax.scan(
            step,
            (given[fixed : fixed + moving], nothing),
            given[fixed + moving :],
            length=params["length"],
            reverse=params["reverse"],
        )
        return [*last, *rows], passes
    if name == "cond":

        def of(branch: ClosedJaxpr) -> Callable[..., Any]:
            return lambda *inputs: _run(branch.jaxpr, branch.consts, inputs)

        return lax.switch(given[0], [of(branch) for branch in params["branches"]], *given[1:])
    if name in ("custom_jvp_call", "custom_vjp_call"):
        inner = params["call_jaxpr"]
        return _run(inner.jaxpr, inner.consts, given)
    if "jaxpr" in params:  # jit, remat and their kin
        inner = params["jaxpr"]
        closed = isinstance(inner, ClosedJaxpr)
        return _run(inner.jaxpr if closed else inner, inner.consts if closed else (), given)
    raise TypeError(f"the cost cannot be counted inside {name}")


def _parts_of_scan(params: Any, given: list[Any]) -> tuple[int, int]:
    """How many inputs of a scan are the same in every step, and how many are carried along."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].update(given).unpack()  # since JAX 0.12
    return len(list(consts)), len(list(carry))


def _inner(eqn: Any) -> Iterator[Jaxpr]:
    """The jaxprs that an equation runs."""
    for value in eqn.params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, Jaxpr):
                yield one


def _holds_pass(jaxpr: Jaxpr) -> bool:
    return any(
        eqn.primitive is _pass or any(_holds_pass(inner) for inner in _inner(eqn))
        for eqn in jaxpr.eqns
    )


def _used(jaxpr: Jaxpr) -> list[bool]:
    """Which inputs some result is computed from."""
    live = {atom for atom in jaxpr.outvars if not isinstance(atom, Literal)}
    for eqn in reversed(jaxpr.eqns):
        if live.intersection(eqn.outvars):
            inner = eqn.params.get("jaxpr") if eqn.primitive.name in ("jit", "pjit") else None
            used = [True] * len(eqn.invars) if inner is None else _used(inner.jaxpr)
            atoms = [atom for atom, is_used in zip(eqn.invars, used, strict=True) if is_used]
            live |= {atom for atom in atoms if not isinstance(atom, Literal)}
    return [variable in live for variable in jaxpr.invars]
