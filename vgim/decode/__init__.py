"""Decoders: from an encoder's latents back to audio, trained by the same trainer, and what they let one hear."""
