"""Reorders what a retriever found, by reading question and passage together."""
