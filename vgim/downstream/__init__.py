"""What works on a trained run's frozen encoder: probes of what its latents tell."""
