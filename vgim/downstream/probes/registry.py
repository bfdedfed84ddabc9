"""The probes, in the order in which commands list them.

A new probe is a file in `vgim/downstream/probes` and a line in `PROBES`. `vgim probe --task` with its help, the
options and results of probes, sweeps' metrics and the labels of latent analyses read the line. What the probe needs
are attributes and methods of its class.
"""

from __future__ import annotations

from collections import ChainMap
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator

from vgim.errors import DataError

if TYPE_CHECKING:
    from vgim.data.shards.manifest import Manifest
    from vgim.downstream.probes.probe import Probe

ExampleUnit = Literal["frame", "utterance", "triple"]
"""Whether an example is a frame of 10 ms, an utterance, or a triple of phones' tokens (ABX)."""

# Import paths instead of classes: `vgim --help` lists the names, and must not wait for torch.
PROBES: dict[str, str] = {
    "speaker": "vgim.downstream.probes.speaker:SpeakerProbe",
    "phone": "vgim.downstream.probes.phone:PhoneProbe",
    "syllable": "vgim.downstream.probes.syllable:SyllableProbe",
    "vowel": "vgim.downstream.probes.vowel:VowelProbe",
}
MEASURES: dict[str, str] = {
    "abx-within": "vgim.downstream.abx.task:AbxWithin",
    "abx-across": "vgim.downstream.abx.task:AbxAcross",
}
"""Tasks without a classifier, which are measured only where they are asked for."""
TASKS = ChainMap(MEASURES, PROBES)  # lists the last map first
"""All that `vgim probe --task` takes."""


OWN_LABELS = "vgim.downstream.probes.own_labels:OwnLabelsProbe"
"""The probe of a column of a user's table."""
MAX_NAME = 40
"""Characters in the name of a column that is a task: it names folders."""


def is_own_task(name: str) -> bool:
    """Whether a name can be that of a column of a user's table that is probed."""
    return name.isidentifier() and len(name) <= MAX_NAME and name not in TASKS


def make_probe(name: str, manifest: Manifest) -> Probe:
    """Import the class of a registered probe and make one for shards.

    Raises:
        DataError: The shards have no labels for the probe.
    """
    return probe_class(name)(manifest)


def make_learnable_probe(name: str, manifest: Manifest) -> Probe:
    """Make the probe of a registered task for shards on which it can be learned.

    Raises:
        DataError: The shards have no labels for the probe, or what train teaches says nothing of test.
    """
    probe = make_probe(name, manifest)
    if problem := probe.problem_of_splits(manifest):
        raise DataError(problem)
    return probe


def probe_class(name: str) -> type[Probe]:
    """Import the class of a task: a registered one, or a column of a user's table."""
    module, _, class_name = TASKS.get(name, OWN_LABELS).partition(":")
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


def learnable_probes(manifest: Manifest) -> dict[str, Probe]:
    """The available probes with two classes or more that can be learned on one split and tested on another."""
    return {
        name: probe
        for name, probe in available_probes(manifest).items()
        if len(probe.classes) > 1 and probe.problem_of_splits(manifest) is None
    }


def _check_registered(name: str) -> str:
    if name not in TASKS:
        raise ValueError(f"{name!r} is not a probe; use {', '.join(TASKS)}")
    return name


def _check_known(name: str) -> str:
    return name if is_own_task(name) else _check_registered(name)


def _check_fitted(name: str) -> str:
    if name in MEASURES:
        raise ValueError(f"{name!r} fits no classifier; use {', '.join(PROBES)}")
    return name


Task = Annotated[str, AfterValidator(_check_registered)]
"""A key of `TASKS`."""
AnyTask = Annotated[str, AfterValidator(_check_known)]
"""A key of `TASKS`, or a column of a user's table of labels."""
FittedTask = Annotated[Task, AfterValidator(_check_fitted)]
"""A key of `PROBES`."""
