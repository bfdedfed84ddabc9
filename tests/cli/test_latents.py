"""`vgim latents`: options that reach the job, and options that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from vgim.cli import main
from vgim.latents.registry import ANALYSES
from vgim.latents.result import LatentOptions


def vgim(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.fixture
def job_arguments(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Arguments of the job, which is replaced by a function that only records them."""
    arguments: list[Any] = []

    def analyze(
        run: str, options: LatentOptions, compare: list[str], progress: object, *, pdf: bool, anew: bool
    ) -> list[object]:
        arguments.extend([run, options, compare, pdf])
        return []

    monkeypatch.setattr("vgim.latents.job.analyze", analyze)
    return arguments


def test_defaults_equal_the_defaults_of_the_job(job_arguments: list[Any], vgim_home: Path) -> None:
    result = vgim("latents", "sim-4")
    assert result.exit_code == 0, result.output
    assert job_arguments == [f"{vgim_home}/runs/sim-4", LatentOptions(), [], False]
    run = f"{vgim_home}/runs/sim-4"
    assert result.stderr.endswith(f"are in {run}/latents; a page of them: vgim report {run}\n")
    assert LatentOptions().only == tuple(ANALYSES)


def test_options_reach_the_job(
    job_arguments: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bounds = "--max-utterances 3 --max-frames 101 --map-frames 51 --pairs 5 --subsets 6 --seed 7 --dims 10,50 --pdf"
    chosen = (
        "--all-modules --only map,labels --checkpoint best --decoder d --shards sh --split train --device cpu"
    )
    result = vgim("latents", "runs/x", "--compare", "runs/y", *bounds.split(), *chosen.split())
    assert result.exit_code == 0, result.output
    run, options, compare, pdf = job_arguments
    assert (run, compare, pdf) == (f"{tmp_path}/runs/x", [f"{tmp_path}/runs/y"], True)
    assert options == LatentOptions(
        module=None,
        only=("map", "labels"),
        checkpoint="best",
        decoder="d",
        shards=f"{tmp_path}/sh",
        split="train",
        max_utterances=3,
        max_frames=101,
        map_frames=51,
        dims=(10, 50),
        pairs=5,
        subsets=6,
        seed=7,
        device="cpu",
    )


def test_an_unknown_analysis_is_named() -> None:
    result = vgim("latents", "x", "--only", "map,tsne")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --only 'tsne' is no analysis; use distribution, map,")


def test_a_module_and_all_of_them_exclude_each_other() -> None:
    result = vgim("latents", "x", "--module", "1", "--all-modules")
    assert result.exit_code == 2
    assert "exclude each other" in result.stderr


def test_a_missing_run_is_refused_in_one_line(tmp_path: Path) -> None:
    result = vgim("latents", str(tmp_path / "none"))
    assert result.exit_code != 0
    assert "is no run" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_sizes_that_are_no_numbers_of_dimensions_are_refused() -> None:
    for dims, part in (("10,x", "'x'"), ("1", "'1'"), ("10,", "''"), ("-4", "'-4'")):
        result = vgim("latents", "x", "--dims", dims)
        assert result.exit_code == 2
        assert f"{part} is no number of dimensions; give integers from 2, such as 10,50" in result.stderr
