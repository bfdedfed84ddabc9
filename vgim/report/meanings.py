"""One sentence for each analysis of latents: what its figures mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from vgim.text import join_words

Figures = Mapping[str, float]
CLOSE_TO_NORMAL = 0.1
"""Largest mean gap to the CDF of N(0, 1) that is called close."""
LITTLE = 0.05
"""Share of active dimensions below which a module counts as collapsed, as in training's watch."""


def meaning_of(analysis: str, figures: Mapping[str, object]) -> str:
    """What the figures of an analysis mean; empty if it is unknown, or has too few figures."""
    numbers = {
        key: float(value)
        for key, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    try:
        return MEANINGS[analysis](numbers) if analysis in MEANINGS else ""
    except (KeyError, ValueError):  # results of another version
        return ""


def _distribution(figures: Figures) -> str:
    active = figures["active_share"]
    if "mean_ks" not in figures:
        return (
            f"{active:.0%} of the dimensions vary over the frames. The module has no posterior, so nothing draws them "
            "to N(0, 1)."
        )
    if active < LITTLE:
        return f"The latents carry next to nothing: {active:.1%} of the dimensions depend on the audio."
    gap, close = figures["mean_ks"], figures["mean_ks"] <= CLOSE_TO_NORMAL
    draws = "are like latents of speech" if close else "differ from latents of speech"
    return (
        f"{active:.0%} of the dimensions depend on the audio. Over all frames a dimension is "
        f"{'close to' if close else 'far from'} N(0, 1) (gap {gap:.2f}; 0 is equal), so draws from N(0, 1) {draws}, "
        "as far as single dimensions go."
    )


def _map(figures: Figures) -> str:
    shares = {
        key.removesuffix("_of_neighbour"): share
        for key, share in figures.items()
        if key.endswith("_of_neighbour")
    }
    if not shares:
        return "The shards have no labels, so the maps show shapes alone."
    lifts = [
        f"{name} {share / chance:.1f} times"
        for name, share in shares.items()
        if (chance := figures[f"{name}_by_chance"]) > 0
    ]
    if not lifts:
        return "No two utterances share a label, so neighbors cannot either."
    return (
        f"Compared with chance, the nearest frame of another utterance has the same {join_words(lifts)} as often. "
        "A label with a factor near 1 does not shape the latents."
    )


def _labels(figures: Figures) -> str:
    suffix = "_dimensions_for_half_of_weight"
    held = [
        f"{value:.0f} for {key.removesuffix(suffix)}"
        for key, value in figures.items()
        if key.endswith(suffix)
    ]
    if not held:
        return ""
    return (
        f"Dimensions that hold half of a probe's weight: {join_words(held)}. The fewer they are, the more a label "
        "lies in single dimensions, which can be read and changed by themselves."
    )


def _correlation(figures: Figures) -> str:
    shared = figures["dimensions_2_excess_nats"]
    return (
        f"Two dimensions of a frame share {max(shared, 0):.3f} nats. At 0 they are independent, so that one can be "
        "changed without the other."
    )


def _sensitivity(figures: Figures) -> str:
    largest = max(float(match[1]) for key in figures if (match := re.fullmatch("accuracy_at_(.+)", key)))
    left = figures[f"accuracy_at_{largest:g}"] / max(figures["clean_accuracy"], 1e-9)
    return (
        f"The probe keeps {left:.0%} of its accuracy where an adversary changes each sample by {largest:g} of full "
        "scale. The more it keeps, the less do small changes of the audio move the latents."
    )


def _contribution(figures: Figures) -> str:
    return (
        f"{figures['audio_dimensions_for_half']:.0f} dimensions hold half of what makes two utterances sound "
        "different. The fewer they are, the more a single dimension can be heard."
    )


def _smoothness(figures: Figures) -> str:
    return (
        f"From one utterance to another, the decoded sound takes a path {figures['path_ratio']:.2f} times as long as "
        "the direct one. At 1 it changes without detours."
    )


MEANINGS: dict[str, Callable[[Figures], str]] = {
    "distribution": _distribution,
    "map": _map,
    "labels": _labels,
    "correlation": _correlation,
    "sensitivity": _sensitivity,
    "contribution": _contribution,
    "smoothness": _smoothness,
}
