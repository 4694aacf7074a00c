"""The section on the worst answers, each with its passages. Shortens long texts; leaves other questions out."""

from __future__ import annotations

from collections.abc import Sequence

from cdsframe.evaluation.report.blocks import ReportBlock, ReportCase, ReportSection, ReportText, ShownPassage
from cdsframe.evaluation.report.numbers import counted, shortened, unpadded
from cdsframe.evaluation.report.outcomes import ANSWERED, READING, RIGHT, WRONG, WRONG_REFUSAL, ranked, relevant_ids
from cdsframe.types import JsonObject

WORST = 20
_TEXT, _PASSAGE, _PASSAGES = 2000, 1200, 10
"""Most characters of a question or answer and of a passage; most passages of a case."""
_SEVERITY = (ANSWERED, READING, WRONG)


def cases(rows: Sequence[JsonObject], kinds: Sequence[str]) -> ReportSection:
    """The twenty worst answers."""
    reading = (
        "The most dangerous answers stand first: wrong doses, then answers that the documents do not give, then other "
        "wrong answers, the most confident first, and wrong refusals last."
    )
    chosen = worst(rows, kinds)
    if not chosen:
        return ReportSection("cases", "Worst answers", reading, [ReportText("No answer is wrong.")])
    wrong = sum(kind != RIGHT for kind in kinds)
    blocks: list[ReportBlock] = [ReportText(f"{len(chosen)} of {counted(wrong, 'wrong answer')}.")]
    blocks += [_case(number, rows[place], kinds[place]) for number, place in enumerate(chosen, start=1)]
    return ReportSection("cases", "Worst answers", reading, blocks)


def worst(rows: Sequence[JsonObject], kinds: Sequence[str]) -> list[int]:
    """Numbers of the worst rows, the worst first; equally bad ones in the order of the rows."""

    def badness(place: int) -> tuple[int, float, float]:
        row, kind = rows[place], kinds[place]
        if row.get("wrong_dose"):
            severity = 0
        elif kind in _SEVERITY:
            severity = 1 if kind == ANSWERED else 2
        else:
            severity = 4 if row["refused"] else 3
        probability = (row.get("confidence") or {}).get("probability") or 0.0
        return severity, -probability, row["f1"]

    return sorted((place for place, kind in enumerate(kinds) if kind != RIGHT), key=badness)[:WORST]


def _case(number: int, row: JsonObject, kind: str) -> ReportCase:
    stated = row.get("confidence") or {}
    probability = stated.get("probability")
    sure = f"{stated.get('word', '')}" + (
        f" ({unpadded(format(probability, '.2f'))})" if probability is not None else ""
    )
    others = [alias for alias in row.get("aliases") or () if alias]
    lines = [
        ("Answer", row["text"]),
        ("Gold answer", row["gold"] or "(the documents do not say)"),
        ("Also right", "; ".join(others)),
        ("Scores", f"F1 {unpadded(format(row['f1'], '.2f'))}" + (", wrong dose" if row.get("wrong_dose") else "")),
        ("Confidence", sure),
        ("Id and type", ", ".join(str(row[key]) for key in ("id", "type", "department", "topic") if row.get(key))),
        ("Evidence", _missing_evidence(row)),
    ]
    kept = [(name, shortened(str(text), _TEXT)) for name, text in lines if str(text).strip()]
    passages = [_passage(row, place) for place in range(min(len(row.get("hits", ())), _PASSAGES))]
    shown = "wrong dose" if row.get("wrong_dose") and kind != WRONG_REFUSAL else ""
    name = f"{shown}, {kind}" if shown else kind
    name = name[0].upper() + name[1:]
    return ReportCase(f"{number}. {shortened(str(row['question']), _TEXT)}", name, kept, passages)


def _missing_evidence(row: JsonObject) -> str:
    """Where the evidence stands that the prompt did not show; "" if it was shown, or none is known."""
    wanted, hits = relevant_ids(row), [hit["id"] for hit in row.get("hits", ())]
    if not wanted or not set(wanted).isdisjoint(hits[: row.get("shown", 0)]):
        return ""
    order = ranked(row)
    found = [
        f"{name} (rank {order.index(name) + 1})" if name in order else f"{name} (not found)" for name in wanted[:5]
    ]
    return f"not in the prompt: {', '.join(found)}" + (f" and {len(wanted) - 5} more" if len(wanted) > 5 else "")


def _passage(row: JsonObject, place: int) -> ShownPassage:
    hit = row["hits"][place]
    text = str(hit.get("text", ""))
    cut = shortened(text, _PASSAGE)
    title = " > ".join(str(part) for part in (hit.get("title", ""), *(hit.get("heading") or ())) if part) or hit["id"]
    marks = ["in the prompt" if place < row.get("shown", 0) else "not shown"]
    marks += ["has the evidence"] if hit["id"] in relevant_ids(row) else []
    marks += ["cited"] if hit["id"] in row.get("cited", ()) else []
    if len(cut) < len(text):
        marks.append(f"the first {_PASSAGE:,} of {len(text):,} characters")
    return ShownPassage(f"[{place + 1}] {shortened(title, 200)}", marks, cut)
