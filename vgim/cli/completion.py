"""What the shell completes: presets, config keys and their values, runs, sweep and experiment files.

The functions are `shell_complete` callbacks of click arguments. They run at each press of Tab, so they import no torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

Items = list[CompletionItem]
_ONE_WORD = re.compile(r"[\w.+@%:,-]+")
"""Names that a shell takes as they are; the shells put offered names on the line without quotes."""


def complete_preset(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Presets that are meant to be run, with the first line of each, and files."""
    from vgim.config.presets import listed_presets

    return [CompletionItem(incomplete, "file"), *_headed(listed_presets(), incomplete)]


def complete_sweep(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Sweep files that come with vgim, and files."""
    from vgim.config.presets import known_sweeps

    return [CompletionItem(incomplete, "file"), *_headed(known_sweeps(), incomplete)]


def complete_experiment(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Files of experiments that come with vgim, and files."""
    from vgim.config.presets import known_experiments

    return [CompletionItem(incomplete, "file"), *_headed(known_experiments(), incomplete)]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Names of the runs under $VGIM_HOME/runs, and folders."""
    from vgim.config.schema import default_home
    from vgim.runs.layout import RECORD

    root = Path(os.path.expanduser(os.path.expandvars(default_home()))) / "runs"  # noqa: PTH111 (pathlib's raises)
    try:
        found = sorted(path.parent.name for path in root.glob(f"*/{RECORD}"))
    except OSError:  # Tab has nowhere to say what is wrong; the command does
        found = []
    return [
        CompletionItem(incomplete, "dir"),
        *(
            CompletionItem(name)
            for name in found
            if name.startswith(incomplete) and _ONE_WORD.fullmatch(name)
        ),
    ]


def complete_preset_or_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """What `complete_preset` and `complete_run` offer together."""
    return complete_preset(ctx, param, incomplete) + complete_run(ctx, param, incomplete)[1:]


def complete_override(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Keys of a run's config, or a section at a time; after `=`, the values of a key that has a few."""
    from vgim.config.schema import RunConfig

    return _keys_or_values(RunConfig, incomplete)


def complete_decoder_override(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """As `complete_override`, for a decoder's config."""
    from vgim.config.decoder import DecoderConfig

    return _keys_or_values(DecoderConfig, incomplete)


def _headed(files: Mapping[str, Path], incomplete: str) -> Iterable[CompletionItem]:
    from vgim.config.presets import headline

    return [
        CompletionItem(name, help=headline(path) or None)
        for name, path in sorted(files.items())
        if name.startswith(incomplete)
    ]


def _keys_or_values(root: Any, incomplete: str) -> Items:
    from vgim.config.keys import config_keys

    keys = config_keys(root)
    name, given, value = incomplete.partition("=")
    if given:
        key = keys.leaves.get(name)
        if key is None:
            return []
        if name in ("data.shards", "storage.root"):
            return [CompletionItem(value, "dir")]
        return [CompletionItem(f"{name}={choice}") for choice in key.choices if choice.startswith(value)]
    return [
        CompletionItem(f"{leaf}=", help=key.doc.partition(". ")[0] or None)
        for leaf, key in keys.leaves.items()
        if leaf.startswith(name)
    ]


class _Bash(BashComplete):
    """Bash takes `KEY=VALUE` for three words, and would put a space after a key."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_WORDS"])
        at = int(os.environ["COMP_CWORD"])
        joined = join_assignments(words[1 : at + 1])
        self._is_split = at < len(words) and "=" not in words[at].strip("=") and "=" in (joined or [""])[-1]
        return (joined, "") if at >= len(words) else (joined[:-1], joined[-1])

    def format_completion(self, item: CompletionItem[Any]) -> str:
        value = item.value.partition("=")[2] if self._is_split and item.type == "plain" else item.value
        return f"{item.type},{value}"


class _Zsh(ZshComplete):
    """Zsh would put a space after a key, and drops an empty word of the reply."""

    source_template = ZshComplete.source_template.replace(
        "_describe -V unsorted completions_with_descriptions -U",
        "[[ $completions_with_descriptions[1] == *=:* ]] && nospace=(-S '')\n"
        '        _describe -V unsorted completions_with_descriptions -U "${nospace[@]}"',
    ).replace("local -a response\n", "local -a response nospace\n")

    def format_completion(self, item: CompletionItem[Any]) -> str:
        return super().format_completion(item if item.value else CompletionItem("_", item.type))


def join_assignments(words: list[str]) -> list[str]:
    """Words as the user wrote them, of words that a shell split at `=`."""
    joined: list[str] = []
    for word in words:
        if joined and (word.startswith("=") or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


for _shell in (_Bash, _Zsh):
    add_completion_class(_shell)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that lets SHELL complete commands, presets, config keys and runs.

    \b
    bash: echo 'eval "$(vgim completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(vgim completion zsh)"' >> ~/.zshrc      (after compinit)
    fish: vgim completion fish > ~/.config/fish/completions/vgim.fish
    """
    shell_class: type[ShellComplete] | None = get_completion_class(shell)
    assert shell_class is not None  # one of the three that click knows
    click.echo(shell_class(ctx.find_root().command, {}, "vgim", "_VGIM_COMPLETE").source())
