"""Reads text: sentences, words, numbers, units, headings, citation markers, and the normal form for search."""
