"""Turning questions, passages and answers into an adapter. Each job of `train.py` is a function in a module of its own."""
