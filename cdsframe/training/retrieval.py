"""What the training of an embedder and of a reranker share: pairs, the course of the run, and what it leaves behind.

Does not know a loss and loads no model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from cdsframe.adapter import adapter_digest, publish
from cdsframe.contamination import Contamination, NoContamination
from cdsframe.errors import CdsframeError
from cdsframe.files import atomic_folder, read_json, remove_partials, write_json, write_text
from cdsframe.packaged import model_path
from cdsframe.run import Run
from cdsframe.training.checkpoint import Checkpoints, alone
from cdsframe.training.pairs import Pair, PairBuilder
from cdsframe.types import Index, Metrics, Question, Retriever, digest

if TYPE_CHECKING:
    from cdsframe.training.fitting import Course, Plan
    from cdsframe.training.module import SupervisedFineTuning
    from cdsframe.training.ranking import PairBatches

log = logging.getLogger(__name__)

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]


class Data(Protocol):
    scope: str
    removed: Mapping[str, Mapping[str, int]]

    def questions(self, split: str) -> list[Question]: ...


class Trained(Protocol):
    """A model that can be saved into a folder."""

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, and from what.

    Args:
        kind: `embedder` or `reranker`: the folder's name in the run, and what the card says.
        base: the name of the model that training begins with.
        use: how the result is used, `FOLDER` standing for where it lies.
        published: the folder of which the result goes into `name`, in a single run.
        measured: what the loss depends on besides model and pairs: losses by another cannot be compared.
    """

    kind: str
    base: str
    use: str
    data: Data
    run: Run
    name: str
    published: str
    measured: str

    @property
    def folder(self) -> Path:
        return self.run.folder / self.kind

    @property
    def ended(self) -> float | None:
        """The loss of a run that is gone on with and has ended: its metrics stand there, its checkpoints are gone."""
        metrics = self.run.folder / "metrics.json"
        if not self.run.resumed or (self.run.folder / "checkpoints").is_dir() or not metrics.is_file():
            return None
        log.info("the run in %s has ended already; its %s is in %s", self.run.folder, self.kind, self.folder)
        return float(read_json(metrics, "resume")["val/loss"])


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of both splits, and what is to be told of them."""

    train: list[Pair]
    validation: list[Pair]
    facts: Mapping[str, Any]

    @classmethod
    def mined(
        cls,
        task: Task,
        contamination: Contamination | NoContamination,
        retriever: Retriever,
        index: Index,
        seed: int,
        negatives: int,
        depth: int,
        train_limit: int | None,
        validation_limit: int | None,
    ) -> Pairs:
        """Of the screened training questions; of the validation questions with negatives from their own pages."""
        screening = contamination.screen(task.data.questions("train"), task.data, task.run.folder)
        train = PairBuilder(retriever, index, seed, negatives, depth).build(screening.kept, train_limit)
        held_out = PairBuilder(retriever, index, 0, negatives, depth)
        validation = held_out.build(task.data.questions("validation"), validation_limit)
        mined = sum(len(pair.negatives) for pair in train)
        log.info("%d training pairs with %d mined negatives, %d validation pairs", len(train), mined, len(validation))
        removed = {split: dict(rules) for split, rules in task.data.removed.items()}
        facts = {"contamination": screening.facts, "data": removed, "negatives": mined, "index": index.digest}
        return cls(train, validation, facts)


def course(
    task: Task,
    pairs: Pairs,
    tuning: SupervisedFineTuning,
    trained: Trained,
    batches: Sequence[PairBatches],
    plan: Plan,
    devices: Any,
    logger: Sequence[Any],
) -> float:
    """Trains by batches of training and of validation pairs, keeps the best weights, publishes them.

    Returns the lowest validation loss (nats per question).
    """
    from cdsframe.training.fitting import Fit

    identity = {
        "training pairs": _digest(pairs.train),
        "validation pairs": _digest(pairs.validation),
        "model": adapter_digest(Path(model_path(task.base))),
    }
    checkpoints = Checkpoints(task.run.folder / "checkpoints", identity)
    loggers = [opened for one in logger if (opened := one.open()) is not None]
    before = tuning.validate(batches[1], lambda: False)
    keeper = _Best(task.folder, trained)
    with alone(task.run.folder):
        done = Fit(plan, tuning, batches[0], batches[1], devices, checkpoints, keeper, loggers).run()
    if "val/loss" not in keeper.metrics:
        raise CdsframeError("no validation loss was finite, so nothing was kept; lower training.learning_rate")
    metrics = keeper.metrics | {"train/pairs": float(len(pairs.train)), "val/loss_before": float(before or 0.0)}
    metrics["train/tokens_per_second"] = done.tokens_per_second
    _finish(task, pairs, metrics)
    checkpoints.remove()
    return metrics["val/loss"]


class _Best:
    """Keeps the model in `folder` whenever the validation loss is the lowest so far, its metrics beside it."""

    def __init__(self, folder: Path, trained: Trained) -> None:
        self._folder, self._trained = folder, trained
        self.metrics: Metrics = {}

    def go_on(self) -> None:
        """Takes up what the interrupted run has kept."""
        remove_partials(self._folder)
        if (self._folder / "metrics.json").is_file():
            self.metrics = read_json(self._folder / "metrics.json", "resume")

    def validated(self, loss: float, course: Course) -> None:
        """Called after each validation."""
        if not loss < self.metrics.get("val/loss", float("inf")):
            return
        last = next(row["train/loss"] for row in reversed(course.history) if "train/loss" in row)
        self.metrics = {"val/loss": loss, "train/steps": float(course.step), "train/loss": last}
        with atomic_folder(self._folder) as partial:
            self._trained.save(partial)
            write_json(partial / "metrics.json", self.metrics)


def _digest(pairs: Sequence[Pair]) -> str:
    """Equal where the pairs are: losses over others cannot be compared."""
    return digest(*(f"{pair.id}|{pair.positive.id}|{[n.id for n in pair.negatives]}" for pair in pairs))


def _finish(task: Task, pairs: Pairs, metrics: Metrics) -> None:
    """Writes metrics, manifests and card, and publishes the folder in a single run."""
    digests = {task.kind: adapter_digest(task.folder)}
    base = Path(task.base).name if Path(task.base).is_dir() else task.base
    facts = {
        "base": base,
        "scope": task.data.scope,
        "validation": digest(task.measured, _digest(pairs.validation)),
        **pairs.facts,
    }
    task.run.finish(metrics, digests, **facts)
    manifest = task.run.manifest(digests, metrics=metrics, **facts)
    write_json(task.folder / "manifest.json", manifest)
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(metrics.items()))
    write_text(
        task.folder / "README.md",
        f"# {task.name}\n\nA {task.kind}: `{base}`, fine-tuned by cdsframe on questions and passages of: "
        f"{task.data.scope}.\nUse it by `{task.use}`.\n\n| metric | value |\n|---|---|\n{rows}\n\n"
        "Whoever may not see the training data should not get this model.\n",
    )
    if task.run.sweep_folder is None:
        target = Path(task.published) / task.name
        remove_partials(target)
        publish(task.folder, target)
        log.info("the %s is in %s; use it by %s", task.kind, target, task.use.replace("FOLDER", str(target)))
