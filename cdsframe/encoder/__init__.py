"""Runs encoders for `embedder` and `reranker`: sentence-transformers, or exported graphs on OpenVINO or ONNX Runtime.

An encoder is a transformer that reads a whole text at once. Does not generate, train, or rank.
"""
