"""From questions, passages and answers to an adapter; each job of `train.py` is a function in a module of its own."""
