"""Exports a transformer as a graph for OpenVINO or ONNX Runtime, with its tokenizer, into the cache.

The graph is the transformer alone, in float32; the back end lowers the precision when it loads the graph. Only making
an export imports torch; reading one does not.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import write_json
from cdsframe.artifacts.packaged import make_once, model_path, public_name, weights_digest
from cdsframe.encoder.graphs import imported_openvino
from cdsframe.encoder.settings import EncoderSettings, missing_packages
from cdsframe.errors import CdsframeError, ConfigError

if TYPE_CHECKING:
    import numpy as np

_FORMAT = 1
_FILES = (".json", ".safetensors", ".bin", ".txt", ".model")
"""Suffixes of the files of a model folder that determine its vectors."""

LEAST_COSINE = 0.9999
"""Minimum cosine, in float32, between a vector of an exported graph and the same vector of the library."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A module after the transformer: class name, configuration, and its weights as arrays."""

    kind: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exportable:
    """The parts of a model that an export contains.

    Args:
        transformer: a transformers model.
        output: name of the transformer's output that the graph returns.
        tokenizer: the fast tokenizer of transformers.
        layers: the modules after the transformer.
        dimension: length of the resulting vectors; None if the graph's outputs are the result.
    """

    transformer: Any
    output: str
    tokenizer: Any
    layers: Sequence[Layer] = ()
    dimension: int | None = None


def exported(settings: EncoderSettings, pooling: str | None, write: Callable[[Path], None]) -> Path:
    """Returns the folder of the model's export; calls `write` to make it if it is missing.

    The folder's name has a digest of the model's files: a model that is trained again is exported again. Processes that
    need the same export wait for the first. Raises ConfigError if the back end is not installed.
    """
    if problems := missing_packages(settings.group, settings.backend):
        raise ConfigError(problems)
    package = "openvino" if settings.backend == "openvino" else "onnxruntime"
    parts = (str(_FORMAT), settings.group, str(pooling), package, metadata.version(package), _content(settings.name))
    name = re.sub(r"[^\w.-]+", "-", public_name(settings.name).removeprefix("package:"))
    return make_once(Path(settings.cache) / f"{name}-{settings.backend}-{digest(*parts)}", write)


def _content(name: str) -> str:
    """Returns a digest of a folder's files, or the revision of a hub id."""
    path = model_path(name)
    folder = Path(path)
    if not folder.is_dir():
        return f"{path}@{weights_digest(path)}"
    hasher = sha256()
    for file in sorted(file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.suffix in _FILES):
        hasher.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                hasher.update(block)
    return hasher.hexdigest()


def write_export(settings: EncoderSettings, model: Exportable, folder: Path) -> None:
    """Writes graph, tokenizer, layers and `export.json` into a folder. Raises ConfigError if it cannot be exported."""
    from safetensors.numpy import save_file

    tokenizer = model.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(f"{settings.place} has no tokenizer.json; such a model {_instead(settings)}")
    known = ("input_ids", "attention_mask", "token_type_ids")
    names = [name for name in known if name in ("input_ids", *tokenizer.model_input_names)]
    with _converting(settings):
        _write_graph(settings.backend, model, names, folder)
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(folder / "tokenizer.json"))
    layers = []
    for number, layer in enumerate(model.layers):
        file = f"{number}.safetensors" if layer.weights else None
        if file:
            save_file(layer.weights, folder / file)
        layers.append({"kind": layer.kind, "config": layer.config, "weights": file})
    facts = {
        "inputs": names,
        "pad_id": tokenizer.pad_token_id or 0,
        "pad_type_id": getattr(tokenizer, "pad_token_type_id", 0) or 0,
        "padding_side": tokenizer.padding_side,
        "truncation_side": tokenizer.truncation_side,
        "layers": layers,
        "dimension": model.dimension,
    }
    write_json(folder / "export.json", facts)


def read_export(folder: Path) -> dict[str, Any]:
    """Returns the content of `export.json`."""
    content: dict[str, Any] = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    return content


def _write_graph(backend: str, model: Exportable, names: list[str], folder: Path) -> None:
    import torch

    class Traced(torch.nn.Module):
        """Takes the inputs by position and returns one tensor, as tracing requires."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = model.transformer

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = getattr(self.inner(**dict(zip(names, tensors, strict=True))), model.output)
            return found

    filler = model.tokenizer.unk_token_id or 1
    ids = torch.full((2, 9), filler)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0  # a batch without padding would be traced without the attention mask
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    inputs = tuple(given[name] for name in names)
    module = Traced().eval()
    with torch.inference_mode(False), torch.no_grad():
        if backend == "openvino":
            _write_openvino(module, inputs, names, folder / "graph.xml")
        else:
            axes = {name: {0: "texts", 1: "tokens"} for name in names} | {"output": {0: "texts"}}
            torch.onnx.export(
                module, inputs, str(folder / "graph.onnx"), input_names=names, output_names=["output"],
                dynamic_axes=axes, dynamo=False, opset_version=17,
            )  # fmt: skip


def _write_openvino(module: Any, inputs: tuple[Any, ...], names: list[str], file: Path) -> None:
    """Converts by OpenVINO's front end for torch: `openvino.convert_model` would send telemetry."""
    openvino = imported_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front_end = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(module, example_input=inputs)  # a variable: the front end does not keep it alive
    loaded = front_end.load(decoder)
    for place in loaded.get_inputs():
        loaded.set_element_type(place, openvino.Type.i64)
        loaded.set_partial_shape(place, openvino.PartialShape([-1, -1]))
    graph = front_end.convert(loaded)
    for name, place in zip(names, graph.inputs, strict=True):
        place.tensor.set_names({name})
    openvino.save_model(graph, str(file), compress_to_fp16=False)


@contextmanager
def _converting(settings: EncoderSettings) -> Iterator[None]:
    """Silences the converters' warnings; turns their errors into ConfigError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (CdsframeError, OSError, MemoryError):
        raise
    except Exception as error:
        raise ConfigError(
            f"{settings.place} cannot be exported: its architecture is one that {_instead(settings)}"
        ) from error


def _instead(settings: EncoderSettings) -> str:
    return f"{settings.group}.backend={settings.backend} cannot run; use {settings.group}.backend=torch"


def require_close(settings: EncoderSettings, cosine: float) -> None:
    """Raises ConfigError if the cosine of an exported graph's and the library's results is below `LEAST_COSINE`."""
    if not cosine >= LEAST_COSINE:
        raise ConfigError(
            f"{settings.place}: the exported graph gives other results than sentence-transformers (cosine "
            f"{cosine:.4f}); it has a part that {_instead(settings)}"
        )
