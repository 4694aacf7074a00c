"""Files that outlive a process: writing them safely, their digests, manifests of runs and adapters, and model files."""
