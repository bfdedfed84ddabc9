"""A run is opened whole or refused before anything is computed; its weights are loaded when they are used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vgim.config import ResolvedConfig
from vgim.config.schema import SyntheticConfig
from vgim.data.shards.embedded import prepare_embedded
from vgim.errors import CheckpointError, ConfigError, DataError
from vgim.model.audio import Statistics
from vgim.pretrained.opened_run import open_run
from vgim.training.trainer import train


@pytest.fixture(scope="module")
def run(tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with `data.normalize: corpus` and two checkpoints."""
    resolved = tiny_config_in(tmp_path_factory.mktemp("opened"), "data.normalize=corpus")
    train(resolved)
    return Path(resolved.config.storage.root, resolved.config.storage.name)


def test_a_run_and_its_checkpoint_lead_to_the_same_folder(run: Path) -> None:
    opened = open_run(str(run))
    assert (opened.folder.uri, opened.checkpoint) == (str(run), "last")
    assert opened.encoder.checkpoint.state.step == 20
    named = open_run(str(run / "checkpoints" / "step-00000010"))
    assert (named.folder.uri, named.checkpoint) == (str(run), "named")
    assert named.encoder.checkpoint.state.step == 10
    with pytest.raises(ConfigError, match=r"--checkpoint best, but .* is one checkpoint"):
        open_run(str(run / "checkpoints" / "step-00000010"), checkpoint="best")


def test_other_shards_do_not_change_the_normalization(run: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    prepare_embedded(others, SyntheticConfig(speakers=2, utterances=12, seed=1))
    own, other = open_run(str(run)), open_run(str(run), shards=str(others))
    assert other.manifest.fingerprint != own.manifest.fingerprint
    expected = Statistics(own.manifest.corpus_mean, own.manifest.corpus_std)
    assert own.normalizer.corpus == other.normalizer.corpus == expected


def test_modules_are_counted_from_either_end(run: Path) -> None:
    opened = open_run(str(run))
    assert (opened.modules(None), opened.modules(-1), opened.modules(1)) == ((0, 1, 2, 3), (3,), (1,))
    with pytest.raises(ConfigError, match="--module 4, but the run's encoder has 4 modules; use 0 to 3"):
        opened.modules(4)


def test_weights_are_read_at_first_use(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    opened = open_run(str(copy))
    assert opened.normalizer.corpus == open_run(str(run)).normalizer.corpus  # from the shards
    with pytest.raises(CheckpointError, match="holds no complete checkpoint"):
        _ = opened.encoder


def test_a_run_whose_shards_were_moved_is_opened_with_their_new_place(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    config = (copy / "config.yaml").read_text()
    shards = open_run(str(run)).shards.uri
    (copy / "config.yaml").write_text(config.replace(shards, f"{tmp_path}/gone"))
    with pytest.raises(
        DataError, match=r"was trained on are not at .*/gone; if they were moved, .* --shards"
    ):
        open_run(str(copy))
    assert open_run(str(copy), shards=shards).shards.uri == shards


def test_what_is_missing_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no run: it has no config\.yaml; name a run's folder"):
        open_run(str(tmp_path))
    with pytest.raises(DataError):
        open_run(str(run), shards=str(tmp_path))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="--device=cuda, but torch sees no GPU here"):
            open_run(str(run), device="cuda")
