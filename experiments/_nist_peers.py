"""Other people's least squares on a NIST problem, each by its own settings for full accuracy."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

import mlcalc_jax as mc

#: From a start to (parameters, evaluations of the residuals and, where they are made apart, of
#: Jacobians); of jaxopt, which tells no more, its iterations.
Solver = Callable[[np.ndarray], tuple[np.ndarray, int]]


class Peer(NamedTuple):
    """Somebody's solver: its name, and how to have one for a problem."""

    name: str
    of: Callable[[mc.data.NistProblem], Solver]


def peers() -> list[Peer]:
    """Those that are installed; SciPy always is."""
    found: list[Peer] = [
        Peer("SciPy MINPACK", lambda problem: _scipy(problem, "lm")),
        Peer("SciPy trf", lambda problem: _scipy(problem, "trf")),
    ]
    try:
        import optimistix  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except ImportError:
        pass
    else:
        found.append(Peer("optimistix LM", _optimistix))
    try:
        import jaxopt  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401
    except ImportError:
        pass
    else:
        found.append(Peer("jaxopt LM", _jaxopt))
    return found


def _residuals(problem: mc.data.NistProblem) -> Callable[[Any], Any]:
    x, y = jax.tree.map(jnp.asarray, problem.x), jnp.asarray(problem.y)
    return lambda b: problem.model(b, x) - y


def _scipy(problem: mc.data.NistProblem, method: str) -> Solver:
    residuals = jax.jit(_residuals(problem))
    jacobian = jax.jit(jax.jacfwd(_residuals(problem)))

    def solve(start: np.ndarray) -> tuple[np.ndarray, int]:
        try:
            found = optimize.least_squares(
                lambda b: np.asarray(residuals(b)),
                start,
                lambda b: np.asarray(jacobian(b)),
                method=method,
                x_scale="jac",
                xtol=1e-15,
                ftol=1e-15,
                gtol=1e-15,
                max_nfev=5000,
            )
        except ValueError:  # a residual that is not finite ends it
            return np.full_like(start, np.nan), 0
        return found.x, int(found.nfev + found.njev)

    return solve


def _optimistix(problem: mc.data.NistProblem) -> Solver:
    import optimistix as optx

    residuals = _residuals(problem)

    @jax.jit
    def run(start: Any) -> Any:
        found: Any = optx.least_squares(
            lambda b, _: residuals(b),
            optx.LevenbergMarquardt(rtol=1e-12, atol=1e-12),
            start,
            max_steps=5000,
            throw=False,
        )
        return found.value, found.stats["num_steps"]

    def solve(start: np.ndarray) -> tuple[np.ndarray, int]:
        value, steps = run(start)
        return np.asarray(value), int(steps)

    return solve


def _jaxopt(problem: mc.data.NistProblem) -> Solver:
    import jaxopt

    solver = jaxopt.LevenbergMarquardt(_residuals(problem), maxiter=5000, tol=1e-14, xtol=1e-14)
    run = jax.jit(solver.run)

    def solve(start: np.ndarray) -> tuple[np.ndarray, int]:
        found: Any = run(jnp.asarray(start))
        return np.asarray(found.params), int(found.state.iter_num)

    return solve
