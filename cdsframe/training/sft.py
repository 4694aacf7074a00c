"""`training=sft`: supervised fine-tuning on questions with passages, the best adapter kept.

Composes examples, batches, the training step and its course. Holds no model code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cdsframe.artifacts.adapter import name_base, publish, require_publishable, write_card
from cdsframe.artifacts.digests import digest_of
from cdsframe.artifacts.files import write_json
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.artifacts.run import Run
from cdsframe.chat.encoding import chat_digest
from cdsframe.contamination import Contamination, NoContamination
from cdsframe.contracts import DataSource, Index, LanguageModel, Logger, Lora, Quantization, Retriever, Trainer
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import named
from cdsframe.prompt import Prompt
from cdsframe.training.cache import cached
from cdsframe.training.checkpoint import Checkpoints, alone
from cdsframe.training.estimate import longest, needed, require_fit
from cdsframe.training.examples import Example, ExampleBuilder
from cdsframe.training.keeping import BestCheckpoint, ended
from cdsframe.training.optimizers import Optimizer
from cdsframe.training.settings import Checkpointing, Count, MaxLength, NonNegative, Positive, Share
from cdsframe.types import Metrics

log = logging.getLogger(__name__)


@declares(trains="adapter")
def sft(
    model: LanguageModel,
    quantization: Quantization,
    lora: Lora,
    data: DataSource,
    contamination: Contamination | NoContamination,
    retriever: Retriever,
    index: Index,
    prompt: Prompt,
    trainer: Trainer,
    logger: list[Logger],
    run: Run,
    identities: Mapping[str, Any],
    name: str,
    seed: int,
    batch_size: Count,
    micro_batch_size: Count,
    micro_batch_tokens: Count | None,
    max_epochs: Count,
    learning_rate: Positive,
    warmup_share: Share,
    weight_decay: NonNegative,
    clip_norm: Positive,
    optimizer: Optimizer,
    loraplus_lr_ratio: Annotated[float, Field(ge=1)],
    fused: bool,
    packing: bool,
    gradient_checkpointing: Checkpointing,
    compile: bool,
    max_length: MaxLength,
    no_gold_share: Share,
    shuffle_passages: bool,
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    patience: Count,
    checkpoint_steps: Count | None,
    checkpoint_minutes: Positive | None,
    cache: str | None,
    adapters: str,
) -> float:
    """Fine-tunes and leaves the best adapter in the run's folder and, in a single run, in `adapters/name`.

    Where the run goes on with one that was interrupted, from its last checkpoint. Returns the lowest validation loss
    (nats per labelled token); with several processes, in each of them.
    """
    import lightning

    from cdsframe.lora import count_trainable
    from cdsframe.training.acceleration import Acceleration
    from cdsframe.training.batches import Batches, Layout
    from cdsframe.training.fitting import Plan, TrainingLoop
    from cdsframe.training.module import SupervisedFineTuning

    if (loss := ended(run, "adapter")) is not None:
        return loss
    require_publishable(Path(adapters) / name)
    devices = trainer.launch("bf16-mixed" if str(model.compute_dtype) == "torch.bfloat16" else "32-true")
    lightning.seed_everything(seed, verbose=False)
    tokenizer = model.tokenizer
    builder = ExampleBuilder(tokenizer, prompt, retriever, index, seed, no_gold_share, shuffle_passages, max_length)
    screening = contamination.screen(data.questions("train"), data, run.folder)
    train = cached(cache, builder, proportional_sample(screening.kept, train_limit, seed, by_type), identities)
    validation = cached(
        cache, builder, proportional_sample(data.questions("validation"), validation_limit, 0, by_type), identities
    )
    log.info("%d training and %d validation examples", len(train), len(validation))
    _tell_unseen(model, train)

    layout = Layout(micro_batch_size, micro_batch_tokens, None if packing else model.padding_id())
    shape = longest(train, batch_size, layout)
    estimated = partial(needed, model, quantization, lora, optimizer, fused, shape)
    checkpointing = require_fit(estimated, gradient_checkpointing, str(devices.device))
    tuned = lora.attach(model.load_for_training()).to(devices.device).train()
    trainable, total = count_trainable(tuned)
    if not Acceleration(fused, packing, checkpointing, compile).give(tuned):
        layout = replace(layout, padding_id=model.padding_id())
    lightning.seed_everything(seed + devices.rank, verbose=False)  # the processes drop out different inputs

    place = {"rank": devices.rank, "world_size": devices.world_size}
    batches = Batches(train, batch_size, layout, seed, shuffle=True, **place)
    held_out = Batches(validation, batch_size, layout, seed, shuffle=False, **place)
    steps = trainer.steps(len(batches) * max_epochs)
    tuning = SupervisedFineTuning(
        tuned, learning_rate, warmup_share, weight_decay, clip_norm, optimizer, loraplus_lr_ratio, steps, devices
    )
    timing = (checkpoint_steps, checkpoint_minutes, trainer.progress)
    plan = Plan(steps, validations, patience, *timing, *_arithmetic(tuned, devices.device, model.compute_dtype))
    identity = {"training examples": _digest(train), "validation examples": _digest(validation), "model": model.digest}
    checkpoints = Checkpoints(run.folder / "checkpoints", identity)
    keeper = BestCheckpoint(run.folder / "adapter", partial(_save, tuned, model))
    loggers = [opened for one in logger if devices.first and (opened := one.open()) is not None]
    with alone(run.folder) if devices.first else nullcontext():
        course = TrainingLoop(plan, tuning, batches, held_out, devices, checkpoints, keeper, loggers).run()
    if not devices.first:
        return course.lowest

    metrics = {**keeper.metrics, "train/examples": float(len(train)), "train/trainable": float(trainable)}
    metrics["train/tokens_per_second"] = course.tokens_per_second
    facts = {"trainable": trainable, "total": total, "validation": _digest(validation)}
    facts |= {"chat": chat_digest(tokenizer), "scope": data.scope, "contamination": screening.facts}
    facts["data"] = {split: dict(rules) for split, rules in data.removed.items()}
    _finish(run, name, Path(adapters), model, quantization, prompt, metrics, facts)
    checkpoints.remove()
    return metrics["val/loss"]


def _arithmetic(tuned: Any, device: Any, dtype: Any) -> tuple[float, float]:
    """What utilisation is told by: the operations of a token, and how many the device can do a second."""
    from cdsframe.training.speed import flops_per_token, matrix_peak

    peak = matrix_peak(device, dtype)
    log.info("matrix peak of the %s in %s: %.1f GFLOP/s", device.type, dtype, peak / 1e9)
    return flops_per_token(tuned), peak


def _tell_unseen(model: Any, examples: Sequence[Example]) -> None:
    """Warns of new tokens that no example has: nothing trains them."""
    ids = {model.tokenizer.convert_tokens_to_ids(word): word for word in model.new_tokens}
    unseen = set(ids)
    for example in examples if ids else ():
        unseen.difference_update(example.encoded.input_ids)
    if unseen:
        words = ", ".join(named(ids[id]) for id in sorted(unseen))
        log.warning("model.new_tokens: no training example has %s as a word; nothing trains what is never seen", words)


def _digest(examples: Sequence[Example]) -> str:
    """Equal where the examples are: losses over others cannot be compared."""
    return digest_of(f"{example.encoded.input_ids}{example.encoded.labels}" for example in examples)


def _save(tuned: Any, model: Any, folder: Path) -> None:
    # PEFT would ask the hub for the base's size, and keep rows of new tokens that `LanguageModel` makes anyway.
    adapter = hasattr(tuned, "peft_config")
    tuned.save_pretrained(folder, **({"save_embedding_layers": False} if adapter else {}))
    name_base(folder, model.public_name)
    if not adapter or model.new_tokens:  # a whole model stands without its base, whose tokenizer lacks new tokens
        model.tokenizer.save_pretrained(folder)


def _finish(
    run: Run,
    name: str,
    adapters: Path,
    model: LanguageModel,
    quantization: Quantization,
    prompt: Prompt,
    metrics: Metrics,
    facts: Mapping[str, Any],
) -> None:
    """Writes the adapter's manifest and card, publishes it in a single run, and says that the run has ended."""
    folder = run.folder / "adapter"
    identities = {"model": model.identity, "quantization": quantization.identity, "prompt": prompt.form}
    digests = {"model": model.digest, "adapter": weights_digest(folder)}
    manifest = run.manifest(digests, identity={k: dict(v) for k, v in identities.items()}, metrics=metrics, **facts)
    write_json(folder / "manifest.json", manifest)
    write_card(folder, manifest, metrics, name=name, base=model.public_name)
    run.record_output("adapter", adapters / name)
    if run.sweep_folder is None:
        publish(folder, adapters / name)
    run.finish(metrics, digests, **facts)
