"""Settings of native libraries for this machine's cores, threads and caches."""
