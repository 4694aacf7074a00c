"""Answers one question in the terminal: `python ask.py --help`."""

import cdsframe.cli.interrupt  # noqa: F401, I001 (first: Ctrl-C while the others are imported)
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cdsframe.artifacts.adapter import require_match
from cdsframe.confidence import identity_of, open_calibration
from cdsframe.cli.entry import entry
from cdsframe.config import build, examine
from cdsframe.pipeline import Pipeline
from cdsframe.artifacts.run import Run
from cdsframe.serving.terminal import show_answer, show_hits


@entry
def main(cfg: DictConfig, run: Run) -> None:
    """Builds the pipeline in order, prints the hits, then the answer with its sources and confidence."""
    embedder = build(cfg.embedder)
    index = build(cfg.index, identity={"embedder": embedder.identity})
    quantization, prompt = build(cfg.quantization), build(cfg.prompt)
    model = build(cfg.model, quantization=quantization, adapter=cfg.adapter)
    require_match(cfg.adapter, model=model, quantization=quantization, prompt=prompt)
    examine(cfg, model)
    generator = build(cfg.generator, model=model, seed=cfg.seed)
    retriever = build(cfg.retriever, index=index, embedder=embedder, fusion=build(cfg.fusion), seed=cfg.seed)
    identity = identity_of(run, model=model, quantization=quantization, embedder=embedder)
    pipeline = Pipeline(
        retriever=build(cfg.expansion, retriever=retriever, index=index, generator=generator),
        reranker=build(cfg.reranker),
        context=build(cfg.context, embedder=embedder, index=index),
        prompt=prompt,
        generator=generator,
        calibration=open_calibration(cfg.calibration, identity),
        index=index,
    )
    fields: Any = OmegaConf.to_container(cfg.filter, resolve=True)
    filter = {field: value for field, value in fields.items() if value is not None}
    question = str(cfg.question)
    if pipeline.generator.max_new_tokens == 0:
        hits = pipeline.search(question, filter)
        show_hits(hits, question, reason="" if hits else pipeline.unmatched(filter))
    else:
        answer = pipeline.answer(question, filter)
        show_hits(answer.hits, question, reason=answer.reason)
        show_answer(answer)


if __name__ == "__main__":
    main()
