"""What a run's checkpoints folder holds: found by one listing and one small file, however many checkpoints there are.

    RUN/checkpoints/index.json      states of the checkpoints, a cache
    RUN/checkpoints/step-00000200/  a checkpoint
    RUN/checkpoints/damaged-step-00000300/  a damaged checkpoint that was set aside

The index may be missing, damaged or old: a state counts only if `state.json` still has the size and the time that it
had when the index was written. Every other state is read from its checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.errors import StorageError
from vgim.runs.layout import CHECKPOINTS, CONFIG, INDEX, OPTIMIZER, STATE, STATISTICS, WEIGHTS
from vgim.runs.training_state import TrainingState, UnreadableState
from vgim.sealed_json import SealBroken, dump_sealed, load_sealed
from vgim.storage import Location

PREFIX = "step-"
SET_ASIDE = "damaged-"
"""Prefix of what was found damaged and kept, which nothing reads any more."""
_STEP_FOLDER = re.compile(rf"{PREFIX}([0-9]{{8,18}})")

TO_LOAD = (WEIGHTS, CONFIG)
"""Files without which a checkpoint's network cannot be loaded."""
TO_READ = (*TO_LOAD, STATISTICS)
"""Files that readers of a checkpoint load, such as probes; STATISTICS where the checkpoint was written with it."""
TO_CONTINUE = (WEIGHTS, OPTIMIZER, CONFIG)
"""Files without which training cannot continue from a checkpoint."""


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file of a checkpoint."""

    file: Location
    problem: str
    """Predicate to the file's name, such as `is missing`."""
    is_foreign: bool = False
    """Whether the file is whole, but was written by another version of vgim."""

    @property
    def folder(self) -> Location:
        """The checkpoint's folder."""
        return self.file.parent

    def __str__(self) -> str:
        return f"{self.file.uri} {self.problem}"


@dataclass(frozen=True)
class ScannedCheckpoint:
    """A checkpoint whose state reads."""

    location: Location
    state: TrainingState
    sizes: Mapping[str, int]
    """Bytes of the files that are there, by name."""
    state_mtime_ns: int

    def damage(self, names: tuple[str, ...]) -> Damage | None:
        """The first file among `names` that is missing or has another size than its stamp says."""
        return size_damage(self.location, self.state, self.sizes, names)


@dataclass
class CheckpointScan:
    """The folders `step-...` of a run, by step."""

    readable: dict[int, ScannedCheckpoint] = field(default_factory=dict)
    """Checkpoints whose state reads, oldest first."""
    damaged: dict[int, Damage] = field(default_factory=dict)
    """Checkpoints whose state does not read, oldest first."""
    unfinished: list[Location] = field(default_factory=list)
    """Folders without a state: of a process that was ended while it wrote or deleted them, or that still works."""
    index: dict[str, IndexedState] = field(default_factory=dict)
    """Content of `index.json`."""

    def all_damage(self, names: tuple[str, ...]) -> dict[int, Damage]:
        """Checkpoints whose state does not read, or whose files among `names` are missing or have another size."""
        found = dict(self.damaged)
        for step, checkpoint in self.readable.items():
            if (damage := checkpoint.damage(names)) is not None:
                found[step] = damage
        return dict(sorted(found.items()))

    def current_index(self) -> dict[str, IndexedState]:
        """The index that says what this scan says."""
        return {
            checkpoint.location.name: IndexedState(
                state=checkpoint.state,
                num_bytes=checkpoint.sizes[STATE],
                mtime_ns=checkpoint.state_mtime_ns,
            )
            for checkpoint in self.readable.values()
        }


class IndexedState(BaseModel):
    """The state of one checkpoint in `index.json`, and what tells whether it is still the one in `state.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    state: TrainingState
    num_bytes: int
    """Size of `state.json`."""
    mtime_ns: int
    """Time of the last change of `state.json`, in nanoseconds since 1970."""


class _Index(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    checkpoints: dict[str, IndexedState]


def scan_checkpoints(run: Location, *, use_index: bool = True) -> CheckpointScan:
    """List a run's checkpoints: one listing, the index, and each state that the index does not have.

    Args:
        use_index: False reads every state from its checkpoint.

    Raises:
        StorageError: The storage cannot be read.
    """
    folder = run.child(CHECKPOINTS)
    files: dict[str, dict[str, tuple[int, int]]] = {}
    has_index = False
    for entry in folder.walk():
        name, _, file = entry.path.partition("/")
        if step_of(name) >= 0 and (file or entry.is_dir):  # a file of that name is somebody else's
            inside = files.setdefault(name, {})
            if file and not entry.is_dir:
                inside[file] = (entry.num_bytes, entry.mtime_ns)
        has_index |= entry.path == INDEX
    scan = CheckpointScan(index=_read_index(folder) if has_index else {})
    for name in sorted(files, key=step_of):
        _scan_one(scan, folder.child(name), files[name], use_index=use_index)
    _sort_out_lost_states(scan)
    return scan


def step_of(folder_name: str) -> int:
    """The step in the name of a checkpoint's folder; -1 for any other name, such as that of a copy, `step-200`."""
    match = _STEP_FOLDER.fullmatch(folder_name)
    step = int(match[1]) if match else -1
    return step if folder_name == step_folder(step) else -1


def step_folder(step: int) -> str:
    """Name of the folder of a step's checkpoint."""
    return f"{PREFIX}{step:08d}"


def read_state(location: Location) -> TrainingState | Damage:
    """The training state of a checkpoint's folder, or what is wrong with it.

    Raises:
        StorageError: There is no state, or it cannot be read.
    """
    path = location.child(STATE)
    try:
        state = TrainingState.from_json(path.read_bytes())
    except UnreadableState as error:
        what = "is damaged" if error.is_damage else "was written by another version of vgim"
        return Damage(path, f"{what}: {error}", is_foreign=not error.is_damage)
    step = step_of(location.name)
    if step not in (-1, state.step):
        return Damage(path, f"is damaged: it is of step {state.step}, in the folder of step {step}")
    return state


def size_damage(
    location: Location, state: TrainingState, sizes: Mapping[str, int], names: tuple[str, ...]
) -> Damage | None:
    """The first file among `names` that is missing or has another size than its stamp says."""
    for name in state.required(names):
        stamp, size = state.files.get(name), sizes.get(name)
        if stamp is None or size is None:
            return Damage(location.child(name), "is missing")
        if size != stamp.bytes:
            return Damage(location.child(name), f"is damaged: it has {size} bytes instead of {stamp.bytes}")
    return None


def write_index(run: Location, entries: Mapping[str, IndexedState]) -> None:
    """Write the states of a run's checkpoints to its `index.json`."""
    index = _Index(checkpoints=dict(entries))
    path, content = run.child(CHECKPOINTS, INDEX), dump_sealed(json.loads(index.model_dump_json()))
    try:
        path.write_bytes_atomic(content)
    except StorageError:
        if not path.is_dir():
            raise
        path.move(
            path.parent.child(f"{SET_ASIDE}{INDEX}")
        )  # a folder in the place of a cache must not end a run
        path.write_bytes_atomic(content)


def _read_index(folder: Location) -> dict[str, IndexedState]:
    try:
        content, is_sealed = load_sealed(folder.child(INDEX).read_bytes())
        return _Index.model_validate(content).checkpoints if is_sealed else {}
    except (StorageError, SealBroken, ValidationError):
        return {}  # only a cache: states are read from the checkpoints


def _scan_one(
    scan: CheckpointScan, location: Location, files: Mapping[str, tuple[int, int]], *, use_index: bool
) -> None:
    if STATE not in files:
        scan.unfinished.append(location)
        return
    (num_bytes, mtime_ns), step = files[STATE], step_of(location.name)
    indexed = scan.index.get(location.name) if use_index else None
    state: TrainingState | Damage
    if indexed and (indexed.num_bytes, indexed.mtime_ns, indexed.state.step) == (num_bytes, mtime_ns, step):
        state = indexed.state
    else:
        try:
            state = read_state(location)
        except StorageError:
            if location.child(STATE).exists():
                raise
            scan.unfinished.append(location)  # deleted since it was listed
            return
    if isinstance(state, Damage):
        scan.damaged[step] = state
    else:
        sizes = {name: size for name, (size, _) in files.items()}
        scan.readable[step] = ScannedCheckpoint(location, state, sizes, mtime_ns)


def _sort_out_lost_states(scan: CheckpointScan) -> None:
    """Count a folder that lost its state as damaged, if it was the newest checkpoint, which nothing deletes."""
    newest = max([-1, *scan.readable, *scan.damaged])
    for location in list(scan.unfinished):
        step = step_of(location.name)
        if location.name in scan.index and step > newest:
            scan.unfinished.remove(location)
            scan.damaged[step] = Damage(location.child(STATE), "is missing")
