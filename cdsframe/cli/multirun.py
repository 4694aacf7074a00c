"""A Hydra callback that calls a function after each job of a multirun and another at its end.

Does not run the jobs (see `cdsframe.cli.sweep`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cdsframe.config.build import resolve
from cdsframe.config.guard import summaries
from cdsframe.errors import ConfigError

_summaries: dict[Path, tuple[str, str | None, str | None]] = {}
"""Multirun folder -> `function`, `at_end`, and the latest summary that `function` returned in this process."""


class AfterEachJob(Callback):
    """A Hydra callback that calls a function with the multirun's folder after each job.

    Hydra does not call `on_multirun_end` after a failed job. So `function` rewrites the sweep's summary after each job,
    from the files on disk. The last text that it returned is printed when the multirun ends.

    Args:
        function: dotted path of a function that takes the multirun's folder and returns a text.
        at_end: dotted path of a function called once when the multirun ends, also after a failure; takes the multirun's
            folder and returns a text.
    """

    def __init__(self, function: str, at_end: str | None) -> None:
        self._function, self._at_end = function, at_end

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this in the main process, which prints the summary; launchers may run jobs in other processes."""
        _summaries[Path(config.hydra.sweep.dir)] = (self._function, self._at_end, None)

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Hydra calls this after each job. Does nothing in a single run."""
        if config.hydra.mode is not None and config.hydra.mode.name == "MULTIRUN":
            folder = Path(config.hydra.sweep.dir)
            _summaries[folder] = (self._function, self._at_end, _hook(self._function)(folder))


def pop_summaries() -> Iterator[str]:
    """Yields, for each multirun that this process started, its latest summary and then the text that `at_end` returns.

    Forgets these multiruns. Computes the summary now if no job ran in this process: launchers may use other processes.
    """
    ended = list(_summaries.items())
    _summaries.clear()
    for folder, (function, at_end, text) in ended:
        yield _hook(function)(folder) if text is None else text
        if at_end is not None:
            yield _hook(at_end)(folder)


def _hook(function: str) -> Any:
    """Imports a function that summarises a multirun. Raises ConfigError if no built-in primary names the function."""
    if function not in summaries():
        raise ConfigError(f"hydra.callbacks: {function} does not summarise multiruns; remove the callback")
    return resolve(function)
