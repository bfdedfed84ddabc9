"""Import and export of checkpoints of other implementations."""
