"""Faster forms of a network: fused, packed, compiled."""
