"""What a task adds to the verbs: its workflow, its metrics, the files of its results."""
