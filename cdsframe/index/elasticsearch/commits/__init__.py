"""The commit protocol: generations, the ledger, the writer's lease, rebuilds and the removal of dead records."""
