"""Trains adapters, embedders and rerankers, estimates memory, merges adapters: one module per option of `training`."""
