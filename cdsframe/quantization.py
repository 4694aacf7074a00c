"""How the frozen weights of the linear layers are held: as they are, in 8 bits, or in 4-bit NormalFloat.

NF4 and double quantization: Dettmers et al., "QLoRA" (arXiv 2305.14314). LLM.int8(): Dettmers et al. (arXiv
2208.07339).
Does not quantize activations and does not train.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
"""It warns that an optional package for faster 4-bit inference is absent; we expand the weights instead (see Nf4)."""
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
"""It warns in every layer that LLM.int8() computes in float16."""


class NoQuantization:
    """Weights in the compute dtype."""

    trains_base = True

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"bits": 16}

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]:
        """What `from_pretrained` is given besides."""
        return {}

    def prepare(self, module: Any) -> None:
        """Called once on the loaded module."""

    def for_inference(self, module: Any) -> None:
        """Called after `prepare` where the module will only be run forwards, before an adapter is put on it."""


class Int8(NoQuantization):
    """LLM.int8(): 8-bit weights, with activation outliers above `threshold` multiplied in 16 bits."""

    trains_base = False

    def __init__(self, threshold: Annotated[float, Field(ge=0)]) -> None:
        self._threshold = threshold

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"bits": 8, "threshold": self._threshold}

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]:
        from transformers import BitsAndBytesConfig

        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=self._threshold)}


class Nf4(NoQuantization):
    """4-bit NormalFloat.

    Args:
        double_quant: quantizes the quantization constants too (0.37 bits a weight less).
        expand_on_cpu: in inference on a CPU, holds the 4-bit values expanded to the compute dtype. The numbers are the
            same; without it every token expands every layer anew, which is several times slower.
    """

    trains_base = False

    def __init__(self, double_quant: bool, expand_on_cpu: bool) -> None:
        self._double_quant, self._expand_on_cpu = double_quant, expand_on_cpu

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"bits": 4, "type": "nf4", "double_quant": self._double_quant}

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]:
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self._double_quant,
            bnb_4bit_compute_dtype=compute_dtype,
        )
        return {"quantization_config": config}

    def prepare(self, module: Any) -> None:
        """Keeps bitsandbytes from repacking the weights for AVX512-BF16.

        It does so in the first forward in eval mode, in place, and from then on gradients are silently wrong.
        """
        import bitsandbytes as bnb

        for child in module.modules():
            if isinstance(child, bnb.nn.Linear4bit):
                child.support_avx512bf16_for_cpu = False

    def for_inference(self, module: Any) -> None:
        import bitsandbytes as bnb
        import torch

        if not self._expand_on_cpu or module.device.type != "cpu":
            return
        for name, child in list(module.named_modules()):
            if isinstance(child, bnb.nn.Linear4bit):
                packed: Any = child.weight
                weight = bnb.functional.dequantize_4bit(packed.data, packed.quant_state)
                linear = torch.nn.Linear(child.in_features, child.out_features, child.bias is not None, device="meta")
                linear.weight = torch.nn.Parameter(weight, requires_grad=False)
                linear.bias = child.bias
                module.set_submodule(name, linear)
