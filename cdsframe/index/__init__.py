"""Where passages are kept and searched by words (BM25) and by vectors (kNN). Does not embed and does not fuse."""
