"""An experiment's file: what it resolves to, and what is refused before anything is read or written."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.experiment.cases import FILE, write_file
from vgim.cli import main
from vgim.config.presets import known_experiments, known_presets
from vgim.config.show import preset_list
from vgim.errors import ConfigError
from vgim.experiment.file import from_yaml, to_yaml
from vgim.experiment.plan import find_folder, load_experiment


def load(folder: Path, *overrides: str, text: str = FILE, out: str | None = None):
    return load_experiment(write_file(folder, folder / "shards", text), overrides, out)


def test_every_arm_is_trained_with_every_seed(tmp_path: Path) -> None:
    experiment = load(tmp_path)
    assert [run.name for run in experiment.runs] == ["sim-seed0", "gim-seed0", "sim-seed1", "gim-seed1"]
    assert [run.config.train.seed for run in experiment.runs] == [0, 0, 1, 1]
    assert [run.config.family for run in experiment.runs] == ["sim", "gim", "sim", "gim"]
    assert experiment.folder.uri == str(tmp_path / "runs" / "two")
    assert experiment.runs[2].location.uri == str(tmp_path / "runs" / "two" / "runs" / "sim-seed1")


def test_later_overrides_win(tmp_path: Path) -> None:
    text = FILE.replace("kld_weight=0.002", "train.max_steps=6").replace("[objective.train", "[train")
    text = text.replace("objective.train.max", "train.max")
    assert [run.config.train.max_steps for run in load(tmp_path, text=text).runs] == [6, 4, 6, 4]
    changed = load(tmp_path, "train.max_steps=9", "seeds=[5]", text=text, out=str(tmp_path / "elsewhere"))
    assert [(run.name, run.config.train.max_steps) for run in changed.runs] == [
        ("sim-seed5", 9),
        ("gim-seed5", 9),
    ]
    assert changed.folder.uri == str(tmp_path / "elsewhere")


def test_a_resolved_file_reads_back(tmp_path: Path) -> None:
    config = load(tmp_path, "train.max_steps=9").config
    assert from_yaml(to_yaml(config), "experiment.yaml") == config
    assert config.overrides[-1] == "train.max_steps=9"


PROBED = FILE + "probes: [{tasks: [phone, speaker], solver: adam, seeds: 2, runs: [gim]}]\n"


def test_probes_have_the_options_of_vgim_probe(tmp_path: Path) -> None:
    probes = load(tmp_path, text=PROBED).probes
    assert [(probe.options.task, probe.options.solver, probe.options.seeds) for probe in probes] == [
        ("phone", "adam", 2),
        ("speaker", "adam", 2),
    ]
    assert probes[0].arms == ("gim",)
    assert probes[0].options.encoders == ("trained", "random", "mfcc")
    assert probes[0].options.module is None


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (FILE, ["train.sed=1"], r"run sim: train.sed is not a config key"),
        (FILE, ["train.seed=1"], r"train.seed=1: .* use seeds=\[...\]"),
        (FILE, ["storage.name=x"], r"use name=NAME"),
        (FILE, ["objective.kld_weight=0.5"], r"run gim: objective.kld_weight=0.5 has no effect"),
        (FILE, ["seeds=[1,1]"], r"a seed twice"),
        (FILE, ["seeds=[]"], r"seeds=\[\] is not allowed"),
        (FILE, ["seeds=[-1]"], r"seeds=\[-1\] .* must be a list of integers at least 0"),
        ("- sim", [], r"its top level takes name, seeds, overrides, runs, probes, differences$"),
        (FILE, ["sedes=[1]"], r"sedes is not a config key"),
        (FILE.replace("preset: tiny, o", "o"), [], r"runs.sim: preset: Field required"),
        (FILE.replace("preset: tiny", "preset: tinny"), [], r"two.yaml: preset=tinny: no preset is called"),
        (FILE.replace("sim:", "si m:"), [], r"a run cannot be called 'si m'"),
        (FILE.replace("sim:", "mfcc:"), [], r"a run cannot be called 'mfcc'"),
        (PROBED.replace("phone", "phones"), [], r"probes\[0\]: task=phones is not a probe"),
        (PROBED.replace("seeds: 2", "module: 1"), [], r"module=1 does not belong here"),
        (PROBED.replace("seeds: 2", "sede: 1"), [], r"probes\[0\]: sede: .*options are those of vgim probe"),
        (PROBED.replace("runs: [gim]", "runs: [gym]"), [], r"runs has gym, but the runs are sim, gim"),
    ],
)
def test_mistakes_are_refused(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, *overrides, text=text)


def test_experiments_are_no_presets() -> None:
    assert "reproduce-artificial" in known_experiments()
    assert not any(name.startswith("reproduce-") for name in known_presets())
    assert "reproduce-" not in preset_list()


@pytest.mark.parametrize("name", ["reproduce-artificial", "reproduce-artificial-small"])
def test_the_published_experiments_read_the_recordings_as_they_are(name: str) -> None:
    for run in load_experiment(name).runs:
        assert run.config.data.normalize == "none"
        assert not run.config.data.augment.is_on
        assert run.config.model.preemphasis == 0


def test_experiments_that_come_with_vgim_load() -> None:
    for name in known_experiments():
        experiment = load_experiment(name)
        assert experiment.probes
        assert len(experiment.runs) == len(experiment.arms) * len(experiment.config.seeds)


def test_a_missing_file_has_suggestions() -> None:
    with pytest.raises(ConfigError, match="did you mean reproduce-artificial"):
        load_experiment("reproduce-artifical")


def test_an_experiments_folder_is_found_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    file = write_file(tmp_path / "configs", tmp_path / "shards", name="reproduce-small.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VGIM_HOME", str(tmp_path / "home"))
    folder = str(tmp_path / "configs" / "runs" / "reproduce-small")
    assert find_folder(file) == find_folder("reproduce-small") == load_experiment(file).folder.uri == folder
    at_home = tmp_path / "home" / "runs" / "reproduce-small"
    at_home.mkdir(parents=True)
    (at_home / "experiment.yaml").touch()
    assert find_folder("reproduce-small") == str(at_home)
    assert find_folder(folder) == folder


def test_the_groups_help_lists_the_options_of_run() -> None:
    shown = CliRunner().invoke(main, ["experiment", "--help"]).stdout
    assert "Options of run:" in shown
    assert all(option in shown for option in ("--out DIR", "--dry-run", "--probe-workers", "--address"))
