"""A run whose run.json or config.yaml is lost or damaged still belongs to its config and its data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.cases import last_checkpoint, records, run_location
from vgim.config import ResolvedConfig, RunConfig
from vgim.errors import CheckpointError, ConfigError, DataError
from vgim.progress import MessagesOnly
from vgim.runs.folder import RunFolder
from vgim.runs.litter import sweep_litter
from vgim.runs.restore import restore_run
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
Damage = Callable[[Path], None]


def lost(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def not_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00name")


def foreign(path: Path) -> None:
    path.write_text('{"name": "another program\'s"}')


def halved(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(
        data[: data.index(b"\n", len(data) // 2)]
    )  # half a config reads, with the default of every other key


DAMAGES = (lost, emptied, not_utf8, foreign, halved)
SETTINGS = ("train.max_steps=2", "train.checkpoint_every_steps=1")


@pytest.fixture(scope="module")
def trained(tiny_config_in: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("restored")
    train(tiny_config_in(folder, *SETTINGS))
    return folder


@pytest.fixture
def config_here(trained: Path, tmp_path: Path, tiny_config_in: Maker) -> Maker:
    """Makes configs of a copy of a trained run."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    return lambda *overrides: tiny_config_in(tmp_path, *SETTINGS, *overrides)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("names", [["config.yaml"], ["run.json", "config.yaml"]], ids="+".join)
def test_another_config_and_other_data_are_refused_as_ever(
    config_here: Maker, damage: Damage, names: list[str]
) -> None:
    run = run_location(config_here().config)
    for name in names:
        damage(run.child(name).local_path)
    with pytest.raises(ConfigError, match=r"exists with another config \(train\.seed: 0 → 3\)"):
        train(config_here("train.seed=3"))
    for name in names:
        if damage is not lost or run.child(name).exists():
            damage(run.child(name).local_path)
    restore_run(run)
    with pytest.raises(DataError, match=r"was trained on data [0-9a-f]{12}, but .* holds cccccccccccc"):
        RunFolder(run).check(config_here().config, "c" * 64)


@pytest.mark.parametrize(
    ("damage", "name"),
    [(lost, "run.json"), (not_utf8, "run.json"), (lost, "config.yaml"), (halved, "config.yaml")],
)
def test_the_run_goes_on_and_its_log_says_what_was_written_anew(
    config_here: Maker, damage: Damage, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = config_here("train.max_steps=3")
    run = run_location(longer.config)
    path = run.child(name)
    damage(path.local_path)
    assert train(longer, progress=MessagesOnly(print)) == 0
    assert last_checkpoint(longer.config).state.step == 3
    (told,) = (r["message"] for r in records(run, "event") if r["message"].startswith(f"{path.uri} was "))
    kept = "" if damage is lost else f" and kept as {name}.damaged"
    assert f"{kept}; it is written anew from the checkpoint {run.uri}/checkpoints/step-00000002" in told
    assert capsys.readouterr().out.count(told) == 1
    assert run.child(f"{name}.damaged").exists() == (damage is not lost)
    folder = RunFolder(run)
    record = folder.record()
    assert record is not None
    assert (record.state, record.launches, record.message) == ("finished", 2, "finished at step 3, epoch 0")
    assert folder.config() == longer.config
    capsys.readouterr()
    assert train(longer, progress=MessagesOnly(print)) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("damage", "name"), [(lost, "run.json"), (foreign, "run.json"), (emptied, "config.yaml")]
)
def test_a_run_without_a_checkpoint_starts_afresh_with_any_config(
    tiny_config: Maker, damage: Damage, name: str
) -> None:
    resolved = tiny_config("train.max_steps=1")
    run = run_location(resolved.config)
    RunFolder(run).claim(resolved.config, "f" * 64)
    damage(run.child(name).local_path)
    assert train(tiny_config("train.max_steps=1", "train.seed=5")) == 0
    record = RunFolder(run).record()
    assert record is not None
    assert (record.state, record.seed) == ("finished", 5)
    told = [record["message"] for record in records(run, "event")]
    assert any("was damaged; no checkpoint was written yet" in message for message in told) == (
        damage is not lost
    )


def test_a_run_of_which_nothing_is_whole_is_refused(config_here: Maker) -> None:
    run = run_location(config_here().config)
    run.child("run.json").delete()
    for step in (1, 2):
        emptied(run.child("checkpoints", f"step-{step:08d}", "config.yaml").local_path)
    with pytest.raises(CheckpointError, match=r"has no whole checkpoint left"):
        train(config_here())
    assert not run.child("run.json").exists()


def test_files_that_read_are_left_as_they_are(config_here: Maker) -> None:
    run = run_location(config_here().config)
    before = run.list_files()
    assert restore_run(run, RunConfig) == []
    assert run.list_files() == before
    assert restore_run(run.parent.child("nothing"), RunConfig) == []


def test_a_run_starts_with_the_litter_of_a_killed_process_swept(config_here: Maker) -> None:
    longer = config_here("train.max_steps=3")
    run = run_location(longer.config)
    half = run.child("checkpoints", "step-00000001")
    half.child("state.json").delete()  # as a process that is killed while it prunes leaves it
    new = run.child("checkpoints", "step-00000003")
    new.child("weights.safetensors").write_bytes_atomic(b"half")  # and one that is killed while it writes
    temporary = [
        run.child(".run.json.tmp-0123456789ab"),
        run.child("checkpoints", ".index.json.tmp-0123456789ab"),
        run.child("checkpoints", "step-00000002", ".state.json.tmp-0123456789ab"),
    ]
    others = [run.child(".report.html.tmp-0123456789ab"), run.child("probes", ".x.tmp-0123456789ab")]
    for path in (*temporary, *others):
        path.local_path.parent.mkdir(exist_ok=True)
        path.local_path.write_bytes(b"")
    assert train(longer) == 0
    assert run.child("checkpoints").list() == ["index.json", "step-00000002", "step-00000003"]
    assert [path.exists() for path in (*temporary, *others)] == [False] * 3 + [True] * 2


def test_sweeping_leaves_whole_checkpoints_and_damaged_ones(config_here: Maker) -> None:
    run = run_location(config_here().config)
    emptied(run.child("checkpoints", "step-00000001", "weights.safetensors").local_path)
    run.child(
        "checkpoints", "step-00000002", "state.json"
    ).delete()  # damage: it was complete, and is the newest
    before = run.child("checkpoints").list()
    sweep_litter(run)
    assert run.child("checkpoints").list() == before
