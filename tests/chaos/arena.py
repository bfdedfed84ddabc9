"""Where attacks happen: commands run in forked processes, with operations watched, against undisturbed results."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.digest import Digest, digest
from tests.chaos.operations import Hook, Operation, install
from tests.chaos.process import TIMEOUT_S, Child, Outcome, fork
from tests.chaos.template import PARTS, Part, Template

Arguments = tuple[str, ...]
Program = Callable[[Sequence[str]], None]


def run_vgim(command: Sequence[str]) -> None:
    """Run a command of `vgim` in this process; sweeps use no Ray, and shards count as on another disk than a cache."""
    from tests.chaos.without_ray import use_no_ray
    from vgim.cli import main
    from vgim.data.shards import cache

    use_no_ray()
    cache.on_same_disk = lambda one, other: False
    main(args=list(command), prog_name="vgim")


@dataclass(frozen=True)
class Scenario:
    """A command, and the part of the template that it is run on."""

    name: str
    part: str
    command: Arguments
    results: tuple[str, ...] = ("runs",)
    """Folders and files that hold its results."""


@dataclass(frozen=True)
class Reference:
    """What a scenario's command does undisturbed."""

    seconds: float
    operations: tuple[Operation, ...]
    results: Digest
    out: str

    @property
    def read(self) -> set[str]:
        """Paths of the files that were read."""
        return {operation.path for operation in self.operations if operation.kind == "read"}


@dataclass
class Arena:
    """Runs commands in the folder of attacks.

    Args:
        root: Folder for everything, which the caller removes.
        program: What is attacked: it is called with the words of a command, in a process of its own.
        parts: Parts of the template.
        timeout_s: Time after which a command counts as hanging.
    """

    root: Path
    program: Program = run_vgim
    parts: dict[str, Part] = field(default_factory=lambda: PARTS)
    timeout_s: float = TIMEOUT_S
    template: Template = field(init=False)
    references: dict[str, Reference] = field(default_factory=dict)
    slowest_s: float = 0.0
    """Longest time that a command took again after an attack, since `recovered` was called last."""

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.template = Template(self.root, lambda command, hook: self.run(command, hook), self.parts)

    @property
    def case(self) -> Path:
        """Working folder of commands."""
        return self.template.case

    def fresh(self, part: str) -> Path:
        """Put a fresh copy of a part of the template into the folder of attacks, and empty the user's home."""
        shutil.rmtree(self.root / "home", ignore_errors=True)
        return self.template.fresh(part)

    def start(
        self,
        command: Sequence[str],
        hook: Hook | None = None,
        *,
        name: str = "command",
        before: Callable[[], None] = lambda: None,
    ) -> Child:
        """Start a command in a process of its own.

        Args:
            hook: Called before each operation on files.
            before: Called in the process before the command.
        """

        def run() -> None:
            os.environ["VGIM_HOME"] = str(self.root / "home")
            os.environ["HOME"] = str(self.root / "home")
            if hook is not None:
                install(self.case, hook)
            before()
            self.program(command)

        return fork(run, self.case, self.root / "output", name=name, argv=command)

    def run(
        self, command: Sequence[str], hook: Hook | None = None, *, timeout_s: float | None = None
    ) -> Outcome:
        """Run a command to its end, or for `timeout_s` seconds."""
        return self.start(command, hook).wait(timeout_s or self.timeout_s)

    def results(self, scenario: Scenario) -> Digest:
        """What the scenario's results say now."""
        found: Digest = {}
        for name in scenario.results:
            place = self.case / name
            inside = digest(place) if place.is_dir() else {}
            found |= {f"{name}/{path}": value for path, value in inside.items()}
            if place.is_file():
                found[name] = digest(place.parent)[place.name]
        return found

    def reference(self, scenario: Scenario) -> Reference:
        """The scenario's undisturbed operations and results; its command is run when this is first asked for."""
        if scenario.name not in self.references:
            self.fresh(scenario.part)
            trace = self.root / "trace.jsonl"
            trace.unlink(missing_ok=True)
            started = time.monotonic()
            outcome = self.run(scenario.command, _writing_to(trace))
            if outcome.code:
                raise RuntimeError(f"undisturbed, {scenario.name} ends with {outcome.code}: {outcome.text}")
            lines = trace.read_text().splitlines() if trace.exists() else []
            self.references[scenario.name] = Reference(
                time.monotonic() - started,
                tuple(Operation(*json.loads(line)) for line in lines),
                self.results(scenario),
                outcome.out,
            )
        return self.references[scenario.name]

    def again(self, scenario: Scenario, *, command: Arguments | None = None) -> Outcome:
        """Run the scenario's command again, undisturbed, after an attack."""
        outcome = self.run(command or scenario.command)
        self.slowest_s = max(self.slowest_s, outcome.seconds)
        return outcome


def _writing_to(trace: Path) -> Hook:
    file = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(number: int, operation: Operation) -> None:
        os.write(file, json.dumps([operation.kind, operation.path]).encode() + b"\n")

    return hook
