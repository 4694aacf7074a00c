"""Expands a question before any retriever searches it. Does not search for passages to answer from."""
