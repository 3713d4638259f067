"""The stability of descents: closed forms beside what ``minimise`` does, and the experiment."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

import mlcalc_jax as mc
from experiments import _stability_theory as theory
from experiments import stability

from .test_experiments import Cli, cli, table

__all__ = ["cli"]


@pytest.mark.parametrize(("step", "beta"), [(0.7, 0.5), (3.1, 0.6), (1.4, -0.4), (0.3, 0.0)])
def test_optax_s_momentum_is_the_heavy_ball(double: None, step: float, beta: float) -> None:
    """Outside fact: x_{k+1} = x_k - a lambda x_k + beta (x_k - x_{k-1}), from x_{-1} = x_0."""
    problem = mc.problems.quadratic(1, 1)
    path = mc.minimise(problem.cost, problem.start, stability.heavy_ball(step, beta), 30)
    companion = np.array([[1 + beta - step, -beta], [1, 0]])
    expected = [(np.linalg.matrix_power(companion, k) @ [1, 1])[0] for k in range(31)]
    np.testing.assert_allclose(path.params["x"][:, 0], expected, rtol=1e-12, atol=1e-14)


def test_without_momentum_it_is_steepest_descent(double: None) -> None:
    """The package's own, step for step."""
    problem = mc.problems.quadratic(10)
    ours, plain = (
        mc.minimise(problem.cost, problem.start, optimiser, 50)
        for optimiser in (stability.heavy_ball(0.15), mc.steepest_descent(0.15))
    )
    np.testing.assert_array_equal(ours.params["x"], plain.params["x"])
    np.testing.assert_array_equal(ours.params["y"], plain.params["y"])


@pytest.mark.parametrize("beta", [-0.7, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("step", [0.05, 0.4, 1.9])
def test_factor_is_the_companion_matrix_s_spectral_radius(step: float, beta: float) -> None:
    """Outside fact: NumPy's eigenvalues; without momentum max |1 - a lambda|."""
    curvatures = (0.5, 1.0, 2.0)
    companions = [np.array([[1 + beta - step * c, -beta], [1.0, 0.0]]) for c in curvatures]
    radius = max(np.abs(np.linalg.eigvals(companion)).max() for companion in companions)
    assert theory.factor(step, curvatures, beta) == pytest.approx(radius, abs=1e-7)
    plain = max(abs(1 - step * c) for c in curvatures)
    assert theory.factor(step, curvatures) == pytest.approx(plain, abs=1e-15)


@pytest.mark.parametrize("beta", [-0.9, 0.0, 0.5, 0.9])
def test_limit_is_where_the_factor_passes_one(beta: float) -> None:
    """Outside fact: at 2 (1 + beta) / lambda the companion matrix has the eigenvalue -1."""
    edge = theory.limit(3.0, beta)
    below, at, above = theory.factor(edge * np.array([0.999, 1, 1.001]), (3.0,), beta)
    assert below < 1 < above
    assert at == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("kappa", [2.0, 25.0, 400.0])
@pytest.mark.parametrize("method", theory.METHODS)
def test_best_steps_are_the_best(method: str, kappa: float) -> None:
    """Outside fact: SciPy's simplex search, over the step and, with momentum, over both."""
    best = theory.METHODS[method](kappa)
    some = np.array([best.step, best.momentum])[: 1 + best.power]

    def factor(x: np.ndarray) -> float:
        return float(theory.factor(x[0], (1, kappa), *x[1:]))

    assert factor(some) == pytest.approx(best.factor, abs=1e-7)
    found = minimize(factor, 0.9 * some, method="Nelder-Mead", options={"xatol": 1e-9})
    assert found.fun >= best.factor - 1e-7
    np.testing.assert_allclose(found.x, some, rtol=2e-2)


@pytest.mark.parametrize(("kappa", "beta"), [(7.0, 0.0), (40.0, 0.7), (3.0, -0.6)])
def test_largest_stable_step_is_measured(double: None, kappa: float, beta: float) -> None:
    """Outside fact: Polyak's 2 (1 + beta) / lambda_max."""
    problem = mc.problems.quadratic(kappa, 3)
    measured = stability.largest_stable(problem, problem.minimiser, beta, 1000)
    assert measured == pytest.approx(2 * (1 + beta) / kappa, rel=1e-7)


@pytest.mark.parametrize("steps", [1000, 3162])
def test_largest_stable_step_of_the_heights(double: None, steps: int) -> None:
    """Outside fact: 2 over the largest eigenvalue of twice J^T J + r r'', by NumPy at the optimum.

    Well below the limit the gradient is rounding long before the end, which must not count.
    """
    problem = mc.problems.heights()
    bars = mc.data.heights_histogram()
    mu, sigma = (float(problem.minimiser[name]) for name in ("mu", "sigma"))
    z = (bars.centre - mu) / sigma
    p = np.exp(-(z**2) / 2) / (sigma * np.sqrt(2 * np.pi))
    J = p / sigma * np.array([z, z**2 - 1])
    mixed = z**3 - 3 * z
    second = p / sigma**2 * np.array([[z**2 - 1, mixed], [mixed, z**4 - 5 * z**2 + 2]])
    hessian = 2 * (J @ J.T + second @ (p - bars.density))
    measured = stability.largest_stable(problem, problem.minimiser, 0.0, steps)
    assert measured == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=1e-7)


@pytest.mark.slow
def test_experiment_puts_theory_beside_measurement(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside facts: the closed forms, and the limit of the heights by their Hessian, 5106.52."""
    out = tmp_path / "run"
    options = ("--quick", "--conditions", 4, 9, "--condition", 9, "--resolution", 12)
    assert cli("stability", *options, "--out", out) == 0
    files = [f"stability.{kind}" for kind in ("png", "svg")]
    tables = [f"{name}.csv" for name in ("limits", "factors", "rates")]
    assert {f.name for f in out.iterdir()} == {*files, *tables, "map.npz", "config.json"}
    limits = {(r["problem"], float(r["momentum"])): r for r in table(out / "limits.csv")}
    assert float(limits["heights", 0]["measured"]) == pytest.approx(5106.5226, rel=1e-7)
    assert float(limits["quadratic(9, 2)", 0.8]["measured"]) == pytest.approx(0.4, rel=1e-7)
    rates = {(r["method"], float(r["condition"])): r for r in table(out / "rates.csv")}
    assert float(rates["steepest descent", 4]["measured"]) == pytest.approx(1 - 3 / 5, rel=1e-9)
    assert float(rates["heavy ball", 9]["measured"]) == pytest.approx(1 - 2 / 4, rel=1e-4)
    best = min(table(out / "factors.csv"), key=lambda row: float(row["measured"]))
    assert float(best["step"]) == pytest.approx(2 / 10, rel=1e-12)
    assert "quadratic(9, 2), momentum 0.8" in capsys.readouterr().out


@pytest.mark.slow
def test_disagreement_fails_the_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a wrong closed form the run says which numbers differ, and keeps the tables."""
    monkeypatch.setattr(stability, "limit", lambda *a: theory.limit(*a) * (1 + 1e-6))
    options = ("--quick", "--conditions", 4, "--momenta", 0.5, "--resolution", 4)
    assert cli("stability", *options, "--out", tmp_path / "run") == 1
    assert "largest stable steps differ from theory by 1e-06" in capsys.readouterr().err
    assert (tmp_path / "run" / "limits.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ("--condition 1", "condition numbers must lie between 1.5 and 1000"),
        ("--conditions 2 nan", "condition numbers must lie between"),
        ("--conditions", "conditions is empty"),
        ("--momenta 1", "momenta must lie between -0.95 and 0.95"),
        ("--resolution 1", "resolution must lie between 2 and 1000"),
    ],
)
def test_wrong_input_is_one_line(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, cause: str
) -> None:
    """Exit code 2, a line that names the cause, nothing written."""
    assert cli("stability", *arguments.split(), "--out", tmp_path / "run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert cause in line
    assert list(tmp_path.iterdir()) == []
