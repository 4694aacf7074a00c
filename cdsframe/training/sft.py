"""`training=sft`: supervised fine-tuning on questions with passages; keeps the adapter with the lowest validation loss.

Composes data, model, module and trainer. Holds no model code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cdsframe.artifacts.adapter import name_base, publish, require_publishable, write_card
from cdsframe.artifacts.digests import digest_of
from cdsframe.artifacts.files import write_json
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.chat.encoding import chat_digest
from cdsframe.contracts import LanguageModel, System
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import named
from cdsframe.training.acceleration import Acceleration
from cdsframe.training.cache import cached
from cdsframe.training.completion import ended
from cdsframe.training.estimate import estimator, longest, require_fit
from cdsframe.training.examples import Example, ExampleBuilder
from cdsframe.training.settings import Count, MaxLength, Share
from cdsframe.types import Metrics

if TYPE_CHECKING:
    from cdsframe.training.fitting import Fitting

log = logging.getLogger(__name__)


@declares(
    trains="adapter",
    makes_prompts=True,
    needs=("model", "quantization", "lora", "data", "contamination", "retriever", "index", "prompt", "optimization",
           "trainer"),
)  # fmt: skip
def sft(
    system: System,
    batch_size: Count,
    micro_batch_size: Count,
    micro_batch_tokens: Count | None,
    max_epochs: Count,
    acceleration: Acceleration,
    max_length: MaxLength,
    no_gold_share: Share,
    shuffle_passages: bool,
    train_limit: Count | None,
    validation_limit: Count | None,
    validations: Count,
    cache: str | None,
    adapters: str,
) -> float:
    """Fine-tunes. Writes the best adapter to the run's folder and, unless in a multirun, to `adapters/NAME`.

    Resumes from the last checkpoint if the run was interrupted. Every process returns the lowest validation loss
    (nats per labelled token).
    """
    import lightning

    from cdsframe.lora import count_trainable
    from cdsframe.training.batches import Batches, Layout
    from cdsframe.training.fitting import Fitting
    from cdsframe.training.module import FineTuning

    run, model, seed = system.run, system.model, system.seed
    if (loss := ended(run, "adapter")) is not None:
        return loss
    require_publishable(Path(adapters) / system.name)
    fitting = Fitting(system, "adapter", max_epochs, validations, _precision(model))
    lightning.seed_everything(seed, verbose=False)

    builder = ExampleBuilder.of(system, seed, no_gold_share, shuffle_passages, max_length)
    screening = system.contamination.screen(system.data.questions("train"), system.data, run.folder)
    asked = proportional_sample(screening.kept, train_limit, seed, by_type)
    held_out = proportional_sample(system.data.questions("validation"), validation_limit, 0, by_type)
    identities = system.identities if builder.grounded else {}
    train, validation = (cached(cache, builder, questions, identities) for questions in (asked, held_out))
    log.info("%d training and %d validation examples", len(train), len(validation))
    _warn_of_unseen_tokens(model, train)

    layout = Layout(micro_batch_size, micro_batch_tokens, None if acceleration.packing else model.padding_id())
    estimated = estimator(system, longest(train, batch_size, layout), str(fitting.device), acceleration.fused)
    checkpointing = require_fit(estimated, acceleration.gradient_checkpointing, str(fitting.device))
    tuned = system.lora.attach(model.load_for_training()).to(fitting.device).train()
    weights = dict(zip(("trainable", "total"), count_trainable(tuned), strict=True))
    packed = acceleration.apply(tuned, checkpointing)
    layout = layout if packed else replace(layout, padding_id=model.padding_id())
    lightning.seed_everything(seed + fitting.place["rank"], verbose=False)  # the processes have different dropout

    batches = Batches(train, batch_size, layout, seed, shuffle=True, **fitting.place)
    validation_batches = Batches(validation, batch_size, layout, seed, shuffle=False, **fitting.place)
    module = FineTuning(tuned, system.optimization, fitting.steps(batches), partial(_export, tuned, model))
    _report_utilisation(fitting, tuned, model.compute_dtype)
    inputs = {"training examples": _digest(train), "validation examples": _digest(validation), "model": model.digest}
    metrics = fitting.run(module, batches, validation_batches, inputs)
    if fitting.writes:
        facts = {"contamination": screening.facts, "validation": inputs["validation examples"], **weights}
        counts = {"train/examples": float(len(train)), "train/trainable": float(weights["trainable"])}
        _publish(system, Path(adapters), metrics | counts, facts)
        fitting.end()
    return metrics["val/loss"]


def _precision(model: LanguageModel) -> Literal["bf16-mixed", "32-true"]:
    return "bf16-mixed" if str(model.compute_dtype) == "torch.bfloat16" else "32-true"


def _report_utilisation(fitting: Fitting, tuned: Any, dtype: Any) -> None:
    """Measures the device's peak in matrix products; the reported utilisation is relative to it."""
    from cdsframe.machine.speed import flops_per_token, matrix_peak

    peak = matrix_peak(fitting.device, dtype)
    log.info("matrix peak of the %s in %s: %.1f GFLOP/s", fitting.device.type, dtype, peak / 1e9)
    fitting.report_utilisation(flops_per_token(tuned), peak)


def _warn_of_unseen_tokens(model: LanguageModel, examples: Sequence[Example]) -> None:
    """Warns of new tokens that no example contains: their embeddings are not trained."""
    ids = {model.tokenizer.convert_tokens_to_ids(word): word for word in model.new_tokens}
    unseen = set(ids)
    for example in examples if ids else ():
        unseen.difference_update(example.encoded.input_ids)
    if unseen:
        words = ", ".join(named(ids[id]) for id in sorted(unseen))
        log.warning("model.new_tokens: no training example contains %s as a word, so it is not trained", words)


def _digest(examples: Sequence[Example]) -> str:
    """Returns a digest of the examples. Losses over examples with another digest cannot be compared."""
    return digest_of(f"{example.encoded.input_ids}{example.encoded.labels}" for example in examples)


def _export(tuned: Any, model: LanguageModel, folder: Path) -> None:
    """Writes the adapter, or the whole model, in its library's format."""
    # PEFT would ask the hub for the base's vocabulary size, and save the embeddings that `LanguageModel` makes anyway.
    adapter = hasattr(tuned, "peft_config")
    tuned.save_pretrained(folder, **({"save_embedding_layers": False} if adapter else {}))
    name_base(folder, model.public_name)
    if not adapter or model.new_tokens:  # a whole model is used without its base, whose tokenizer lacks new tokens
        model.tokenizer.save_pretrained(folder)


def _publish(system: System, adapters: Path, metrics: Metrics, facts: Mapping[str, Any]) -> None:
    """Writes the adapter's manifest and card, publishes it in a single run, and marks the run as complete."""
    run, model, data = system.run, system.model, system.data
    removed = {split: dict(rules) for split, rules in data.removed.items()}
    facts = {**facts, "scope": data.scope, "data": removed, "chat": chat_digest(model.tokenizer)}
    folder = run.folder / "adapter"
    identities = {"model": model.identity, "quantization": system.quantization.identity, "prompt": system.prompt.form}
    digests = {"model": model.digest, "adapter": weights_digest(folder)}
    manifest = run.manifest(digests, identity={k: dict(v) for k, v in identities.items()}, metrics=metrics, **facts)
    write_json(folder / "manifest.json", manifest)
    write_card(folder, manifest, metrics, name=system.name, base=model.public_name)
    run.record_output("adapter", adapters / system.name)
    if run.sweep_folder is None:
        publish(folder, adapters / system.name)
    run.finish(metrics, digests, **facts)
