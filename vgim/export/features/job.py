"""`vgim features`: the features of a corpus, from names to a folder with an index."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vgim.claims.claim import Claim, take_claim
from vgim.claims.ticket import Work
from vgim.errors import ConfigError, DataError, StorageError, VgimError, told_when_stopped
from vgim.export.description import weights_bytes
from vgim.export.features.corpus import FeatureCorpus, find_corpus
from vgim.export.features.folder import (
    INDEX,
    RECORD,
    FeaturesRecord,
    begin,
    check_out,
    clear,
    finished_parts,
    refusal,
)
from vgim.export.features.options import FeatureOptions
from vgim.export.features.part import (
    PROGRESS_DIR,
    FeatureWork,
    PartRecord,
    SkippedRow,
    record_path,
    write_part,
    write_part_on_ray,
)
from vgim.pretrained.device import find_device
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.pretrained.hub import HUB
from vgim.progress import SILENT, Progress
from vgim.runs.environment import git_revision, package_versions, utc_now
from vgim.storage import Location
from vgim.text import first_problem, plural

WRITING = Work("writing features into", "choose another --out")
NOTES_SHOWN = 5


def write_features(
    where: str,
    corpus: str,
    out: str,
    options: FeatureOptions,
    *,
    which: str = "last",
    device: str = "auto",
    workers: int = 0,
    address: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> FeaturesRecord:
    """Write the features of every utterance of a corpus.

    Args:
        where: Run, checkpoint, exported folder or hf://OWNER/NAME.
        corpus: Shard folder, folder of sound files, sound file, or text file with a sound file in each line.
        out: Folder or URI for the features.
        options: What to write.
        which: `last`, or `best` for the checkpoint of lowest validation loss.
        device: auto, cpu or cuda.
        workers: Ray tasks at the same time; 0 writes in this process.
        address: Address of the Ray cluster.
        overwrite: Delete other features that `out` holds.
        progress: Where to report.

    Raises:
        ConfigError: An option does not fit the encoder, or `out` holds features of another command.
        DataError: The corpus has no audio that can be encoded, or is damaged.
        StorageError: Storage cannot be read or written.
        VgimError: There is no such encoder.
    """
    folder = Location(out)
    found = find_corpus(corpus, options.splits)
    with progress.stage("loading the encoder"):
        encoder = load_encoder(where, which=which, device=find_device(device, "--device"))
    modules = _modules(encoder, options)
    source = encoder.checkpoint.location
    work = FeatureWork(
        out=folder.uri,
        # On other machines there is no cache of the hub's files yet.
        encoder=f"{where.partition('@')[0]}@{source.name}" if where.startswith(HUB) else source.uri,
        modules=modules,
        kind=options.kind,
        form=options.form,
        seed=options.seed,
        device=device,
    )
    identity = _identity(encoder, work, found)
    check_out(folder)
    if options.seed and options.kind != "z":
        progress.message(
            f"note: the seed {options.seed} has no effect on features of the kind {options.kind}; only z is drawn"
        )
    with take_claim(folder, WRITING, say=progress.message) as held:
        if overwrite and refusal(folder, identity) is not None:
            clear(folder)
        if (done := begin(folder, identity)) is not None:
            progress.message(f"{folder.uri} holds these features already; nothing to do")
            return done
        kept = "the parts that are finished are kept, and the same command goes on with the others"
        with told_when_stopped(progress.message, kept):
            parts = _write_missing(work, found, encoder, workers, address, held, progress)
        held.ticket.check()
        return _finish(folder, identity, where, encoder, work, found, parts, progress)


def _write_missing(
    work: FeatureWork,
    corpus: FeatureCorpus,
    encoder: FrozenEncoder,
    workers: int,
    address: str | None,
    held: Claim,
    progress: Progress,
) -> list[PartRecord]:
    """Write the parts that are not finished yet, and return the records of all."""
    folder = Location(work.out)
    records = finished_parts(folder, corpus.parts, progress.message)
    missing = [part for part in corpus.parts if part.name not in records]
    num_done = corpus.num_utterances - sum(part.num_utterances for part in missing)
    if num_done:
        progress.message(f"{num_done:,} of {plural(corpus.num_utterances, 'utterance')} were written earlier")
    with progress.stage(
        "writing features", total=corpus.num_utterances, unit="utterance", done=num_done
    ) as stage:
        if not workers:
            for part in missing:
                held.raise_if_lost()
                records[part.name] = write_part(work, part, encoder, stage.advance)
        elif missing:
            from vgim.cluster.tasks import run_tasks

            def ended(number: int) -> None:
                held.raise_if_lost()
                stage.advance(missing[number].num_utterances)

            results = run_tasks(
                partial(write_part_on_ray, work),
                missing,
                progress.message,
                workers=workers,
                device=work.device,
                address=address,
                progress=progress,
                ended=ended,
            )
            _raise_first(results)
    return [records.get(part.name) or _read_part(record_path(folder, part)) for part in corpus.parts]


def _raise_first(results: Iterable[VgimError | None]) -> None:
    failed = [error for error in results if error is not None]
    if failed:
        others = f" ({len(failed) - 1} other parts failed too)" if len(failed) > 1 else ""
        raise type(failed[0])(f"{failed[0]}{others}; the same command goes on with what is missing")


def _modules(encoder: FrozenEncoder, options: FeatureOptions) -> tuple[int, ...]:
    stack = encoder.encoder
    modules = tuple(sorted({stack.module(index).index for index in options.modules or range(len(stack))}))
    if options.kind == "mu":
        return modules
    without = [index for index in modules if stack.module(index).posterior is None]
    if encoder.config.family != "sim" or (options.kind == "std" and without):
        which = f"module {without[0]}" if without else f"an encoder of family {encoder.config.family}"
        raise ConfigError(
            f"--kind {options.kind}, but {which} has no posterior; use --kind mu, or other modules"
        )
    return modules


def _identity(encoder: FrozenEncoder, work: FeatureWork, corpus: FeatureCorpus) -> str:
    content = {
        "version": 1,
        "weights": hashlib.sha256(weights_bytes(encoder)).hexdigest(),
        "normalize": [encoder.normalizer.mode, str(encoder.normalizer.corpus)],
        "modules": work.modules,
        "kind": work.kind,
        "form": work.form,
        "seed": work.seed if work.kind == "z" else 0,
        "corpus": corpus.digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _finish(
    folder: Location,
    identity: str,
    where: str,
    encoder: FrozenEncoder,
    work: FeatureWork,
    corpus: FeatureCorpus,
    parts: Sequence[PartRecord],
    progress: Progress,
) -> FeaturesRecord:
    """Write the index from the parts' records, and the record last."""
    rows = sorted(
        (row for part in parts for row in part.rows), key=lambda row: (row.module, row.utterance_id)
    )
    listed = [SkippedRow(utterance_id=item.utterance_id, reason=item.reason) for item in corpus.skipped]
    skipped = (*listed, *(row for part in parts for row in part.skipped))
    conversions: Counter[str] = Counter()
    for part in parts:
        conversions.update(part.conversions)
    for what, count in conversions.most_common():
        progress.message(f"note: {plural(count, 'file')}: {what}")
    for row in skipped[:NOTES_SHOWN]:
        progress.message(f"skipped {row.utterance_id}: {row.reason}")
    if len(skipped) > NOTES_SHOWN:
        progress.message(f"skipped {len(skipped) - NOTES_SHOWN:,} more; {RECORD} lists all")
    if not rows:
        raise DataError(f"{corpus.where} has no utterance that can be encoded; the reasons are above")
    run, checkpoint = where, encoder.checkpoint.location.uri
    buffer = io.BytesIO()
    columns = {name: [getattr(row, name) for row in rows] for name in type(rows[0]).model_fields}
    constant = {"run": run, "checkpoint": checkpoint}
    table = pa.table(
        {
            **columns,
            **{name: pa.array([text] * len(rows)).dictionary_encode() for name, text in constant.items()},
        }
    )
    pq.write_table(table, buffer)
    folder.child(INDEX).write_bytes_atomic(buffer.getvalue())
    record = FeaturesRecord(
        identity=identity,
        run=run,
        checkpoint=checkpoint,
        step=encoder.checkpoint.state.step,
        corpus=corpus.where,
        modules=work.modules,
        kind=work.kind,
        form=work.form,
        seed=work.seed,
        num_utterances=len({row.utterance_id for row in rows}),
        num_frames={m: sum(row.num_frames for row in rows if row.module == m) for m in work.modules},
        skipped=skipped,
        created=utc_now(),
        versions=package_versions(),
        git_revision=git_revision(),
    )
    folder.child(RECORD).write_bytes_atomic((record.model_dump_json(indent=1) + "\n").encode())
    folder.child(PROGRESS_DIR).delete()
    return record


def _read_part(path: Location) -> PartRecord:
    try:
        return PartRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StorageError(
            f"{path.uri} is damaged ({first_problem(error)}); the same command writes its part again"
        ) from error
