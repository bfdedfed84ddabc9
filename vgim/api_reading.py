"""The functions of `import vgim` that read what is there: runs, metrics, shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from vgim.api_arguments import RunPath, run_path

if TYPE_CHECKING:
    from vgim.api_runs import Run
    from vgim.api_tables import Table
    from vgim.data.shards.dataset import ShardDataset
    from vgim.data.shards.manifest import Split
    from vgim.runs.metrics import MetricsRecord

RecordKind = Literal["train", "validation", "event"]


def list_runs(storage: RunPath = "$VGIM_HOME/runs") -> Table[Run]:
    """Summarize the runs in a folder, as `vgim runs` does.

    Args:
        storage: Folder or URI that holds runs (their `storage.root`), or the folder of one run.

    Returns:
        A summary per run, by name: state, step, epoch, best validation loss; its `verdict` says what the figures mean.
        `to_pandas` has a row for each run.

    Raises:
        StorageError: The folder is missing or cannot be read.

    Example:
        >>> [run.name for run in vgim.list_runs("runs") if run.state == "finished"]
        ['quickstart']
    """
    from vgim.api_runs import as_run
    from vgim.api_tables import Table, run_rows
    from vgim.config.arguments import path_text
    from vgim.config.paths import resolve_path
    from vgim.runs.listing import list_runs as read

    return Table(map(as_run, read(resolve_path(path_text(storage, "storage"), "storage"))), run_rows)


def read_metrics(run: RunPath, kind: RecordKind | None = None) -> Table[MetricsRecord]:
    """Read what a run recorded while it trained, oldest first, from its `metrics.jsonl`.

    Args:
        run: What `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs.
        kind: Only records of this kind; None for all.

    Returns:
        Records as dictionaries. `record["modules"]` has the metrics of each module, losses in nats. `to_pandas` has a
        row for each module of each record.

    Raises:
        ConfigError: There is no such kind.
        CheckpointError: The folder is no run.
        StorageError: The run's folder cannot be read.

    Example:
        >>> records = vgim.read_metrics("runs/quickstart", "validation")
        >>> [module["module"] for module in records[-1]["modules"]]
        [0, 1, 2, 3]
        >>> records.to_pandas().pivot(index="step", columns="module", values="nce").shape
        (1, 4)
    """
    from vgim.api_tables import Table, metrics_rows
    from vgim.errors import ConfigError
    from vgim.runs.folder import no_run
    from vgim.runs.layout import RECORD
    from vgim.runs.metrics import read_metrics as read
    from vgim.storage import Location

    if kind is not None and kind not in get_args(RecordKind):
        raise ConfigError(f"kind={kind!r}, but records are of the kinds {', '.join(get_args(RecordKind))}")
    folder = Location(run_path(run, "run"))
    if not folder.child(RECORD).exists():
        raise no_run(folder, RECORD)
    return Table([record for record in read(folder) if kind in (None, record["kind"])], metrics_rows)


def open_shards(shards: RunPath, split: Split = "train") -> ShardDataset:
    """Open a split of prepared shards as a map-style torch dataset, for a DataLoader with any number of workers.

    Args:
        shards: Folder or URI of shards, as `prepare` writes them; a config has it as `data.shards`.
        split: `train`, `validation` or `test`.

    Returns:
        The dataset. An item is a dictionary: `audio`, float32 in [-1, 1]; `phones`, a class for every 10 ms; `speaker`,
        an index; `utterance_id`, `speaker_id` and `transcript`. Its `collate` pads utterances to a batch with
        `lengths`, which an encoder takes.

    Raises:
        ConfigError: `shards` is no path or URI.
        DataError: The folder is missing or damaged, or the split is unknown or empty.

    Example:
        >>> shards = vgim.open_shards("shards", "test")
        >>> loader = torch.utils.data.DataLoader(shards, batch_size=4, shuffle=True, collate_fn=shards.collate)
        >>> batch = next(iter(loader))
        >>> encoder = vgim.load_encoder("runs/quickstart")
        >>> outputs = encoder.encode(batch["audio"], batch["lengths"])
        >>> bool((outputs[-1].lengths == encoder.num_frames(batch["lengths"])).all())
        True
    """
    from vgim.config.arguments import path_text
    from vgim.config.paths import resolve_path
    from vgim.data.shards.dataset import ShardDataset
    from vgim.errors import DataError
    from vgim.storage import Location

    if not isinstance(split, str):
        raise DataError(
            f"split={split!r} is of the type {type(split).__name__}; use train, validation or test"
        )
    return ShardDataset(Location(resolve_path(path_text(shards, "shards"), "shards")), split)
