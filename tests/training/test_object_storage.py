"""Runs in a bucket, with their shards: killed, disturbed and cut off, they end at the weights of a straight run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.object_storage import KEY_ID, SECRET, Bucket
from tests.training.cases import last_checkpoint, single_rank_trainer
from tests.training.test_resume import Killed, Mortal, assert_same_runs
from vgim.config import ResolvedConfig
from vgim.errors import StorageError
from vgim.runs.keep import prune_checkpoints
from vgim.storage import Location, retry
from vgim.training import checkpoint_writer

Maker = Callable[..., ResolvedConfig]
SHORT = ("train.checkpoint_every_steps=3", "train.epochs=1")
"""Ten steps."""


@pytest.fixture
def in_bucket(bucket: Bucket, tiny_config: Maker, tiny_shards: Path) -> Maker:
    """`tiny_config`, with shards and runs in a bucket."""
    Location(f"{bucket.uri}/shards").upload_dir(tiny_shards)
    where = (f"data.shards={bucket.uri}/shards", f"storage.root={bucket.uri}/runs")
    return lambda *overrides: tiny_config(*where, *overrides)


def test_a_run_killed_amid_faults_equals_a_straight_one_on_a_disk(
    bucket: Bucket, in_bucket: Maker, tiny_config: Maker
) -> None:
    straight, killed = tiny_config(*SHORT).config, in_bucket(*SHORT).config
    single_rank_trainer(straight).run()
    bucket.server.set_faults(rate=0.1, longest_delay_s=0.1)
    rank = single_rank_trainer(killed, Mortal)
    assert isinstance(rank, Mortal)
    rank.dies_at = 8
    with pytest.raises(Killed):
        rank.run()
    single_rank_trainer(killed).run()
    met = bucket.server.state().met
    bucket.server.set_faults()
    assert_same_runs(killed, straight)
    assert sum(met.values()) > 5
    for name, _ in Location(bucket.uri).list_files():
        content = Location(f"{bucket.uri}/{name}").read_bytes()
        assert SECRET.encode() not in content, name
        assert KEY_ID.encode() not in content, name


def test_an_outage_ends_a_run_in_one_line_and_the_same_command_goes_on(
    bucket: Bucket, in_bucket: Maker, tiny_config: Maker
) -> None:
    def prune(run: Location, **rules: object) -> None:
        prune_checkpoints(run, **rules)  # type: ignore[arg-type]
        bucket.server.set_faults(rate=1.0, kinds=("busy",))

    straight, cut_off = tiny_config(*SHORT).config, in_bucket(*SHORT).config
    single_rank_trainer(straight).run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_writer, "prune_checkpoints", prune)
        for limit in ("LIMIT_S", "FIRST_CONTACT_LIMIT_S"):
            patch.setattr(retry, limit, 0.2)
        with pytest.raises(
            StorageError, match=rf"^cannot .* {bucket.uri}/.*: the storage does not answer"
        ) as caught:
            single_rank_trainer(cut_off).run()
    assert "\n" not in str(caught.value)
    bucket.server.set_faults()
    assert last_checkpoint(cut_off).state.step == 3
    single_rank_trainer(cut_off).run()
    assert_same_runs(cut_off, straight)
