"""Group runs whose configs differ in nothing but the seed, and where the run and its shards lie."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from vgim.compare.read import compared_config
from vgim.config import RunConfig
from vgim.config.keys import dump
from vgim.errors import ConfigError
from vgim.runs.run_names import distinct_names
from vgim.storage import Location

SEED_AT_THE_END = re.compile(r"[-_. ]+(seed[-_. ]*)?\d*$")


def group_by_seed(runs: Sequence[str]) -> dict[str, list[Location]]:
    """Runs' folders by the group's name, which is the common beginning of its runs' names.

    Where that is the name of a run or of a group beside it, the name is that of the group's first run.

    Raises:
        VgimError: A folder is no run, or two runs of a group have the same seed.
    """
    folders = list(dict.fromkeys(Location(run) for run in runs))
    names = dict(zip(folders, distinct_names(folders), strict=True))
    configs = {folder: compared_config(folder) for folder in folders}
    by_config: dict[str, list[Location]] = {}
    for folder in folders:
        by_config.setdefault(_without_seed(configs[folder]), []).append(folder)
    groups: dict[str, list[Location]] = {}
    for members in by_config.values():
        members.sort(key=lambda folder: configs[folder].train.seed)
        seeds = [configs[folder].train.seed for folder in members]
        if len(set(seeds)) < len(seeds):
            raise ConfigError(
                f"{' and '.join(names[folder] for folder in members)} have the same config with the seeds "
                f"{', '.join(map(str, seeds))}; --group-seeds compares runs with different seeds, leave one out"
            )
        name = _common_name([names[folder] for folder in members])
        others = {names[folder] for folder in folders if folder not in members}
        groups[name if name not in {*groups, *others} else names[members[0]]] = members
    return groups


def _without_seed(config: RunConfig) -> str:
    """The config as text, without the seed and the places of the run and its shards."""
    tree = dump(config)
    del tree["storage"], tree["cluster"]
    tree["data"].pop("shards")
    tree["train"].pop("seed")
    return json.dumps(tree, sort_keys=True)


def _common_name(names: Sequence[str]) -> str:
    """`sim` for `sim-seed0` and `sim-seed1`; the first name where names have nothing in common."""
    if len(names) == 1:
        return names[0]
    common = names[0]
    while common and not all(name.startswith(common) for name in names):
        common = common[:-1]
    return SEED_AT_THE_END.sub("", common) or names[0]
