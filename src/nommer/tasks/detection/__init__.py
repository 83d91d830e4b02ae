"""Detection: data, model, loss, metrics and results of this task."""
