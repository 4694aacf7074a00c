"""`training=estimate`: how much memory a fine-tuning takes, before any weight is loaded, and whether it is there.

Weights, gradients and the optimiser's moments follow from their shapes; activations are counted by running the longest
micro-batch through a model without weights (PyTorch's fake tensors). Does not estimate time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from cdsframe.errors import CdsframeError
from cdsframe.prompt import Prompt
from cdsframe.run import Run
from cdsframe.training.examples import Example, ExampleBuilder, sample
from cdsframe.training.optimizers import MOMENT_BYTES, Optimizer
from cdsframe.types import Index, Retriever

log = logging.getLogger(__name__)

_GB = 1e9
_MARGIN = 1.1
"""For what is not counted: buffers of the libraries, fragments. Between the sum and this much more it is tight."""
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a training needs at its peak, on one device."""

    weights: int
    """The base model's, as quantized."""
    trained: int
    """Trained weights, in float32, with their gradients."""
    optimizer: int
    """Its moments."""
    activations: int
    """Of the longest micro-batch: what the backward pass needs, with the answers' logits."""

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.optimizer + self.activations

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value / _GB:.2f}" for name, value in asdict(self).items())
        return f"{self.total / _GB:.2f} GB ({parts})"


def estimate(
    model: Any,
    quantization: Any,
    lora: Any,
    data: Any,
    retriever: Retriever,
    index: Index,
    prompt: Prompt,
    trainer: Any,
    run: Run,
    seed: int,
    batch_size: Annotated[int, Field(ge=1)],
    micro_batch_size: Annotated[int, Field(ge=1)],
    optimizer: Optimizer,
    fused: bool,
    max_length: Annotated[int, Field(ge=64)],
    no_gold_share: Annotated[float, Field(ge=0, le=1)],
    shuffle_passages: bool,
    train_limit: Annotated[int, Field(ge=1)] | None,
) -> float:
    """Logs what `training=sft` with these settings takes, and whether it is there; returns it in GB."""
    builder = ExampleBuilder(
        model.tokenizer, prompt, retriever, index, seed, no_gold_share, shuffle_passages, max_length
    )
    examples = builder.build(sample(data.questions("train"), train_limit, seed))
    shape = longest(examples, batch_size, micro_batch_size, seed)
    memory = needed(model, quantization, lora, optimizer, fused, shape)
    there = available(model.device)
    steps = trainer.steps(-(-len(examples) // batch_size))
    tokens = sum(map(len, examples))
    log.info("%d examples of %d tokens; %d optimiser steps an epoch", len(examples), tokens, steps)
    log.info(
        "needs %s; %.2f GB are free: it %s", memory, there / _GB, "fits" if memory.total <= there else "does not fit"
    )
    metrics = {f"memory/{name}": float(value) for name, value in asdict(memory).items()}
    metrics |= {"memory/total": float(memory.total), "memory/available": float(there), "train/tokens": float(tokens)}
    run.finish(metrics, {"model": model.digest})
    return memory.total / _GB


def require_fit(memory: Memory, device: str) -> None:
    """Raises CdsframeError, with the figures and what would help, where a training does not fit."""
    there = available(device)
    log.info("memory: about %s of %.2f GB that are free", memory, there / _GB)
    if memory.total > there:
        raise CdsframeError(
            f"the training needs about {memory}, and {there / _GB:.2f} GB are free; use quantization=nf4, a smaller "
            "training.micro_batch_size or training.max_length, or a smaller model (training=estimate tries it out)"
        )


def longest(examples: Sequence[Example], batch_size: int, micro_batch_size: int, seed: int) -> tuple[int, int, int]:
    """Rows, tokens a row and labelled tokens of the micro-batch with the most tokens, padding counted."""
    from cdsframe.training.batches import LengthGroupedBatches

    groups = LengthGroupedBatches([len(example) for example in examples], batch_size, seed, shuffle=True)
    found = (0, 0, 0)
    for batch in groups.epoch(0):
        ordered = sorted((examples[n] for n in batch), key=len, reverse=True)
        for start in range(0, len(ordered), micro_batch_size):
            micro = ordered[start : start + micro_batch_size]
            shape = (len(micro), len(micro[0]), sum(example.encoded.labelled for example in micro))
            found = max(found, shape, key=lambda s: s[0] * s[1])
    return found


def needed(
    model: Any, quantization: Any, lora: Any, optimizer: Optimizer, fused: bool, shape: tuple[int, int, int]
) -> Memory:
    """The memory of a training whose longest micro-batch has this shape (see `longest`)."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from cdsframe.training.fused import fuse

    module = model.without_weights()
    frozen = _held(module, quantization.identity, model.compute_dtype.itemsize)
    tuned = lora.attach(module)
    trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    whole = trained == sum(p.numel() for p in tuned.parameters())
    if fused:
        fuse(tuned)
    with FakeTensorMode():
        _pretend(tuned, model.device, model.compute_dtype)
        activations = _activations(tuned, *shape)
    on_cuda = torch.device(model.device).type == "cuda"
    return Memory(
        weights=0 if whole else frozen,
        trained=trained * (4 + 4),
        optimizer=trained * MOMENT_BYTES[optimizer if optimizer != "auto" else "paged_adamw" if on_cuda else "adamw"],
        activations=activations,
    )


def _held(module: Any, identity: Mapping[str, Any], plain: int) -> int:
    """Bytes of the weights as a quantization holds them: the linear layers' but the output's in fewer bits."""
    import torch

    bits = {4: 4 + (8 / 64 + 32 / 64 / 256 if identity.get("double_quant") else 32 / 64), 8: 8, 16: 8 * plain}
    head = module.get_output_embeddings()
    linear = sum(c.weight.numel() for c in module.modules() if isinstance(c, torch.nn.Linear) and c is not head)
    total = sum(p.numel() for p in module.parameters())
    return round(linear * bits[identity["bits"]] / 8) + (total - linear) * plain


def _pretend(model: Any, device: str, dtype: Any) -> None:
    """Puts fake tensors in the places of the model's meta tensors, so that the device's own kernels are chosen."""
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


def _activations(model: Any, rows: int, length: int, labelled: int) -> int:
    """Bytes that autograd keeps for the backward pass of one micro-batch, and those of the logits there are at once."""
    import torch

    from cdsframe.training.loss import CHUNK, cross_entropy_sum

    kept: dict[int, int] = {}
    weights = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage.nbytes()
            held.append(tensor)  # or its number would be given to the next
        return tensor

    held: list[torch.Tensor] = []
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = causal.get_output_embeddings()
    ids = torch.zeros((rows, length), dtype=torch.long, device=head.weight.device)
    mask = torch.ones((rows, 1, length, length), dtype=torch.bool, device=ids.device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = causal.train().get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        wanted = hidden.flatten(0, 1)[:labelled]
        cross_entropy_sum(head, wanted, torch.zeros(len(wanted), dtype=torch.long, device=ids.device))
    return sum(kept.values()) + min(len(wanted), CHUNK) * head.weight.shape[0] * (4 + wanted.dtype.itemsize)


def available(device: str) -> int:
    """Bytes that are free on the device; on a CPU what the system and a container's limit leave."""
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
