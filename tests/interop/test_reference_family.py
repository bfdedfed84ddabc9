"""A file is imported as the family that its heads tell, or that the user says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import vgim.pretrained.encoder
from tests.interop.cases import AUDIO, SIM, SIZES, State, reference_latents, reference_state, save, without
from vgim.cli import main
from vgim.errors import CheckpointError
from vgim.interop.reference import import_reference

GIM = reference_state("gim", norm=True, heads=True, drawn=("var",))
UNTRAINED = reference_state("sim", norm=True, heads=True, drawn=("mu", "var"))
PLAIN = reference_state("gim", norm=True, heads=False)
MEANS_ALONE = {key: value for key, value in GIM.items() if "encoder_var" not in key}


@pytest.mark.parametrize(
    ("state", "preset", "family", "expected", "note"),
    [
        (SIM, None, None, "sim", "because training moved its heads of log σ²: latents are samples"),
        (SIM, None, "gim", "gim", "as you asked, although training moved its heads of log σ²: latents are μ"),
        (GIM, None, None, "gim", "and left those of log σ² as they were drawn: latents are μ"),
        (GIM, None, "sim", "sim", "encode with μ, because σ was never trained"),
        (GIM, "librispeech-sim", "sim", "sim", "as you asked, although"),
        (UNTRAINED, None, "sim", "sim", "both as they were drawn"),
        (UNTRAINED, None, "gim", "gim", "both as they were drawn"),
        (UNTRAINED, "librispeech-sim", None, "sim", "both as they were drawn"),
        (MEANS_ALONE, None, None, "gim", "because it has heads of μ and none of log σ²"),
        (PLAIN, None, "gim", "gim", "strides"),
    ],
)
def test_the_family_is_what_the_heads_tell_or_the_user_says(
    tmp_path: Path, state: State, preset: str | None, family: Any, expected: str, note: str
) -> None:
    made = import_reference(
        save(state, tmp_path / "m.ckpt"),
        str(tmp_path / "run"),
        preset,
        [*SIZES, "data.normalize=none"],
        family,
    )
    assert note in "\n".join(made.notes)
    frozen = vgim.pretrained.encoder.load_encoder(made.run)
    assert frozen.config.model.family == expected
    assert (frozen.encoder.module(0).posterior is not None) == (expected == "sim")
    for m in range(4):
        torch.testing.assert_close(
            frozen(AUDIO, m), reference_latents(state, AUDIO, m)[1], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("state", "preset", "family", "message"),
    [
        (
            UNTRAINED,
            None,
            None,
            "does not tell whether it is a sim or a gim, because its heads of μ and log σ² are",
        ),
        (
            GIM,
            "librispeech-sim",
            None,
            r"family=gim in the file, sim in .*use a preset of family gim \(training .*add",
        ),
        (
            SIM,
            "librispeech-gim",
            None,
            r"family sim \(training moved its heads of log σ²\), or add --family gim model.head=linear",
        ),
        (SIM, "librispeech-gim", "sim", "use a preset of family sim"),
        (
            GIM,
            "librispeech-gim",
            None,
            "model.head=linear in the file, none in librispeech-gim; add model.head=linear",
        ),
        (UNTRAINED, "librispeech-gim", None, "add model.head=linear"),
        (
            PLAIN,
            None,
            "sim",
            "--family sim, but it is a gim, because its modules have no heads; leave --family out",
        ),
        (
            reference_state("cpc", True, True),
            None,
            "gim",
            "--family gim, but it is a cpc, because its only module has",
        ),
        (MEANS_ALONE, None, "sim", "lacks fullmodel.0.encoder.encoder_var.bias"),
        (
            without(GIM, "module.fullmodel.1.encoder.encoder_mu.bias"),
            None,
            None,
            "lacks fullmodel.1.encoder.encoder_mu.bias",
        ),
    ],
)
def test_a_family_that_is_not_the_files_is_refused_with_a_fix(
    tmp_path: Path, state: State, preset: str | None, family: Any, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as refused:
        import_reference(
            save(state, tmp_path / "m.ckpt"),
            str(tmp_path / "run"),
            preset,
            [*SIZES, "data.normalize=none"],
            family,
        )
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_the_command_imports_the_family_that_it_is_told(tmp_path: Path) -> None:
    file, run = save(UNTRAINED, tmp_path / "m.ckpt"), str(tmp_path / "run")
    asked = CliRunner().invoke(main, ["import-reference", file, *SIZES, "--out", run])
    assert asked.exit_code != 0
    assert "add --family sim if its latents were sampled, or --family gim if they were μ" in asked.output
    done = CliRunner().invoke(main, ["import-reference", file, *SIZES, "--out", run, "--family", "gim"])
    assert done.exit_code == 0, done.output
    assert vgim.pretrained.encoder.load_encoder(run).config.model.head == "linear"
