"""The verb `train`: the loop, its callbacks, records, checkpoints, stops and resumption."""
