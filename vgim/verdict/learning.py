"""Whether each module learned, from its InfoNCE against chance, and whether its posterior collapsed.

A module learned if its InfoNCE is below chance, ln(1 + N), by more than both of:

- 2 % of chance (`CHANCE_SHARE`), the least that matters. Training's watch for collapses has the same bound.
- ln(1000) / (crops · spans), the most that noise reaches once in a thousand runs. If contexts say nothing about later
  frames, the positive is one of 1 + N frames by pure chance, so a prediction's likelihood ratio against guessing,
  exp(chance − InfoNCE), has a mean of at most 1. Predictions of one step k whose positives lie k frames apart follow
  each other in time, and the product of their ratios also has a mean of at most 1 (Ville 1939; Vovk and Wang 2021,
  "E-values"). A crop has at least `spans` = window_frames / prediction_steps of them. By Jensen's inequality the same
  holds for the mean over all steps and offsets, however predictions of a crop depend on each other. Crops are
  independent, so by Markov's inequality exp(crops · spans · (chance − InfoNCE)) exceeds 1000 with a probability of at
  most 1 / 1000. A validation of 40 crops with 10 spans gives 0.017 nats, one of 4 crops 0.17 nats.

Below chance by more than noise alone, a module has begun; by more than 2 % alone, it may have learned; by neither, it
is at chance. The latest validation is judged if there is one, else the mean over the last training batches. Each of
those is measured before the step that learns from it, but other epochs have shown the same utterances.

A posterior has collapsed if its module is at chance, on training batches too, with fewer than 5 % of its units active
(Burda et al. 2015), while its KL term has a weight, and either it had learned before, or this was so for
`collapse_patience_steps` steps after the warm-up. Without that a module at chance has not begun to learn. Modules
without a posterior cannot collapse.

A run that is attached to another (`attach.run`) trains one module; the modules before it are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from vgim.config import RunConfig
from vgim.model.collapse import CHANCE_SHARE, FEWEST_ACTIVE
from vgim.model.losses import chance_of
from vgim.text import join_words, plural
from vgim.verdict.figures import Measurement, ModuleFigures, RunFigures
from vgim.verdict.verdict import Finding, Level, ModuleState, ModuleVerdict

RARE = 1000
"""Noise makes one of this many modules that know nothing look as if it had learned, at most."""
LEVELS: dict[ModuleState, Level] = {
    "learned": "good",
    "collapsed": "bad",
    "begun": "open",
    "unsure": "open",
    "chance": "open",
    "untrained": "open",
    "given": "good",
    "not_finite": "bad",
}


def noise(num_crops: int | None, num_spans: int) -> float:
    """Nats by which InfoNCE of a module that knows nothing falls below chance at most; 0 for unknown crops."""
    return 0.0 if num_crops is None else math.log(RARE) / (num_crops * num_spans)


def judge_module(config: RunConfig, figures: ModuleFigures) -> ModuleVerdict:
    """Say whether a module learned, from the latest validation if there is any, else from training batches."""
    measured = figures.validation or figures.training
    active = figures.active_units if figures.has_posterior else None
    if measured is None:
        return ModuleVerdict(
            module=figures.module,
            state="untrained" if figures.module in config.trained_modules else "given",
            nce=None,
            split=None,
            num_crops=None,
            needed=None,
            active_units=active,
        )
    chance = chance_of(config.objective).loss
    needed = chance - max((1 - CHANCE_SHARE) * chance, noise(measured.num_crops, figures.num_spans))
    return ModuleVerdict(
        module=figures.module,
        state=_state(config, figures, measured, chance, needed),
        nce=measured.nce,
        split="training" if figures.validation is None else "validation",
        num_crops=measured.num_crops,
        needed=needed,
        active_units=active,
    )


def learning(figures: RunFigures, modules: Sequence[ModuleVerdict]) -> Finding:
    """Say in one sentence which modules learned, and which did not."""
    chance = chance_of(figures.config.objective).loss
    by_state: dict[ModuleState, list[ModuleVerdict]] = {}
    for state in LEVELS:
        if of_state := [module for module in modules if module.state == state]:
            by_state[state] = of_state
    source = figures.config.attach.run
    parts = [_part(state, own, len(modules), source) for state, own in by_state.items()]
    text = "; ".join(parts)
    if any(module.nce is not None for module in modules):
        text += f"; chance is {chance:.3f} nats"
    worst = max((LEVELS[state] for state in by_state), key=("good", "open", "bad").index, default="open")
    return Finding(about="learning", level=worst, text=f"{text[:1].upper()}{text[1:]}.")


def _state(
    config: RunConfig, figures: ModuleFigures, measured: Measurement, chance: float, needed: float
) -> ModuleState:
    if measured.nce is None:
        return "not_finite"
    if measured.nce < needed:
        return "learned"
    if measured.nce < CHANCE_SHARE * chance:
        return "unsure"
    if _has_collapsed(config, figures, chance):
        return "collapsed"
    if measured.num_crops is None:
        return "chance"
    return "begun" if measured.nce < chance - noise(measured.num_crops, figures.num_spans) else "chance"


def _has_collapsed(config: RunConfig, figures: ModuleFigures, chance: float) -> bool:
    """Whether a module at chance is so because its posterior has collapsed."""
    if not figures.has_posterior or not figures.kld_weight:
        return False
    if figures.has_collapse_event:
        return True
    if figures.active_units is None or figures.active_units >= FEWEST_ACTIVE:
        return False
    training = figures.training
    if training is not None and training.nce is not None and training.nce < CHANCE_SHARE * chance:
        return False  # latents hold the input; in the first steps, validation's running moments lag
    objective = config.objective
    below = [nce < CHANCE_SHARE * chance for _, nce in figures.curve]
    had_learned = any(one and other for one, other in pairwise(below))
    return had_learned or figures.steps >= objective.kld_warmup_steps + objective.collapse_patience_steps


def _part(state: ModuleState, modules: Sequence[ModuleVerdict], num_modules: int, source: str) -> str:
    """A clause on the modules of one state."""
    who, several = subject(modules, num_modules)
    values = join_words(_each([f"{module.nce:.3f}" for module in modules if module.nce is not None]))
    shown = f"{modules[0].split} InfoNCE {values}"
    if state == "learned":
        return f"{who} learned ({shown})"
    if state == "begun":
        return f"{who} {'have' if several else 'has'} hardly begun to learn ({shown})"
    if state == "unsure":
        crops = plural(modules[0].num_crops or 0, "crop")
        needed = join_words(
            _each([f"{module.needed:.3f}" for module in modules if module.needed is not None])
        )
        return f"{who} may have learned ({shown}; on {crops} noise alone can reach {needed})"
    if state == "chance":
        return f"{who} {'are' if several else 'is'} at chance, no better than guessing ({shown})"
    if state == "collapsed":
        active = join_words(_each([f"{module.active_units or 0:.1%}" for module in modules]))
        have = "have" if several else "has"
        return f"{who} {have} collapsed ({shown}, {active} of the units active), so that latents ignore the input"
    if state == "untrained":
        return f"{who} {'have' if several else 'has'} not been trained yet"
    if state == "given":
        return f"{who} {'are' if several else 'is'} of {source}"
    return f"InfoNCE of {who} is not finite"


def _each(texts: list[str]) -> list[str]:
    """The texts, or one of them if all are the same."""
    return texts[:1] if len(set(texts)) == 1 else texts


def subject(modules: Sequence[ModuleVerdict], num_modules: int) -> tuple[str, bool]:
    """`all 4 modules`, `the module`, `modules 0 and 2`, and whether these are several."""
    if num_modules == 1:
        return "the module", False
    if len(modules) == num_modules:
        return f"all {num_modules} modules" if num_modules > 2 else "both modules", True
    numbers = join_words([str(module.module) for module in modules])
    return f"module{'s' if len(modules) > 1 else ''} {numbers}", len(modules) > 1
