"""Where documents come from: one class for each kind of source. Does not cut them into passages."""
