"""Models that answer images: a backbone, a head, names of classes and preprocessing."""
