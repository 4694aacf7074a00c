"""The contracts of the components, one Protocol for each config group, and of the system that they make up.

A class that has the methods fulfils a contract; it need not inherit from it. The nouns are in `cdsframe.types`.
"""

from cdsframe.contracts.retrieval import (
    Choose,
    Chunker,
    Context,
    Corpus,
    Embedder,
    Fusion,
    Generator,
    Index,
    Item,
    Reranker,
    Retriever,
)
from cdsframe.contracts.system import Calibration, System
from cdsframe.contracts.training import (
    Contamination,
    DataSource,
    LanguageModel,
    Logger,
    Lora,
    Quantization,
    Trainer,
)

__all__ = [
    "Calibration", "Choose", "Chunker", "Contamination", "Context", "Corpus", "DataSource", "Embedder", "Fusion",
    "Generator", "Index", "Item", "LanguageModel", "Logger", "Lora", "Quantization", "Reranker", "Retriever", "System",
    "Trainer",
]  # fmt: skip
