"""Decoders from an encoder's latents back to audio: losses, training, and sounds."""
