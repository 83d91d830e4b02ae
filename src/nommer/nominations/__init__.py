"""What the network nominates: recorded from outside, without changing what it computes."""
