"""Analyses of latents, one a file; `vgim.latents.registry` lists them."""
