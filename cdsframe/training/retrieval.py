"""Shared by the training of embedders and rerankers: builds the pairs, runs the training, publishes the result.

Does not define a loss and does not load a model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cdsframe.artifacts.adapter import publish, require_publishable
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import write_json, write_text
from cdsframe.artifacts.packaged import model_path, public_name, weights_digest
from cdsframe.artifacts.run import Run
from cdsframe.contracts import DataSource, System
from cdsframe.training.pairs import Pair, PairBuilder, comparable
from cdsframe.types import Metrics

if TYPE_CHECKING:
    from cdsframe.training.module import TrainingModule

log = logging.getLogger(__name__)


class Trained(Protocol):
    """A model that is trained on pairs and can be saved into a folder."""

    model: Any

    def collate(self, pairs: Sequence[Pair], rank: int, world_size: int) -> list[dict[str, Any]]:
        """Returns a process's micro-batches of one effective batch."""

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, on which data, and where the result is published.

    Args:
        kind: `embedder` or `reranker`; also the name of the result's folder in the run.
        base: name of the model that training starts from.
        use: options that use the result, with `FOLDER` for its folder; for the model card and the log.
        name: the run's name.
        published: unless in a multirun, the result is published in the folder `published/name`.
        measured: settings that the loss depends on besides model and pairs; losses with others cannot be compared.
    """

    kind: str
    base: str
    use: str
    data: DataSource
    run: Run
    name: str
    published: str
    measured: str

    @property
    def folder(self) -> Path:
        return self.run.folder / self.kind


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of both splits, and facts about them for the manifest."""

    train: list[Pair]
    validation: list[Pair]
    facts: Mapping[str, Any]

    @classmethod
    def mined(
        cls,
        task: Task,
        system: System,
        negatives: int,
        depth: int,
        train_limit: int | None,
        validation_limit: int | None,
        in_batch: bool,
    ) -> Pairs:
        """Builds pairs from the training questions that pass the contamination check, and from validation questions.

        Negatives come only from pages of the same split. `in_batch`: True: passages of other questions are negatives.
        """
        require_publishable(Path(task.published) / task.name)
        screening = system.contamination.screen(task.data.questions("train"), task.data, task.run.folder)
        train = PairBuilder(system.retriever, system.index, system.seed, negatives, depth).build(
            screening.kept, train_limit
        )
        held_out = PairBuilder(system.retriever, system.index, 0, negatives, depth)
        validation = held_out.build(task.data.questions("validation"), validation_limit)
        found = sum(1 for pair in train if pair.negatives)
        if negatives and system.retriever.searches and 2 * found < len(train):
            log.warning("the retriever found hard negatives for only %d of %d training questions", found, len(train))
        train, validation = comparable(train, in_batch, "training"), comparable(validation, in_batch, "validation")
        mined = sum(len(pair.negatives) for pair in train)
        log.info("%d training pairs with %d mined negatives, %d validation pairs", len(train), mined, len(validation))
        removed = {split: dict(rules) for split, rules in task.data.removed.items()}
        facts = {"contamination": screening.facts, "data": removed, "negatives": mined, "index": system.index.digest}
        return cls(train, validation, facts)


def train(
    system: System,
    task: Task,
    pairs: Pairs,
    trained: Trained,
    module: Callable[..., TrainingModule],
    batch_size: int,
    max_epochs: int,
    validations: int,
) -> float:
    """Trains on the pairs, keeps the best weights and publishes them.

    Args:
        module: makes the module from `model`, `optimization`, `total_steps` and `export`.
        batch_size: questions per optimiser step.

    Returns the lowest validation loss (nats per question).
    """
    import lightning

    from cdsframe.training.fitting import Fitting
    from cdsframe.training.ranking import PairBatches

    fitting = Fitting(system, task.kind, max_epochs, validations, "32-true")
    batches = PairBatches(pairs.train, batch_size, trained.collate, system.seed, shuffle=True, **fitting.place)
    held_out = PairBatches(pairs.validation, batch_size, trained.collate, system.seed, shuffle=False, **fitting.place)
    model = trained.model.to(fitting.device).train()
    tuning = module(
        model=model,
        optimization=system.optimization,
        total_steps=fitting.steps(batches),
        export=trained.save,
    )
    lightning.seed_everything(system.seed + fitting.place["rank"], verbose=False)  # each process has its own dropout
    before = fitting.validate(tuning, held_out)
    inputs = {
        "training pairs": _digest(pairs.train),
        "validation pairs": _digest(pairs.validation),
        "model": weights_digest(model_path(task.base)),
    }
    metrics = fitting.run(tuning, batches, held_out, inputs)
    if fitting.writes:
        _publish(task, pairs, metrics | {"train/pairs": float(len(pairs.train)), "val/loss_before": before})
        fitting.end()
    return metrics["val/loss"]


def _digest(pairs: Sequence[Pair]) -> str:
    """Returns a digest of the pairs. Losses over pairs with another digest cannot be compared."""
    return digest(*(f"{pair.id}|{pair.positive.id}|{[n.id for n in pair.negatives]}" for pair in pairs))


def _publish(task: Task, pairs: Pairs, metrics: Metrics) -> None:
    """Writes manifest and card, publishes the folder in a single run, and marks the run as complete."""
    digests = {task.kind: weights_digest(task.folder)}
    base = public_name(task.base)
    facts = {
        "base": base,
        "scope": task.data.scope,
        "validation": digest(task.measured, _digest(pairs.validation)),
        **pairs.facts,
    }
    manifest = task.run.manifest(digests, metrics=metrics, **facts)
    write_json(task.folder / "manifest.json", manifest)
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(metrics.items()))
    write_text(
        task.folder / "README.md",
        f"# {task.name}\n\nThe {task.kind} `{base}`, fine-tuned by cdsframe on questions and passages of: "
        f"{task.data.scope}.\nUse it by `{task.use}`.\n\n| metric | value |\n|---|---|\n{rows}\n\n"
        "Do not give this model to anyone who may not see the training data.\n",
    )
    target = Path(task.published) / task.name
    task.run.record_output(task.kind, target)
    if task.run.sweep_folder is None:
        publish(task.folder, target)
        log.info("the %s is in %s; use it by %s", task.kind, target, task.use.replace("FOLDER", str(target)))
    task.run.finish(metrics, digests, **facts)
