"""The jobs of a multirun: which have ended already, each in a process of its own, and what became of it.

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

_ONE_RUN = "resume: {} is the folder of one run, and -m starts several; leave -m out"
_OUTCOME = "outcome.json"
_FORWARDED = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1


def require_resumable(folder: Path, several: bool) -> None:
    """Refuses, before Hydra writes anything into it, a folder that `resume` cannot mean.

    Args:
        several: whether a multirun is asked for by the command line; an experiment may ask for one besides.
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


def claim(sweep: Path, folder: Path, written: Mapping[str, Any]) -> tuple[Path, bool]:
    """The folder of a job in a multirun that is gone on with, and whether it has run there before.

    It is the one in which a job of the same configuration ran, whatever its number was; else the job's own, or a new
    one where another job has that. Raises ConfigError where the folder is that of a single run.
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
        with suppress(FileExistsError):  # another job's, that has not begun
            (sweep / str(number)).mkdir()
            folder = sweep / str(number)
    return folder, False


def note_failure(folder: Path, error: BaseException) -> None:
    """Writes down why a job has no result: a user's error in its words, or that it was a defect."""
    text = (
        str(error) if isinstance(error, CdsframeError) else "a defect of the program; the job's log has the traceback"
    )
    write_json(folder / _OUTCOME, {"status": "failed", "reason": text})


def job_of_sweep(run: Run, work: Callable[[], float | None], own_process: bool) -> float | None:
    """Works, unless this job has ended already, and writes `outcome.json` into its folder.

    Args:
        own_process: runs it in a process of its own, so that one that is killed (out of memory, say) takes no other
            job with it. Not where torch is loaded already: its threads do not survive the fork.
    """
    file = run.folder / _OUTCOME
    if run.resumed and file.is_file():
        outcome = read_json(file, "resume")
        if outcome["status"] == "finished":
            log.info("the job in %s has ended already", run.folder)
            value: float | None = outcome["value"]
            return value
    file.unlink(missing_ok=True)
    try:
        apart = own_process and hasattr(os, "fork") and "torch" not in sys.modules
        value = _in_own_process(work) if apart else work()
    except Exception as error:
        note_failure(run.folder, error)
        raise
    write_json(file, {"status": "finished", "value": value})
    return value


def _in_own_process(work: Callable[[], float | None]) -> float | None:
    """What `work` returns or raises, done in a forked process that gets the signals of this one and dies with it."""
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
            raise Stopped(killed_by, "the job was stopped before it could leave a checkpoint")
        how = (
            f"killed by {signal.Signals(killed_by).name}" if killed_by > 0 else f"ended with exit code {child.exitcode}"
        )
        raise CdsframeError(
            f"the job's process was {how}" + (" (out of memory?)" if killed_by == signal.SIGKILL else "")
        )
    return value


def _answer(work: Callable[[], float | None], sender: Any) -> None:
    """In the child: its own process group, so that Ctrl-C in the terminal comes from the parent, once."""
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
    """The error, or where it cannot be sent to another process one that says its kind."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (what this process wrote itself)
    except Exception:  # noqa: BLE001 (an exception may raise anything when it is made anew)
        return CdsframeError("the job failed by a defect of the program; its log has the traceback")
    return error
