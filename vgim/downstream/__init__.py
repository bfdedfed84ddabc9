"""Probes: linear classifiers that read labels off the frozen features of a trained run's encoder."""
