"""Read groups of runs into a comparison over seeds and test utterances. Nothing is computed anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from vgim.compare.better_groups import judge_groups
from vgim.compare.cells import Cell, Row, read_cells, row_order
from vgim.compare.columns import Column, groups_of, titles_of
from vgim.compare.comparison import ComparedRun
from vgim.compare.crossed import Estimate, estimate, paired_difference
from vgim.compare.depth import Stage, common_stages, outputs_by_stage
from vgim.compare.grouped import (
    GroupedAccuracy,
    GroupedComparison,
    GroupedDifference,
    GroupedModule,
    RunGroup,
)
from vgim.compare.hits import WHOLE
from vgim.compare.read import compare, compared_config
from vgim.config import RunConfig
from vgim.downstream.intervals import interval_of_mean
from vgim.downstream.output import Output
from vgim.runs.metrics import read_metrics
from vgim.storage import Location

MOST_PAIRS = 3
"""Groups of which every pair is subtracted; of more groups, the first is compared with each other one."""


def compare_groups(
    groups: Mapping[str, Sequence[Location]], differences: Sequence[tuple[str, str]] = ()
) -> GroupedComparison:
    """Read groups of runs, each of one config with different seeds.

    Args:
        groups: Runs' folders by the group's name.
        differences: Pairs of columns to subtract; the second may be a kind of baseline, such as `random`. Empty for
            pairs of groups.

    Returns:
        The comparison; what is missing or damaged becomes a note.

    Raises:
        VgimError: A folder is no run.
    """
    notes: list[str] = []
    compared = compare([run.uri for runs in groups.values() for run in runs], baselines=False)
    notes += compared.notes
    by_uri = {run.uri: run for run in compared.runs}
    configs = {
        name: [_with_fingerprint(compared_config(run), by_uri[run.uri]) for run in runs]
        for name, runs in groups.items()
    }
    runs_of = {name: [by_uri[run.uri] for run in runs] for name, runs in groups.items()}
    stages = common_stages([of_group[0] for of_group in configs.values()])
    cells, several = read_cells(groups, configs, stages, notes)
    titles = titles_of({column for columns in cells.values() for column in columns}, configs)
    order = list(titles)
    accuracies = [
        _accuracy(row, column, titles[column], groups_of(column, configs), columns[column])
        for row, columns in sorted(cells.items(), key=lambda item: row_order(item[0]))
        for column in sorted(columns, key=order.index)
    ]
    comparison = GroupedComparison(
        groups=tuple(_group(name, of_group, configs[name], stages) for name, of_group in runs_of.items()),
        depth_names=tuple(
            Output(index).name + (" (GRU)" if stage.gru else "") for index, stage in enumerate(stages)
        ),
        several_names=tuple(Output(concat=modules).name for modules in several),
        accuracies=tuple(accuracies),
        differences=tuple(_differences(cells, configs, differences)),
        notes=tuple(dict.fromkeys(notes)),
    )
    return comparison.model_copy(update={"verdict": judge_groups(comparison, runs_of, cells, configs)})


def _with_fingerprint(config: RunConfig, run: ComparedRun) -> RunConfig:
    """The config with its shards' fingerprint as their place, so that copies of shards are the same data."""
    shards = run.data_fingerprint or config.data.shards
    return config.model_copy(update={"data": config.data.model_copy(update={"shards": shards})})


def _accuracy(row: Row, column: Column, title: str, groups: tuple[str, ...], cell: Cell) -> GroupedAccuracy:
    task, words, part, depth = row
    return GroupedAccuracy(
        task=task,
        variant=words,
        part=part,
        column=title,
        encoder=column.encoder,
        groups=groups,
        depth=depth,
        accuracy=estimate(cell.hits),
        majority=cell.result.majority if part == WHOLE else None,
        num_test_utterances=cell.result.num_test_utterances,
    )


def _differences(
    cells: Mapping[Row, Mapping[Column, Cell]],
    configs: Mapping[str, Sequence[RunConfig]],
    pairs: Sequence[tuple[str, str]],
) -> Iterable[GroupedDifference]:
    """The paired differences of columns, in each row; features of no encoder stand in every depth."""
    names = list(configs)
    if not pairs:
        pairs = (
            list(combinations(names, 2)) if len(names) <= MOST_PAIRS else [(names[0], n) for n in names[1:]]
        )
    for one, other in pairs:
        for row in sorted(cells, key=row_order):
            if row[3] is None:
                continue
            a, b = _find(one, other, row, cells, configs), _find(other, one, row, cells, configs)
            difference = None if a is None or b is None else paired_difference(a.hits, b.hits)
            if difference is not None:
                task, words, part, depth = row
                yield GroupedDifference(
                    task=task,
                    variant=words,
                    part=part,
                    column=one,
                    minus=other,
                    depth=depth,
                    difference=difference,
                )


def _find(
    name: str,
    partner: str,
    row: Row,
    cells: Mapping[Row, Mapping[Column, Cell]],
    configs: Mapping[str, Sequence[RunConfig]],
) -> Cell | None:
    """The cell of a group, or of the partner's own baseline of a kind."""
    task, words, part, _ = row
    for place in (row, (task, words, part, None)):
        for column, cell in cells.get(place, {}).items():
            if column.encoder == "trained":
                matches = column.identity == name
            else:
                matches = column.encoder == name and partner in groups_of(column, configs)
            if matches:
                return cell
    return None


def _group(
    name: str, runs: Sequence[ComparedRun], configs: Sequence[RunConfig], stages: Sequence[Stage]
) -> RunGroup:
    first = runs[0]
    trained = [_last_epoch_nce(Location(run.uri)) for run in runs]
    costs = [run.cost for run in runs if run.cost is not None]
    model = configs[0].model
    outputs = sorted(outputs_by_stage(model, stages).items(), key=lambda item: item[1])
    words = [("output" if layer is None else f"layer {layer}") for (_, layer), _ in outputs]
    return RunGroup(
        name=name,
        family=first.family,
        channels=first.channels,
        kld_weight=first.kld_weight,
        target_rate=first.target_rate,
        settings=first.settings,
        seeds=tuple(config.train.seed for config in configs),
        states={run.name: run.state or "unknown" for run in runs},
        steps=tuple(run.step for run in runs),
        step_s=float(np.mean([cost.step_s for cost in costs])) if costs else None,
        crops=float(np.mean([cost.utterances for cost in costs])) if costs else None,
        encoder_parameters=first.encoder_parameters,
        chance_nce=first.chance_nce,
        modules=tuple(_module(index, runs, trained) for index in range(len(first.modules))),
        layers=", ".join(words) if model.family == "cpc" else "",
    )


def _module(index: int, runs: Sequence[ComparedRun], trained: Sequence[Mapping[int, float]]) -> GroupedModule:
    modules = [run.modules[index] for run in runs if index < len(run.modules)]
    nces = [module.nce for module in modules if module.nce is not None]
    frames = [module.kl_per_frame for module in modules if module.kl_per_frame is not None]
    return GroupedModule(
        module=index,
        nce=over_seeds(nces),
        train_nce=over_seeds([of_modules[index] for of_modules in trained if index in of_modules]),
        kl_per_frame=float(np.mean(frames)) if frames else None,
        collapsed=sum(bool(module.collapsed) for module in modules),
    )


def _last_epoch_nce(run: Location) -> dict[int, float]:
    """InfoNCE of each module in nats, mean over the records of the last epoch that trained the module."""
    points: dict[int, list[tuple[float, float]]] = {}
    for record in read_metrics(run):
        if record["kind"] == "train":
            for index, module in enumerate(record["modules"]):
                if module.get("nce") is not None:
                    points.setdefault(module.get("module", index), []).append(
                        (record["epoch"], module["nce"])
                    )
    return {
        module: float(np.mean([nce for epoch, nce in own if epoch > own[-1][0] - 1]))
        for module, own in points.items()
    }


def over_seeds(values: Sequence[float]) -> Estimate | None:
    """Mean of one value a seed with its interval by Student's t, which one value does not have; None without values."""
    if not values:
        return None
    mean = float(np.mean(values))
    low, high = interval_of_mean(values) or (mean, mean)
    return Estimate(mean=mean, low=low, high=high, num_seeds=len(values))
