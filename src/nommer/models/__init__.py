"""Models that answer questions about images: a backbone, a head, and what prediction needs to know."""
