"""Runs side by side: what they are, cost and learned, and what their probes found."""
