"""The commands behind a run, quoted so that a shell can run them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.verdict.commands import program

DEFAULTS = {name: field.get_default() for name, field in ProbeOptions.model_fields.items()}
HANDLED = {"task", "encoders", "module", "checkpoint", "device"}
"""Options that `_probe` writes itself, and the device, which does not change the result."""

OF_PROTOCOL = {"solver", "bias", "sampled", "clip_norm"}
"""Options whose default a protocol may change."""


def command_line(command: Sequence[str]) -> str:
    """A recorded command as one line, with the program's name instead of its path on the machine."""
    if not command:
        return ""
    return shlex.join([*program(command), *command[1:]])


def probe_command(run: str, results: Sequence[ProbeResult]) -> list[str]:
    """The commands that produced these results, each once."""
    return list(dict.fromkeys(_probe(run, result) for result in results))


def baselines_command(run: str, result: ProbeResult, missing: Iterable[str]) -> str:
    """The command that adds the missing baselines to a result."""
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
    for name, value in options.model_dump(exclude=HANDLED).items():
        flag = name.replace("_", "-")
        by_protocol = options.protocol == "published" and name in OF_PROTOCOL
        if value is None or (value == DEFAULTS[name] and not by_protocol):
            continue
        if name == "concat" and value is not True:
            words += ["--concat-modules", ",".join(map(str, value))]
        elif isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
