"""Audio as vgim holds it: mono, 16 kHz, 16-bit PCM."""

from __future__ import annotations

from vgim.arrays import I16

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160
"""Samples in 10 ms: the grid of phone labels, of crop starts and of the encoder's last frames."""
PCM16_SCALE = 32_768
"""int16 / PCM16_SCALE is float PCM in [-1, 1)."""

Pcm16 = I16
