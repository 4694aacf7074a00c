"""`training=sft`: supervised fine-tuning on questions with passages, the best adapter kept.

Composes examples, batches, the module and Lightning's trainer. Holds no model code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field

from cdsframe.adapter import adapter_digest, name_base, publish, write_card
from cdsframe.contamination import Contamination, NoContamination
from cdsframe.errors import CdsframeError
from cdsframe.files import atomic_folder, read_json, remove_partials, write_json
from cdsframe.prompt import Prompt
from cdsframe.run import Run
from cdsframe.training.checkpoint import Checkpoints, alone
from cdsframe.training.estimate import longest, needed, require_fit
from cdsframe.training.examples import Example, ExampleBuilder, sample
from cdsframe.training.optimizers import Optimizer
from cdsframe.types import Index, Metrics, Question, Retriever, digest

if TYPE_CHECKING:
    from cdsframe.training.fitting import Course

log = logging.getLogger(__name__)

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class _Data(Protocol):
    scope: str
    removed: Mapping[str, Mapping[str, int]]

    def questions(self, split: str) -> list[Question]: ...


def sft(
    model: Any,
    quantization: Any,
    lora: Any,
    data: _Data,
    contamination: Contamination | NoContamination,
    retriever: Retriever,
    index: Index,
    prompt: Prompt,
    trainer: Any,
    logger: list[Any],
    run: Run,
    name: str,
    seed: int,
    batch_size: Count,
    micro_batch_size: Count,
    micro_batch_tokens: Count | None,
    max_epochs: Count,
    learning_rate: Positive,
    warmup_share: Share,
    weight_decay: Annotated[float, Field(ge=0)],
    clip_norm: Positive,
    optimizer: Optimizer,
    loraplus_lr_ratio: Annotated[float, Field(ge=1)],
    fused: bool,
    max_length: Annotated[int, Field(ge=64)],
    no_gold_share: Share,
    shuffle_passages: bool,
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    patience: Count,
    checkpoint_steps: Count | None,
    checkpoint_minutes: Positive | None,
    adapters: str,
) -> float:
    """Fine-tunes and leaves the best adapter in the run's folder and, in a single run, in `adapters/name`.

    Where the run goes on with one that was interrupted, from its last checkpoint. Returns the lowest validation loss
    (nats per labelled token); with several processes, in each of them.
    """
    import lightning

    from cdsframe.lora import count_trainable
    from cdsframe.training.attention import choose
    from cdsframe.training.batches import Batches
    from cdsframe.training.fitting import Fit, Plan
    from cdsframe.training.fused import fuse
    from cdsframe.training.module import SupervisedFineTuning
    from cdsframe.training.speed import flops_per_token, matrix_peak

    if run.resumed and (ended := _ended(run.folder)) is not None:
        log.info("the run in %s has ended already; its adapter is in %s/adapter", run.folder, run.folder)
        return ended
    devices = trainer.launch("bf16-mixed" if str(model.compute_dtype) == "torch.bfloat16" else "32-true")
    lightning.seed_everything(seed, verbose=False)
    builder = ExampleBuilder(
        model.tokenizer, prompt, retriever, index, seed, no_gold_share, shuffle_passages, max_length
    )
    screening = contamination.screen(data.questions("train"), data, run.folder)
    train = builder.build(sample(screening.kept, train_limit, seed))
    validation = builder.build(sample(data.questions("validation"), validation_limit, seed=0))
    log.info("%d training and %d validation examples", len(train), len(validation))
    identity = {"training examples": _digest(train), "validation examples": _digest(validation), "model": model.digest}
    checkpoints = Checkpoints(run.folder / "checkpoints", identity)
    shape = longest(train, batch_size, micro_batch_size, seed)
    require_fit(needed(model, quantization, lora, optimizer, fused, shape), str(devices.device))
    tuned = lora.attach(model.load_for_training()).to(devices.device).train()
    trainable, total = count_trainable(tuned)
    if fused:
        fuse(tuned)
        choose(tuned, model.compute_dtype)
    lightning.seed_everything(seed + devices.rank, verbose=False)  # the processes drop out different inputs
    part: dict[str, Any] = {"batch_size": batch_size, "micro_batch_size": micro_batch_size, "seed": seed}
    part |= {"padding_id": model.tokenizer.pad_token_id, "rank": devices.rank, "world_size": devices.world_size}
    part["micro_batch_tokens"] = micro_batch_tokens
    batches, held_out = Batches(train, **part, shuffle=True), Batches(validation, **part, shuffle=False)
    steps = trainer.steps(len(batches) * max_epochs)
    tuning = SupervisedFineTuning(
        tuned, learning_rate, warmup_share, weight_decay, clip_norm, optimizer, loraplus_lr_ratio, steps, devices
    )
    peak = matrix_peak(devices.device, model.compute_dtype)
    log.info("matrix peak of the %s in %s: %.1f GFLOP/s", devices.device.type, model.compute_dtype, peak / 1e9)
    plan = Plan(
        steps,
        validations,
        patience,
        checkpoint_steps,
        checkpoint_minutes,
        trainer.progress,
        flops_per_token(tuned),
        peak,
    )
    keeper = _BestAdapter(run.folder / "adapter", model.name, tuned)
    loggers = [opened for one in logger if devices.first and (opened := one.open()) is not None]
    with alone(run.folder) if devices.first else nullcontext():
        course = Fit(plan, tuning, batches, held_out, devices, checkpoints, keeper, loggers).run()
    if not devices.first:
        return course.lowest
    metrics = {**keeper.metrics, "train/examples": float(len(train)), "train/trainable": float(trainable)}
    metrics["train/tokens_per_second"] = course.tokens_per_second
    facts = {"trainable": trainable, "total": total, "scope": data.scope, "validation": _digest(validation)}
    facts |= {"contamination": screening.facts, "data": {split: dict(rules) for split, rules in data.removed.items()}}
    _finish(run, name, model, quantization, prompt, metrics, facts)
    if run.sweep_folder is None:
        remove_partials(Path(adapters) / name)
        publish(run.folder / "adapter", Path(adapters) / name)
    checkpoints.remove()
    return metrics["val/loss"]


def _digest(examples: list[Example]) -> str:
    """Equal where the examples are: losses over others cannot be compared."""
    return digest(*(f"{example.encoded.input_ids}{example.encoded.labels}" for example in examples))


def _ended(folder: Path) -> float | None:
    """The loss of a run that has ended: its metrics stand there and its checkpoints are gone."""
    if (folder / "checkpoints").is_dir() or not (folder / "metrics.json").is_file():
        return None
    return float(read_json(folder / "metrics.json", "resume")["val/loss"])


class _BestAdapter:
    """Keeps the model in `folder` whenever the validation loss is the lowest so far, its metrics beside it."""

    def __init__(self, folder: Path, base: str, model: Any) -> None:
        self._folder, self._base, self._model = folder, base, model
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
            self._model.save_pretrained(partial)
            name_base(partial, self._base)
            write_json(partial / "metrics.json", self.metrics)


def _finish(
    run: Run, name: str, model: Any, quantization: Any, prompt: Prompt, metrics: Metrics, facts: Mapping[str, Any]
) -> None:
    """Writes metrics and manifests, and the adapter's card."""
    folder = run.folder / "adapter"
    if "val/loss" not in metrics:
        raise CdsframeError("no validation loss was finite, so no adapter was kept; lower training.learning_rate")
    identities = {"model": model.identity, "quantization": quantization.identity, "prompt": prompt.identity}
    digests = {"model": model.digest, "adapter": adapter_digest(folder)}
    run.finish(metrics, digests, **facts)
    manifest = run.manifest(digests, identity={k: dict(v) for k, v in identities.items()}, metrics=metrics, **facts)
    write_json(folder / "manifest.json", manifest)
    write_card(folder, manifest, metrics, name=name, base=model.name)
