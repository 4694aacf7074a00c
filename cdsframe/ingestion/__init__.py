"""Keeps an index consistent with its documents: update, rebuild, abandon, live, watch, verify, purge. Reads no
files."""
