"""A probe command in pieces that need nothing of one another: one kind of encoder, of one checkpoint, on one task.

A piece encodes its audio once, for all modules and seeds that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from vgim.downstream.context import open_probe_context
from vgim.downstream.result import EncoderKind, ProbeOptions, ProbeResult
from vgim.errors import ConfigError, VgimError
from vgim.runs.checkpoint import complete_checkpoints, find_checkpoint
from vgim.runs.run_names import distinct_names
from vgim.storage import Location

Say = Callable[[str], None]


@dataclass(frozen=True)
class Piece:
    """What one worker does."""

    where: str
    """The run or the checkpoint that is opened."""
    kind: EncoderKind
    options: ProbeOptions
    name: str
    label: str
    """In front of its lines; empty where there is nothing to tell apart."""

    def __str__(self) -> str:
        return self.name


Outcome = list[ProbeResult] | VgimError
"""A piece's results, or why there are none."""


class Runner(Protocol):
    """Calls a function for every piece; outcomes come in the pieces' order."""

    def __call__(
        self, function: Callable[[Piece, Say], Outcome], items: Sequence[Piece], say: Say, /
    ) -> list[Outcome]: ...


def one_after_the_other(
    function: Callable[[Piece, Say], Outcome], items: Sequence[Piece], say: Say, /
) -> list[Outcome]:
    """The runner that needs no Ray."""
    return [function(item, say) for item in items]


@dataclass(frozen=True)
class ProbeGroup:
    """One run and one task: what one table and one picture of depth show."""

    run: str
    """Its name among the runs of the command."""
    task: str
    folder: Location
    """Where results go."""
    pieces: tuple[Piece, ...] = ()
    error: VgimError | None = None
    """Why it cannot be probed at all."""


def plan(
    runs: Sequence[str], wanted: Sequence[ProbeOptions], say: Say, *, all_epochs: bool, check_device: bool
) -> list[ProbeGroup]:
    """The pieces of every run and task, once each; what is wrong with all pieces of a group is its error.

    Args:
        wanted: Options for each task.
        say: Told the notes.
        check_device: Whether the pieces run on this machine.
    """
    places = [Location(run) for run in runs]
    groups: list[ProbeGroup] = []
    taken: set[tuple[str, str, EncoderKind]] = set()
    for path, name in zip(places, distinct_names(places), strict=True):
        for options in wanted:
            group = ProbeGroup(name, options.task, path)
            label = f"{name}: " if len(places) > 1 else ""
            try:
                asked = options if check_device else options.model_copy(update={"device": "cpu"})
                setting = open_probe_context(path.uri, asked, kinds=())
                if all_epochs and setting.opened.folder != path:
                    raise ConfigError(f"--all-epochs, but {path.uri} is one checkpoint; name its run")
                for note in setting.notes:
                    say(f"{label}note: {note}")
                pieces = _of_epochs(group, options, label) if all_epochs else _of_kinds(group, options, label)
            except VgimError as error:
                groups.append(replace(group, error=error))
                continue
            own = []
            for piece in pieces:  # a run and its checkpoint share the baselines' folders
                key = (setting.opened.folder.uri, options.task, piece.kind)
                if piece.kind == "trained" or key not in taken:
                    taken.add(key)
                    own.append(piece)
            groups.append(replace(group, folder=setting.opened.folder, pieces=tuple(own)))
    return groups


def _of_kinds(group: ProbeGroup, options: ProbeOptions, label: str) -> list[Piece]:
    return [
        Piece(group.folder.uri, kind, options, f"{group.run} {options.task} {kind}", label)
        for kind in options.encoders
    ]


def _of_epochs(group: ProbeGroup, options: ProbeOptions, label: str) -> list[Piece]:
    """Every checkpoint, oldest first, then each baseline once."""
    find_checkpoint(group.folder.uri)  # tells that there is none
    pieces = []
    trained = options.model_copy(update={"encoders": ("trained",)})
    for checkpoint in complete_checkpoints(group.folder):
        step = f"step {checkpoint.state.step}"
        name = f"{group.run} {options.task} trained {step}"
        pieces.append(Piece(checkpoint.location.uri, "trained", trained, name, f"{label}{step}: "))
    kinds = tuple(kind for kind in options.encoders if kind != "trained")
    baselines = options.model_copy(update={"encoders": kinds})
    return pieces + (_of_kinds(group, baselines, label) if kinds else [])
