"""All kinds of attacks."""

from __future__ import annotations

from tests.chaos.attacks import cache, damaged, kills, on_ray, races, signals, storage, texts
from tests.chaos.attacks.kind import Kind

KINDS: dict[str, Kind] = {
    kind.name: kind
    for module in (kills, signals, storage, damaged, cache, races, texts, on_ray)
    for kind in module.KINDS
}
"""Kinds of attacks by name, in the order of tables."""
