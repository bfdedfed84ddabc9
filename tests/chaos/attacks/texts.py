"""Malformed commands, numbers, files and addresses, drawn from the options and config keys that vgim has."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import click

from tests.chaos.arena import Arena, Arguments
from tests.chaos.attacks.kind import Draw, Finding, Kind
from tests.chaos.digest import state_of
from tests.chaos.oracle import ending_complaints

NUMBERS = (
    *(
        "0",
        "-1",
        "-0.0",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-400",
        "1e308",
        "9" * 30,
        "9" * 5000,
        "-" + "9" * 40,
    ),
    *(
        "1.5",
        "1e8",
        "2147483648",
        "9223372036854775808",
        "0x10",
        "1_000",
        "٣",
        "½",
        "1,5",
        "--1",
        "1e",
        ".",
        "+",
    ),
)
TEXTS = (
    *(
        "",
        " ",
        "\t",
        "null",
        "true",
        "[]",
        "{}",
        "[1",
        "{a: 1",
        "a: b: c",
        "- -",
        "&a",
        "*a",
        "!!python/object:os.system x",
    ),
    *(
        "%",
        "%s%n",
        "../../etc",
        "/",
        "//",
        "a/b",
        ".",
        "..",
        "-",
        "--",
        "~",
        "$HOME",
        "$(id)",
        "`id`",
        "a\nb",
        "\x1b[31mx",
    ),
    *("ü", "名前", "\u202eabc", "\U0001f600", "a" * 300, "x" * 5000, "é" * 200, "[" * 500, "{a: " * 300),
)
ADDRESSES = (
    *(
        "garbage",
        "ray://",
        "ray://x:y",
        "1.2.3.4.5:1",
        "localhost",
        ":",
        "auto:1",
        "http://x",
        "localhost:99999",
        "::1",
    ),
)
PLACES = (
    *(
        "nope",
        "",
        "/dev/null",
        "/proc/self/mem",
        "/etc/passwd",
        "tiny.yaml",
        "nope/nope",
        "file:///nope",
        "file://",
    ),
    *(
        "http://x/y",
        "nope://x",
        "s3://",
        "s3:///a",
        "gs://",
        "://",
        "a" * 300,
        "runs/run/run.json",
        ".",
        "/",
        "\u202e",
    ),
)
UNSAFE_KEYS = (
    "cluster.workers",
    "train.epochs",
    "train.max_steps",
    "cluster.min_workers",
    "cluster.max_workers",
)
"""Keys whose valid values make a command long, or start Ray."""
MORE_YAML = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "[" * 3000 + "]" * 3000,
    "{a: " * 1500 + "1" + "}" * 1500,
    "data: *nothing",
    "data: {shards: shards}\ndata: {shards: other}",
    "\x00",
    "\ufeffdata: 3",
    "data: !!binary aGVsbG8=",
    "data: !!python/object/apply:os.system ['touch escaped']",
    "%YAML 9.9\n---\ndata: 1",
    "a\n  b\n c: d",
    "---\n---\n---",
    "? [a, b]\n: c",
    "data: {shards: shards, crop_samples: " + "9" * 5000 + "}",
    "extends: tiny.yaml\nextends: tiny.yaml",
    "base: " + "x" * 4000,
    "2020-01-01: 3",
    "<<: {data: 1}",
    "data: 1e400",
    "data: 0o17",
)


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every verb of a command, with the words that name it."""
    if not isinstance(group, click.Group):
        return [(path, group)]
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            found += commands(command, (*path, name) if name else path)
    return found


VALID: dict[tuple[str, ...], Arguments] = {
    ("train",): ("tiny.yaml", "train.max_steps=1", "storage.name=new"),
    ("runs",): ("runs",),
    ("config", "list"): (),
    ("config", "show"): ("tiny.yaml",),
    ("config", "diff"): ("tiny.yaml", "quickstart"),
    ("config", "keys"): (),
    ("data", "synth"): ("--out", "new-corpus", "--speakers", "1", "--utterances", "2"),
    ("data", "prepare", "librispeech"): ("--corpus", "corpus", "--out", "new-shards", "--workers", "0"),
    ("data", "prepare", "artificial-speech"): ("--corpus", "corpus", "--out", "new-shards", "--workers", "0"),
    ("data", "info"): ("shards",),
    ("probe",): ("runs/run", "--task", "speaker", "--max-utterances", "12"),
    ("probe", "apply"): ("runs/run/probes/speaker-trained-module3-first12", "sound.flac"),
    ("compare",): ("runs/run",),
    ("decode", "train"): ("runs/run", "train.max_steps=1", "cluster.workers=0", "decoder.channels=8"),
    ("decode", "list"): ("runs/run",),
    ("decode", "file"): ("sound.flac", "new.wav", "--run", "runs/run"),
    ("decode", "sample"): ("runs/run", "--count", "1"),
    ("decode", "interpolate"): ("runs/run", "sound.flac", "sound.flac", "--steps", "2"),
    ("decode", "traverse"): ("runs/run", "sound.flac", "--dims", "1", "--steps", "2"),
    ("latents",): ("runs/run", "--only", "distribution", "--max-frames", "200", "--max-utterances", "12"),
    ("report",): ("runs/run",),
    ("sweep", "run"): ("sweep.yaml", "--dry-run"),
    ("sweep", "show"): ("runs",),
    ("sweep", "best"): ("runs",),
    ("experiment", "run"): ("experiment.yaml", "--dry-run"),
    ("experiment", "show"): ("runs",),
}

WITHOUT_END = (("serve",),)
"""Verbs that run until a signal comes, where others have ended."""


def malform_option(arena: Arena, draw: Draw) -> Finding:
    """Give a verb an option with a value that may make no sense, or an argument in the wrong place."""
    from vgim.cli import main

    rng = draw.random
    verbs = [verb for verb in commands(main) if verb[0] not in WITHOUT_END]
    words, command = draw.spread(verbs, lambda verb: verb[0])
    arguments = [*words, *VALID.get(words, ())]
    options = [p for p in command.params if isinstance(p, click.Option) and "--help" not in p.opts]
    choices = ["option"] * 6 * bool(options) + ["extra", "argument", "unknown", "missing"]
    what = rng.choice(choices)
    if what == "option":
        option = rng.choice([option for option in options for _ in range(1 if option.is_flag else 4)])
        arguments += [option.opts[0]]
        if not option.is_flag:
            arguments.append(_value_for(option, rng))
    elif what == "extra":
        arguments.append(rng.choice((*TEXTS, *PLACES)))
    elif what == "unknown":
        arguments.append("--" + rng.choice(("nope", "", "=", "é", "help=1", "x" * 300)))
    elif what == "missing" and len(arguments) > len(words):
        del arguments[len(words)]
    else:
        position = rng.randrange(len(words), len(arguments) + 1)
        arguments[position : position + 1] = [rng.choice((*PLACES, *TEXTS))]
    return _try(arena, arguments)


def _value_for(option: click.Option, rng: Random) -> str:
    name = option.name or ""
    if name == "address":
        return rng.choice(ADDRESSES)
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        return rng.choice((*NUMBERS, *NUMBERS, *TEXTS))
    if name in ("workers", "probe_workers"):
        return rng.choice(NUMBERS[:5])
    return rng.choice((*PLACES, *TEXTS, *NUMBERS))


def malform_override(arena: Arena, draw: Draw) -> Finding:
    """Give a config key a value that may make no sense."""
    from vgim.config import DecoderConfig, RunConfig
    from vgim.config.keys import config_keys

    rng = draw.random
    decoder = draw.number % 4 == 3
    keys = list(config_keys(DecoderConfig if decoder else RunConfig).leaves)
    key = draw.spread(keys, lambda name: name)
    value = rng.choice((*NUMBERS, *NUMBERS, *TEXTS, *(PLACES if "shards" in key or "root" in key else ())))
    while key in UNSAFE_KEYS and _is_large(value):
        value = rng.choice(NUMBERS)
    pair = rng.choice((f"{key}={value}",) * 8 + (f"{key} ={value}", f"={value}", key, f"{key}.x={value}"))
    verb = VALID[("decode", "train") if decoder else ("train",)]
    words = ["decode", "train"] if decoder else ["train"]
    return _try(arena, [*words, *verb, pair])


def _is_large(value: str) -> bool:
    try:
        return not -1 <= float(value) <= 1
    except ValueError:
        return True


def malform_file(arena: Arena, draw: Draw) -> Finding:
    """Give a verb a YAML file that is malformed, too large, or of another kind."""
    rng = draw.random
    arena.fresh("results")
    base = rng.choice(("tiny.yaml", "sweep.yaml", "experiment.yaml", "population.yaml"))
    text = draw.spread(MORE_YAML, lambda one: one[:40])
    way = rng.choice(("alone", "alone", "appended", "value"))
    original = (arena.case / base).read_text()
    if way == "appended":
        text = original + "\n" + text
    elif way == "value":
        lines = original.splitlines()
        number = rng.randrange(len(lines))
        key, colon, _ = lines[number].partition(":")
        lines[number] = f"{key}{colon} {rng.choice((*NUMBERS, *TEXTS))}"
        text = "\n".join(lines)
    verb = {
        "tiny.yaml": ["train", "file.yaml", "train.max_steps=1", "cluster.workers=0", "storage.name=new"],
        "experiment.yaml": ["experiment", "file.yaml", "--dry-run"],
    }.get(base, ["sweep", "file.yaml", "--dry-run"])

    def write() -> None:
        (arena.case / "file.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))

    finding = _try(arena, verb, write)
    return Finding(f"{finding.attack} (file.yaml: {base} {way}, {text[-60:]!r})", finding.complaints)


def _try(arena: Arena, arguments: list[str], before: Any = None) -> Finding:
    """Run a command that may make no sense: it succeeds, or says why not and changes nothing."""
    arena.fresh("results")
    if before is not None:
        before()
    state = state_of(arena.case)
    arguments = [argument.replace("\x00", "") for argument in arguments]
    outcome = arena.run(arguments, timeout_s=TIME_LIMIT_S)
    complaints = ending_complaints(outcome)
    now = state_of(arena.case)
    lost = [name for name in state if name not in now and "tfevents" not in name]
    complaints += [f"{name} is gone" for name in lost]
    if outcome.code:
        complaints += [
            f"{name} differs, although the command failed"
            for name, content in state.items()
            if name in now and now[name] != content and not name.endswith(("run.json", "metrics.jsonl"))
        ]
    escaped = [str(path) for path in Path(arena.root).glob("escaped*")]
    complaints += [f"{path} was written outside" for path in escaped]
    shown = " ".join(repr(a if len(a) < 80 else a[:70] + f"…({len(a)} characters)") for a in arguments)
    return Finding(f"vgim {shown}", tuple(complaints))


TIME_LIMIT_S = 90.0
NOTHING = "nothing: the command says what is wrong"
KINDS = (
    Kind("text-options", "malformed arguments and options of any command", NOTHING, malform_option, 1.5, 8),
    Kind("text-keys", "malformed values of any config key", NOTHING, malform_override, 1.5, 8),
    Kind("text-files", "malformed YAML files: configs, sweeps, experiments", NOTHING, malform_file, 1.5, 4),
)
