"""Analyses from a run's name to their files: `vgim latents` and ray_jobs/latents.py call `analyze`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from vgim.downstream.held_out import held_out_note
from vgim.downstream.probes.registry import learnable_probes
from vgim.errors import ConfigError
from vgim.extras import require_extra
from vgim.latents.analysis import Analysis, AnalysisInput, AnalysisOutput, Need
from vgim.latents.board import write_board
from vgim.latents.earlier import earlier_result, weights_of
from vgim.latents.frame_sample import sample_frames
from vgim.latents.module_decoder import load_module_decoder, missing_decoder
from vgim.latents.registry import ANALYSES, load_analysis
from vgim.latents.result import AnalysisResult, LatentOptions
from vgim.latents.writing import make_result, overlays, write
from vgim.pretrained.decoder import FrozenDecoder
from vgim.pretrained.opened_run import OpenedRun, open_run
from vgim.progress import SILENT, Progress
from vgim.runs.layout import LATENTS
from vgim.runs.result_folder import refuse_unwritable
from vgim.storage import Location
from vgim.text import plural

Log = Callable[[str], None]
PACKAGES = ("matplotlib", "sklearn", "scipy")
"""Packages of the extra `analysis`, by the name that is imported."""


def analyze(
    run: str,
    options: LatentOptions,
    compare: Sequence[str] = (),
    progress: Progress = SILENT,
    *,
    pdf: bool = False,
    anew: bool = False,
) -> list[AnalysisResult]:
    """Analyze a run's latents, and write RUN/latents/module<i>/ANALYSIS for each module and analysis.

    An analysis whose needs are not met is skipped, with its reason in the log. Where only a run compared with lacks
    something, the reason is a note of the result.

    Args:
        run: A run's folder or a checkpoint's, a path or a URI.
        compare: Other runs, which are analyzed on the same shards; nothing is written into them.
        progress: Where to report how far the work is, and what is skipped.
        pdf: Writes each picture as PDF too.
        anew: Makes analyses again that an earlier call made of the same weights and data with the same options.

    Returns:
        A result for every module and analysis that was not skipped, by module, then in the registry's order.

    Raises:
        VgimError: The run, a checkpoint, the module, the decoder or a package is missing, or the shards do not fit.
    """
    require_extra("vgim latents", "analysis", PACKAGES)
    opened = open_run(run, checkpoint=options.checkpoint, shards=options.shards, device=options.device)
    modules = opened.modules(options.module)
    _ = opened.encoder  # a missing or damaged checkpoint is reported before anything else
    options = options.model_copy(update={"checkpoint": opened.checkpoint})
    _check_dims(opened, modules, options.dims)
    analyses = {name: load_analysis(name) for name in ANALYSES if name in options.only}
    needs = frozenset[Need]().union(*(analysis.needs for analysis in analyses.values()))
    others = _open_others(opened, modules, compare, options, progress.message)
    planned: list[_Planned] = []
    for module in modules:
        ours = _open_module(opened, module, options, needs, progress)
        theirs = {name: _open_same_module(other, ours, needs) for name, other in others[module].items()}
        for name, analysis in analyses.items():
            if (reason := _missing_need(analysis, ours)) is not None:
                progress.message(f"note: {name} is skipped: {reason}")
                continue
            weights = _weights_of(analysis, [ours, *theirs.values()])
            kept = None if anew else earlier_result(opened, module, name, options, weights, pdf=pdf)
            planned.append(_Planned(name, analysis, ours, theirs, weights, kept))
    num_all, num_kept = len(planned), sum(work.kept is not None for work in planned)
    if num_kept:
        progress.message(
            f"{num_kept} of {plural(num_all, 'analysis')} were made earlier from the same weights and are kept; "
            "--anew makes them again"
        )
    if num_kept < num_all:
        refuse_unwritable(opened.folder.child(LATENTS))
    results = []
    with progress.stage("analyzing", total=num_all, unit="analysis", done=num_kept, even=False) as stage:
        while planned:  # what was sampled of a module is freed with its last analysis
            work = planned.pop(0)
            if work.kept is not None:
                results.append(work.kept)
                continue
            stage.update(detail=f"module {work.ours.module}: {work.name}")
            results.append(_analyze(work, pdf=pdf))
            stage.advance()
    write_board(opened.folder)
    return results


@dataclass(frozen=True)
class _ModuleOfRun:
    """A module of one run, whose latents are sampled at their first use."""

    opened: OpenedRun
    module: int
    options: LatentOptions
    decoder: FrozenDecoder | None
    decoder_location: Location | None
    progress: Progress

    @cached_property
    def inputs(self) -> AnalysisInput:
        frames = sample_frames(self.opened, self.module, self.options, self.progress)
        return AnalysisInput(
            self.opened, self.module, self.options, frames, self.decoder, self.decoder_location
        )


@dataclass(frozen=True)
class _Planned:
    """An analysis of a module, and its result if an earlier call has made it."""

    name: str
    analysis: Analysis
    ours: _ModuleOfRun
    theirs: Mapping[str, _ModuleOfRun]
    """The same module of the runs compared with, by name."""
    weights: dict[str, str]
    kept: AnalysisResult | None


def _weights_of(analysis: Analysis, runs: Sequence[_ModuleOfRun]) -> dict[str, str]:
    weights: dict[str, str] = {}
    for run in runs:
        weights |= weights_of(run.opened, run.decoder if "decoder" in analysis.needs else None)
    return weights


def _analyze(work: _Planned, *, pdf: bool) -> AnalysisResult:
    """Make an analysis of a module, compare it with other runs, and write it."""
    analysis, ours = work.analysis, work.ours
    output = analysis.run(ours.inputs)
    if "labels" in analysis.needs and (note := held_out_note(ours.opened)) is not None:
        output.notes.append(note)
    other_outputs: dict[str, AnalysisOutput] = {}
    for run_name, other in work.theirs.items():
        if (reason := _missing_need(analysis, other)) is None:
            other_outputs[run_name] = analysis.run(other.inputs)
        else:
            output.notes.append(f"{run_name} is not compared: {reason}.")
            ours.progress.message(f"note: {work.name} does not compare {run_name}: {reason}")
    output.pictures += overlays(ours.opened.folder.name, output, other_outputs)
    result = make_result(work.name, analysis, ours.inputs, output, other_outputs, work.weights)
    write(ours.opened.folder, result, output, pdf=pdf)
    return result


def _check_dims(opened: OpenedRun, modules: Sequence[int], dims: Sequence[int]) -> None:
    """Refuse a number of dimensions that no module has; a module that alone has fewer gets a note."""
    widest = max(opened.encoder.encoder.channels(module) for module in modules)
    for size in dims:
        if size > widest:
            of = f"module {modules[0]} has" if len(modules) == 1 else "the modules have at most"
            raise ConfigError(f"--dims {size}, but {of} {widest} dimensions; give numbers up to {widest}")


def _open_others(
    opened: OpenedRun, modules: Sequence[int], compare: Sequence[str], options: LatentOptions, log: Log
) -> dict[int, dict[str, OpenedRun]]:
    """For each module the other runs that have it, by name, or by URI where the name is that of `opened`."""
    others: dict[int, dict[str, OpenedRun]] = {module: {} for module in modules}
    for run in compare:
        other = open_run(run, shards=opened.shards.uri, device=options.device)
        name = other.folder.name if other.folder.name != opened.folder.name else other.folder.uri
        for module in modules:
            if module < other.config.model.num_modules:
                others[module][name] = other
            else:
                log(f"note: {name} has no module {module} to compare")
    return others


def _open_same_module(opened: OpenedRun, ours: _ModuleOfRun, needs: frozenset[Need]) -> _ModuleOfRun:
    """The same module of another run, with the decoder of the same name if it has one."""
    options = ours.options.model_copy(update={"decoder": None})
    decoder_name = ours.decoder_location.name if ours.decoder_location is not None else None
    return _open_module(opened, ours.module, options, needs, ours.progress, decoder_name)


def _open_module(
    opened: OpenedRun,
    module: int,
    options: LatentOptions,
    needs: frozenset[Need],
    progress: Progress,
    preferred_decoder: str | None = None,
) -> _ModuleOfRun:
    """A module of a run, with a decoder if an analysis needs one."""
    decoder, location = None, None
    if "decoder" in needs:
        loaded = load_module_decoder(opened, module, options.decoder, preferred_name=preferred_decoder)
        if loaded is not None:
            decoder, location = loaded
    return _ModuleOfRun(opened, module, options, decoder, location, progress)


def _missing_need(analysis: Analysis, run: _ModuleOfRun) -> str | None:
    """The reason why the analysis cannot be made; None if it can."""
    if "decoder" in analysis.needs and run.decoder is None:
        return missing_decoder(run.opened.folder, run.module)
    if "labels" in analysis.needs and not learnable_probes(run.opened.manifest):
        return f"the shards {run.opened.shards.uri} have no labels that a probe can learn"
    return None
