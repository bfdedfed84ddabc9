"""The cost of a nat a frame, against the published numbers worked by hand."""

from __future__ import annotations

import pytest

from vgim.config import RunConfig
from vgim.model.nat_cost import dearer_than_published, differing_units, nat_costs


def config(
    weight: float, reduction: str = "time_sum", channels: int = 512, crop: int = 10_240, **model: object
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": {"shards": "/s", "crop_samples": crop},
            "model": {"channels": channels, **model},
            "objective": {"kld_weight": weight, "kl_reduction": reduction},
        }
    )


@pytest.mark.parametrize(
    ("run", "costs"),
    [
        (config(0.01), (0.01 * 511 / 512, 0.01 * 129 / 512, 0.01 * 64 / 512)),
        (config(0.01, channels=64), (0.01 * 511 / 64, 0.01 * 129 / 64, 0.01)),
        (config(0.0033, crop=20_480), (0.0033 * 1023 / 512, 0.0033 * 257 / 512, 0.0033 / 4)),
        (config(2.0, "mean", 64), (1 / 32, 1 / 32, 1 / 32)),
        (config(0.005, "frame", 64), (0.005, 0.005, 0.005)),
        (config(0.005, "frame", depth=1), (0.005,)),
        (config(0.0, family="gim"), ()),
    ],
)
def test_the_cost_of_a_nat_is_that_of_the_formula(run: RunConfig, costs: tuple[float, ...]) -> None:
    assert nat_costs(run) == pytest.approx(dict(enumerate(costs)))  # the GRU has no posterior


@pytest.mark.parametrize(
    "run",
    [
        config(0.01),
        config(0.00125, channels=64),
        config(0.0033, crop=20_480),
        config(0.00125, "frame"),
        config(0.00125, "frame", 16),
        config(0.0025, "frame", crop=20_480),
        config(0.08, "mean", 64),
        config(0.0, family="gim"),
        config(0.0),
    ],
)
def test_weights_up_to_the_published_cost_are_not_warned_of(run: RunConfig) -> None:
    assert dearer_than_published(run) is None


def test_weights_that_hold_a_rate_are_not_warned_of() -> None:
    dear = config(0.01, channels=64)
    objective = dear.objective.model_copy(update={"target_rate": 12.0})
    assert dearer_than_published(dear.model_copy(update={"objective": objective})) is None


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            config(0.01, channels=64),
            "objective.kld_weight=0.01 makes a nat a frame up to 8 times as dear as published, so that posteriors may "
            "collapse; set objective.kld_weight=0.00125, or objective.kl_reduction=frame objective.kld_weight=0.00125 "
            "(cost of a nat in modules 0 to 2 at 64 channels: 0.0798, 0.0202, 0.01; published: 0.00998, 0.00252, "
            "0.00125)",
        ),
        (config(0.005, "frame"), "set objective.kld_weight=0.00125 ("),
        (config(1.0, "mean", 64, 20_480), "objective.kl_reduction=frame objective.kld_weight=0.0025"),
        (config(0.02, depth=1), "in module 0 at 512 channels: 0.02; published: 0.00998)"),
    ],
)
def test_a_dearer_nat_is_warned_of_with_a_weight_that_is_not(run: RunConfig, words: str) -> None:
    warning = dearer_than_published(run)
    assert warning is not None
    assert words in warning
    for fix in warning.partition("; set ")[2].partition(" (")[0].split(", or "):
        changes = dict(part.removeprefix("objective.").split("=") for part in fix.split())
        objective = run.objective.model_validate({**run.objective.model_dump(), **changes})
        assert dearer_than_published(run.model_copy(update={"objective": objective})) is None


def test_equal_weights_of_other_widths_and_modules_do_not_compare_unless_per_frame() -> None:
    runs = {"wide": config(0.01), "narrow": config(0.001, channels=64), "plain": config(0.0, family="gim")}
    note = differing_units(runs)
    assert note is not None
    assert "costs 8 times as much in module 0 of narrow as in module 0 of wide" in note
    assert differing_units({"one": config(0.01), "other": config(0.02)}) is None
    deep = differing_units({"wide": config(0.01), "deep": config(0.01)}, [0, 2])
    assert deep is not None
    assert "7.98 times as much in module 0 of wide as in module 2 of deep" in deep
    assert (
        differing_units({name: config(0.01, "frame", channels) for name, channels in (("a", 8), ("b", 64))})
        is None
    )


def test_weights_that_follow_a_target_rate_do_not_compare() -> None:
    plain = config(0.01)
    objective = plain.objective.model_copy(update={"target_rate": 12.0})
    held = plain.model_copy(update={"objective": objective})
    said = "it is where the weights start that hold the KL at objective.target_rate"
    assert differing_units({"a": held, "b": plain}) == f"kld_weight does not compare: in a {said}"
    assert differing_units({"a": held, "b": held}) == f"kld_weight does not compare: {said}"
    assert differing_units({"a": held}) is None
