"""Errors that a user can mend: one sentence that names what, where, what was expected and how to mend it.

They never carry the text of a document, a question or a secret. Anything else that is raised is a defect of ours and
keeps its traceback.
"""

from collections.abc import Sequence
from difflib import get_close_matches


def named(name: str) -> str:
    """An id or a title as a message shows it: in ASCII, and of a very long one the beginning."""
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")


def near_miss(given: str, known: Sequence[str]) -> str:
    """What may have been meant: "did you mean X?", or all that exists where nothing is near."""
    near = get_close_matches(given, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


class CdsframeError(Exception):
    """A run failed for a reason that the user can mend. Entry points print it without a traceback and exit with 1."""

    exit_code = 1


class ConfigError(CdsframeError):
    """A configuration is refused before any work starts; exit code 2. Holds every problem that was found."""

    exit_code = 2

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (self.problems,)


class InputError(CdsframeError):
    """A file, a record or a question cannot be used as it is."""


class QuestionError(InputError):
    """A question cannot be answered as it is put: the fault is the asker's, not the deployment's."""


class ServiceError(CdsframeError):
    """A service cannot answer now.

    Args:
        retry_after: seconds until trying again may help; 0: unknown.
    """

    def __init__(self, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReadyError(ServiceError):
    """The service still loads its model or index."""


class BusyError(ServiceError):
    """The service answers and queues as many requests as it may."""


class UnavailableError(ServiceError):
    """An engine or an index that the service needs does not answer; the log says why."""


class DefectError(ServiceError):
    """The service failed by a defect of the program; the log says where."""


class EmptySplitError(InputError):
    """A data set has no questions in the split that was asked for; another split may have some."""


class FormatVersionError(InputError):
    """What a run left was written in another format than this cdsframe reads."""


class IndexMismatchError(ConfigError):
    """An index was built with another embedder, chunking or format than the configuration asks for."""


class AdapterMismatchError(ConfigError):
    """An adapter was trained on another base model, quantization or prompt than the configuration has."""


class CalibrationMismatchError(ConfigError):
    """A calibration was fitted on the answers of another composition than the configuration has."""


class Stopped(KeyboardInterrupt):
    """A run was asked to stop by a signal and has kept what it had done; the exit code is 128 and the signal's number.

    No CdsframeError: it ends a multirun, as Ctrl-C does.
    """

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(kept)
        self.number, self.kept = number, kept
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.number, self.kept)
