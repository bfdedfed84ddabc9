"""Write all planned shards of a preparation, in this process or as Ray Data tasks, and go on after an interruption."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from vgim.claims.record import CLAIMS
from vgim.data.archives.packed import narrowed
from vgim.data.archives.random_access import with_indexes
from vgim.data.corpora.corpus import Skipped
from vgim.data.shards.manifest import (
    MANIFEST_NAME,
    MARKER_NAME,
    PLAN_NAME,
    PROGRESS_DIR,
    SPLITS,
    is_complete,
)
from vgim.data.shards.plan import ShardPlan
from vgim.data.shards.record import ShardResult, read_record
from vgim.data.shards.unfinished import FAILED_NAME
from vgim.data.shards.write import ReadOptions, write_shard
from vgim.data.source import Source
from vgim.errors import DataError, VgimError
from vgim.progress import Progress, Stage
from vgim.storage import TEMPORARY_MARK, Location
from vgim.text import first_few, plural

Results = Generator[ShardResult, None, None]


def check_out(folder: Location) -> None:
    """Refuse a folder that holds something else than shards.

    Raises:
        DataError: The folder holds other files, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"--out {folder} is a file; choose a folder")
    if not folder.child(PROGRESS_DIR).exists():
        # other shard folders may lie inside, as shards/quickstart does in shards/; they are left alone
        others = [
            name
            for name in folder.list()
            if name != CLAIMS and (name in SPLITS or not is_complete(folder.child(name)))
        ]
        if others:
            raise DataError(
                f"--out {folder} holds other files ({first_few(others)}) and no shards; choose an empty or new folder"
            )


def begin(folder: Location, plan_hash: str, planned: Collection[str], verb: str = "prepare") -> None:
    """Mark a claimed folder as being prepared, and delete what an earlier preparation left in it.

    Args:
        folder: The folder.
        plan_hash: Hash of the plan.
        planned: Paths of all files that the plan writes below the folders of the splits.
        verb: The verb of `vgim data` that carries the plan out.
    """
    folder.child(PROGRESS_DIR, FAILED_NAME).delete()
    content = json.dumps({"plan": plan_hash, "verb": verb}).encode()
    folder.child(PROGRESS_DIR, PLAN_NAME).write_bytes_atomic(content)
    _sweep(folder, planned)


def begun_plan(folder: Location) -> str | None:
    """Hash of the plan that an earlier call began to carry out in a folder; None if there is none."""
    file = folder.child(PROGRESS_DIR, PLAN_NAME)
    try:
        content = json.loads(file.read_bytes()) if file.exists() else None
    except ValueError:
        return None
    return str(content.get("plan")) if isinstance(content, dict) else None


def _sweep(folder: Location, planned: Collection[str]) -> None:
    """Delete what a killed preparation left: its manifest, shards of another plan, and half-written files."""
    for name in (MARKER_NAME, MANIFEST_NAME):  # a manifest without marker describes what is not written yet
        folder.child(name).delete()
    for path, _ in folder.list_files():
        *above, name = path.split("/")
        is_ours = not above or above[0] in SPLITS or above[0] == PROGRESS_DIR  # not of shard folders inside
        is_unplanned = bool(above) and above[0] in SPLITS and path not in planned
        if is_ours and (TEMPORARY_MARK in name or is_unplanned):
            folder.child(path).delete()


def fail_strictly(item: Skipped, root: Source) -> None:
    """Raise DataError for a file that `--strict` does not let pass."""
    raise DataError(
        f"{root.uri}/{item.path_or_id}: {item.kind}: {item.reason}; mend or remove the file, or leave out "
        "--strict to skip it"
    )


def write_all(
    plans: Sequence[ShardPlan],
    out: Location,
    reading: ReadOptions,
    use_ray: bool,
    workers: int | None,
    progress: Progress,
    check: Callable[[], None],
    look: Callable[[ShardResult], None] = lambda result: None,
) -> list[ShardResult]:
    """Write the shards that are not finished yet.

    Args:
        plans: All shards of the preparation.
        out: The shard folder.
        reading: How files become rows.
        use_ray: Write in Ray Data tasks instead of this process.
        workers: Ray tasks at once; None leaves the number to Ray Data.
        progress: Where to report how many utterances are read.
        check: Called before the first shard and after each; raises an error to end the work.
        look: Called with the result of each shard, those of earlier calls included; raises an error to end the work.

    Returns:
        Results of all shards, those of earlier calls included, ordered by split and number.
    """
    results, num_changed = _finished_earlier(plans, out)
    if num_changed:
        progress.message(
            f"files of {plural(num_changed, 'finished shard')} have changed since; they are written again"
        )
    for result in results:
        look(result)
        if reading.strict and result.skipped:  # the earlier call may not have been strict
            fail_strictly(result.skipped[0], plans[0].corpus_root)
    reused = {(result.split, result.number) for result in results}
    missing = [plan for plan in plans if (plan.split, plan.number) not in reused]
    if reused:
        progress.message(f"{len(reused)} of {plural(len(plans), 'shard')} were finished earlier")
    check()
    if missing:
        root = with_indexes(plans[0].corpus_root, out.child(PROGRESS_DIR), progress)
        missing = [replace(plan, corpus_root=root) for plan in missing]
    if use_ray and missing:
        from vgim.cluster.connect import WITHOUT_RAY, ensure_ray

        ensure_ray(min_cpus=1, without_ray=WITHOUT_RAY, progress=progress)
    num_all, num_missing = (sum(len(plan.utterances) for plan in some) for some in (plans, missing))
    with progress.stage(
        "writing shards", total=num_all, unit="utterance", done=num_all - num_missing
    ) as stage:
        stage.update(detail=f"{len(results)}/{plural(len(plans), 'shard')}")
        writing = (
            _write_on_ray(missing, out, reading, workers, stage)
            if use_ray
            else _write_here(missing, out, reading, stage)
        )
        with closing(writing):
            for result in writing:
                if reading.strict and result.skipped:
                    fail_strictly(result.skipped[0], plans[0].corpus_root)
                look(result)
                results.append(result)
                stage.update(detail=f"{len(results)}/{plural(len(plans), 'shard')}")
                check()
    return sorted(results, key=lambda result: (SPLITS.index(result.split), result.number))


def _finished_earlier(plans: Sequence[ShardPlan], out: Location) -> tuple[list[ShardResult], int]:
    """Results of the shards that an earlier call finished, and the number of shards whose files have changed since."""
    kept, num_changed = [], 0
    for plan in plans:
        result = read_record(plan, out)
        if result is None:
            continue
        if result.sources in ("", plan.sources()):
            kept.append(result)
        else:
            num_changed += 1
    return kept, num_changed


def _write_here(plans: Sequence[ShardPlan], out: Location, reading: ReadOptions, stage: Stage) -> Results:
    for plan in plans:
        yield write_shard(plan, out, reading, stage.advance)


def _write_on_ray(
    plans: Sequence[ShardPlan],
    out: Location,
    reading: ReadOptions,
    workers: int | None,
    stage: Stage,
) -> Results:
    """Write each shard in a Ray Data task. Results come in any order."""
    if not plans:
        return
    import ray.data

    num_utterances = {(plan.split, plan.number): len(plan.utterances) for plan in plans}
    tasks = [{"task": pickle.dumps((_narrowed(plan), out.uri, reading))} for plan in plans]
    context = ray.data.DataContext.get_current()
    before = context.use_datasource_v2, context.enable_progress_bars
    context.use_datasource_v2 = context.enable_progress_bars = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        size = ray.data.TaskPoolStrategy(size=workers) if workers else None
        dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks))
        for row in dataset.map(_write_task, compute=size, num_cpus=1).iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])  # trusted: pickled in `_write_task`
            result = ShardResult.model_validate_json(row["result"])
            stage.advance(num_utterances[result.split, result.number])
            yield result
    finally:
        context.use_datasource_v2, context.enable_progress_bars = before
        logger.setLevel(level)


def _narrowed(plan: ShardPlan) -> ShardPlan:
    """The plan without what is known of other shards' files."""
    return replace(plan, corpus_root=narrowed(plan.corpus_root, [item.path for item in plan.utterances]))


def _write_task(row: dict[str, Any]) -> dict[str, Any]:
    """Write one shard on a Ray worker. A VgimError is returned: Ray would wrap a raised one in its traceback."""
    plan, out, reading = pickle.loads(row["task"])
    try:
        return {"result": write_shard(plan, Location(out), reading).model_dump_json(), "error": b""}
    except VgimError as error:
        return {"result": "", "error": pickle.dumps(error)}
