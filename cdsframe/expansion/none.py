"""No expansion: questions are searched as they were asked."""

from __future__ import annotations

from cdsframe.contracts import Retriever


def none(retriever: Retriever) -> Retriever:
    """The retriever itself."""
    return retriever
