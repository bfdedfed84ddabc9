"""Columns of a comparison: each group's trained encoder, and the baselines, which groups may share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vgim.config import RunConfig
from vgim.config.keys import config_keys, dump, flatten


class Column(NamedTuple):
    """One kind of encoder: trained as one group's, or a baseline that some groups share."""

    encoder: str
    identity: str
    """The group's name, or what the baseline depends on."""


def baseline_identity(encoder: str, config: RunConfig, shards: str | None) -> str:
    """What a baseline depends on beside the seed and the probe's options: runs with equal identities share it.

    Args:
        config: Config of a run; `data.shards` may hold the shards' fingerprint instead of their place.
        shards: Shards that the probe's options name; None for those that the run was trained on.
    """
    sections: tuple[str, ...] = ("data.crop",)  # MFCCs depend on the clip alone
    if encoder != "mfcc":
        sections += ("model.", "data.")
    if encoder not in ("mfcc", "random"):  # trained on labels as the run is trained
        sections += ("optim.", "train.batch_size")
    leaves = config_keys().leaves
    parts = {
        key: value
        for key, value in flatten(dump(config)).items()
        if key.startswith(sections) and not (key in leaves and leaves[key].may_change)
    }
    if shards is None or (encoder != "mfcc" and config.data.normalize == "corpus"):
        parts["data.shards"] = config.data.shards  # which are probed, or whose statistics normalize the audio
    return json.dumps(parts, sort_keys=True)


def _identities(encoder: str, config: RunConfig) -> list[str]:
    """Identities of a run's baseline: on the run's shards, and on other shards."""
    return [baseline_identity(encoder, config, shards) for shards in (None, "other")]


def groups_of(column: Column, configs: Mapping[str, Sequence[RunConfig]]) -> tuple[str, ...]:
    """Groups that a column belongs to."""
    if column.encoder == "trained":
        return (column.identity,)
    return tuple(
        name
        for name, of_group in configs.items()
        if column.identity in _identities(column.encoder, of_group[0])
    )


def titles_of(columns: Iterable[Column], configs: Mapping[str, Sequence[RunConfig]]) -> dict[Column, str]:
    """Names of columns, in order: groups, MFCC, then other baselines, which name their groups if they differ."""
    found = set(columns)
    ordered = [Column("trained", name) for name in configs if Column("trained", name) in found]
    ordered += sorted(column for column in found if column.encoder == "mfcc")
    for encoder in sorted({column.encoder for column in found} - {"trained", "mfcc"}):
        identities = dict.fromkeys(
            identity for of_group in configs.values() for identity in _identities(encoder, of_group[0])
        )
        ordered += [
            Column(encoder, identity) for identity in identities if Column(encoder, identity) in found
        ]
    titles = {}
    for column in ordered:
        owners = groups_of(column, configs)
        if column.encoder == "trained":
            titles[column] = column.identity
        elif len(owners) == len(configs):
            titles[column] = column.encoder
        else:
            titles[column] = f"{column.encoder} {', '.join(owners)}"
    return titles
