"""Formant synthesis of speech in numpy: voices that differ, and a vectorized synthesizer.

Glottal pulses at a pitch contour and noise pass through the formants of a vocal tract; frication noise passes through
a spectrum for each phone. Both are filtered frame by frame in the frequency domain and overlap-added.
"""

# T frames of 10 ms, L ticks of 2.5 ms, S samples, P phones in the utterance, F = FFT_SIZE // 2 + 1 frequencies

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vgim.arrays import I64
from vgim.data.audio import to_pcm16
from vgim.data.corpora.synthetic_phones import NASAL_POLE_HZ, PHONES, SIL, VOWELS, Formants, Phone
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ, Pcm16

Floats = npt.NDArray[np.float32]

FFT_SIZE = 640
"""Four frames: a window of two frames, and room for the formants to ring after it."""
TICKS_PER_FRAME = 4
TICK_SAMPLES = HOP_SAMPLES // TICKS_PER_FRAME
COARTICULATION_TICKS = 27
"""Formants glide from phone to phone over about 70 ms."""
NEUTRAL_FORMANTS_HZ = (500.0, 1500.0, 2500.0)
"""Formants of a uniform tube, for a silence at the end."""
UPPER_FORMANTS_HZ = (3500.0, 4500.0)
"""The fourth and fifth formant, the same in all phones."""
BANDWIDTHS_HZ = (70.0, 100.0, 150.0, 220.0, 280.0)
HIGH_LIFT_DB = 14.0
"""Gain at 8 kHz that replaces the resonances above the fifth, which a cascade of five leaves out."""
VOICE_GAIN = 0.35
"""Brings vowels to about level 1, to which the levels of fricatives are relative."""


@dataclass(frozen=True)
class Voice:
    """A speaker: drawn once, the same in all utterances."""

    sex: str
    pitch_hz: float
    pitch_range_semitones: float
    formant_scale: float
    """Scale of all formants: 1 for a man's vocal tract of average length, more for a shorter one."""
    rate: float
    """Speaking rate, relative to the phones' durations."""
    open_quotient: float
    """Share of a pitch period in which the glottis is open."""
    tilt_hz: float
    """Frequency at which the voice's spectrum begins to fall. A low value sounds soft."""
    breathiness: float
    """Level of the noise that accompanies the glottal pulses."""
    channel_db: tuple[float, ...]
    """Gain of microphone and room at frequencies evenly spaced from 0 to 8 kHz."""
    level: float
    """Root mean square of the speech, in float PCM."""
    noise_level: float
    """Root mean square of the background noise, in float PCM."""

    @staticmethod
    def draw(rng: np.random.Generator, *, female: bool) -> Voice:
        """A random voice."""
        if female:
            pitch_hz, formant_scale = rng.uniform(165, 250), rng.uniform(1.10, 1.24)
        else:
            pitch_hz, formant_scale = rng.uniform(85, 150), rng.uniform(0.94, 1.08)
        return Voice(
            sex="F" if female else "M",
            pitch_hz=float(pitch_hz),
            pitch_range_semitones=float(rng.uniform(1.5, 5.0)),
            formant_scale=float(formant_scale),
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
    """Speak phones one after another.

    Args:
        classes: Class of each phone.
        num_frames: Duration of each phone, in frames of 10 ms.
        voice: The speaker.
        rng: Source of all randomness.

    Returns:
        int16, [160 · sum(num_frames)].
    """
    phone_P = np.asarray(classes)
    ticks_P = np.asarray(num_frames) * TICKS_PER_FRAME
    num_ticks = int(ticks_P.sum())
    num_samples = num_ticks * TICK_SAMPLES

    voicing_S, aspiration_S, frication_S = (
        _interpolate(level_L, num_samples) for level_L in _source_levels(phone_P, ticks_P, rng)
    )
    pitch_S = _interpolate(_pitch_hz(phone_P, ticks_P, voice, rng), num_samples)
    period_phase_S = np.cumsum(pitch_S / SAMPLE_RATE_HZ, dtype=np.float64) % 1.0
    open_phase_S = (period_phase_S / voice.open_quotient).astype(np.float32)
    is_open_S = open_phase_S < 1
    # derivative of Klatt's glottal flow: rises while the glottis opens, drops sharply where it shuts
    pulses_S = np.where(is_open_S, open_phase_S * (2 - 3 * open_phase_S), 0).astype(np.float32)
    tract_noise_S, frication_noise_S = rng.standard_normal((2, num_samples), dtype=np.float32)
    breath_S = voice.breathiness * tract_noise_S * is_open_S
    tract_in_S = voicing_S * (pulses_S + breath_S) + 0.25 * aspiration_S * tract_noise_S

    window = np.hanning(2 * HOP_SAMPLES + 1)[:-1].astype(np.float32)
    center_ticks_T = np.minimum(np.arange(num_ticks // TICKS_PER_FRAME + 1) * TICKS_PER_FRAME, num_ticks - 1)
    tract_TF, frication_TF = _responses(phone_P, ticks_P, voice, rng, center_ticks_T)
    spectra_TF = np.fft.rfft(_two_frame_windows(tract_in_S) * window, FFT_SIZE) * tract_TF
    spectra_TF += (
        np.fft.rfft(_two_frame_windows(frication_S * frication_noise_S) * window, FFT_SIZE) * frication_TF
    )
    wave_S = _overlap_add(
        np.fft.irfft(spectra_TF * _channel_gain(voice.channel_db), FFT_SIZE).astype(np.float32), num_samples
    )

    is_speech_S = np.repeat(phone_P != SIL, ticks_P * TICK_SAMPLES)
    speech_rms = float(np.sqrt(np.mean(np.square(wave_S[is_speech_S]))))
    target_rms = voice.level * float(np.exp(rng.normal(0, 0.1)))
    background_S = voice.noise_level * rng.standard_normal(num_samples, dtype=np.float32)
    return to_pcm16(np.tanh(wave_S * (target_rms / max(speech_rms, 1e-9))) + background_S)


def _source_levels(phone_P: I64, ticks_P: I64, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Levels of voicing, aspiration and frication, [L] each."""
    voicing_L, aspiration_L, frication_L = np.zeros((3, int(ticks_P.sum())), dtype=np.float32)
    starts_P = np.cumsum(ticks_P) - ticks_P
    loudness_P = np.exp(rng.normal(0, 0.12, len(phone_P)))
    for phone_class, start, num_ticks, loudness in zip(phone_P, starts_P, ticks_P, loudness_P, strict=True):
        phone, end = PHONES[phone_class], start + num_ticks
        if not phone.closure:
            voicing_L[start:end] = phone.voicing * loudness
            aspiration_L[start:end] = phone.aspiration * loudness
            frication_L[start:end] = phone.frication * loudness
            continue
        release = start + round(num_ticks * phone.closure)
        voicing_L[start:release] = phone.voicing
        if phone.voicing:
            voicing_L[release:end] = 0.5
        fade = np.linspace(1, 0.4, end - release)
        aspiration_L[release:end] = phone.aspiration * fade
        frication_L[release : min(release + 5, end)] = phone.frication * loudness
    return _smooth(voicing_L, 7), _smooth(aspiration_L, 5), _smooth(frication_L, 5)


def _pitch_hz(phone_P: I64, ticks_P: I64, voice: Voice, rng: np.random.Generator) -> Floats:
    """Pitch contour in Hz, [L]: it falls over the utterance, rises on accented vowels, drops at the end, and wavers."""
    num_ticks = int(ticks_P.sum())
    tick_L = np.arange(num_ticks)
    semitones_L = 1.5 - 3.0 * tick_L / num_ticks
    middles_P = np.cumsum(ticks_P) - ticks_P / 2
    for phone_class, middle in zip(phone_P, middles_P, strict=True):
        is_accented = phone_class in VOWELS and rng.random() < 0.45
        if is_accented:
            height = voice.pitch_range_semitones * rng.uniform(0.4, 1.1)
            semitones_L += height * np.exp(-0.5 * ((tick_L - middle) / 32) ** 2)
    semitones_L -= 3 * rng.uniform(0.2, 1.2) * np.clip((tick_L - (num_ticks - 140)) / 140, 0, 1)
    waver_every_8_ticks = rng.normal(0, 0.25, num_ticks // 8 + 2)
    semitones_L += np.interp(tick_L, np.arange(len(waver_every_8_ticks)) * 8, waver_every_8_ticks)
    pitch_L: Floats = (voice.pitch_hz * 2 ** (semitones_L / 12)).astype(np.float32)
    return pitch_L


def _responses(
    phone_P: I64, ticks_P: I64, voice: Voice, rng: np.random.Generator, center_ticks_T: I64
) -> tuple[npt.NDArray[np.complex64], Floats]:
    """Frequency responses of the vocal tract and of the frication at the windows' centers, [T + 1, F] each."""
    targets_P23 = np.array(  # [P, start and end of the phone, formant]
        [
            [_formant_targets(phone_P, position, at_end) for at_end in (False, True)]
            for position in range(len(phone_P))
        ]
    )
    targets_P23 = targets_P23 * np.exp(rng.normal(0, 0.025, (len(phone_P), 1, 3)))
    half_ticks = np.stack([ticks_P // 2, ticks_P - ticks_P // 2], axis=1).ravel()
    nasal_zero_P = np.array([PHONES[phone_class].nasal_zero_hz for phone_class in phone_P])
    tracks_hz = [
        *(np.repeat(targets_P23.reshape(-1, 3)[:, formant], half_ticks) for formant in range(3)),
        np.repeat(nasal_zero_P, ticks_P),
    ]
    smooth_tracks: list[Floats] = [
        np.exp(_smooth(np.log(track_L).astype(np.float32), COARTICULATION_TICKS))[center_ticks_T]
        for track_L in tracks_hz
    ]
    *lower_formants_T, nasal_zero_T = smooth_tracks
    upper_formants_T = [np.full(len(center_ticks_T), hz, np.float32) for hz in UPPER_FORMANTS_HZ]

    poles = np.ones((len(center_ticks_T), 1), np.float32)
    for formant_T, bandwidth_hz in zip([*lower_formants_T, *upper_formants_T], BANDWIDTHS_HZ, strict=True):
        poles = _multiply(poles, _resonance(formant_T * voice.formant_scale, bandwidth_hz))
    nasal_pole_T = np.full(len(center_ticks_T), NASAL_POLE_HZ, np.float32)
    poles = _multiply(poles, _resonance(nasal_pole_T, 100.0))
    zeros = _resonance(nasal_zero_T.astype(np.float32), 100.0)
    response_TF = np.fft.rfft(zeros, FFT_SIZE) / np.fft.rfft(poles, FFT_SIZE)
    # gain 1 at 0 Hz, as in a cascade synthesizer
    response_TF *= (poles.sum(axis=1) / zeros.sum(axis=1))[:, None]
    hz_F = _frequencies_hz()
    tilt_F = (
        VOICE_GAIN * 10 ** (HIGH_LIFT_DB / 20 * hz_F / hz_F[-1]) / np.sqrt(1 + (hz_F / voice.tilt_hz) ** 2)
    )
    phone_T = np.repeat(phone_P, ticks_P)[center_ticks_T]
    tract_TF: npt.NDArray[np.complex64] = (response_TF * tilt_F).astype(np.complex64)
    return tract_TF, _frication_spectra(round(voice.formant_scale, 4))[phone_T]


def _formant_targets(phone_P: I64, position: int, at_end: bool) -> Formants:
    """Formants at the start or end of a phone.

    /h/ and silence have the formants of the next phone that has any; at the end of the utterance they are neutral.
    """
    for phone_class in phone_P[position:]:
        phone: Phone = PHONES[phone_class]
        if phone.formants_hz is not None:
            is_phone_itself = phone_class == phone_P[position]
            if at_end and is_phone_itself and phone.end_formants_hz is not None:
                return phone.end_formants_hz
            return phone.formants_hz
    return NEUTRAL_FORMANTS_HZ


def _resonance(hz_T: Floats, bandwidth_hz: float) -> Floats:
    """Coefficients of a resonance's polynomial 1 - 2 r cos θ z⁻¹ + r² z⁻², [T, 3]."""
    radius = float(np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE_HZ))
    cosine_T = np.cos(2 * np.pi * hz_T / SAMPLE_RATE_HZ)
    one_T = np.ones_like(cosine_T)
    return np.stack([one_T, -2 * radius * cosine_T, radius * radius * one_T], axis=1).astype(np.float32)


def _multiply(left: Floats, right: Floats) -> Floats:
    """Coefficients of the products of two polynomials, row by row."""
    product = np.zeros((len(left), left.shape[1] + right.shape[1] - 1), np.float32)
    for power in range(right.shape[1]):
        product[:, power : power + left.shape[1]] += left * right[:, power : power + 1]
    return product


@lru_cache(maxsize=1024)
def _frication_spectra(formant_scale: float) -> Floats:
    """Spectrum of every phone's frication, with power 1, [len(PHONES), F]."""
    hz_F = _frequencies_hz()
    spectra = np.zeros((len(PHONES), len(hz_F)), np.float32)
    # the cavity in front of a constriction varies less between speakers than the whole tract
    cavity_scale = 1 + (formant_scale - 1) * 0.6
    for phone_class, phone in enumerate(PHONES):
        for center_hz, width_hz, gain_db in phone.bands:
            spectra[phone_class] += 10 ** (gain_db / 20) * np.exp(
                -0.5 * ((hz_F - center_hz * cavity_scale) / width_hz) ** 2
            )
        if phone.bands:
            spectra[phone_class] /= np.sqrt(np.mean(np.square(spectra[phone_class])))
    return spectra


def _channel_gain(gains_db: tuple[float, ...]) -> Floats:
    """Gain of microphone and room, [F]. It falls below 60 Hz."""
    hz_F = _frequencies_hz()
    db_F = np.interp(hz_F, np.linspace(0, SAMPLE_RATE_HZ / 2, len(gains_db)), gains_db)
    return (10 ** (db_F / 20) * hz_F**2 / (hz_F**2 + 60.0**2)).astype(np.float32)


def _frequencies_hz() -> Floats:
    return np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE_HZ).astype(np.float32)


def _two_frame_windows(signal_S: Floats) -> Floats:
    """Windows of two frames, centered at the borders of the frames, [T + 1, 2 · HOP_SAMPLES]."""
    frames = np.pad(signal_S, HOP_SAMPLES).reshape(-1, HOP_SAMPLES)
    return np.concatenate([frames[:-1], frames[1:]], axis=1)


def _overlap_add(windows: Floats, num_samples: int) -> Floats:
    """Add up windows of FFT_SIZE samples that start HOP_SAMPLES apart, the first HOP_SAMPLES before the signal."""
    frames_per_window = -(-FFT_SIZE // HOP_SAMPLES)
    padded = np.pad(windows, ((0, 0), (0, frames_per_window * HOP_SAMPLES - FFT_SIZE)))
    frames = padded.reshape(len(windows), frames_per_window, HOP_SAMPLES)
    out = np.zeros((len(windows) + frames_per_window, HOP_SAMPLES), np.float32)
    for number in range(frames_per_window):
        out[number : number + len(windows)] += frames[:, number]
    return out.ravel()[HOP_SAMPLES : HOP_SAMPLES + num_samples]


def _smooth(track_L: Floats, width: int) -> Floats:
    """Moving average with a Hann window of `width` ticks, an odd number."""
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(track_L, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid").astype(np.float32)


def _interpolate(track_L: Floats, num_samples: int) -> Floats:
    """A value per tick as a value per sample, [S]."""
    tick_centers = (np.arange(len(track_L)) + 0.5) * TICK_SAMPLES
    return np.interp(np.arange(num_samples), tick_centers, track_L).astype(np.float32)
