"""The probe results that a run's folder holds: read them, and choose the newest of each kind."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from vgim.downstream.few_labels.result import is_study
from vgim.downstream.options import SUPERVISED_EPOCHS, unusual_features, unusual_options
from vgim.downstream.output import Output
from vgim.downstream.result import ProbeResult
from vgim.errors import StorageError
from vgim.runs.layout import PROBES, RESULT
from vgim.storage import Location
from vgim.text import first_problem


def read_results(run: Location, name: str, notes: list[str]) -> list[ProbeResult]:
    """Read every probe result of a run, without studies of few labels, whose accuracies have other training data.

    Args:
        name: The run's name in notes.
        notes: Results that cannot be read are added here.
    """
    results = []
    for folder in run.child(PROBES).list():
        file = run.child(PROBES, folder, RESULT)
        if not file.exists():
            continue
        reason = ""
        try:
            content = file.read_bytes()
            if not is_study(content):
                results.append(ProbeResult.model_validate_json(content))
        except StorageError as error:
            reason = str(error)
        except ValidationError as error:
            reason = first_problem(error)
        if reason:
            notes.append(
                f"{name}: probes/{folder}/{RESULT} is left out, it does not read as a result: {reason}"
            )
    return results


def newest_results(results: Iterable[ProbeResult]) -> list[ProbeResult]:
    """Keep one result for each task, variant, encoder and output: the one of the latest step."""

    def age(result: ProbeResult) -> tuple[int, bool]:
        return result.step or 0, result.options.checkpoint != "named"

    newest: dict[tuple[object, ...], ProbeResult] = {}
    for result in results:
        key = (result.task, variant(result), result.encoder, result.output)
        if key not in newest or age(result) > age(newest[key]):
            newest[key] = result
    order = sorted(newest, key=lambda key: (*map(str, key[:3]), _in_order(newest[key].output)))
    return [newest[key] for key in order]


def _in_order(output: Output) -> tuple[bool, tuple[str, ...]]:
    """A key that sorts several modules behind single ones."""
    return bool(output.concat), tuple("" if part is None else str(part) for part in output)


def variant(result: ProbeResult) -> str:
    """Name the options other than task, encoder, module and layer that shape a result; empty for the defaults."""
    options = result.options
    words = unusual_features(options)
    words += ["best"] * (options.checkpoint == "best")
    if result.label_epochs and options.supervised_epochs != SUPERVISED_EPOCHS:
        words.append(f"epochs{options.supervised_epochs}")
    words += [*unusual_options(options, result.data_fingerprint, result.labels), *result.deviations]
    return ", ".join(words)
