"""Imitation: a network without classes learns a teacher's features from images without labels."""
