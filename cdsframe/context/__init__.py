"""What becomes of the hits between reranker and prompt: which of them are shown, how much of each, in which order."""
