"""The encoders that a probe compares: the trained encoder, an untrained one, and encoders trained on labels."""
