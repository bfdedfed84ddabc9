"""`vgim probe --labels-per-class`: a study of few labels."""

from __future__ import annotations

from collections.abc import Mapping

import click

from vgim.cli.live import show_progress
from vgim.cli.results import echo_json
from vgim.errors import ConfigError


def refuse_without_study(study: Mapping[str, object]) -> None:
    """Refuse options of a study of few labels that were given without one."""
    if study:
        name, value = next(iter(study.items()))
        raise ConfigError(
            f"--{name.replace('_', '-')} {value} is for --labels-per-class alone; give both or neither"
        )


def refuse_with_study(num_runs: int, num_tasks: int, *, workers: int, all_epochs: bool, anew: bool) -> None:
    """Refuse what a study of few labels cannot do."""
    if workers or num_runs > 1 or num_tasks > 1:
        raise ConfigError(
            "--labels-per-class studies one run and one task in its own process; give one RUN and one --task, "
            "and leave --workers out"
        )
    if all_epochs:
        raise ConfigError("--labels-per-class and --all-epochs exclude each other; give one")
    if anew:
        raise ConfigError("--anew has no effect on --labels-per-class, which computes all anew; leave it out")


def study(where: str, chosen: dict[str, object], seeds: int | None, pdf: bool, as_json: bool) -> None:
    """Study a run with few labels, and print the results.

    Args:
        where: Path or URI of the run.
        chosen: Fields of `FewLabelsOptions`; `labels_per_class` as it was given.
        seeds: None for the default of a study.
    """
    from vgim.downstream.few_labels.result import FewLabelsOptions, format_study, parse_labels

    chosen["labels_per_class"] = parse_labels(str(chosen["labels_per_class"]))
    if seeds is not None:
        chosen["seeds"] = seeds
    if not 0 < float(str(chosen.get("logit_std", 1))) < float("inf"):
        raise ConfigError(f"--logit-std {chosen['logit_std']} is no deviation; give a number above 0")
    with show_progress(is_quiet=as_json) as progress:
        with progress.stage("loading torch"):
            from vgim.downstream.few_labels.study import study as study_run

        with progress.stage("studying few labels"):
            results = study_run(where, FewLabelsOptions.model_validate(chosen), progress.message, pdf=pdf)
    if as_json:
        echo_json(results)
        return
    for result in results:
        click.echo(format_study(result))
        for note in result.notes:
            click.echo(f"note: {note}")
