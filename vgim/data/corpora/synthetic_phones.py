"""The phones of the embedded corpus: formants, noise spectra and durations."""

from __future__ import annotations

from dataclasses import dataclass

Formants = tuple[float, float, float]
"""Hz."""
Band = tuple[float, float, float]
"""Center and width in Hz, gain in dB."""

NASAL_POLE_HZ = 270.0


@dataclass(frozen=True)
class Phone:
    """How a phone sounds in a neutral voice. Levels are relative to the voicing of a vowel."""

    name: str
    spelling: str
    duration_ms: float
    formants_hz: Formants | None = None
    """The first three formants; None for a phone that has the formants of the next phone, as /h/ does."""
    end_formants_hz: Formants | None = None
    """The formants at the end of a diphthong."""
    voicing: float = 0.0
    """Level of the glottal pulses."""
    aspiration: float = 0.0
    """Level of the noise that passes through the vocal tract, as in /h/."""
    frication: float = 0.0
    """Level of the noise made at a constriction, as in /s/."""
    bands: tuple[Band, ...] = ()
    """Spectrum of the frication, or of a stop's burst."""
    closure: float = 0.0
    """Share of a stop's duration before its release."""
    nasal_zero_hz: float = NASAL_POLE_HZ
    """Frequency of the antiresonance. At the nasal pole's frequency the two cancel, so the phone is not nasal."""


def _vowel(
    name: str, spelling: str, duration_ms: float, formants: Formants, end: Formants | None = None
) -> Phone:
    return Phone(name, spelling, duration_ms, formants, end, voicing=1.0)


def _stop(name: str, formants: Formants, bands: tuple[Band, ...], *, voiced: bool) -> Phone:
    return Phone(
        name,
        name,
        75.0 if voiced else 110.0,
        formants,
        voicing=0.12 if voiced else 0.0,
        aspiration=0.0 if voiced else 0.30,
        frication=0.35 if voiced else 0.45,
        bands=bands,
        closure=0.7 if voiced else 0.5,
    )


_LABIAL: tuple[Band, ...] = ((900, 700, 0),)
_ALVEOLAR: tuple[Band, ...] = ((4800, 1500, 0), (3200, 800, -8))
_VELAR: tuple[Band, ...] = ((2000, 500, 0), (4500, 1200, -14))
_F: tuple[Band, ...] = ((6500, 3500, 0), (1500, 1200, -10))
_S: tuple[Band, ...] = ((6200, 1100, 0), (4500, 900, -10))

PHONES: tuple[Phone, ...] = (
    Phone("SIL", "", 120.0),
    _vowel("IY", "EE", 125, (280, 2250, 2950)),
    _vowel("EH", "E", 115, (540, 1840, 2500)),
    _vowel("AE", "A", 140, (680, 1700, 2420)),
    _vowel("AA", "AH", 145, (740, 1100, 2450)),
    _vowel("AO", "O", 140, (560, 840, 2420)),
    _vowel("UW", "OO", 120, (310, 880, 2250)),
    _vowel("AH", "U", 95, (620, 1220, 2400)),
    _vowel("ER", "ER", 130, (480, 1330, 1700)),
    _vowel("AY", "Y", 175, (720, 1200, 2500), (340, 2100, 2800)),
    _vowel("OW", "OW", 160, (540, 980, 2400), (340, 820, 2300)),
    Phone("M", "M", 75, (270, 1000, 2200), voicing=0.5, nasal_zero_hz=1000),
    Phone("N", "N", 70, (270, 1650, 2600), voicing=0.5, nasal_zero_hz=1600),
    Phone("NG", "NG", 80, (270, 2250, 2700), voicing=0.5, nasal_zero_hz=2800),
    Phone("L", "L", 70, (350, 1150, 2850), voicing=0.6),
    Phone("R", "R", 75, (330, 1100, 1450), voicing=0.6),
    Phone("W", "W", 70, (300, 640, 2150), voicing=0.55),
    Phone("Y", "J", 65, (270, 2200, 3000), voicing=0.55),
    Phone("HH", "H", 70, aspiration=0.35),
    Phone("F", "F", 100, (330, 1100, 2100), frication=0.09, bands=_F),
    Phone("S", "S", 115, (320, 1500, 2550), frication=0.24, bands=_S),
    Phone("SH", "SH", 115, (310, 1850, 2700), frication=0.28, bands=((2900, 700, 0), (4600, 1200, -4))),
    Phone("V", "V", 65, (300, 1100, 2150), voicing=0.32, frication=0.05, bands=_F),
    Phone("Z", "Z", 85, (300, 1500, 2550), voicing=0.25, frication=0.13, bands=_S),
    _stop("P", (250, 850, 2150), _LABIAL, voiced=False),
    _stop("T", (250, 1750, 2650), _ALVEOLAR, voiced=False),
    _stop("K", (250, 2000, 2350), _VELAR, voiced=False),
    _stop("B", (230, 850, 2150), _LABIAL, voiced=True),
    _stop("D", (230, 1750, 2650), _ALVEOLAR, voiced=True),
    _stop("G", (230, 2000, 2350), _VELAR, voiced=True),
)
CLASS_OF = {phone.name: number for number, phone in enumerate(PHONES)}
SIL = CLASS_OF["SIL"]
"""The class of silence."""
VOWELS = frozenset(number for number, phone in enumerate(PHONES) if phone.voicing == 1.0)
