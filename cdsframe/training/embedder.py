"""`training=embedder`: fine-tunes the configured embedder on questions and the passages that answer them.

Uses sentence-transformers (Sentence-BERT, arXiv 1908.10084) and writes its format. To use the result, set
`embedder.name=FOLDER` and keep the other options of the embedder; then ingest the corpus again. Does not mine pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.contracts import System
from cdsframe.contracts.declarations import declares
from cdsframe.embedder.library import trainable
from cdsframe.text.search_form import search_form
from cdsframe.training.completion import ended
from cdsframe.training.pairs import Pair
from cdsframe.training.retrieval import Pairs, Task, train
from cdsframe.training.settings import Count, Positive

if TYPE_CHECKING:
    import torch


@declares(
    trains="embedder", needs=("embedder", "data", "contamination", "retriever", "index", "optimization", "trainer")
)
def tune(
    system: System,
    batch_size: Annotated[int, Field(ge=2)],
    max_epochs: Count,
    scale: Positive,
    negatives: Annotated[int, Field(ge=0)],
    depth: Count,
    max_tokens: Annotated[int, Field(ge=16)],
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    embedders: str,
) -> float:
    """Fine-tunes the embedder. Writes the best one to the run's folder and, unless in a multirun, to `embedders/NAME`.

    Resumes from the last checkpoint if the run was interrupted. Returns the lowest validation loss (nats per question,
    among the passages of its batch).
    """
    import lightning

    from cdsframe.training.ranking import Contrastive

    if (loss := ended(system.run, "embedder")) is not None:
        return loss
    settings = dict(system.embedder.identity)
    measured = f"{scale}|{batch_size}|{max_tokens}"
    task = Task(
        "embedder", settings["name"], "embedder.name=FOLDER", system.data, system.run, system.name, embedders, measured
    )
    lightning.seed_everything(system.seed, verbose=False)
    pairs = Pairs.mined(task, system, negatives, depth, train_limit, validation_limit, in_batch=True)
    encoder = _TrainedEncoder(settings, max_tokens)
    lightning.seed_everything(system.seed, verbose=False)
    module = partial(Contrastive, scale=scale)
    return train(system, task, pairs, encoder, module, batch_size, max_epochs, validations)


class _TrainedEncoder:
    """The embedder as a model of sentence-transformers.

    Args:
        settings: the embedder's identity.
        max_tokens: maximum tokens of a text in training; longer texts are truncated. The saved model keeps the
            embedder's own maximum.
    """

    def __init__(self, settings: Mapping[str, Any], max_tokens: int) -> None:
        self._max_tokens = min(max_tokens, settings["max_tokens"])
        self.model, prompts = trainable(settings)
        self._settings = {**settings, **{f"{side}_prefix": prompt for side, prompt in prompts.items()}}

    def collate(self, pairs: Sequence[Pair], rank: int, world_size: int) -> list[dict[str, Any]]:
        """Returns one micro-batch with this process's share of all pairs."""
        from cdsframe.training.ranking import together

        queries, passages = (partial(self._tokenize, self._settings[f"{side}_prefix"]) for side in ("query", "passage"))
        return together(pairs, queries, passages, rank, world_size)

    def _tokenize(self, prefix: str, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        settings: dict[str, Any] = {"truncation": True, "max_length": self._max_tokens, "padding": True}
        read = [prefix + search_form(text) for text in texts]
        return dict(self.model.tokenizer(read, return_tensors="pt", **settings))

    def save(self, folder: Path) -> None:
        """Writes the model in the format of sentence-transformers."""
        self.model.save_pretrained(str(folder), create_model_card=False)
