"""The functions of `import vgim`, for notebooks and scripts: thin callers of the rooms that do the work.

Rooms are imported inside the functions, so that a notebook that only reads metrics waits for neither torch nor Ray.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vgim.api_arguments import RunPath, option_texts, run_path

if TYPE_CHECKING:
    from vgim.api_runs import Run
    from vgim.api_tables import Table
    from vgim.config import ResolvedConfig, RunConfig
    from vgim.data.corpora.kind import OptionInput
    from vgim.data.shards.manifest import Manifest
    from vgim.downstream.result import ProbeResult
    from vgim.latents.result import AnalysisResult
    from vgim.runs.listing import RunSummary


def load_config(preset: str | os.PathLike[str], *overrides: str) -> ResolvedConfig:
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
    from vgim.config.arguments import path_text

    return load(path_text(preset, "preset"), option_texts(overrides))


def train(
    config: str | os.PathLike[str] | ResolvedConfig | RunConfig,
    *overrides: str,
    resume_from: RunPath | None = None,
    init_from: RunPath | None = None,
    attach: RunPath | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> Run:
    """Train a run to its end, as `vgim train` does. The same call again continues an interrupted run.

    `cluster.workers=0` trains in this process, without Ray. The verdict is printed at the end.

    Args:
        config: A preset's name or path, or a config.
        overrides: `key=value`, if `config` is a preset.
        resume_from: Another run whose last checkpoint is continued, if this run has none.
        init_from: Another run whose weights are the first ones, if this run has no checkpoint.
        attach: Another run, which may still train, behind whose modules one more is trained.
        address: Ray cluster to join: `auto`, `host:port` or `ray://host:port`.
        verbose: Show Ray's own log lines.

    Returns:
        The run: `uri`, `state`, `step`, `epoch`, `best_loss`, `verdict` and more. Every function that takes a run
        takes it.

    Raises:
        VgimError: The config cannot be used, or training failed; `run.json` in the run's folder says why, too.

    Example:
        >>> run = vgim.train("quickstart", "train.epochs=1", "cluster.workers=0")  # doctest: +ELLIPSIS
        making the embedded corpus ...
        >>> run.state
        'finished'
        >>> run.name
        'quickstart'
        >>> run.verdict.next.command
        'vgim ...'
    """
    from vgim.api_runs import as_run
    from vgim.cli.live import show_progress
    from vgim.config import ResolvedConfig, RunConfig
    from vgim.config.load import attached_to
    from vgim.config.paths import resolve_paths
    from vgim.errors import ConfigError
    from vgim.runs.folder import RunFolder
    from vgim.runs.listing import summarize_run
    from vgim.text import shorten
    from vgim.training import trainer
    from vgim.verdict.console import verdict_at_end

    if isinstance(config, str | bytes | os.PathLike):
        resolved = load_config(config, *overrides)
    elif overrides:
        raise ConfigError(
            f"overrides {', '.join(option_texts(overrides))} change a preset, not a config that was read already; "
            "give them to load_config"
        )
    elif isinstance(config, ResolvedConfig):
        resolved = config
    elif isinstance(config, RunConfig):
        resolved = ResolvedConfig(resolve_paths(config), {}, config.storage.name)
    else:
        raise ConfigError(
            f"config={shorten(repr(config))} is of the type {type(config).__name__}; give a preset's name, the path of "
            "a YAML file, or a config of load_config"
        )
    if attach is not None:
        resolved = attached_to(resolved, run_path(attach, "attach"))
    run = trainer.run_location(resolved.config)
    with verdict_at_end(run), show_progress(sys.stdout) as progress:
        trainer.train(
            resolved,
            resume_from=None if resume_from is None else run_path(resume_from, "resume_from"),
            init_from=None if init_from is None else run_path(init_from, "init_from"),
            address=address,
            verbose=verbose,
            progress=progress,
        )
    return as_run(summarize_run(RunFolder(run)))


def train_decoder(
    run: RunPath,
    *overrides: str,
    module: int = -1,
    layer: int | None = None,
    loss: str | None = None,
    name: str | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> RunSummary:
    """Train a decoder of a run's latents, as `vgim decode train` does. The same call again continues its training.

    Args:
        run: What `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs; or a
            checkpoint's folder.
        overrides: `key=value` for the decoder's config, such as `train.epochs=5`.
        module: Module whose latents are decoded, counted from the input; -1 is the last.
        layer: Convolution of the module whose output is decoded; None for the module's latents.
        loss: Distance from the audio, such as `mse+stft`; None for `mse`.
        name: Suffix of the decoder's folder, for another decoder of the same kind.
        address: Ray cluster to join: `auto`, `host:port` or `ray://host:port`.
        verbose: Show Ray's own log lines.

    Returns:
        The decoder's own run, below RUN/decoder; `load_decoder` takes it.

    Raises:
        VgimError: The module, the loss or an override cannot be used, or training failed.

    Example:
        >>> decoder = vgim.train_decoder(
        ...     "runs/quickstart", "train.epochs=1", "train.batch_size=4", module=0
        ... )  # doctest: +ELLIPSIS
        run folder: ...
        >>> decoder.state
        'finished'
    """
    from vgim.api_arguments import DecoderArguments, checked
    from vgim.cli.live import show_progress
    from vgim.decode import train as decoding
    from vgim.runs.checkpoint import find_checkpoint
    from vgim.runs.folder import RunFolder
    from vgim.runs.listing import summarize_run
    from vgim.training.trainer import run_location

    where = run_path(run, "run")
    arguments = checked(
        DecoderArguments, "the decoder's options", module=module, layer=layer, loss=loss, name=name
    )
    options = decoding.DecoderOptions(**arguments.model_dump())
    texts = option_texts(overrides)
    with show_progress(sys.stdout) as progress:
        decoding.train_decoder(where, options, texts, address=address, verbose=verbose, progress=progress)
    checkpoint = find_checkpoint(where)
    config = decoding.decoder_config(checkpoint, checkpoint.location.parent.parent, options, texts)
    return summarize_run(RunFolder(run_location(config)))


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
    from vgim.cli.live import show_progress
    from vgim.config.arguments import path_text
    from vgim.config.paths import resolve_path
    from vgim.data.shards.prepare_named import prepare_named

    paths = {key: resolve_path(path_text(path, key), key) for key, path in (("corpus", corpus), ("out", out))}
    with show_progress(sys.stderr) as progress:
        return prepare_named(
            path_text(name, "name"), paths["corpus"], paths["out"], progress=progress, **options
        )


def probe(run: RunPath, task: str, **options: object) -> Table[ProbeResult]:
    """Fit a linear classifier to an encoder's frozen features and test it, as `vgim probe` does.

    Args:
        run: What `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs; or a
            checkpoint's folder.
        task: What the classifier predicts: `speaker`, `phone`, or another choice of `vgim probe --task`; or a column of
            the table that `labels` names.
        options: Fields of `vgim.downstream.options.ProbeOptions`, such as `module=1`, `encoders=("trained", "mfcc")`,
            `labels="emotion.csv"`, `concat=True` for one more reading of all modules side by side.

    Returns:
        A result per encoder and module: `accuracy`, its 95 % intervals, accuracy per class. `to_pandas` has a row for
        each. Results are also written below RUN/probes.

    Raises:
        ConfigError: The task or an option is unknown, or the run has no such module.
        CheckpointError: The run has no checkpoint.
        DataError: The shards have no labels for the task.

    Example:
        >>> [result] = vgim.probe("runs/quickstart", task="phone")
        >>> 0 <= result.accuracy <= 1
        True
    """
    from vgim.api_arguments import checked, with_paths
    from vgim.api_tables import Table, probe_rows
    from vgim.cli.live import show_progress
    from vgim.downstream.job import probe as run_probe
    from vgim.downstream.options import ProbeOptions

    where = run_path(run, "run")
    given = with_paths({**options, "task": task}, "shards", "labels")
    chosen = checked(ProbeOptions, "the probe's options", **given)
    with show_progress(sys.stderr) as progress:
        return Table(run_probe(where, chosen, progress), probe_rows)


def analyze_latents(
    run: RunPath, *, compare: RunPath | Sequence[RunPath] = (), **options: object
) -> Table[AnalysisResult]:
    """Analyze what an encoder's latents hold, as `vgim latents` does. Needs the extra `analysis`.

    Args:
        run: What `train` or `list_runs` returned, a path, a URI, or the name of a run under $VGIM_HOME/runs; or a
            checkpoint's folder.
        compare: Other runs, which are analyzed on the same shards: one, or a list or tuple of them.
        options: Fields of `vgim.latents.result.LatentOptions`, such as `module=0`, `only=("distribution",)`.

    Returns:
        A result for each module and analysis: `summary`, sentences; `figures`, metrics by name. `to_pandas` has a row
        for each metric. Results and pictures are also written below RUN/latents.

    Raises:
        ConfigError: An option is unknown, the run has no such module, or a package is missing.
        CheckpointError: The run has no checkpoint.
        DataError: The shards cannot be read.

    Example:
        >>> [result] = vgim.analyze_latents("runs/quickstart", only=("distribution",), max_frames=500)
        >>> result.analysis, result.module
        ('distribution', 3)
    """
    from vgim.api_arguments import checked, with_paths
    from vgim.api_tables import Table, analysis_rows
    from vgim.cli.live import show_progress
    from vgim.latents.job import analyze
    from vgim.latents.result import LatentOptions

    where = run_path(run, "run")
    several = compare if isinstance(compare, list | tuple) else [compare]
    others = [run_path(other, "compare") for other in several]
    chosen = checked(LatentOptions, "the analyses' options", **with_paths(options, "shards"))
    with show_progress(sys.stderr) as progress:
        return Table(analyze(where, chosen, others, progress), analysis_rows)
