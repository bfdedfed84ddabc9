"""`vgim latents`."""

from __future__ import annotations

import click

from vgim.cli.color import table_width
from vgim.cli.live import show_progress
from vgim.cli.messages import say
from vgim.cli.options import (
    Count,
    LazyNames,
    checkpoint_option,
    device_option,
    json_option,
    pdf_option,
    run_argument,
    seed_type,
)
from vgim.cli.results import echo_json
from vgim.errors import ConfigError
from vgim.text import shorten, whole_number


@click.command()
@run_argument
@click.option("--module", type=int, help="Index of the module, counted from the input; -1 is the last [-1].")
@click.option("--all-modules", is_flag=True, help="Analyze every module.")
@click.option(
    "--only",
    type=LazyNames("vgim.latents.registry:ANALYSES"),
    help="Analyses to make, separated by commas; all by default.",
)
@click.option("--compare", multiple=True, metavar="RUN", help="Another run to compare with. Repeatable.")
@checkpoint_option
@click.option("--decoder", help="Name of the decoder, a folder below RUN/decoder.")
@click.option("--shards", help="Shards to read, instead of those the run was trained on.")
@click.option(
    "--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True
)
@click.option(
    "--max-utterances",
    type=Count(2),
    default=200,
    show_default=True,
    help="Utterances read from a split, at most.",
)
@click.option(
    "--max-frames",
    type=Count(100),
    default=8_000,
    show_default=True,
    help="Frames sampled, at most.",
)
@click.option(
    "--map-frames",
    type=Count(50, 100_000),
    default=1_000,
    show_default=True,
    help="Frames in the map, at most.",
)
@click.option(
    "--pairs",
    type=Count(2, 10_000),
    default=24,
    show_default=True,
    help="Pairs of utterances whose interpolations are decoded.",
)
@click.option(
    "--dims",
    metavar="N,N,...",
    help="Numbers of dimensions for total correlation by the published estimator and ours [10,50,100,512 where the "
    "module has more, and all].",
)
@click.option(
    "--subsets",
    type=Count(2, 1_000),
    default=16,
    show_default=True,
    help="Random subsets of the frames, for the spread of correlations.",
)
@click.option("--seed", type=seed_type, default=0, show_default=True, help="Seed of all random draws.")
@device_option
@pdf_option
@click.option("--anew", is_flag=True, help="Make analyses again that were made of the same weights and data.")
@json_option
def latents(
    run: str,
    module: int | None,
    all_modules: bool,
    only: str | None,
    compare: tuple[str, ...],
    dims: str | None,
    shards: str | None,
    pdf: bool,
    anew: bool,
    as_json: bool,
    **options: object,
) -> None:
    """Analyze an encoder's latents: what each dimension holds, and how smooth the space is.

    RUN is a path, a URI, or the name of a run under $VGIM_HOME/runs. Writes RUN/latents/ and prints a table.
    An interrupted call goes on where it stopped. Needs the extra analysis.
    """
    from shlex import quote

    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_path, resolve_run_path
    from vgim.latents.registry import ANALYSES
    from vgim.runs.layout import CHECKPOINTS, LATENTS

    if all_modules and module is not None:
        raise ConfigError(f"--module {module} and --all-modules exclude each other; give one")
    names = (
        list(dict.fromkeys(name.strip() for name in only.split(","))) if only is not None else list(ANALYSES)
    )
    for name in names:
        if name not in ANALYSES:
            raise ConfigError(f"--only {name!r} is no analysis; use {', '.join(ANALYSES)}")
    where = resolve_run_path(run, "RUN")
    others = [resolve_run_path(other, "--compare") for other in compare]
    refuse_job_folder("RUN", where)
    for other in others:
        refuse_job_folder("--compare", other)
    if shards is not None:
        shards = resolve_path(shards, "--shards")
        refuse_job_folder("--shards", shards)

    chosen = {
        **options,
        "module": None if all_modules else -1 if module is None else module,
        "only": tuple(names),
        "dims": _parse_dims(dims),
        "shards": shards,
    }
    with show_progress(is_quiet=as_json) as progress:
        with progress.stage("loading torch"):
            from vgim.latents.job import analyze
            from vgim.latents.result import LatentOptions, format_table

        results = analyze(where, LatentOptions.model_validate(chosen), others, progress, pdf=pdf, anew=anew)
    if as_json:
        echo_json(results)
    else:
        click.echo(format_table(results, table_width()))
        run = where.partition(f"/{CHECKPOINTS}/")[0]
        say(f"pictures and tables are in {run}/{LATENTS}; a page of them: vgim report {quote(run)}")


def _parse_dims(text: str | None) -> tuple[int, ...]:
    """Read `10,50,100`.

    Raises:
        ConfigError: A part is no integer above 1.
    """
    if text is None:
        return ()
    dims: dict[int, None] = {}
    for part in text.split(","):
        number = whole_number(part.strip())
        if number is None or number < 2:
            raise ConfigError(
                f"--dims {shorten(text)}: '{shorten(part)}' is no number of dimensions; give integers from 2, such as "
                "10,50"
            )
        dims[number] = None
    return tuple(dims)
