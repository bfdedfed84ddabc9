"""Analyses from a run's name to their files: `vgim latents` and ray_jobs/latents.py call `analyze`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from vgim.downstream.held_out import held_out_note
from vgim.errors import ConfigError
from vgim.latents.analysis import Analysis, AnalysisInput, AnalysisOutput, Need
from vgim.latents.frame_sample import sample_frames
from vgim.latents.module_decoder import load_module_decoder, missing_decoder
from vgim.latents.probe_examples import probe_contexts
from vgim.latents.registry import ANALYSES, load_analysis
from vgim.latents.result import AnalysisResult, LatentOptions
from vgim.latents.writing import make_result, overlays, write
from vgim.pretrained.opened_run import OpenedRun, open_run

Log = Callable[[str], None]
PACKAGES = ("matplotlib", "sklearn", "scipy")
"""Packages of the extra `analysis`, by the name that is imported."""


def analyze(
    run: str,
    options: LatentOptions,
    compare: Sequence[str] = (),
    log: Log = lambda line: None,
    *,
    pdf: bool = False,
) -> list[AnalysisResult]:
    """Analyze a run's latents, and write RUN/latents/module<i>/ANALYSIS for each module and analysis.

    An analysis whose needs are not met is skipped, with its reason in the log. Where only a run compared with lacks
    something, the reason is a note of the result.

    Args:
        run: A run's folder or a checkpoint's, a path or a URI.
        compare: Other runs, which are analyzed on the same shards; nothing is written into them.
        log: Prints a line: progress, and what is skipped.
        pdf: Writes each picture as PDF too.

    Returns:
        A result for every module and analysis that was not skipped, by module, then in the registry's order.

    Raises:
        VgimError: The run, a checkpoint, the module, the decoder or a package is missing, or the shards do not fit.
    """
    require_packages()
    opened = open_run(run, checkpoint=options.checkpoint, shards=options.shards, device=options.device)
    modules = opened.modules(options.module)
    _ = opened.encoder  # a missing or damaged checkpoint is reported before anything else
    options = options.model_copy(update={"checkpoint": opened.checkpoint})
    _check_dims(opened, modules, options.dims)
    analyses = {name: load_analysis(name) for name in ANALYSES if name in options.only}
    needs = frozenset[Need]().union(*(analysis.needs for analysis in analyses.values()))
    others = _open_others(opened, modules, compare, options, log)
    results = []
    for module in modules:
        inputs = _make_input(opened, module, options, needs)
        other_inputs = {
            run_name: _make_other_input(other, inputs, needs) for run_name, other in others[module].items()
        }
        for name, analysis in analyses.items():
            if (reason := _missing_need(analysis, inputs)) is not None:
                log(f"note: {name} is skipped: {reason}")
                continue
            log(f"module {module}: {name}")
            output = analysis.run(inputs)
            if "labels" in analysis.needs and (note := held_out_note(opened)) is not None:
                output.notes.append(note)
            other_outputs: dict[str, AnalysisOutput] = {}
            for run_name, other_input in other_inputs.items():
                if (reason := _missing_need(analysis, other_input)) is None:
                    other_outputs[run_name] = analysis.run(other_input)
                else:
                    output.notes.append(f"{run_name} is not compared: {reason}.")
                    log(f"note: {name} does not compare {run_name}: {reason}")
            output.pictures += overlays(opened.folder.name, output, other_outputs)
            result = make_result(name, analysis, inputs, output, other_outputs)
            write(opened.folder, result, output, pdf=pdf)
            results.append(result)
    return results


def require_packages() -> None:
    """Check that the extra `analysis` is installed.

    Raises:
        ConfigError: One of its packages is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"vgim latents needs {' and '.join(missing)}, not installed here; pip install 'vgim[analysis]'"
        )


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


def _make_other_input(opened: OpenedRun, inputs: AnalysisInput, needs: frozenset[Need]) -> AnalysisInput:
    """The same module of another run, with the decoder of the same name if it has one."""
    options = inputs.options.model_copy(update={"decoder": None})
    decoder_name = inputs.decoder_location.name if inputs.decoder_location is not None else None
    return _make_input(opened, inputs.module, options, needs, decoder_name)


def _make_input(
    opened: OpenedRun,
    module: int,
    options: LatentOptions,
    needs: frozenset[Need],
    preferred_decoder: str | None = None,
) -> AnalysisInput:
    """Encode the sample of frames, and load a decoder if an analysis needs one."""
    decoder, location = None, None
    if "decoder" in needs:
        loaded = load_module_decoder(opened, module, options.decoder, preferred_name=preferred_decoder)
        if loaded is not None:
            decoder, location = loaded
    return AnalysisInput(opened, module, options, sample_frames(opened, module, options), decoder, location)


def _missing_need(analysis: Analysis, inputs: AnalysisInput) -> str | None:
    """The reason why the analysis cannot be made; None if it can."""
    if "decoder" in analysis.needs and inputs.decoder is None:
        return missing_decoder(inputs.opened.folder, inputs.module)
    if "labels" in analysis.needs and not any(True for _ in probe_contexts(inputs)):
        return f"the shards {inputs.opened.shards.uri} have no labels that a probe can learn"
    return None
