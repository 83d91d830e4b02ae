"""Answers to videos, cameras and watched folders, one after the other: `nommer predict`."""
