"""Which of several runs is better, from accuracies with known intervals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.verdict.verdict_cases import CHANCE, figures, probe
from vgim.compare.better import judge_runs
from vgim.compare.comparison import ComparedRun, ComparisonVerdict
from vgim.compare.read_probes import compared_probe
from vgim.downstream.result import Interval
from vgim.verdict.judge import judge


def run(name: str, *accuracies: float, half: float = 0.02, task: str = "phone", **more: Any) -> ComparedRun:
    """A run whose modules were probed with these accuracies."""
    results = [probe("trained", value, half=half, task=task, module=m) for m, value in enumerate(accuracies)]
    of = figures(uri=f"/runs/{name}", probes=results, **more)
    return ComparedRun(
        name=name,
        uri=of.uri,
        state="finished",
        family="sim",
        kld_weight=0.001,
        num_modules=3,
        channels=8,
        step=2000,
        epoch=20,
        encoder_parameters=1,
        predictor_parameters=1,
        workers=0,
        device="cpu",
        cost=None,
        data_fingerprint="0",
        chance_nce=CHANCE,
        modules=(),
        probes=tuple(map(compared_probe, results)),
        verdict=judge(of),
    )


def verdict(*runs: ComparedRun) -> ComparisonVerdict:
    found = judge_runs(runs, [figures(uri=one.uri) for one in runs])
    assert found is not None
    return found


def test_a_single_run_is_compared_with_nothing() -> None:
    assert judge_runs([run("a", 0.5)], [figures()]) is None


@pytest.mark.parametrize(
    ("accuracies", "sentence"),
    [
        ({"a": 0.5, "b": 0.6}, "phone: b is best with 60.0%, 10.0 points (7.2 to 12.8) better than a."),
        (
            {"a": 0.5, "b": 0.6, "c": 0.4},
            "phone: b is best with 60.0%, 10.0 points (7.2 to 12.8) better than a, the next.",
        ),
        (
            {"a": 0.50, "b": 0.51},
            "phone: b (51.0%) leads a by 1.0 points (-1.8 to 3.8), within the interval: no run is clearly better.",
        ),
        (
            {"a": 0.50, "b": 0.51, "c": 0.3},
            "phone: b (51.0%) leads a by 1.0 points (-1.8 to 3.8), within the interval: only the others are clearly "
            "worse.",
        ),
    ],
)
def test_the_best_run_is_named_where_the_difference_is_beyond_its_interval(
    accuracies: dict[str, float], sentence: str
) -> None:
    found = verdict(*(run(name, value) for name, value in accuracies.items()))
    assert found.sentences == (sentence,)
    assert found.next is not None
    assert "/runs/b" in found.next.command


def test_each_run_counts_with_its_best_module() -> None:
    found = verdict(run("a", 0.3, 0.7), run("b", 0.6, 0.5))
    assert found.sentences[0].startswith("phone: a is best with 70.0%, 10.0 points")


def test_several_modules_count_where_every_run_was_read_so() -> None:
    a, b = run("a", 0.5), run("b", 0.6)

    def with_several(one: ComparedRun, accuracy: float) -> ComparedRun:
        several = one.probes[0].model_copy(
            update={
                "module": None,
                "concat": (0, 1),
                "accuracy": accuracy,
                "interval_over_utterances": Interval(low=accuracy - 0.02, high=accuracy + 0.02),
            }
        )
        return one.model_copy(update={"probes": (*one.probes, several)})

    assert verdict(with_several(a, 0.9), b).sentences[0].startswith("phone: b is best with 60.0%")
    both = verdict(with_several(a, 0.9), with_several(b, 0.4))
    assert both.sentences[0].startswith("phone: a is best with 90.0%, 30.0 points")


def test_runs_that_were_not_probed_alike_have_no_better_one_and_the_command_that_probes_them() -> None:
    found = verdict(run("a", 0.5), run("b"), run("c", 0.6, task="speaker"))
    assert found.sentences == (
        "No two runs were probed on one task, and InfoNCE alone does not say which encoder is better.",
    )
    assert found.next is not None
    assert found.next.command.startswith("vgim probe /runs/b /runs/c --task phone --all-modules")


def test_runs_on_different_data_are_to_be_probed_on_shards_that_can_be_read_and_a_task_with_labels_there() -> (
    None
):
    a, b = run("a", 0.5), run("b", 0.6).model_copy(update={"data_fingerprint": "1"})
    b = b.model_copy(
        update={"probes": tuple(p.model_copy(update={"data_fingerprint": "1"}) for p in b.probes)}
    )
    of_a, of_b = figures(uri=a.uri, hours=None, task="speaker"), figures(uri=b.uri, hours=1.0, task="phone")
    found = judge_runs([a, b], [of_a, of_b])
    assert found is not None
    assert found.sentences[0].startswith("No two runs were probed on the same data, and InfoNCE")
    assert found.next is not None
    shards = of_b.config.data.shards
    assert found.next.command.startswith(
        f"vgim probe /runs/a /runs/b --task phone --all-modules --shards {shards} "
    )


def test_runs_probed_on_one_task_in_different_ways_are_probed_again_in_one_way() -> None:
    b = run("b", 0.6)
    b = b.model_copy(update={"probes": tuple(p.model_copy(update={"variant": "whole"}) for p in b.probes)})
    found = verdict(run("a", 0.5), b)
    assert found.next is not None
    assert found.next.command.startswith("vgim probe /runs/a /runs/b --task phone --all-modules --encoder")


def test_of_runs_at_chance_none_is_better() -> None:
    at_chance = {"nce": (CHANCE,) * 3}
    found = verdict(run("a", 0.5, **at_chance), run("b", 0.6, **at_chance))
    assert found.sentences == ("No module of any run learned, so that no run is better.",)
