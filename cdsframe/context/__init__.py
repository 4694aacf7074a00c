"""Prepares reranked hits for the prompt: which are shown, how much of each, in which order. Does not search."""
