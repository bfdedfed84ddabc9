"""Sweeps over a run config: trials that are runs like any other, scheduled by Ray Tune."""
