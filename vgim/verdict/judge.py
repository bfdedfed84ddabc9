"""Make the verdict on a run from its figures."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.config import RunConfig
from vgim.runs.checkpoint import Checkpoint
from vgim.storage import Location
from vgim.verdict.commands import next_command
from vgim.verdict.figures import RunFigures
from vgim.verdict.latents import dimensions_in_use
from vgim.verdict.learning import judge_module, learning
from vgim.verdict.probes import old_probes, probe_finding, probed_tasks
from vgim.verdict.read import read_figures
from vgim.verdict.training import dear_kl, kl_weight, rise, too_few_steps, trend
from vgim.verdict.verdict import Finding, Verdict

NUM_SENTENCES = 3
LEVELS = ("good", "open", "bad")


def read_verdict(
    run: Location, config: RunConfig | None = None, checkpoints: Sequence[Checkpoint] | None = None
) -> Verdict | None:
    """The verdict on the run in a folder; None where there is no run.

    Args:
        run: The run's folder.
        config: The run's config; None to read it.
        checkpoints: The run's complete checkpoints, oldest first; None to look for them.

    Raises:
        VgimError: The config or the metrics cannot be read.
    """
    figures = read_figures(run, config, checkpoints)
    return None if figures is None else judge(figures)


def judge(figures: RunFigures) -> Verdict:
    """Say what a run's figures mean, the most important first, and choose the command to run next."""
    if not figures.trained and not figures.probes:
        return _without_figures(figures)
    modules = tuple(judge_module(figures.config, module) for module in figures.modules)
    probed = probed_tasks(figures.probes)
    first = [_failure(figures)]
    if figures.trained:
        first.append(learning(figures, modules))
    rest = [
        dear_kl(figures, modules),
        too_few_steps(figures, modules),
        old_probes(probed, figures.step),
        kl_weight(figures),
        rise(figures),
        trend(figures),
        dimensions_in_use(figures),
    ]
    probes = sorted(map(probe_finding, probed), key=lambda f: LEVELS.index(f.level), reverse=True)
    # The first probe stands before what is open, since its accuracy is the main result.
    others = [f for f in rest if f is not None]
    others.sort(key=lambda f: LEVELS.index(f.level), reverse=True)
    findings = [f for f in [*first, *probes[:1], *others, *probes[1:]] if f is not None]
    shown = [f for f in findings if f.about != "kl_weight" or f.level != "good"]
    return Verdict(
        level=max((f.level for f in findings), key=LEVELS.index, default="open"),
        sentences=tuple(f.text for f in shown[:NUM_SENTENCES]),
        next=next_command(figures, modules, findings, probed),
        modules=modules,
        findings=tuple(findings),
    )


def _failure(figures: RunFigures) -> Finding | None:
    if figures.state != "failed":
        return None
    why = figures.message or figures.error or "its record gives no reason"
    return Finding(about="state", level="bad", text=f"The run failed: {why.rstrip('.')}.")


def _without_figures(figures: RunFigures) -> Verdict:
    """The verdict on a run that has recorded no training: it has just begun, has failed, or was imported."""
    found = _failure(figures) or Finding(
        about="state",
        level="open",
        text="The run has no record of training, so that nothing can be said about it.",
    )
    modules = tuple(judge_module(figures.config, module) for module in figures.modules)
    return Verdict(
        level=found.level,
        sentences=(found.text,),
        next=next_command(figures, modules, [found], []),
        modules=modules,
        findings=(found,),
    )
