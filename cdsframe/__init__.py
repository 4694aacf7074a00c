"""A small language model of your own that answers from your own documents, composed by Hydra.

    import cdsframe

    system = cdsframe.compose("serve", ["retriever=bm25", "index.name=demo"])
    answer = system.pipeline.answer("Which dose is given to children?")
    print(answer.text, answer.confidence)

`import cdsframe` imports no submodule; each name is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PLACES = {
    "cdsframe.config.compose": ("compose",),
    "cdsframe.pipeline": ("Pipeline",),
    "cdsframe.errors": ("CdsframeError", "ConfigError", "InputError"),
    "cdsframe.types": (
        "Answer", "Citation", "Confidence", "Document", "Evidence", "Filter", "Hit", "Message", "Passage", "Question",
        "Section",
    ),
    "cdsframe.contracts": (
        "Calibrator", "Chunker", "Contamination", "Context", "Corpus", "DataSource", "Embedder", "Fusion", "Generator",
        "Index", "LanguageModel", "Logger", "Lora", "Quantization", "Reranker", "Retriever", "System", "Trainer",
    ),
}  # fmt: skip

__all__ = sorted(name for names in _PLACES.values() for name in names)

if TYPE_CHECKING:
    from cdsframe.config.compose import compose as compose
    from cdsframe.contracts import *  # noqa: F403
    from cdsframe.errors import CdsframeError as CdsframeError
    from cdsframe.errors import ConfigError as ConfigError
    from cdsframe.errors import InputError as InputError
    from cdsframe.pipeline import Pipeline as Pipeline
    from cdsframe.types import *  # noqa: F403


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(place), name)
    raise AttributeError(f"module 'cdsframe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
