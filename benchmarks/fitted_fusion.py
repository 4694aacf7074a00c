"""Whether retrieval with fitted weights is as good as its better leg, with an untuned and a tuned embedder.

    CDSFRAME_DATA=FOLDER python benchmarks/fitted_fusion.py [medquad fairytaleqa scifact] [--embedder FOLDER]

`--embedder FOLDER` names an embedder that `train.py training=embedder` made; without it, all-MiniLM-L6-v2 is untuned.
Runs `evaluation=tune` for retriever=hybrid and hierarchical (fusion=zscore): nDCG@10 with the weights as they are by
default, cross-fitted, and of each leg alone; the paired difference of the cross-fitted weights to the better leg, with
its 95 % interval over clusters of queries. Writes outputs/benchmarks/fitted_fusion-*.json. Vectors are kept in
outputs/benchmarks/vectors.sqlite, so that a second run does not encode again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.quality import OUT, SETS, ingested, load
from benchmarks.vectors import KeptVectors, minilm
from cdsframe.artifacts.files import write_jsonl
from cdsframe.artifacts.run import Run, processor
from cdsframe.evaluation import tune
from cdsframe.evaluation.ranking import Qrels
from cdsframe.evaluation.retrieval import JudgedQuery
from cdsframe.fusion import ZScore
from cdsframe.retriever.flat import Hybrid
from cdsframe.retriever.hierarchical import Hierarchical

GRID, FOLDS, SEED = [0, 0.25, 0.5, 1, 2], 5, 1
MARGIN = 0.01
"""How much nDCG@10 may be lost against the better leg, at the end of the interval."""


def measured(name: str, retriever: Any, index: Any, queries: str, qrels: str, folder: Path) -> dict[str, Any]:
    """The metrics of `evaluation=tune`, and the weights fitted to all queries."""
    run = Run(folder / name.replace(", ", "-"), "evaluate", SEED, "", {}, "fitted_fusion")
    system: Any = SimpleNamespace(retriever=retriever, index=index)
    result = tune.evaluate(system, run, SEED, queries, qrels, "validation", None, GRID, FOLDS, "never")
    print(f"{name}\n{result.text}\n", flush=True)
    weights = json.loads((run.folder / "weights.json").read_text(encoding="utf-8"))
    return {"metrics": result.metrics, "weights": weights}


def files(name: str, asked: Sequence[JudgedQuery], qrels: Qrels) -> tuple[str, str]:
    """The set's queries and judgements as files that an evaluation reads."""
    queries, judgements = OUT / f"fitted-{name}-queries.jsonl", OUT / f"fitted-{name}-qrels.tsv"
    write_jsonl(queries, ({"query_id": query.id, "text": query.text} for query in asked))
    rows = (f"{query.id}\t{id}\t{grade}\n" for query in asked for id, grade in qrels.get(query.id, {}).items())
    judgements.write_text("".join(rows), encoding="utf-8")
    return str(queries), str(judgements)


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    head = "| set, retriever | default weights | fitted | BM25 alone | kNN alone | fitted - better leg | loss <= .01 |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, result in results.items():
        m = result["metrics"]
        low = m["retrieval/best_leg_difference/ci_low"]
        difference = (
            f"{m['retrieval/best_leg_difference']:+.3f} [{low:+.3f}, "
            f"{m['retrieval/best_leg_difference/ci_high']:+.3f}], p {m['retrieval/best_leg_p']:.4f}"
        )
        found = [m[f"retrieval/ndcg@10{part}"] for part in ("", "_tuned", "_bm25", "_knn")]
        cells = " | ".join(f"{value:.3f}" for value in found)
        lines.append(f"| {name} | {cells} | {difference} | {'yes' if low >= -MARGIN else 'no'} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=SETS, help=f"of {', '.join(SETS)}; all where none is named")
    parser.add_argument("--embedder", help="folder of a tuned embedder")
    options = parser.parse_args()
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"no set {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    if "CDSFRAME_DATA" not in os.environ:
        parser.error("set CDSFRAME_DATA to the folder with the data sets")
    OUT.mkdir(parents=True, exist_ok=True)
    embedder = KeptVectors(minilm(options.embedder) if options.embedder else minilm())
    kind, results = "tuned" if options.embedder else "untuned", {}
    for name in options.sets:
        corpus, asked, judged = load(name, Path(os.environ["CDSFRAME_DATA"]))
        index = ingested(name, corpus, "lance", embedder)
        queries, qrels = files(name, asked, judged)
        levels = {"document": None, "title": None, "section": None}
        for form, retriever in {
            "hybrid": Hybrid(50, 100, index, embedder, ZScore({})),
            "hierarchical": Hierarchical(50, 100, levels, index, embedder, ZScore({})),
        }.items():
            title = f"{name}, {kind}, {form}"
            results[title] = measured(title, retriever, index, queries, qrels, OUT / "fitted_fusion")
    kept = OUT / f"fitted_fusion-{kind}.json"
    kept.write_text(json.dumps({"processor": processor(), "results": results}, indent=1) + "\n", encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
