"""`vgim data`: download or synthesize a corpus, turn a corpus into shards, describe shards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from vgim.cli.align import align
from vgim.cli.download import download
from vgim.cli.messages import say
from vgim.cli.options import Count, FiniteRange, json_option, seed_type
from vgim.cli.reshard import merge, split, subset
from vgim.errors import DataError
from vgim.text import plural

if TYPE_CHECKING:
    from vgim.data.corpora.kind import CorpusKind, CorpusOption, OptionInput


def prepare_options() -> list[click.Option]:
    """The options of every `vgim data prepare` verb."""
    return [
        click.Option(
            ["--corpus"],
            required=True,
            help="The corpus by path or URI: a folder, a .tar or .tar.gz, or a folder of these. Archives "
            "are read without unpacking them.",
        ),
        click.Option(
            ["--out"],
            required=True,
            help="Folder or URI for the shards. Presets name the one that they read in data.shards, such as "
            "'$VGIM_HOME/shards/librispeech'.",
        ),
        click.Option(
            ["--codec"],
            type=click.Choice(["pcm16", "flac"]),
            help="pcm16 is fast to read, flac half the size [pcm16].",
        ),
        click.Option(["--train-list"], metavar="FILE", help="Utterance ids of the train split, one a line."),
        click.Option(["--validation-list"], metavar="FILE", help="Utterance ids of the validation split."),
        click.Option(["--test-list"], metavar="FILE", help="Utterance ids of the test split."),
        click.Option(
            ["--validation-fraction"],
            type=FiniteRange(0, 1, max_open=True),
            help="Share of train for validation, without --validation-list; 0 makes no validation split [0.1].",
        ),
        click.Option(
            ["--test-fraction"],
            type=FiniteRange(0, 1, max_open=True),
            help="Share of utterances for test, without lists [0.1].",
        ),
        click.Option(
            ["--disjoint-speakers"],
            is_flag=True,
            help="Keep each speaker in one split; shares are then of the speakers.",
        ),
        click.Option(
            ["--seed"], type=seed_type, help="Seed of the random split and of the order in shards [0]."
        ),
        click.Option(
            ["--labels"],
            metavar="FILE|FOLDER",
            help="Phone labels: a file, or a folder of TextGrids or .phn files [phones.txt of the corpus, if there is "
            "one].",
        ),
        click.Option(
            ["--min-samples"],
            type=Count(0),
            help="Skip utterances with fewer samples at 16 kHz [set by the corpus].",
        ),
        click.Option(
            ["--max-hours"],
            type=FiniteRange(0, min_open=True),
            help="Take this many hours at most, of each speaker in turn; few hours are a part of more [all].",
        ),
        click.Option(
            ["--resample/--no-resample"],
            default=None,
            help="Convert files of other sample rates to 16 kHz, or skip them [artificial-speech and folder convert, "
            "librispeech skips].",
        ),
        click.Option(
            ["--mixdown"], is_flag=True, help="Average the channels of stereo files instead of skipping them."
        ),
        click.Option(["--strict"], is_flag=True, help="Fail at the first file that would be skipped."),
        click.Option(
            ["--workers"],
            type=Count(0, 100_000),
            help="Ray tasks at once; 0 writes without Ray [Ray above 1 GB of audio].",
        ),
    ]


class PrepareGroup(click.Group):
    """A verb for each corpus of the registry. Only `vgim data prepare` imports it, so `vgim --help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all corpora that can be prepared."""
        from vgim.data.corpora.registry import preparable_corpora

        return sorted(preparable_corpora())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of a corpus, or None."""
        from vgim.data.corpora.registry import CORPORA, preparable_corpora

        return prepare_verb(CORPORA[cmd_name]) if cmd_name in preparable_corpora() else None


def prepare_verb(kind: CorpusKind) -> click.Command:
    """The command `vgim data prepare NAME`, with the options that the corpus declares."""

    def run(corpus: str, out: str, **options: OptionInput) -> None:
        _prepare(kind.name, corpus, out, options)

    params: list[click.Parameter] = [*(corpus_option(option) for option in kind.options), *prepare_options()]
    return click.Command(kind.name, callback=run, params=params, help=kind.help)


def corpus_option(option: CorpusOption) -> click.Option:
    """The command-line option that a corpus declares."""
    return click.Option(
        [option.flag, option.keyword],
        type=click.Choice(option.choices) if option.choices else None,
        default=option.default,
        show_default=option.default is not None,
        multiple=option.is_repeatable,
        help=option.help,
    )


def _prepare(name: str, corpus: str, out: str, options: dict[str, OptionInput]) -> None:
    from vgim.cli.live import show_progress
    from vgim.cli.shards import describe
    from vgim.cluster.working_dir import refuse_job_folder
    from vgim.config.paths import resolve_path
    from vgim.data.shards.prepare_named import prepare_named

    corpus, out = resolve_path(corpus, "--corpus"), resolve_path(out, "--out")
    refuse_job_folder("--out", out)
    given = {keyword: value for keyword, value in options.items() if value != ()}
    with show_progress() as progress:
        manifest = prepare_named(name, corpus, out, progress=progress, **given)
    say(f"{out} holds {plural(manifest.num_utterances, 'utterance')}")
    click.echo(describe(out, manifest))


@click.group()
def data() -> None:
    """Download or synthesize a corpus, turn a corpus into shards, describe shards."""


data.add_command(align)
data.add_command(download)
for verb in (merge, split, subset):
    data.add_command(verb)


@data.command()
@click.option("--out", required=True, help="Folder or URI for the corpus.")
@click.option("--speakers", type=Count(1, 100_000), default=12, show_default=True, help="Number of voices.")
@click.option(
    "--utterances",
    type=Count(1, 10_000_000),
    default=360,
    show_default=True,
    help="Number of utterances of all voices together.",
)
@click.option(
    "--seed",
    type=seed_type,
    default=0,
    show_default=True,
    help="The same seed gives the same bytes.",
)
def synth(out: str, speakers: int, utterances: int, seed: int) -> None:
    """Synthesize the embedded corpus. It is speech with known phones, in LibriSpeech's layout."""
    from vgim.cli.live import show_progress
    from vgim.config.paths import resolve_path
    from vgim.data.corpora.synthetic import synthesize

    out = resolve_path(out, "--out")
    with show_progress() as progress:
        summary = synthesize(out, speakers=speakers, utterances=utterances, seed=seed, progress=progress)
    note = " (it was there already)" if summary.unchanged else ""
    click.echo(
        f"{out}: {plural(summary.utterances, 'utterance')} of {plural(summary.speakers, 'speaker')}, "
        f"{summary.hours:.2f} hours, "
        f"{summary.phones} phones{note}"
    )


@data.group(cls=PrepareGroup)
def prepare() -> None:
    """Turn a corpus into Parquet shards. An interrupted call goes on where it stopped."""


@data.command()
@click.argument("shards")
@click.option(
    "--verify",
    "with_hashes",
    is_flag=True,
    help="Hash every file and compare it with the manifest: every damaged one is named.",
)
@click.option(
    "--phones",
    "with_phones",
    is_flag=True,
    help="Also how often each phone is spoken, and how long; reads all labels.",
)
@json_option
def info(shards: str, with_hashes: bool, with_phones: bool, as_json: bool) -> None:
    """Describe a shard folder. Shows splits, hours, speakers, phone labels and skipped files."""
    from vgim.cli.color import table_width
    from vgim.cli.live import show_progress
    from vgim.cli.shards import describe, describe_phones
    from vgim.config.paths import resolve_path
    from vgim.data.shards.check import check_shards_present, verify
    from vgim.data.shards.manifest import read_manifest

    shards = resolve_path(shards, "SHARDS")
    manifest = read_manifest(shards)
    if not with_hashes:  # hashing names every damaged file
        check_shards_present(shards, manifest)
    counts = None
    if with_phones:
        from vgim.data.shards.phone_counts import count_phones
        from vgim.storage import Location

        with show_progress(is_quiet=as_json) as progress:
            counts = count_phones(Location(shards), manifest, progress)
    if as_json:
        content = manifest.model_dump(mode="json")
        click.echo(json.dumps(content | ({} if counts is None else {"phones": counts.to_json()}), indent=2))
    else:
        click.echo(describe(shards, manifest))
        if counts is not None:
            click.echo(describe_phones(counts, table_width()))
    if with_hashes:
        with show_progress(is_quiet=as_json) as progress:
            problems = verify(shards, progress)
        if problems:
            raise DataError("\n".join(f"{shards}: {problem}" for problem in problems))
        say("every shard is as it was written")
