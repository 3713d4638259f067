"""The game on matplotlib's own events: the same in a window, in Jupyter and in a browser."""

import textwrap
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.backend_bases import Event, KeyEvent, MouseButton, MouseEvent
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from ..plots._style import BLACK, BLUE, PURPLE, VERMILION, figure, lines, style
from ._game import LAST
from ._pit import BOTTOM, SIDE, TOP
from ._session import TICKS, Session

_SAND = "#F3E6C4"
_ARROW = 0.15  # m on the map for 1 m per m
_LONGEST_ARROW = 1.2
_LEGIBLE = 0.13  # m between two dips that both can show their numbers
_LINE = 118  # characters of the line below the map
_ROOM = 0.25  # m: the ellipse is where the depth differs by so much, were there no slope
_HALO: list[effects.AbstractPathEffect] = [effects.withStroke(linewidth=3, foreground="white")]
_STEPS = {"left": (-1, 0), "right": (1, 0), "down": (0, -1), "up": (0, 1)}

_HELP = """\
click, or arrows and Enter   dip the stick
shift + arrows               longer steps
r   reveal the floor         u   undo (practice)
n   next pit                 s   save the game
h   this help

The arrow points uphill, 0.15 m long for each m/m.
The ellipse shows the curvature: where the depth
would differ by 0.25 m from the middle's;
dashed where it curves down in some direction."""


class View:
    """A figure on which a session is played; it lives as long as the figure does."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cursor = np.full(2, SIDE / 2)
        self.shows_help = False
        self.figure: Figure = figure(10, 6.6)
        with style():
            self._lay_out()
        canvas = self.figure.canvas
        if canvas.manager is not None:
            canvas.manager.set_window_title("Sandpit")
        handler = getattr(canvas.manager, "key_press_handler_id", None)
        if handler is not None:  # its keys (h, r, arrows) mean something else here
            canvas.mpl_disconnect(handler)
        # Functions, not methods: matplotlib would forget a method together with its object.
        canvas.mpl_connect("button_press_event", lambda event: self._clicked(event))
        canvas.mpl_connect("motion_notify_event", lambda event: self._pointed(event))
        canvas.mpl_connect("key_press_event", lambda event: self._typed(event))
        self.draw()

    def _lay_out(self) -> None:
        self.figure.set_layout_engine("none")  # nothing moves, and a dip draws sooner
        self.map = self.figure.add_axes((0.07, 0.15, 0.5, 0.757))
        self.bar = self.figure.add_axes((0.60, 0.15, 0.013, 0.757))
        write = self.figure.text
        self.title = write(0.07, 0.945, "", size=13, weight="bold", va="center")
        self.line = write(0.07, 0.045, "", size=10.5, va="center", parse_math=False)
        self.expected = write(0.70, 0.2, "", size=9.5, va="center", color=BLUE)
        self.side = write(0.70, 0.905, "", size=9.5, va="top", linespacing=1.45)
        self.table = write(0.70, 0.70, "", size=8.5, va="top", family="monospace", linespacing=1.3)
        self.help = self.map.text(
            SIDE / 2, SIDE / 2, _HELP, size=9.5, va="center", ha="center", family="monospace",
            multialignment="left", zorder=10,
            bbox={"facecolor": "white", "edgecolor": BLACK, "boxstyle": "round,pad=0.8"},
        )  # fmt: skip

    def draw(self) -> None:
        """Show the session as it stands."""
        with style():
            self._draw_map()
        session = self.session
        practice = ", practice" if session.practice else ""
        self.title.set_text(f"Sandpit: {session.story}  (pit {session.name}{practice})")
        self.line.set_text(textwrap.fill(session.message, _LINE))
        bad = ("lost", "hurry", "no phone", "given up")
        self.line.set_color(VERMILION if any(b in session.message for b in bad) else BLACK)
        self.expected.set_text("")
        par = f"{session.par}  ({session.par_by})" if session.par else "no strategy found it"
        best = "none yet" if session.best is None else f"{session.best} dips"
        self.side.set_text(
            f"dips  {session.dips} of {LAST}\npar  {par}\nbest here  {best}\n\nh for help"
        )
        self.table.set_text(self._dips_told())
        self.help.set_visible(self.shows_help)
        self.figure.canvas.draw_idle()

    def _draw_map(self) -> None:
        ax, session = self.map, self.session
        for artist in [*ax.lines, *ax.patches, *ax.collections, *ax.texts]:
            if artist is not self.help:
                artist.remove()
        if (legend := ax.get_legend()) is not None:
            legend.remove()
        ax.set(xlim=(0, SIDE), ylim=(0, SIDE), aspect="equal", facecolor=_SAND)
        ax.set(xlabel="x (m)", ylabel="y (m)")
        self.bar.set_visible(session.is_over)
        if session.is_over:
            self._draw_floor()
        self._draw_dips()
        if not session.is_over:
            (self.pointer,) = ax.plot(*self.cursor, "+", color=BLACK, markersize=14, zorder=5)

    def _draw_dips(self) -> None:
        ax, session, state = self.map, self.session, self.session.state
        if not session.dips:
            return
        places, arrows = state.places[: session.dips], state.jacobians[: session.dips]
        if session.level.jacobian:
            size = np.maximum(np.linalg.norm(arrows, axis=1, keepdims=True), 1e-12)
            tips = arrows * np.minimum(_ARROW, _LONGEST_ARROW / size)
            ax.quiver(
                *places.T, *tips.T, angles="xy", scale_units="xy", scale=1, width=0.006,
                color=BLUE, zorder=5, path_effects=_HALO,
            )  # fmt: skip
        ax.plot(
            *places.T, "o", color=BLACK, markersize=5, markeredgecolor="white", zorder=6,
            linestyle="none",
        )  # fmt: skip
        for k, place in enumerate(places):
            if (np.abs(places[k + 1 :] - place) < _LEGIBLE).all(axis=1).any():
                continue  # the number of a later dip would lie on this one; the table has both
            ax.annotate(
                str(k + 1), tuple(place), (4, 4), textcoords="offset points", size=9, zorder=7,
                path_effects=_HALO,
            )  # fmt: skip
        if session.level.hessian:
            self._draw_ellipse(places[-1], state.hessians[session.dips - 1])

    def _draw_ellipse(self, place: Any, hessian: Any) -> None:
        values, vectors = np.linalg.eigh(hessian)
        radii = np.sqrt(2 * _ROOM / np.maximum(np.abs(values), 2 * _ROOM / 1.5**2))
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        dashes = "-" if values[0] > 0 else "--"
        ellipse = Ellipse(
            tuple(place), *(2 * radii), angle=angle, fill=False, ec=PURPLE, ls=dashes, lw=1.6
        )
        ellipse.set_zorder(4)
        ellipse.set_path_effects(_HALO)
        self.map.add_patch(ellipse)

    def _draw_floor(self) -> None:
        ax, session = self.map, self.session
        depth = np.clip(session.floor, BOTTOM, TOP)
        levels = np.arange(BOTTOM, TOP + 0.5, 0.5)
        filled = ax.contourf(TICKS, TICKS, depth, levels, cmap="cividis")
        ax.contour(TICKS, TICKS, depth, levels, colors="white", linewidths=0.4, linestyles="-")
        self.bar.clear()
        self.figure.colorbar(filled, cax=self.bar, label="depth (m)", ticks=np.arange(BOTTOM, 0))
        rivals = session.rivals() if session.dips else {}
        for (name, games), look in zip(rivals.items(), lines(rivals).values(), strict=True):
            count = int(games.dips[0])
            how = f"{name}: {count} dips" if games.won[0] else f"{name}: not in {LAST}"
            ax.plot(
                *games.places[0, :count].T, color=look.color, linestyle=look.linestyle,
                marker=look.marker, markersize=3.5, linewidth=1.3, label=how, zorder=4,
                path_effects=[effects.withStroke(linewidth=2.8, foreground="white")],
            )  # fmt: skip
        ax.plot(
            *session.pit.phone, "*", color=VERMILION, markersize=17, markeredgecolor="white",
            zorder=8, label="the phone", linestyle="none",
        )  # fmt: skip
        ax.legend(
            loc="upper left", bbox_to_anchor=(1.245, 0.17), fontsize=8.5, borderaxespad=0,
            title="from your first dip" if rivals else None, alignment="left", title_fontsize=8.5,
        )  # fmt: skip

    def _dips_told(self) -> str:
        session, state = self.session, self.session.state
        if not session.dips:
            return ""
        rows = ["dip    x    y   depth" + ("   uphill" if session.level.jacobian else "")]
        first = max(0, session.dips - 16)
        for k in range(first, session.dips):
            (x, y), depth = state.places[k], state.depths[k]
            row = f"{k + 1:3d} {x:4.2f} {y:4.2f} {depth:7.2f}"
            if session.level.jacobian:
                row += "  {:+.1f} {:+.1f}".format(*state.jacobians[k])
            rows.append(row)
        return "\n".join(rows)

    def _clicked(self, event: Event) -> None:
        assert isinstance(event, MouseEvent)
        is_tool = getattr(self.figure.canvas.toolbar, "mode", "") != ""
        if event.inaxes is not self.map or event.button != MouseButton.LEFT or is_tool:
            return
        if event.dblclick:  # the first click of the two was a dip
            return
        if self.shows_help:
            self.shows_help = False
            self.draw()
            return
        assert event.xdata is not None
        assert event.ydata is not None
        self.dip(event.xdata, event.ydata)

    def dip(self, x: float, y: float) -> None:
        """Dip the stick and show what it tells."""
        self.session.dip(x, y)
        if np.isfinite([x, y]).all():
            self.cursor = np.clip([x, y], 0, SIDE)
        self.draw()

    def _pointed(self, event: Event) -> None:
        assert isinstance(event, MouseEvent)
        if event.inaxes is self.map and event.xdata is not None and event.ydata is not None:
            self._predict(event.xdata, event.ydata)

    def _predict(self, x: float, y: float) -> None:
        text = self.session.prediction(x, y).replace(" at ", "\nat ")
        if text != self.expected.get_text():
            self.expected.set_text(text)
            self.figure.canvas.draw_idle()

    def _typed(self, event: Event) -> None:
        assert isinstance(event, KeyEvent)
        key = event.key or ""
        session = self.session
        direction = key.removeprefix("shift+")
        if direction in _STEPS:
            length = 0.5 if key.startswith("shift+") else 0.1
            moved = self.cursor + length * np.array(_STEPS[direction])
            self.cursor = np.round(np.clip(moved, 0, SIDE), 10)
            if not session.is_over:
                self.pointer.set_data([self.cursor[0]], [self.cursor[1]])
                self._predict(*self.cursor)
                self.figure.canvas.draw_idle()
            return
        if key == "enter" and self.shows_help:
            self.shows_help = False
        elif key == "enter":
            session.dip(*self.cursor)
        elif key == "h":
            self.shows_help = not self.shows_help
        elif key == "escape":
            self.shows_help = False
        elif key == "r":
            session.reveal()
        elif key == "u":
            session.undo()
        elif key == "n":
            session.next()
            self.cursor = np.full(2, SIDE / 2)
        elif key == "s":
            session.save()
        else:
            return
        self.draw()


def show(level: str = "bowl", seed: int | None = None, *, practice: bool = False) -> View:
    """A game on a new figure: in Jupyter after ``%matplotlib widget``, or in a window.

    Args:
        level: one of ``LEVELS``.
        seed: of the pit; 0, or for the level "day" today's date, unless given.
        practice: dips can be taken back, and nothing counts as a score.

    Raises:
        TypeError, ValueError: an unknown level; a seed that is no whole number from 0 to 2^32 - 1.
    """
    return View(Session(level, seed, practice=practice))
