"""A probe command as work items that need nothing of one another: one encoder, of one checkpoint, on one task.

A work item encodes its audio once, for all modules and seeds in the options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from vgim.downstream.context import open_probe_context
from vgim.downstream.held_out import held_out_note
from vgim.downstream.options import EncoderKind, ProbeOptions
from vgim.downstream.protocol import chooses_by_validation
from vgim.downstream.result import ProbeResult
from vgim.errors import ConfigError, VgimError
from vgim.runs.checkpoint import complete_checkpoints, find_checkpoint
from vgim.runs.checkpoint_scan import TO_READ
from vgim.runs.run_names import distinct_names
from vgim.storage import Location

Log = Callable[[str], None]
"""Takes a line of notes or progress."""


@dataclass(frozen=True)
class ProbeWorkItem:
    """The work of one process."""

    source: str
    """Folder of the run or the checkpoint that is opened."""
    kind: EncoderKind
    options: ProbeOptions
    name: str
    """Run, task and encoder, for messages."""
    label: str
    """Beginning of the item's lines; empty if the command has one run."""

    def __str__(self) -> str:
        return self.name


Outcome = list[ProbeResult] | VgimError
"""The results of a work item, or why there are none."""


class Runner(Protocol):
    """Calls a function for every work item and returns the outcomes in the items' order."""

    def __call__(
        self, function: Callable[[ProbeWorkItem, Log], Outcome], items: Sequence[ProbeWorkItem], log: Log, /
    ) -> list[Outcome]: ...


def one_after_the_other(
    function: Callable[[ProbeWorkItem, Log], Outcome], items: Sequence[ProbeWorkItem], log: Log, /
) -> list[Outcome]:
    """The runner that computes in this process, without Ray."""
    return [function(item, log) for item in items]


@dataclass(frozen=True)
class ProbeGroup:
    """The work items of one run and one task, whose results share a table and a picture."""

    run: str
    """The run's name among the runs of the command."""
    task: str
    folder: Location
    """The run's folder, where results go."""
    items: tuple[ProbeWorkItem, ...] = ()
    error: VgimError | None = None
    """Why the run cannot be probed on the task at all."""


def plan_probes(
    runs: Sequence[str], tasks: Sequence[ProbeOptions], log: Log, *, all_epochs: bool, check_device: bool
) -> list[ProbeGroup]:
    """List the work items of every run and task, without duplicates.

    Args:
        runs: Different folders of runs or checkpoints.
        tasks: Options with different tasks.
        log: Called with each note.
        all_epochs: Probe every checkpoint of the runs.
        check_device: Whether the items are computed on this machine.

    Returns:
        A group for each run and task; what is wrong with all of its items is the group's error.
    """
    folders = [Location(run) for run in runs]
    groups: list[ProbeGroup] = []
    planned: set[tuple[str, str, EncoderKind, int | None]] = set()
    for folder, name in zip(folders, distinct_names(folders), strict=True):
        for options in tasks:
            group = ProbeGroup(name, options.task, folder)
            label = f"{name}: " if len(folders) > 1 else ""
            try:
                checked = options if check_device else options.model_copy(update={"device": "cpu"})
                context = open_probe_context(folder.uri, checked, kinds=())
                if all_epochs and context.opened.folder != folder:
                    raise ConfigError(f"--all-epochs, but {folder.uri} is one checkpoint; name its run")
                held_out = None
                if context.task.is_fitted:
                    held_out = held_out_note(context.opened, chooses=chooses_by_validation(context.options))
                for note in (*context.notes, *([] if held_out is None else [held_out])):
                    log(f"{label}note: {note}")
                make_items = _items_of_checkpoints if all_epochs else _items_of_encoders
                items = [
                    item
                    for alike in _alike(options, context.opened.config.model.num_modules)
                    for item in make_items(group, alike, label)
                ]
            except VgimError as error:
                groups.append(replace(group, error=error))
                continue
            unique = []
            for item in items:  # a run and its checkpoint share the folders of baselines
                key = (context.opened.folder.uri, options.task, item.kind, item.options.module)
                if item.kind == "trained" or key not in planned:
                    planned.add(key)
                    unique.append(item)
            groups.append(replace(group, folder=context.opened.folder, items=tuple(unique)))
    return groups


def _alike(options: ProbeOptions, num_modules: int) -> list[ProbeOptions]:
    """Options of which each gives all that it probes the same values.

    The published protocol probes a GRU and convolutions differently, so that each module is probed by itself.
    """
    if options.protocol == "ours" or options.module is not None:
        return [options]
    of_modules = tuple(kind for kind in options.encoders if kind != "mfcc")
    parts = [
        options.model_copy(update={"module": module, "encoders": of_modules})
        for module in range(num_modules)
        if of_modules
    ]
    if "mfcc" in options.encoders:
        parts.append(options.model_copy(update={"encoders": ("mfcc",)}))
    return parts


def _items_of_encoders(group: ProbeGroup, options: ProbeOptions, label: str) -> list[ProbeWorkItem]:
    return [
        ProbeWorkItem(group.folder.uri, kind, options, f"{group.run} {options.task} {kind}", label)
        for kind in options.encoders
    ]


def _items_of_checkpoints(group: ProbeGroup, options: ProbeOptions, label: str) -> list[ProbeWorkItem]:
    """An item for every checkpoint, oldest first, then for each baseline."""
    find_checkpoint(group.folder.uri)  # raises if there is no checkpoint
    items = []
    trained = options.model_copy(update={"encoders": ("trained",)})
    for checkpoint in complete_checkpoints(group.folder, TO_READ):
        step = f"step {checkpoint.state.step}"
        name = f"{group.run} {options.task} trained {step}"
        items.append(ProbeWorkItem(checkpoint.location.uri, "trained", trained, name, f"{label}{step}: "))
    kinds = tuple(kind for kind in options.encoders if kind != "trained")
    baselines = options.model_copy(update={"encoders": kinds})
    return items + (_items_of_encoders(group, baselines, label) if kinds else [])
