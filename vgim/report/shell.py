"""The commands behind a run, as a shell would take them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from vgim.downstream.result import ProbeOptions, ProbeResult

DEFAULTS = ProbeOptions(task="phone")
FLAGS = {"sampled": "--sampled", "whole_utterances": "--whole-utterances"}
VALUES = {
    "solver": "--solver",
    "seeds": "--seeds",
    "shards": "--shards",
    "max_utterances": "--max-utterances",
    "patience": "--patience",
}


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
    if options.module is None:
        words.append("--all-modules")
    elif options.module != DEFAULTS.module:
        words += ["--module", str(options.module)]
    if options.encoders != DEFAULTS.encoders:
        words += [word for encoder in options.encoders for word in ("--encoder", encoder)]
    if options.checkpoint == "best":
        words += ["--checkpoint", "best"]
    for name, option in VALUES.items():
        if (value := getattr(options, name)) != getattr(DEFAULTS, name):
            words += [option, str(value)]
    words += [flag for name, flag in FLAGS.items() if getattr(options, name)]
    words += ["--no-bias"] * (not options.bias)
    return shlex.join(words)
