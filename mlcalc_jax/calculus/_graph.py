"""A function as the graph of its elementary steps, with the local derivative on every edge."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._primitives import CALLS, OWN_DERIVATIVE, called
from ._derivatives import names_of, point
from ._taylor_arithmetic import jaxpr_of

_MOST_NODES = 200
_SILENT = {"convert_element_type", "copy", "copy_p"}
#: primitive: its sign between or before operands; its rule for each operand u, v, with result w.
_SIGNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "add": ("+", ("1", "1")),
    "add_any": ("+", ("1", "1")),
    "sub": ("-", ("1", "-1")),
    "mul": ("*", ("v", "u")),
    "div": ("/", ("1/v", "-u/v^2")),
    "pow": ("**", ("v u^(v-1)", "w log u")),
    "neg": ("-", ("-1",)),
    "exp": ("exp", ("w",)),
    "exp2": ("exp2", ("w log 2",)),
    "log": ("log", ("1/u",)),
    "log1p": ("log1p", ("1/(1+u)",)),
    "expm1": ("expm1", ("w+1",)),
    "sin": ("sin", ("cos u",)),
    "cos": ("cos", ("-sin u",)),
    "tan": ("tan", ("1+w^2",)),
    "tanh": ("tanh", ("1-w^2",)),
    "sinh": ("sinh", ("cosh u",)),
    "cosh": ("cosh", ("sinh u",)),
    "sqrt": ("sqrt", ("1/(2w)",)),
    "rsqrt": ("1/sqrt", ("-w/(2u)",)),
    "square": ("square", ("2u",)),
    "logistic": ("sigmoid", ("w(1-w)",)),
    "atan": ("atan", ("1/(1+u^2)",)),
    "erf": ("erf", ("2exp(-u^2)/sqrt(pi)",)),
}


class Node(NamedTuple):
    """One number on the way from the inputs to the result."""

    name: str  #: of an input, its key; else v1, v2, ... by computation, or w1, ... if one is taken
    operation: str  #: empty for an input
    value: float
    derivative: float  #: of the result by this number: the product along every path, summed
    depth: int  #: edges on the longest way from an input


class Edge(NamedTuple):
    """One number is used to compute another."""

    source: int
    target: int
    derivative: float  #: of the target by the source
    rule: str  #: the same as a formula in u (and v), the operands, and w, the result; or empty

    def equation(self, digits: int = 6) -> str:
        """The rule and its number, or the number alone where there is no rule or it is that."""
        number = f"{self.derivative:.{digits}g}"
        return number if self.rule in ("", number) else f"{self.rule} = {number}"


@dataclass(frozen=True)
class Graph:
    """The computational graph of a scalar function at a point; the last node is the result."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[str, ...]

    @property
    def gradient(self) -> dict[str, float]:
        """The derivative of the result by each input."""
        return {node.name: node.derivative for node in self.nodes if not node.operation}

    def __str__(self) -> str:
        lines = []
        for k, node in enumerate(self.nodes):
            into = [edge for edge in self.edges if edge.target == k]
            text = ", ".join(f"d/d{self.nodes[e.source].name} = {e.equation()}" for e in into)
            what = f" = {node.operation}" if node.operation else ""
            line = f"{node.name}{what} = {node.value:.6g}, d result = {node.derivative:.6g}"
            lines.append(f"{line}  [{text}]" if text else line)
        return "\n".join(lines)


def computational_graph(f: Callable[[Any], Any], at: Any) -> Graph:
    """The elementary steps of a scalar function of numbers, in float64, at a point.

    The chain rule is the graph: the derivative of the result by any number is the product of the
    local derivatives along each path from it, summed over the paths; it is gathered from the result
    back to the inputs, which is reverse mode.

    Args:
        f: a pure function of a pytree of numbers that returns one number, built of primitives that
            work on numbers; jitted functions are opened.
        at: the point, such as ``{"x": 1.0, "y": 2.0}``.

    Raises:
        TypeError: f is no function or does not return one real number.
        ValueError: an input that is an array; more than 200 steps; a step that is none on numbers;
            a function that is not defined there.
    """
    if not callable(f):
        raise TypeError(f"f must be a function, got {f!r}")
    at = point(at)
    names = names_of(at, "x")
    leaves = jax.tree.leaves(at)
    if any(np.shape(leaf) != () for leaf in leaves):
        raise ValueError("the graph is drawn of numbers: give each number its own name, no arrays")
    with jax.enable_x64(True):
        closed = jaxpr_of(f, at)
        builder = _Builder(names, [jnp.asarray(leaf, float) for leaf in leaves])
        (last,) = builder.run(closed.jaxpr, closed.consts, list(range(len(leaves))))
        return builder.graph(last)


class _Builder:
    """The graph while it grows. A number is the index of its node, or a constant array."""

    def __init__(self, names: tuple[str, ...], values: list[Any]) -> None:
        self.names, self.values = list(names), values
        self.operations = [""] * len(names)
        self.depths = [0] * len(names)
        self.edges: list[Edge] = []
        self.inputs = names
        # Of inner numbers: one with which no name of an input begins and goes on with digits.
        taken = {name[:1] for name in names if name[1:].isdigit()}
        self.letter = next((letter for letter in "vwuzts" if letter not in taken), "node ")

    def run(self, jaxpr: Any, consts: Any, given: list[Any]) -> list[Any]:
        known: dict[Any, Any] = {}

        def read(atom: Any) -> Any:
            return jnp.asarray(atom.val) if hasattr(atom, "val") else known[atom]

        known |= dict(zip(jaxpr.constvars, map(jnp.asarray, consts), strict=True))
        known |= dict(zip(jaxpr.invars, given, strict=True))
        for eqn in jaxpr.eqns:
            operands = [read(atom) for atom in eqn.invars]
            if eqn.primitive.name in CALLS | OWN_DERIVATIVE:
                inner = called(eqn)
                results = self.run(inner.jaxpr, inner.consts, operands)
            else:
                results = self._step(eqn, operands)
            known |= dict(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _step(self, eqn: Any, operands: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        if len(eqn.outvars) != 1 or eqn.outvars[0].aval.shape != ():
            raise ValueError(f"the graph is drawn of numbers; the step {name!r} gives an array")
        used = [o for o in operands if isinstance(o, int)]
        if name in _SILENT and used:
            return used
        numbers = [self.values[o] if isinstance(o, int) else o for o in operands]

        def apply(*some: Any) -> Any:
            return eqn.primitive.bind(*some, **eqn.params)

        value = apply(*numbers)
        if not used or not jnp.issubdtype(value.dtype, jnp.floating):
            return [value]  # a comparison steers what is computed, and has no slope
        k = len(self.values)
        if k >= _MOST_NODES:
            raise ValueError(f"the function takes more than {_MOST_NODES} steps: too many to draw")
        sign, rules = _sign(name, eqn.params, len(operands))
        self.names.append(f"{self.letter}{k - len(self.inputs) + 1}")
        self.values.append(value)
        self.operations.append(_written(sign, operands, self.names))
        self.depths.append(1 + max(self.depths[o] for o in used))
        for source in dict.fromkeys(used):  # once each, in their order
            places = [i for i, o in enumerate(operands) if isinstance(o, int) and o == source]
            slope = sum(float(jax.jacfwd(apply, argnums=i)(*numbers)) for i in places)
            rule = " + ".join(_named(rules[i], operands) for i in places if rules[i])
            self.edges.append(Edge(source, k, slope, rule))
        return [k]

    def graph(self, last: Any) -> Graph:
        if not isinstance(last, int):
            raise ValueError("the function is constant: there is nothing to draw")
        if not np.isfinite(float(self.values[last])):
            raise ValueError("the function has no finite value at this point")
        needed = {last}
        adjoint = dict.fromkeys(range(len(self.values)), 0.0)
        adjoint[last] = 1.0
        for edge in reversed(self.edges):  # targets only rise: every use of a node comes before it
            if edge.target in needed:
                needed.add(edge.source)
                adjoint[edge.source] += adjoint[edge.target] * edge.derivative
        kept = [*sorted({*needed, *range(len(self.inputs))} - {last}), last]
        place = {old: new for new, old in enumerate(kept)}
        nodes = tuple(
            Node(
                self.names[k], self.operations[k], float(self.values[k]), adjoint[k], self.depths[k]
            )
            for k in kept
        )
        edges = tuple(
            Edge(place[e.source], place[e.target], e.derivative, e.rule)
            for e in self.edges
            if e.target in needed
        )
        return Graph(nodes, edges, self.inputs)


def _sign(name: str, params: Any, operands: int) -> tuple[str, tuple[str, ...]]:
    if name == "integer_pow":
        n = params["y"]
        power = {1: "", 2: " u"}.get(n, f" u^{n - 1}" if n > 1 else f" u^({n - 1})")
        return f"** {n}", (f"{n}{power}",)
    unnamed = ("dw/du", "dw/dv")[:operands] if operands <= 2 else ("",) * operands
    return _SIGNS.get(name, (name, unnamed))


def _written(sign: str, operands: list[Any], names: list[str]) -> str:
    """A step as a formula of the names of its operands."""
    words = [names[o] if isinstance(o, int) else f"{float(o):.4g}" for o in operands]
    if sign.startswith("** "):
        return f"{words[0]} {sign}"
    if sign in ("+", "-", "*", "/", "**"):
        return f" {sign} ".join(words) if len(words) > 1 else sign + words[0]
    return f"{sign}({', '.join(words)})"


def _named(rule: str, operands: list[Any]) -> str:
    """A rule with the constants among its operands put in."""
    for letter, operand in zip("uv", operands, strict=False):
        if not isinstance(operand, int) and rule == letter:
            return f"{float(operand):.4g}"
    return rule
