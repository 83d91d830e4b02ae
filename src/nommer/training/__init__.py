"""The verb `train`: the loop of Lightning, its callbacks, what it writes, how it stops and goes on."""
