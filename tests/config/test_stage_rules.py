"""Stages that modules and workers do not make are refused, with the key, the reason and the fix."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vgim.config import ResolvedConfig
from vgim.config.difference import blocking_difference
from vgim.errors import ConfigError

Maker = Callable[..., ResolvedConfig]
STAGED = ("train.schedule=parallel", "cluster.workers=3")


def test_placement_and_replicas_are_read_as_they_are_written(tiny_config: Maker) -> None:
    train = tiny_config(*STAGED, "train.placement=[[0],[1, 2],[3]]", "train.replicas=[1,1,1]").config.train
    assert train.placement == ((0,), (1, 2), (3,))
    assert train.replicas == (1, 1, 1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("train.placement=[[0],[1,2,3]]",),
            r"train.placement=\[\[0\], \[1, 2, 3\]\] has no effect under .*parallel",
        ),
        (("train.replicas=[1,1]",), r"train.replicas=\[1, 1\] has no effect under train.schedule=joint"),
        (
            ("train.transfer_dtype=bf16",),
            "train.transfer_dtype=bf16 has no effect under train.schedule=joint",
        ),
        (
            ("train.virtual_ranks=2", "cluster.workers=3"),
            "without work; raise it to 3, or lower cluster.workers",
        ),
        ((*STAGED, "cluster.workers=0"), "needs at least two workers, and cluster.workers=0"),
        ((*STAGED, "cluster.workers=2..4"), "needs a fixed number of them; use cluster.workers=4"),
        ((*STAGED, "train.placement=[[0],[2],[1,3]]"), "does not name each of modules 0 to 3 once"),
        ((*STAGED, "train.placement=[[0,1,2,3]]"), "train.placement"),
        (
            (*STAGED, "train.placement=[[0],[1,2,3]]", "train.replicas=[1,1,1]"),
            "has 3 numbers but .* 2 stages",
        ),
        ((*STAGED, "train.replicas=[2,2]"), r"places 4 ranks and cluster.workers=3; set cluster.workers=4"),
        ((*STAGED, "train.replicas=[3]"), "makes 1 stage of 4 modules"),
        (
            (*STAGED, "cluster.workers=2", "train.placement=[[0],[1],[2,3]]"),
            r"train.placement=\[\[0\], \[1\], \[2, 3\]\] has 3 stages .* give each stage a worker",
        ),
        (
            (*STAGED, "cluster.workers=2", "model.batch_norm=sync"),
            r"model.batch_norm=sync exchanges .* set cluster.workers=4 train.virtual_ranks=2 and "
            r"train.replicas=\[2, 2\]",
        ),
        (
            (*STAGED, "train.virtual_ranks=2", "train.replicas=[2,1]", "objective.negatives=global"),
            "objective.negatives=global exchanges .* set cluster.workers=4",
        ),
        (
            (
                *(*STAGED, "cluster.workers=4", "train.virtual_ranks=2", "model.batch_norm=sync"),
                "train.placement=[[0],[1],[2,3]]",
            ),
            r"set cluster.workers=6 train.virtual_ranks=2 and train.replicas=\[2, 2, 2\]",
        ),
        ((*STAGED, "train.virtual_ranks=1", "train.replicas=[2,1]"), "raise train.virtual_ranks to 2"),
        (
            (*STAGED, "cluster.workers=9", "train.virtual_ranks=2"),
            "cluster.workers=9 is more than 8, which train.virtual_ranks=2 ranks in each of 4 stages are",
        ),
        (
            (*STAGED, "model.family=cpc", "objective.kld_weight=0"),
            "train.schedule=parallel has no meaning for one module; use joint",
        ),
    ],
)
def test_stages_that_cannot_be_are_refused_in_one_sentence(
    tiny_config: Maker, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        tiny_config(*overrides)
    assert "Traceback" not in str(refused.value)


def test_a_run_may_go_on_under_the_schedule_that_takes_the_same_steps_but_not_with_rounded_latents(
    tiny_config: Maker,
) -> None:
    joint = tiny_config("train.virtual_ranks=3").config
    parallel = tiny_config(*STAGED, "train.placement=[[0],[1],[2,3]]").config
    rounded = tiny_config(*STAGED, "train.transfer_dtype=bf16").config
    sequential = tiny_config("train.schedule=sequential").config
    assert blocking_difference(joint, parallel) == []
    assert blocking_difference(parallel, joint) == []
    assert blocking_difference(parallel, rounded) == ["train.transfer_dtype: fp32 → bf16"]
    assert blocking_difference(sequential, parallel) == ["train.schedule: sequential → parallel"]
