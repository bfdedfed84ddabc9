"""The commands behind a run, as a shell would take them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from vgim.downstream.result import ProbeOptions, ProbeResult

DEFAULTS = {name: field.get_default() for name, field in ProbeOptions.model_fields.items()}
SPOKEN = {"task", "encoders", "module", "checkpoint", "device"}
"""Options that `_probe` puts into words of their own, or that say nothing of the result."""


def command_line(command: Sequence[str]) -> str:
    """A recorded command; the program's path, which is the machine's affair, is cut to its name."""
    if not command:
        return ""
    program, *rest = command
    name = PurePosixPath(program).name
    start = ["python", f"ray_jobs/{name}"] if name.endswith(".py") else [name]
    return shlex.join([*start, *rest])


def probe_command(run: str, results: Sequence[ProbeResult]) -> list[str]:
    """The commands that gave these results, each once."""
    return list(dict.fromkeys(_probe(run, result) for result in results))


def baselines_command(run: str, result: ProbeResult, missing: Iterable[str]) -> str:
    """The command that adds baselines to a result."""
    options = result.options.model_copy(update={"encoders": tuple(missing), "checkpoint": "last"})
    return _probe(run, result.model_copy(update={"options": options}))


def _probe(run: str, result: ProbeResult) -> str:
    options = result.options
    named = options.checkpoint == "named" and result.checkpoint is not None
    words = ["vgim", "probe", str(result.checkpoint) if named else run, "--task", options.task]
    words += ["--all-modules"] if options.module is None else []
    words += ["--module", str(options.module)] if options.module not in (None, DEFAULTS["module"]) else []
    if options.encoders != DEFAULTS["encoders"]:
        words += [word for encoder in options.encoders for word in ("--encoder", encoder)]
    words += ["--checkpoint", "best"] * (options.checkpoint == "best")
    for name, value in options.model_dump(exclude=SPOKEN).items():
        flag = name.replace("_", "-")
        if value == DEFAULTS[name]:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
