"""A program that keeps vgim's promises in few lines, and variants that break one each, to try the attacks on.

`python -m tests.chaos.stand_in VARIANT KIND` attacks a variant and prints what is wrong, a line each.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from tests.chaos.arena import Arena, Scenario
from tests.chaos.attacks import kills, races, signals, storage
from tests.chaos.attacks.damaged import before_resuming
from tests.chaos.attacks.kind import Draw, Finding
from tests.chaos.template import Part

RUN = Path("runs/run")
PARTS_OF_RUN = ("a", "b", "c", "d")
SCENARIO = Scenario("train", "input", ("work",))
PARTS = {"input": Part((), (("begin",),)), "other": Part(("input",), ())}
TIMEOUT_S = 3.0


def program(variant: str, command: Sequence[str]) -> None:
    """Square the numbers of `input.json` into files, and continue what an earlier call began."""
    if command[0] == "begin":
        Path("input.json").write_text(json.dumps({"sum": 10, "numbers": [1, 2, 3, 4]}))
        return
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda received, frame: told.append(received))
    try:
        _work(variant, told)
    except OSError as error:
        if variant == "lets errors escape":
            raise
        with suppress(OSError):
            _state(variant, "failed")
        _fail(f"cannot write {error.filename2 or error.filename}: {error.strerror}", 5)


def _work(variant: str, told: list[int]) -> None:
    RUN.mkdir(parents=True, exist_ok=True)
    claim = RUN / ".claim"
    if variant != "claims nothing" and not _claim(claim):
        _fail(f"another process works on {RUN}; wait for it", 6)
    if variant != "litters":
        for file in list(RUN.iterdir()):
            if ".tmp-" in file.name:
                file.unlink()
    _state(variant, "running")
    for part, number in zip(PARTS_OF_RUN, _numbers(variant), strict=True):
        if told:
            if variant != "says running for ever":
                _state(variant, "interrupted")
            sys.exit(1 if variant == "has another exit code" else 128 + told[0])
        file = RUN / f"{part}.json"
        if not file.exists():
            _write(variant, file, {"square": number * number})
        time.sleep(0.01)
    _state(variant, "finished")
    print("done")


def _numbers(variant: str) -> list[int]:
    try:
        record = json.loads(Path("input.json").read_bytes())
        numbers = [int(number) for number in record["numbers"]]
        if variant == "believes anything":
            return [*numbers, 0, 0, 0, 0][:4]
        if sum(numbers) != record["sum"] or len(numbers) != len(PARTS_OF_RUN):
            raise ValueError("the sum differs")
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        if variant == "hangs":
            time.sleep(3600)
        if variant == "believes anything":
            return [0, 0, 0, 0]
        name = "state.json" if variant == "names another file" else "input.json"
        _state(variant, "failed")
        _fail(f"{name} is damaged ({type(error).__name__}); restore it", 3)
    return numbers


def _state(variant: str, state: str) -> None:
    _write(variant, RUN / "run.json", {"state": state})


def _write(variant: str, file: Path, content: Any) -> None:
    text = json.dumps(content)
    if variant == "writes in place" and file.name != "run.json":
        with file.open("w") as out:
            out.write(text)
        return
    temporary = file.with_name(f".{file.name}.tmp-{os.getpid():x}")
    try:
        with temporary.open("x") as out:
            out.write(text)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _claim(claim: Path) -> bool:
    import fcntl

    fd = os.open(claim, os.O_WRONLY | os.O_CREAT)  # the lock ends with the process
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


ATTACKS = {
    "kill": partial(kills.kill, SCENARIO),
    "signal": partial(signals.send, SCENARIO),
    "storage": partial(storage.fail, SCENARIO),
    "race": partial(races.race, SCENARIO, True),
    "damage": partial(before_resuming, SCENARIO, ("input.json",)),
}


def attack(variant: str, kind: str, count: int) -> list[Finding]:
    """Attack a variant several times in one way."""
    folder = Path(tempfile.mkdtemp(prefix="vgim-stand-in-"))
    try:
        arena = Arena(folder, partial(program, variant), PARTS, TIMEOUT_S)
        return [ATTACKS[kind](arena, Draw(0, kind, number)) for number in range(count)]
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    chosen, kind_of_attack, number_of_attacks = sys.argv[1:]
    for finding in attack(chosen, kind_of_attack, int(number_of_attacks)):
        for complaint in finding.complaints:
            print(f"{finding.attack}: {complaint}")
