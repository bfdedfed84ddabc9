"""Stages of a pipeline: where ranks are in the mesh, the latents they send each other, what they report to rank 0."""
