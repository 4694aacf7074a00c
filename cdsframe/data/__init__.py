"""Data sets for training and evaluation: questions with gold answers and evidence, in splits."""
