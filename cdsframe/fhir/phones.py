"""Builds regular expressions for telephone numbers with any country prefix and separators. Does not validate them."""

from __future__ import annotations

import re

from cdsframe.fhir.patterns import Pattern

DIGITS = 6
"""A number with at least this many digits matches with any separators."""
GAP = r"[\s().\-/_]{0,3}"
"""Separates the digits of a number."""
_SHORT_CODE = re.compile(r"[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]")
"""Country codes of one and two digits (ITU-T E.164). All others have three."""
_NUMBER = re.compile(r"[+(]?\d[\d\s().\-/]*")
_ADDRESS = re.compile("@|://")
_FEWEST = 5
"""A number with fewer digits behind its country prefix matches only with the prefix."""


def phone_pattern(value: str) -> Pattern | None:
    """Returns a pattern for a telephone number; None if the value is something else, such as an e-mail address.

    The pattern for `+44 20 7946 0123` also matches `020 7946 0123`, `0044 20 7946 0123` and `+44 (0)20 7946 0123`. The
    pattern for `020 7946 0123` matches all of these.
    """
    found = () if _ADDRESS.search(value) else _NUMBER.findall(value)
    number = next((run.replace("(0)", "") for run in found if len(re.sub(r"\D", "", run)) >= DIGITS), "")
    digits = re.sub(r"\D", "", number)
    if not digits:
        return None
    prefix, national = rf"(?:\+|00)\d(?:{GAP}\d){{0,2}}", digits
    if number.startswith("+") or digits.startswith("00"):
        digits = digits.removeprefix("00")
        short = _SHORT_CODE.match(digits)
        code = short[0] if short else digits[:3]
        prefix, national = rf"(?:\+|00)?{GAP.join(code)}", digits[len(code) :]
    national = national.lstrip("0")
    if len(national) < _FEWEST:
        return Pattern("+" + digits[0], rf"\+?(?<!\d){GAP.join(digits)}(?!\d)")
    first = f"+(0{digits[0]}{national[0]}"
    return Pattern(first, rf"(?<!\d)(?:\(?{prefix}{GAP}(?:0{GAP})?|\(?0{GAP})?{GAP.join(national)}(?!\d)")
