"""What the files of a folder say, without what differs between two runs of the same command: times and processes."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

Digest = dict[str, str]
"""Hash of what a file says, by its path below the folder."""

UNEQUAL_KEYS = {
    *(
        "time",
        "steps_per_s",
        "crops_per_s",
        "data_wait_s",
        "compute_s",
        "overhead_s",
        "source_age_s",
        "seconds",
        "train_seconds",
    ),
    *(
        "created",
        "updated",
        "started",
        "ended",
        "finished",
        "date",
        "host",
        "pid",
        "command",
        "launches",
        "attempts",
    ),
    *(
        "git_revision",
        "versions",
        "elapsed_s",
        "training_s",
        "seconds_trained",
        "duration_s",
        "total_s",
        "wall_s",
    ),
    *("message", "boot_id", "process_start", "lease", "step_s", "mtime_ns"),
}
"""Keys of JSON records whose values two runs of one command do not share."""
IGNORED = re.compile(
    r"(^|/)(\.claim|tensorboard|stop-request\.json|tune)(/|$)|events\.out\.tfevents|checkpoints/index\.json$"
)
"""Files of processes, and the list of checkpoints, which is read anew where it is older than its folder."""
ONLY_THERE = (".html", ".png", ".pdf", ".md", ".svg", ".sha256")
"""Suffixes of pages and pictures, which name times and versions: they must be there and not be empty."""


def digest(folder: Path) -> Digest:
    """What all files below a folder say, by their paths."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if IGNORED.search(name):
            continue
        if file.is_file():
            found[name] = _hash(_content(file))
        elif not any(file.iterdir()):
            found[name + "/"] = "an empty folder"
    return found


def state_of(folder: Path) -> Digest:
    """Hash of every byte of every file below a folder, by its path: a command that fails may change none."""
    return {
        str(file.relative_to(folder)): _hash(file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def differences(expected: Digest, found: Digest) -> list[str]:
    """Paths that differ, each with how: gone, new or changed."""
    told = [f"{name} is gone" for name in expected if name not in found]
    told += [f"{name} is left over" for name in found if name not in expected]
    return told + [
        f"{name} differs" for name in expected if found.get(name, expected[name]) != expected[name]
    ]


def without_unequal(value: Any) -> Any:
    """A JSON value without the keys that two runs of one command do not share."""
    if isinstance(value, dict):
        return {key: without_unequal(inner) for key, inner in value.items() if key not in UNEQUAL_KEYS}
    if isinstance(value, list):
        return [without_unequal(inner) for inner in value]
    return value


def _content(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix in ONLY_THERE:
        return b"content" if data else b""
    try:
        if file.suffix == ".safetensors":  # the order of its metadata is another in every process
            end = 8 + int.from_bytes(data[:8], "little")
            return json.dumps(without_unequal(json.loads(data[8:end])), sort_keys=True).encode() + data[end:]
        if file.suffix == ".csv":
            rows = list(csv.DictReader(data.decode().splitlines()))
            return json.dumps([without_unequal(row) for row in rows], sort_keys=True).encode()
        if file.suffix == ".jsonl":
            records = [json.loads(line) for line in data.splitlines()]
            kept = [without_unequal(record) for record in records if record.get("kind") != "event"]
            return json.dumps(kept, sort_keys=True).encode()
        if file.suffix == ".json":
            return json.dumps(without_unequal(json.loads(data)), sort_keys=True).encode()
    except (ValueError, AttributeError, RecursionError):
        pass
    return data


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
