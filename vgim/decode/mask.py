"""`--mask`: dimensions of the latents that are decoded; the others are 0, the mean of the prior N(0, 1).

Shapes: B utterances, T frames, C channels.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from torch import Tensor

from vgim.errors import ConfigError

FORM = "keep:0-31,40 or zero:3,17"
LONGEST_NAME = 40
"""Characters of a mask in a file's name; a longer mask is replaced by its hash."""


@dataclass(frozen=True)
class Mask:
    """Which dimensions are kept."""

    text: str
    """As the user wrote it."""
    keeps: bool
    """Whether `dims` are kept, and the others 0; else `dims` are 0."""
    dims: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Mask:
        """Read `keep:DIMS` or `zero:DIMS`, where DIMS are numbers and ranges such as 0-31,40.

        Raises:
            ConfigError: The text has another form.
        """
        match = re.fullmatch(r"(keep|zero):(.+)", text)
        if match is None:
            raise ConfigError(f"--mask {text} is no mask; write {FORM}")
        dims: set[int] = set()
        for part in match[2].split(","):
            ends = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", part.strip())
            if ends is None:
                raise ConfigError(f"--mask {text}: {part!r} is no dimension and no range; write {FORM}")
            first, last = int(ends[1]), int(ends[2] or ends[1])
            if last < first:
                raise ConfigError(f"--mask {text}: the range {part} runs backwards; write {last}-{first}")
            dims.update(range(first, last + 1))
        return cls(text, match[1] == "keep", frozenset(dims))

    def kept(self, num_channels: int) -> list[int]:
        """Dimensions that are not 0, ascending.

        Raises:
            ConfigError: The latents have no such dimension.
        """
        wrong = [dim for dim in sorted(self.dims) if dim >= num_channels]
        if wrong:
            raise ConfigError(
                f"--mask {self.text}: dimension {wrong[0]}, but the latents have {num_channels} dimensions; "
                f"use 0 to {num_channels - 1}"
            )
        return [dim for dim in range(num_channels) if (dim in self.dims) == self.keeps]

    def apply(self, latents_BTC: Tensor) -> Tensor:
        """Latents whose masked dimensions are 0 in all frames.

        Raises:
            ConfigError: The latents have no such dimension.
        """
        kept = self.kept(latents_BTC.shape[2])
        masked_BTC = latents_BTC.new_zeros(latents_BTC.shape)
        masked_BTC[..., kept] = latents_BTC[..., kept]
        return masked_BTC

    @property
    def name(self) -> str:
        """The mask in a file's name."""
        name = self.text.replace(":", "").replace(",", "_").replace(" ", "")
        kind = self.text[:4]
        return (
            name if len(name) <= LONGEST_NAME else f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
        )
