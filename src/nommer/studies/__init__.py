"""The verb `explain --data`: the working pattern over a data set, and what it is worth."""
