"""What keeps an index true to its documents: update, rebuild, live, watch, verify, purge. Does not read files."""
