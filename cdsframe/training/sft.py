"""`training=sft`: supervised fine-tuning on questions with passages, the best adapter kept.

Composes examples, batches, the module and Lightning's trainer. Holds no model code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from cdsframe.adapter import adapter_digest, name_base, publish, write_card
from cdsframe.contamination import Contamination, NoContamination
from cdsframe.files import atomic_folder, write_json
from cdsframe.prompt import Prompt
from cdsframe.run import Run
from cdsframe.training.examples import Example, ExampleBuilder, sample
from cdsframe.types import Index, Metrics, Question, Retriever, digest

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
    max_epochs: Count,
    learning_rate: Positive,
    warmup_share: Share,
    weight_decay: Annotated[float, Field(ge=0)],
    clip_norm: Positive,
    optimizer: Literal["auto", "adamw", "paged_adamw"],
    max_length: Annotated[int, Field(ge=64)],
    no_gold_share: Share,
    shuffle_passages: bool,
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    patience: Count,
    adapters: str,
) -> float:
    """Fine-tunes and leaves the best adapter in the run's folder and, in a single run, in `adapters/name`.

    Returns the lowest validation loss (nats per labelled token).
    """
    import lightning

    from cdsframe.lora import count_trainable
    from cdsframe.training.module import SupervisedFineTuning

    lightning.seed_everything(seed, verbose=False)
    builder = ExampleBuilder(
        model.tokenizer, prompt, retriever, index, seed, no_gold_share, shuffle_passages, max_length
    )
    screening = contamination.screen(data.questions("train"), data, run.folder)
    train = builder.build(sample(screening.kept, train_limit, seed))
    validation = builder.build(sample(data.questions("validation"), validation_limit, seed=0))
    log.info("%d training and %d validation examples", len(train), len(validation))
    tuned = lora.attach(model.load_for_training()).train()
    trainable, total = count_trainable(tuned)
    loaders = _loaders(train, validation, batch_size, micro_batch_size, seed, model.tokenizer.pad_token_id)
    steps = trainer.steps(len(loaders[0]) * max_epochs)
    module = SupervisedFineTuning(
        tuned, learning_rate, warmup_share, weight_decay, clip_norm, optimizer, total_steps=steps
    )
    keeper = _best_adapter_keeper(run.folder / "adapter", model.name)
    trainer.fit(
        module,
        *loaders,
        precision="bf16-mixed" if str(model.compute_dtype) == "torch.bfloat16" else "32-true",
        max_epochs=max_epochs,
        validations=min(validations, len(loaders[0])),
        patience=patience,
        callbacks=[keeper],
        loggers=[one.open() for one in logger],
        folder=run.folder,
    )
    metrics = {**keeper.metrics, "train/examples": float(len(train)), "train/trainable": float(trainable)}
    metrics["train/tokens_per_second"] = module.trained_tokens / max(module.train_seconds, 1e-9)
    facts = {"trainable": trainable, "total": total, "scope": data.scope, "validation": _digest(validation)}
    facts |= {"contamination": screening.facts, "data": {split: dict(rules) for split, rules in data.removed.items()}}
    _finish(run, name, model, quantization, prompt, metrics, facts)
    if run.sweep_folder is None:
        publish(run.folder / "adapter", Path(adapters) / name)
    return metrics["val/loss"]


def _digest(examples: list[Example]) -> str:
    """Equal where the examples are: losses over others cannot be compared."""
    return digest(*(f"{example.encoded.input_ids}{example.encoded.labels}" for example in examples))


def _loaders(
    train: list[Any], validation: list[Any], batch_size: int, micro_batch_size: int, seed: int, padding_id: int
) -> tuple[Any, Any]:
    from torch.utils.data import DataLoader

    from cdsframe.training.batches import LengthGroupedBatches, collate

    def loader(examples: Any, shuffle: bool) -> Any:
        batches = LengthGroupedBatches([len(example) for example in examples], batch_size, seed, shuffle)
        put_together = partial(collate, micro_batch_size=micro_batch_size, padding_id=padding_id)
        return DataLoader(examples, batch_sampler=batches, collate_fn=put_together)

    return loader(train, True), loader(validation, False)


def _best_adapter_keeper(folder: Path, base: str) -> Any:
    """A Lightning callback that writes the model to `folder` whenever the validation loss is the lowest so far."""
    from lightning import Callback, LightningModule, Trainer

    class BestAdapter(Callback):
        metrics: Metrics

        def __init__(self) -> None:
            self.metrics = {}

        def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            loss = float(trainer.callback_metrics["val/loss"])
            if trainer.sanity_checking or loss >= self.metrics.get("val/loss", float("inf")):
                return
            self.metrics = {"val/loss": loss, "train/steps": float(trainer.global_step)}
            if "train/loss" in trainer.callback_metrics:
                self.metrics["train/loss"] = float(trainer.callback_metrics["train/loss"])
            with atomic_folder(folder) as partial_folder:
                pl_module.model.save_pretrained(partial_folder)  # type: ignore[operator, union-attr]
                name_base(partial_folder, base)

    return BestAdapter()


def _finish(
    run: Run, name: str, model: Any, quantization: Any, prompt: Prompt, metrics: Metrics, facts: Mapping[str, Any]
) -> None:
    """Writes metrics and manifests, and the adapter's card."""
    folder = run.folder / "adapter"
    identities = {"model": model.identity, "quantization": quantization.identity, "prompt": prompt.identity}
    digests = {"model": model.digest, "adapter": adapter_digest(folder)}
    run.finish(metrics, digests, **facts)
    manifest = run.manifest(digests, identity={k: dict(v) for k, v in identities.items()}, metrics=metrics, **facts)
    write_json(folder / "manifest.json", manifest)
    write_card(folder, manifest, metrics, name=name, base=model.name)
