"""Which group of runs is better, from right answers with known means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.compare.test_better import run
from tests.verdict.verdict_cases import probe
from vgim.compare.better_groups import judge_groups
from vgim.compare.cells import Cell, Row
from vgim.compare.columns import Column, baseline_identity
from vgim.compare.comparison import ComparedRun, ComparisonVerdict
from vgim.compare.crossed import Hits, SeedHits, estimate
from vgim.compare.grouped import GroupedAccuracy, GroupedComparison
from vgim.compare.hits import WHOLE
from vgim.config import load_config

CONFIG = load_config("quickstart", []).config
NUM_UTTERANCES = 200
SEVERAL = 9
"""Depth of the row of several modules."""


def hits(accuracy: float, seeds: Sequence[int | None] = (0, 1, 2)) -> Hits:
    """The first utterances are right, with every seed; one more of them with each further seed."""
    ids = tuple(f"u{index}" for index in range(NUM_UTTERANCES))
    ones = np.ones(NUM_UTTERANCES, dtype=np.int64)
    num_right = round(accuracy * NUM_UTTERANCES)
    return Hits(
        {
            seed: SeedHits(ids, (np.arange(NUM_UTTERANCES) < num_right + extra).astype(float), ones)
            for extra, seed in enumerate(seeds)
        }
    )


def judged(
    accuracies: Mapping[str, Mapping[int | None, Hits]],
    runs: Mapping[str, Sequence[ComparedRun]] | None = None,
) -> ComparisonVerdict:
    """The verdict on groups, and baselines by kind, with right answers by depth."""
    groups = [name for name in accuracies if name not in ("random", "mfcc")]
    cells: dict[Row, dict[Column, Cell]] = {}
    rows = []
    for name, by_depth in accuracies.items():
        encoder = "trained" if name in groups else name
        column = Column(encoder, name if name in groups else baseline_identity(encoder, CONFIG, None))
        for depth, own in by_depth.items():
            result = probe(encoder, 0.5)
            if depth == SEVERAL:
                result = result.model_copy(update={"module": None, "concat": (0, 1)})
            cells.setdefault(("phone", "", WHOLE, depth), {})[column] = Cell(own, result)
            rows.append(
                GroupedAccuracy(
                    task="phone",
                    variant="",
                    part=WHOLE,
                    column=name,
                    encoder=encoder,
                    groups=tuple(groups),
                    depth=depth,
                    accuracy=estimate(own),
                    majority=None,
                    num_test_utterances=NUM_UTTERANCES,
                )
            )
    comparison = GroupedComparison(
        groups=(), depth_names=(), accuracies=tuple(rows), differences=(), notes=()
    )
    runs = runs or {name: [run(f"{name}-{seed}", 0.5) for seed in (0, 1, 2)] for name in groups}
    return judge_groups(comparison, runs, cells, {name: [CONFIG] for name in groups})


def test_the_best_group_is_told_at_its_best_depth_beside_baselines() -> None:
    found = judged(
        {
            "sim": {0: hits(0.5), 1: hits(0.8)},
            "gim": {0: hits(0.6), 1: hits(0.55)},
            "random": {0: hits(0.4)},
            "mfcc": {None: hits(0.9, [None])},
        }
    )
    assert found.sentences[:2] == (
        "sim: every module learned in all 3 runs.",
        "gim: every module learned in all 3 runs.",
    )
    assert found.sentences[2].startswith("phone: sim is best with 80.5%, 20.0 points (")
    assert ") better than gim; sim is 40.0 points (" in found.sentences[2]
    assert " better than the untrained encoder and 9.5 points (" in found.sentences[2]
    assert found.sentences[2].endswith(" worse than MFCC.")


def test_several_modules_count_where_every_group_and_the_untrained_encoder_were_read_so() -> None:
    accuracies: dict[str, dict[int | None, Hits]] = {
        "sim": {0: hits(0.5), SEVERAL: hits(0.9)},
        "gim": {0: hits(0.6)},
        "random": {0: hits(0.4)},
    }
    assert judged(accuracies).sentences[2].startswith("phone: gim is best with 60.5%")
    accuracies["gim"][SEVERAL] = hits(0.7)
    assert judged(accuracies).sentences[2].startswith("phone: gim is best with 60.5%")
    accuracies["random"][SEVERAL] = hits(0.45)
    told = judged(accuracies).sentences[2]
    assert told.startswith("phone: sim is best with 90.5%, 20.0 points (")
    assert "; sim is 45.0 points (" in told


def test_groups_within_the_interval_are_not_told_apart_and_a_missing_baseline_is_named() -> None:
    (*_, sentence) = judged({"sim": {0: hits(0.51)}, "gim": {0: hits(0.5, [3, 4, 5])}}).sentences
    assert "sim (51.5%) leads gim by 1.0 points (" in sentence
    assert "no group is clearly better; not compared with the untrained encoder and MFCC" in sentence


def test_seeds_that_one_group_alone_has_do_not_turn_its_lead_around() -> None:
    by_seed = {0: hits(0.7, [0]).first, 1: hits(0.7, [1]).first, 2: hits(0.95, [2]).first}
    sim, gim = Hits(by_seed), hits(0.75, [0, 1])  # on seeds 0 and 1, gim is ahead
    (*_, sentence) = judged({"sim": {0: sim}, "gim": {0: gim}}).sentences
    assert sentence.startswith("phone: sim (78.3%) leads gim by 3.1 points (-")


def test_a_single_group_has_its_own_accuracy_with_its_seeds() -> None:
    (_, sentence) = judged({"sim": {0: hits(0.5)}, "random": {0: hits(0.4)}}).sentences
    assert sentence.startswith("phone: sim has 50.5% (95 %: ")
    assert "; 3 seeds); it is 10.0 points (" in sentence


def test_modules_that_learned_in_some_runs_are_counted_and_an_unprobed_run_comes_next() -> None:
    runs = [run("sim-0", 0.5), run("sim-1", nce=(1.5, 2.398, 1.5)), run("sim-2", 0.6)]
    found = judged({"sim": {0: hits(0.5)}}, {"sim": runs})
    assert found.sentences[0] == "sim: of 3 runs, module 0 in 3, module 1 in 2 and module 2 in 3 learned."
    assert found.next is not None
    assert "/runs/sim-1 --task phone --all-modules" in found.next.command
    assert "sim-0" not in found.next.command
