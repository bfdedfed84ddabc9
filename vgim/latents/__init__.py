"""Looking at a trained run's latents: what each dimension holds, how they hang together, how smooth the space is."""
