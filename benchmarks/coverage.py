"""Measures the intervals and tests of `cdsframe.evaluation.statistics` by simulation: coverage, width, type I error.

    python benchmarks/coverage.py [--trials 2000] [--cells CELLS.csv]

Intervals: proportions of 10, 30 and 81 groups of uneven sizes (three distributions, 1 to about 30 questions a group),
true shares .05 to .95, intra-cluster correlation 0 and .3 (beta-binomial, and a mixture in which questions copy their
group's outcome), and graded scores. Width is divided by that of a normal interval which knows the true variance. Tests:
two runs whose answers could be exchanged, with 2 to 81 groups or 2 to 300 independent questions, right or wrong and
with fractional scores; and runs with a skewed difference whose mean is 0. Factorial designs: main effects and the
interaction of tuning and retrieval, without an effect, with one to five training seeds. Last, twenty runs of 300
questions are compared in pairs. Prints one line a kind, then a JSON object. No data, no model.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import last_line
from cdsframe.evaluation.factorial.design import Design, Factor
from cdsframe.evaluation.factorial.effects import Effect, contrasts, estimate
from cdsframe.evaluation.statistics import holm, interval, paired_differences

GROUPS, SHARES, CORRELATIONS = (10, 30, 81), (0.05, 0.4, 0.5, 0.85, 0.95), (0.0, 0.3)
SIZES = ("geometric", "lognormal", "linear")
NOMINAL = 0.93
"""Lowest coverage that counts as held; two Monte-Carlo errors are allowed below it."""


@dataclass(frozen=True)
class Cell:
    """One setting of the simulation and what was measured."""

    sizes: str
    outcomes: str
    groups: int
    questions: int
    correlation: float
    share: float
    coverage: float
    width: float


def group_sizes(kind: str, groups: int) -> np.ndarray:
    """Uneven numbers of questions, `[groups]`, equal for equal arguments."""
    chooser = np.random.default_rng(groups)
    if kind == "geometric":
        return chooser.geometric(0.25, groups)
    if kind == "lognormal":
        return np.maximum(1, chooser.lognormal(1.0, 0.9, groups).round()).astype(int)
    return np.linspace(1, 10, groups).round().astype(int)


def rights(
    share: float, correlation: float, outcomes: str, sizes: np.ndarray, trials: int, chooser: np.random.Generator
) -> np.ndarray:
    """Numbers of right answers, `[trials, groups]`, of questions with the given intra-cluster correlation."""
    if not correlation:
        each = np.full((trials, len(sizes)), share)
    elif outcomes == "beta":
        strength = 1 / correlation - 1
        each = chooser.beta(share * strength, (1 - share) * strength, (trials, len(sizes)))
    else:
        copied = math.sqrt(correlation)
        each = copied * (chooser.random((trials, len(sizes))) < share) + (1 - copied) * share
    return chooser.binomial(sizes, each)


def cells(trials: int, chooser: np.random.Generator) -> Iterator[Cell]:
    """Coverage and width of `interval` in every setting."""
    for kind in SIZES:
        for groups in GROUPS:
            sizes = group_sizes(kind, groups)
            names = np.repeat([str(number) for number in range(groups)], sizes).tolist()
            for correlation in CORRELATIONS:
                for outcomes in ("beta", "copies") if correlation else ("beta",):
                    for share in SHARES:
                        found = rights(share, correlation, outcomes, sizes, trials, chooser)
                        held, width = measured(found, sizes, names, share)
                        typical = float((sizes**2).sum() / sizes.sum())
                        variance = share * (1 - share) / sizes.sum() * (1 + (typical - 1) * correlation)
                        yield Cell(kind, outcomes, groups, int(sizes.sum()), correlation, share, held,
                                   width / (2 * 1.96 * math.sqrt(variance)))  # fmt: skip


def measured(found: np.ndarray, sizes: np.ndarray, names: list[str], share: float) -> tuple[float, float]:
    """The share of intervals that hold the true share, and their mean width."""
    held = width = 0.0
    for row in found:
        scores = np.concatenate([np.arange(size) < right for size, right in zip(sizes, row, strict=True)]).astype(float)
        one = interval(scores.tolist(), names)
        held += one.low <= share <= one.high
        width += one.high - one.low
    return held / len(found), width / len(found)


def graded(trials: int, chooser: np.random.Generator) -> dict[str, float]:
    """Setting -> coverage of the mean of scores between 0 and 1, of independent questions."""
    found = {}
    for questions in (10, 30, 100):
        kinds = chooser.random((trials, questions))
        between = chooser.random((trials, questions))
        like_f1 = np.where(kinds < 0.4, 0.0, np.where(kinds < 0.8, 1.0, between))
        rare = np.where(kinds < 0.03, 0.0, 0.7)
        for name, scores, mean in (("like F1", like_f1, 0.5), ("rare zeros", rare, 0.97 * 0.7)):
            ends = [interval(row.tolist(), [""] * questions) for row in scores]
            found[f"{name}, {questions} questions"] = float(np.mean([one.low <= mean <= one.high for one in ends]))
    return found


def skewed(trials: int, chooser: np.random.Generator) -> dict[str, float]:
    """Setting -> the share of p of at most .05 where the mean change is 0, but small gains go with rare losses."""
    found = {}
    for questions in (30, 100, 300):
        changes = np.where(chooser.random((questions, trials)) < 0.05, -0.95, 0.05)
        found[f"{questions} questions"] = rejected(changes, [""] * questions)
    return found


def type_1(trials: int, chooser: np.random.Generator) -> dict[str, float]:
    """Setting -> the share of p below .05 between two equally good runs."""
    rates = {}
    for groups in (2, 3, 5, 6, 10, 30, 81):
        sizes = group_sizes("geometric", groups)
        names = np.repeat([str(number) for number in range(groups)], sizes).tolist()
        first, second = (np.zeros((int(sizes.sum()), trials)) for _ in range(2))
        for scores in (first, second):
            each = np.repeat(chooser.beta(0.7, 0.7, (groups, trials)), sizes, axis=0)
            scores[:] = chooser.random(scores.shape) < each
        rates[f"{groups} groups"] = rejected(second - first, names)
        rates[f"{groups} groups, fractional"] = rejected((second - first) * chooser.random(first.shape), names)
    for questions in (2, 3, 5, 10, 30, 100, 300):
        hard = chooser.random((questions, 1))
        first, second = (chooser.random((questions, trials)) < hard for _ in range(2))
        rates[f"{questions} questions"] = rejected(second.astype(float) - first, [""] * questions)
    return rates


def rejected(changes: np.ndarray, names: list[str]) -> float:
    return float(np.mean([one.p <= 0.05 for one in paired_differences(changes, names)]))


def factorial_design(seeds: int) -> Design:
    """{base, tuned} x {closed-book, hybrid}, tuned with several seeds; without runs."""
    factors = (Factor("adapter", ("base", "tuned")), Factor("retriever", ("closed-book", "hybrid")))
    cells = product(*(factor.levels for factor in factors))
    replicates = {cell: [f"{cell[0]} {seed}" for seed in range(seeds if cell[0] == "tuned" else 1)] for cell in cells}
    # Each combination has other runs: here, their number stands for them.
    filled = {cell: dict.fromkeys(own, (place,)) for place, (cell, own) in enumerate(replicates.items())}
    return Design(factors, filled, {})  # type: ignore[arg-type]


def simulated_effects(design: Design, effect: float, interaction: float, chooser: np.random.Generator) -> list[Effect]:
    """Effects from scores of 30 groups of questions, which differ in how much tuning and retrieval help them."""
    groups = np.arange(30).repeat(chooser.integers(1, 4, 30))
    tuning, retrieval, both = 0.1 * chooser.normal(size=(3, 30))[:, groups]
    found = {}
    for (method, retriever), replicates in design.cells.items():
        rows, tuned, hybrid = len(replicates), method == "tuned", retriever == "hybrid"
        found[method, retriever] = (
            0.1 * chooser.normal(size=(rows, len(groups))) + tuned * (effect + tuning) + hybrid * retrieval
            + tuned * hybrid * (interaction + both)
        )  # fmt: skip
    for seed in range(len(design.cells["tuned", "hybrid"])):
        drawn = 0.03 * chooser.normal()
        for retriever in ("closed-book", "hybrid"):
            found["tuned", retriever][seed] += drawn
    return estimate(contrasts(design)[0], found, design.families, [*map(str, groups)], adjusted=True)


def factorial(trials: int, chooser: np.random.Generator) -> dict[str, float]:
    """Setting -> the share of p of at most .05 where retrieval and its interaction with tuning have no effect.

    The main effect of tuning counts only with several seeds: with one adapter, its luck is part of the effect.
    """
    found = {}
    for seeds in (1, 2, 5):
        design = factorial_design(seeds)
        effects = [simulated_effects(design, 0.0, 0.0, chooser) for _ in range(trials)]
        for place, name in enumerate(("tuning", "retrieval", "interaction")):
            if seeds > 1 or place:
                share = np.mean([one[place].estimate.p <= 0.05 for one in effects])
                found[f"{name}, {seeds} seeds"] = float(share)
    return found


def compare_seconds(chooser: np.random.Generator) -> float:
    """CPU-seconds to compare twenty runs of 300 questions in pairs by one measure, with Holm."""
    scores = (chooser.random((300, 20)) < 0.6).astype(float)
    names = [str(number // 4) for number in range(300)]
    started = time.process_time()
    pairs = [scores[:, b] - scores[:, a] for a in range(20) for b in range(a + 1, 20)]
    holm([one.p for one in paired_differences(np.array(pairs).T, names)])
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated evaluations per setting")
    parser.add_argument("--cells", type=Path, help="write every setting of the intervals to this CSV file")
    options = parser.parse_args()
    chooser = np.random.default_rng(1)
    found = []
    for cell in cells(options.trials, chooser):
        found.append(cell)
        print(f"\r{len(found)} settings", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if options.cells:
        with options.cells.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(found[0])))
            writer.writeheader()
            writer.writerows(asdict(cell) for cell in found)
    allowed = NOMINAL - 2 * math.sqrt(NOMINAL * (1 - NOMINAL) / options.trials)
    low = sorted((cell for cell in found if cell.coverage < allowed), key=lambda cell: cell.coverage)
    wide = sorted((cell for cell in found if cell.width > 1.3), key=lambda cell: -cell.width)
    print(f"coverage below {allowed:.3f}: {len(low)} of {len(found)} settings")
    print(f"mean width above 1.3 of the oracle's: {len(wide)} of {len(found)} settings")
    for cell in (*low[:8], *wide[:16]):
        setting = f"{cell.sizes} {cell.outcomes}, {cell.groups} groups, {cell.questions} questions"
        print(f"  {setting}, correlation {cell.correlation}, share {cell.share}: coverage {cell.coverage:.3f}, "
              f"width {cell.width:.2f}")  # fmt: skip
    rates = type_1(options.trials, chooser)
    worst = max(rates, key=lambda name: rates[name])
    print(f"p of at most .05 between exchangeable runs: in at most {rates[worst]:.3f} of cases ({worst})")
    by_grade, by_skew = graded(options.trials, chooser), skewed(options.trials, chooser)
    print(f"graded scores: coverage {', '.join(f'{value:.3f} ({name})' for name, value in by_grade.items())}")
    print(f"mean change 0, skewed: p of at most .05: {', '.join(f'{v:.3f} ({n})' for n, v in by_skew.items())}")
    by_effect = factorial(options.trials, chooser)
    print(f"no effect, p of at most .05: {', '.join(f'{value:.3f} ({name})' for name, value in by_effect.items())}")
    last_line(
        coverage_low=min(cell.coverage for cell in found),
        coverage_high=max(cell.coverage for cell in found),
        width_high=max(cell.width for cell in found),
        width_mean=sum(cell.width for cell in found) / len(found),
        type_1=max(rates.values()),
        graded_low=min(by_grade.values()),
        skewed_high=max(by_skew.values()),
        factorial_type_1=max(by_effect.values()),
        compare_cpu_seconds=compare_seconds(chooser),
    )


if __name__ == "__main__":
    main()
