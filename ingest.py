"""Brings an index up to date with a corpus: `python ingest.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401, I001 (first: Ctrl-C while the others are imported)
from omegaconf import DictConfig

from cdsframe.cli.entry import entry
from cdsframe.config import build
from cdsframe.errors import InputError
from cdsframe.artifacts.run import Run


@entry
def main(cfg: DictConfig, run: Run) -> float:
    """Builds the components in order and ingests; returns what the report counts as its score."""
    embedder = build(cfg.embedder)
    chunking = build(cfg.chunking, embedder=embedder)
    index = build(cfg.index, identity={"embedder": embedder.identity, "chunking": chunking.identity})
    corpus = build(cfg.corpus)
    report = build(cfg.ingestion, corpus=corpus, chunking=chunking, embedder=embedder, index=index)
    run.finish(report.metrics, {"index": index.digest})
    print(report.text)
    if report.failure:
        raise InputError(report.failure)
    return report.score


if __name__ == "__main__":
    main()
