"""What the machine has and how its native libraries use it: cores, threads, caches."""
