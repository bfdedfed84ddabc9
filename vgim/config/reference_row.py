"""What a row of the table of the public reference's config keys holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY_CLASSIFIER = "X_classifier_config"
"""Stands in the table for each of `CLASSIFIERS`, whose keys are the same."""
CLASSIFIERS = {
    "syllables_classifier_config": "syllable",
    "phones_classifier_config": "phone",
    "speakers_classifier_config": "speaker",
}
"""Sections of the reference's classifiers, and the probe's task. One section serves syllables and vowels."""
EARLIER_SECTIONS = {
    "classifier_config_syllables": "syllables_classifier_config",
    "classifier_config_phones": "phones_classifier_config",
    "classifier_config_speakers": "speakers_classifier_config",
}
"""Names of sections in earlier versions of the reference, and their names now."""
IMAGES_SECTION = "vision_classifier_config"
"""Section of a classifier of images, which has one row for all its keys."""


@dataclass(frozen=True)
class Spelling:
    """One config key of the reference, and what is written here for it."""

    key: str
    """The key as an override spells it there; `X_classifier_config` stands for each classifier."""
    ours: str = ""
    """Config key or option that takes the same value; empty if only `values` have counterparts, or nothing has."""
    note: str = ""
    """What differs, or why there is no counterpart; completes a message, so it has no full stop."""
    default: str = ""
    """Value in the configs that the reference publishes."""
    values: Mapping[str, str | None] = field(default_factory=dict)
    """What is written here for one value, in lower case: an empty text if that value is the default here, None if it
    has no counterpart."""
    unread_by: tuple[str, ...] = ()
    """Programs whose config has the key, which they never read: tasks of probes, or decode."""
    is_share: bool = False
    """Whether the value is a share, so that 1 there is 1.0 here."""


DATA_FOLDER = "there the folder of all corpora; here shards, made by `vgim data prepare NAME --corpus FOLDER`"
IMAGES = "images have no counterpart"
WORKERS = "Ray reads the shards ahead of training, in as many processes as the node has room for"
