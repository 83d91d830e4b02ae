"""The run folder: its files, its lock, what may change when it is resumed."""
