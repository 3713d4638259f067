"""Progress of long work: a function that is told, or a bar."""

from collections.abc import Callable
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
    bar: Any = None

    def tell(done: int, of: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=of, initial=done, unit=unit, unit_scale=True)
        bar.update(done - bar.n)
        if done == of:
            bar.close()

    return tell
