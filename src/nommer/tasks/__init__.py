"""The tasks that can be learned: one folder each, with the same file names in it."""
