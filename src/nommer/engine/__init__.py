"""From data and a model to a trained, judged model: loss, optimiser, schedule, metrics, run folder (Lightning)."""
