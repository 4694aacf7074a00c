"""`training=reranker`: trains a cross-encoder on questions and passages, from an encoder or from a cross-encoder.

Nogueira and Cho, arXiv 1901.04085. `reranker=cross_encoder reranker.name=FOLDER` uses the result. Does not mine pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.artifacts.packaged import model_path
from cdsframe.contracts import System
from cdsframe.contracts.declarations import declares
from cdsframe.errors import ConfigError
from cdsframe.text.search_form import search_form
from cdsframe.training.completion import ended
from cdsframe.training.pairs import Pair
from cdsframe.training.retrieval import Pairs, Task, train
from cdsframe.training.settings import Count

if TYPE_CHECKING:
    import torch


@declares(trains="reranker", needs=("data", "contamination", "retriever", "index", "optimization", "trainer"))
def tune(
    system: System,
    base: str,
    batch_size: Count,
    micro_batch_size: Count,
    max_epochs: Count,
    negatives: Count,
    depth: Count,
    max_tokens: Annotated[int, Field(ge=16)],
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    rerankers: str,
) -> float:
    """Fine-tunes the reranker. Writes the best one to the run's folder and, unless in a multirun, to `rerankers/NAME`.

    Resumes from the last checkpoint if the run was interrupted. Returns the lowest validation loss (nats per question,
    among its positive and its mined negatives).
    """
    import lightning

    from cdsframe.training.ranking import Listwise

    if (loss := ended(system.run, "reranker")) is not None:
        return loss
    use = "reranker=cross_encoder reranker.name=FOLDER"
    task = Task("reranker", base, use, system.data, system.run, system.name, rerankers, measured=str(max_tokens))
    lightning.seed_everything(system.seed, verbose=False)
    pairs = Pairs.mined(task, system, negatives, depth, train_limit, validation_limit, in_batch=False)
    lightning.seed_everything(system.seed, verbose=False)  # a new head begins with random weights
    classifier = _Classifier(base, max_tokens, micro_batch_size)
    return train(system, task, pairs, classifier, Listwise, batch_size, max_epochs, validations)


class _Classifier:
    """A sequence classifier with one output; its head is new if the base has none, or one with several outputs.

    Args:
        max_tokens: maximum tokens of question and passage together; the longer of the two is truncated.
        micro_batch_size: questions in memory at once.

    Raises ConfigError if the base reads fewer than `max_tokens`.
    """

    def __init__(self, base: str, max_tokens: int, micro_batch_size: int) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        path = model_path(base)
        self._max_tokens, self._micro_batch_size = max_tokens, micro_batch_size
        self._tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=1, ignore_mismatched_sizes=True, dtype=torch.float32
        )
        positions = getattr(self.model.config, "max_position_embeddings", max_tokens)
        if max_tokens > (most := min(positions, self._tokenizer.model_max_length)):
            raise ConfigError(f"training.max_tokens={max_tokens} must be <= {most}: {base} reads no more tokens")

    def collate(self, pairs: Sequence[Pair], rank: int, world_size: int) -> list[dict[str, Any]]:
        """Returns micro-batches of `micro_batch_size` questions with their passages."""
        from cdsframe.training.ranking import side_by_side

        return side_by_side(pairs[rank::world_size], self._tokenize, self._micro_batch_size)

    def _tokenize(self, texts: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
        questions, passages = ([*map(search_form, side)] for side in zip(*texts, strict=True))
        settings: dict[str, Any] = {"truncation": "longest_first", "max_length": self._max_tokens, "padding": True}
        return dict(self._tokenizer(questions, passages, return_tensors="pt", **settings))

    def save(self, folder: Path) -> None:
        """Writes model and tokenizer in the format of transformers."""
        self.model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)
