"""KL weight, trend, and data that is too little, from figures with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.verdict.verdict_cases import CHANCE, config, falling, figures, probes
from vgim.config import RunConfig
from vgim.verdict.figures import RunFigures
from vgim.verdict.judge import judge
from vgim.verdict.training import chance_beyond, fall_of


def texts(of: RunFigures, about: str) -> list[str]:
    return [finding.text for finding in judge(of).findings if finding.about == about]


def test_a_warm_up_that_did_not_end_is_said_with_the_share_that_was_reached() -> None:
    of = figures(of=config(warmup=3500), steps=200, reached=0.001 * 199 / 3500)
    assert texts(of, "kl_weight") == [
        "The KL weight reached 5.7% of objective.kld_weight=0.001: its warm-up takes 3,500 steps, and training took "
        "200."
    ]
    assert texts(of, "kl_weight")[0] in judge(of).sentences


def test_a_full_weight_is_a_finding_that_takes_no_sentence() -> None:
    of = figures()
    assert texts(of, "kl_weight") == ["The KL term has its full weight, objective.kld_weight=0.001."]
    assert texts(of, "kl_weight")[0] not in judge(of).sentences


def test_a_run_without_a_kl_term_has_no_word_on_its_weight() -> None:
    assert not texts(figures(of=config(kld_weight=0.0)), "kl_weight")
    assert not texts(figures(of=config(family="gim")), "kl_weight")


def test_a_target_rate_that_is_held_is_said_with_the_weights_that_hold_it() -> None:
    of = figures(of=config(target_rate=12.0), rates=(11.5, 12.6), reached=0.0042)
    assert texts(of, "kl_weight") == [
        "The KL in modules 0 and 1 is held at 11.5 and 12.6 nats a frame where objective.target_rate=12; the KL weight "
        "reached 0.0042 and 0.0042."
    ]
    assert texts(of, "kl_weight")[0] not in judge(of).sentences


def test_a_target_rate_that_is_not_reached_calls_for_more_steps() -> None:
    of = figures(
        of=config(target_rate=12.0), rates=(11.5, 16.0), reached=0.0042, probes=probes(0.6, 0.4, 0.3)
    )
    verdict = judge(of)
    (said,) = texts(of, "kl_weight")
    assert "is 11.5 and 16 nats a frame where objective.target_rate=12, not there yet" in said
    assert said in verdict.sentences
    assert verdict.next is not None
    assert verdict.next.purpose == "reach the target rate"


@pytest.mark.parametrize(
    ("warmup", "said"),
    [
        (
            3500,
            "The KL weights do not follow objective.target_rate=12 yet: their warm-up takes 3,500 steps, and training "
            "took 720; the KL in modules 0 and 1 is 11.5 and 16 nats a frame, and the KL weight reached 0.0042 and "
            "0.0042.",
        ),
        (
            600,
            "The KL weights have followed objective.target_rate=12 for 120 steps, since their warm-up, and may take "
            "346 to get there; so far the KL in modules 0 and 1 is 11.5 and 16 nats a frame, and the KL weight reached "
            "0.0042 and 0.0042.",
        ),
        (
            374,
            "The KL in modules 0 and 1 is 11.5 and 16 nats a frame where objective.target_rate=12, not there yet; the "
            "KL weight reached 0.0042 and 0.0042.",
        ),
    ],
)
def test_a_target_rate_that_weights_follow_since_a_short_time_is_not_said_to_be_missed(
    warmup: int, said: str
) -> None:
    of = figures(of=config(target_rate=12.0, warmup=warmup), rates=(11.5, 16.0), reached=0.0042, steps=720)
    assert texts(of, "kl_weight") == [said]


def test_a_kl_near_its_rate_in_the_warm_up_is_not_held_there() -> None:
    of = figures(of=config(target_rate=12.0, warmup=600), rates=(12.0, 12.0), reached=0.0002, steps=300)
    (said,) = texts(of, "kl_weight")
    assert said.startswith("The KL weights do not follow objective.target_rate=12 yet")
    held = figures(of=config(target_rate=12.0, warmup=600), rates=(12.0, 12.0), reached=0.0042, steps=610)
    assert "is held at 12 and 12 nats a frame" in texts(held, "kl_weight")[0]


def test_a_target_rate_without_a_warm_up_is_followed_from_the_start() -> None:
    of = figures(of=config(target_rate=12.0), rates=(11.5, 16.0), reached=0.0042, steps=50)
    assert texts(of, "kl_weight")[0].startswith(
        "The KL weights have followed objective.target_rate=12 for 50 steps and may take 346 to get there; so far"
    )


def test_a_target_rate_that_holds_modules_at_chance_is_to_be_raised() -> None:
    of = figures((CHANCE,) * 3, of=config(target_rate=2.0), steps=2000, reached=1.0, rates=(2.0, 2.0))
    assert texts(of, "kl_cost") == [
        "The KL term may hold them there: the weights that hold objective.target_rate=2 make a nat of KL 100 times as "
        "dear as published."
    ]
    verdict = judge(of)
    assert verdict.next is not None
    assert verdict.next.command.endswith("objective.target_rate=6 storage.name=run-rate6")


def dear(kld_weight: float, **more: object) -> RunConfig:
    return config(kld_weight=kld_weight, **more)  # type: ignore[arg-type]


def test_a_kl_term_that_is_far_too_dear_is_named_where_modules_are_at_chance() -> None:
    at_chance = figures((CHANCE,) * 3, of=dear(1.0), steps=60)
    assert texts(at_chance, "kl_cost") == [
        "The KL term may hold them there: objective.kld_weight=1 makes a nat of KL 100 times as dear as published."
    ]
    assert not texts(at_chance, "steps")
    assert not texts(figures(of=dear(1.0)), "kl_cost")  # they learned
    assert not texts(figures((CHANCE,) * 3, of=dear(1.0), reached=0.0), "kl_cost")  # it has not pulled yet
    assert not texts(figures((1.4, 1.4, CHANCE), of=dear(1.0)), "kl_cost")  # the GRU has no posterior


@pytest.mark.parametrize(
    ("curve", "fall"),
    [
        (falling(2.4, 1.4, 1000), 0.5),
        (falling(1.4, 1.4, 1000), 0.0),
        (falling(1.4, 2.4, 1000), 0.0),
        (falling(2.4, 1.4, 1000, num_records=9), 0.0),  # too few records for a trend
        ((), 0.0),
        (((7, 2.0), (7, 1.0)) * 4, 0.0),  # a file that was put together by hand
    ],
)
def test_the_fall_over_the_second_half(curve: tuple[tuple[int, float], ...], fall: float) -> None:
    assert fall_of(curve) == pytest.approx(fall, abs=0.03)


@pytest.mark.parametrize("degrees", [2, 3, 4, 5, 6, 7, 20, 31, 400])
def test_the_chance_of_students_t_is_that_of_scipy(degrees: int) -> None:
    for t in (0.5, 3.3, 8.6):
        assert chance_beyond(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), abs=1e-12)


@pytest.mark.parametrize("num_records", [6, 8, 40])
def test_noise_seems_to_fall_once_in_2000_times(num_records: int) -> None:
    rng, num_falls = np.random.default_rng(0), 0
    for nces in 1.5 + 0.1 * rng.normal(size=(20_000, 2 * num_records)):
        num_falls += fall_of(tuple((10 * i, nce) for i, nce in enumerate(nces))) > 0
    assert 2 <= num_falls <= 25  # 10 are expected; 3.3 standard errors gave 268 with 6 records


def test_a_loss_that_still_falls_is_said() -> None:
    (text,) = texts(figures(curve=falling(2.4, 1.4, 2000)), "trend")
    assert text.startswith("InfoNCE was still falling, by up to 0.49 nats")
    assert text.endswith("over the second half of 2,000 steps, so that longer training helps.")
    assert not texts(figures(curve=falling(1.41, 1.4, 2000)), "trend")  # 0.005 nats are below 1 % of chance


def test_validation_that_rises_while_training_falls_is_too_little_data() -> None:
    validations = tuple((200 * (i + 1), 1.6 + 0.1 * abs(i - 3)) for i in range(10))
    of = figures(curve=falling(2.4, 1.4, 2000), validations=validations, hours=0.5)
    (text,) = texts(of, "data")
    assert text == (
        "Validation InfoNCE of module 0 rose from 1.600 at step 800 to 2.200 while training InfoNCE fell: more epochs "
        "of these 30 minutes do not help, more data would."
    )
    assert not texts(of, "trend")
    assert not texts(figures(curve=falling(2.4, 1.4, 2000), validations=falling(2.4, 1.5, 2000)), "data")
