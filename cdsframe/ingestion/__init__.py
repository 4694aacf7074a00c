"""What keeps an index true to its documents: update, rebuild, abandon, live, watch, verify, purge. Reads no files."""
