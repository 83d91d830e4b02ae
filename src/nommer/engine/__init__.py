"""From data and a model to a trained, judged model.

Loss, optimiser, schedule, metrics, run folder (Lightning).
"""
