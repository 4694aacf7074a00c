"""Splits documents into passages, and makes records of their sections, titles and whole documents. Does not embed."""
