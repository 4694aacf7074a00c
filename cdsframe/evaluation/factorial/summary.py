"""The result of a factorial comparison, as a JSON object and as text. Does not compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cdsframe.evaluation.contrasts import LEVEL, Measure, can_be_significant
from cdsframe.evaluation.factorial.costs import COSTS, any_from_cache
from cdsframe.evaluation.factorial.design import Cell, Design
from cdsframe.evaluation.factorial.effects import Change, Effect
from cdsframe.evaluation.naive import naive_means
from cdsframe.evaluation.statistics import Interval
from cdsframe.evaluation.statistics.seeds import ENOUGH
from cdsframe.evaluation.tables import markdown_table
from cdsframe.types import JsonObject

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Analysis:
    """A factorial comparison by one primary measure.

    Attributes:
        effects: the primary ones, whose p is adjusted.
        exploratory: name of another measure -> its effects.
        systems: the combinations that are different systems -> the primary measure's mean with its interval.
        costs: of each system.
        inseparable: changes without an interaction that could be estimated.
        margin: an interaction within it, up or down, does not matter.
    """

    design: Design
    measure: Measure
    questions: int
    groups: int
    margin: float
    effects: Sequence[Effect]
    exploratory: Mapping[str, Sequence[Effect]]
    systems: Mapping[Cell, Interval]
    costs: Mapping[Cell, Mapping[str, float]]
    inseparable: Sequence[tuple[Change, ...]]

    def name(self, system: Cell) -> str:
        """The levels of a system; without those that have no effect in it."""
        own = [cell for cell in self.design.cells if self.design.same(cell, system)]
        return ", ".join(levels[0] for levels in zip(*own, strict=True) if len(set(levels)) == 1)

    def stands_for_several(self, system: Cell) -> bool:
        """Whether the system's runs fill several combinations."""
        return sum(self.design.same(cell, system) for cell in self.design.cells) > 1


def effect_name(effect: Effect) -> str:
    """ "fine-tuning (tuned instead of base)", or for interactions the names of both with a cross."""
    changes = effect.contrast.changes
    where = f", not {', not '.join(effect.contrast.without)}" if effect.contrast.without else ""
    if len(changes) == 1:
        return changes[0].text + where
    several = [change.factor.name if len(change.factor.levels) == 2 else change.text for change in changes]
    return " × ".join(several) + where


def to_json(analysis: Analysis) -> JsonObject:
    """The comparison as `factorial.json` holds it."""
    design = analysis.design
    return {
        "format_version": FORMAT_VERSION,
        "measure": analysis.measure.name,
        "questions": analysis.questions,
        "groups": analysis.groups,
        "adapters": design.seeds,
        "margin": analysis.margin,
        "factors": [{"setting": one.setting, "name": one.name, "levels": list(one.levels)} for one in design.factors],
        "changes_with": dict(design.follows),
        "effects": [_effect(one, analysis.measure.name) for one in analysis.effects],
        "exploratory": [_effect(one, name) for name, effects in analysis.exploratory.items() for one in effects],
        "not_separable": [[change.text for change in changes] for changes in analysis.inseparable],
        "cells": [
            {
                "name": analysis.name(cell),
                "levels": list(cell),
                "runs": [run.results.folder.name for runs in design.cells[cell].values() for run in runs],
                "stands_for": [list(other) for other in design.cells if design.same(cell, other)],
                "mean": found.value, "ci_low": found.low, "ci_high": found.high,
                "costs": dict(analysis.costs[cell]),
            }
            for cell, found in analysis.systems.items()
        ],
    }  # fmt: skip


def _effect(effect: Effect, measure: str) -> JsonObject:
    found = effect.estimate
    changes = [
        {"setting": one.factor.setting, "level": one.level, "baseline": one.factor.levels[0]}
        for one in effect.contrast.changes
    ]
    return {
        "measure": measure, "name": effect_name(effect), "changes": changes, "estimate": found.value,
        "ci_low": found.low, "ci_high": found.high, "p": found.p, "p_holm": effect.p_holm,
        "significant": effect.significant,
    }  # fmt: skip


def to_text(analysis: Analysis, exploratory: bool) -> str:
    """Markdown: the effects, whether they add up, the combinations with quality and cost, and notes.

    `exploratory`: adds the effects by other measures.
    """
    lines = [
        f"What paid? {analysis.measure.name}: {analysis.questions} questions in {analysis.groups} independent groups, "
        f"{len(analysis.systems)} systems\n",
        *markdown_table([["effect", "estimate", "95 % interval", "p", "adjusted p", "verdict"], *_rows(analysis)]),
        "",
        *_sums(analysis),
        "",
        *_systems(analysis),
        "",
        *(f"* {note}" for note in _notes(analysis)),
    ]
    if exploratory and analysis.exploratory:
        lines += ["\nExploratory, p not adjusted:\n"]
        rows = [[name, *_numbers(one)] for name, effects in analysis.exploratory.items() for one in effects]
        lines += markdown_table([["measure", "effect", "estimate", "95 % interval", "p"], *rows])
    return "\n".join(lines) + "\n"


def _numbers(effect: Effect) -> list[str]:
    one = effect.estimate
    return [effect_name(effect), f"{one.value:+.3f}", f"[{one.low:+.3f}, {one.high:+.3f}]", f"{one.p:.3g}"]


def _rows(analysis: Analysis) -> list[list[str]]:
    return [
        [*_numbers(one), f"{one.p_holm:.3g}", "significant" if one.significant else "not significant"]
        for one in analysis.effects
    ]


def _sums(analysis: Analysis) -> Iterator[str]:
    """For each interaction, whether the gains add up; only its interval decides."""
    for effect in analysis.effects:
        if len(effect.contrast.changes) < 2:
            continue
        one, several = effect.estimate, len(effect.contrast.changes) > 2
        sum_of = "the sum of their effects and interactions" if several else "the sum of both effects"
        if effect.significant:
            more = (one.value > 0) == analysis.measure.higher_is_better
            verdict = f"together they gain {'more' if more else 'less'} than {sum_of}"
        elif -analysis.margin < one.low and one.high < analysis.margin:
            verdict = f"they add up: the difference from {sum_of} is less than {analysis.margin}"
        else:
            verdict = f"whether they add up is open: the difference from {sum_of} may be any value of the interval"
        yield f"* {effect_name(effect)}: {verdict} ({one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}])"


def _systems(analysis: Analysis) -> list[str]:
    shown = [key for key in COSTS if any(key in one for one in analysis.costs.values())]
    rows = []
    for cell, found in analysis.systems.items():
        replicates = analysis.design.cells[cell]
        numbers = [analysis.costs[cell].get(key) for key in shown]
        costs = ["" if one is None else f"{one:.0f}" if one >= 100 else f"{one:.2f}" for one in numbers]
        mean = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        rows.append([analysis.name(cell), str(sum(map(len, replicates.values()))), mean, *costs])
    runs = [
        {"name": analysis.name(cell), "metrics": run.results.metrics}
        for cell in analysis.systems
        for run in next(iter(analysis.design.cells[cell].values()))[:1]
    ]
    for name, value in naive_means(runs, analysis.measure.metric).items():
        rows.append([name, "", f"{value:.3f}", *[""] * len(shown)])
    return markdown_table([["system", "runs", analysis.measure.name, *(COSTS[key] for key in shown)], *rows])


def _notes(analysis: Analysis) -> Iterator[str]:
    design, effects = analysis.design, analysis.effects
    yield (
        "An effect is averaged over the levels of the other factors, on the same questions; an interaction is what "
        f"two changes add to the sum of both. p is adjusted by Holm over {len(effects)} effects; significant: adjusted "
        f"p of at most {LEVEL}."
    )
    if design.seeds is not None and design.seeds < ENOUGH:
        yield f"Fewer than {ENOUGH} seeds: the effects are those of these adapters, not of their training method."
    alone = all(len(replicates) == 1 for replicates in design.cells.values())
    if alone and not can_be_significant(analysis.groups, len(effects)):
        yield f"{analysis.groups} groups of dependent questions: no effect can be significant."
    if filled := [analysis.name(cell) for cell in analysis.systems if analysis.stands_for_several(cell)]:
        yield f"The runs of {'; '.join(filled)} stand for every level of the settings without effect in them."
    for changes in analysis.inseparable:
        names = " × ".join(change.text for change in changes)
        yield f"{names}: no interaction, because one of these changes has no effect without the other."
    for setting, leader in design.follows.items():
        yield f"{setting} changes with {leader}: the effect of {leader} includes it."
    if any("seconds" in one or "cpu_seconds" in one for one in analysis.costs.values()):
        yield "Costs are means per question, of searching and answering; the peak is of the process."
    if len({"peak_mib" in one for one in analysis.costs.values()}) > 1:
        yield "Jobs of a multirun share a process, and only the first has a peak; own_process=true measures all."
    if any_from_cache(design.cells.values()):
        yield "Runs that read texts from the cache have no CPU-seconds and no peak; to measure: evaluation.cache=null."
