"""Analyses of a trained run's latents: what dimensions hold, how they depend on each other, how smooth the space is."""
