"""Writes FHIR R4 data types that need no context as text: numbers, quantities, periods, codes, narratives.

Numbers keep all their digits. Does not follow references or remove names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from cdsframe.fhir.references import Resource

_SYSTEMS = {
    "http://snomed.info/sct": "SNOMED",
    "http://loinc.org": "LOINC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "ICD-10-GM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD-9-CM",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.ama-assn.org/go/cpt": "CPT",
    "http://www.whocc.no/atc": "ATC",
    "http://unitsofmeasure.org": "UCUM",
}
CHOICE = re.compile(
    r"(?<=[a-z])(?:CodeableConcept|Reference|Quantity|String|Boolean|Integer|Decimal|DateTime|Date|Instant|Time|Period|"
    r"Range|Ratio|Age|Duration|Timing|Markdown|Attachment|Identifier|Uri|Money|SampledData|Coding|Code)$"
)
INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?")
_PLAIN_DIGITS = 15


def plain(text: str) -> str:
    """Returns a text on one line, without zero-width spaces."""
    return " ".join(text.replace("\u200b", "").split())


def label_of(key: str) -> str:
    """Returns an element's name as words, without its data type: `onsetAge` becomes "onset"."""
    name = CHOICE.sub("", key)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[-_]", " ", name).lower().strip()


def codes(concept: Resource) -> str:
    """Returns the codes of a concept with their systems: `LOINC 2823-3, SNOMED 59573005`."""
    found = [
        f"{_SYSTEMS.get(coding['system'], re.split('[/:]', coding['system'].rstrip('/'))[-1])} {coding['code']}"
        for coding in concept.get("coding", ())
        if coding.get("system") and coding.get("code")
    ]
    return ", ".join(dict.fromkeys(found))


def amount(value: Any) -> str:
    """Returns a number with all its digits, or a quantity, range or ratio, as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        return f"{value:f}" if abs(value.adjusted()) <= _PLAIN_DIGITS else str(value)
    if not isinstance(value, Mapping):
        return "" if value is None else plain(str(value))
    if "low" in value or "high" in value:
        low, high = amount(value.get("low") or {}), amount(value.get("high") or {})
        return f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""
    if "numerator" in value or "denominator" in value:
        return f"{amount(value.get('numerator') or {})} / {amount(value.get('denominator') or {})}"
    unit = value.get("unit") or value.get("code") or value.get("currency") or ""
    return f"{value.get('comparator', '')}{amount(value.get('value'))} {unit}".strip()


def period(value: Resource) -> str:
    """Returns `2020-01-01 to 2020-02-01`, `from 2020-01-01` or `until 2020-02-01`."""
    begin, end = (INSTANT.sub(r"\1 \2", str(value.get(key) or "")) for key in ("start", "end"))
    return f"{begin} to {end}" if begin and end else f"from {begin}" if begin else f"until {end}"


def narrative_text(div: str) -> str:
    """Returns the visible text of a narrative's XHTML; "" if it cannot be parsed."""
    from lxml import etree, html

    try:
        root = html.fragment_fromstring(div, create_parent="div")
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return ""
    for cell in root.iter("td", "th", "p", "li", "tr", "br", "div", "h1", "h2", "h3", "h4"):
        cell.tail = " " + (cell.tail or "")
    return plain(root.text_content())
