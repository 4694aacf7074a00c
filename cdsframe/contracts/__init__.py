"""The contracts of the components, one Protocol for each kind of component, and of the system that they make up.

A config group's components fulfil one contract; an expansion is a `Retriever`. `prompt` has no contract: its class is
fixed. The jobs `ingestion`, `training`, `evaluation` and `serving` have none: they are functions. A class that has the
methods fulfils a contract; it need not inherit from it. The nouns are in `cdsframe.types`.
"""

from cdsframe.contracts.retrieval import (
    BatchingGenerator,
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
    WeightedRetriever,
)
from cdsframe.contracts.system import Calibrator, System
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
    "BatchingGenerator", "Calibrator", "Choose", "Chunker", "Contamination", "Context", "Corpus", "DataSource",
    "Embedder", "Fusion", "Generator", "Index", "Item", "LanguageModel", "Logger", "Lora", "Quantization", "Reranker",
    "Retriever", "System", "Trainer", "WeightedRetriever",
]  # fmt: skip
