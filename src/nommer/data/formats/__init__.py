"""Data on disk: its layouts, its files of labels, and the task that it is for."""
