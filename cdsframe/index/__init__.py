"""Stores passages and searches them by BM25 and kNN. Does not embed and does not fuse."""
