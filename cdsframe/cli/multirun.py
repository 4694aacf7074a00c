"""What is done after each job of a multirun and at its end: Hydra's callback, which calls functions by their names.

Does not run the jobs (`cdsframe.cli.sweep`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from cdsframe.config.build import locate

_summaries: dict[Path, tuple[str, str | None, str | None]] = {}
"""A multirun's folder -> the functions that tell of it and that end it, and what was told last in this process."""


class AfterEachJob(Callback):
    """A Hydra callback that calls a function with the multirun's folder after each of its jobs.

    After each, because Hydra does not call `on_multirun_end` when a job has failed: what a sweep leaves behind is
    written anew from disk every time. The text that the function returns last is printed when the multirun ends.

    Args:
        function: takes the multirun's folder, returns a text.
        at_end: called once with the multirun's folder when the multirun ends, also after a failure; returns a text.
    """

    def __init__(self, function: str, at_end: str | None) -> None:
        self._function, self._at_end = function, at_end

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this in the process that tells at the end; launchers run the jobs in others."""
        _summaries[Path(config.hydra.sweep.dir)] = (self._function, self._at_end, None)

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Hydra calls this; outside a multirun it does nothing."""
        if config.hydra.mode is not None and config.hydra.mode.name == "MULTIRUN":
            folder = Path(config.hydra.sweep.dir)
            _summaries[folder] = (self._function, self._at_end, locate(self._function)(folder))


def told() -> Iterator[str]:
    """What was told last of each multirun of this process, and then what its end gives; each once."""
    ended = list(_summaries.items())
    _summaries.clear()
    for folder, (function, at_end, text) in ended:
        yield locate(function)(folder) if text is None else text
        if at_end is not None:
            yield locate(at_end)(folder)
