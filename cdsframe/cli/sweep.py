"""Runs the jobs of a multirun: skips finished ones, isolates each in a process, records its outcome.

Does not choose the jobs (Hydra's sweeper does) and does not compare them.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import read_json, write_json
from cdsframe.artifacts.run import Run
from cdsframe.cli.resume import differing, read_yaml
from cdsframe.errors import CdsframeError, ConfigError, Stopped

log = logging.getLogger(__name__)

_ONE_RUN = "resume: {} is the folder of a single run, and -m starts a multirun; leave -m out"
_OUTCOME = "outcome.json"
_FORWARDED = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1


def require_resumable(folder: Path, several: bool) -> None:
    """Raises ConfigError if the run or multirun in `folder` cannot be resumed. Called before Hydra writes into it.

    Args:
        several: whether the command line asks for a multirun. False does not exclude a multirun: an experiment may ask
            for one.
    """
    if not folder.is_dir():
        raise ConfigError(f"resume: no folder {folder}")
    multirun = (folder / "multirun.yaml").is_file() or any(f.parent.name.isdigit() for f in folder.glob("*/.hydra"))
    single = (folder / "config.yaml").is_file()
    if several and single:
        raise ConfigError(_ONE_RUN.format(folder))
    if several and not multirun:
        raise ConfigError(f"resume: {folder} is not the folder of a multirun (it has no jobs)")
    if not single and not multirun:
        raise ConfigError(f"resume: {folder} is not the folder of a run (it has no config.yaml)")


def folder_of_job(sweep: Path, folder: Path, written: Mapping[str, Any]) -> tuple[Path, bool]:
    """Returns the folder of a job in a resumed multirun, and whether the job has run in it before.

    A job continues in the folder of the earlier job with the same configuration, whatever that folder's number. A job
    with a new configuration gets `folder`, or a new folder if `folder` has been used by another job. Raises ConfigError
    if `sweep` is the folder of a single run.
    """
    if (sweep / "config.yaml").is_file():
        raise ConfigError(_ONE_RUN.format(sweep))
    for other in sorted(sweep.iterdir()):
        file = other / "config.yaml"
        if other.name.isdigit() and file.is_file() and not differing(read_yaml(file, dict), written):
            return other, True
    number = int(folder.name)
    while (folder / "config.yaml").is_file():
        number += 1
        with suppress(FileExistsError):  # this number's folder belongs to a job that has not started
            (sweep / str(number)).mkdir()
            folder = sweep / str(number)
    return folder, False


def record_failure(folder: Path, error: BaseException) -> None:
    """Writes into `outcome.json` why a job has no result: a CdsframeError's message, or that it was a defect."""
    text = (
        str(error) if isinstance(error, CdsframeError) else "a defect of the program; the job's log has the traceback"
    )
    write_json(folder / _OUTCOME, {"status": "failed", "reason": text})


def run_job(run: Run, work: Callable[[], float | None], own_process: bool) -> float | None:
    """Calls `work` and writes `outcome.json`; returns the recorded value if the job has already finished.

    Args:
        own_process: forks a process for the job, so that a killed job (out of memory, say) does not end the others.
            Ignored if torch is loaded: its threads do not survive a fork.
    """
    file = run.folder / _OUTCOME
    if run.resumed and file.is_file():
        outcome = read_json(file, "resume")
        if outcome["status"] == "finished":
            log.info("the job in %s has already finished; its recorded result is used", run.folder)
            value: float | None = outcome["value"]
            return value
    file.unlink(missing_ok=True)
    try:
        apart = own_process and hasattr(os, "fork") and "torch" not in sys.modules
        value = _in_own_process(work) if apart else work()
    except Exception as error:
        record_failure(run.folder, error)
        raise
    write_json(file, {"status": "finished", "value": value})
    return value


def _in_own_process(work: Callable[[], float | None]) -> float | None:
    """Calls `work` in a forked process; returns its value or raises its error. Forwards SIGTERM and SIGINT to it."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(work, sender))
    before = {number: signal.getsignal(number) for number in _FORWARDED}
    child.start()
    sender.close()

    def forward(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child.pid or 0, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    value: float | None = None
    error: BaseException | None = None
    try:
        with suppress(EOFError):
            value, error = receiver.recv()
        child.join()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if error is not None:
        raise error
    if child.exitcode:
        killed_by = -child.exitcode
        if killed_by in _FORWARDED:
            raise Stopped(killed_by, "the job was stopped before it wrote a checkpoint")
        how = (
            f"killed by {signal.Signals(killed_by).name}" if killed_by > 0 else f"ended with exit code {child.exitcode}"
        )
        raise CdsframeError(
            f"the job's process was {how}" + (" (out of memory?)" if killed_by == signal.SIGKILL else "")
        )
    return value


def _answer(work: Callable[[], float | None], sender: Any) -> None:
    """Runs in the child process: calls `work` and sends its result or error to the parent.

    The child runs in a separate process group, so that Ctrl-C reaches it once, from the parent, and not also from the
    terminal.
    """
    os.setpgrp()
    for number in _FORWARDED:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        answer: tuple[float | None, BaseException | None] = (work(), None)
    except (Exception, KeyboardInterrupt) as error:
        if not isinstance(error, CdsframeError | KeyboardInterrupt):
            log.exception("the job failed")
        answer = (None, _portable(error))
    sender.send(answer)


def _portable(error: BaseException) -> BaseException:
    """Returns the error, or a CdsframeError in its place if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (this process wrote it)
    except Exception:  # noqa: BLE001 (unpickling an exception may raise anything)
        return CdsframeError("the job failed by a defect of the program; its log has the traceback")
    return error
