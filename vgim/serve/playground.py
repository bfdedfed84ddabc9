"""What the page asks for: latents of sounds, changed and decoded. Nothing here knows of HTTP.

Shapes: T frames, C channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ
from vgim.decode.dimensions import interpolate_dimensions, most_different, set_dimensions
from vgim.decode.session import DecoderSession
from vgim.decode.sound_files import wav_bytes
from vgim.errors import ConfigError
from vgim.serve import uploads
from vgim.serve.survey import Survey
from vgim.serve.uploads import Sound

CACHE_BYTES = 128 * 2**20
"""Latents that are kept, so that a moved slider encodes nothing again."""
MOST_VALUE = 1_000.0
"""Largest value of a dimension, far beyond any latent."""

Value = Annotated[float, Field(ge=-MOST_VALUE, le=MOST_VALUE, allow_inf_nan=False)]
Key = Annotated[str, Field(max_length=40)]


class Change(BaseModel):
    """What to decode: a sound, or a point between two, with some dimensions changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: Key
    """Key of the sound."""
    b: Key | None = None
    """Key of a second sound; both are cut to the shorter."""
    share: float = Field(0.0, ge=0, le=1)
    """How far to go from A to B."""
    moved: int | None = Field(None, ge=1)
    """Number of dimensions that go, those in which the two differ most; None for all."""
    values: dict[int, Value] = {}
    """Value by dimension, in all frames."""
    add: bool = True
    """Add the values to the latents instead of setting them."""


class Playground:
    """A decoder, the survey of its latents, and a cache. Not for several threads at once."""

    def __init__(self, session: DecoderSession, survey: Survey) -> None:
        self._session, self.survey = session, survey
        self._utterances = {
            f"u{number}": Sound(f"u{number}", point.name, point.samples, xy=point.xy)
            for number, point in enumerate(survey.points)
        }
        self._cache: OrderedDict[tuple[str, int], Tensor] = OrderedDict()
        decoder = session.decoder
        self.shortest = decoder.encoder.encoder.min_samples(decoder.module, decoder.layer)
        """Fewest samples of which the encoder makes a frame."""

    def utterance(self, key: str) -> Sound | None:
        """An utterance of the shards by its key; None if there is none."""
        return self._utterances.get(key)

    def describe(self) -> dict[str, Any]:
        """All that the page shows when it opens, as JSON."""
        decoder, survey = self._session.decoder, self.survey
        folder = self._session.decoder.checkpoint.location.parent.parent
        encoder = decoder.encoder.config
        return {
            "run": folder.parent.parent.name,
            "decoder": folder.name,
            "family": encoder.model.family,
            "module": decoder.module,
            "layer": decoder.layer,
            "encoder_step": decoder.config.encoder.step,
            "decoder_step": decoder.checkpoint.state.step,
            "num_dimensions": self._session.num_channels,
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "source": survey.source,
            "problem": survey.problem,
            "explained": None if survey.map is None else survey.map.explained,
            "limits": {
                "bytes": uploads.MOST_BYTES,
                "seconds": uploads.MOST_SECONDS,
                "sounds": uploads.MOST_OF_PAGE,
            },
            "dimensions": [
                {"index": d.index, "information": d.information, "mean": d.mean, "std": d.std}
                for d in survey.dimensions
            ],
            "utterances": [
                {
                    "key": f"u{number}",
                    "name": point.name,
                    "speaker": point.speaker,
                    "transcript": point.transcript,
                    "seconds": len(point.samples) / SAMPLE_RATE_HZ,
                    "xy": None if survey.map is None else point.xy,
                }
                for number, point in enumerate(survey.points)
            ],
        }

    def placed(self, sound: Sound) -> Sound:
        """The sound with its place on the map, if there is one. Its latents are kept for what is decoded next."""
        latents_BTC = self._latents(sound, len(sound.samples))
        return sound if self.survey.map is None else replace(sound, xy=self.survey.map.place(latents_BTC))

    def original(self, sound: Sound) -> bytes:
        """The sound as the encoder hears it, a WAV file."""
        return wav_bytes(torch.from_numpy(sound.samples) / PCM16_SCALE)

    def decode(self, change: Change, a: Sound, b: Sound | None) -> tuple[bytes, list[int]]:
        """Decode a change.

        Returns:
            A WAV file, and the dimensions that go from A to B if they were chosen, the most different first.
        """
        num_samples = len(a.samples) if b is None else min(len(a.samples), len(b.samples))
        latents_BTC, moved = self._latents(a, num_samples), list[int]()
        if b is not None:
            b_BTC = self._latents(b, num_samples)
            if change.moved is not None:
                moved = most_different(latents_BTC[0], b_BTC[0])[: change.moved].tolist()
            latents_BTC = interpolate_dimensions(latents_BTC, b_BTC, change.share, moved or None)
        values = self._known(change.values)
        latents_BTC = set_dimensions(latents_BTC, values, add=change.add)
        return wav_bytes(self._session.audio(latents_BTC, num_samples, a.samples[:num_samples])), moved

    def _known(self, values: Mapping[int, float]) -> dict[int, float]:
        num = self._session.num_channels
        wrong = [dim for dim in values if not 0 <= dim < num]
        if wrong:
            raise ConfigError(
                f"dimension {wrong[0]}, but the latents have {num} dimensions; use 0 to {num - 1}"
            )
        return dict(values)

    def _latents(self, sound: Sound, num_samples: int) -> Tensor:
        """Latents of the first samples of a sound, encoded once as long as the cache has room."""
        key = (sound.key, num_samples)
        if key not in self._cache:
            self._cache[key] = self._session.latents(sound.samples[:num_samples])
        self._cache.move_to_end(key)
        while len(self._cache) > 2 and sum(one.nbytes for one in self._cache.values()) > CACHE_BYTES:
            self._cache.popitem(last=False)
        return self._cache[key]
