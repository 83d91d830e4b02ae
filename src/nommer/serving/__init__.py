"""`nommer serve`: models behind HTTP, exported files without PyTorch."""
