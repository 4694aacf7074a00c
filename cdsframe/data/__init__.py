"""Questions with gold answers and evidence, in splits: what training learns from and evaluation asks."""
