"""Fine-tunes a model on questions with their passages: `python train.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401, I001 (first: Ctrl-C while the others are imported)
from omegaconf import DictConfig

from cdsframe.artifacts.adapter import kind_left
from cdsframe.cli.entry import entry
from cdsframe.config import build, examine
from cdsframe.artifacts.run import Run


@entry
def main(cfg: DictConfig, run: Run) -> float:
    """Builds the components in order and trains; returns the lowest validation loss."""
    embedder = build(cfg.embedder)
    corpus = build(cfg.corpus)
    chunking = build(cfg.chunking, embedder=embedder)
    index = build(cfg.index, identity={"embedder": embedder.identity, "chunking": chunking.identity})
    data = build(cfg.data, corpus=corpus)
    for split in ("train", "validation"):
        data.questions(split)  # a file that cannot be used is refused before any work
    quantization, trainer = build(cfg.quantization), build(cfg.trainer)
    model = build(cfg.model, quantization=quantization, adapter=None)
    examine(cfg, model)
    retriever = build(cfg.retriever, index=index, embedder=embedder, fusion=build(cfg.fusion), data=data, seed=cfg.seed)
    if index.ephemeral and retriever.top_k > 0:
        build(cfg.ingestion, corpus=corpus, chunking=chunking, embedder=embedder, index=index)
    loggers = [build(node, run=run, name=cfg.name) for node in cfg.logger.values() if node is not None]
    failed = True
    try:
        loss = build(
            cfg.training,
            model=model,
            quantization=quantization,
            lora=build(cfg.lora),
            data=data,
            contamination=build(cfg.contamination),
            embedder=embedder,
            retriever=retriever,
            index=index,
            prompt=build(cfg.prompt),
            trainer=trainer,
            logger=loggers,
            run=run,
            name=cfg.name,
            seed=cfg.seed,
        )
        failed = False
    finally:
        for logger in loggers:
            logger.close(failed)
    if trainer.first:
        kind, where = kind_left(run.folder), str(run.folder)
        if kind is not None:
            where = f"{cfg.training[f'{kind}s']}/{cfg.name}" if run.sweep_folder is None else f"{run.folder}/{kind}"
        print(f"{'validation loss ' if kind not in (None, 'model') else ''}{loss:.4f}; {kind or 'figures'} in {where}")
    return float(loss)


if __name__ == "__main__":
    main()
