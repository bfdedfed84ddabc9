"""Experiments: several configs × seeds, each trained, probed at every module, and compared."""
