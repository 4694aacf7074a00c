"""The section with everything that is needed to repeat a run. Does not collect facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdsframe.evaluation.report.blocks import ReportBlock, ReportCode, ReportSection, ReportTable, ReportText
from cdsframe.types import JsonObject

_TABLES = {"choices": "Chosen options", "digests": "Digests", "versions": "Versions"}
_ELSEWHERE = {*_TABLES, "command", "name"}


def repeat(facts: JsonObject) -> ReportSection:
    """The command, then every fact: plain values in one table, and options, digests and versions in one each."""
    reading = (
        "The same command at the same commit, with the same digests, gives the same answers; seconds differ, and other "
        "processors or devices may change single answers."
    )
    blocks: list[ReportBlock] = []
    if facts.get("command"):
        blocks.append(ReportCode(str(facts["command"])))
    plain = [(name, _text(value)) for name, value in sorted(facts.items()) if name not in _ELSEWHERE]
    if plain:
        blocks.append(ReportTable("The run", ("fact", "value"), plain, left=2))
    for name, caption in _TABLES.items():
        values = facts.get(name)
        if isinstance(values, Mapping) and values:
            lines = [(str(key), _text(value)) for key, value in sorted(values.items())]
            blocks.append(ReportTable(caption, (name, "value"), lines, left=2))
    blocks.append(
        ReportText(
            "The whole configuration is in config.yaml, each answer in predictions.jsonl, beside this file. The report "
            "holds questions and passages: treat it like the documents."
        )
    )
    return ReportSection("repeat", "To repeat this", reading, blocks)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(one)}" for key, one in sorted(value.items())) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return str(value)
