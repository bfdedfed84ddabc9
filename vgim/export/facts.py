"""What a model card tells of a run: its data, and the figures that exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vgim.config import RunConfig
from vgim.data.corpora.registry import CORPORA
from vgim.data.shards.manifest import read_manifest
from vgim.downstream.stored import newest_results, read_results, variant
from vgim.errors import VgimError
from vgim.model.losses import chance_of
from vgim.pretrained.exported import DataFacts, Facts, ModuleFigures, ProbeFigures
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.layout import CHECKPOINTS, METRICS
from vgim.runs.metrics import damaged_lines_in_words, read_metrics_file
from vgim.storage import Location
from vgim.text import join_words
from vgim.verdict.judge import NUM_SENTENCES, judge
from vgim.verdict.read import read_figures


def collect_facts(checkpoint: Checkpoint, config: RunConfig, license_id: str, notes: list[str]) -> Facts:
    """The facts of a checkpoint, from the run's own files and its shards, as far as they can be read.

    Args:
        checkpoint: Of a run, or by itself.
        config: The run's config.
        license_id: License of the weights; empty if it is not stated.
        notes: What could not be read is added here.
    """
    inside_run = checkpoint.location.parent.name == CHECKPOINTS
    run = checkpoint.location.parent.parent if inside_run else checkpoint.location
    step = checkpoint.state.step
    modules, source = _last_records(run, step, notes)
    chance = chance_of(config.objective)
    return Facts(
        run=config.storage.name or run.name,
        data=_data(config.data.shards, checkpoint.state.data_fingerprint, notes),
        figures_from=source,
        chance=chance.loss if source else None,
        chance_formula=chance.formula if source else "",
        modules=tuple(map(_figures, modules)),
        probes=tuple(_probes(run, step, notes)) if inside_run else (),
        verdict=_verdict(run, config, step, notes) if inside_run else (),
        license=license_id,
    )


def _data(shards: str, fingerprint: str, notes: list[str]) -> DataFacts:
    try:
        manifest = read_manifest(shards)
    except VgimError as error:
        notes.append(f"note: the card does not name the corpus, because the shards do not read: {error}")
        return DataFacts(fingerprint=fingerprint)
    if manifest.fingerprint != fingerprint:
        notes.append(
            f"note: the card does not name the corpus, because {shards} holds other shards than the run was trained on"
        )
        return DataFacts(fingerprint=fingerprint)
    train = manifest.split("train")
    return DataFacts(
        fingerprint=fingerprint,
        corpus=manifest.corpus,
        title=manifest.corpus_title,
        license=CORPORA[manifest.corpus].license if manifest.corpus in CORPORA else "",
        variant=manifest.variant or "",
        hours=train.hours,
        utterances=train.utterances,
        speakers=train.speakers,
    )


def _last_records(run: Location, step: int, notes: list[str]) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Each module's last validation up to a step, else its last record of training; and where they are from.

    Some schedules train and validate one module after the other.
    """
    metrics = read_metrics_file(run)
    if metrics.num_damaged:
        notes.append(f"note: {run.child(METRICS).uri}: {damaged_lines_in_words(metrics.num_damaged)}")
    records = [record for record in metrics.records if record["step"] <= step]
    for kind, name in (("validation", "validation"), ("train", "training")):
        last: dict[int, tuple[int, Mapping[str, Any]]] = {}
        for record in records:
            if record["kind"] == kind:
                last |= {
                    module.get("module", number): (record["step"], module)
                    for number, module in enumerate(record["modules"])
                }
        if last:
            steps = sorted({at for at, _ in last.values()})
            at_steps = f"{'step' if len(steps) == 1 else 'steps'} {join_words([f'{at:,}' for at in steps])}"
            modules = [{**module, "module": index} for index, (_, module) in sorted(last.items())]
            return modules, f"{name} at {at_steps}"
    return (), ""


def _figures(module: Mapping[str, Any]) -> ModuleFigures:
    nats = module.get("kl_per_frame")
    return ModuleFigures(
        module=module["module"],
        nce=module.get("nce"),
        accuracy=module.get("accuracy"),
        kl_per_frame=nats or None,
    )


def _probes(run: Location, step: int, notes: list[str]) -> list[ProbeFigures]:
    """The newest results of each kind, without those of other steps of the trained encoder."""
    results = newest_results(read_results(run, run.name, notes))
    return [
        ProbeFigures(
            task=result.task,
            variant=variant(result),
            encoder=result.encoder,
            module=result.module,
            layer=result.layer,
            concat=result.concat,
            accuracy=result.accuracy,
            low=result.interval_over_utterances.low,
            high=result.interval_over_utterances.high,
            majority=result.majority,
            step=result.step,
        )
        for result in results
        if result.step in (None, step)
    ]


def with_name_of_source(config: RunConfig) -> RunConfig:
    """The config with the name of the run that it is attached to, if it is, in place of a path of its owner's."""
    run = config.attach.run and Location(config.attach.run).name
    return config.model_copy(update={"attach": config.attach.model_copy(update={"run": run})})


def _verdict(run: Location, config: RunConfig, step: int, notes: list[str]) -> tuple[str, ...]:
    """What the run's figures mean, without what is of use to its owner alone; empty for an earlier checkpoint."""
    try:
        figures = read_figures(run, with_name_of_source(config))
    except VgimError as error:
        notes.append(f"note: the card has no verdict, because the run's figures do not read: {error}")
        return ()
    if figures is None or figures.step != step:
        return ()
    findings = [found for found in judge(figures).findings if found.about != "state"]
    shown = [found.text for found in findings if found.about != "kl_weight" or found.level != "good"]
    return tuple(shown[:NUM_SENTENCES])
