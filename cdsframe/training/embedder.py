"""`training=embedder`: fine-tunes the configured embedder on questions and the passages that answer them.

Sentence-BERT (arXiv 1908.10084) by sentence-transformers, whose format the result has; `embedder.name=FOLDER` uses it
with the options of the one it began with. An index has to be made anew with it. Trains on one device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.artifacts.run import Run
from cdsframe.contamination import Contamination, NoContamination
from cdsframe.contracts import DataSource, Embedder, Index, Logger, Retriever, Trainer
from cdsframe.contracts.declarations import declares
from cdsframe.embedder.library import trainable
from cdsframe.text.search_form import search_form
from cdsframe.training.keeping import ended
from cdsframe.training.pairs import Pair
from cdsframe.training.retrieval import Pairs, Recipe, Task, course
from cdsframe.training.settings import Count, NonNegative, Positive, Share

if TYPE_CHECKING:
    import torch


@declares(trains="embedder")
def tune(
    embedder: Embedder,
    data: DataSource,
    contamination: Contamination | NoContamination,
    retriever: Retriever,
    index: Index,
    trainer: Trainer,
    logger: list[Logger],
    run: Run,
    name: str,
    seed: int,
    batch_size: Annotated[int, Field(ge=2)],
    max_epochs: Count,
    learning_rate: Positive,
    warmup_share: Share,
    weight_decay: NonNegative,
    clip_norm: Positive,
    scale: Positive,
    negatives: Annotated[int, Field(ge=0)],
    depth: Count,
    max_tokens: Annotated[int, Field(ge=16)],
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    patience: Count,
    checkpoint_steps: Count | None,
    checkpoint_minutes: Positive | None,
    embedders: str,
) -> float:
    """Fine-tunes and leaves the best embedder in the run's folder and, in a single run, in `embedders/name`.

    Where the run goes on with one that was interrupted, from its last checkpoint. Returns the lowest validation loss
    (nats per question, among the passages of its batch).
    """
    import lightning

    from cdsframe.training.ranking import Contrastive

    if (loss := ended(run, "embedder")) is not None:
        return loss
    settings = dict(embedder.identity)
    measured = f"{scale}|{batch_size}|{max_tokens}"
    task = Task("embedder", settings["name"], "embedder.name=FOLDER", data, run, name, embedders, measured)
    devices = trainer.launch("32-true")
    lightning.seed_everything(seed, verbose=False)
    limits = train_limit, validation_limit
    pairs = Pairs.mined(task, contamination, retriever, index, seed, negatives, depth, *limits, in_batch=True)
    encoder = _TrainedEncoder(settings, max_tokens)
    lightning.seed_everything(seed, verbose=False)
    recipe = Recipe(
        batch_size=batch_size,
        max_epochs=max_epochs,
        learning_rate=learning_rate,
        warmup_share=warmup_share,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        validations=validations,
        patience=patience,
        checkpoint_steps=checkpoint_steps,
        checkpoint_minutes=checkpoint_minutes,
        seed=seed,
    )
    return course(task, pairs, recipe, encoder, partial(Contrastive, scale=scale), trainer, devices, logger)


class _TrainedEncoder:
    """The embedder as a model of sentence-transformers.

    Args:
        settings: the embedder's identity.
        max_tokens: how many tokens of a text are read in training; the result reads as many as the embedder does.
    """

    def __init__(self, settings: Mapping[str, Any], max_tokens: int) -> None:
        self._max_tokens = min(max_tokens, settings["max_tokens"])
        self.model, prompts = trainable(settings)
        self._settings = {**settings, **{f"{side}_prefix": prompt for side, prompt in prompts.items()}}

    def collate(self, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        """One micro-batch of all pairs."""
        from cdsframe.training.ranking import together

        queries, passages = (partial(self._tokenize, self._settings[f"{side}_prefix"]) for side in ("query", "passage"))
        return together(pairs, queries, passages)

    def _tokenize(self, prefix: str, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        settings: dict[str, Any] = {"truncation": True, "max_length": self._max_tokens, "padding": True}
        read = [prefix + search_form(text) for text in texts]
        return dict(self.model.tokenizer(read, return_tensors="pt", **settings))

    def save(self, folder: Path) -> None:
        """In the format of sentence-transformers."""
        self.model.save_pretrained(str(folder), create_model_card=False)
