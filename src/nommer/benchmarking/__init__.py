"""The verb `benchmark`: speed and memory against peers in one run."""
