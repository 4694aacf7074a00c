"""The section on what went wrong: outcomes by question type, department, rank of the evidence, and length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cdsframe.evaluation.report.blocks import ReportBlock, ReportPlot, ReportSection, ReportTable, ReportText
from cdsframe.evaluation.report.numbers import bounded, share
from cdsframe.evaluation.report.outcomes import ANSWERED, KINDS, gold_rank, relevant_ids
from cdsframe.evaluation.report.plots import parts
from cdsframe.types import JsonObject

_LEVELS = 20
"""Number of levels of a table; rarer ones are counted together."""
_STYLES = dict(zip(KINDS, ("k-right", "k-miss", "k-hidden", "k-refusal", "k-reading", "k-wrong"), strict=True))

Levels = Mapping[str, Sequence[int]]
"""Level -> numbers of its rows."""


def errors(rows: Sequence[JsonObject], kinds: Sequence[str]) -> ReportSection:
    """Shares of each outcome, over all answerable questions and by level; unanswerable ones apart."""
    reading = (
        "Each question has one outcome, the first stage that failed; a row's shares sum to 1, and small rows have wide "
        "intervals."
    )
    known = [place for place, row in enumerate(rows) if row["answerable"]]
    unknown = [place for place, row in enumerate(rows) if not row["answerable"]]
    blocks: list[ReportBlock] = []
    if known:
        present = [kind for kind in KINDS if any(kinds[place] == kind for place in known)]
        blocks.append(
            ReportTable("What the outcomes mean", ("outcome", "meaning"), [(k, KINDS[k]) for k in present], 2)
        )
        for title, levels in _divisions([rows[place] for place in known]).items():
            chosen = {level: [known[place] for place in places] for level, places in levels.items()}
            blocks += _division(title, chosen, rows, kinds, present)
    if unknown:
        blocks += _unanswerable(unknown, rows, kinds)
    return ReportSection("errors", "What went wrong", reading, blocks or [ReportText("The run has no questions.")])


def terciles(values: Sequence[int], unit: str) -> Levels:
    """Divides rows into thirds by a length; equal lengths stay together, so that a third may be larger, or missing."""
    ordered = sorted(values)
    bounds = sorted({ordered[max(third * len(ordered) // 3 - 1, 0)] for third in (1, 2)})
    bounds = [bound for bound in bounds if bound < ordered[-1]]
    levels: dict[str, list[int]] = {}
    for number, high in enumerate([*bounds, ordered[-1]]):
        low = ordered[0] if number == 0 else bounds[number - 1] + 1
        name = f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
        levels[name] = [place for place, value in enumerate(values) if low <= value <= high]
    return {name: places for name, places in levels.items() if places}


def _divisions(rows: Sequence[JsonObject]) -> dict[str, Levels]:
    """Title of a table -> its levels. A table with one level is left out, except the first."""
    found: dict[str, Levels] = {"all answerable questions": {"all": range(len(rows))}}
    found["by question type"] = _by(rows, lambda row: str(row.get("type") or "without type"))
    if any(row.get("department") for row in rows):
        found["by department"] = _by(rows, lambda row: str(row.get("department") or "unknown"))
    if any(relevant_ids(row) for row in rows):
        ranks = _by(rows, _rank_level)
        order = ("1", "2 to 3", "4 to 10", "beyond 10, or not found", "no evidence known")
        found["by rank of the first passage with evidence"] = {level: ranks[level] for level in order if level in ranks}
    found["by length of the question"] = terciles([len(str(row["question"]).split()) for row in rows], "words")
    found["by length of the gold answer"] = terciles([len(str(row["gold"]).split()) for row in rows], "words")
    return {title: levels for title, levels in found.items() if len(levels) > 1 or title == next(iter(found))}


def _by(rows: Sequence[JsonObject], level_of: Callable[[JsonObject], str]) -> dict[str, list[int]]:
    """The rows of each level, the most frequent first; levels beyond the twentieth are one."""
    names = [level_of(row) for row in rows]
    counts = Counter(names)
    order = sorted(counts, key=lambda name: (-counts[name], name))
    kept, others = order[:_LEVELS], order[_LEVELS:]
    levels = {name: [place for place, own in enumerate(names) if own == name] for name in kept}
    if others:
        rare = set(others)
        levels[f"{len(others)} others"] = [place for place, own in enumerate(names) if own in rare]
    return levels


def _rank_level(row: JsonObject) -> str:
    if not relevant_ids(row):
        return "no evidence known"
    rank = gold_rank(row)
    if rank is None or rank > 10:
        return "beyond 10, or not found"
    return "1" if rank == 1 else "2 to 3" if rank <= 3 else "4 to 10"


def _division(
    title: str, levels: Levels, rows: Sequence[JsonObject], kinds: Sequence[str], present: Sequence[str]
) -> list[ReportBlock]:
    """The bars and the table of one division."""
    bars, lines = [], []
    for level, places in levels.items():
        own = [rows[place] for place in places]
        shares = [share([float(kinds[place] == kind) for place in places], own) for kind in present]
        bars.append(
            (f"{level} ({len(places)})", [(_STYLES[k], one.value) for k, one in zip(present, shares, strict=True)])
        )
        lines.append([level, str(len(places)), *map(bounded, shares)])
    caption = f"Outcomes {title}" if title.startswith("by") else f"Outcomes, {title}"
    return [
        ReportPlot(
            caption, parts(f"{caption}, as shares of each row", bars), [(_STYLES[kind], kind) for kind in present]
        ),
        ReportTable(caption, ("", "questions", *present), lines),
    ]


def _unanswerable(places: Sequence[int], rows: Sequence[JsonObject], kinds: Sequence[str]) -> list[ReportBlock]:
    own = [rows[place] for place in places]
    divisions: dict[str, Levels] = {"all": {"all": range(len(own))}}
    if any(row.get("department") for row in own):
        divisions["department"] = _by(own, lambda row: str(row.get("department") or "unknown"))
    divisions["length"] = terciles([len(str(row["question"]).split()) for row in own], "words in the question")
    lines = []
    for name, levels in divisions.items():
        for level, chosen in levels.items() if len(levels) > 1 or name == "all" else ():
            invented = [float(kinds[places[place]] == ANSWERED) for place in chosen]
            lines.append((level, str(len(chosen)), bounded(share(invented, [own[place] for place in chosen]))))
    columns = ("", "questions", ANSWERED)
    return [ReportTable("Questions that the documents do not answer", columns, lines)]
