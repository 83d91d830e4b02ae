"""Processes and devices: the trainer, the rendezvous of processes, signals."""
