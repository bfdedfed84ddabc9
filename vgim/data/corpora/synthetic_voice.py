"""Formant speech in numpy: phones with formants and noise, voices that differ, and a vectorized synthesizer.

A voiced source (glottal pulses at a pitch contour) and noise pass through the formants of a vocal tract, frication
through a spectrum per phone; both are filtered frame by frame in the frequency domain and overlap-added.
"""

# T frames of 10 ms, L ticks of 2.5 ms, S samples, P phones in the utterance, F = FFT_SIZE // 2 + 1 bins

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vgim.data.audio import to_pcm16
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ, Pcm16

Floats = npt.NDArray[np.float32]
Formants = tuple[float, float, float]
Band = tuple[float, float, float]
"""Center and width in Hz, gain in dB."""

FFT_SIZE = 640
"""Four frames: room for a window of two and for the ringing of the formants after it."""
TICKS_PER_FRAME = 4
TICK_SAMPLES = HOP_SAMPLES // TICKS_PER_FRAME
COARTICULATION_TICKS = 27
"""Formants glide from phone to phone over about 70 ms."""
FIXED_FORMANTS_HZ = (3500.0, 4500.0)
BANDWIDTHS_HZ = (70.0, 100.0, 150.0, 220.0, 280.0)
NASAL_POLE_HZ = 270.0
HIGH_LIFT_DB = 14.0
VOICE_GAIN = 0.35
"""Brings vowels to about the level 1 that fricatives are given relative to."""


@dataclass(frozen=True)
class Phone:
    """How a phone sounds in a neutral voice; levels are relative to a vowel's voicing."""

    name: str
    spelling: str
    duration_ms: float
    formants_hz: Formants | None = None
    """None takes those of the next phone."""
    end_formants_hz: Formants | None = None
    """Where a diphthong goes."""
    voicing: float = 0.0
    aspiration: float = 0.0
    frication: float = 0.0
    bands: tuple[Band, ...] = ()
    """Spectrum of the frication or of the burst."""
    closure: float = 0.0
    """Share of the duration that is closed, for stops."""
    nasal_zero_hz: float = NASAL_POLE_HZ
    """The antiresonance; equal to the nasal pole it cancels it."""


def _vowel(name: str, spelling: str, ms: float, formants: Formants, end: Formants | None = None) -> Phone:
    return Phone(name, spelling, ms, formants, end, voicing=1.0)


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
VOWELS = frozenset(number for number, phone in enumerate(PHONES) if phone.voicing == 1.0)


@dataclass(frozen=True)
class Voice:
    """What makes a speaker; drawn once, the same in all utterances."""

    sex: str
    pitch_hz: float
    pitch_range_semitones: float
    formant_scale: float
    """Of a vocal tract: 1 is a man of average length, above is shorter."""
    rate: float
    """Above 1 speaks faster."""
    open_quotient: float
    """Share of a period in which the glottis is open."""
    tilt_hz: float
    """Where the voice's spectrum starts to fall; low is soft."""
    breathiness: float
    channel_db: tuple[float, ...]
    """Gain of microphone and room at points evenly spaced over the band."""
    level: float
    """Root mean square of speech, in float PCM."""
    noise_level: float

    @staticmethod
    def draw(rng: np.random.Generator, *, female: bool) -> Voice:
        """A random voice of that sex."""
        pitch, scale = (
            (rng.uniform(165, 250), rng.uniform(1.10, 1.24))
            if female
            else (
                rng.uniform(85, 150),
                rng.uniform(0.94, 1.08),
            )
        )
        return Voice(
            sex="F" if female else "M",
            pitch_hz=float(pitch),
            pitch_range_semitones=float(rng.uniform(1.5, 5.0)),
            formant_scale=float(scale),
            rate=float(rng.uniform(0.82, 1.2)),
            open_quotient=float(rng.uniform(0.45, 0.8)),
            tilt_hz=float(rng.uniform(2000, 6000)),
            breathiness=float(rng.uniform(0.01, 0.12)),
            channel_db=tuple(float(gain) for gain in rng.uniform(-5, 5, 6)),
            level=float(rng.uniform(0.045, 0.085)),
            noise_level=float(10 ** (rng.uniform(-74, -60) / 20)),
        )


def synthesize_phones(
    classes: Sequence[int], num_frames: Sequence[int], voice: Voice, rng: np.random.Generator
) -> Pcm16:
    """Speech of the phones, each for so many frames of 10 ms: int16 [160 · sum(num_frames)]."""
    phone_P = np.asarray(classes)
    ticks_P = np.asarray(num_frames) * TICKS_PER_FRAME
    num_ticks = int(ticks_P.sum())
    num_samples = num_ticks * TICK_SAMPLES

    voicing_S, aspiration_S, frication_S = (
        _to_samples(track, num_samples) for track in _levels(phone_P, ticks_P, voice, rng)
    )
    pitch_S = _to_samples(_pitch(phone_P, ticks_P, voice, rng), num_samples)
    phase_S = np.cumsum(pitch_S / SAMPLE_RATE_HZ, dtype=np.float64) % 1.0
    opening_S = (phase_S / voice.open_quotient).astype(np.float32)
    is_open_S = opening_S < 1
    # derivative of Klatt's glottal flow: rises while the glottis opens, drops sharply where it shuts
    pulses_S = np.where(is_open_S, opening_S * (2 - 3 * opening_S), 0).astype(np.float32)
    noise_S, hiss_S = rng.standard_normal((2, num_samples), dtype=np.float32)
    breath_S = voice.breathiness * noise_S * is_open_S
    tract_in_S = voicing_S * (pulses_S + breath_S) + 0.25 * aspiration_S * noise_S

    window = np.hanning(2 * HOP_SAMPLES + 1)[:-1].astype(np.float32)
    at_frames_T = np.minimum(np.arange(num_ticks // TICKS_PER_FRAME + 1) * TICKS_PER_FRAME, num_ticks - 1)
    tract_TF, bands_TF = _filters(phone_P, ticks_P, voice, rng, at_frames_T)
    spectra_TF = np.fft.rfft(_frames(tract_in_S) * window, FFT_SIZE) * tract_TF
    spectra_TF += np.fft.rfft(_frames(frication_S * hiss_S) * window, FFT_SIZE) * bands_TF
    wave_S = _overlap_add(
        np.fft.irfft(spectra_TF * _channel(voice.channel_db), FFT_SIZE).astype(np.float32), num_samples
    )

    active = float(np.sqrt(np.mean(np.square(wave_S[np.repeat(phone_P != SIL, ticks_P * TICK_SAMPLES)]))))
    level = voice.level * float(np.exp(rng.normal(0, 0.1)))
    floor_S = voice.noise_level * rng.standard_normal(num_samples, dtype=np.float32)
    return to_pcm16(np.tanh(wave_S * (level / max(active, 1e-9))) + floor_S)


def _levels(
    phone_P: npt.NDArray[np.int64], ticks_P: npt.NDArray[np.int64], voice: Voice, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Voicing, aspiration and frication, [L] each."""
    voicing, aspiration, frication = np.zeros((3, int(ticks_P.sum())), dtype=np.float32)
    starts_P = np.cumsum(ticks_P) - ticks_P
    loudness_P = np.exp(rng.normal(0, 0.12, len(phone_P)))
    for number, start, ticks, loudness in zip(phone_P, starts_P, ticks_P, loudness_P, strict=True):
        phone, end = PHONES[number], start + ticks
        release = start + round(ticks * phone.closure)
        if not phone.closure:
            voicing[start:end] = phone.voicing * loudness
            aspiration[start:end] = phone.aspiration * loudness
            frication[start:end] = phone.frication * loudness
            continue
        voicing[start:release] = phone.voicing
        if phone.voicing:
            voicing[release:end] = 0.5
        fade = np.linspace(1, 0.4, end - release)
        aspiration[release:end] = phone.aspiration * fade
        frication[release : min(release + 5, end)] = phone.frication * loudness
    return _smooth(voicing, 7), _smooth(aspiration, 5), _smooth(frication, 5)


def _pitch(
    phone_P: npt.NDArray[np.int64], ticks_P: npt.NDArray[np.int64], voice: Voice, rng: np.random.Generator
) -> Floats:
    """Hz, [L]: falls over the utterance, rises on accented vowels, drops at the end, wavers a little."""
    num_ticks = int(ticks_P.sum())
    tick_L = np.arange(num_ticks)
    semitones = 1.5 - 3.0 * tick_L / num_ticks
    middles_P = np.cumsum(ticks_P) - ticks_P / 2
    for number, middle in zip(phone_P, middles_P, strict=True):
        if number in VOWELS and rng.random() < 0.45:
            height = voice.pitch_range_semitones * rng.uniform(0.4, 1.1)
            semitones += height * np.exp(-0.5 * ((tick_L - middle) / 32) ** 2)
    semitones -= 3 * rng.uniform(0.2, 1.2) * np.clip((tick_L - (num_ticks - 140)) / 140, 0, 1)
    knots = rng.normal(0, 0.25, num_ticks // 8 + 2)
    semitones += np.interp(tick_L, np.arange(len(knots)) * 8, knots)
    pitch: Floats = (voice.pitch_hz * 2 ** (semitones / 12)).astype(np.float32)
    return pitch


def _filters(
    phone_P: npt.NDArray[np.int64],
    ticks_P: npt.NDArray[np.int64],
    voice: Voice,
    rng: np.random.Generator,
    at_frames_T: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.complex64], Floats]:
    """Responses of the vocal tract and of the frication at the frames' centers, [T + 1, F] each."""
    targets_P3 = np.array(
        [[_targets(phone_P, place, end) for end in (False, True)] for place in range(len(phone_P))]
    )
    targets_P3 = targets_P3 * np.exp(rng.normal(0, 0.025, (len(phone_P), 1, 3)))
    halves = np.stack([ticks_P // 2, ticks_P - ticks_P // 2], axis=1).ravel()
    zeros_P = np.array([PHONES[number].nasal_zero_hz for number in phone_P])
    tracks = [
        *(np.repeat(targets_P3.reshape(-1, 3)[:, formant], halves) for formant in range(3)),
        np.repeat(zeros_P, ticks_P),
    ]
    smoothed: list[Floats] = [
        np.exp(_smooth(np.log(track).astype(np.float32), COARTICULATION_TICKS))[at_frames_T]
        for track in tracks
    ]
    formants_T = [*smoothed[:3], *(np.full(len(at_frames_T), hz, np.float32) for hz in FIXED_FORMANTS_HZ)]

    poles = np.ones((len(at_frames_T), 1), np.float32)
    for hz_T, bandwidth in zip(formants_T, BANDWIDTHS_HZ, strict=True):
        poles = _times(poles, _resonance(hz_T * voice.formant_scale, bandwidth))
    poles = _times(poles, _resonance(np.full(len(at_frames_T), NASAL_POLE_HZ, np.float32), 100.0))
    zeros = _resonance(smoothed[3].astype(np.float32), 100.0)
    response = np.fft.rfft(zeros, FFT_SIZE) / np.fft.rfft(poles, FFT_SIZE)
    response *= (poles.sum(axis=1) / zeros.sum(axis=1))[
        :, None
    ]  # gain 1 at 0 Hz, as in a cascade synthesizer
    hz = _bins_hz()
    # the lift stands in for the resonances above the fifth, which a cascade of five leaves out
    tilt = VOICE_GAIN * 10 ** (HIGH_LIFT_DB / 20 * hz / hz[-1]) / np.sqrt(1 + (hz / voice.tilt_hz) ** 2)
    phone_T = np.repeat(phone_P, ticks_P)[at_frames_T]
    tract: npt.NDArray[np.complex64] = (response * tilt).astype(np.complex64)
    return tract, _band_table(round(voice.formant_scale, 4))[phone_T]


def _targets(phone_P: npt.NDArray[np.int64], place: int, end: bool) -> Formants:
    """Formants a phone aims at; those of the next one for /h/ and silence, neutral at the end."""
    for number in phone_P[place:]:
        phone: Phone = PHONES[number]
        if phone.formants_hz is not None:
            is_self = number == phone_P[place]
            if end and is_self and phone.end_formants_hz is not None:
                return phone.end_formants_hz
            return phone.formants_hz
    return (500.0, 1500.0, 2500.0)


def _resonance(hz_T: Floats, bandwidth_hz: float) -> Floats:
    """Polynomials 1 - 2 r cos θ z⁻¹ + r² z⁻² of a resonance, [T, 3]."""
    radius = float(np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ))
    cosine = np.cos(2 * np.pi * hz_T / SAMPLE_RATE_HZ)
    one = np.ones_like(cosine)
    return np.stack([one, -2 * radius * cosine, radius * radius * one], axis=1).astype(np.float32)


def _times(left: Floats, right: Floats) -> Floats:
    """Products of polynomials, row by row."""
    out = np.zeros((len(left), left.shape[1] + right.shape[1] - 1), np.float32)
    for power in range(right.shape[1]):
        out[:, power : power + left.shape[1]] += left * right[:, power : power + 1]
    return out


@lru_cache(maxsize=1024)
def _band_table(formant_scale: float) -> Floats:
    """Spectrum of every phone's frication, of unit power, [phones, F]."""
    hz = _bins_hz()
    table = np.zeros((len(PHONES), len(hz)), np.float32)
    scale = 1 + (formant_scale - 1) * 0.6  # the cavity before a constriction varies less than the whole tract
    for number, phone in enumerate(PHONES):
        for center, width, gain_db in phone.bands:
            table[number] += 10 ** (gain_db / 20) * np.exp(-0.5 * ((hz - center * scale) / width) ** 2)
        if phone.bands:
            table[number] /= np.sqrt(np.mean(np.square(table[number])))
    return table


def _channel(gains_db: tuple[float, ...]) -> Floats:
    """Gain of the recording over the band, [F]; little below 60 Hz."""
    hz = _bins_hz()
    gains = np.interp(hz, np.linspace(0, SAMPLE_RATE_HZ / 2, len(gains_db)), gains_db)
    return (10 ** (gains / 20) * hz**2 / (hz**2 + 60.0**2)).astype(np.float32)


def _bins_hz() -> Floats:
    return np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE_HZ).astype(np.float32)


def _frames(signal_S: Floats) -> Floats:
    """Two-frame windows centered at the frames' borders, [T + 1, 2 · HOP_SAMPLES]."""
    padded = np.pad(signal_S, HOP_SAMPLES).reshape(-1, HOP_SAMPLES)
    return np.concatenate([padded[:-1], padded[1:]], axis=1)


def _overlap_add(pieces: Floats, num_samples: int) -> Floats:
    """Sum pieces of FFT_SIZE that start HOP_SAMPLES apart, the first HOP_SAMPLES before the signal."""
    per_piece = -(-FFT_SIZE // HOP_SAMPLES)
    blocks = np.pad(pieces, ((0, 0), (0, per_piece * HOP_SAMPLES - FFT_SIZE)))
    blocks = blocks.reshape(len(pieces), per_piece, HOP_SAMPLES)
    out = np.zeros((len(pieces) + per_piece, HOP_SAMPLES), np.float32)
    for number in range(per_piece):
        out[number : number + len(pieces)] += blocks[:, number]
    return out.ravel()[HOP_SAMPLES : HOP_SAMPLES + num_samples]


def _smooth(track_L: Floats, width: int) -> Floats:
    """Moving average with a Hann window of an odd width."""
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(track_L, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)


def _to_samples(track_L: Floats, num_samples: int) -> Floats:
    centers = (np.arange(len(track_L)) + 0.5) * TICK_SAMPLES
    return np.interp(np.arange(num_samples), centers, track_L).astype(np.float32)
