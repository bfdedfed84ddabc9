"""The command line: what it prints, what it exits with, what it does not import."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from click.testing import CliRunner, Result

from tests.waiting import wait_until
from vgim import __version__
from vgim.cli import main
from vgim.cli.options import OBJECTS_BETWEEN_COLLECTIONS
from vgim.config import ResolvedConfig, from_yaml, load_config
from vgim.errors import DataError, Interrupted
from vgim.storage import Location

WRITTEN = Path(__file__).parents[1] / "written_by_0_1"


def vgim(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_version_is_the_package_version() -> None:
    assert vgim("--version").output == f"vgim, version {__version__}\n"


def imported_by(*args: str, of: Iterable[str]) -> set[str]:
    """Which packages are loaded once a command, run in a process of its own, has ended well."""
    code = f"""
import sys
from vgim.cli import main
main({list(args)}, standalone_mode=False)
print(*sorted(sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(of) & set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    heavy = ["ray", "torch", "matplotlib", "pandas", "numpy", "pyarrow", "pydantic", "yaml"]
    assert imported_by("--help", of=heavy) == set()


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("runs runs", set()),
        ("compare runs/sim runs/gim", set()),
        ("compare --group-seeds runs/sim runs/gim", {"numpy"}),
        ("report runs/sim", set()),
        ("decode list runs/sim", set()),
        ("sweep show runs/rates", set()),
        ("sweep best runs/rates", set()),
    ],
)
def test_reading_results_imports_no_more_than_it_computes_with(
    command: str, needed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(WRITTEN / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    if command.startswith("sweep"):  # as a sweep that has ended leaves its folder
        write_results = ["sweep", "show", "runs/rates"]
        assert "tensorboard" in imported_by(*write_results, of=["tensorboard"])
    heavy = ["ray", "torch", "matplotlib", "tensorboard", "pandas", "scipy", "sklearn", "soundfile"]
    heavy += ["numpy", "pyarrow", "concurrent.futures"]
    assert imported_by(*command.split(), of=heavy) == needed


@pytest.mark.parametrize("own", [None, "2"])
def test_numpy_starts_no_threads_for_a_command_that_only_reads(
    own: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import gc, os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            tell()
def tell():
    print("told:", os.environ.get("OPENBLAS_NUM_THREADS"), gc.get_threshold()[0], file=sys.stderr)
sys.meta_path.insert(0, Watch())
from vgim.cli import main
main(["compare", "--group-seeds", "runs/sim", "runs/gim"], standalone_mode=False)
tell()
"""
    shutil.copytree(WRITTEN / "runs", tmp_path / "runs")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", own)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("told: ")]
    usual = gc.get_threshold()[0]
    assert told == [f"told: {own or 1} {OBJECTS_BETWEEN_COLLECTIONS}", f"told: {own} {usual}"]


def test_config_show_prints_a_config_that_reads_back() -> None:
    result = vgim("config", "show", "quickstart", "train.seed=3")
    assert result.exit_code == 0
    assert from_yaml(result.output) == load_config("quickstart", ["train.seed=3"]).config
    lines = {line.split(":")[0].strip(): line for line in result.output.splitlines()}
    assert lines["batch_norm"].endswith("# default")
    assert lines["crop_samples"].endswith("# default")
    assert lines["channels"].endswith("quickstart.yaml")


def test_config_show_as_json_holds_the_sources() -> None:
    record = json.loads(vgim("config", "show", "librispeech-sim", "train.seed=3", "--json").output)
    assert record["preset"] == "librispeech-sim"
    assert record["config"]["train"]["seed"] == 3
    assert record["sources"]["train.seed"] == "override"
    assert record["sources"]["model.channels"].endswith("_librispeech.yaml")


def test_config_list_shows_presets_and_hides_bases() -> None:
    output = vgim("config", "list").output
    assert re.search(r"^librispeech-cpc +Contrastive Predictive Coding", output, re.MULTILINE)
    assert "_librispeech" not in output


def test_config_keys_shows_type_default_and_meaning() -> None:
    output = vgim("config", "keys").output
    assert "data.shards: text not empty; required\n" in output
    line = "objective.kld_weight: a number at least 0; default 0.0\n    Weight of the KL term; the weight to start from"
    assert line in output


def test_each_problem_is_a_line_on_stderr() -> None:
    result = vgim("train", "quickstart", "train.epochs=0", "model.chanels=3")
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)


def test_unknown_preset_is_answered_before_anything_starts() -> None:
    result = vgim("train", "quikstart")
    assert (result.exit_code, "did you mean quickstart?" in result.stderr) == (2, True)


@pytest.mark.parametrize("args", [["nonsense"], ["train"], ["config", "show"]])
def test_wrong_usage_exits_2(args: list[str]) -> None:
    assert vgim(*args).exit_code == 2


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (
            DataError("no shards at /s; run vgim data prepare"),
            3,
            "error: no shards at /s; run vgim data prepare\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted by SIGINT\n"),
        (Interrupted(), 130, ""),
        (Interrupted(signal.SIGTERM), 143, ""),
    ],
)
def test_errors_become_a_line_and_an_exit_code(
    error: BaseException, exit_code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vgim.config.show.preset_list", fail)
    result = vgim("config", "list")
    assert (result.exit_code, result.stderr) == (exit_code, said)


@pytest.mark.parametrize(
    ("number", "exit_code", "said"),
    [
        (signal.SIGINT, 130, "interrupted by SIGINT\n"),
        (signal.SIGTERM, 143, "interrupted by SIGTERM\n"),
        (signal.SIGHUP, 129, "interrupted by SIGHUP\n"),
    ],
)
def test_a_signal_ends_any_verb_with_a_line_and_its_exit_code(
    number: signal.Signals, exit_code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_until_stopped() -> str:
        with Location(tmp_path).child("half.txt").atomic_output() as out:
            out.write(b"half")
            os.kill(os.getpid(), number)
            wait_until(lambda: False, "the signal")
        return "never"

    monkeypatch.setattr("vgim.config.show.preset_list", write_until_stopped)
    before = signal.getsignal(number)
    result = vgim("config", "list")
    assert (result.exit_code, result.stderr) == (exit_code, said)
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == before


def test_our_own_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("vgim.config.show.preset_list", fail)
    assert isinstance(vgim("config", "list").exception, ZeroDivisionError)


def test_train_passes_on_what_it_was_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    seen: dict[str, Any] = {}

    def train(resolved: ResolvedConfig, **options: Any) -> int:
        seen.update(options, seed=resolved.config.train.seed)
        return 6

    monkeypatch.setattr("vgim.training.trainer.train", train)
    chosen = ["--resume-from", "earlier", "--init-from", "other/run", "--address", "auto", "--verbose"]
    result = vgim("train", "quickstart", "train.seed=4", "storage.root=runs", *chosen)
    assert result.exit_code == 6
    assert seen == {
        "seed": 4,
        "resume_from": f"{tmp_path}/runs/earlier",  # a bare name is a run under storage.root
        "init_from": f"{tmp_path}/other/run",
        "address": "auto",
        "verbose": True,
        "progress": ANY,
    }


def test_train_is_attached_to_a_run_beside_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def train(resolved: ResolvedConfig, **options: Any) -> int:
        seen.append(resolved.config.attach.run)
        return 0

    monkeypatch.setattr("vgim.training.trainer.train", train)
    for source in ("lower", "other/run", "s3://bucket/run"):
        assert vgim("train", "quickstart", "storage.root=runs", "--attach", source).exit_code == 0
    assert seen == [f"{tmp_path}/runs/lower", f"{tmp_path}/other/run", "s3://bucket/run"]
    refused = vgim("train", "quickstart", "train.schedule=sequential", "--attach", "lower")
    assert refused.exit_code == 2
    assert "use joint" in refused.stderr


def test_runs_lists_the_default_storage(vgim_home: Path, tmp_path: Path) -> None:
    result = vgim("runs", "$VGIM_HOME/nowhere")
    assert (result.exit_code, str(vgim_home / "nowhere") in result.stderr) == (5, True)
    assert json.loads(vgim("runs", str(tmp_path), "--json").stdout) == []


def test_presets_are_found_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert vgim("config", "show", "artificial-sim").exit_code == 0


def test_the_package_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vgim", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"vgim, version {__version__}\n"
