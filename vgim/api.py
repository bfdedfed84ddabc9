"""The functions of `import vgim`, for notebooks and scripts: thin callers of the rooms that do the work.

Rooms are imported inside the functions, so that a notebook that only reads metrics waits for neither torch nor Ray.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from vgim.config import ResolvedConfig, RunConfig
    from vgim.data.corpora.kind import OptionInput
    from vgim.data.shards.manifest import Manifest
    from vgim.downstream.result import ProbeResult
    from vgim.runs.listing import RunSummary
    from vgim.runs.metrics import MetricsRecord

RecordKind = Literal["train", "validation", "event"]
RunPath = str | os.PathLike[str]
"""A run: what `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs."""


def load_config(preset: str, *overrides: str) -> ResolvedConfig:
    """Read a preset and change some of its keys, as `vgim config show` does.

    Args:
        preset: Name that `vgim config list` shows, or the path of a YAML file.
        overrides: `key=value` for keys that `vgim config keys` shows.

    Returns:
        The checked config with paths resolved (`.config`), and where each value came from (`.sources`).

    Raises:
        ConfigError: There is no such preset or key, or a value is not allowed.

    Example:
        >>> resolved = vgim.load_config("quickstart", "model.channels=16")
        >>> resolved.config.model.channels
        16
    """
    from vgim.config import load_config as load

    return load(preset, overrides)


def train(
    config: str | ResolvedConfig | RunConfig,
    *overrides: str,
    resume_from: RunPath | None = None,
    init_from: RunPath | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> RunSummary:
    """Train a run to its end, as `vgim train` does. The same call again continues an interrupted run.

    `cluster.workers=0` trains in this process, without Ray.

    Args:
        config: A preset's name or path, or a config.
        overrides: `key=value`, if `config` is a preset.
        resume_from: Another run whose last checkpoint is continued, if this run has none.
        init_from: Another run whose weights are the first ones, if this run has no checkpoint.
        address: Ray cluster to join: `auto`, `host:port` or `ray://host:port`.
        verbose: Show Ray's own log lines.

    Returns:
        The run: `uri`, `state`, `step`, `epoch`, `best_loss` and more. Every function that takes a run takes it.

    Raises:
        VgimError: The config cannot be used, or training failed; `run.json` in the run's folder says why, too.

    Example:
        >>> run = vgim.train("quickstart", "train.epochs=1", "cluster.workers=0")  # doctest: +ELLIPSIS
        making the embedded corpus ...
        >>> run.state
        'finished'
        >>> run.name
        'quickstart'
    """
    from vgim.cli.live import show_progress
    from vgim.config import ResolvedConfig
    from vgim.config import load_config as load
    from vgim.config.paths import resolve_paths
    from vgim.errors import ConfigError
    from vgim.runs.folder import RunFolder
    from vgim.runs.listing import summarize_run
    from vgim.training import trainer

    if isinstance(config, str):
        resolved = load(config, overrides)
    elif overrides:
        raise ConfigError(
            f"overrides {', '.join(overrides)} change a preset, not a config that was read already; "
            "give them to load_config"
        )
    elif isinstance(config, ResolvedConfig):
        resolved = config
    else:
        resolved = ResolvedConfig(resolve_paths(config), {}, config.storage.name)
    with show_progress(sys.stdout) as progress:
        trainer.train(
            resolved,
            resume_from=None if resume_from is None else _path_of(resume_from, "resume_from"),
            init_from=None if init_from is None else _path_of(init_from, "init_from"),
            address=address,
            verbose=verbose,
            progress=progress,
        )
    return summarize_run(RunFolder(trainer.run_location(resolved.config)))


def prepare(name: str, *, corpus: RunPath, out: RunPath, **options: OptionInput) -> Manifest:
    """Write a corpus as shards to train on, as `vgim data prepare` does. The same call again goes on where it stopped.

    Args:
        name: Kind of corpus, such as `librispeech`: a verb of `vgim data prepare`.
        corpus: Folder or URI of the corpus.
        out: Folder or URI for the shards.
        options: Options of the verb, with underscores: `validation_fraction=0.2`, `workers=0`. See
            `vgim data prepare NAME --help`.

    Returns:
        The manifest: splits, speakers, hours, phones, the corpus's statistics, and what was skipped and why.

    Raises:
        ConfigError: The kind of corpus or an option is unknown.
        DataError: The corpus cannot be used, or `out` holds something else.
        StorageError: `out` cannot be written.

    Example:
        >>> manifest = vgim.prepare("librispeech", corpus="LibriSpeech", out="shards", workers=0)
        >>> sorted(manifest.splits)
        ['test', 'train', 'validation']
    """
    from vgim.config.paths import resolve_path
    from vgim.data.shards.prepare_named import prepare_named
    from vgim.progress import SILENT

    corpus_path, out_path = resolve_path(os.fspath(corpus), "corpus"), resolve_path(os.fspath(out), "out")
    return prepare_named(name, corpus_path, out_path, progress=SILENT, **options)


def list_runs(storage: RunPath = "$VGIM_HOME/runs") -> list[RunSummary]:
    """Summarize the runs in a folder, as `vgim runs` does.

    Args:
        storage: Folder or URI that holds runs (their `storage.root`), or the folder of one run.

    Returns:
        A summary per run, by name: state, step, epoch, best validation loss.

    Raises:
        StorageError: The folder is missing or cannot be read.

    Example:
        >>> [run.name for run in vgim.list_runs("runs") if run.state == "finished"]
        ['quickstart']
    """
    from vgim.config.paths import resolve_path
    from vgim.runs.listing import list_runs as read

    return read(resolve_path(os.fspath(storage), "storage"))


def read_metrics(run: RunPath, kind: RecordKind | None = None) -> list[MetricsRecord]:
    """Read what a run recorded while it trained, oldest first, from its `metrics.jsonl`.

    Args:
        run: What `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs.
        kind: Only records of this kind; None for all.

    Returns:
        Records as dictionaries. `record["modules"]` has the metrics of each module, losses in nats.

    Raises:
        ConfigError: There is no such kind.
        StorageError: The run's folder cannot be read.

    Example:
        >>> records = vgim.read_metrics("runs/quickstart", "validation")
        >>> [module["module"] for module in records[-1]["modules"]]
        [0, 1, 2, 3]
    """
    from vgim.errors import ConfigError, StorageError
    from vgim.runs.layout import RECORD
    from vgim.runs.metrics import read_metrics as read
    from vgim.storage import Location

    if kind is not None and kind not in get_args(RecordKind):
        raise ConfigError(f"kind={kind!r}, but records are of the kinds {', '.join(get_args(RecordKind))}")
    folder = Location(_path_of(run, "run"))
    if not folder.child(RECORD).exists():
        raise StorageError(f"{folder.uri} is no run: it has no {RECORD}; give a run's folder")
    return [record for record in read(folder) if kind in (None, record["kind"])]


def probe(run: RunPath, task: str, **options: object) -> list[ProbeResult]:
    """Fit a linear classifier to an encoder's frozen features and test it, as `vgim probe` does.

    Args:
        run: What `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs; or a
            checkpoint's folder.
        task: What the classifier predicts: `speaker`, `phone`, or another choice of `vgim probe --task`.
        options: Fields of `vgim.downstream.options.ProbeOptions`, such as `module=1`, `encoders=("trained", "mfcc")`.

    Returns:
        A result per encoder and module: `accuracy`, its 95 % intervals, accuracy per class. Results are also written
        below RUN/probes.

    Raises:
        ConfigError: The task or an option is unknown, or the run has no such module.
        CheckpointError: The run has no checkpoint.
        DataError: The shards have no labels for the task.

    Example:
        >>> [result] = vgim.probe("runs/quickstart", task="phone")
        >>> 0 <= result.accuracy <= 1
        True
    """
    from pydantic import ValidationError

    from vgim.downstream.job import probe as run_probe
    from vgim.downstream.options import ProbeOptions
    from vgim.errors import ConfigError
    from vgim.text import first_problem

    try:
        chosen = ProbeOptions.model_validate({**options, "task": task})
    except ValidationError as error:
        raise ConfigError(f"the probe's options cannot be used: {first_problem(error)}") from error
    return run_probe(_path_of(run, "run"), chosen)


def _path_of(run: RunPath, argument: str) -> str:
    """Path or URI of a run; `argument` names the parameter in errors."""
    from vgim.config.paths import resolve_run_path

    return resolve_run_path(os.fspath(run), argument)
