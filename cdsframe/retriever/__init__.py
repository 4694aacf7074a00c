"""Finds passages for a query in any index. Does not know the index engine and does not implement fusion."""
