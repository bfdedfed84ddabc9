"""Runs side by side: cost, losses and probe results."""
