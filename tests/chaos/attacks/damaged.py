"""Damage to every file that a run, a shard folder, a sweep or an experiment has, and the commands that read it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from random import Random

from tests.chaos.arena import Arena, Arguments, Scenario
from tests.chaos.attacks.kind import Draw, Finding, Kind
from tests.chaos.damage import MANNERS, Damaged, damage
from tests.chaos.digest import Digest, differences
from tests.chaos.operations import Operation
from tests.chaos.oracle import (
    ending_complaints,
    last_line,
    names,
    naming_complaints,
    state_complaints,
    success_complaints,
)
from tests.chaos.process import Outcome
from tests.chaos.scenarios import PROBING, RESUMED
from tests.chaos.template import EXPORT, FEATURES, FEW, LATENT_KEYS, LATENTS, PROBE

WITHOUT_HASH = ("metrics.jsonl", "run.json", "tensorboard", "report.html", ".csv", ".html", ".png", ".md")
"""Files that hold no hash of themselves: one flipped bit in a number cannot be seen."""
LISTINGS = (("runs",), ("decode",))
CHECKPOINT = re.compile(r"/checkpoints/step-\d+/")
WRITTEN = ("exported", "features")
"""Folders that reading commands write beside the runs."""
READ_SHARE = 0.8
"""Share of attacks on a file that the command is known to read; the others are on any file."""
SET_ASIDE = re.compile(r"(^|/)damaged-|\.damaged\b")
NUMBERS = re.compile(
    r"[\d.:,]+ ?(s|ms|min|h|MB|kB|GB|steps/s|seconds|minutes)\b|\d{4}-\d\d-\d\d[T \d:.Z+-]*|\d+\.\d+"
)


def files_below(case: Path, *folders: str) -> list[str]:
    """Paths of all files below some folders, sorted."""
    found: list[str] = []
    for folder in folders:
        place = case / folder
        inside = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
        found += [str(path.relative_to(case)) for path in inside]
    return found


def choose(case: Path, draw: Draw, *folders: str) -> tuple[str, str]:
    """A file and a manner of damage; growing numbers visit all kinds of files, in all manners."""
    files = files_below(case, *folders)
    pairs = [(file, manner) for file in files for manner in MANNERS]
    return draw.spread(pairs, lambda pair: (re.sub(r"\d+", "#", pair[0].partition("tfevents")[0]), pair[1]))


def counterpart(arena: Arena, file: str) -> Path | None:
    """The same file of another run or shard folder, whose part of the template has been made."""
    other = arena.root / "parts" / "other" / "other" / file
    if other.is_file():
        return other
    folder, name = arena.root / "parts" / "other" / "other", Path(file).name
    same = sorted(path for path in folder.rglob(name) if path.is_file())
    return same[-1] if same else None


def judge(
    outcome: Outcome, reference: Digest, found: Digest, damaged: str, manner: str, is_read: bool
) -> list[str]:
    """What is wrong with a command that succeeded on a damaged file, which it reads or leaves alone."""
    wrong = []
    last = max(reference, key=lambda path: (CHECKPOINT.search(path) is not None, path))
    for difference in differences(reference, found):
        path = difference.partition(" ")[0]
        if path == damaged or SET_ASIDE.search(path):
            continue
        # Another checkpoint may count as the best where the best one was damaged; the last one must be the same.
        if CHECKPOINT.search(damaged) and "/checkpoints/" in path and Path(path).parent != Path(last).parent:
            continue
        wrong.append(difference)
    own = found.get(damaged) != reference.get(damaged)
    unseen = manner == "a bit flipped" and any(part in damaged for part in WITHOUT_HASH)
    if own and is_read and not unseen and not names(outcome.text, damaged):
        wrong.append(f"{damaged} stays damaged, and nothing says so")
    return wrong


def before_resuming(scenario: Scenario, folders: tuple[str, ...], arena: Arena, draw: Draw) -> Finding:
    """Damage a file, then run the command that continues."""
    reference = arena.reference(scenario)
    arena.template.make("other")
    case = arena.fresh(scenario.part)
    file, manner = choose(case, draw, *folders)
    before = damage(case / file, manner, draw.random, counterpart(arena, file))
    outcome = arena.run(scenario.command)
    complaints = ending_complaints(outcome)
    complaints += state_complaints(case) if outcome.code == 0 else []
    if outcome.code == 0 and not complaints:
        complaints += judge(
            outcome, reference.results, arena.results(scenario), file, manner, file in reference.read
        )
    else:
        complaints += naming_complaints(outcome, file) if not complaints else []
        if CHECKPOINT.search(file) and scenario is RESUMED:
            complaints.append(f"a damaged checkpoint blocks a run that has another: {last_line(outcome)}")
        before.restore()
        complaints += success_complaints(arena.again(scenario)) or differences(
            reference.results, arena.results(scenario)
        )
    return Finding(f"{scenario.name}: {file}: {manner}, before the command", tuple(complaints))


def while_running(scenario: Scenario, folders: tuple[str, ...], arena: Arena, draw: Draw) -> Finding:
    """Damage a file in the middle of a command."""
    reference, rng = arena.reference(scenario), draw.random
    arena.template.make("other")
    moment = rng.randrange(len(reference.operations))
    manner = list(MANNERS)[draw.number % len(MANNERS)]
    done: list[Damaged] = []
    told = arena.root / "damaged"
    told.unlink(missing_ok=True)
    other = counterpart(arena, "runs/run/run.json")

    def hook(number: int, operation: Operation) -> None:
        if number >= moment and not told.exists():
            chance = Random(moment)
            files = [f for f in files_below(arena.case, *folders) if ".tmp-" not in f]
            if files:
                chosen = chance.choice(files)
                content = (arena.case / chosen).read_bytes()
                (arena.root / "content").write_bytes(content)
                damage(arena.case / chosen, manner, chance, other)
                told.write_text(chosen)

    arena.fresh(scenario.part)
    outcome = arena.run(scenario.command, hook)
    complaints = ending_complaints(outcome)
    file = told.read_text() if told.exists() else ""
    if file:
        done.append(Damaged(arena.case / file, (arena.root / "content").read_bytes()))
    complaints += state_complaints(arena.case)
    if outcome.code == 0 and not complaints:
        found = arena.results(scenario)
        wrong = [line for line in differences(reference.results, found) if not _is_of(line, file)]
        complaints += wrong
    elif not complaints:
        complaints += naming_complaints(outcome, file)
    if outcome.code:
        for one in done:
            one.restore()
        complaints += success_complaints(arena.again(scenario)) or [
            line
            for line in differences(reference.results, arena.results(scenario))
            if not (_is_of(line, file) and not file.endswith((".safetensors", "state.json")))
        ]
    return Finding(f"{scenario.name}: {file}: {manner}, at operation {moment}", tuple(complaints))


def _is_of(difference: str, file: str) -> bool:
    path = difference.partition(" ")[0].removesuffix("/")
    of_checkpoint = CHECKPOINT.search(file) is not None and Path(path).parent == Path(file).parent
    return path == file or of_checkpoint or SET_ASIDE.search(path) is not None


READERS: dict[str, tuple[tuple[str, ...], tuple[Arguments, ...]]] = {
    "results": (
        ("runs",),
        (
            ("runs", "runs"),
            ("runs", "runs", "--json"),
            ("compare", "runs/run"),
            ("report", "runs/run", "--out", "page.html"),
            ("decode", "list", "runs/run"),
            ("decode", "sample", "runs/run", "--count", "1", "--out", "sounds"),
            (*PROBE, *FEW),
            (*LATENTS, *LATENT_KEYS),
            ("probe", "apply", "runs/run/probes/speaker-trained-module3-first12", "sound.flac"),
            ("config", "diff", "runs/run", "tiny.yaml"),
            (*EXPORT, "--out", "exported"),
            (*FEATURES, "--split", "test", "--out", "features"),
        ),
    ),
    "shards": (
        ("shards",),
        (
            ("data", "info", "shards"),
            ("data", "info", "shards", "--verify"),
            ("train", "tiny.yaml", "train.max_steps=2"),
        ),
    ),
    "sweep": (
        ("runs",),
        (
            ("sweep", "show", "runs/sweep"),
            ("sweep", "best", "runs/sweep"),
            ("sweep", "best", "runs/sweep", "--copy-to", "best"),
            ("runs", "runs/sweep/trials"),
            ("sweep", "sweep.yaml"),
        ),
    ),
    "experiment": (
        ("runs",),
        (("experiment", "show", "runs/experiment"), ("experiment", "experiment.yaml")),
    ),
}


def while_reading(part: str, arena: Arena, draw: Draw) -> Finding:
    """Damage a file, then read it with a command that reads such files."""
    folders, commands = READERS[part]
    command = draw.random.choice(commands)
    scenario = Scenario(
        f"read/{' '.join(command)}", part, command, (*folders, "page.html", "sounds", "best", *WRITTEN)
    )
    reference = arena.reference(scenario)
    arena.template.make("other")
    case = arena.fresh(part)
    file, manner = choose(case, draw, *folders)
    before = damage(case / file, manner, draw.random, counterpart(arena, file))
    outcome = arena.run(command)
    complaints = ending_complaints(outcome)
    unseen = manner == "a bit flipped" and any(name in file for name in WITHOUT_HASH)
    if outcome.code == 0 and not complaints:
        complaints += judge_reading(arena, scenario, outcome, file, unseen or "tfevents" in file)
    elif not complaints:
        complaints += naming_complaints(outcome, file)
    if outcome.code:
        before.restore()
        again = arena.again(scenario)
        complaints += success_complaints(again) or differences(reference.results, arena.results(scenario))
    return Finding(f"vgim {' '.join(command)}: {file}: {manner}", tuple(complaints))


def judge_reading(
    arena: Arena, scenario: Scenario, outcome: Outcome, damaged: str, unseen: bool
) -> list[str]:
    """What is wrong with a command that read a damaged file and succeeded."""
    reference = arena.references[scenario.name]
    counts = (
        CHECKPOINT.search(damaged) and scenario.command[:1] in LISTINGS
    )  # a list counts whole checkpoints
    told = counts or names(outcome.text, damaged) or names(outcome.text, str(Path(damaged).parent))
    said = _plain(outcome.out) != _plain(reference.out)
    changed = [
        line
        for line in differences(reference.results, arena.results(scenario))
        if line.partition(" ")[0].removesuffix("/") != damaged and not SET_ASIDE.search(line)
    ]
    if told or unseen:
        return []
    if said:
        return [f"other output than before, and nothing names {damaged}"]
    return changed


def _plain(text: str) -> str:
    return NUMBERS.sub("#", text)


KINDS = (
    Kind(
        "damage-resume",
        "a damaged file of a run or its shards, before `vgim train` continues",
        "the steps since the checkpoint before, if the newest checkpoint is the damaged one; they are trained again",
        partial(before_resuming, RESUMED, ("runs/run", "shards")),
        3,
        4,
    ),
    Kind(
        "damage-running",
        "a file of a run or its shards is damaged while `vgim train` runs",
        "what the damaged file held, unless training writes it anew",
        partial(while_running, RESUMED, ("runs/run", "shards")),
        3,
        2,
    ),
    Kind(
        "damage-probing",
        "a damaged file of a run or its shards, before `vgim probe`",
        "nothing: the command says which file it is",
        partial(before_resuming, PROBING, ("runs/run", "shards")),
        3,
        1,
    ),
    Kind(
        "damage-read",
        "a damaged file of a run, its probes, latents, decoder or sounds, read by any command",
        "what the damaged file held; other files and other runs are read",
        partial(while_reading, "results"),
        3,
        4,
    ),
    Kind(
        "damage-shards",
        "a damaged file of a shard folder, read by `vgim data info` or `vgim train`",
        "nothing: the shards are refused; prepare them again",
        partial(while_reading, "shards"),
        2,
        2,
    ),
    Kind(
        "damage-sweep",
        "a damaged file of a sweep, read by `vgim sweep` and its verbs",
        "what the damaged file held",
        partial(while_reading, "sweep"),
        3,
        1,
    ),
    Kind(
        "damage-experiment",
        "a damaged file of an experiment, read by `vgim experiment` and its verb",
        "what the damaged file held",
        partial(while_reading, "experiment"),
        4,
        1,
    ),
)
