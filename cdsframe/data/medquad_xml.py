"""Reads MedQuAD as published: folders `1_CancerGov_QA` … of XML files, one per page.

Assigns records to splits by page, and flags them (see `cdsframe.data.cleaning`). Does not drop flagged records.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from cdsframe.data.cleaning import flags
from cdsframe.data.splits import SPLITS, split_of
from cdsframe.errors import InputError

_SHARE = 0.05
"""Share of the pages in validation; the share in test is the same."""


def is_medquad(folder: Path) -> bool:
    """Whether the folder contains MedQuAD's folders of XML files."""
    return next(folder.glob("*_QA*/*.xml"), None) is not None


@cache
def read_xml(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns split -> records, in the order of the files. Skips pairs without an answer and exact duplicates.

    Raises InputError, with the file's name, for a file that is not XML.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in sorted(folder.glob("*_QA*/*.xml"), key=lambda path: (path.parent.name, path.name)):
        for record in _pairs(path):
            if record["answer"]:
                found.setdefault((record["question"], record["answer"]), record)
    for record, flagged in zip(found.values(), flags(list(found)), strict=True):
        record["flags"] = flagged
    splits: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for record in found.values():
        splits[split_of(record["doc_id"], _SHARE, _SHARE)].append(record)
    return splits


def _pairs(path: Path) -> list[dict[str, Any]]:
    from lxml import etree

    try:
        root = etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True)).getroot()
    except etree.XMLSyntaxError as error:
        raise InputError(f"data=medquad: {path.parent.name}/{path.name} is not XML (line {error.lineno})") from None
    document = f"{root.get('source')}/{path.stem}"
    pairs = []
    for pair in root.iter("QAPair"):
        question = pair.find("Question")
        if question is None:
            continue
        pairs.append({
            "id": f"{document}-{pair.get('pid')}",
            "doc_id": document,
            "focus": _line(root.findtext("Focus")),
            "question_type": question.get("qtype"),
            "question": re.sub(r"\s+\?", "?", _line(question.text)),
            "answer": _lines(pair.findtext("Answer")),
        })  # fmt: skip
    return pairs


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _lines(text: str | None) -> str:
    lines = (re.sub(r"^[-•*]\s+", "- ", " ".join(line.split())) for line in (text or "").splitlines())
    return re.sub(r"\s+\?", "?", "\n".join(line for line in lines if line))
