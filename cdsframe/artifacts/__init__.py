"""Files on disk: atomic writes, digests, manifests of runs and adapters, locating and loading model files."""
