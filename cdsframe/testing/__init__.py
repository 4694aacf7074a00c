"""Contract tests and test doubles for packages with their own components. Needs pytest.

`IndexContract` and `RetrieverContract` are test classes: inherit from one and define its fixture. The doubles need no
model: `HashEmbedder` (vectors of hashed words), `ScriptedGenerator` (answers from a function), `filled_index`.
"""

from cdsframe.embedder import HashEmbedder
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.testing.index import IndexContract
from cdsframe.testing.package import check_package
from cdsframe.testing.retriever import RetrieverContract, filled_index

__all__ = ["HashEmbedder", "IndexContract", "RetrieverContract", "ScriptedGenerator", "check_package", "filled_index"]
