"""Records of what the network nominates, from outside and without changing what it computes."""
