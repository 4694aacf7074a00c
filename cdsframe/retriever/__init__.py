"""Finds passages for a query, over any index. Does not know the index's engine and does not fuse by itself."""
