"""The tasks `abx-within` and `abx-across`: whether tokens of a phone are nearer to each other than to other phones'."""

from __future__ import annotations

from typing import ClassVar

from vgim.data.shards.manifest import Manifest
from vgim.downstream.probes.phone import PhoneProbe

SILENCES = frozenset({"SIL", "SP", "SPN", "NSN", "PAU", "H#", ""})
"""Names of classes that are no phones, in capitals."""


class AbxTask(PhoneProbe):
    """A task that compares features themselves, so that no classifier is fitted.

    Tokens of phones are taken in any context, as their frames of 10 ms.
    """

    unit = "triple"
    is_fitted = False
    across: ClassVar[bool]
    """Whether X is of another speaker than A and B."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.silences = frozenset(
            number for number, name in enumerate(self.classes) if name.strip("<>").upper() in SILENCES
        )
        """Classes that are no phones."""


class AbxWithin(AbxTask):
    """A, B and X are of one speaker."""

    name = "abx-within"
    across = False


class AbxAcross(AbxTask):
    """A and B are of one speaker, and X of another."""

    name = "abx-across"
    across = True
