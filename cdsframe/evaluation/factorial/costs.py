"""What a combination costs per question, from its runs' metrics and manifests. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from cdsframe.evaluation.factorial.settings import EvaluatedRun

COSTS = {
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
    "seconds": "seconds",
    "cpu_seconds": "CPU-seconds",
    "peak_mib": "peak MiB",
}
"""Key -> column of the table. All are per question, except the peak: resident memory of the process."""


def costs(replicates: Mapping[str, Sequence[EvaluatedRun]]) -> dict[str, float]:
    """The mean costs of a combination's runs, and the largest peak; omits what a run did not record."""
    each = [_run_costs(run) for runs in replicates.values() for run in runs]
    shared = [key for key in COSTS if all(key in one for one in each)]
    return {key: (max if key == "peak_mib" else fmean)(one[key] for one in each) for key in shared}


def _run_costs(run: EvaluatedRun) -> dict[str, float]:
    metrics, manifest, count = run.results.metrics, run.manifest, len(run.results.rows)
    names = {
        "prompt_tokens": "qa/prompt_tokens",
        "completion_tokens": "qa/completion_tokens",
        "seconds": "qa/seconds_per_question",
    }
    found = {key: metrics[name] for key, name in names.items() if name in metrics}
    if answered_from_cache(run) or "answering_cpu_seconds" not in manifest or not count:
        return found
    found["cpu_seconds"] = manifest["answering_cpu_seconds"] / count
    if "peak_mib" in manifest:
        found["peak_mib"] = manifest["peak_mib"]
    return found


def answered_from_cache(run: EvaluatedRun) -> bool:
    """Whether the run read any answer from the cache instead of computing it."""
    return bool(run.manifest.get("read_from_cache"))


def any_from_cache(cells: Iterable[Mapping[str, Sequence[EvaluatedRun]]]) -> bool:
    """Whether `answered_from_cache` is true of any run."""
    return any(answered_from_cache(run) for cell in cells for runs in cell.values() for run in runs)
