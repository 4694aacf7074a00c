"""Reorders a retriever's hits by reading question and passage together. Does not search."""
