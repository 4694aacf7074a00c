"""Writes FHIR R4 dosages and timings as text. Does not check or convert doses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cdsframe.fhir.datatypes import amount
from cdsframe.fhir.references import Resource

_UNITS = {"s": "second", "min": "minute", "h": "hour", "d": "day", "wk": "week", "mo": "month", "a": "year"}
_LIMITS = {
    "maxDosePerPeriod": "",
    "maxDosePerAdministration": " per administration",
    "maxDosePerLifetime": " in a lifetime",
}
"""Element that limits a dose -> the words behind the amount. `maxDosePerPeriod` is a ratio that states its period."""


def timing_text(timing: Resource, word: Callable[[Any], str]) -> str:
    """Returns a timing as text: `2 times every 1 day, for 30 minutes, at 08:00:00`.

    Args:
        timing: a Timing.
        word: returns an element of any other type as text.
    """
    repeat = timing.get("repeat") or {}
    parts = [_frequency(repeat)]
    parts += [f"{amount(repeat['count'])} times in all"] if "count" in repeat else []
    parts += [f"at most {amount(repeat['countMax'])} times"] if "countMax" in repeat else []
    if duration := _between(repeat, "duration"):
        parts.append(f"for {duration} {_unit(repeat.get('durationUnit', ''), duration)}".rstrip())
    parts += [f"offset {amount(repeat['offset'])} minutes"] if "offset" in repeat else []
    for key, before in (("dayOfWeek", "on "), ("timeOfDay", "at "), ("when", "")):
        parts += [before + ", ".join(map(str, repeat[key]))] if repeat.get(key) else []
    bounds = next((value for key, value in repeat.items() if key.startswith("bounds")), None)
    parts += [f"during {word(bounds)}"] if bounds else []
    parts += [word(timing.get("code")), word(timing.get("event"))]
    return ", ".join(filter(None, parts))


def dosage_text(dosage: Resource, word: Callable[[Any], str], free: Callable[[str], str]) -> str:
    """Returns a dosage's own text, followed in brackets by all other elements except `extension` and `sequence`.

    Args:
        dosage: a Dosage, or the `dosage` of a MedicationAdministration.
        word: returns an element of any other type as text.
        free: removes identifying text from a free text.
    """
    needed = next((value for key, value in dosage.items() if key.startswith("asNeeded")), None)
    reason = "" if isinstance(needed, bool | None) else word(needed)
    parts = [
        *_doses(dosage, word),
        word(dosage.get("timing")),
        word(dosage.get("route")),
        *(["as needed" + (f" for {reason}" if reason else "")] if needed else []),
        *(["not only as needed"] if needed is False else []),
        word(dosage.get("additionalInstruction")),
        *(f"at most {word(dosage[key])}{behind}" for key, behind in _LIMITS.items() if key in dosage),
        *(f"{before}{word(dosage[key])}" for key, before in (("site", "at "), ("method", "")) if dosage.get(key)),
        free(dosage.get("patientInstruction") or ""),
    ]
    shown, text = ", ".join(filter(None, parts)), free(dosage.get("text") or "")
    return f"{text} ({shown})" if text and shown else text or shown


def _doses(dosage: Resource, word: Callable[[Any], str]) -> list[str]:
    doses = []
    for item in dosage.get("doseAndRate", ()):
        dose = word(item.get("doseQuantity") or item.get("doseRange"))
        rate = word(item.get("rateQuantity") or item.get("rateRange") or item.get("rateRatio"))
        parts = (f"dose {dose}" * bool(dose), f"rate {rate}" * bool(rate), word(item.get("type")))
        doses.append(" ".join(filter(None, parts)))
    doses += [f"dose {word(dosage['dose'])}"] if "dose" in dosage else []
    return doses + [f"rate {word(value)}" for key, value in dosage.items() if key.startswith("rate")]


def _frequency(repeat: Resource) -> str:
    """Returns a frequency as text: `1 to 2 times every 4 to 6 hours`."""
    count, every = _between(repeat, "frequency"), _between(repeat, "period")
    if not every:
        return f"{count} times" if count else ""
    return f"{f'{count} times ' if count else ''}every {every} {_unit(repeat.get('periodUnit', ''), every)}".strip()


def _unit(code: str, amount: str) -> str:
    """Returns the word for a unit of time, in the plural unless the amount is 1; "" for an unknown code."""
    word = _UNITS.get(code, "")
    return word if not word or amount == "1" else f"{word}s"


def _between(repeat: Resource, key: str) -> str:
    """Returns a value and its maximum (`frequency`, `frequencyMax`) as `2 to 3`; "" if both are missing."""
    least, most = amount(repeat.get(key)), amount(repeat.get(f"{key}Max"))
    return f"{least} to {most}" if least and most else least or (f"up to {most}" if most else "")
