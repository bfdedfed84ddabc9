"""Writes commands of the public reference as vgim commands, with a comment for each part that means something else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from vgim.config import load_config
from vgim.config.keys import dump, flatten
from vgim.config.overrides import parse_override
from vgim.config.reference_encoder_keys import ENCODER
from vgim.config.reference_row import CLASSIFIERS, Spelling
from vgim.config.reference_spelling import find_spelling, written_here
from vgim.errors import ConfigError
from vgim.interop.reference_command import ReferenceCommand, read_commands, shown
from vgim.interop.reference_programs import CONFIGS, DATASETS, PROGRAMS, Corpus

_SYLLABLES = "$VGIM_HOME/shards/artificial-speech-syllables"
_COMMENT = "# "
_LAST_CONVOLUTIONS = 2  # the reference's encoders have three modules of convolutions before the GRU
_UNSEEDED = "-1"  # the reference's `seed` by default, with which it does not seed
_EPOCHS = 1000  # of the reference's configs, whose `encoder_num` is the last of them


@dataclass
class _Translation:
    """The words of a vgim command and the comments behind it, while they are collected."""

    command: ReferenceCommand
    words: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """Overrides that are not written, by the reason."""
    others: dict[str, int] = field(default_factory=dict)
    """Sections that other commands read, with the number of overrides in each."""

    def leave_out(self, key: str, reason: str) -> None:
        """Say of an override why it is not written."""
        self.reasons.setdefault(reason, []).append(f"{key}={shown(self.command.overrides[key])}")

    def count_for_others(self, section: str) -> None:
        """Count an override that other commands read."""
        self.others[section] = self.others.get(section, 0) + 1

    def lines(self) -> Iterator[str]:
        """The command, then its comments."""
        yield shlex.join(self.words)
        yield from map(_comment, self.notes)
        yield from (
            _comment(f"{', '.join(overrides)}: {reason}") for reason, overrides in self.reasons.items()
        )
        if self.others:
            counts = ", ".join(f"{name} ({number})" for name, number in self.others.items())
            yield _comment(f"overrides for other commands: {counts}")


def _comment(text: str) -> str:
    """A comment of the shell, which a line break in a value does not end."""
    return f"{_COMMENT}{' '.join(text.split())}"


def translate(text: str) -> str:
    """Translate commands of the public reference.

    Args:
        text: A command, with or without `python -m PROGRAM` and experiment; or several, as lines of a shell.

    Returns:
        For each command the vgim commands that do the same, and comments about all that has no counterpart or means
        something else here. A comment that several commands have stands below the first. A shell runs it as it stands.

    Raises:
        ConfigError: A program, config file, key or variable is unknown.
    """
    lines: list[str] = []
    for line in (line for command in read_commands(text) for line in _lines(command)):
        if not (line.startswith(_COMMENT) and line in lines):
            lines.append(line)
    return "\n".join(lines)


def _lines(command: ReferenceCommand) -> Iterator[str]:
    program = PROGRAMS[command.program]
    if program.kind == "gone":
        yield _comment(f"{command.program}: {program.note}")
        return
    translations = {
        "train": _train,
        "probe": _probe,
        "decode": _decode,
        "space": _space,
        "correlation": _correlation,
        "weights": _weights,
    }
    for translation in translations[program.kind](command):
        yield from translation.lines()


def _train(command: ReferenceCommand) -> list[_Translation]:
    result = _Translation(command)
    corpus, model = _corpus(result, "encoder_config"), CONFIGS[command.config].model
    left_out = {"encoder_config.dataset.dataset"}
    if _is(command, "encoder_config.deterministic", "true") and model == "sim":
        model = "gim"
        result.leave_out("encoder_config.deterministic", "without samples and KL term a SIM trains as a GIM")
    left_out.add("encoder_config.deterministic")
    if model != "sim" and "encoder_config.kld_weight" in command.overrides:
        reason = f"{model} has no posterior, so a KL weight would do nothing"
        is_integer = command.overrides["encoder_config.kld_weight"].lstrip("+-").isdecimal()
        if CONFIGS[command.config].model != "sim" and not is_integer:
            reason += "; the reference stops at it, because this config holds the integer 0"
        result.leave_out("encoder_config.kld_weight", reason)
        left_out.add("encoder_config.kld_weight")
    preset = f"published-{corpus}-{model}"
    overrides = [*CONFIGS[command.config].overrides]
    for key in command.overrides:
        if key not in left_out:
            overrides += _own_part(result, key, "encoder_config", "train")
    defaults = _other_defaults(preset, overrides)
    if defaults:
        result.notes.append(f"defaults of the reference that {preset} has otherwise: {', '.join(defaults)}")
    overrides += defaults
    name = [f"storage.name={_run_name(command)}"] if command.experiment else []
    result.words = ["vgim", "train", preset, *overrides, *name]
    return [result]


def _probe(command: ReferenceCommand) -> list[_Translation]:
    section = PROGRAMS[command.program].section
    task = CLASSIFIERS[section]
    result = _Translation(command)
    if task == "syllable" and _is(command, f"{section}.dataset.labels", "vowels"):
        task = "vowel"
    corpus = _corpus(result, section)
    reads_gru = task == "phone" or not _is(command, f"{section}.bias", "false")
    result.words = ["vgim", "probe", _run_name(command), "--task", task, "--protocol", "published"]
    result.words += [] if reads_gru else ["--no-bias"]
    result.words += _place(result, section, reads_gru)
    # The protocol reads samples of convolutions and means of a GRU.
    if CONFIGS[command.config].model == "sim" and _samples(command) == reads_gru:
        result.words.append("--sampled" if reads_gru else "--no-sampled")
    if task in ("phone", "speaker") and f"{section}.gradient_clipping" not in command.overrides:
        result.words += ["--clip-norm", "0"]  # the protocol clips, as the README's commands do
    handled = ["dataset.labels", "dataset.dataset"]
    handled += ["bias", "encoder_module", "encoder_layer"] if task != "phone" else []
    for key in command.overrides:
        if key not in {f"{section}.{name}" for name in handled}:
            result.words += _own_part(result, key, section, CLASSIFIERS[section])
    result.words += ["--shards", _SYLLABLES] if corpus == "artificial" else []
    return [result]


def _decode(command: ReferenceCommand) -> list[_Translation]:
    section = "decoder_config"
    result = _Translation(command)
    corpus = _corpus(result, section)
    number = command.overrides.get(f"{section}.decoder_loss", "6")
    loss = _spelling(f"{section}.decoder_loss").values.get(number)
    if loss is None:
        raise ConfigError(
            f"{section}.decoder_loss={shown(number)} is no loss of the public reference; give 0 to 6"
        )
    result.words = ["vgim", "decode", "train", _run_name(command), "--protocol", "published", *loss.split()]
    result.words += _place(result, section, reads_gru=False)
    if CONFIGS[command.config].model == "sim" and not _samples(command):
        result.words.append("--no-sampled")
    handled = ("decoder_loss", "encoder_module", "encoder_layer", "dataset.dataset")
    overrides: list[str] = []
    for key in command.overrides:
        if key not in {f"{section}.{name}" for name in handled}:
            overrides += _own_part(result, key, section, "decode")
    if corpus == "librispeech":  # the protocol has the epochs and batches of the README's commands
        given = {override.partition("=")[0] for override in overrides}
        defaults = ("train.epochs=200", "train.batch_size=64")
        overrides += [word for word in defaults if word.partition("=")[0] not in given]
    result.words += overrides
    return [result]


def _space(command: ReferenceCommand) -> list[_Translation]:
    by_label, histograms = _Translation(command), _Translation(command)
    latents = ["vgim", "latents", _run_name(command)]
    by_label.words = [*latents, "--only", "map", "--split", "train", "--max-utterances", "2000"]
    by_label.words += ["--shards", _SYLLABLES, *_seed_of_draws(command)]
    histograms.words = [*latents, "--only", "distribution", "--split", "train", "--max-utterances", "1000"]
    histograms.words += [*_module(histograms, PROGRAMS[command.program].section), *_seed_of_draws(command)]
    histograms.notes.append("the scatter plot of the first three dimensions has no counterpart")
    _note_the_rest(histograms)
    return [by_label, histograms]


def _correlation(command: ReferenceCommand) -> list[_Translation]:
    result = _Translation(command)
    result.words = [
        "vgim",
        "latents",
        _run_name(command),
        "--only",
        "correlation",
        "--max-utterances",
        "1000",
    ]
    result.words += [*_module(result, PROGRAMS[command.program].section), *_seed_of_draws(command)]
    _note_the_rest(result)
    return [result]


def _weights(command: ReferenceCommand) -> list[_Translation]:
    result = _Translation(command)
    result.words = ["vgim", "compare", _run_name(command), "--weights", "weights.pdf"]
    result.words += ["--weight-scale", "published"]
    result.notes.append("the picture has a panel for each probe of the run; several runs give a line each")
    _note_the_rest(result)
    return [result]


def _module(result: _Translation, section: str) -> list[str]:
    """The option for the module that an analysis reads; analyses read no layers."""
    if CONFIGS[result.command.config].model.startswith("cpc"):
        result.notes.append("analyses here read the output of a CPC, its GRU, and none of its layers")
        return []
    module = result.command.overrides.get(f"{section}.encoder_module", "-1")
    return ["--module", str(_LAST_CONVOLUTIONS) if module == "-1" else module]


def _seed_of_draws(command: ReferenceCommand) -> list[str]:
    """The option for the seed of an analysis of latents."""
    seed = command.overrides.get("seed", _UNSEEDED)
    return [] if seed == _UNSEEDED else ["--seed", seed]


def _note_the_rest(result: _Translation) -> None:
    """Comment on the overrides of an analysis, which takes neither KEY=VALUE nor a probe's options."""
    program = PROGRAMS[result.command.program]
    section = program.section
    read = {f"{section}.{name}" for name in ("bias", "encoder_module", "encoder_layer", "dataset.labels")}
    for key in result.command.overrides:
        if key.startswith(f"{section}.") and not key.endswith(".encoder_num"):
            if key not in read:
                result.count_for_others(section)
        elif key == "seed" and program.kind == "weights":
            result.leave_out(key, "a picture of fitted weights has no random draws")
        elif key != "seed" or result.command.overrides[key] == _UNSEEDED:
            _own_part(result, key, section, CLASSIFIERS[section])


def _own_part(result: _Translation, key: str, section: str, program: str) -> list[str]:
    """The words for one override; none, and a comment, where nothing corresponds to it.

    Args:
        result: Takes the comment.
        key: Key of the reference, which is known.
        section: The section that the program reads beside the options of all.
        program: The probe's task, `train` or `decode`.
    """
    prefix = key.partition(".")[0]
    if "." in key and prefix != section:
        if key != "encoder_config.deterministic":
            result.count_for_others(prefix)
        return []
    spelling = _spelling(key)
    value = result.command.overrides[key]
    written = written_here(spelling, value)
    if key.endswith(".encoder_num"):
        if value not in (_last_epoch(result.command), "0"):
            result.leave_out(key, spelling.note)
        return []
    if program in spelling.unread_by:
        result.leave_out(key, f"never read by this program of the reference; {written} would do it here")
        return []
    takes_keys = program in ("train", "decode")
    if key == "seed" and not takes_keys and value != _UNSEEDED:
        result.leave_out(key, "a fit is seeded with 0 here, and the fits of --seeds N with 0 to N-1")
        return []
    if written is None or (written and takes_keys == written.startswith("--")):
        result.leave_out(key, spelling.note)
        return []
    if value.lower() in spelling.values:
        return written.split()
    return [spelling.ours, value] if written.startswith("--") else [written]  # a value stays one word


def _place(result: _Translation, section: str, reads_gru: bool) -> list[str]:
    """The options for the module and the layer that a program reads."""
    command = result.command
    module = command.overrides.get(f"{section}.encoder_module", "-1")
    layer = command.overrides.get(f"{section}.encoder_layer", "-1")
    is_cpc = CONFIGS[command.config].model.startswith("cpc")
    if reads_gru:
        if (module, layer) != ("-1", "-1") and section != "phones_classifier_config":
            result.notes.append(
                "bias=True reads the GRU, and stops there at a module or layer; add bias=False for those"
            )
        return []
    if is_cpc and layer == "-1":
        result.notes.append(
            "encoder_layer=-1 of a CPC is the audio itself there, and stops; here the last convolution"
        )
    if CONFIGS[command.config].model == "cpc" and layer == "5":
        result.notes.append(
            "encoder_layer=5 of this CPC is the output of its linear head, which no option here reads"
        )
    if not is_cpc and layer != "-1":
        result.notes.append(f"encoder_layer={layer} stops there for all but CPC")
    if is_cpc:
        return ["--layer", layer]
    words = ["--module", str(_LAST_CONVOLUTIONS) if module == "-1" else module]
    return words if layer == "-1" else [*words, "--layer", layer]


def _corpus(result: _Translation, section: str) -> Corpus:
    """The corpus that a section names, or else the config file."""
    key = f"{section}.dataset.dataset"
    number = result.command.overrides.get(key)
    if number is None:
        return CONFIGS[result.command.config].corpus
    corpus = DATASETS.get(number)
    if corpus is None:
        raise ConfigError(
            f"{key}={shown(number)} is no speech of the public reference; its numbers are 1, 3, 4 and 5"
        )
    if number == "3":
        result.leave_out(
            key, "a subset; `vgim data prepare librispeech --train-list FILE --test-list FILE` makes it"
        )
    if number in ("5", "6"):
        result.leave_out(key, "the number that Artificial Speech had earlier; it is 4 now")
    return corpus


def _other_defaults(preset: str, overrides: list[str]) -> list[str]:
    """Values of the reference's configs that `preset` has otherwise, as in the published commands."""
    ours = flatten(dump(load_config(preset).config))
    given = {override.partition("=")[0] for override in overrides}
    found: list[str] = []
    for spelling in ENCODER:
        written = written_here(spelling, spelling.default) if spelling.default else None
        if not written or spelling.is_share or written.startswith(("--", "vgim ")):
            continue
        key = written.partition("=")[0]
        if key == "objective.kld_weight" and ours["model.family"] != "sim":
            continue
        if key not in given and flatten(parse_override(written))[key] != ours[key]:
            found.append(written)
    return found


def _run_name(command: ReferenceCommand) -> str:
    """Name of the encoder's run: the experiment's, or the preset's if the command names no experiment."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", command.experiment).strip("._-")
    if name or command.experiment:
        return name or "run"
    number = command.overrides.get("encoder_config.dataset.dataset", "")
    corpus = DATASETS.get(number) or CONFIGS[command.config].corpus
    return f"published-{corpus}-{CONFIGS[command.config].model}"


def _samples(command: ReferenceCommand) -> bool:
    """Whether the reference reads samples of the posterior."""
    return CONFIGS[command.config].model == "sim" and not _is(command, "encoder_config.deterministic", "true")


def _is(command: ReferenceCommand, key: str, value: str) -> bool:
    return command.overrides.get(key, "").lower() == value


def _last_epoch(command: ReferenceCommand) -> str:
    try:
        return str(int(command.overrides.get("encoder_config.num_epochs", _EPOCHS)) - 1)
    except ValueError:
        return ""


def _spelling(key: str) -> Spelling:
    found = find_spelling(key)
    assert found is not None, key
    return found
