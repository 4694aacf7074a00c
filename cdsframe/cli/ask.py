"""Answers one question in the terminal."""

from typing import Any

from omegaconf import OmegaConf

from cdsframe.cli.entry import entry
from cdsframe.config import Composition
from cdsframe.serving.terminal import show_answer, show_hits


@entry
def main(system: Composition) -> None:
    """Prints the hits and, unless `generator=none`, the answer with its sources and confidence."""
    fields: Any = OmegaConf.to_container(system.cfg.filter, resolve=True)
    filter = {field: value for field, value in fields.items() if value is not None}
    question, pipeline = str(system.cfg.question), system.pipeline
    if not pipeline.generator.generates:
        hits = pipeline.search(question, filter)
        show_hits(hits, question, reason="" if hits else pipeline.unmatched(filter))
    else:
        answer = pipeline.answer(question, filter)
        show_hits(answer.hits, question, reason=answer.reason)
        show_answer(answer)


if __name__ == "__main__":
    main()
