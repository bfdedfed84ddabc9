"""Frozen features of utterances: from trained encoders, from baselines, and from the cache."""
