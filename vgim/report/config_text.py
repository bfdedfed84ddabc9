"""A run's config, record and data as sentences, terms and tables."""

from __future__ import annotations

import math
from datetime import datetime

from vgim.config import RunConfig
from vgim.config.schema import AugmentConfig, TrainConfig
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.errors import VgimError
from vgim.model.losses import chance_of, loss_facts
from vgim.report.notes import Notes
from vgim.report.tables import Table
from vgim.runs.folder import RunRecord
from vgim.schedules.registry import SCHEDULES
from vgim.text import format_duration, join_words, plural

Term = tuple[str, str]
"""A term and its description."""

FAMILIES = {
    "sim": "V-GIM (family sim): greedy modules with Gaussian latents",
    "gim": "Greedy InfoMax (family gim): greedy modules with deterministic latents",
    "cpc": "Contrastive Predictive Coding (family cpc): one module, trained end to end",
}
SHORT = {"sim": "V-GIM", "gim": "Greedy InfoMax", "cpc": "CPC"}
CROPS = {
    "random": "one random crop of an utterance per epoch",
    "tile": "all crops of an utterance per epoch, from a random offset",
    "first": "the first crop of each utterance",
}


def config_terms(config: RunConfig, data: Manifest | None, seconds: float | None) -> list[Term]:
    """Terms that say what was trained, and how.

    Args:
        seconds: time in optimizer steps; None if it is unknown.
    """
    time = (
        f"{format_duration(seconds)} in optimizer steps, without validation and checkpoints"
        if seconds
        else ""
    )
    return [
        ("Encoder", _encoder(config)),
        ("Objective", _objective(config)),
        ("Optimizer", _optimizer(config)),
        ("Schedule", _schedule(config)),
        ("Data", f"{data.corpus_title} in {config.data.shards}" if data else config.data.shards),
        ("Crops", _crops(config)),
        *([("Time", time)] if time else []),
    ]


def provenance_terms(record: RunRecord) -> list[Term]:
    """Terms that are needed to repeat the run: machine, versions, revision and data."""
    launches = f", after {record.launches} launches" if record.launches > 1 else ""
    return [
        ("Started", clock(record.created)),
        ("Last update", clock(record.updated) + launches),
        ("Machine", record.host),
        ("Versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("Git revision", record.git_revision or "not in a Git repository"),
        ("Data fingerprint", record.data_fingerprint),
    ]


def modules_table(config: RunConfig) -> Table:
    """One row per module: layers as kernel/stride, units, and the period of a frame."""
    model = config.model
    rows, at, samples = [], 0, 1
    for number, layers in enumerate(model.module_sizes):
        sizes = model.convolutions[at : at + layers]
        at += layers
        samples *= math.prod(stride for _, stride, *_ in sizes)
        text = ", ".join(
            f"{kernel}/{stride}" + ("" if relu else " without ReLU") for kernel, stride, _, relu in sizes
        )
        normed = "normalized " if model.posterior_norm != "none" else ""
        behind = f", {normed}Gaussian posterior" if model.family == "sim" else ""
        if model.head == "linear" and (model.family != "cpc" or number == len(model.module_sizes) - 1):
            behind = ", linear head"
        rows.append((str(number), f"convolutions {text}{behind}", str(model.channels), _period(samples)))
    if model.gru_units:
        name, units = ("bidirectional GRU", "2 × ") if model.gru_bidirectional else ("GRU", "")
        rows.append((str(len(rows)), name, f"{units}{model.gru_units}", _period(samples)))
    if model.family == "cpc":
        layers_text = "; ".join(row[1] for row in rows)
        rows = [("0", layers_text, rows[-1][2], _period(samples))]
    return Table(
        "Modules (layers as kernel/stride in samples of their input)",
        ("module", "layers", "units", "one frame per"),
        tuple(rows[: model.num_modules]),
    )


def summary_of_run(
    config: RunConfig | None,
    record: RunRecord | None,
    data: Manifest | None,
    state: str,
    progress: tuple[int, float],
    more: str = "",
) -> str:
    """The run in two or three sentences.

    Args:
        progress: the step and epoch that the run has reached.
        more: The third sentence; empty for none.
    """
    step, epoch = progress
    how_far = {
        "finished": "It finished at",
        "failed": "It failed at",
        "interrupted": "It was interrupted at",
        "running": "It is still training, at",
    }.get(state, "Its records end at")
    reached = f"{how_far} step {step:,}, epoch {epoch:.4g}." if step else "It has taken no step yet."
    if config is None:
        return reached
    modules = config.model.num_modules
    what = f"{modules} greedy modules" if modules > 1 else "one module"
    o = config.objective
    weight = f" and a KL term of weight {o.kld_weight:g}" if o.kld_weight else ""
    if o.target_rate:
        weight = f" and the KL to be held at {config.target_rate:g} nats a frame"
    about = f"A {SHORT[config.model.family]} encoder of {what}, {config.model.channels} channels wide"
    return f"{about}, trained with InfoNCE{weight}{_source(data)}. {reached} {more}".rstrip()


def _source(data: Manifest | None) -> str:
    if data is None:
        return ""
    train = data.split("train")
    people = plural(train.speakers, "speaker")
    return f" on {hours(train.hours)} of {data.corpus_title} by {people}"


def read_data(config: RunConfig, record: RunRecord | None, notes: Notes) -> Manifest | None:
    """The manifest of the shards that the run was trained on; None, with a note, if they are missing or changed."""
    try:
        manifest = read_manifest(config.data.shards)
    except VgimError as error:
        notes.warn(f"hours and speakers of the data are missing, because the shards can't be read: {error}")
        return None
    if record is not None and manifest.fingerprint != record.data_fingerprint:
        notes.warn(
            f"{config.data.shards} holds other data than the run was trained on, so that hours and speakers "
            "are missing"
        )
        return None
    return manifest


def data_table(data: Manifest) -> Table:
    """One row per split."""
    rows = [
        (name, f"{split.utterances:,}", hours(split.hours), str(split.speakers))
        for name, split in data.splits.items()
    ]
    return Table("Splits", ("split", "utterances", "audio", "speakers"), tuple(rows))


def hours(value: float) -> str:
    """`12.3 hours`, `41 minutes`."""
    return f"{value:,.1f} hours" if value >= 1 else f"{60 * value:.1f} minutes"


def _encoder(config: RunConfig) -> str:
    model = config.model
    norm = {"none": "no BatchNorm", "local": "BatchNorm per worker", "sync": "BatchNorm over all workers"}
    head = ", linear heads" if model.head == "linear" else ""
    heard = f", pre-emphasis {model.preemphasis:g}" if model.preemphasis else ""
    return f"{FAMILIES[model.family]}; {model.channels} channels, {norm[model.batch_norm]}{head}{heard}"


def _objective(config: RunConfig) -> str:
    o = config.objective
    chance = chance_of(o)
    ahead = f"{o.plain_steps} steps ahead"
    if isinstance(o.plain_steps, tuple):
        of_modules = [str(o.steps_of_module(m)) for m in config.trained_modules]
        ahead = f"{join_words(of_modules)} steps ahead (module by module)"
    text = (
        f"{loss_facts(o.loss).title} of {ahead} among 1 + {o.num_negatives} candidates "
        f"(negatives: {o.negatives}), "
        f"so that chance is {chance.formula} = {chance.loss:.3f} nats"
    )
    if config.model.family != "sim":
        return text
    warm = f", raised from 0 over {o.kld_warmup_steps:,} steps" if o.kld_warmup_steps else ""
    free = f", with {o.free_bits:g} nats of free bits" if o.free_bits else ""
    reduction = {"time_sum": "summed over time", "mean": "per element", "frame": "per frame"}[o.kl_reduction]
    if o.target_rate:
        return (
            f"{text}; plus a weight of each module × KL to N(0, 1), {reduction}{free}; the weights start at "
            f"{o.kld_weight:g} (kld_weight{warm}) and hold the KL at {config.target_rate:g} nats a frame"
        )
    return f"{text}; plus {o.kld_weight:g} (kld_weight{warm}) × KL to N(0, 1), {reduction}{free}"


def _optimizer(config: RunConfig) -> str:
    optim = config.optim
    decay = f", × {optim.decay_per_epoch:g} each epoch" if optim.decay_per_epoch != 1 else ""
    clip = f", gradients clipped at {optim.clip_norm:g}" if optim.clip_norm else ""
    return f"Adam, learning rate {optim.learning_rate:g}{decay}{clip}; {config.train.precision}"


def _schedule(config: RunConfig) -> str:
    train, workers = config.train, max(config.cluster.max_workers, 1)
    crops = train.batch_size * train.accumulate * config.num_virtual_ranks
    order = SCHEDULES[train.schedule].summary
    most = f", at most {train.max_steps:,} steps" if train.max_steps else ""
    on = plural(workers, "worker") if config.cluster.max_workers else "one process, without Ray"
    if config.cluster.is_elastic:
        on = f"{config.cluster.min_workers} to {workers} workers"
    if SCHEDULES[train.schedule].has_stages:
        on += f" ({_stages(train)})"
    return f"{order}; {train.epochs:,} epochs{most}; {crops} crops a step, on {on}; seed {train.seed}"


def _stages(train: TrainConfig) -> str:
    """`stages of modules 0 / 1-3 with 2 / 1 ranks`, as far as the config says it."""
    placed = "balanced by measured costs"
    if train.placement != "auto":
        names = (f"{m[0]}-{m[-1]}" if len(m) > 1 else str(m[0]) for m in train.placement)
        placed = f"of modules {' / '.join(names)}"
    ranks = f" with {' / '.join(map(str, train.replicas))} ranks" if train.replicas else ""
    return f"stages {placed}{ranks}"


def _crops(config: RunConfig) -> str:
    seconds = config.data.crop_samples / SAMPLE_RATE_HZ
    off = AugmentConfig()
    kinds = [f"{key} {value:g}" for key, value in config.data.augment if value != getattr(off, key)]
    augmented = f"; augmentation: {', '.join(kinds)}" if kinds else ""
    return f"{CROPS[config.data.crop]}, {seconds:.2f} s at 16 kHz; normalization: {config.data.normalize}{augmented}"


def clock(iso: str) -> str:
    """An ISO time as `24 November 2026, 03:21 UTC`; any other text unchanged."""
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{time.day} {time:%B %Y, %H:%M %Z}".rstrip()


def _period(samples: int) -> str:
    return f"{1000 * samples / SAMPLE_RATE_HZ:g} ms"
