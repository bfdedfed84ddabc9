"""Whether training was long enough: its steps, the KL weight that it reached, and whether InfoNCE still falls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vgim.model.losses import chance_of
from vgim.model.nat_cost import times_published
from vgim.model.target_rate import STEPS_TO_SETTLE, is_held
from vgim.text import join_words, plural
from vgim.verdict.figures import Curve, RunFigures
from vgim.verdict.verdict import Finding, Level, ModuleState, ModuleVerdict

AT_CHANCE: tuple[ModuleState, ...] = ("begun", "unsure", "chance")
"""States of a module that has not learned much yet."""
EARLY_STEPS = 1000
"""Steps below which a module at chance counts as one that has not begun. Ours: on 0.5 hours of
speech, modules 16 channels wide had hardly begun after 200 steps at a learning rate of 2e-4."""
DEAR = 10.0
"""Times the published cost of a nat of KL above which the KL term counts as the reason for chance. Ours."""
FEWEST_POINTS = 6
"""Records that a trend needs at least."""
RARE = 0.001
"""Chance below which Gaussian noise alone must give as steep a slope, up or down."""
LEAST_FALL = 0.01
"""Share of chance by which InfoNCE must fall over the second half of the steps to count as falling."""
LEAST_RISE = 0.02
"""Share of chance by which validation InfoNCE must have risen from its lowest value to count as rising."""


def too_few_steps(figures: RunFigures, modules: Sequence[ModuleVerdict]) -> Finding | None:
    """A finding if modules are at chance after too few steps to say more."""
    waiting = [m for m in modules if m.state in AT_CHANCE]
    steps = max((figures.modules[m.module].steps for m in waiting), default=EARLY_STEPS)
    if steps >= EARLY_STEPS or times_published(figures.config) > DEAR:
        return None
    collapse = ", not a collapse" if figures.config.objective.kld_weight else ""
    # Where modules are trained one after the other, epochs are those of all, and steps those of each.
    epochs = f" ({figures.epoch:.2g} epochs)" if steps == figures.step else " of a module"
    return Finding(
        about="steps",
        level="open",
        text=f"Too few steps to tell: {steps:,}{epochs} are a beginning{collapse}.",
    )


def dear_kl(figures: RunFigures, modules: Sequence[ModuleVerdict]) -> Finding | None:
    """A finding if modules with a posterior are at chance under a KL term that costs far more than published."""
    ratio = times_published(figures.config)
    at_chance = [m for m in modules if m.state in AT_CHANCE and figures.modules[m.module].has_posterior]
    weights = [figures.modules[m.module].kld_weight or 0.0 for m in at_chance]
    reached = max(weights, default=0.0) / (figures.config.objective.kld_weight or 1.0)
    if ratio * reached <= DEAR:
        return None
    objective = figures.config.objective
    weight = f"objective.kld_weight={objective.kld_weight:g} makes"
    if objective.target_rate:
        weight = f"the weights that hold {figures.config.rate_in_words} make"
    times = f"{ratio * reached:,.0f}"
    return Finding(
        about="kl_cost",
        level="bad",
        text=f"The KL term may hold them there: {weight} a nat of KL {times} times as dear as published.",
    )


def kl_weight(figures: RunFigures) -> Finding | None:
    """Say how much of `objective.kld_weight` the last step had; None without a KL term or a record of it."""
    objective = figures.config.objective
    reached = [m.kld_weight for m in figures.trained if m.has_posterior and m.kld_weight is not None]
    if not objective.kld_weight or not reached:
        return None
    if objective.target_rate:
        return _target_rate(figures)
    share = min(reached) / objective.kld_weight
    if share > 0.999:
        return Finding(
            about="kl_weight",
            level="good",
            text=f"The KL term has its full weight, objective.kld_weight={objective.kld_weight:g}.",
        )
    steps = min(m.steps for m in figures.trained if m.has_posterior)
    return Finding(
        about="kl_weight",
        level="open",
        text=f"The KL weight reached {share:.1%} of objective.kld_weight={objective.kld_weight:g}: its warm-up takes "
        f"{objective.kld_warmup_steps:,} steps, and training took {steps:,}.",
    )


def _target_rate(figures: RunFigures) -> Finding | None:
    """Say whether the KL is held at `objective.target_rate`, and by which weights; None without a record of the KL."""
    held = [
        (m.module, m.rate, m.kld_weight)
        for m in figures.trained
        if m.has_posterior and m.rate is not None and m.kld_weight is not None
    ]
    if not held:
        return None
    config, warmup = figures.config, figures.config.objective.kld_warmup_steps
    modules = join_words([str(module) for module, _, _ in held])
    where = f"in module{'s' * (len(held) > 1)} {modules}"
    rates = join_words([f"{rate:.3g}" for _, rate, _ in held])
    weights = f"the KL weight reached {join_words([f'{weight:.2g}' for _, _, weight in held])}"
    steps = min(m.steps for m in figures.trained if m.has_posterior)
    followed = steps - warmup
    level: Level = "open"
    if followed < 0:
        text = (
            f"The KL weights do not follow {config.rate_in_words} yet: their warm-up takes {warmup:,} steps, and "
            f"training took {steps:,}; the KL {where} is {rates} nats a frame, and {weights}."
        )
    elif all(is_held(rate, weight, config) for _, rate, weight in held):
        level = "good"
        text = f"The KL {where} is held at {rates} nats a frame where {config.rate_in_words}; {weights}."
    elif followed < STEPS_TO_SETTLE:
        since = ", since their warm-up," if warmup else ""
        text = (
            f"The KL weights have followed {config.rate_in_words} for {plural(followed, 'step')}{since} "
            f"and may take {STEPS_TO_SETTLE} to get there; so far the KL {where} is {rates} nats a frame, and "
            f"{weights}."
        )
    else:
        text = (
            f"The KL {where} is {rates} nats a frame where {config.rate_in_words}, not there yet; {weights}."
        )
    return Finding(about="kl_weight", level=level, text=text)


def fall_of(curve: Curve) -> float:
    """Nats by which a straight line through the second half of the steps falls; 0 if that is within noise."""
    if not curve:
        return 0.0
    middle = (curve[0][0] + curve[-1][0]) / 2
    points = [point for point in curve if point[0] >= middle]
    if len(points) < FEWEST_POINTS:
        return 0.0
    mean_step = sum(step for step, _ in points) / len(points)
    mean_nce = sum(nce for _, nce in points) / len(points)
    spread = sum((step - mean_step) ** 2 for step, _ in points)
    if not spread:
        return 0.0
    slope = sum((step - mean_step) * nce for step, nce in points) / spread
    squares = sum((nce - mean_nce - slope * (step - mean_step)) ** 2 for step, nce in points)
    degrees = len(points) - 2
    error = math.sqrt(squares / degrees / spread)
    falls = slope < 0 and (not error or chance_beyond(-slope / error, degrees) < RARE)
    return -slope * (points[-1][0] - points[0][0]) if falls else 0.0


def chance_beyond(t: float, degrees: int) -> float:
    """Chance that Student's t is further from 0 than `t`, with two degrees of freedom or more.

    Abramowitz and Stegun (1964), equations 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    is_odd = degrees % 2
    term = total = math.cos(angle) if is_odd else 1.0
    for number in range(1 + is_odd, degrees - 2, 2):
        term *= math.cos(angle) ** 2 * number / (number + 1)
        total += term
    within = math.sin(angle) * total
    return 1 - ((angle + within) * 2 / math.pi if is_odd else within)


def trend(figures: RunFigures) -> Finding | None:
    """A finding if InfoNCE of some modules still fell by more than noise at the end of training."""
    least = LEAST_FALL * chance_of(figures.config.objective).loss
    falls = {m.module: fall_of(m.curve) for m in figures.trained}
    falling = {module: fall for module, fall in falls.items() if fall > least}
    if not falling or rise(figures) is not None:
        return None
    who = (
        ""
        if len(falling) == len(figures.modules)
        else f" of module{'s' * (len(falling) > 1)} " + join_words([str(module) for module in falling])
    )
    return Finding(
        about="trend",
        level="open",
        text=f"InfoNCE{who} was still falling, by up to {max(falling.values()):.2f} nats over the second half of "
        f"{max(m.steps for m in figures.trained):,} steps, so that longer training helps.",
    )


def rise(figures: RunFigures) -> Finding | None:
    """A finding if validation InfoNCE has risen while InfoNCE on training batches fell: more epochs do not help."""
    least = LEAST_RISE * chance_of(figures.config.objective).loss
    for module in figures.trained:
        if len(module.validations) < FEWEST_POINTS or module.training is None:
            continue
        step, lowest = min(module.validations, key=lambda point: point[1])
        before = [nce for at, nce in module.curve if at <= step]
        last, now = module.validations[-1][1], module.training.nce
        if last - lowest > least and before and now is not None and now < before[-1]:
            of = "" if figures.hours is None else f" of these {_duration(figures.hours)}"
            return Finding(
                about="data",
                level="open",
                text=f"Validation InfoNCE of module {module.module} rose from {lowest:.3f} at step {step:,} to "
                f"{last:.3f} while training InfoNCE fell: more epochs{of} do not help, more data would.",
            )
    return None


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
