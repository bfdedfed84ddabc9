"""Trained encoders and decoders, frozen, for notebooks and for the jobs that come after training."""
