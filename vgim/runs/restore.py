"""Puts back what says which run a folder holds: `run.json` and `config.yaml`, from the run's checkpoints.

A run whose `run.json` or `config.yaml` is lost would otherwise be continued with any config and any data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vgim.config import DecoderConfig, RunConfig, blocking_difference, from_yaml, to_yaml
from vgim.errors import StorageError, VgimError
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.runs.claim import claim_run
from vgim.runs.environment import utc_now
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.layout import CHECKPOINTS, CONFIG, LINEAGE, RECORD
from vgim.runs.recovery import find_recovery
from vgim.storage import Location

Found = TypeVar("Found")

DAMAGED = ".damaged"
"""Suffix of the copy of a damaged `run.json` or `config.yaml`."""


def restore_run(run: Location, root: type[RunConfig] | type[DecoderConfig] = RunConfig) -> list[str]:
    """Write a lost or damaged `run.json` or `config.yaml` anew from the run's newest whole checkpoint.

    Without a checkpoint nothing was trained yet: damaged files are put aside, and the run starts afresh. A damaged file
    is kept beside the new one, with the suffix `.damaged`. The folder is claimed while it is mended.

    Args:
        root: The kind of config that the run has.

    Returns:
        A sentence on each file.

    Raises:
        CheckpointError: There are checkpoints, and all of them are damaged.
        ClaimHeldError: A live process works on the run.
        StorageError: The storage cannot be read or written.
    """
    if not _problems(run, root) or (not run.child(CHECKPOINTS).exists() and not _has_a_file(run)):
        return []
    with claim_run(run):
        return _restore(run, root)


def problems_of_run(run: Location, root: type[RunConfig] | type[DecoderConfig] = RunConfig) -> list[str]:
    """What `restore_run` would mend, a clause for each file, such as `run.json was lost`; nothing is changed.

    Raises:
        StorageError: The storage cannot be read.
    """
    if not run.child(CHECKPOINTS).exists() and not _has_a_file(run):
        return []
    return [f"{name} {problem}" for name, problem in _problems(run, root).items()]


def _has_a_file(run: Location) -> bool:
    return any(run.child(name).exists() for name in (CONFIG, RECORD))


def _problems(run: Location, root: type[RunConfig] | type[DecoderConfig]) -> dict[str, str]:
    """What is wrong with `config.yaml` and `run.json`, by name."""
    return {
        name: problem
        for name, find in ((CONFIG, _config_problem), (RECORD, _record_problem))
        if (problem := find(run, root)) is not None
    }


def _restore(run: Location, root: type[RunConfig] | type[DecoderConfig]) -> list[str]:
    problems = _problems(run, root)
    if not problems:  # another process has mended it since
        return []
    checkpoint = find_recovery(run).checkpoint
    if checkpoint is None:
        return [
            f"{run.child(name).uri} {problem}; no checkpoint was written yet, so the run starts afresh"
            for name, problem in problems.items()
            if _keep_damaged(run.child(name))
        ]
    config = checkpoint.config(root)
    contents = {
        CONFIG: lambda: to_yaml(config).encode(),
        RECORD: lambda: _rebuilt_record(run, checkpoint, config).model_dump_json(indent=2).encode(),
    }
    sentences = []
    for name, problem in problems.items():
        path = run.child(name)
        kept = f" and kept as {name}{DAMAGED}" if _keep_damaged(path) else ""
        path.write_bytes_atomic(contents[name]())
        sentences.append(
            f"{path.uri} {problem}{kept}; it is written anew from the checkpoint {checkpoint.location.uri}"
        )
    return sentences


def _config_problem(run: Location, root: type[RunConfig] | type[DecoderConfig]) -> str | None:
    """What is wrong with `config.yaml`, as a predicate; None if nothing is."""
    path = run.child(CONFIG)
    if not path.exists():
        return "was lost"
    if run.child(LINEAGE).exists():
        return None  # a population changes a config that has checkpoints, and knows its values itself
    found = _read(path, lambda: from_yaml(path.read_text(), path.uri, root))
    if found is None:
        return "was damaged"
    for checkpoint in reversed(complete_checkpoints(run)):
        trained = _read(checkpoint.location.child(CONFIG), lambda: checkpoint.config(root))  # noqa: B023
        if trained is not None:  # half a YAML file reads as a config of other values
            return f"was changed ({'; '.join(d)})" if (d := blocking_difference(trained, found)) else None
    return None


def _record_problem(run: Location, root: type[RunConfig] | type[DecoderConfig]) -> str | None:
    """What is wrong with `run.json`, as a predicate; None if nothing is."""
    path = run.child(RECORD)
    if not path.exists():
        return "was lost"
    return "was damaged" if _read(path, RunFolder(run).record) is None else None


def _read(path: Location, read: Callable[[], Found]) -> Found | None:
    """What a file holds; None if it is damaged. Storage that cannot be read is no damage."""
    try:
        return read()
    except StorageError:
        path.read_bytes()
    except VgimError:
        pass
    return None


def _keep_damaged(path: Location) -> bool:
    """Move a file aside; returns whether there was one."""
    if not path.exists():
        return False
    path.move(path.parent.child(f"{path.name}{DAMAGED}"))
    return True


def _rebuilt_record(run: Location, checkpoint: Checkpoint, config: RunConfig | DecoderConfig) -> RunRecord:
    """The record of an interrupted run, as far as its checkpoint knows it."""
    state = checkpoint.state
    return RunRecord(
        name=run.name,
        state="interrupted",
        message=f"{RECORD} was written anew from the checkpoint of step {state.step}",
        created=utc_now(),
        updated=utc_now(),
        launches=1,
        command=(),
        host="",
        pid=0,
        seed=state.seed,
        data_fingerprint=state.data_fingerprint,
        data=config.data.shards,
        family=config.family,
        kld_weight=config.kld_weight,
        target_rate=config.target_rate,
        workers=state.world_size,
        versions={"vgim": state.vgim_version, "torch": state.torch_version},
        git_revision="",
    )
