"""Converts texts to unit vectors: `SentenceEmbedder`, `NoEmbedder`, and the test double `HashEmbedder`.

Does not cache vectors.
"""

from cdsframe.embedder.doubles import HashEmbedder
from cdsframe.embedder.none import NoEmbedder
from cdsframe.embedder.sentence import SentenceEmbedder

__all__ = ["HashEmbedder", "NoEmbedder", "SentenceEmbedder"]
