"""`vgim data`: make a corpus, turn a corpus into shards, look at shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vgim.cli.options import json_option
from vgim.errors import DataError

if TYPE_CHECKING:
    from vgim.data.corpora.corpus import Corpus

Verb = TypeVar("Verb", bound=Callable[..., Any])

PREPARE_OPTIONS = (
    click.option("--corpus", required=True, help="Folder or URI of the corpus."),
    click.option("--out", required=True, help="Folder or URI for the shards."),
    click.option("--codec", type=click.Choice(["pcm16", "flac"]), help="pcm16 (default) or half the size."),
    click.option("--train-list", metavar="FILE", help="Utterances of the train split, an id a line."),
    click.option("--validation-list", metavar="FILE", help="Utterances of the validation split."),
    click.option("--test-list", metavar="FILE", help="Utterances of the test split."),
    click.option("--validation-fraction", type=float, help="Share for validation without a list [0.1]."),
    click.option("--test-fraction", type=float, help="Share for test without a list [0.1]."),
    click.option("--seed", type=int, help="Seed of the split by hash [0]."),
    click.option("--labels", metavar="FILE", help="Phone labels; by default phones.txt of the corpus."),
    click.option("--min-samples", type=int, help="Skip utterances with fewer samples at 16 kHz."),
    click.option("--resample/--no-resample", default=None, help="Convert other rates, or skip such files."),
    click.option("--mixdown", is_flag=True, help="Average the channels of stereo files, else skipped."),
    click.option("--strict", is_flag=True, help="Fail at the first file that would be skipped."),
    click.option("--workers", type=click.IntRange(min=0), help="Ray tasks at once; 0 writes without Ray."),
)


def prepare_options(verb: Verb) -> Verb:
    """The options of every `vgim data prepare` verb."""
    for option in reversed(PREPARE_OPTIONS):
        verb = option(verb)
    return verb


@click.group()
def data() -> None:
    """Make a corpus, turn a corpus into shards, look at shards."""


@data.command()
@click.option("--out", required=True, help="Folder or URI for the corpus.")
@click.option("--speakers", type=click.IntRange(min=1), default=12, show_default=True)
@click.option("--utterances", type=click.IntRange(min=1), default=360, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def synth(out: str, speakers: int, utterances: int, seed: int) -> None:
    """Make the embedded corpus: synthetic speech with known phones, in LibriSpeech's layout."""
    from vgim.cli.shards import ProgressLine
    from vgim.data.corpora.synthetic import synthesize

    made = synthesize(
        out, speakers=speakers, utterances=utterances, seed=seed, progress=ProgressLine().of_utterances
    )
    before = " (it was there already)" if made.unchanged else ""
    click.echo(
        f"{out}: {made.utterances:,} utterances of {made.speakers} speakers, {made.hours:.2f} hours, "
        f"{made.phones} phones{before}"
    )


@data.group()
def prepare() -> None:
    """Turn a corpus into Parquet shards with a manifest; again, it goes on where it stopped."""


@prepare.command()
@click.option(
    "--subset", "subsets", multiple=True, help="Only this subset, e.g. train-clean-100; repeatable."
)
@prepare_options
def librispeech(corpus: str, subsets: tuple[str, ...], **options: Any) -> None:
    """LibriSpeech's layout: SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-UTTERANCE.flac."""
    from vgim.data.corpora.librispeech import find_librispeech

    _prepare(find_librispeech(corpus, subsets=subsets or None), **options)


@prepare.command("artificial-speech")
@click.option("--part", type=click.Choice(["words", "syllables"]), default="words", show_default=True)
@prepare_options
def artificial_speech(corpus: str, part: Any, **options: Any) -> None:
    """Artificial Speech: the words of reshuffledv2, or the syllables cut from them."""
    from vgim.data.corpora.artificial_speech import find_artificial_speech

    _prepare(find_artificial_speech(corpus, part=part), **options)


def _prepare(corpus: Corpus, *, out: str, **options: Any) -> None:
    from vgim.cli.shards import ProgressLine, describe
    from vgim.cluster.connect import refuse_scratch
    from vgim.data.shards.prepare import prepare as write_shards

    refuse_scratch("--out", str(Path(out).absolute()) if "://" not in out else out)
    given = {name: value for name, value in options.items() if value is not None}
    click.echo(describe(out, write_shards(corpus, out, progress=ProgressLine().of_shards, **given)))


@data.command()
@click.argument("shards")
@click.option("--verify", is_flag=True, help="Hash every shard and compare with the manifest.")
@json_option
def info(shards: str, verify: bool, as_json: bool) -> None:
    """Say what a shard folder holds."""
    from vgim.cli.shards import describe
    from vgim.data.shards import manifest as manifests

    manifest = manifests.read_manifest(shards)
    manifests.check_shards_present(shards, manifest)
    click.echo(manifest.model_dump_json(indent=2) if as_json else describe(shards, manifest))
    if verify:
        if problems := manifests.verify(shards):
            raise DataError("\n".join(f"{shards}: {problem}" for problem in problems))
        click.echo("every shard is as it was written", err=True)
