"""The probes, in the order in which commands list them.

A new probe is a file in `vgim/downstream/probes` and a line in `PROBES`. `vgim probe --task` with its help, the
options and results of probes, sweeps' metrics and the labels of latent analyses read the line. What the probe needs
are attributes and methods of its class.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator

from vgim.errors import DataError

if TYPE_CHECKING:
    from vgim.data.shards.manifest import Manifest
    from vgim.downstream.probes.probe import Probe

ExampleUnit = Literal["frame", "utterance"]
"""Whether a probe's example is a frame of 10 ms or an utterance."""

# Import paths instead of classes: `vgim --help` lists the names, and must not wait for torch.
PROBES: dict[str, str] = {
    "speaker": "vgim.downstream.probes.speaker:SpeakerProbe",
    "phone": "vgim.downstream.probes.phone:PhoneProbe",
    "syllable": "vgim.downstream.probes.syllable:SyllableProbe",
    "vowel": "vgim.downstream.probes.vowel:VowelProbe",
}


def make_probe(name: str, manifest: Manifest) -> Probe:
    """Import the class of a registered probe and make one for shards.

    Raises:
        DataError: The shards have no labels for the probe.
    """
    return probe_class(name)(manifest)


def probe_class(name: str) -> type[Probe]:
    """Import the class of a registered probe."""
    module, _, class_name = PROBES[name].partition(":")
    found: type[Probe] = getattr(import_module(module), class_name)
    return found


def available_probes(manifest: Manifest) -> dict[str, Probe]:
    """The probes that the shards have labels for, by name, in the registry's order."""
    available = {}
    for name in PROBES:
        try:
            available[name] = make_probe(name, manifest)
        except DataError:
            continue
    return available


def _check_registered(name: str) -> str:
    if name not in PROBES:
        raise ValueError(f"{name!r} is not a probe; use {', '.join(PROBES)}")
    return name


Task = Annotated[str, AfterValidator(_check_registered)]
"""A key of `PROBES`."""
