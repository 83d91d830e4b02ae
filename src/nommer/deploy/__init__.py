"""From a trained model to one that is fast to run, or that runs elsewhere.

The same answers, proven.
"""
