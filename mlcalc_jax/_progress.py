"""Progress of long work: a function that is told, or a bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Called with how many are done, and of how many.
Progress = Callable[[int, int], None]


def told(progress: Progress | bool | None, unit: str) -> Progress:
    """What to call as work is done; True shows a bar.

    Raises:
        ImportError: a bar is wanted, and tqdm is not installed.
    """
    if callable(progress):
        return progress
    if not progress:
        return lambda done, of: None
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress=True needs tqdm; or give a function of (done, of)") from error
    return _Bar(lambda **options: tqdm(unit=unit, unit_scale=True, **options))


@contextmanager
def shown(progress: Progress) -> Iterator[None]:
    """Inside it work is done; at its end, whatever that is, a bar is closed, on a line of its own.

    Left open, it would be drawn once more below what is said then.
    """
    try:
        yield
    finally:
        if isinstance(progress, _Bar):
            progress.close()


class _Bar:
    """A bar, from when it is first told of how many."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        self.bar: Any = None

    def __call__(self, done: int, of: int) -> None:
        if self.bar is None:
            self.bar = self.make(total=of, initial=done)
        self.bar.update(done - self.bar.n)
        if done == of:
            self.close()

    def close(self) -> None:
        """Once is enough."""
        if self.bar is not None:
            self.bar.close()
