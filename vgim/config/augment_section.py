"""The section `data.augment`: how far crops of training and validation are changed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vgim.config.section import Section


class AugmentConfig(Section):
    """Random changes of crops: drawn anew for each training crop and epoch, and the same at each validation. Each key
    turns on one kind."""

    pitch_semitones: float = Field(0.0, ge=0, le=12)
    """Largest change of pitch and tempo together, up or down, by resampling; 0 turns it off."""
    reverb_s: float = Field(0.0, ge=0, le=5)
    """Longest reverberation time (to -60 dB) of a synthetic room in seconds; 0 turns it off."""
    band_reject: float = Field(0.0, ge=0, le=0.9)
    """Largest share of the mel scale, from 0 to 8 kHz, that one stop band takes out; 0 turns it off."""
    noise_snr_db: Annotated[float, Field(ge=-20, le=80)] | Literal["none"] = "none"
    """Lowest signal-to-noise ratio of white or pink noise in dB; a crop's is up to 20 dB higher. none: no noise."""
    gain_db: float = Field(0.0, ge=0, le=40)
    """Largest change of level in dB, up or down; 0 turns it off."""
    mask_s: float = Field(0.0, ge=0, le=60)
    """Longest stretch that is silenced in seconds; 0 turns it off."""

    @property
    def is_on(self) -> bool:
        """Whether any kind is turned on."""
        return self != AugmentConfig()
