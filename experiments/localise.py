"""Single molecules found and fitted in a simulated movie: is the scatter the least possible?"""

import sys
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage, spatial

import mlcalc_jax as mc

from ._run import Config as Common
from ._run import Run, input_errors, main, say

MARGIN = 1.05  # of the Cramer-Rao bound: the maximum-likelihood fit should scatter no more
LEAST = 0.9  # of the spots must be used: a few that are chosen may scatter less than the bound
FEWEST = 40  # spots that are compared
PIXEL = 100.0  # nm
NAMES = ("amplitude", "x0", "y0", "sigma", "offset")


@dataclass(frozen=True, kw_only=True)
class Config(Common):
    """Render a movie of blinking molecules on a rose, find every spot, fit it, compare with truth.

    The positions are known and the noise is Poisson's, so that no unbiased estimate can scatter
    less than the Cramer-Rao bound. Maximum likelihood should reach it; least squares should not.
    """

    frames: int = 4000
    """Images of the movie (--quick: 500)."""
    side: int = 96
    """Pixels along a side of an image."""
    molecules: int = 12
    """Molecules that shine in a frame; those too close to tell apart are left out of it."""
    sigma: float = 1.3
    """Width of a spot, in pixels."""
    background: float = 8.0
    """Photons a pixel."""
    faintest: float = 60.0
    """Photons in the brightest pixel of the faintest molecule."""
    brightest: float = 400.0
    """The same of the brightest molecule."""
    half: int = 5
    """A spot is cut out with so many pixels on each side of its brightest."""


class Truth(NamedTuple):
    """Every molecule that shines: its frame, its place in pixels, its height in photons."""

    frame: np.ndarray
    x: np.ndarray
    y: np.ndarray
    amplitude: np.ndarray


def experiment(config: Config, run: Run) -> str | None:
    """Render, find, fit, compare, draw."""
    with input_errors():
        _checked(config)
    frames = min(config.frames, 500) if config.quick else config.frames
    rng = np.random.default_rng(config.seed)
    run.doing("rendering the movie")
    with input_errors():
        truth = molecules(rng, config, frames)
        movie = rendered(rng, config, frames, truth)
    run.doing("finding the spots")
    frame, row, column = spots(movie, config)
    if not (frame.size and truth.x.size):
        return "no spot was found"
    cut = windows(movie, frame, row, column, config.half)
    say(f"{len(cut):,} spots of {truth.x.size:,} molecules in {frames:,} frames")
    grid = np.meshgrid(*[np.arange(-config.half, config.half + 1.0)] * 2)
    fitted = {}
    for name, loss in (("maximum likelihood", "poisson"), ("least squares", None)):
        run.doing(name)
        fitted[name] = mc.fit_many(mc.models.gaussian_2d, None, tuple(grid), cut, loss=loss)
    likeliest = fitted["maximum likelihood"]
    say(likeliest.report())
    which = matched(truth, frame, column + likeliest.params["x0"], row + likeliest.params["y0"])
    bounds = cramer_rao(config, truth, which, row, column)

    def usable(found: mc.ManyFits) -> np.ndarray:
        return (which >= 0) & found.success & inside(found, config)

    used = usable(likeliest)
    run.numbers("localisations", frame=frame, x=column + likeliest.params["x0"],
                y=row + likeliest.params["y0"], used=used, status=likeliest.status,
                true_x=np.where(which >= 0, truth.x[which], np.nan),
                true_y=np.where(which >= 0, truth.y[which], np.nan),
                **{f"fitted_{k}": v for k, v in likeliest.params.items()},
                **{f"stderr_{k}": v for k, v in likeliest.stderr.items()})  # fmt: skip
    share = used.mean()
    rows, ratios = [], {}
    for name, found in fitted.items():
        x, y = column + found.params["x0"], row + found.params["y0"]
        used = usable(found)
        if used.sum() < FEWEST:
            return (
                f"{name}: {used.sum()} of {len(cut)} spots could be used, too few to compare: "
                f"needs {FEWEST}"
            )
        errors = np.stack([x - truth.x[which], y - truth.y[which]])[:, used] / bounds[:, used]
        ratios[name] = scatter(errors)
        claimed = np.stack([found.stderr["x0"], found.stderr["y0"]])[:, used] / bounds[:, used]
        say(f"{name}: {used.mean():.2%} of the spots used; scatter {ratios[name]:.3f} of the "
            f"Cramer-Rao bound, median standard error {np.median(claimed):.3f}")  # fmt: skip
        rows += by_brightness(name, truth.amplitude[which[used]], errors, bounds[:, used], claimed)
    run.table("precision", rows)
    place = column + likeliest.params["x0"], row + likeliest.params["y0"]
    run.figure(_reconstruction(movie, frame, place, likeliest, config), "localise")
    run.figure(_precision(rows), "precision")
    run.figure(_maps(likeliest, usable(likeliest), place, (column, row)), "maps")
    if share < LEAST:
        return f"only {share:.1%} of the spots could be used: the others may scatter more"
    ratio = ratios["maximum likelihood"]
    if ratio * (1 - 1 / np.sqrt(share * len(cut))) > MARGIN:  # two standard errors of the ratio
        return f"the scatter is {ratio:.3f} of the Cramer-Rao bound, above {MARGIN}"
    return None


#: In a pixel of 16 bits, with room for what one pixel has by chance and from its neighbours.
_MOST_PHOTONS = 50_000


def _checked(config: Config) -> None:
    if config.frames < 1 or config.molecules < 1:
        raise ValueError("frames and molecules must be at least 1")
    if config.half < 2 or config.side < 4 * config.half + 2:
        raise ValueError("half must be at least 2, and side at least 4 half + 2")
    if not (config.sigma > 0 and config.background >= 0):
        raise ValueError("sigma must be above zero, background not below")
    if not 0 < config.faintest <= config.brightest:
        raise ValueError("brightnesses must be above zero and rise")
    if not config.background + config.brightest <= _MOST_PHOTONS:
        raise ValueError(f"a pixel holds at most {_MOST_PHOTONS:,} photons, the background's too")


def molecules(rng: Any, config: Config, frames: int) -> Truth:
    """Molecules at random on a rose, none near another in the same frame or near the edge."""
    shape = frames, config.molecules
    angle = rng.uniform(0, 2 * np.pi, shape)
    reach = (config.side / 2 - 2 * config.half) * np.cos(2.5 * angle) ** 2
    middle = (config.side - 1) / 2
    x = middle + reach * np.cos(angle) + rng.normal(0, 0.2, shape)
    y = middle + reach * np.sin(angle) + rng.normal(0, 0.2, shape)
    amplitude = np.exp(rng.uniform(np.log(config.faintest), np.log(config.brightest), shape))
    apart = np.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None])
    apart[:, np.arange(shape[1]), np.arange(shape[1])] = np.inf
    alone = apart.min(axis=2) > 2 * config.half + 4 * config.sigma
    frame = np.broadcast_to(np.arange(frames)[:, None], shape)
    return Truth(frame[alone], x[alone], y[alone], amplitude[alone])


def rendered(rng: Any, config: Config, frames: int, truth: Truth) -> np.ndarray:
    """The movie, (frames, side, side) counts of photons."""
    light = np.full((frames, config.side, config.side), config.background)
    pixel = np.arange(config.side)

    def bell(at: np.ndarray) -> np.ndarray:
        return np.exp(-((pixel - at[:, None]) ** 2) / (2 * config.sigma**2))

    across, down = bell(truth.x), truth.amplitude[:, None] * bell(truth.y)
    for k, frame in enumerate(truth.frame):
        light[frame] += down[k][:, None] * across[k]
    return rng.poisson(light).astype(np.uint16)


def spots(movie: np.ndarray, config: Config) -> tuple[np.ndarray, ...]:
    """Frame, row and column of every local maximum of the smoothed movie that stands out.

    Smoothed with the width of a spot, which is the matched filter; five standard deviations of the
    background stand out.
    """
    width = (0, config.sigma, config.sigma)
    smooth = ndimage.gaussian_filter(movie.astype(np.float32), width)
    level = np.median(smooth)
    threshold = level + 5 * np.sqrt(level / (4 * np.pi * config.sigma**2))
    reach = 2 * config.half + 1
    is_top = smooth == ndimage.maximum_filter(smooth, (1, reach, reach))
    inner = np.zeros_like(is_top)
    inner[:, config.half : -config.half, config.half : -config.half] = True
    frame, row, column = np.nonzero(is_top & (smooth > threshold) & inner)
    return frame, row, column


def windows(movie: np.ndarray, frame: Any, row: Any, column: Any, half: int) -> np.ndarray:
    """What is cut out around each spot, (spots, 2 half + 1, 2 half + 1)."""
    side = 2 * half + 1
    views = np.lib.stride_tricks.sliding_window_view(movie, (side, side), axis=(1, 2))
    return views[frame, row - half, column - half]


def matched(truth: Truth, frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which molecule each spot is: the nearest in its frame within two pixels, or -1."""
    far = 1e6  # between frames
    there = np.stack([far * truth.frame, truth.x, truth.y], axis=1)
    here = np.stack([far * frame, np.nan_to_num(x, nan=-1e3), np.nan_to_num(y, nan=-1e3)], axis=1)
    distance, which = spatial.cKDTree(there).query(here)
    return np.where(distance < 2, which, -1)


def inside(found: mc.ManyFits, config: Config) -> np.ndarray:
    """Which fits are of a spot: bright, within the window, and of about its width."""
    p = found.params
    is_near = np.hypot(p["x0"], p["y0"]) < config.half
    is_wide = np.abs(np.log(np.maximum(p["sigma"], 1e-3) / config.sigma)) < np.log(2)
    return is_near & is_wide & (p["amplitude"] > 0)


def cramer_rao(config: Config, truth: Truth, which: Any, row: Any, column: Any) -> np.ndarray:
    """The least standard deviations of x and y, (2, spots), in pixels.

    The Fisher information of counts is ``J^T diag(1 / mean) J`` at the true parameters, all five
    of them unknown.
    """
    across, down = np.meshgrid(*[np.arange(-config.half, config.half + 1.0)] * 2)
    grid = across.ravel(), down.ravel()
    model = mc.models.gaussian_2d

    def least(amplitude: Any, x: Any, y: Any) -> Any:
        at = dict(zip(NAMES, (amplitude, x, y, config.sigma, config.background), strict=True))
        mean = model(at, grid)
        J = jnp.stack([jax.jacfwd(model)(at, grid)[name] for name in NAMES])
        covariance = jnp.linalg.inv((J / mean[None]) @ J.T)
        return jnp.sqrt(jnp.diagonal(covariance)[1:3])

    with jax.enable_x64(True):
        at = truth.amplitude[which], truth.x[which] - column, truth.y[which] - row
        return np.asarray(jax.jit(jax.vmap(least))(*at)).T


def scatter(errors: np.ndarray) -> float:
    """The root mean square, of errors in units of their bound."""
    return float(np.sqrt(np.mean(errors**2)))


def by_brightness(
    name: str, amplitude: np.ndarray, errors: np.ndarray, bounds: np.ndarray, claimed: np.ndarray
) -> list[dict[str, Any]]:
    """Scatter, bound and standard error in nm of spots of like brightness."""
    bins = min(8, amplitude.size // FEWEST)
    edges = np.geomspace(amplitude.min(), amplitude.max() * (1 + 1e-9), bins + 1)
    rows = []
    for low, high in pairwise(edges):
        some = (amplitude >= low) & (amplitude < high)
        if some.sum() >= 20:
            rows.append(
                {
                    "fit": name,
                    "photons_in_brightest_pixel": float(np.sqrt(low * high)),
                    "spots": int(some.sum()),
                    "scatter_nm": PIXEL * scatter(errors[:, some] * bounds[:, some]),
                    "bound_nm": PIXEL * scatter(bounds[:, some]),
                    "standard_error_nm": PIXEL * scatter((claimed * bounds)[:, some]),
                    "scatter_over_bound": scatter(errors[:, some]),
                }
            )
    return rows


def _reconstruction(movie: Any, frame: Any, place: Any, found: Any, config: Config) -> Any:
    """A frame with its spots, the sum of all frames, and the places of all molecules."""
    figure = mc.plots.figure(12.5, 4.1)
    one, summed, sharp = figure.subplots(1, 3)
    side, good = config.side, found.success & inside(found, config)
    shown = int(np.bincount(frame).argmax())
    show = {"cmap": "gray", "interpolation": "nearest"}
    _with_bar(one, one.imshow(movie[shown], **show), "photons in a pixel")
    here = frame == shown
    one.plot(*(p[here & good] for p in place), "o", mfc="none", mec="#E69F00", ms=11)
    one.set_title(f"frame {shown}, and what was found in it")
    _with_bar(summed, summed.imshow(movie.sum(axis=0), **show), "photons in a pixel, all frames")
    summed.set_title(f"sum of all {len(movie):,} frames")
    zoom = 5
    counts, _, _ = np.histogram2d(
        place[1][good], place[0][good], bins=zoom * side, range=[[-0.5, side - 0.5]] * 2
    )
    extent = -0.5, side - 0.5, side - 0.5, -0.5
    most = np.quantile(counts[counts > 0], 0.98) if counts.any() else 1
    drawn = sharp.imshow(counts, cmap="magma", vmax=most, extent=extent, interpolation="nearest")
    is_cut = "max" if counts.max() > most else "neither"
    _with_bar(sharp, drawn, f"counts in a bin of 1/{zoom} pixel", is_cut)
    sharp.set_title(f"{good.sum():,} fitted positions")
    for ax in (one, summed, sharp):
        ax.set(xlabel="x / pixels")
    one.set(ylabel="y / pixels")
    return figure


def _with_bar(ax: Any, drawn: Any, label: str, extend: str = "neither") -> None:
    """Say beside an image what its colours mean."""
    ax.figure.colorbar(drawn, cax=ax.inset_axes((1.03, 0, 0.05, 1)), label=label, extend=extend)


def _precision(rows: list[dict[str, Any]]) -> Any:
    """Scatter against brightness, beside the bound."""
    figure = mc.plots.figure(6.4, 4.6)
    ax = figure.add_subplot()
    names = list(dict.fromkeys(row["fit"] for row in rows))
    styles = mc.plots.lines(names)
    column = partial(_column, rows, names[0])
    at, bound = column("photons_in_brightest_pixel"), column("bound_nm")
    ax.fill_between(at, bound, MARGIN * bound, color="#999999", alpha=0.5, linewidth=0,
                    label="up to 5 % above the bound")  # fmt: skip
    ax.plot(at, bound, "k-", label="Cramér-Rao bound")
    for name in names:
        at, y = (_column(rows, name, k) for k in ("photons_in_brightest_pixel", "scatter_nm"))
        line = styles[name]
        ax.plot(at, y, color=line.color, marker=line.marker, linestyle="none", label=name)
    ax.set(xscale="log", yscale="log", xlabel="photons in the brightest pixel",
           ylabel="scatter of a coordinate about the truth / nm")  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    ax.legend()
    return figure


def _column(rows: list[dict[str, Any]], name: str, key: str) -> np.ndarray:
    return np.array([row[key] for row in rows if row["fit"] == name])


def _maps(found: mc.ManyFits, used: Any, place: Any, pixel: Any) -> Any:
    """Height, width and offset where usable fits found their spot; status, of the others as well.

    The others are where they were cut out.
    """
    figure = mc.plots.figure(10, 8)
    axes = figure.subplots(2, 2)
    usable, where = _some(found, used), (place[0][used], place[1][used])
    for ax, name, unit in (
        (axes[0, 0], "amplitude", "photons"),
        (axes[0, 1], "sigma", "pixels"),
        (axes[1, 0], "offset", "photons"),
    ):
        mc.plots.parameter_map(usable, name, where, unit=unit, length_unit="pixels", ax=ax)
    both = tuple(np.where(used, fitted, cut) for fitted, cut in zip(place, pixel, strict=True))
    mc.plots.status_map(found, both, length_unit="pixels", ax=axes[1, 1])
    for ax in axes.flat:
        ax.invert_yaxis()
    return figure


def _some(found: mc.ManyFits, which: Any) -> mc.ManyFits:
    """Those fits."""
    return mc.ManyFits(**jax.tree.map(lambda values: values[which], vars(found)))


if __name__ == "__main__":
    sys.exit(main(__spec__, experiment, Config))
