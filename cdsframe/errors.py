"""Errors that a user can fix: what is wrong, where, what was expected and how to fix it.

Messages never contain a secret or the text of a document or question. Any other exception is a defect of cdsframe and
keeps its traceback.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any


def named(name: str) -> str:
    """Returns an id or title for a message: quoted, in ASCII, cut after 80 characters."""
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")


def near_miss(given: str, known: Sequence[str]) -> str:
    """Returns "did you mean X?" for the most similar known name, or a list of all known names."""
    near = get_close_matches(given, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"


def clearest(errors: Sequence[Mapping[str, Any]], value: Any) -> tuple[list[str | int], Mapping[str, Any]]:
    """Returns the place of pydantic's first error in a value, as keys and indices, and the error to report for it.

    Of a union, pydantic returns an error for each member, whose name is part of its location: returns the error that is
    deepest in the value, without these names.
    """
    places = [_place(error, value) for error in errors]
    inside = [
        (place, error) for place, error in zip(places, errors, strict=True) if place[: len(places[0])] == places[0]
    ]
    return max(inside, key=lambda both: len(both[0]))


def _place(error: Mapping[str, Any], value: Any) -> list[str | int]:
    place: list[str | int] = []
    for part in error["loc"]:
        if (isinstance(value, Mapping) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            place.append(part)
            value = value[part]
    return [*place, error["loc"][-1]] if error["type"] == "missing" else place


class CdsframeError(Exception):
    """A run failed for a reason that the user can fix. Entry points print it without a traceback and exit with 1."""

    exit_code = 1


class ConfigError(CdsframeError):
    """A configuration is refused before any work starts; exit code 2. `problems` has a message for each problem."""

    exit_code = 2

    def __init__(self, problems: str | list[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (self.problems,)


class HydraSettingError(ConfigError):
    """Hydra must not load a configuration: a setting would run code that is no component, or a group has no option."""


class InputError(CdsframeError):
    """A file, a record or a question cannot be used."""


class QuestionError(InputError):
    """A question cannot be answered because of its form (empty, too long); the deployment works."""


class ServiceError(CdsframeError):
    """A service cannot answer now.

    Args:
        retry_after: seconds after which a retry may succeed; 0 if unknown.
    """

    def __init__(self, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotReadyError(ServiceError):
    """The service is still loading its model or index."""


class BusyError(ServiceError):
    """The service already answers and queues the maximum number of requests."""


class UnavailableError(ServiceError):
    """The model server or the index that the service needs does not answer; the log says why."""


class DefectError(ServiceError):
    """The service failed by a defect of the program; the log says where."""


class EmptySplitError(InputError):
    """A data set has no questions in the requested split; other splits may have some."""


class FormatVersionError(InputError):
    """A run's files have a format version that this cdsframe does not read."""


class IndexMismatchError(ConfigError):
    """An index was built with another embedder, chunking or format than the configuration has."""


class AdapterMismatchError(ConfigError):
    """An adapter was trained on another base model, quantization or prompt than the configuration has."""


class CalibrationMismatchError(ConfigError):
    """A calibration was fitted on the answers of another composition than the configuration has."""


class Stopped(KeyboardInterrupt):
    """A signal stopped a run; the exit code is 128 plus the signal's number.

    `kept` is a message that says what the run has saved. Not a CdsframeError, because it must end the whole multirun,
    as Ctrl-C does.
    """

    def __init__(self, number: int, kept: str) -> None:
        super().__init__(kept)
        self.number, self.kept = number, kept
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple[type, tuple[int, str]]:
        return type(self), (self.number, self.kept)
