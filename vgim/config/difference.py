"""Differences between two configs, and which of them forbid to continue a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vgim.config.decoder import AnyConfig
from vgim.config.keys import config_keys, dump
from vgim.config.yaml_text import to_flow
from vgim.schedules.registry import same_steps


def config_difference(old: AnyConfig, new: AnyConfig) -> list[str]:
    """Every key that differs, as "key: old → new"."""
    return [
        f"{key}: {to_flow(was)} → {to_flow(now)}" for key, was, now in differing_keys(dump(old), dump(new))
    ]


def blocking_difference(old: AnyConfig, new: AnyConfig) -> list[str]:
    """The differences that make `new` another run than `old`: all in keys without `MAY_CHANGE`.

    Schedules that compute the same steps are no difference.
    """
    leaves = config_keys(type(new)).leaves
    return [
        f"{key}: {to_flow(was)} → {to_flow(now)}"
        for key, was, now in differing_keys(dump(old), dump(new))
        if not (key in leaves and leaves[key].may_change)
        and not (key == "train.schedule" and same_steps(was, now))
    ]


def differing_keys(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values of every difference between two dumped configs of one schema."""
    for name in new:
        was, now = old[name], new[name]
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from differing_keys(was, now, f"{prefix}{name}.")
        elif was != now or type(was) is not type(now):  # 1 is one batch, 1.0 the share of all
            yield f"{prefix}{name}", was, now
