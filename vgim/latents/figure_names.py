"""Names and units of an analysis's figures: `active_share` 0.87 is `Active dimensions 87.0%`."""

from __future__ import annotations

import re

from vgim.text import cell

Value = float | int | str | bool | None

PERCENT = "%"
NAMES: tuple[tuple[str, str, str], ...] = (
    # Distribution of each dimension
    ("kl_nats_per_frame", "KL from N(0, 1)", "nats per frame"),
    ("kl_nats_per_dimension", "KL from N(0, 1), mean over dimensions", "nats per frame"),
    ("active_share", "Active dimensions", PERCENT),
    ("collapsed_share", "Dimensions collapsed onto N(0, 1)", PERCENT),
    ("dimensions_for_half_of_kl", "Dimensions that hold half of the KL", ""),
    ("mean_ks", "Gap to the CDF of N(0, 1), mean", ""),
    ("max_ks", "Gap to the CDF of N(0, 1), largest", ""),
    ("mean_abs_mean", "Distance of a dimension's mean from 0", ""),
    ("mean_std", "Standard deviation of a dimension", ""),
    ("mean_posterior_std", "Standard deviation σ of the posterior", ""),
    ("mean_abs_skewness", "Absolute skewness (Gaussian: 0)", ""),
    ("mean_excess_kurtosis", "Excess kurtosis (Gaussian: 0)", ""),
    ("zero_share", "Values that are exactly 0", PERCENT),
    # Maps
    ("(.+)_of_neighbour", "Nearest frame has the same {0}", PERCENT),
    ("(.+)_of_nearest_utterance", "Nearest utterance has the same {0}", PERCENT),
    ("(.+)_of_utterance_by_chance", "Any utterance has the same {0}, by chance", PERCENT),
    ("(.+)_by_chance", "Any frame has the same {0}, by chance", PERCENT),
    ("components_for_90_percent", "Principal components for 90 % of the variance", ""),
    ("effective_components", "Effective number of components", ""),
    # Dimensions that carry labels
    ("(.+)_dimensions_for_half_of_weight", "Dimensions with half of the {0} probe's weight", ""),
    ("(.+)_dimensions_for_90_percent_of_weight", "Dimensions with 90 % of the {0} probe's weight", ""),
    ("(.+)_weight_share_of_top_([0-9]+)", "Weight of the {0} probe in its {1} heaviest dimensions", PERCENT),
    ("(.+)_dimensions_for_half_of_information", "Dimensions with half of the information on {0}", ""),
    ("(.+)_dimensions_above_chance", "Dimensions that tell more of {0} than chance", ""),
    ("(.+)_most_information_nats", "Most that a dimension tells of {0}", "nats"),
    ("(.+)_chance_information_nats", "Most that a dimension tells of shuffled {0}", "nats"),
    ("(.+)_num_examples", "Examples of the {0} probe", ""),
    # Total correlation
    ("dimensions_([0-9]+)_excess_nats", "Total correlation of {0} dimensions, above shuffled", "nats"),
    ("time_([0-9]+)_excess_nats", "Total correlation of {0} frames in a row, above shuffled", "nats"),
    ("([0-9]+)_(dimensions|frames)_nats", "Total correlation of {0} {1}", "nats"),
    ("([0-9]+)_(dimensions|frames)_low", "Total correlation of {0} {1}, lower end of 95 %", "nats"),
    ("([0-9]+)_(dimensions|frames)_high", "Total correlation of {0} {1}, upper end of 95 %", "nats"),
    ("([0-9]+)_(dimensions|frames)_shuffled_nats", "Total correlation of {0} {1}, shuffled", "nats"),
    ("published_([0-9]+)_nats", "Published estimate for {0} dimensions", "nats"),
    ("published_([0-9]+)_shuffled_nats", "Published estimate for {0} dimensions, shuffled", "nats"),
    (
        "published_([0-9]+)_lone_kernels_nats",
        "Published estimate if {0}-dimensional kernels were alone",
        "nats",
    ),
    ("published_([0-9]+)_own_kernel_share", "A frame's own kernel in {0} dimensions", PERCENT),
    ("split_half_([0-9]+)_excess_nats", "Split halves, {0} dimensions, above shuffled", "nats"),
    ("copula_([0-9]+)_excess_nats", "Gaussian copula, {0} dimensions, above shuffled", "nats"),
    # Adversarial sensitivity
    ("clean_accuracy", "Accuracy without an attack", PERCENT),
    ("untrained_clean_accuracy", "Accuracy without an attack, untrained encoder", PERCENT),
    ("accuracy_at_(.+)", "Accuracy under FGSM, ε = {0}", PERCENT),
    ("noise_accuracy_at_(.+)", "Accuracy under random signs, ε = {0}", PERCENT),
    ("untrained_accuracy_at_(.+)", "Accuracy under FGSM, ε = {0}, untrained encoder", PERCENT),
    ("latent_accuracy_at_(.+)", "Accuracy under FGSM on the latents, ε = {0}", PERCENT),
    # Interpolation
    ("audio_dimensions_for_half", "Dimensions swapped for half of the change in the audio", ""),
    ("mel_dimensions_for_half", "Dimensions swapped for half of the change in log-mel frames", ""),
    ("audio_error_at_([0-9]+)", "Error left in the audio after swapping {0} dimensions", PERCENT),
    ("mel_error_at_([0-9]+)", "Error left in log-mel frames after swapping {0} dimensions", PERCENT),
    (
        "audio_error_at_([0-9]+)_random",
        "Error left in the audio after swapping {0} random dimensions",
        PERCENT,
    ),
    ("mel_error_at_([0-9]+)_random", "Error left in log-mel frames, {0} random dimensions", PERCENT),
    ("path_ratio", "Decoded path over the straight distance", ""),
    ("path_ratio_low", "Decoded path over the straight distance, lower end of 95 %", ""),
    ("path_ratio_high", "Decoded path over the straight distance, upper end of 95 %", ""),
    ("largest_step_share", "Largest step's share of the path", PERCENT),
    ("largest_step_share_low", "Largest step's share, lower end of 95 %", PERCENT),
    ("largest_step_share_high", "Largest step's share, upper end of 95 %", PERCENT),
    ("even_step_share", "Share of a step if all were even", PERCENT),
    ("end_to_end_log_mel", "Distance of the two ends in log-mel frames", "nats"),
    # Any
    ("(.+)_accuracy", "Accuracy of the {0} probe without bias", PERCENT),
    ("majority", "Most frequent class", PERCENT),
    ("(.+)_majority", "Most frequent class of {0}", PERCENT),
    ("num_(.+)", "Number of {0}", ""),
)
"""Patterns of a figure's key, its name, and its unit; the first pattern that fits the whole key counts."""


def known_name(key: str) -> tuple[str, str] | None:
    """Name and unit of a figure; None for a key of an analysis that this table does not know."""
    for pattern, name, unit in NAMES:
        if match := re.fullmatch(pattern, key):
            return name.format(*match.groups()), unit
    return None


def figure_name(key: str) -> str:
    """The name of a figure; an unknown key with spaces for its underscores."""
    known = known_name(key)
    return known[0] if known else key.replace("_", " ")


def figure_text(key: str, value: Value) -> str:
    """The value of a figure with its unit."""
    known = known_name(key)
    if known is None or not isinstance(value, int | float) or isinstance(value, bool):
        return cell(value)
    unit = known[1]
    if unit == PERCENT:
        return f"{value:.1%}"
    return f"{cell(value)} {unit}".strip()
