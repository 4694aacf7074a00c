"""Runs an exported graph on OpenVINO or ONNX Runtime, without torch. Does not tokenise and does not export."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cdsframe.machine.environment import cpu_quota, usable_cores

if TYPE_CHECKING:
    import numpy as np


class Graph(Protocol):
    """A model's computation graph, loaded into ONNX Runtime or OpenVINO. Several threads may run it at once."""

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the graph's output in float32 for int64 arrays `[n, tokens]` by input name."""


def graph(backend: str, folder: Path, dtype: str) -> Graph:
    """Loads the graph in a folder. `dtype`: `float32` or `bfloat16`, the precision of matrix products."""
    return _OpenVino(folder, dtype) if backend == "openvino" else _Onnx(folder)


def threads() -> int:
    """Returns the number of threads of a graph: `OMP_NUM_THREADS`, else the cores of this process or container."""
    stated = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    return max(1, min(len(usable_cores()), cpu_quota() or sys.maxsize))


def imported_openvino() -> Any:
    """Returns the module `openvino`, imported without its telemetry, which sends an event at each import."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # its import fails: OpenVINO uses a stub
    import openvino

    return openvino


class _OpenVino:
    """A graph of OpenVINO, with one inference request per thread that runs it."""

    def __init__(self, folder: Path, dtype: str) -> None:
        core = imported_openvino().Core()
        precision = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        self._compiled = core.compile_model(
            str(folder / "graph.xml"),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads(),
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._requests = threading.local()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if not hasattr(self._requests, "one"):
            self._requests.one = self._compiled.create_infer_request()
        result: np.ndarray = self._requests.one.infer(dict(inputs))[0]
        return result


class _Onnx:
    """A graph of ONNX Runtime, in float32."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(folder / "graph.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        result: np.ndarray = self._session.run(None, dict(inputs))[0]
        return result
