"""The factorial design of finished runs: factors with their levels, and the runs of each combination of levels.

Raises InputError if a combination has no run. Does not read scores, except to see whether closed-book runs agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from cdsframe.errors import InputError, near_miss
from cdsframe.evaluation.dependence import connected
from cdsframe.evaluation.factorial.adapters import adapter_levels
from cdsframe.evaluation.factorial.settings import RETRIEVAL, EvaluatedRun, Levels, differing, usual_order

Cell = tuple[str, ...]
"""A combination: the name of one level of each factor."""
_NAMED = 5
"""Number of missing combinations that a message names."""
_WORDS = {"retriever": "retrieval", "reranker": "reranking", "expansion": "query expansion"}


@dataclass(frozen=True)
class Factor:
    """A setting in which the runs differ, and its levels, the baseline first."""

    setting: str
    levels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The factor in words."""
        if self.setting == "adapter":
            return "fine-tuning" if self.levels[0] == "base" else "adapter"
        return _WORDS.get(self.setting, self.setting)


@dataclass(frozen=True)
class Design:
    """A complete factorial design.

    Attributes:
        cells: combination -> replicate -> runs. A replicate is an adapter, or a seed of the base model.
        follows: setting that is not a factor -> the factor's setting with which it changes.
    """

    factors: tuple[Factor, ...]
    cells: Mapping[Cell, Mapping[str, tuple[EvaluatedRun, ...]]]
    follows: Mapping[str, str]

    def same(self, first: Cell, second: Cell) -> bool:
        """Whether the same runs stand for both combinations: they differ in settings without effect."""
        return self.cells[first] == self.cells[second]

    @property
    def families(self) -> list[list[Cell]]:
        """The combinations with the same replicates: those of one method of training, and those of the base model."""
        found: dict[str, list[Cell]] = {}
        for cell, family in zip(self.cells, connected(list(self.cells.values())), strict=True):
            found.setdefault(family, []).append(cell)
        return list(found.values())

    @property
    def seeds(self) -> int | None:
        """The smallest number of adapters with which a method of training was evaluated; None: none was trained."""
        trained = [
            len(replicates)
            for replicates in self.cells.values()
            if any(run.adapter is not None for runs in replicates.values() for run in runs)
        ]
        return min(trained, default=None)


def read_design(
    runs: Sequence[EvaluatedRun],
    column: str,
    factors: Sequence[str] | None,
    baseline: Mapping[str, str] | None,
    adapters: Mapping[str, Sequence[str]] | None,
) -> Design:
    """The design of comparable runs.

    Args:
        runs: sorted, so that the result does not depend on the order in which they are listed.
        column: of the scores by which closed-book runs are recognised as equal.
        factors: settings that are factors; None: all settings that differ.
        baseline: setting -> name of its baseline level; others have the usual one.
        adapters: name of a level -> its adapters, which differ in their training seed; None: found by their manifests.
    """
    named = adapter_levels(runs, adapters)
    levels = Levels(named, inert=True)
    if not _closed_book_agree(runs, levels, column):
        levels = Levels(named, inert=False)
    settings = [setting for setting in differing(runs) if len(_levels_of(runs, levels, setting)) > 1]
    chosen, follows = _choose(runs, levels, settings, factors)
    found = tuple(_factor(setting, _levels_of(runs, levels, setting), baseline) for setting in chosen)
    if wrong := [setting for setting in baseline or {} if setting not in chosen]:
        raise InputError(f"evaluation.baseline: {wrong[0]} is not a factor; {near_miss(wrong[0], chosen)}")
    if not found:
        raise InputError("evaluation.runs: the runs differ in no setting; a factorial comparison needs runs that do")
    cells = {cell: _replicates(runs, levels, found, cell) for cell in product(*(factor.levels for factor in found))}
    _require_complete(runs, levels, found, cells)
    return Design(found, cells, follows)


def _levels_of(runs: Sequence[EvaluatedRun], levels: Levels, setting: str) -> list[str]:
    return sorted({level for run in runs if (level := levels.of(run, setting)) is not None}, key=usual_order)


def _closed_book_agree(runs: Sequence[EvaluatedRun], levels: Levels, column: str) -> bool:
    """Whether closed-book runs that differ only in settings of retrieval have equal scores, as they should."""
    others = [setting for setting in differing(runs) if setting.split(".")[0] not in RETRIEVAL]
    first: dict[object, EvaluatedRun] = {}
    for run in (run for run in runs if run.closed_book):
        key = (run.replicate, run.settings.values.get("seed"), *(levels.of(run, setting) for setting in others))
        rows = first.setdefault(key, run).results.rows
        if any(row.get(column) != rows[id].get(column) for id, row in run.results.rows.items()):
            return False
    return True


def _choose(
    runs: Sequence[EvaluatedRun], levels: Levels, settings: Sequence[str], declared: Sequence[str] | None
) -> tuple[list[str], dict[str, str]]:
    """The factors' settings, and each other setting with the factor that it changes with.

    Undeclared, only settings of retrieval may change with another one (an embedder with the retriever that reads it).
    """
    if declared is None:
        follows: dict[str, str] = {}
        for setting in settings:
            if setting.split(".")[0] in RETRIEVAL - {"reranker"}:
                leaders = [
                    one for one in ("retriever", "embedder") if one in settings and one not in (setting, *follows)
                ]
                if leader := next((one for one in leaders if _decides(runs, levels, one, setting)), None):
                    follows[setting] = leader
        return [setting for setting in settings if setting not in follows], follows
    if wrong := [setting for setting in declared if setting not in settings]:
        raise InputError(f"evaluation.factors: the runs do not differ in {wrong[0]}; {near_miss(wrong[0], settings)}")
    follows = {}
    for setting in (one for one in settings if one not in declared):
        leader = next((one for one in declared if _decides(runs, levels, one, setting)), None)
        if leader is None:
            raise InputError(
                f"evaluation.factors: the runs differ in {setting} too, which changes with none of the factors; name "
                "it in evaluation.factors, or list only runs with one value of it"
            )
        follows[setting] = leader
    return [setting for setting in settings if setting in declared], follows


def _decides(runs: Sequence[EvaluatedRun], levels: Levels, leader: str, setting: str) -> bool:
    """Whether runs with the same level of `leader` have the same level of `setting`."""
    seen: dict[str | None, str] = {}
    return all(
        seen.setdefault(levels.of(run, leader), level) == level
        for run in runs
        if (level := levels.of(run, setting)) is not None
    )


def _factor(setting: str, levels: Sequence[str], baseline: Mapping[str, str] | None) -> Factor:
    first = (baseline or {}).get(setting, levels[0])
    if first not in levels:
        raise InputError(f"evaluation.baseline.{setting}: {first} is not a level; {near_miss(first, levels)}")
    return Factor(setting, (first, *(level for level in levels if level != first)))


def _replicates(
    runs: Sequence[EvaluatedRun], levels: Levels, factors: Sequence[Factor], cell: Cell
) -> dict[str, tuple[EvaluatedRun, ...]]:
    """The runs of a combination by their replicate: one for each seed of the evaluation."""
    found: dict[str, dict[str, EvaluatedRun]] = {}
    for run in runs:
        own = [levels.of(run, factor.setting) for factor in factors]
        if any(level not in (None, wanted) for level, wanted in zip(own, cell, strict=True)):
            continue
        seed = str(run.settings.values.get("seed"))
        earlier = found.setdefault(run.replicate, {}).setdefault(seed, run)
        if earlier is not run and None not in own:
            raise InputError(
                f"evaluation.runs: {earlier.results.name} and {run.results.name} are both {', '.join(cell)}, with the "
                "same seed; leave one out"
            )
    return {replicate: tuple(by_seed[seed] for seed in sorted(by_seed)) for replicate, by_seed in sorted(found.items())}


def _require_complete(
    runs: Sequence[EvaluatedRun],
    levels: Levels,
    factors: Sequence[Factor],
    cells: Mapping[Cell, Mapping[str, tuple[EvaluatedRun, ...]]],
) -> None:
    """Raises InputError naming combinations without runs, and adapters that were not evaluated in all of theirs."""
    missing = list(_missing(runs, levels, factors, cells))
    if not missing:
        return
    shown = "\n".join(f"  {name}: {overrides}" for name, overrides in missing[:_NAMED])
    more = f"\n  and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    raise InputError(
        f"evaluation.runs: the design is incomplete: missing {len(missing)} of the combinations:\n{shown}{more}\n"
        f"run evaluate.py with these arguments and the other settings of {runs[0].results.folder / 'config.yaml'}, or "
        "leave out the runs with a level that you do not need"
    )


def _missing(
    runs: Sequence[EvaluatedRun],
    levels: Levels,
    factors: Sequence[Factor],
    cells: Mapping[Cell, Mapping[str, tuple[EvaluatedRun, ...]]],
) -> Iterator[tuple[str, str]]:
    """Names and overrides of the missing runs."""
    filled = {cell: replicates for cell, replicates in cells.items() if replicates}
    family = dict(zip(filled, connected(list(filled.values())), strict=True))
    example = {
        (factor.setting, level): levels.override(run, factor.setting)
        for factor in factors
        for run in reversed(runs)
        if (level := levels.of(run, factor.setting)) is not None
    }
    for cell, replicates in cells.items():
        words = [example[factor.setting, level] for factor, level in zip(factors, cell, strict=True)]
        if not replicates:
            yield ", ".join(cell), " ".join(words)
            continue
        needed = {one: other for name, other in filled.items() if family[name] == family[cell] for one in other}
        for replicate in sorted(needed.keys() - replicates):
            run = needed[replicate][replicate][0]
            others = [word for word in words if not word.startswith("adapter=")]
            yield (
                f"{', '.join(cell)} with another seed",
                " ".join([levels.override(run, "adapter"), *others, *([] if run.adapter else [replicate])]),
            )
