"""The probes of an experiment's run that are still to be computed. A baseline that runs share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from vgim.compare.columns import baseline_identity
from vgim.compare.depth import common_stages, outputs_by_stage
from vgim.downstream.context import open_probe_context
from vgim.downstream.job import has_depth
from vgim.downstream.options import EncoderKind, ProbeOptions
from vgim.downstream.predictions import PREDICTIONS, read_predictions
from vgim.downstream.probe_plan import ProbeWorkItem, plan_probes
from vgim.downstream.result import ProbeResult, folder_name
from vgim.downstream.stored import read_results
from vgim.downstream.writing import depth_picture_names, write_modules_picture
from vgim.experiment.plan import Experiment, PlannedProbe, PlannedRun
from vgim.plotting import can_draw
from vgim.runs.layout import PROBES
from vgim.storage import Location

NO_MATTER = {"encoders", "device", "cache_features", "shards", "labels"}
"""Options that a result may differ in and still be up to date; shards and labels are told by their hashes."""


def missing_probes(experiment: Experiment, run: PlannedRun) -> list[ProbeOptions]:
    """Options for each probe of a trained run that has no up-to-date result, with the encoders that lack one."""
    missing = []
    for planned in experiment.probes:
        if run.arm not in planned.arms:
            continue
        for number, options in enumerate(_requests(experiment, run, planned.options)):
            kinds = tuple(
                kind
                for kind in options.encoders
                if not (kind == "mfcc" and number)  # MFCCs have no layers
                and not any(
                    _up_to_date(other, options, kind) for other in _sharing(experiment, planned, run, kind)
                )
            )
            if kinds:
                missing.append(options.model_copy(update={"encoders": kinds}))
    return missing


def draw_pictures(experiment: Experiment, run: PlannedRun, *, anew: bool) -> None:
    """Draw each task's accuracy against depth from all up-to-date results of a run; needs matplotlib.

    Args:
        anew: Draw pictures that exist too.
    """
    if not can_draw():
        return
    for planned in experiment.probes:
        probes, names = run.location.child(PROBES), depth_picture_names(planned.options.task)
        if run.arm not in planned.arms or (not anew and any(probes.child(name).exists() for name in names)):
            continue
        results = []
        for kind in planned.options.encoders:
            for options in _requests(experiment, run, planned.options):
                of_sharing = (
                    _up_to_date(other, options, kind) for other in _sharing(experiment, planned, run, kind)
                )
                results += next(filter(None, of_sharing), [])
        if has_depth(results):
            write_modules_picture(run.location, results)


def _requests(experiment: Experiment, run: PlannedRun, options: ProbeOptions) -> list[ProbeOptions]:
    """The options as `vgim probe` takes them; of cpc, one module, layers are probed that correspond to modules.

    The published protocol treats a GRU unlike convolutions, so that each output is probed by itself.
    """
    model = run.config.model
    if model.family != "cpc":
        return [options]
    options = options.model_copy(update={"concat": False})
    if options.protocol == "ours":
        return [options.model_copy(update={"all_layers": True})]
    stages = common_stages([other.config for other in experiment.runs])
    outputs = sorted(outputs_by_stage(model, stages), key=lambda output: output[1] is not None)
    return [options.model_copy(update={"module": module, "layer": layer}) for module, layer in outputs]


def _sharing(
    experiment: Experiment, planned: PlannedProbe, run: PlannedRun, kind: EncoderKind
) -> Sequence[PlannedRun]:
    """The runs that share an encoder of this kind with a run, itself included."""
    if kind == "trained":
        return [run]
    shards = planned.options.shards
    identity = baseline_identity(kind, run.config, shards)
    return [
        other
        for other in experiment.runs
        if other.arm in planned.arms
        and (kind == "mfcc" or other.seed == run.seed)
        and baseline_identity(kind, other.config, shards) == identity
    ]


def _up_to_date(run: PlannedRun, options: ProbeOptions, kind: EncoderKind) -> list[ProbeResult]:
    """A run's results of an encoder for all outputs that the options select; none unless all are up to date."""
    if not run.location.child(PROBES).exists():
        return []
    if kind == "mfcc":  # whose result names no layer, whatever was asked for
        options = options.model_copy(update={"module": None, "layer": None})
    asked = options.model_copy(update={"encoders": (kind,), "device": "cpu"})
    (group,) = plan_probes([run.location.uri], [asked], _ignore, all_epochs=False, check_device=False)
    if group.error is not None:
        return []
    results = read_results(run.location, run.name, [])
    of_items = [_results_of(run, item, results) for item in group.items]
    return [result for found in of_items for result in found] if all(of_items) else []


def _results_of(run: PlannedRun, item: ProbeWorkItem, results: Sequence[ProbeResult]) -> list[ProbeResult]:
    """The results of a work item's outputs, of the last weights, the same data and options; none unless all exist."""
    context = open_probe_context(item.source, item.options, kinds=(item.kind,))
    step = context.opened.encoder.checkpoint.state.step if item.kind == "trained" else None
    found = {
        result.output: result
        for result in results
        if result.encoder == item.kind
        and result.step == step
        and result.data_fingerprint == context.opened.manifest.fingerprint
        and result.labels == context.labels_digest
        and _settings(result.options, item.kind) == _settings(context.options, item.kind)
        and (not result.is_fitted or _has_predictions(run.location.child(PROBES, folder_name(result))))
    }
    wanted = set(context.results_of(item.kind))
    return [found[output] for output in found if output in wanted] if found.keys() >= wanted else []


def _has_predictions(folder: Location) -> bool:
    if read_predictions(folder) is not None:
        return True
    _say_once(f"{folder.child(PREDICTIONS).uri} is missing or damaged; its probe is computed again")
    return False


@cache  # the same result is looked at for the plan, before and after its probe
def _say_once(line: str) -> None:
    print(line, flush=True)


def _settings(options: ProbeOptions, kind: EncoderKind) -> dict[str, object]:
    idle = set() if "supervised" in kind else {"supervised_epochs"}
    if kind == "mfcc":
        idle |= {"module", "layer", "all_layers", "concat", "checkpoint"}
    return options.model_dump(exclude=NO_MATTER | idle)


def _ignore(line: str) -> None:
    """Notes of a plan were printed when its probes were computed."""
