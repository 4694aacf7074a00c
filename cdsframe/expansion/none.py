"""No expansion: the retriever searches the question as asked."""

from __future__ import annotations

from cdsframe.contracts import Retriever


def none(retriever: Retriever) -> Retriever:
    """Returns the retriever unchanged."""
    return retriever
