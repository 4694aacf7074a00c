"""`training=estimate`: estimates the memory of a fine-tuning without loading weights; compares it with the free memory.

Weights, gradients and the optimiser's moments are counted by their shapes. Activations are counted by running the
longest micro-batch through the model's code on PyTorch's fake tensors, which hold no data. Does not estimate time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.contracts import LanguageModel, Lora, Quantization, System
from cdsframe.contracts.declarations import declares
from cdsframe.data.sampling import by_type, proportional_sample
from cdsframe.errors import CdsframeError
from cdsframe.lora import base_of
from cdsframe.optimization import MOMENT_BYTES
from cdsframe.training.acceleration import Acceleration
from cdsframe.training.cache import cached
from cdsframe.training.examples import Example, ExampleBuilder
from cdsframe.training.settings import Checkpointing, Count, MaxLength, Share
from cdsframe.training.tokenized import lengths

if TYPE_CHECKING:
    from cdsframe.training.batches import Layout

log = logging.getLogger(__name__)

_GB = 1e9
_CGROUP = Path("/sys/fs/cgroup")


class NotCountedError(CdsframeError):
    """The memory cannot be estimated: the model's code does not run on fake tensors. Training may still work."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of a training on one device, in bytes."""

    weights: int
    """Weights of the base model, as quantized; 0 if all weights are trained."""
    trained: int
    """Trained weights, in float32, with their gradients."""
    optimizer: int
    """The optimiser's moments."""
    activations: int
    """Tensors that the backward pass of the longest micro-batch needs, and one chunk of logits."""

    libraries: int = 0
    """On a CPU: memory of the libraries besides tensors (code, buffers, oneDNN's kernels)."""
    fragments: int = 0
    """On a CPU: freed memory between tensors in the heap."""

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.optimizer + self.activations + self.libraries + self.fragments

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value / _GB:.2f}" for name, value in asdict(self).items())
        return f"{self.total / _GB:.2f} GB ({parts})"


@dataclass(frozen=True, slots=True)
class Shape:
    """A micro-batch: tokens of each example, number of labelled tokens, and whether the examples are packed."""

    lengths: tuple[int, ...]
    labelled: int
    packed: bool


@declares(
    trains="adapter",
    makes_prompts=True,
    needs=("model", "quantization", "lora", "data", "retriever", "index", "prompt", "optimization",
           "trainer"),
)  # fmt: skip
def estimate(
    system: System,
    batch_size: Count,
    micro_batch_size: Count,
    micro_batch_tokens: Count | None,
    acceleration: Acceleration,
    max_length: MaxLength,
    no_gold_share: Share,
    shuffle_passages: bool,
    train_limit: Count | None,
    cache: str | None,
) -> float:
    """Logs the memory that `training=sft` needs with these settings, and whether it fits. Returns the memory in GB."""
    from cdsframe.training.batches import Layout

    model, seed = system.model, system.seed
    builder = ExampleBuilder.of(system, seed, no_gold_share, shuffle_passages, max_length)
    asked = proportional_sample(system.data.questions("train"), train_limit, seed, by_type)
    examples = cached(cache, builder, asked, system.identities if builder.grounded else {})
    layout = Layout(micro_batch_size, micro_batch_tokens, None if acceleration.packing else model.padding_id())
    estimated = estimator(system, longest(examples, batch_size, layout), model.device, acceleration.fused)
    there = available(model.device)
    memory, checkpointing = _decided(estimated, acceleration.gradient_checkpointing, there)
    steps = system.trainer.steps(-(-len(examples) // batch_size), 1)
    tokens = sum(lengths(examples))
    log.info("%d examples with %d tokens in total; %d optimiser steps per epoch", len(examples), tokens, steps)
    how = ", with gradient checkpointing" if checkpointing else ""
    fits = "fits" if memory.total <= there else "does not fit"
    log.info("training needs %s%s; %.2f GB are free: it %s", memory, how, there / _GB, fits)
    figures = asdict(memory) | {"total": memory.total, "available": there}
    metrics = {f"memory/{name}_gb": value / _GB for name, value in figures.items()} | {"train/tokens": float(tokens)}
    system.run.finish(metrics, {"model": model.digest})
    return memory.total / _GB


def estimator(system: System, shape: Shape, device: str, fused: bool) -> Callable[[bool], Memory]:
    """Returns a function that returns the memory with (True) or without (False) gradient checkpointing."""
    optimizer = system.optimization.optimizer_name(device.startswith("cuda"))
    return partial(needed, system.model, system.quantization, system.lora, optimizer, fused, shape)


def require_fit(estimated: Callable[[bool], Memory], wanted: Checkpointing, device: str) -> bool:
    """Returns whether to use gradient checkpointing; with `auto`, only if training does not fit without it.

    Args:
        estimated: returns the memory of the training with (True) or without (False) gradient checkpointing.
        wanted: `training.acceleration.gradient_checkpointing`.

    Raises CdsframeError, with the figures and remedies, if the training does not fit.
    """
    there = available(device)
    try:
        memory, checkpointing = _decided(estimated, wanted, there)
    except NotCountedError as error:
        log.warning(
            "%s; training starts anyway; if memory runs out, use training.acceleration.gradient_checkpointing=always",
            error,
        )
        return wanted == "always"
    log.info("training needs about %s; %.2f GB are free", memory, there / _GB)
    if memory.total > there:
        raise CdsframeError(
            f"the training needs about {memory}, and {there / _GB:.2f} GB are free; use quantization=nf4, a smaller "
            "training.micro_batch_size or training.max_length, or a smaller model (training=estimate shows what fits)"
            + (", or training.acceleration.gradient_checkpointing=auto" if wanted == "never" else "")
        )
    return checkpointing


def _decided(estimated: Callable[[bool], Memory], wanted: Checkpointing, there: int) -> tuple[Memory, bool]:
    memory = estimated(wanted == "always")
    if wanted == "auto" and memory.total > there:
        return estimated(True), True
    return memory, wanted == "always"


def longest(examples: Sequence[Example], batch_size: int, layout: Layout) -> Shape:
    """Returns the largest shape of a micro-batch in any epoch: that of the longest examples in one effective batch."""
    own = lengths(examples)
    longest_first = sorted(range(len(own)), key=lambda number: -own[number])
    most = max(layout.cut([examples[number] for number in longest_first[:batch_size]]), key=layout.places)
    labelled = sum(example.encoded.labelled for example in most)
    return Shape(tuple(map(len, most)), labelled, layout.padding_id is None)


def needed(
    model: LanguageModel,
    quantization: Quantization,
    lora: Lora,
    optimizer: str,
    fused: bool,
    shape: Shape,
    checkpointing: bool,
) -> Memory:
    """Returns the memory of a training whose longest micro-batch has this shape.

    Raises NotCountedError if the model's code does not run on fake tensors.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from cdsframe.training.caches import fragment_bytes, library_bytes
    from cdsframe.training.fused import fuse

    module = model.without_weights()
    frozen = _held(module, quantization.identity, model.compute_dtype.itemsize)
    tuned = lora.attach(module)
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    whole = trained == sum(p.numel() for p in tuned.parameters())
    if fused:
        fuse(tuned)
    try:
        with _without_messages(), FakeTensorMode():
            _pretend(tuned, model.device, model.compute_dtype)
            activations = _tried(tuned, shape, checkpointing)
    except Exception as error:
        raise NotCountedError(
            f"the memory for training {model.public_name} cannot be estimated: its code does not run on PyTorch's fake "
            f"tensors in {str(model.compute_dtype).removeprefix('torch.')}"
        ) from error
    kind = torch.device(model.device).type
    return Memory(
        weights=0 if whole else frozen,
        trained=trained * (4 + 4),
        optimizer=trained * MOMENT_BYTES[optimizer],
        activations=activations,
        libraries=library_bytes(kind, model.compute_dtype != torch.float32),
        fragments=fragment_bytes(kind, activations),
    )


def _tried(model: Any, shape: Shape, checkpointing: bool) -> int:
    """Returns the bytes of activations; of padded examples, if the model's code does not accept packed ones."""
    from cdsframe.training.attention import use_packed

    own = str(base_of(model).config._attn_implementation)
    if shape.packed:
        use_packed(model)
    try:
        kept = _activations(model, shape)
    except (TypeError, ValueError):  # before training, `attention.pack` detects this on real weights
        if not shape.packed:
            raise
        base_of(model).set_attn_implementation(own)
        shape = replace(shape, packed=False)
        kept = _activations(model, shape)
    return _checkpointed(model, shape, kept) if checkpointing else kept


@contextmanager
def _without_messages() -> Iterator[None]:
    """Suppresses the errors that torch logs about fake kernels: training is not affected."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _held(module: Any, identity: Mapping[str, Any], plain: int) -> int:
    """Returns the bytes of the quantized weights: all linear layers except the output layer are quantized.

    Args:
        identity: the quantization's identity, with `bits` and `double_quant`.
        plain: bytes of a weight that is not quantized.
    """
    import torch

    bits = {4: 4 + (8 / 64 + 32 / 64 / 256 if identity.get("double_quant") else 32 / 64), 8: 8, 16: 8 * plain}
    head = module.get_output_embeddings()
    linear = sum(c.weight.numel() for c in module.modules() if isinstance(c, torch.nn.Linear) and c is not head)
    total = sum(p.numel() for p in module.parameters())
    return int(round(linear * bits[identity["bits"]] / 8) + (total - linear) * plain)


def _pretend(model: Any, device: str, dtype: Any) -> None:
    """Replaces the model's meta tensors by fake tensors of the device, so that torch chooses the device's kernels."""
    import torch

    made: dict[int, Any] = {}

    def fake(tensor: Any) -> Any:
        if id(tensor) not in made:
            empty = torch.empty(
                tensor.shape, dtype=dtype if tensor.is_floating_point() else tensor.dtype, device=device
            )
            trained = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(empty, tensor.requires_grad) if trained else empty
        return made[id(tensor)]

    for child in model.modules():
        for held in (child._parameters, child._buffers):
            held.update({name: fake(tensor) for name, tensor in held.items() if tensor is not None})


def _activations(model: Any, shape: Shape) -> int:
    """Returns the bytes that autograd stores for the backward pass of one micro-batch, plus one chunk of logits."""
    import torch

    from cdsframe.training.attention import Lengths
    from cdsframe.training.loss import CHUNK, cross_entropy_sum

    kept: dict[int, int] = {}
    weights = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
            held.append(tensor)  # keeps the storage alive: another one must not get its id
        return tensor

    held: list[torch.Tensor] = []
    causal = base_of(model)
    head = causal.get_output_embeddings()
    rows, length = (1, sum(shape.lengths)) if shape.packed else (len(shape.lengths), max(shape.lengths))
    ids = torch.zeros((rows, length), dtype=torch.long, device=head.weight.device)
    others: dict[str, Any] = {"position_ids": ids, "lengths": Lengths(list(shape.lengths))}
    if not shape.packed:
        others = {"attention_mask": torch.ones((rows, 1, length, length), dtype=torch.bool, device=ids.device)}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = causal.train().get_decoder()(input_ids=ids, use_cache=False, **others).last_hidden_state
        wanted = hidden.flatten(0, 1)[: shape.labelled]
        cross_entropy_sum(head, wanted, torch.zeros(len(wanted), dtype=torch.long, device=ids.device))
    logits = min(len(wanted), CHUNK) * head.weight.shape[0] * (4 + wanted.dtype.itemsize)
    return sum(kept.values()) + int(logits)


def _checkpointed(model: Any, shape: Shape, kept: int) -> int:
    """Returns the bytes with gradient checkpointing: the inputs of all layers, and all activations of one layer."""
    from cdsframe.training.acceleration import checkpoint_activations

    checkpoint_activations(model)
    causal = base_of(model)
    outside, layers = _activations(model, shape), len(causal.get_decoder().layers)
    width = causal.get_input_embeddings().weight
    tokens = sum(shape.lengths) if shape.packed else len(shape.lengths) * max(shape.lengths)
    inputs = int(layers * tokens * width.shape[1] * width.dtype.itemsize)
    return outside + inputs + (kept - outside) // layers


def available(device: str) -> int:
    """Returns the free bytes of a device; of a CPU, the smaller of the system's and the container's free memory."""
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    free = [int(line.split()[1]) * 1024 for line in _lines(Path("/proc/meminfo")) if line.startswith("MemAvailable:")]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = (next(iter(_lines(_CGROUP / name)), "") for name in (limit, used))
        if most.isdigit() and now.isdigit():
            free.append(max(0, int(most) - int(now)))
    return min(free, default=2**62)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
