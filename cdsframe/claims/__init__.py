"""Whether a statement says what a passage says: a sentence's clauses (`clauses`), and comparing them (`agreement`)."""
