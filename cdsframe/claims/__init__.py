"""Whether a statement says what a passage says. `clauses` reads sentences, `agreement` compares them."""
