"""A reader of Dockerfiles: their instructions as steps, with build arguments filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
KNOWN = {"ARG", "COPY", "ENV", "FROM", "HEALTHCHECK", "LABEL", "RUN", "USER", "WORKDIR"}


@dataclass(frozen=True)
class Step:
    """An instruction and its arguments on one line, with the values of build arguments in place of ${NAME}."""

    instruction: str
    arguments: str


def read_steps(text: str, given: Mapping[str, str] | None = None) -> list[Step]:
    """The steps of a Dockerfile.

    Args:
        text: The file.
        given: Values of build arguments instead of their defaults.

    Raises:
        ValueError: an instruction is not in `KNOWN`, or a build argument has neither a default nor a value.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    steps, values = [], dict(given or {})
    for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines():
        instruction, _, arguments = line.partition(" ")
        if instruction not in KNOWN:
            raise ValueError(
                f"no rule for the instruction {instruction} of a Dockerfile; add one, or do without it"
            )
        if instruction == "ARG":
            name, _, default = arguments.partition("=")
            values.setdefault(name, default)
        elif instruction != "RUN":  # there the shell fills them in
            arguments = re.sub(r"\$\{(\w+)\}", lambda match: _value(values, match[1]), arguments)
        steps.append(Step(instruction, arguments))
    return steps


def _value(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise ValueError(f"the build argument {name} has no value")
    return values[name]


def arguments_of(steps: list[Step], instruction: str) -> list[str]:
    """The arguments of every step with an instruction."""
    return [step.arguments for step in steps if step.instruction == instruction]


def health_command(steps: list[Step]) -> str:
    """The shell command of the health check."""
    (check,) = arguments_of(steps, "HEALTHCHECK")
    return check.partition("CMD ")[2]
