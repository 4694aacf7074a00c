"""Finds when the event of a FHIR R4 resource began and ended. Keeps local times; drops seconds and time zones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cdsframe.fhir.datatypes import INSTANT
from cdsframe.fhir.references import Resource

_ELEMENTS = (
    "onset", "effective", "performed", "occurrence", "authoredOn", "started", "startDate", "whenHandedOver", "period",
    "assertedDate", "recordedDate", "recordedOn", "issued", "authored", "dateTime", "date", "created", "identified",
    "sent",
)  # fmt: skip
"""Elements that date an event. The first one present is used. FHIR appends the data type to the names of some."""
_KEYS = tuple(full for key in _ELEMENTS for full in (f"{key}DateTime", f"{key}Instant", f"{key}Period", key))
_EVENTS = ("effectivePeriod", "performedPeriod", "occurrencePeriod", "period")
"""Periods during which the event lasted. In other periods (`onsetPeriod`), the event began."""
_MIDNIGHT = ("", "00:00")


class When(NamedTuple):
    """Begin and end of an event, each as `2024-03-01` or `2024-03-01 08:00`; "" if it is unknown."""

    begin: str
    end: str

    def repeated_by(self, key: str, value: object) -> bool:
        """Whether an element (such as `issued`) is another date of the resource that adds nothing to `begin`."""
        return key in _KEYS and isinstance(value, str) and self.begin.startswith(" ".join(_parts(value)).rstrip())


def when_of(resource: Resource, used: set[str]) -> When:
    """Returns begin and end of a resource's event. Adds to `used` the elements that begin and end contain in full."""
    begin = end = ""
    for key in _KEYS:
        value = resource.get(key)
        if isinstance(value, Mapping) and ("start" in value or "end" in value):
            begin, end = str(value.get("start", "")), str(value.get("end", ""))
        elif isinstance(value, str):
            begin = value
        if begin or end:
            used.update({key} if isinstance(value, str) or key in _EVENTS or not end else ())
            end = end if key in _EVENTS else ""
            break
    over = resource.get("abatementDateTime")
    if over and not end:
        end = str(over)
        used.add("abatementDateTime")
    return _written(begin, end)


def _written(begin: str, end: str) -> When:
    """Formats begin and end. Omits midnight if neither has another time: it may stand for a date without time."""
    (first, first_time), (last, last_time) = _parts(begin), _parts(end)
    if first_time in _MIDNIGHT and last_time in _MIDNIGHT:
        first_time = last_time = ""
    return When(f"{first} {first_time}".strip(), f"{last} {last_time}".strip())


def _parts(value: str) -> tuple[str, str]:
    """Splits a FHIR dateTime into its date and its time to the minute."""
    instant = INSTANT.fullmatch(value)
    return (instant[1], instant[2]) if instant else (value, "")
