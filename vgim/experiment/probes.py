"""The probes of an experiment's run that are still to be computed. A baseline that runs share is computed once."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.compare.read_groups import baseline_identity
from vgim.compare.read_probes import read_results
from vgim.data.shards.manifest import read_manifest
from vgim.downstream.options import EncoderKind, ProbeOptions
from vgim.downstream.predictions import PREDICTIONS
from vgim.downstream.result import folder_name
from vgim.experiment.file import Experiment, PlannedProbe, PlannedRun
from vgim.model.stack import module_specs
from vgim.runs.checkpoint import best_checkpoint, complete_checkpoints
from vgim.runs.layout import PROBES
from vgim.storage import Location

NO_MATTER = {"encoders", "device", "cache_features", "shards"}
"""Options that a result may differ in and still be up to date; shards are told by their fingerprint."""


def missing_probes(experiment: Experiment, run: PlannedRun) -> list[ProbeOptions]:
    """Options for each probe of a trained run that has no up-to-date result, with the encoders that lack one."""
    missing = []
    for planned in experiment.probes:
        if run.arm not in planned.arms:
            continue
        kinds = tuple(
            kind
            for kind in planned.options.encoders
            if not any(
                _is_done(other, planned.options, kind) for other in _sharing(experiment, planned, run, kind)
            )
        )
        if kinds:
            missing.append(options_for(run, planned.options).model_copy(update={"encoders": kinds}))
    return missing


def options_for(run: PlannedRun, options: ProbeOptions) -> ProbeOptions:
    """The options for a run: the layers of cpc are read, because some of them correspond to modules."""
    return options.model_copy(update={"all_layers": run.config.model.family == "cpc"})


def _sharing(
    experiment: Experiment, planned: PlannedProbe, run: PlannedRun, kind: EncoderKind
) -> Sequence[PlannedRun]:
    """The runs that share an encoder of this kind with a run, itself included."""
    if kind == "trained":
        return [run]
    identity = baseline_identity(kind, run.config)
    return [
        other
        for other in experiment.runs
        if other.arm in planned.arms
        and (kind == "mfcc" or other.seed == run.seed)
        and baseline_identity(kind, other.config) == identity
    ]


def _is_done(run: PlannedRun, planned: ProbeOptions, kind: EncoderKind) -> bool:
    """Whether a run holds up-to-date results of an encoder for all of its outputs."""
    if not run.location.child(PROBES).exists():
        return False
    options = options_for(run, planned)
    fingerprint = read_manifest(Location(options.shards or run.config.data.shards)).fingerprint
    step = _step(run, options) if kind == "trained" else None
    found = {
        (result.module, result.layer)
        for result in read_results(run.location, run.name, [])
        if result.encoder == kind
        and result.step == step
        and result.data_fingerprint == fingerprint
        and _settings(result.options, kind) == _settings(options, kind)
        and run.location.child(PROBES, folder_name(result), PREDICTIONS).exists()
    }
    return found >= _outputs(run, options, kind)


def _step(run: PlannedRun, options: ProbeOptions) -> int | None:
    """Step of the checkpoint that would be probed; None without one."""
    if not complete_checkpoints(run.location):
        return None
    if options.checkpoint == "best":
        return best_checkpoint(run.location.uri).state.step
    return complete_checkpoints(run.location)[-1].state.step


def _settings(options: ProbeOptions, kind: EncoderKind) -> dict[str, object]:
    idle = set() if "supervised" in kind else {"supervised_epochs"}
    return options.model_dump(exclude=NO_MATTER | idle)


def _outputs(run: PlannedRun, options: ProbeOptions, kind: EncoderKind) -> set[tuple[int | None, int | None]]:
    """Modules and layers of which an encoder of this kind has results."""
    if kind == "mfcc":
        return {(None, None)}
    outputs: set[tuple[int | None, int | None]] = set()
    for module, spec in enumerate(module_specs(run.config.model)):
        inner = spec.inner_layers if options.all_layers else ()
        outputs |= {(module, layer) for layer in (*inner, None)}
    return outputs
