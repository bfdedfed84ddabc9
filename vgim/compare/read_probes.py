"""The probe results of a run in a comparison, and notes on what is missing or old."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.compare.comparison import BASELINES, ComparedProbe
from vgim.downstream.result import ProbeResult
from vgim.downstream.stored import variant
from vgim.runs.checkpoint import complete_checkpoints
from vgim.storage import Location


def compared_probe(result: ProbeResult) -> ComparedProbe:
    """The part of a result that a comparison shows."""
    shared = {name: getattr(result, name) for name in ComparedProbe.model_fields if name != "variant"}
    return ComparedProbe(variant=variant(result), **shared)


def notes_on_baselines(name: str, results: Sequence[ProbeResult]) -> list[str]:
    """Notes on baselines that are missing.

    Args:
        name: The run's name in notes.
    """
    notes = []
    for task, words in dict.fromkeys((r.task, variant(r)) for r in results):
        encoders = {r.encoder for r in results if (r.task, variant(r)) == (task, words)}
        if missing := [kind for kind in BASELINES if kind not in encoders]:
            title = f"{task} ({words})" if words else task
            options = " ".join(f"--encoder {kind}" for kind in missing)
            notes.append(
                f"{name}: {title} has no {' and no '.join(missing)} baseline; probe it with {options}"
            )
    return notes


def notes_on_steps(name: str, run: Location, results: Sequence[ProbeResult]) -> list[str]:
    """A note on results of an old checkpoint, if there are any.

    Args:
        name: The run's name in notes.
    """
    checkpoints = complete_checkpoints(run)
    newest_step = checkpoints[-1].state.step if checkpoints else 0
    old = sorted({r.step for r in results if r.step is not None and r.step < newest_step})
    if not old:
        return []
    steps = ", ".join(map(str, old))
    return [f"{name}: probed at step {steps}, and its newest checkpoint is of step {newest_step}"]
