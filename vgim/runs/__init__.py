"""A run on disk: its folder, checkpoints, metrics and listing; readable without training code."""
