"""Measures a composition and compares runs: `python evaluate.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401, I001 (first: Ctrl-C while the others are imported)
from omegaconf import DictConfig

from cdsframe.artifacts.adapter import require_match
from cdsframe.confidence import identity_of, open_calibration
from cdsframe.cli.entry import entry
from cdsframe.config import build, examine
from cdsframe.pipeline import Pipeline
from cdsframe.artifacts.run import Run


@entry
def main(cfg: DictConfig, run: Run) -> float:
    """Builds the components in order and evaluates; returns the evaluation's headline number."""
    quantization, prompt = build(cfg.quantization), build(cfg.prompt)
    model = build(cfg.model, quantization=quantization, adapter=cfg.adapter)
    require_match(cfg.adapter, model=model, quantization=quantization, prompt=prompt)
    examine(cfg, model)
    embedder = build(cfg.embedder)
    index = build(cfg.index, identity={"embedder": embedder.identity})
    data = build(cfg.data, corpus=build(cfg.corpus))
    generator = build(cfg.generator, model=model, seed=cfg.seed)
    retriever = build(cfg.retriever, index=index, embedder=embedder, fusion=build(cfg.fusion), data=data, seed=cfg.seed)
    retriever = build(cfg.expansion, retriever=retriever, index=index, generator=generator)
    reranker, context = build(cfg.reranker), build(cfg.context, embedder=embedder, index=index)
    identity = identity_of(run, model=model, quantization=quantization, embedder=embedder)
    calibration = open_calibration(cfg.calibration, identity)
    result = build(
        cfg.evaluation,
        pipeline=Pipeline(retriever, reranker, context, prompt, generator, calibration),
        model=model,
        index=index,
        data=data,
        retriever=retriever,
        reranker=reranker,
        context=context,
        prompt=prompt,
        calibration=calibration,
        run=run,
        seed=cfg.seed,
    )
    print(f"{result.text}\nin {run.folder}")
    return result.value


if __name__ == "__main__":
    main()
