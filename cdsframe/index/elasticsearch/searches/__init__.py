"""Reads and searches the committed records. Writes nothing."""
