"""The course's second assignment: steepest descent fits a Gaussian to a histogram of heights."""

import sys
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Steepest descent fits a Gaussian to a histogram of heights, and meets its stability limit."""

    data: str = "course"
    """course (its histogram), nhanes (measured adults), or a CSV file with a header."""
    column: str | None = None
    """Column of the CSV file that holds the heights; may be left out if there is only one."""
    unit: str = "cm"
    """Unit of the heights, for the labels."""
    sex: Literal["F", "M"] | None = None
    """Which of the nhanes adults."""
    bins: int | None = None
    """Bins of a histogram of raw heights; by the rule of Freedman and Diaconis unless given."""
    mu: float | None = None
    """Start; 155 for the course's data, else two standard deviations below the mean."""
    sigma: float | None = None
    """Start; 6 for the course's data, else the standard deviation."""
    aggression: float | None = None
    """Step size; 2000 for the course's data, else 0.4 of the largest stable one at the optimum."""
    rounds: int = 50
    """Steps of the descent (--quick: at most 50)."""


def experiment(config: Config, run: Run) -> str | None:
    """Descend, compare with the optimum and its stability limit, and draw start and end."""
    run.doing("descending")
    with input_errors():
        histogram = _histogram(config)
        problem = mc.LeastSquares(mc.models.gaussian, histogram.centre, histogram.density)
        mean, deviation = _moments(histogram)
        if not deviation > 0:
            raise ValueError("all heights lie in one bin: their spread needs two, by --bins")
        is_course = config.data == "course"
        start = {
            "mu": _given(config.mu, 155.0 if is_course else mean - 2 * deviation),
            "sigma": _given(config.sigma, 6.0 if is_course else deviation),
        }
        optimum = mc.minimise(
            problem, {"mu": mean, "sigma": deviation}, mc.levenberg_marquardt(), 100
        )
        limit = 2 / float(np.linalg.eigvalsh(_hessian(problem, optimum.final))[-1])
        if config.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {config.rounds}")
        if not 0 < start["sigma"] < np.inf:
            raise ValueError(f"sigma must be finite and above zero, got {start['sigma']}")
        aggression = _given(config.aggression, 2000.0 if is_course else 0.4 * limit)
        optimiser = mc.steepest_descent(aggression)
        rounds = min(config.rounds, 50) if config.quick else config.rounds
        path = mc.minimise(problem, start, optimiser, rounds)

    run.path("path", path)
    run.numbers("histogram", **histogram._asdict(), density=histogram.density)
    _tell(path, optimum, limit)
    run.doing("sweeping the aggression")
    sweep = _sweep(problem, start, aggression, rounds)
    run.table("aggressions", _rows(sweep, limit))
    _draw_fit(problem, histogram, path, config, run)
    _draw_stability(sweep, limit, optimum, run)
    return _failure(path, histogram, aggression, limit, config.unit)


def _histogram(config: Config) -> mc.data.Histogram:
    if config.sex is not None and config.data != "nhanes":
        raise ValueError("--sex chooses among the adults of --data nhanes")
    if config.column is not None and config.data in ("course", "nhanes"):
        raise ValueError("--column names a column of a CSV file, given by --data FILE.csv")
    if config.data == "course":
        if config.bins is not None:
            raise ValueError("--bins is for raw heights; the course's data are a histogram already")
        return mc.data.heights_histogram()
    if config.data == "nhanes":
        return mc.data.histogram(mc.data.nhanes_heights(config.sex), config.bins)
    column = config.column or mc.data.only_column(config.data)
    (heights,) = mc.data.read_columns(config.data, [column])
    return mc.data.histogram(heights, config.bins)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _moments(histogram: mc.data.Histogram) -> tuple[float, float]:
    weight = histogram.frequency / histogram.frequency.sum()
    mean = float(weight @ histogram.centre)
    return mean, float(np.sqrt(weight @ (histogram.centre - mean) ** 2))


def _hessian(problem: mc.LeastSquares, at: Any) -> np.ndarray:
    H = jax.jit(jax.hessian(problem))(at)
    return np.array([[H[a][b] for b in ("mu", "sigma")] for a in ("mu", "sigma")])


def _tell(path: mc.Path, optimum: mc.Path, limit: float) -> None:
    say(f"{'round':>8}  {'mu':>12}  {'sigma':>12}  {'chi-squared':>12}")
    for row in sorted({0, 10, 25, len(path.cost) - 1}):
        if row < len(path.cost):
            _tell_row(row, path, row)
    _tell_row("optimum", optimum, -1)
    say(f"largest stable aggression at the optimum: 2 / (largest eigenvalue of H) = {limit:.6g}")


def _tell_row(name: Any, path: mc.Path, row: int) -> None:
    mu, sigma, cost = path.params["mu"][row], path.params["sigma"][row], path.cost[row]
    say(f"{name:>8}  {mu:12.9g}  {sigma:12.7g}  {cost:12.7g}")


def _sweep(
    problem: mc.LeastSquares, start: Any, aggression: float, rounds: int
) -> dict[float, mc.Path]:
    """The same descent with a quarter to four times the aggression, compiled once."""
    aggressions = aggression * np.array([0.25, 0.5, 1, 2, 4])
    descend = jax.vmap(lambda a: mc.minimise(problem, start, mc.steepest_descent(a), rounds))
    paths = descend(aggressions)
    return {
        float(a): jax.tree.map(lambda leaf, i=i: leaf[i], paths) for i, a in enumerate(aggressions)
    }


def _rows(sweep: dict[float, mc.Path], limit: float) -> list[dict[str, float]]:
    return [
        {
            "aggression": aggression,
            "fraction_of_limit": aggression / limit,
            "mu": float(path.final["mu"]),
            "sigma": float(path.final["sigma"]),
            "chi_squared": float(path.cost[-1]),
        }
        for aggression, path in sweep.items()
    ]


def _draw_fit(
    problem: mc.LeastSquares, histogram: mc.data.Histogram, path: mc.Path, config: Config, run: Run
) -> None:
    """Histogram and contour map, at the start and at the end."""
    figure = mc.plots.figure(11, 8)
    grid = figure.subplots(2, 2, sharey="row")
    beginning = mc.minimise(
        problem, jax.tree.map(lambda leaf: leaf[0], path.params), mc.newton(), 0
    )
    span_mu, span_sigma = _map_of(path, histogram)
    for column, some, when in (
        (0, beginning, "start"),
        (1, path, f"after {path.steps_taken} rounds"),
    ):
        bars, chart = grid[:, column]
        mc.plots.histogram(
            histogram,
            problem.model,
            some.final,
            unit=config.unit,
            legend=False,
            ax=bars,
        )
        mc.plots.contour(
            problem, some, x=("mu", *span_mu), y=("sigma", *span_sigma), label=r"$\chi^2$", ax=chart
        )
        mu, sigma, cost = some.final["mu"], some.final["sigma"], some.cost[-1]
        bars.set_title(rf"{when}: $\mu$ = {mu:.4g}, $\sigma$ = {sigma:.4g} {config.unit}")
        chart.set_title(rf"{when}: $\chi^2$ = {cost:.3g}")
        chart.set(xlabel=rf"$\mu$ / {config.unit}", ylabel=rf"$\sigma$ / {config.unit}")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    limits = [limit for bars in grid[0] for limit in bars.get_xlim()]
    for bars in grid[0]:
        bars.set_xlim(min(limits), max(limits))
    run.figure(figure, "fit")


def _map_of(
    path: mc.Path, histogram: mc.data.Histogram
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of mu and sigma that show the path, as far as it stays near the data."""
    left, right = _span(histogram)
    width = right - left
    mu, sigma = np.asarray(path.params["mu"]), np.asarray(path.params["sigma"])
    mu = np.clip([left, right, *mu], left - width, right + width)
    sigma = np.clip([0.1 * width, 0.5 * width, *sigma], 0.02 * width, width)
    margin = 0.05 * width
    return (
        (float(mu.min() - margin), float(mu.max() + margin)),
        (float(sigma.min() * 0.8), float(sigma.max() * 1.1)),
    )


def _span(histogram: mc.data.Histogram) -> tuple[float, float]:
    filled = histogram.left_edge[histogram.frequency > 0]
    return float(filled[0]), float(filled[-1] + histogram.width)


def _draw_stability(sweep: dict[float, mc.Path], limit: float, optimum: mc.Path, run: Run) -> None:
    named = {f"{a:.4g} = {a / limit:.2g} of the limit": path for a, path in sweep.items()}
    ax = mc.plots.cost(named)
    best = float(optimum.cost[-1])
    ax.axhline(best, color="grey", linewidth=0.8)
    ax.annotate("the optimum", (0, best), xytext=(2, 3), textcoords="offset points", color="grey")
    ax.set(xlabel="round", ylabel=r"$\chi^2$", title=f"aggression, and the limit {limit:.5g}")
    run.figure(ax.figure, "stability")


def _failure(
    path: mc.Path, histogram: mc.data.Histogram, aggression: float, limit: float, unit: str
) -> str | None:
    """What went wrong, if the fit is none: it broke down, rose, or left the data."""
    if mc.Status(int(path.status)).is_failure:
        return f"the descent diverged at aggression {aggression:.4g}: {path.message}"
    left, right = _span(histogram)
    start_mu, start_sigma = (float(path.params[name][0]) for name in ("mu", "sigma"))
    mu, sigma = float(path.final["mu"]), float(path.final["sigma"])
    if (mu, sigma) == (start_mu, start_sigma) and not left <= mu <= right:
        return (
            f"the descent did not move from mu = {mu:.4g} {unit}: there the curve is 0 at all "
            f"data, from {left:.4g} to {right:.4g}, and so are its derivatives"
        )
    is_near = min(left, start_mu) <= mu <= max(right, start_mu)
    if is_near and 0 < sigma <= max(right - left, start_sigma):
        return None
    return (
        f"the descent diverged at aggression {aggression:.4g}: mu = {mu:.4g}, sigma = {sigma:.4g} "
        f"{unit} is no description of data from {left:.4g} to {right:.4g}; the largest stable "
        f"aggression at the optimum is {limit:.5g}"
    )


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
