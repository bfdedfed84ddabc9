"""Import and export of other implementations' checkpoints."""
