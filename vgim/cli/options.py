"""Arguments, options and a kind of group that several verbs share."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

import click
from click.shell_completion import CompletionItem

from vgim.cli.completion import complete_override, complete_preset, complete_run
from vgim.cluster.environment import default_environment
from vgim.errors import ConfigError

LIGHT_IMPORTS = {"OPENBLAS_NUM_THREADS": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
OBJECTS_BETWEEN_COLLECTIONS = 200_000
"""Python's own value is 700. Modules are many objects, and none of them garbage."""

P = ParamSpec("P")
R = TypeVar("R")

preset_argument = click.argument("preset", shell_complete=complete_preset)
run_argument = click.argument("run", shell_complete=complete_run)
overrides_argument = click.argument(
    "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_override
)
seed_type = click.IntRange(0, 2**63 - 1)
"""Type of options that seed random draws: what a signed integer of 64 bits holds."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
checkpoint_option = click.option(
    "--checkpoint", type=click.Choice(["last", "best"]), default="last", show_default=True
)
decoder_option = click.option("--decoder", metavar="NAME", help="Name of the decoder, if RUN has several.")
device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
address_option = click.option("--address", help="Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT.")
verbose_option = click.option("--verbose", is_flag=True, help="Show Ray's own log lines.")
pdf_option = click.option("--pdf", is_flag=True, help="Write each picture as PDF too, beside the PNG.")


def reads_only(command: Callable[P, R]) -> Callable[P, R]:
    """Mark the function of a command that computes little, and whose CPU time is that of its imports.

    numpy starts no threads when it is imported, which takes as much time as the rest of the import. pydantic looks for
    no plugins, for which it would read the metadata of every installed package. Python looks for garbage less often.
    """

    @wraps(command)
    def with_light_imports(*args: P.args, **options: P.kwargs) -> R:
        threshold = gc.get_threshold()
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *threshold[1:])
        try:
            with default_environment(LIGHT_IMPORTS):
                return command(*args, **options)
        finally:
            gc.set_threshold(*threshold)

    return with_light_imports


class WithDefault(click.Group):
    """A group whose first word is a command, or else the argument of the default one."""

    default = "run"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the default command's options below the group's own help."""
        super().format_options(ctx, formatter)
        command = self.commands[self.default]
        context = click.Context(command, info_name=self.default, parent=ctx)
        records = [
            parameter.get_help_record(context)
            for parameter in command.params
            if isinstance(parameter, click.Option)
        ]
        with formatter.section(f"Options of {self.default}"):
            formatter.write_dl([record for record in records if record is not None])


class Count(click.IntRange):
    """A range of integers whose upper end stops slips of the keyboard before they use up memory."""

    def __init__(self, min: int, max: int = 10**9) -> None:
        super().__init__(min, max)

    def _describe_range(self) -> str:
        return f"x>={self.min}"  # the help tells the end that matters


class FiniteRange(click.FloatRange):
    """A range of numbers without inf, and without nan, which is in any of click's ranges."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not finite; give a number such as 0.001", param, ctx)
        return number


if TYPE_CHECKING:
    TextType = click.ParamType[str]  # not every click that we accept can be subscripted when it runs
else:
    TextType = click.ParamType


class LazyChoice(TextType):
    """A choice whose names another room holds; they are read when a command needs them, not when it is defined.

    Args:
        source: "package.module:NAME" of a registry (a mapping by name) or of a `Literal` type.
    """

    name = "choice"

    def __init__(self, source: str) -> None:
        self.source = source

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the option accepts."""
        module, _, attribute = self.source.partition(":")
        choices = getattr(import_module(module), attribute)
        return tuple(get_args(choices) or choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(self._choice.convert(value, param, ctx))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._choice.get_metavar(param, ctx)

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str | None:
        return self._choice.get_missing_message(param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return self._choice.shell_complete(ctx, param, incomplete)

    @property
    def _choice(self) -> click.Choice[str]:
        return click.Choice(self.names)


class LazyNames(LazyChoice):
    """Several of the names that a `LazyChoice` accepts, separated by commas; the command checks and splits them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return f"{','.join(self.names)}"


def output_file(option: str, path: str, source: str = "") -> str:
    """The absolute path of a file that a command writes.

    Args:
        option: The option that names the file, such as `--out`.
        source: Absolute path of a file that the command reads; empty for none.

    Raises:
        ConfigError: The source, or a file of a run or of shards, is there, which the command would replace.
    """
    from vgim.config.paths import resolve_path
    from vgim.data.shards.manifest import INDEX_NAME, MANIFEST_NAME, MARKER_NAME
    from vgim.runs import layout
    from vgim.storage import Location

    resolved = resolve_path(path, option)
    kept = {layout.CONFIG, layout.RECORD, layout.METRICS, layout.STATE, layout.INDEX, layout.RESULT}
    kept |= {layout.WEIGHTS, layout.OPTIMIZER, layout.STATISTICS, INDEX_NAME, MANIFEST_NAME, MARKER_NAME}
    if PurePath(resolved).name in kept and Location(resolved).exists():
        raise ConfigError(
            f"{option} {path} is a file of a run or of shards, which would be lost; give another name"
        )
    if source and os.path.realpath(resolved) == os.path.realpath(source):
        raise ConfigError(f"{option} {path} is the file that is read, which would be lost; give another name")
    return resolved


def hide_bars_of_the_hub() -> None:
    """Let huggingface_hub draw no bars of its own between the lines of a command's display."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when the library is imported


def check_picture_file(option: str, file: str) -> None:
    """Check that a picture can be drawn into a file.

    Args:
        option: The option that names the file, such as `--picture`.

    Raises:
        ConfigError: The file is neither PNG nor PDF, or matplotlib is not installed.
    """
    from vgim.plotting import PDF, PNG

    if PurePath(file).suffix.lower() not in ("", PNG, PDF):
        raise ConfigError(f"{option} {file} is neither PNG nor PDF; let FILE end in {PNG} or {PDF}")
    refuse_without_matplotlib(f"{option} {file}")


def refuse_without_matplotlib(option: str) -> None:
    """Check that pictures can be drawn.

    Args:
        option: The option that asks for pictures, with its value.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    from vgim.plotting import can_draw

    if not can_draw():
        raise ConfigError(f"{option}, but matplotlib is not installed; pip install 'vgim[analysis]'")
