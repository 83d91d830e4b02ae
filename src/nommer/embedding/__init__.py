"""Vectors of images, objects and regions: `nommer embed`, and near-duplicates for `check`."""
