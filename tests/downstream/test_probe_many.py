"""Several runs and tasks in one command: the same results in any way, and a failure that leaves the others."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.recorded import Recorded
from vgim.cluster.tasks import run_tasks
from vgim.config import RunConfig
from vgim.downstream.encoders import kinds
from vgim.downstream.job import probe, probe_many
from vgim.downstream.options import ProbeOptions
from vgim.downstream.result import ProbeResult
from vgim.errors import CheckpointError, ConfigError
from vgim.model.stack import Encoder
from vgim.runs.run_names import distinct_names
from vgim.storage import Location

pytestmark = pytest.mark.usefixtures("without_confusion_pictures")

SPEAKER = ProbeOptions(task="speaker", module=1, encoders=("trained", "random", "mfcc"), device="cpu")
PHONE = ProbeOptions(task="phone", module=2, encoders=("trained", "mfcc"), max_utterances=4, device="cpu")


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to, ignore=shutil.ignore_patterns("probes", "tensorboard"))
    return to


def timeless(results: list[ProbeResult]) -> list[ProbeResult]:
    return [result.model_copy(update={"created": ""}) for result in results]


def test_probes_side_by_side_give_the_results_of_probes_one_after_the_other(
    ray_session: None, probed_run: Path, tmp_path: Path
) -> None:
    runs = [str(copy_of(probed_run, tmp_path / name)) for name in ("one", "two")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone, error = probe_many(runs, [SPEAKER, PHONE])
    finally:
        torch.set_num_threads(threads)
    assert error is None
    heard = Recorded()
    runner = partial(run_tasks, workers=2, device="cpu")
    together, error = probe_many(runs, [SPEAKER, PHONE], runner=runner, progress=heard)
    assert error is None
    assert [(p.run, p.task) for p in together] == [(p.run, p.task) for p in alone]
    assert [timeless(p.results) for p in together] == [timeless(p.results) for p in alone]
    assert [len(p.results) for p in alone] == [3, 2, 3, 2]
    assert "two: phone from mfcc, seed 0: " in "\n".join(heard.messages)
    assert all(line.startswith(("one: ", "two: ")) for line in heard.messages)


def test_an_item_that_fails_is_named_and_the_others_are_written(probed_run: Path, tmp_path: Path) -> None:
    good, bad = copy_of(probed_run, tmp_path / "good"), copy_of(probed_run, tmp_path / "bad")
    shutil.rmtree(bad / "checkpoints")
    wanted = SPEAKER.model_copy(update={"encoders": ("trained", "mfcc")})
    heard = Recorded()
    (of_bad, of_good), error = probe_many([str(bad), str(good)], [wanted], progress=heard)
    probing = heard.of("probing")
    assert (probing.total, probing.done) == (4, 4)
    assert probing.details == [
        f"{run} speaker {kind}" for run in ("bad", "good") for kind in ("trained", "mfcc")
    ]
    assert [r.encoder for r in of_bad.results] == ["mfcc"]
    assert [r.encoder for r in of_good.results] == ["trained", "mfcc"]
    assert (bad / "probes" / "speaker-mfcc" / "result.json").exists()
    assert isinstance(error, CheckpointError)
    assert str(error) == "1 of 4 probes failed: bad speaker trained; the reasons are above"
    (line,) = (line for line in heard.messages if "failed" in line)
    assert line.startswith("bad speaker trained failed: ")
    assert "holds no complete checkpoint" in line


def test_an_error_of_a_whole_run_and_task_is_logged_once(probed_run: Path, tmp_path: Path) -> None:
    heard = Recorded()
    wanted = SPEAKER.model_copy(update={"module": 9})
    found, error = probe_many([str(probed_run), str(tmp_path)], [wanted, PHONE], progress=heard)
    assert [len(p.results) for p in found] == [0, 2, 0, 0]
    assert isinstance(error, ConfigError)
    assert [line.partition(" failed: ")[0] for line in heard.messages if " failed: " in line] == [
        f"{probed_run.name} speaker",
        f"{tmp_path.name} speaker",
        f"{tmp_path.name} phone",
    ]


def test_a_run_beside_its_checkpoint_gets_each_baseline_once(probed_run: Path, tmp_path: Path) -> None:
    run = copy_of(probed_run, tmp_path / "run")
    wanted = SPEAKER.model_copy(update={"encoders": ("trained", "mfcc")})
    found, _ = probe_many([str(run), str(run / "checkpoints" / "step-00000010")], [wanted])
    assert [[(r.encoder, r.step) for r in p.results] for p in found] == [
        [("trained", 20), ("mfcc", None)],
        [("trained", 10)],
    ]
    assert [p.run for p in found] == ["run", "run step-00000010"]


def test_all_epochs_of_several_runs_are_probed_and_drawn(probed_run: Path, tmp_path: Path) -> None:
    runs = [copy_of(probed_run, tmp_path / name) for name in ("one", "two")]
    heard = Recorded()
    wanted = SPEAKER.model_copy(update={"encoders": ("trained", "mfcc"), "module": None})
    found, error = probe_many([str(run) for run in runs], [wanted], all_epochs=True, progress=heard)
    assert error is None
    for probed, run in zip(found, runs, strict=True):
        assert [(r.step, r.module) for r in probed.results] == [
            *((step, m) for step in (10, 20) for m in range(4)),
            (None, None),
        ]
        for name in ("speaker-epochs.png", "speaker-modules.png"):
            assert (run / "probes" / name).exists()
    assert any(line.startswith("two: step 10: speaker from trained module 3") for line in heard.messages)


def test_a_random_encoder_is_drawn_once_for_all_tasks_of_a_command(
    probed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = kinds.untrained_encoder

    def counted(config: RunConfig, seed: int) -> Encoder:
        drawn.append(seed)
        return draw(config, seed)

    monkeypatch.setattr(kinds, "untrained_encoder", counted)
    wanted = [
        ProbeOptions(task=task, module=0, encoders=("random",), max_utterances=4, device="cpu")
        for task in ("speaker", "phone")
    ]
    for _ in range(2):  # another command draws again
        _, error = probe_many([str(probed_run)], wanted)
        assert error is None
    assert drawn == [0, 0]


def test_run_names_hold_as_many_folders_as_tell_them_apart() -> None:
    def names(*places: str) -> list[str]:
        return distinct_names([Location(path) for path in places])

    assert names("/a/sim") == ["sim"]
    assert names("/a/sim", "/a/gim") == ["sim", "gim"]
    assert names("/a/x/sim", "/b/x/sim", "/a/x/gim") == ["a/x/sim", "b/x/sim", "a/x/gim"]


def test_a_single_probe_raises_its_own_error(tmp_path: Path) -> None:
    heard = Recorded()
    with pytest.raises(CheckpointError, match="is no run"):
        probe(str(tmp_path), SPEAKER, heard)
    assert heard.messages == []
