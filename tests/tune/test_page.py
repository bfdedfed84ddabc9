"""`sweep.html`, as written and as shown in Chromium; browser tests are skipped if there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CONTRASTS, Page, find_browser
from tests.tune.page_results import made_up
from vgim.tune.charts import FRAME, metric_against, pareto_of_kl, pareto_of_normality
from vgim.tune.metric_levels import MetricLevel
from vgim.tune.page import render
from vgim.tune.results import SweepResult

PROGRAM = find_browser()
in_browser = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine")
CHARTS = [
    "phone accuracy against kld_weight",
    "phone accuracy against KL per element",
    "phone accuracy against latent normality",
]
# Texts of a drawing that are outside the screen, or overlap another text of the same drawing.
MISPLACED = """
[...document.querySelectorAll('figure > svg')].flatMap((svg) => {
  const texts = [...svg.querySelectorAll('text')].map((one) => [one.textContent, one.getBoundingClientRect()]);
  const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
  const outside = texts.filter(([, box]) => box.left < 0 || box.right > innerWidth).map(([text]) => text);
  const over = texts.flatMap(([one, a], i) => texts.slice(i + 1)
    .filter(([, b]) => overlap(a, b)).map(([other]) => `${one} over ${other}`));
  return [...outside, ...over];
})
"""
SIZES = """
[...document.querySelectorAll('svg text')].map((one) => {
  const scale = one.ownerSVGElement.getBoundingClientRect().width / one.ownerSVGElement.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(one).fontSize) * scale;
})
"""


def without(result: SweepResult, **figures: object) -> SweepResult:
    trials = tuple(trial.model_copy(update=figures) for trial in result.trials)
    return result.model_copy(update={"trials": trials})


def test_the_front_joins_the_trials_that_no_trial_beats_in_both() -> None:
    result = made_up()
    chart = pareto_of_normality(result)
    assert chart is not None
    assert len(chart.marks) == 26  # all but the one that failed and the one that waits
    told = {(t.mean_ks, t.metric): t.id for t in result.trials if t.metric is not None}
    front = {
        name
        for (ks, metric), name in told.items()
        if not any(k <= ks and m >= metric and (k, m) != (ks, metric) for k, m in told)
    }
    assert 1 < len(front) < 26
    assert {mark.label.split(" ")[0] for mark in chart.marks if mark.color == 1} == front
    assert chart.lines[0].path.count("L") == len(front) - 1
    assert [mark.label.split(" ")[0] for mark in chart.marks if mark.ringed] == [result.best]


def test_trials_without_a_posterior_have_no_pareto_chart() -> None:
    plain = without(made_up(), kl_per_element=(None,) * 4, mean_ks=None)
    assert pareto_of_kl(plain) is None
    assert pareto_of_normality(plain) is None
    assert "KL per element</figcaption>" not in render(plain)


def test_trials_of_different_widths_are_compared_by_nats_a_frame_and_noted() -> None:
    result = made_up()
    keys = (*result.keys, "model.channels")
    trials = tuple(
        t.model_copy(update={"values": {**t.values, "model.channels": 8 * t.depth}}) for t in result.trials
    )
    widths = result.model_copy(update={"keys": keys, "trials": trials, "notes": ("weights <differ>",)})
    chart, per_element = pareto_of_kl(widths), pareto_of_kl(result)
    assert chart is not None
    assert per_element is not None
    assert (chart.title, chart.x_label) == ("phone accuracy against KL per frame", "KL per frame (nats)")
    nats = [float(re.findall(r"\(nats\): (\S+)", mark.label)[0]) for mark in chart.marks]
    of_element = [float(re.findall(r"\(nats\): (\S+)", mark.label)[0]) for mark in per_element.marks]
    depths = [t.depth for t in result.trials if t.metric is not None]
    assert nats == pytest.approx([8 * d * kl for d, kl in zip(depths, of_element, strict=True)], rel=1e-2)
    assert "Note: weights &lt;differ&gt;." in render(widths)
    assert "Note:" not in render(result)
    assert SweepResult.model_validate_json(widths.model_dump_json()) == widths
    assert "notes" not in result.model_dump_json()


def test_the_page_says_why_trials_did_not_finish() -> None:
    page = render(made_up())
    ends = re.findall(r'<li>(\S+) <span class="\w+">(\w+)</span>: ([^<]+)</li>', page)
    assert [(name, state) for name, state, _ in ends] == [
        ("kld_weight0.1-depth2", "stopped"),
        ("kld_weight0.1-depth3", "failed"),
    ]
    assert "is not finite at step 812" in ends[1][2]


def test_markup_in_a_sweeps_name_is_escaped() -> None:
    evil = made_up().model_copy(update={"name": "<script>alert(1)</script>"})
    page = render(evil)
    assert page.count("<script") == 1  # the page's own
    assert "alert(1)&lt;/script" in page


def test_chance_and_the_most_frequent_class_are_lines_within_every_chart_of_the_metric() -> None:
    result = made_up()
    low = result.model_copy(update={"levels": (MetricLevel(name="chance", value=0.02),)})
    without_levels = result.model_copy(update={"levels": ()})
    chart, plain = metric_against(low, result.keys[0]), metric_against(without_levels, result.keys[0])
    assert chart is not None
    assert plain is not None
    (level,) = chart.levels
    assert level.text == "chance, 0.02"
    assert FRAME.top < max(mark.y for mark in chart.marks) < level.y <= FRAME.bottom
    assert plain.levels == ()
    assert "Dashed lines: chance 0.02." in render(low)
    assert SweepResult.model_validate_json(low.model_dump_json()) == low
    assert "levels" not in without_levels.model_dump_json()


def test_ticks_of_trials_that_are_close_do_not_repeat() -> None:
    result = made_up()
    trials = tuple(
        t.model_copy(update={"metric": 1.791759 + 1e-8 * number}) for number, t in enumerate(result.trials)
    )
    chart = metric_against(result.model_copy(update={"trials": trials}), result.keys[0])
    assert chart is not None
    texts = [tick.text for tick in chart.y_ticks]
    assert len(texts) > 2
    assert len(set(texts)) == len(texts)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert PROGRAM is not None
    file = tmp_path_factory.mktemp("sweep-page") / "sweep.html"
    file.write_text(render(made_up()))
    with Page(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        opened.show(1280, "light")
        opened.open(file.as_uri())
        yield opened


@in_browser
def test_every_chart_is_drawn_without_browser_errors_and_without_the_network(page: Page) -> None:
    assert page.complaints == []
    assert len(page.requests) == 1
    assert (
        page.evaluate("[...document.querySelectorAll('figcaption')].map((one) => one.textContent)") == CHARTS
    )
    lines = page.evaluate("document.querySelectorAll('.coordinates .line').length")
    dots = page.evaluate("document.querySelectorAll('.charts .mark').length")
    assert (lines, dots) == (26, 3 * 26)
    drawn = page.evaluate(
        "[...document.querySelectorAll('figure > svg')].map((one) => one.getBoundingClientRect().height)"
    )
    assert len(drawn) == 4
    assert min(drawn) > 100


@in_browser
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen_and_every_number_can_be_read(page: Page, width: int) -> None:
    page.show(width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(MISPLACED) == []
    assert min(page.evaluate(SIZES)) >= 10


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_is_legible(page: Page, scheme: str) -> None:
    page.show(1280, scheme)
    found = page.evaluate(CONTRASTS)
    assert found["low"] == []
    assert found["count"] > 200


@in_browser
def test_the_names_of_many_keys_do_not_run_into_each_other(page: Page, tmp_path: Path) -> None:
    keys = ("objective.kld_weight", "model.depth", "optim.learning_rate", "train.batch_size", "train.epochs")
    values = dict(zip(keys, (0.1, 3, 0.001, 16, 20), strict=True))
    many = without(made_up(), values=values).model_copy(update={"keys": keys})
    file = tmp_path / "many.html"
    file.write_text(render(many))
    page.show(360, "light")
    page.open(file.as_uri())
    names = "[...document.querySelectorAll('.coordinates .name')].map((one) => one.getBoundingClientRect())"
    assert page.evaluate(
        f"(() => {{ const all = {names}; return all.every((a, i) => all.slice(i + 1).every((b) => "
        "a.right < b.left || b.right < a.left || a.bottom < b.top + 2 || b.bottom < a.top + 2)); })()"
    )
