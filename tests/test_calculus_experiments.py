"""The experiments of the calculus, run as a user would: the course's numbers, wrong input."""

from pathlib import Path

import numpy as np
import pytest

from .cases import arrays
from .test_experiments import Cli, cli, table

__all__ = ["cli"]


@pytest.mark.slow
def test_slopes_finds_the_orders(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside fact: orders 1, 1, 2, 2; the derivative of sin at 1 is cos 1."""
    assert cli("slopes", "--function", "sin(x)", "--at", 1, "--out", tmp_path / "run") == 0
    said = capsys.readouterr().out
    assert "0.5403023058681398" in said
    orders = {line.split()[0]: line.split()[1] for line in said.splitlines()[2:6]}
    assert {scheme: round(float(order)) for scheme, order in orders.items()} == {
        "forward": 1,
        "backward": 1,
        "central": 2,
        "complex": 2,
    }
    assert (tmp_path / "run" / "slopes.png").exists()


@pytest.mark.slow
def test_derivatives_agrees_with_the_course(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside fact: the gradient of x^2 y + 3z is [2xy, x^2, 3]."""
    options = ("--function", "x**2*y + 3*z", "--at", 2, 5, 7)
    assert cli("derivatives", *options, "--out", tmp_path / "run") == 0
    rows = table(tmp_path / "run" / "gradient.csv")
    assert [float(row["derivative"]) for row in rows] == [20, 4, 3]
    said = capsys.readouterr().out
    assert "agrees" in said
    for name in ("graph.png", "rules.png"):
        assert (tmp_path / "run" / name).exists()


@pytest.mark.slow
def test_surface_finds_the_saddle(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: x^2 - y^2 has one critical point, a saddle with curvatures -2 and 2."""
    assert cli("surface", "--function", "x**2 - y**2", "--out", tmp_path / "run") == 0
    (row,) = table(tmp_path / "run" / "critical_points.csv")
    assert row["kind"] == "saddle"
    assert [float(row["lowest"]), float(row["highest"])] == [-2, 2]


@pytest.mark.slow
def test_newton_raphson_gives_the_course_s_roots(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: the roots and first iterates of the exercise."""
    assert cli("newton_raphson", "--quick", "--out", tmp_path / "run") == 0
    rows = table(tmp_path / "run" / "iterates.csv")
    last = {float(row["start"]): float(row["x"]) for row in rows}
    assert last[1.0] == pytest.approx(1.063070629709697, abs=1e-14)
    assert last[-4.0] == pytest.approx(-3.7602139721974477, abs=1e-14)
    first = {float(r["start"]): float(r["x"]) for r in rows if r["step"] == "1"}
    assert first[1.0] == 1.0625
    assert first[1.99] == pytest.approx(-36.47, abs=0.005)


@pytest.mark.slow
def test_lagrange_gives_the_course_s_points(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: four points on the ellipse, two on the catenary."""
    assert cli("lagrange", "--out", tmp_path / "run") == 0
    rows = table(tmp_path / "run" / "stationary_points.csv")
    assert [row["exercise"] for row in rows] == ["ellipse"] * 4 + ["catenary"] * 2
    assert float(rows[0]["lambda"]) == pytest.approx(-0.15232, abs=5e-6)
    assert float(rows[4]["f"]) == pytest.approx(-3.16222, abs=5e-6)


@pytest.mark.slow
def test_backprop_explains_every_factor(cli: Cli, tmp_path: Path) -> None:
    """Seven factors a layer; the chain rule by hand is jax.grad's."""
    assert cli("backprop", "--quick", "--out", tmp_path / "run") == 0
    rows = table(tmp_path / "run" / "factors.csv")
    assert len(rows) == 21
    assert {row["factor"]: row["shape"] for row in rows}["J_W2"] == "7x6"


@pytest.mark.slow
def test_regression_agrees_three_ways(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: NumPy's polyfit; Anscombe's line y = 3 + x / 2, whose R^2 is 0.67."""
    assert cli("regression", "--out", tmp_path / "run") == 0
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(2, 10, 20))
    slope, intercept = np.polyfit(x, 1.7 * x - 3 + rng.normal(0, 1.0, 20), 1)
    for row in table(tmp_path / "run" / "line.csv"):
        assert float(row["slope"]) == pytest.approx(slope, rel=1e-9)
        assert float(row["intercept"]) == pytest.approx(intercept, rel=1e-9)
    file = tmp_path / "small.csv"
    np.savetxt(file, 1e-12 * np.stack([1e12 * x, 1.7 * x - 3 + rng.normal(0, 1.0, 20)], axis=1),
               delimiter=",", header="x,y", comments="")  # fmt: skip
    assert cli("regression", "--data", file, "--out", tmp_path / "small") == 0
    rows = table(tmp_path / "small" / "line.csv")
    assert float(rows[2]["intercept"]) == pytest.approx(float(rows[0]["intercept"]), rel=1e-6)
    sets = table(tmp_path / "run" / "anscombe.csv")
    for row in sets:
        assert float(row["slope"]) == pytest.approx(0.5, abs=5e-4)
        assert float(row["intercept"]) == pytest.approx(3, abs=5e-3)
        assert float(row["r_squared"]) == pytest.approx(0.67, abs=5e-3)
    # Without its outlier the third set is the line 4.006 + 0.3454 x, Anscombe says 4 + 0.346 x.
    assert float(sets[2]["robust_slope"]) == pytest.approx(0.346, abs=2e-3)
    assert float(sets[2]["robust_intercept"]) == pytest.approx(4.0, abs=2e-2)


@pytest.mark.slow
def test_landscape_keeps_path_slices_and_spectra(cli: Cli, tmp_path: Path) -> None:
    """The slice's middle is the cost at the end; all 77 eigenvalues are there."""
    assert cli("landscape", "--quick", "--out", tmp_path / "run") == 0
    slices, path = (arrays(tmp_path / "run" / f"{name}.npz") for name in ("slices", "path"))
    assert slices["random"][10, 10] == pytest.approx(path["cost"][-1], rel=1e-12)
    assert arrays(tmp_path / "run" / "spectra.npz")["end"].shape == (77,)


@pytest.mark.slow
def test_approximations_of_a_formula(cli: Cli, tmp_path: Path) -> None:
    """Outside fact: x sin x at order 6 is x^2 - x^4/6 + x^6/120."""
    options = ("--function", "x * jnp.sin(x)", "--orders", 6)
    assert cli("approximations", *options, "--out", tmp_path / "run") == 0
    (row,) = table(tmp_path / "run" / "bounds.csv")
    coefficients = [float(c) for c in row["coefficients"].split()]
    np.testing.assert_allclose(coefficients, [0, 0, 1, 0, -1 / 6, 0, 1 / 120], atol=1e-17)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slopes", ("--function", "open(x)"), "open is no function"),
        ("slopes", ("--function", "log(x)", "--at", -1), "finite"),
        ("slopes", ("--runs", 0), "must not be 0"),
        ("derivatives", ("--function", "log(x)", "--variables", "x", "--at", -1), "no finite"),
        ("derivatives", ("--function", "x + q"), "q is unknown"),
        ("derivatives", ("--at", 1, 2), "as many values"),
        ("surface", ("--function", "x +"), "cannot read"),
        ("surface", ("--x", 1, 0), "low < high"),
        ("newton_raphson", ("--function", "x^2"), r"write **"),
        ("newton_raphson", ("--x", 1, 0), "from lower to higher"),
        ("lagrange", ("--function", "x"), "go together"),
        ("backprop", ("--sizes", 2, 2), "begin with 1"),
        ("regression", ("--data", "nowhere.csv"), "No such file"),
        ("landscape", ("--curve", "nothing"), "curve"),
        ("newton_raphson", ("--fractal", "abs(x)"), "not analytic"),
        ("surface", ("--function", "log(-1 - x**2)"), "not finite anywhere"),
        ("approximations", ("--function", "abs(x)"), "abs"),
        ("approximations", ("--function", "1/x"), "0"),
    ],
)
def test_wrong_input_is_one_line(
    cli: Cli,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: tuple[object, ...],
    message: str,
) -> None:
    """Exit code 2, one line on stderr, no folder."""
    assert cli(name, "--quick", *options, "--out", tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("surface", ("--function", "1/x")),
        ("surface", ("--function", "3")),
        ("slopes", ("--function", "3*x")),
        ("slopes", ("--function", "erf(x)")),
        ("lagrange", ("--function", "x", "--constraint", "x**2 + y**2 + 5")),
        ("newton_raphson", ("--function", "3")),
        ("approximations", ("--function", "3", "--orders", 1)),
        ("backprop", ("--sizes", 1, 2, "--scale", 1e6, "--steps", 0)),
    ],
)
def test_odd_functions_are_drawn(
    cli: Cli, tmp_path: Path, name: str, options: tuple[object, ...]
) -> None:
    """Poles, constants, lines, a constraint that nothing meets: no error and no warning."""
    assert cli(name, "--quick", *options, "--out", tmp_path / "run") == 0


def test_a_line_needs_points(cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two points, or one x: the error names the file."""
    for rows in ("1,2\n3,4", "1,2\n1,4\n1,5"):
        (tmp_path / "few.csv").write_text(f"x,y\n{rows}\n")
        data = ("--data", tmp_path / "few.csv")
        assert cli("regression", *data, "--out", tmp_path / "run") == 2
        assert "few.csv: a line with errors needs" in capsys.readouterr().err
