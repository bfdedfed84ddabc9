"""Writes a run's folder with everything that a page shows, in milliseconds and without training."""

from __future__ import annotations

import json
import math
import struct
import wave
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vgim.config import DecoderConfig, RunConfig, to_yaml
from vgim.config.decoder import AnyConfig
from vgim.downstream.classifier import Classifier, ClassifierInfo
from vgim.downstream.options import ProbeOptions
from vgim.downstream.predictions import Predictions
from vgim.downstream.result import ProbeResult
from vgim.downstream.writing import FittedFiles, write_result
from vgim.runs.folder import RunFolder
from vgim.storage import Location

MODULES = 4
FINAL_ACCURACY = {"trained": 0.5, "random": 0.3, "mfcc": 0.4}


def png(width: int = 60, height: int = 40) -> bytes:
    """A gray picture."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = (b"\0" + b"\x90" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_wav(path: Path, seconds: float = 0.5, pitch_hz: float = 220.0) -> None:
    """A tone, 16 kHz PCM16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [
        int(8000 * math.sin(2 * math.pi * pitch_hz * t / 16_000)) for t in range(int(16_000 * seconds))
    ]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def write_metrics(run: Path, num_records: int = 30, *, collapsed: bool = False) -> None:
    """Losses that fall over training, a validation every third record."""
    lines: list[dict[str, Any]] = [
        {"kind": "event", "step": 0, "message": "weights drawn afresh from seed 0"}
    ]
    for i in range(num_records):
        step = 10 * (i + 1)
        modules = [_metrics(m, i / num_records, collapsed) for m in range(MODULES)]
        lines.append(
            {"kind": "train", "step": step, "epoch": step / 30, "steps_per_s": 5.0, "modules": modules}
        )
        if i % 3 == 2:
            lines.append(
                {"kind": "validation", "step": step, "epoch": step / 30, "loss": 1.5, "modules": modules}
            )
    run.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps({**line, "time": 1e9 + number}) + "\n" for number, line in enumerate(lines))
    (run / "metrics.jsonl").write_text(text)


def write_decoder_metrics(folder: Path) -> None:
    """A loss that falls, and distances in dB that improve."""
    lines: list[dict[str, Any]] = []
    for i in range(30):
        step, train = 10 * (i + 1), {"module": 1, "loss": 0.5 / (i + 1), "mse": 0.4 / (i + 1), "stft": 3.0}
        lines.append({"kind": "train", "step": step, "steps_per_s": 5.0, "modules": [train]})
        if i % 3 == 2:
            found = train | {"si_sdr_db": i / 3 - 3.8, "log_spectral_distance_db": 22 - i / 3}
            lines.append({"kind": "validation", "step": step, "modules": [found]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _metrics(module: int, share: float, collapsed: bool) -> dict[str, float]:
    chance = math.log(6)
    gone = collapsed and module == 1
    return {
        "loss": chance - (1.0 - 0.1 * module) * share,
        "nce": chance if gone else chance - (1.1 - 0.1 * module) * share,
        "kl": 0.0 if module == 3 else 100 * share,
        "kl_per_element": 0.0 if module == 3 else (0.2 + 0.3 * module) * share,
        "accuracy": 1 / 6 + (0.4 - 0.05 * module) * share,
        "active_units": 0.0 if gone else 1.0,
    }


def write_run(run: Path, config: AnyConfig, state: str = "finished", message: str = "finished") -> None:
    """config.yaml, run.json, metrics.jsonl."""
    from vgim.data.shards.manifest import read_manifest

    folder = RunFolder(Location(run))
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(to_yaml(config))
    folder.claim(config, read_manifest(config.data.shards).fingerprint)
    record = folder.record()
    assert record is not None
    command = ("/opt/bin/vgim", "train", "tiny.yaml", "storage.name=a run")
    fixed = {"created": "2026-01-02T03:04:05+00:00", "updated": "2026-01-02T03:05:05+00:00", "host": "here"}
    folder.write(record.model_copy(update={**fixed, "command": command, "state": state, "message": message}))
    write_metrics(run)


def write_probe(
    run: Path, config: RunConfig, task: str, encoder: str, module: int | None, **changes: Any
) -> None:
    """A probe's folder with a result and its picture."""
    import numpy as np

    accuracy = FINAL_ACCURACY[encoder] + 0.05 * (module or 0)
    options = {
        "task": task,
        "encoders": ("trained", "random", "mfcc"),
        "module": None,
        **changes.pop("options", {}),
    }
    classes = ("a", "e", "i", "o")
    result = ProbeResult.model_validate(
        {
            "task": task,
            "encoder": encoder,
            "module": module,
            "num_features": 8,
            "step": 20 if encoder == "trained" else None,
            "checkpoint": f"{run}/checkpoints/step-00000020" if encoder == "trained" else None,
            "accuracy": accuracy,
            "interval_over_utterances": {"low": accuracy - 0.06, "high": accuracy + 0.05},
            "interval_over_seeds": None,
            "majority": 0.28,
            "chance": 0.25,
            "per_class": dict.fromkeys(classes, accuracy),
            "unit": "frame",
            "num_train": 4000,
            "num_validation": 400,
            "num_test": 500,
            "num_train_utterances": 40,
            "num_validation_utterances": 4,
            "num_test_utterances": 4,
            "num_left_out": 0,
            "test_utterances_seen": 0,
            "batch_norm_clips": 0,
            "fits": [{"seed": 0, "accuracy": accuracy, "validation_loss": 1.0, "l2": 0.1}],
            "notes": [],
            "options": ProbeOptions.model_validate(options),
            "data": config.data.shards,
            "data_fingerprint": "0" * 64,
            "run_config": config,
            "created": "2026-01-02T03:04:05+00:00",
            "versions": {},
            "git_revision": "",
            **changes,
        }
    )
    labels = np.arange(len(classes))
    predictions = Predictions(tuple(classes), tuple(classes), np.ones_like(labels), labels, labels[None])
    classifier = Classifier(
        ClassifierInfo(
            **result.model_dump(
                include=set(ClassifierInfo.model_fields) & set(ProbeResult.model_fields) - {"features_sha256"}
            ),
            classes=tuple(classes),
            run=str(run),
            seeds=(0,),
            features_sha256=("",),
            corpus="librispeech",
        ),
        np.zeros((1, len(classes), 2), np.float32),
        np.zeros((1, len(classes)), np.float32),
    )
    place = write_result(
        Location(run), result, FittedFiles(np.eye(len(classes), dtype=np.int64), predictions, classifier)
    )
    place.child("confusion.png").write_bytes_atomic(png())


def write_probes(
    run: Path, config: RunConfig, encoders: Sequence[str] = ("trained", "random", "mfcc")
) -> None:
    """Phones at every module, with baselines."""
    for encoder in encoders:
        for module in [None] if encoder == "mfcc" else range(MODULES):
            write_probe(run, config, "phone", encoder, module)


def write_analysis(run: Path, module: int = 1, name: str = "distribution", **changes: Any) -> Path:
    """An analysis's folder with a picture and a table."""
    folder = run / "latents" / f"module{module}" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "histogram.png").write_bytes(png())
    record = {
        "analysis": name,
        "module": module,
        "title": "Distribution of the latents",
        "summary": ["Most dimensions stay close to N(0, 1)."],
        "figures": {"active_units": 8, "kl_mean": 0.2512},
        "pictures": [{"file": "histogram.png", "caption": "Histogram of every dimension"}],
        "tables": [{"title": "Largest KL", "columns": ["dimension", "KL"], "rows": [[3, 1.25], [0, 0.5]]}],
        "notes": ["of the test split"],
        "command": ["/opt/bin/vgim", "latents", str(run), "--all-modules"],
        **changes,
    }
    (folder / "result.json").write_text(json.dumps(record))
    return folder


def write_decoder(run: Path, config: RunConfig, name: str = "module1-mse") -> Path:
    """A decoder's folder: a run of its own, with sounds of every kind."""
    folder = run / "decoder" / name
    source = {"run": str(run), "step": 20, "weights": "0" * 64, "family": "sim", "module": 1}
    objective = {"loss": "mse+stft", "weight": 0.003}
    model = {"channels": config.model.channels}
    sections = {"encoder": source, "decoder": model, "objective": objective, "data": config.data}
    write_run(folder, DecoderConfig.model_validate(sections))
    write_decoder_metrics(folder)
    entries: list[dict[str, Any]] = []

    def entry(group: str, file: str, **more: Any) -> None:
        base = {"file": file, "group": group, "title": "", "original": None, "value": None, "dimension": None}
        write_wav(folder / "audio" / file, pitch_hz=200 + 20 * len(entries))
        entries.append({**base, **more})

    for i in range(3):
        write_wav(folder / "audio" / f"original{i}.wav", 0.75)
        entry("reconstruction", f"reconstruction{i}.wav", title=f"utterance {i}", original=f"original{i}.wav")
        entry("sample", f"sample{i}.wav", title=f"draw {i}")
        entry("interpolation", f"interpolation{i}.wav", title="0 to 1", value=i / 2)
        entry("traversal", f"traversal{i}.wav", title="dimension 3", value=2.0 * i - 2, dimension=3)
    (folder / "audio" / "index.json").write_text(json.dumps(entries))
    return folder


def write_everything(run: Path, config: RunConfig) -> None:
    """A run, its probes, an analysis and a decoder."""
    write_run(run, config)
    write_probes(run, config)
    write_analysis(run)
    write_decoder(run, config)
