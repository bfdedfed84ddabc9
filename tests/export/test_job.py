"""Exports compute what the encoder computes, are whole or not there, and replace nothing by themselves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vgim
from tests.export.cases import FAMILIES, make_run
from vgim.errors import CheckpointError, ConfigError, StorageError, TrainingError
from vgim.export import job
from vgim.export.check import refuse_beyond_rounding
from vgim.export.description import markdown_cell, model_card
from vgim.export.job import export_run
from vgim.export.vgim_encoder import Layer, VgimEncoder
from vgim.pretrained.exported import ExportedConfig, ProbeFigures
from vgim.runs.layout import METRICS
from vgim.runs.training_state import FileStamp
from vgim.sealed_json import dump_sealed, load_sealed
from vgim.storage import Location
from vgim.verdict.judge import read_verdict

SAMPLES = 4_000


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    made = {family: make_run(root, family, *overrides) for family, overrides in FAMILIES.items()}
    made["no BatchNorm"] = make_run(
        root, "plain", "model.batch_norm=none", "model.relus=[true,false,true,true,true]", "model.depth=3"
    )
    made["extra modules"] = make_run(root, "deep", "model.extra_modules=3", "model.extra_layers=2")
    made["one direction"] = make_run(root, "forward", "model.gru_bidirectional=false")
    made["normed posteriors"] = make_run(root, "normed", "model.posterior_norm=local")
    made["pre-emphasis"] = make_run(root, "emphasized", "model.preemphasis=0.97")
    return made


def audio(num_utterances: int = 2, num_samples: int = SAMPLES) -> torch.Tensor:
    return torch.randn(num_utterances, num_samples, generator=torch.Generator().manual_seed(3)) * 0.1


def expected(run: Path, heard: torch.Tensor) -> list[torch.Tensor]:
    encoder = vgim.load_encoder(run)
    return [encoder(heard, module=index) for index in range(len(encoder.encoder))]


def assert_close(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


@pytest.mark.parametrize(
    "family", [*FAMILIES, "no BatchNorm", "extra modules", "one direction", "pre-emphasis"]
)
def test_the_folder_loads_with_and_without_vgim(family: str, runs: dict[str, Path], tmp_path: Path) -> None:
    made = export_run(str(runs[family]), "folder", str(tmp_path / "export"))
    assert made.largest_difference < 1e-4
    wanted = expected(runs[family], audio())
    assert_close(list(VgimEncoder.from_folder(tmp_path / "export")(audio())), wanted)
    loaded = vgim.load_encoder(tmp_path / "export")
    found = [loaded(audio(), module=index) for index in range(len(wanted))]
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert loaded.checkpoint.state.step == 7
    again = export_run(str(tmp_path / "export"), "folder", str(tmp_path / "again"))
    weights = [Path(tmp_path, name, "model.safetensors").read_bytes() for name in ("export", "again")]
    assert weights[0] == weights[1]
    assert again.largest_difference < 1e-4


def test_the_folders_module_needs_torch_and_safetensors_alone(runs: dict[str, Path], tmp_path: Path) -> None:
    export_run(str(runs["sim"]), "folder", str(tmp_path / "export"))
    code = (
        "import sys, torch; from vgim_encoder import VgimEncoder; "
        "outputs = VgimEncoder.from_folder('.')(torch.zeros(1, 4000)); "
        "print([tuple(o.shape) for o in outputs], sorted({'vgim', 'ray', 'pydantic', 'pyarrow'} & set(sys.modules)))"
    )
    out = subprocess.check_output(
        [sys.executable, "-c", code], text=True, cwd=tmp_path / "export", env={**os.environ, "PYTHONPATH": ""}
    )
    assert out.strip() == "[(1, 199, 6), (1, 51, 6), (1, 25, 6), (1, 25, 10)] []"


@pytest.mark.parametrize("family", [*FAMILIES, "one direction"])
def test_padded_utterances_encode_as_each_alone(family: str, runs: dict[str, Path], tmp_path: Path) -> None:
    export_run(str(runs[family]), "folder", str(tmp_path / "export"))
    encoder = VgimEncoder.from_folder(tmp_path / "export")
    lengths = torch.tensor([SAMPLES, 2_345, 999])
    padded = audio(3)
    padded[1, 2_345:] = 7.0  # what stands behind an utterance changes nothing
    together = encoder(padded, lengths)
    frames = encoder.num_frames(lengths)
    for row, length in enumerate(lengths.tolist()):
        for output, alone, num in zip(together, encoder(padded[row : row + 1, :length]), frames, strict=True):
            assert int(num[row]) == alone.shape[1]
            torch.testing.assert_close(output[row, : alone.shape[1]], alone[0], rtol=1e-4, atol=1e-6)
            assert not output[row, alone.shape[1] :].any()


@pytest.mark.parametrize("family", ["sim", "cpc"])
def test_frames_of_a_padded_batch_are_counted_once_a_layer(
    family: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_run(str(runs[family]), "folder", str(tmp_path / "export"))
    encoder = VgimEncoder.from_folder(tmp_path / "export")
    counted: list[Layer] = []

    def count(layer: Layer, lengths: torch.Tensor) -> torch.Tensor:
        counted.append(layer)
        return num_frames(layer, lengths)

    num_frames = Layer.num_frames
    monkeypatch.setattr(Layer, "num_frames", count)
    encoder(audio(2), torch.tensor([SAMPLES, 999]))
    assert counted == [layer for layer in encoder.modules() if isinstance(layer, Layer)]


@pytest.mark.parametrize("family", [*FAMILIES, "no BatchNorm", "one direction", "pre-emphasis"])
def test_onnx_runs_any_batch_and_length(family: str, runs: dict[str, Path], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    export_run(str(runs[family]), "onnx", str(tmp_path / "encoder.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    assert "at least one utterance" in session.get_modelmeta().description
    assert session.get_inputs()[0].shape == ["batch", "samples"]
    assert session.get_modelmeta().custom_metadata_map["sample_rate_hz"] == "16000"
    for heard in (audio(1, 41), audio(4, 3_333), torch.zeros(1, 500)):
        found = [torch.from_numpy(output) for output in session.run(None, {"audio": heard.numpy()})]
        assert_close(found, expected(runs[family], heard))


@pytest.mark.parametrize("family", ["sim", "cpc", "one direction"])
def test_torchscript_takes_lengths(family: str, runs: dict[str, Path], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_run(str(runs[family]), "torchscript", str(tmp_path / "encoder.ts"))
    loaded = torch.jit.load(tmp_path / "encoder.ts")
    assert_close(loaded(audio(3, 1_000)), expected(runs[family], audio(3, 1_000)))
    cut = expected(runs[family], audio(2)[1:, :777])
    short = loaded(audio(2), torch.tensor([SAMPLES, 777]))
    assert_close([out[1:, : one.shape[1]] for out, one in zip(short, cut, strict=True)], cut)


@pytest.mark.slow  # torch.export compiles
@pytest.mark.parametrize("family", ["sim", "one direction"])
def test_a_program_of_torch_export_runs_any_batch_and_length(
    family: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    made = export_run(str(runs[family]), "torch-export", str(tmp_path / "encoder.pt2"))
    assert made.largest_difference < 1e-4
    program = torch.export.load(tmp_path / "encoder.pt2").module()
    for heard in (audio(1, 500), audio(4, 3_333)):
        assert_close(list(program(heard)), expected(runs[family], heard))


def test_nothing_is_replaced_unless_it_is_an_export_and_asked_for(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    export_run(str(runs["sim"]), "folder")
    place = runs["sim"] / "export" / "folder"
    before = (place / "config.json").read_bytes()
    with pytest.raises(StorageError, match="exists; give --out another name, or --overwrite"):
        export_run(str(runs["sim"]), "folder")
    assert (place / "config.json").read_bytes() == before
    (place / "left.txt").write_text("x")
    export_run(str(runs["sim"]), "folder", overwrite=True)
    assert sorted(path.name for path in place.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "vgim_encoder.py",
    ]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(StorageError, match="holds other files than an export"):
        export_run(str(runs["sim"]), "folder", str(other), overwrite=True)
    assert (other / "thesis.tex").exists()
    with pytest.raises(StorageError, match="is a folder; give --out a file"):
        export_run(str(runs["sim"]), "onnx", str(other), overwrite=True)


def test_an_export_that_differs_is_not_written(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(config: object, tensors: dict[str, torch.Tensor]) -> VgimEncoder:
        return whole(config, {name: tensor + 0.01 for name, tensor in tensors.items()})

    whole = job.portable_encoder
    monkeypatch.setattr(job, "portable_encoder", shifted)
    for form in ("folder", "torchscript"):
        with pytest.raises(TrainingError, match="of the export differs from the encoder's by"):
            export_run(str(runs["sim"]), form, str(tmp_path / form))  # type: ignore[arg-type]
        assert not (tmp_path / form).exists()


def test_an_encoder_that_amplifies_rounding_is_measured_by_its_own() -> None:
    class Rough(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.off = 5e-5

        def forward(self, heard: torch.Tensor, module: int) -> torch.Tensor:
            return torch.ones(1, 4, 2) + (self.off if self.weight.dtype == torch.float32 else 0)

    rough: Any = Rough()
    refuse_beyond_rounding(4e-4, rough, audio(), 0, "x")
    for difference, off in ((6e-4, 5e-5), (2e-4, 0.0), (0.02, 0.1), (float("nan"), 0.1)):
        rough.off = off
        with pytest.raises(TrainingError, match="own fp32 differs from fp64 by"):
            refuse_beyond_rounding(difference, rough, audio(), 0, "x")
    rough.off = float("nan")
    with pytest.raises(TrainingError, match="x of the encoder itself has values that are not finite"):
        refuse_beyond_rounding(float("nan"), rough, audio(), 0, "x")


def test_an_export_may_lie_on_any_storage(runs: dict[str, Path], tmp_path: Path) -> None:
    from tests.faulty_storage import faulty_storage

    with faulty_storage(tmp_path):
        export_run(str(runs["sim"]), "folder", "faulty://store/export")
        export_run(str(runs["sim"]), "folder", "faulty://store/export", overwrite=True)
        export_run(str(runs["sim"]), "torchscript", "faulty://store/encoder.ts")
        loaded = vgim.load_encoder("faulty://store/export")
        assert torch.equal(loaded(audio()), vgim.load_encoder(runs["sim"])(audio()))


def test_damage_is_named(runs: dict[str, Path], tmp_path: Path) -> None:
    export_run(str(runs["sim"]), "folder", str(tmp_path / "export"))
    weights, config = tmp_path / "export" / "model.safetensors", tmp_path / "export" / "config.json"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged, or of another export"):
        vgim.load_encoder(tmp_path / "export")
    weights.write_bytes(whole)
    content = json.loads(config.read_text())
    content["modules"][0]["channels"] = 7
    config.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="its modules are not those of its run_config"):
        vgim.load_encoder(tmp_path / "export")
    content["modules"][0]["channels"] = 8
    content["normalize"] = {"mode": "corpus", "mean": None, "std": None}
    config.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"normalize: .*mode corpus needs mean and std"):
        vgim.load_encoder(tmp_path / "export")
    config.write_text("{")
    with pytest.raises(CheckpointError, match="does not read as the config of an exported encoder"):
        vgim.load_encoder(tmp_path / "export")


def test_the_card_tells_what_is_known_and_nothing_of_the_machine(
    probed_run: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    export_run(str(probed_run), "folder", str(tmp_path / "export"), license_id="mit")
    card = (tmp_path / "export" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vgim\n")
    assert 'license: "mit"' in card
    assert "| Data | the embedded synthetic corpus" in card
    assert "from validation at step 20" in card
    assert "ln 6 = 1.792 nats" in card
    verdict = read_verdict(Location(probed_run))
    assert verdict is not None
    assert all(f"- {markdown_cell(sentence)}\n" in card for sentence in verdict.sentences)
    for text in (card, (tmp_path / "export" / "config.json").read_text()):
        assert str(probed_run.parent) not in text
        assert str(tmp_path) not in text
    notes: list[str] = []
    from vgim.progress import MessagesOnly

    export_run(str(runs["sim"]), "folder", str(tmp_path / "bare"), progress=MessagesOnly(notes.append))
    assert "the shards do not read" in notes[0]
    bare = (tmp_path / "bare" / "README.md").read_text()
    assert "| Data | not known |" in bare
    assert "| KL held at | 4.2 nats a frame |" in bare  # 0.7 a channel of 6
    assert "both directions" in bare
    assert "both directions" not in card
    assert "The run recorded no losses." in bare
    assert "What the figures mean" not in bare
    assert "The encoder was not probed at this step." in bare
    assert not (runs["sim"] / METRICS).exists()


def test_an_export_has_no_path_of_a_cache_or_of_the_run_it_is_attached_to(
    probed_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(probed_run, tmp_path / "attached"))
    for file in (run / "config.yaml", max(run.glob("checkpoints/step-*")) / "config.yaml"):
        text = file.read_text()
        for was, now in (
            ("run: ''", "run: /home/ada/runs/first"),
            ("cache_dir: ''", "cache_dir: /mnt/ada"),
            ("cache_gib: 100.0", "cache_gib: 7.0"),
        ):
            assert was in text
            text = text.replace(was, now)
        file.write_text(text)
    state = max(run.glob("checkpoints/step-*")) / "state.json"
    data = (state.parent / "config.yaml").read_bytes()
    content, _ = load_sealed(state.read_bytes())
    content["files"]["config.yaml"] = FileStamp.of(data).model_dump()
    state.write_bytes(dump_sealed(content))
    records = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    for record in records:
        record["modules"] = [module for module in record.get("modules", []) if module["module"] == 3]
    (run / METRICS).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    export_run(str(run), "folder", str(tmp_path / "export"))
    card, config = ((tmp_path / "export" / name).read_text() for name in ("README.md", "config.json"))
    assert not re.search(r"\bada\b", card + config)
    assert "modules 0, 1 and 2 are of first" in card
    loaded = vgim.load_encoder(tmp_path / "export").config
    assert (loaded.attach.run, loaded.data.cache_dir, loaded.data.cache_gib) == ("first", "", 100.0)


def test_the_card_names_the_options_of_a_probe_behind_its_task(probed_run: Path, tmp_path: Path) -> None:
    export_run(str(probed_run), "folder", str(tmp_path / "export"))
    config = ExportedConfig.model_validate_json((tmp_path / "export" / "config.json").read_text())
    probe = ProbeFigures(
        task="mood_now",
        variant="labels1a2b3c4d, whole",
        encoder="mfcc",
        module=None,
        layer=None,
        accuracy=0.5,
        low=0.4,
        high=0.6,
        majority=0.5,
        step=None,
    )
    facts = config.facts.model_copy(update={"probes": (probe,)})
    card = model_card(config.model_copy(update={"facts": facts}))
    assert "| mood\\_now (labels1a2b3c4d, whole) | " in card


def test_the_card_has_every_module_of_a_run_that_trained_one_after_the_other(tmp_path: Path) -> None:
    run = make_run(tmp_path, "sequential", "train.schedule=sequential")
    validations = [
        {
            "kind": "validation",
            "step": 2 * module + 1,
            "epoch": 1.0,
            "loss": 1.0,
            "modules": [{"module": module, "nce": 1.5 - module / 10}],
        }
        for module in (0, 1, 2, 3, 9)
    ]
    (run / METRICS).write_text("".join(f"{json.dumps(record)}\n" for record in validations))
    export_run(str(run), "folder", str(tmp_path / "export"))
    card = (tmp_path / "export" / "README.md").read_text()
    assert "from validation at steps 1, 3, 5 and 7." in card  # the checkpoint is of step 7
    assert [line[:9] for line in card.splitlines() if line[6:9] in ("1.5", "1.4", "1.3", "1.2")] == [
        "| 0 | 1.5",
        "| 1 | 1.4",
        "| 2 | 1.3",
        "| 3 | 1.2",
    ]


def test_too_short_audio_is_told(runs: dict[str, Path], tmp_path: Path) -> None:
    export_run(str(runs["sim"]), "folder", str(tmp_path / "export"))
    encoder = VgimEncoder.from_folder(tmp_path / "export")
    with pytest.raises(ValueError, match="L at least 41 samples at 16 kHz"):
        encoder(audio(1, 40))
    pcm = (audio() * 32_768).to(torch.int16)
    np.testing.assert_allclose(encoder(pcm)[0], encoder(pcm.float() / 32_768)[0], rtol=1e-5)


def test_an_export_goes_into_no_checkpoint_and_no_other_export(runs: dict[str, Path], tmp_path: Path) -> None:
    run = make_run(tmp_path, "run", *FAMILIES["sim"])
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    made = export_run(str(checkpoint), "onnx")
    assert made.where == str(run / "export" / f"{checkpoint.name}-encoder.onnx")
    assert not (checkpoint / "export").exists()
    folder = export_run(str(run), "folder").where
    with pytest.raises(ConfigError, match="an exported folder, into which no other export goes; give --out"):
        export_run(folder, "onnx")
    with pytest.raises(ConfigError, match=r"the best checkpoint is asked for, but .* is an export of one"):
        vgim.load_encoder(folder, which="best")
