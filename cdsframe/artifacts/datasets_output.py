"""Limits what the library `datasets` prints: progress bars, and log lines, which can contain the values of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def library_output(progress: bool) -> Iterator[None]:
    """In the block, shows the library's progress bars or not, and none of its log lines; then restores both.

    The user's HF_DATASETS_DISABLE_PROGRESS_BARS takes precedence.
    """
    import datasets

    decided = datasets.config.HF_DATASETS_DISABLE_PROGRESS_BARS is not None
    level, hidden = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        if not decided:
            _show(progress)
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not decided:
            _show(not hidden)


def _show(progress: bool) -> None:
    import datasets

    (datasets.enable_progress_bars if progress else datasets.disable_progress_bars)()
