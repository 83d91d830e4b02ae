"""Models that answer images: a backbone, a head, names of classes and preprocessing.

They take images as they are, so this room imports the one decoder; `backbone` knows nothing of it.
"""
