"""``python -m mlcalc_jax.sandpit``: the game in a window, in a browser or on the terminal."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from .._output import exit_code
from . import _scores
from ._levels import LEVELS, pit
from ._session import Session
from ._text import play_text
from ._transcript import load, replay

_BAD_INPUT, _STOPPED = 2, 130
_BROWSER_DPI = 84  # so that all of the figure is seen on a laptop


def main(arguments: Sequence[str] | None = None) -> int:
    """A phone lies at the lowest point of a pit of sand. Find it in as few dips as you can."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except BrokenPipeError:  # no error of the input: whoever read the output has gone
        raise
    except (ValueError, TypeError, OSError, ImportError) as error:
        named = isinstance(error, OSError) and error.filename is not None
        text = f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[union-attr]
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        return _STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mlcalc_jax.sandpit", description=main.__doc__)
    add = parser.add_argument
    add("--level", default="bowl", help=f"one of {', '.join(LEVELS)} (bowl); --levels tells more")
    add("--seed", type=int, help="of the pit, to share it; 0, or for the day's pit the date")
    add("--practice", action="store_true", help="dips can be taken back; no score is kept")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--browser", action="store_true", help="play in a browser, on this machine")
    where.add_argument("--text", action="store_true", help="play on the terminal")
    add("--port", type=int, default=0, help="of the browser's server; a free one unless given")
    add("--no-open", action="store_true", help="print the address and open no browser")
    add("--save", type=Path, metavar="FILE", help="write the game down after every move")
    add("--replay", type=Path, metavar="FILE", help="play a saved game again and check it")
    add("--levels", action="store_true", help="list the levels")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.levels:
        for level in LEVELS.values():
            tells = ["depth", *(["Jacobian"] if level.jacobian else [])]
            tells += ["Hessian"] if level.hessian else []
            tells += [f"{level.prediction} prediction"] if level.prediction else []
            print(f"{level.name:6s} {level.story}; it tells: {', '.join(tells)}")
        return 0
    if options.replay:
        return _replay(options.replay)
    if not 0 <= options.port < 65536:
        raise ValueError(f"port must lie from 0 to 65535, got {options.port}")
    if options.save is not None and not options.save.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {options.save.parent}")
    if options.save is not None and options.save.exists():
        raise ValueError(f"{options.save} is there already: save the game under another name")
    if options.text:
        return play_text(_session(options))
    return _browse(options) if options.browser else _open_window(options)


def _session(options: argparse.Namespace) -> Session:
    return Session(options.level, options.seed, practice=options.practice, save_to=options.save)


def _open_window(options: argparse.Namespace) -> int:
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from matplotlib.backends.registry import BackendFilter, backend_registry

    backend = plt.get_backend()
    if backend.lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        raise ValueError(
            f"no window can be opened here (matplotlib's backend is {backend}): "
            "try --browser or --text"
        )
    from ._view import View

    print("digging the pit ...", file=sys.stderr, flush=True)
    with mpl.rc_context({"toolbar": "None"}):
        View(_session(options))
    plt.show()
    return 0


def _browse(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("tornado") is None:
        raise ImportError("--browser needs tornado: install mlcalc_jax[sandpit], or tornado alone")
    import matplotlib.pyplot as plt

    from ._browser import serve
    from ._view import View

    print("digging the pit ...", file=sys.stderr, flush=True)
    plt.switch_backend("webagg")
    shown = View(_session(options)).figure
    shown.set_dpi(_BROWSER_DPI)
    return serve(shown, options.port, not options.no_open)


def _replay(file: Path) -> int:
    game = load(file)
    state = replay(game)
    print(f"pit {game.level} {game.seed}{', practice' if game.practice else ''}")
    for k in range(int(state.dips)):
        (x, y), depth = state.places[k], state.depths[k]
        print(f"dip {k + 1}: ({x:.2f}, {y:.2f}), depth {depth:.2f} m")
    x, y = pit(game.level, game.seed).phone
    print(game.outcome + (f"; the phone lay at ({x:.2f}, {y:.2f})" if state.is_over else ""))
    best = _scores.best(game.level, game.seed)
    print(f"best here: {'none yet' if best is None else best}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
