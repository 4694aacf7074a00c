"""Quantizes the frozen weights of the linear layers to 8 bits or 4-bit NormalFloat, or leaves them unquantized.

NF4 and double quantization: Dettmers et al., "QLoRA" (arXiv 2305.14314). LLM.int8(): Dettmers et al. (arXiv
2208.07339). Does not quantize activations and does not train.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
"""Silences a warning about a missing package for faster 4-bit inference; `Nf4` expands the weights instead."""
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
"""Silences a warning of every 8-bit layer: LLM.int8() casts its inputs to float16."""


class NoQuantization:
    """Weights in the compute dtype."""

    trains_base = True

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"bits": 16}

    def load_arguments(self, compute_dtype: Any) -> dict[str, Any]:
        """Returns further arguments for `from_pretrained`."""
        return {}

    def prepare(self, module: Any) -> None:
        """Called once after loading. Does nothing here; `Nf4` changes the module in place."""

    def for_inference(self, module: Any) -> None:
        """Called for inference, before an adapter is added. Does nothing here; `Nf4` changes the module in place."""


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
        double_quant: also quantizes the quantization constants, which saves 0.37 bits per weight.
        expand_on_cpu: for inference on a CPU, dequantizes the weights once, to the compute dtype. Results are the same;
            without it each token dequantizes each layer again, which is several times slower.
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
        """Prevents bitsandbytes from repacking the weights for AVX512-BF16.

        It would repack them in place in the first forward pass in eval mode; gradients are silently wrong afterwards.
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
