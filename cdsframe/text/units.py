"""Units of measurement: spellings in clinical text, quantity measured, and factor to the quantity's base unit.

Does not find units in a text (`cdsframe.text.tokens` does).
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

_UNITS: dict[str, tuple[str, str, str]] = {
    # unit: (other spellings, quantity measured, factor to that quantity's base unit)
    "ng": ("nanogram nanograms", "mass", "1e-9"),
    "mcg": ("ug μg microgram micrograms microgramme microgrammes", "mass", "1e-6"),
    "mg": ("milligram milligrams milligramme milligrammes", "mass", "1e-3"),
    "g": ("gm gram grams gramme grammes", "mass", "1"),
    "kg": ("kgs kilogram kilograms kilo kilos", "mass", "1e3"),
    "ml": ("mls cc millilitre millilitres milliliter milliliters", "volume", "1e-3"),
    "dl": ("decilitre decilitres deciliter deciliters", "volume", "1e-1"),
    "mcl": ("ul μl microlitre microlitres microliter microliters", "volume", "1e-6"),
    "l": ("litre litres liter liters", "volume", "1"),
    "mcmol": ("umol μmol micromole micromoles micromol", "amount", "1e-6"),
    "mmol": ("mmols millimole millimoles", "amount", "1e-3"),
    "mol": ("mole moles", "amount", "1"),
    "milliunit": ("mu milliunits", "unit", "1e-3"),
    "unit": ("units u iu international-unit international-units", "unit", "1"),
    "megaunit": ("megaunits", "unit", "1e6"),
    "millimolar": ("", "concentration", "1"),
    "meq": ("milliequivalent milliequivalents", "equivalent", "1"),
    "mosm": ("milliosmole milliosmoles", "osmole", "1"),
    "ms": ("msec msecs millisecond milliseconds", "time", "1e-3"),
    "s": ("sec secs second seconds", "time", "1"),
    "min": ("mins minute minutes", "time", "60"),
    "h": ("hr hrs hour hours", "time", "3600"),
    "day": ("d days", "time", "86400"),
    "week": ("wk wks weeks", "time", "604800"),
    "month": ("months mth mths", "month", "1"),
    "year": ("yr yrs years", "month", "12"),
    "mm": ("millimetre millimetres millimeter millimeters", "length", "1e-3"),
    "cm": ("centimetre centimetres centimeter centimeters", "length", "1e-2"),
    "m": ("metre metres meter meters", "length", "1"),
    "m^2": ("m2", "area", "1"),
    "mmhg": ("", "mmhg", "1"),
    "kpa": ("", "kpa", "1"),
    "cmh2o": ("", "cmh2o", "1"),
    "bpm": ("", "bpm", "1"),
    "ma": ("milliamp milliamps", "current", "1"),
    "kcal": ("", "kcal", "1"),
    "kj": ("", "kj", "1"),
    "ppm": ("parts-per-million", "ppm", "1"),
    "%": ("percent per-cent", "%", "1"),
    "°c": ("c degc degrees-celsius degree-celsius", "°c", "1"),
    "°f": ("f degrees-fahrenheit degree-fahrenheit", "°f", "1"),
    "tablet": ("tablets tab tabs", "tablet", "1"),
    "capsule": ("capsules", "capsule", "1"),
    "puff": ("puffs", "puff", "1"),
    "drop": ("drops", "drop", "1"),
    "ampoule": ("ampoules ampule ampules", "ampoule", "1"),
    "sachet": ("sachets", "sachet", "1"),
}
_SPELLINGS = {s.replace("-", " "): u for u, (others, _, _) in _UNITS.items() for s in (u, *others.split())}
_CASED = {"MU": "megaunit", "mU": "milliunit", "mM": "millimolar"}
"""Case-sensitive units: "MU" (a million units) and "mU" (a thousandth) differ by 10^9."""

_UNIT = "(?:" + "|".join(re.escape(s) for s in sorted(_SPELLINGS, key=len, reverse=True)) + r")(?![A-Za-z0-9])"
_PER = r"(?:\s?/\s?|\s(?:per|an?)\s)"
_BEHIND = re.compile(rf"(?:[ -]?(?P<first>{_UNIT}))?(?P<rest>(?:{_PER}{_UNIT})*)", re.I)


def unit_behind(text: str, position: int) -> tuple[str, int]:
    """Returns the unit at `position`, after a number, in one spelling ("mg/kg/day"), and its end; "" for no unit."""
    found = _BEHIND.match(text, position)
    if found is None or not (found["first"] or found["rest"]):
        return "", position
    over = re.split(_PER, found["rest"], flags=re.I)[1:]
    first = _one_spelling(found["first"]) if found["first"] else ""
    return "/".join([first, *(_one_spelling(unit) for unit in over)]), found.end()


def may_become(text: str) -> bool:
    """Whether a text is a unit's spelling or the beginning of one."""
    return any(spelling.startswith(text.lower()) for spelling in _SPELLINGS)


def measure(unit: str) -> tuple[str, Decimal]:
    """Returns the quantity that a unit (as spelled by `unit_behind`) measures ("mass/time"), and its factor to the base
    unit."""
    measures, factor = [], Decimal(1)
    for place, part in enumerate(unit.split("/")):
        _, kind, size = _UNITS[part] if part else ("", "", "1")
        measures.append(kind)
        factor = factor * Decimal(size) if place == 0 else factor / Decimal(size)
    return "/".join(measures), factor


def _one_spelling(unit: str) -> str:
    # Ignoring case, an expression also matches the micro sign for the Greek letter and the long s for s.
    return _CASED.get(unit) or _SPELLINGS[unicodedata.normalize("NFKC", unit).lower()]
