"""The page of `evaluation=paper`: a Markdown table of the paper's figures and ours, and what differs. Reads no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdsframe.artifacts.packaged import public_name
from cdsframe.errors import named
from cdsframe.evaluation.exams.paper_results import QUANTITIES, OwnResult
from cdsframe.evaluation.statistics import Difference
from cdsframe.evaluation.tables import markdown_table
from cdsframe.types import JsonObject, Metrics

_OF_THE_PAPER = (
    "The paper's model is Llama-3.2-3B-Instruct, tuned in NF4. Its figures have no intervals. How it asked (prompt, "
    "examples, scoring) is not recorded here."
)
_OURS = ("ours", "questions", "accuracy", "over shifted options")
_NAIVE = {"majority_letter": "majority letter", "longest_option": "longest option", "chance": "chance"}
"""Metric -> its column: what needs no knowledge, on the same questions."""


def paper_table(
    tasks: Sequence[str],
    figures: Sequence[JsonObject],
    results: Mapping[str, Sequence[OwnResult]],
    pairs: Mapping[tuple[str, int], Difference],
    adjusted: Mapping[tuple[str, int], float],
) -> str:
    """Markdown: a line for each task and run; the paper's figures stand in the first line of their task.

    Args:
        pairs: by task and the run's number, its difference to the first run.
        adjusted: p of each difference, adjusted.
    """
    recorded = {(str(figure["task"]), str(figure["quantity"])): float(figure["value"]) for figure in figures}
    shown = [quantity for quantity in QUANTITIES if any(key[1] == quantity for key in recorded)]
    rows = [
        ["exam", *(QUANTITIES[quantity] for quantity in shown), *_OURS, *_NAIVE.values(), "difference to the first run"]
    ]
    for task in tasks:
        papers = [
            "" if (value := recorded.get((task, quantity))) is None else _points(value, quantity) for quantity in shown
        ]
        for number, one in enumerate(results.get(task, ())):
            key = (task, one.number)
            cells = [one.run, f"{one.metrics['mcq/questions']:.0f}", _with_interval(one.metrics, "mcq/accuracy")]
            cells += [_with_interval(one.metrics, "mcq/permuted_accuracy")]
            cells += [f"{one.metrics[f'mcq/{name}']:.3f}" for name in _NAIVE]
            cells += [_written(pairs[key], adjusted[key]) if key in pairs else ""]
            rows.append([task, *(papers if number == 0 else [""] * len(shown)), *cells])
        if task not in results:
            rows.append([task, *papers, "not run", *[""] * (len(_OURS) + len(_NAIVE))])
    return "\n".join(markdown_table([[_one_line(cell) for cell in row] for row in rows])) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _points(value: float, quantity: str) -> str:
    return f"{value:+.4f}" if quantity == "gain" else f"{value:.4f}"


def _with_interval(metrics: Metrics, name: str) -> str:
    if name not in metrics:
        return ""
    return f"{metrics[name]:.3f} [{metrics[f'{name}/ci_low']:.3f}, {metrics[f'{name}/ci_high']:.3f}]"


def _written(pair: Difference, adjusted: float) -> str:
    return f"{pair.value:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}], p = {pair.p:.3g}, adjusted {adjusted:.3g}"


def remarks(figures: Sequence[JsonObject], results: Mapping[str, Sequence[OwnResult]]) -> str:
    """Sources, how our runs asked, and where their questions are not the paper's."""
    lines = ["", "The paper's figures that are recorded here, with their source; others are not known here:", ""]
    for figure in figures:
        note = f" ({figure['note']})" if figure.get("note") else ""
        lines.append(_one_line(f"- {figure['task']}, {QUANTITIES[figure['quantity']]}: {figure['source']}{note}"))
    lines += ["", "What differs:", "", f"- {_OF_THE_PAPER}"]
    numbers = {str(figure["task"]): figure["questions"] for figure in figures if figure.get("questions")}
    for task, own in results.items():
        for one in own:
            asked, paper = len(one.rows), numbers.get(task)
            of_paper = f" (the paper: {paper})" if paper not in (None, asked) else ""
            lines.append(f"- {one.run}, {task}: {asked} questions{of_paper}; {_how(one)}")
    return "\n".join(lines) + "\n"


def _how(result: OwnResult) -> str:
    """Model, adapter, precision, form and number of examples of a run."""
    rows, values = list(result.rows.values()), result.settings.values
    adapter = f", adapter {named(Path(str(values['adapter'])).name)}" if values.get("adapter") else ", no adapter"
    facts = {
        "quantization": {str(result.settings.choices.get("quantization"))},
        "computed in": {str(row.get("precision", "")).removeprefix("torch.") for row in rows},
        "scored": {str(row.get("form", "")) for row in rows},
        "examples": {str(row.get("num_fewshot", 0)) for row in rows},
    }
    said = "; ".join(f"{name}: {', '.join(sorted(found))}" for name, found in facts.items())
    model = public_name(str(values.get("model.name", result.settings.choices.get("model"))))
    return f"{model}{adapter}; {said}"
