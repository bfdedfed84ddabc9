"""Analyses from the run's name to their results: `vgim latents` and ray_jobs/latents.py call `analyze`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from vgim.errors import ConfigError
from vgim.latents.analysis import Analysis, AnalysisInput, AnalysisOutput
from vgim.latents.decoded_pairs import no_decoder
from vgim.latents.frame_sample import sample_frames
from vgim.latents.module_decoder import find_decoder
from vgim.latents.probe_examples import probe_contexts
from vgim.latents.registry import ANALYSES
from vgim.latents.result import AnalysisResult, LatentOptions
from vgim.latents.subject import Subject, open_subject
from vgim.latents.writing import overlays, record, write

Say = Callable[[str], None]
EXTRA = ("matplotlib", "sklearn", "scipy")


def analyze(
    run: str, options: LatentOptions, compare: Sequence[str] = (), say: Say = lambda line: None
) -> list[AnalysisResult]:
    """Look at a run's latents; write a folder below RUN/latents/module<i> for each analysis.

    Args:
        run: A run's folder or a checkpoint's, a path or a URI.
        compare: Other runs, on which the same is done, on the same shards, without writing there.
        say: Told notes and progress.

    Returns:
        A result for every module and analysis that could be made, in that order.

    Raises:
        VgimError: No run, no checkpoint, no such module or decoder, a missing package, shards that do not fit.
    """
    require_extra()
    subject = open_subject(
        run,
        checkpoint=options.checkpoint,
        module=options.module,
        shards=options.shards,
        device=options.device,
    )
    options = options.model_copy(update={"checkpoint": subject.checkpoint})
    others = _others(subject, options, compare, say)
    results = []
    for module in subject.modules:
        inputs = _inputs(subject, module, options, say)
        beside = {name: _beside(other, inputs, say) for name, other in others[module].items()}
        for analysis in ANALYSES:
            if analysis.name not in options.only:
                continue
            if not _can(analysis, inputs):
                if "labels" in analysis.needs:
                    say(f"note: {analysis.name} is left out: the shards have no labels for a probe")
                continue
            say(f"module {module}: {analysis.name}")
            output = analysis.run(inputs)
            found: dict[str, AnalysisOutput] = {
                name: analysis.run(other) for name, other in beside.items() if _can(analysis, other)
            }
            output.pictures += overlays(subject.run.name, output, found)
            result = record(inputs, analysis, output, found)
            write(subject.run, result, output)
            results.append(result)
    return results


def require_extra() -> None:
    """ConfigError unless the extra `analysis` is installed."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"vgim latents needs {' and '.join(missing)}, not installed here; pip install 'vgim[analysis]'"
        )


def _others(
    subject: Subject, options: LatentOptions, compare: Sequence[str], say: Say
) -> dict[int, dict[str, Subject]]:
    """For each module the other runs that have it, by name."""
    found: dict[int, dict[str, Subject]] = {module: {} for module in subject.modules}
    for where in compare:
        other = open_subject(where, module=None, shards=subject.shards.uri, device=options.device)
        name = other.run.name if other.run.name != subject.run.name else other.run.uri
        for module in subject.modules:
            if module in other.modules:
                found[module][name] = other
            else:
                say(f"note: {name} has no module {module} to compare")
    return found


def _beside(subject: Subject, inputs: AnalysisInput, say: Say) -> AnalysisInput:
    """The same module of another run; of its decoders, one of the same name before others."""
    prefer = inputs.decoder_at.name if inputs.decoder_at is not None else None
    return _inputs(subject, inputs.module, inputs.options.model_copy(update={"decoder": None}), say, prefer)


def _inputs(
    subject: Subject, module: int, options: LatentOptions, say: Say, prefer: str | None = None
) -> AnalysisInput:
    decoder, path = None, None
    if {"contribution", "smoothness"} & set(options.only):
        found = find_decoder(subject, module, options.decoder, prefer=prefer)
        if found is None:
            say(f"note: {no_decoder(subject.run.uri, module)}")
        else:
            decoder, path = found
    return AnalysisInput(subject, module, options, sample_frames(subject, module, options), decoder, path)


def _can(analysis: Analysis, inputs: AnalysisInput) -> bool:
    if "decoder" in analysis.needs and inputs.decoder is None:
        return False
    return "labels" not in analysis.needs or any(True for _ in probe_contexts(inputs))
