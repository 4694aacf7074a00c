"""Reads documents: one class for each kind of source. Does not cut documents into passages."""
