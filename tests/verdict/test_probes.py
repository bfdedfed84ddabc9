"""Probes against their baselines."""

from __future__ import annotations

import pytest

from tests.verdict.verdict_cases import figures, probe, probes
from vgim.verdict.judge import judge
from vgim.verdict.probes import difference, probe_finding, probed_tasks


@pytest.mark.parametrize(
    ("trained", "random", "mfcc", "level", "says"),
    [
        (
            0.50,
            0.30,
            0.40,
            "good",
            "20.0 points (17.2 to 22.8) better than the untrained encoder and 10.0 points",
        ),
        (0.50, 0.30, 0.60, "open", "10.0 points (7.2 to 12.8) worse than MFCC"),
        (
            0.50,
            0.49,
            0.40,
            "bad",
            "not clearly different from the untrained encoder (+1.0 points, -1.8 to +3.8)",
        ),
        (0.50, 0.60, 0.40, "bad", "10.0 points (7.2 to 12.8) worse than the untrained encoder"),
        (0.50, 0.30, None, "open", "not compared with MFCC, without which it says little"),
        (0.50, None, None, "open", "not compared with the untrained encoder and MFCC"),
        (0.11, 0.05, 0.05, "bad", "naming the most frequent class alone gives 10.0%"),
    ],
)
def test_accuracy_against_the_baselines(
    trained: float, random: float | None, mfcc: float | None, level: str, says: str
) -> None:
    (probed,) = probed_tasks(probes(trained, random, mfcc))
    found = probe_finding(probed)
    assert found.level == level
    assert says in found.text
    assert found.text.startswith(f"Phone probe: {trained:.1%} (95 %: ")


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """Newcombe (1998), table II: 56/70 − 48/80, whose Wilson intervals are these, has 0.0524 to 0.3339."""
    a = probe("trained", 0.8).model_copy(update={"interval_over_utterances": _interval(0.6918, 0.8773)})
    b = probe("random", 0.6).model_copy(update={"interval_over_utterances": _interval(0.4905, 0.7005)})
    found = difference(a, b)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=3e-4)
    assert found.is_clear


def _interval(low: float, high: float) -> object:
    return type(probe("mfcc", 0.5).interval_over_utterances)(low=low, high=high)


def test_the_best_module_of_each_encoder_counts() -> None:
    results = [
        probe("trained", 0.4, module=0),
        probe("trained", 0.6, module=1),
        probe("random", 0.5, module=0),
    ]
    (probed,) = probed_tasks(results)
    assert (probed.best.module, probed.baselines["random"].accuracy) == (1, 0.5)


def test_several_modules_count_where_the_untrained_encoder_was_read_alike() -> None:
    several = {"module": None, "concat": (0, 1)}
    trained = [probe("trained", 0.5), probe("trained", 0.7).model_copy(update=several)]
    random = [probe("random", 0.4), probe("random", 0.65).model_copy(update=several)]
    (alike,) = probed_tasks([*trained, *random])
    assert (alike.best.output.name, alike.baselines["random"].accuracy) == ("modules 0+1", 0.65)
    assert "from modules 0+1, 5.0 points" in probe_finding(alike).text
    (unlike,) = probed_tasks([*trained, random[0], probe("mfcc", 0.45)])
    assert unlike.best.output.name == "module 0"
    said = probe_finding(unlike).text
    assert "from module 0, 10.0 points (7.2 to 12.8) better than the untrained encoder" in said
    assert said.endswith(
        "; 70.0% from modules 0+1, on which the untrained encoder was not probed (--concat)."
    )


def test_settings_are_kept_apart() -> None:
    usual, other = probes(0.5, 0.3, 0.4), probes(0.9, None, None, solver="adam")
    first, second = probed_tasks([*other, *usual])
    assert (first.variant, first.best.accuracy) == ("", 0.5)
    assert (second.variant, second.best.accuracy) == ("adam", 0.9)


def test_probes_of_an_old_checkpoint_are_named() -> None:
    verdict = judge(figures(steps=4000, probes=probes(0.5, 0.3, 0.4)))
    assert "The probes are of step 2,000, and the run is at step 4,000." in verdict.sentences


def test_the_probe_is_the_second_sentence() -> None:
    verdict = judge(figures(probes=probes(0.5, 0.3, 0.4)))
    assert verdict.sentences[0].startswith("All 3 modules learned")
    assert verdict.sentences[1].startswith("Phone probe: 50.0%")
    assert verdict.level == "good"
