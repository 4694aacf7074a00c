"""The contracts of components as tests, and doubles, for packages with components of their own. Needs pytest.

`IndexContract` and `RetrieverContract` are classes of tests: inherit from one and give it your component. Doubles need
no model: `HashEmbedder` (vectors of hashed words), `ScriptedGenerator` (answers by a function), `filled_index`.
"""

from cdsframe.embedder import HashEmbedder
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.testing.index import IndexContract
from cdsframe.testing.package import check_package
from cdsframe.testing.retriever import RetrieverContract, filled_index

__all__ = ["HashEmbedder", "IndexContract", "RetrieverContract", "ScriptedGenerator", "check_package", "filled_index"]
