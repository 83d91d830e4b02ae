"""`nommer prune`: contexts that are not needed are taken out of a trained network."""
