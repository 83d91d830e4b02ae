"""What turns data and a model into a trained, judged model: loss, optimiser, schedule, metrics, run folder (Lightning)."""
