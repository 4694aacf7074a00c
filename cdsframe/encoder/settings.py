"""How an encoder is run: the arguments that `embedder` and `reranker` share."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from cdsframe.machine.compute_dtype import ComputeDtype, probe_compute_dtype, probe_cpu_dtype

Backend = Literal["torch", "openvino", "onnx"]


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Settings of one encoder.

    Args:
        group: `embedder` or `reranker`, for error messages.
        name: hub id, folder, or `package:NAME`.
        max_tokens: maximum tokens of an input; longer inputs are truncated.
        compute_dtype: dtype of matrix products; `auto`: bfloat16 if the hardware has units for it, else float32.
        backend: the library that runs the model.
        batch_tokens: maximum tokens of a batch, padding included.
        batch_size: maximum inputs of a batch; None: no limit besides `batch_tokens`.
        device: a torch device; `auto`: CUDA if available, else the CPU.
        cache: folder of exported graphs.
    """

    group: str
    name: str
    max_tokens: int
    compute_dtype: ComputeDtype = "float32"
    backend: Backend = "torch"
    batch_tokens: int = 4096
    batch_size: int | None = None
    device: str = "cpu"
    cache: str = ""

    @property
    def place(self) -> str:
        """Config key and value for error messages."""
        return f"{self.group}.name: {self.name}"

    def dtype(self) -> str:
        """Returns `bfloat16` or `float32`, the dtype that the back end computes in. Imports torch for `torch` only."""
        if self.compute_dtype != "auto":
            return self.compute_dtype
        if self.backend == "onnx":
            return "float32"
        on_cpu = self.backend != "torch" or self.device == "cpu"
        return (probe_cpu_dtype() if on_cpu else probe_compute_dtype())[0]


def backend_problems(group: str, backend: Backend, device: str, compute_dtype: ComputeDtype) -> list[str]:
    """Returns the problems of the options: a missing package, or a device or dtype that the back end lacks."""
    found = missing_packages(group, backend)
    if backend != "torch" and device not in ("auto", "cpu"):
        found.append(
            f"{group}.backend={backend} runs on the CPU only, and {group}.device is {device}; use "
            f"{group}.backend=torch, or {group}.device=auto"
        )
    if backend == "onnx" and compute_dtype == "bfloat16":
        found.append(
            f"{group}.backend=onnx computes in float32 only; use {group}.compute_dtype=auto, or "
            f"{group}.backend=openvino"
        )
    return found


_PACKAGES = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnx")}


def missing_packages(group: str, backend: Backend) -> list[str]:
    """Returns an error that names the extra to install if a package of the back end is missing; else no error."""
    if missing := [package for package in _PACKAGES.get(backend, ()) if find_spec(package) is None]:
        return [
            f"{group}.backend={backend} needs the package {' and '.join(missing)}, which is not installed; install it "
            f"by `pip install 'cdsframe[{backend}]'`, or use {group}.backend=torch"
        ]
    return []
