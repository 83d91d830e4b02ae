"""Where data is found on disk, and what task it is for."""
