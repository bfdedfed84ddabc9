"""Where the ranks of a run are: a line of its log, as each machine has its devices and its speed."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import torch
from torch import distributed as dist

from vgim.model.rank_group import RankGroup
from vgim.text import plural


class Place(NamedTuple):
    """Where one rank runs."""

    node: str
    """Address of the machine, or `this machine`."""
    device: str
    """`cpu`, or the GPU's name."""
    threads: int
    """torch threads of the rank."""


def place_of_this_process(device: torch.device, device_name: str) -> str:
    """A sentence on a training in this process, without Ray."""
    return f"training in this process, {_on(Place('', device_name, torch.get_num_threads()), device.type != 'cpu')}"


def placement_of_ranks(group: RankGroup, node: str, device_name: str, threads: int) -> str:
    """A sentence on where all ranks of a group run; every rank calls it alike.

    Args:
        node: Machine of this rank.
        device_name: `cpu`, or the name of this rank's GPU.
        threads: torch threads of this rank.
    """
    mine = Place(node, device_name, threads)
    places: list[Place] = [mine]
    if group.size > 1:
        gathered: list[Place | None] = [None] * group.size
        dist.all_gather_object(gathered, mine, group=group.on_cpu().process_group)
        places = [Place(*place) for place in gathered if place is not None]
    return describe(places)


def describe(places: list[Place]) -> str:
    """`3 workers: 2 on 10.0.0.4 (NVIDIA L4 each), 1 on 10.0.0.5 (cpu, 4 threads)`."""
    counts = Counter(places)
    if len(counts) == 1:
        (place,) = counts
        each = " each" if len(places) > 1 else ""
        return f"{plural(len(places), 'worker')} on {place.node}, {_on(place, place.device != 'cpu')}{each}"
    groups = (
        f"{count} on {place.node} ({_on(place, place.device != 'cpu')}{' each' if count > 1 else ''})"
        for place, count in counts.items()
    )
    return f"{plural(len(places), 'worker')}: {', '.join(groups)}"


def _on(place: Place, is_gpu: bool) -> str:
    return place.device if is_gpu else f"{place.device}, {plural(place.threads, 'thread')}"
