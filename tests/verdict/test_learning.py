"""Whether a module learned, and whether its posterior collapsed, from figures with known answers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.verdict.verdict_cases import CHANCE, config, falling, figures
from vgim.config.schema import AttachConfig
from vgim.verdict.figures import Measurement, ModuleFigures, RunFigures
from vgim.verdict.judge import judge
from vgim.verdict.learning import RARE, judge_module, noise


def states(of: RunFigures) -> list[str]:
    return [module.state for module in judge(of).modules]


@pytest.mark.parametrize(
    ("nce", "crops", "state"),
    [
        (1.4, 100, "learned"),
        (CHANCE, 100, "chance"),
        (2.5, 100, "chance"),  # scores of a fresh predictor are noise, which is worse than guessing
        (0.98 * CHANCE - 0.001, 1000, "learned"),
        (0.98 * CHANCE + 0.001, 1000, "begun"),  # beyond the noise of so many crops, and yet below 2 %
        (0.98 * CHANCE + 0.001, 10, "chance"),  # 0.047 nats below chance, where noise reaches 0.069
        (0.98 * CHANCE + 0.001, None, "chance"),
        (2.30, 4, "unsure"),  # 4 crops of 10 spans: noise reaches ln(1000) / 40 = 0.173 nats below chance
        (2.22, 4, "learned"),
        (2.22, 1, "unsure"),
        (2.30, None, "learned"),  # an unknown number of crops has no bound of noise
        (None, 100, "not_finite"),
    ],
)
def test_infonce_against_chance(nce: float | None, crops: int | None, state: str) -> None:
    found = judge(figures((nce, 1.5, 1.5), crops=crops)).modules[0]
    assert found.state == state
    if nce is not None and state != "not_finite":
        assert found.needed is not None
        assert (nce < found.needed) == (state == "learned")


def test_noise_of_modules_that_know_nothing_reaches_the_bound_in_one_of_a_thousand_runs_at_most() -> None:
    """Scores of a module that knows nothing, with much variance and the same within a crop's spans: the worst case."""
    draws = np.random.default_rng(0)
    num_runs, num_crops, num_spans = 40_000, 3, 2
    scores = draws.normal(0, 3, (num_runs, num_crops * num_spans, 11))
    losses = np.log(np.exp(scores).sum(-1)) - scores[..., 0]
    below = math.log(11) - losses.mean(1)
    # At most 1 / 1000 in expectation; 80 of 40,000 is 6 standard deviations above that.
    assert (below > noise(num_crops, num_spans)).sum() <= 40_000 / RARE + 40


def test_training_batches_count_where_there_is_no_validation() -> None:
    (module, *_) = judge(figures(on_training=True)).modules
    assert (module.state, module.split) == ("learned", "training")
    assert "training InfoNCE 1.400" in judge(figures(on_training=True)).sentences[0]


def test_steps_of_a_module_that_is_trained_by_itself_stand_without_the_epochs_of_all() -> None:
    alone = judge(figures((CHANCE,) * 3, of=config(schedule="sequential"), steps=12, step=36, epoch=2.1))
    assert alone.sentences[1] == "Too few steps to tell: 12 of a module are a beginning, not a collapse."


def test_a_run_of_12_steps_has_begun_and_has_not_collapsed() -> None:
    verdict = judge(figures((CHANCE,) * 3, steps=12, active=(0.0, 0.0, 1.0)))
    assert {module.state for module in verdict.modules} == {"chance"}
    assert verdict.sentences[:2] == (
        "All 3 modules are at chance, no better than guessing (validation InfoNCE 2.398); chance is 2.398 nats.",
        "Too few steps to tell: 12 (0.12 epochs) are a beginning, not a collapse.",
    )


COLLAPSED = {"nce": (CHANCE, 1.5, 1.6), "active": (0.01, 0.9, 0.9)}


@pytest.mark.parametrize(
    ("case", "state"),
    [
        ({"steps": 200}, "collapsed"),  # objective.collapse_patience_steps
        ({"steps": 199}, "chance"),
        ({"steps": 299, "of": config(warmup=100)}, "chance"),
        ({"steps": 300, "of": config(warmup=100)}, "collapsed"),
        ({"steps": 50, "curve": falling(2.39, 2.0, 50)}, "collapsed"),  # it had learned before
        ({"steps": 50, "collapse_events": (0,)}, "collapsed"),
        ({"steps": 5000, "active": (0.06, 0.9, 0.9)}, "chance"),
        ({"steps": 5000, "reached": 0.0}, "chance"),  # no KL term has pulled
        ({"steps": 5000, "nce": (1.4, 1.5, 1.6)}, "learned"),
    ],
)
def test_a_collapse_needs_an_inactive_posterior_under_a_kl_term_for_long_enough(
    case: dict[str, object], state: str
) -> None:
    assert states(figures(**{**COLLAPSED, **case}))[0] == state  # type: ignore[arg-type]


def test_a_posterior_that_training_batches_show_at_work_has_not_collapsed() -> None:
    """In the first steps running moments lag, so that validation may find no unit active."""
    few = figures(
        (2.401, 2.399, 2.398), steps=12, active=(0.0, 0.8, 1.0), curve=((4, 2.34), (8, 2.3), (12, 2.27))
    )
    at_work = replace(few.modules[0], training=Measurement(2.27, None))
    verdict = judge(replace(few, modules=(at_work, *few.modules[1:])))
    assert {module.state for module in verdict.modules} == {"chance"}
    assert "not a collapse" in verdict.sentences[1]
    assert verdict.next is not None
    assert verdict.next.purpose == "see whether every module learns"


@pytest.mark.parametrize("family", ["gim", "cpc"])
def test_modules_without_a_posterior_do_not_collapse(family: str) -> None:
    nce = (CHANCE,) * (1 if family == "cpc" else 3)
    verdict = judge(figures(nce, of=config(family=family), active=(0.0, 0.0, 0.0), steps=5000))
    assert {module.state for module in verdict.modules} == {"chance"}
    assert not any("collapse" in finding.text for finding in verdict.findings)
    assert verdict.next is not None
    assert "kld_weight" not in verdict.next.command


def test_the_gru_of_a_sim_does_not_collapse() -> None:
    assert states(figures((1.4, 1.4, CHANCE), active=(0.9, 0.9, 0.0)))[2] == "chance"


def test_each_state_has_its_own_clause() -> None:
    of = figures((1.4, CHANCE, None), active=(0.9, 0.0, 0.9))
    assert judge(of).sentences[0] == (
        "Module 0 learned (validation InfoNCE 1.400); module 1 has collapsed (validation InfoNCE 2.398, 0.0% of the "
        "units active), so that latents ignore the input; InfoNCE of module 2 is not finite; chance is 2.398 nats."
    )
    waiting = ModuleFigures(module=0, has_posterior=True, num_spans=10)
    assert judge_module(config(), waiting).state == "untrained"


def test_modules_of_the_run_that_a_run_is_attached_to_are_given() -> None:
    of = config().model_copy(update={"attach": AttachConfig(run="/runs/lower")})
    attached = figures((1.4, 1.4, 1.5), of=of)
    given = [ModuleFigures(module=m, has_posterior=True, num_spans=10) for m in (0, 1)]
    verdict = judge(replace(attached, modules=(*given, attached.modules[2])))
    assert [module.state for module in verdict.modules] == ["given", "given", "learned"]
    assert verdict.sentences[0] == (
        "Module 2 learned (validation InfoNCE 1.500); modules 0 and 1 are of /runs/lower; chance is 2.398 nats."
    )
    assert verdict.next is not None
    assert verdict.next.command.startswith("vgim probe")
