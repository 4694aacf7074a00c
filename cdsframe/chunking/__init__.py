"""Cuts documents into passages, and makes the records of their sections, titles and whole documents. Does not embed."""
