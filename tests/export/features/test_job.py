"""Features of a corpus: the encoder's, of every utterance, whole after any interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import vgim
from tests.export.cases import FAMILIES
from tests.export.features.feature_cases import ALL, features_of, files_of, stop_before_the_end
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_utterances
from vgim.errors import ConfigError, StorageError
from vgim.export.features.job import FeaturesRecord, write_features
from vgim.export.features.options import FeatureOptions
from vgim.export.job import export_run
from vgim.progress import MessagesOnly
from vgim.storage import Location


@pytest.mark.parametrize("family", list(FAMILIES))
def test_features_are_those_of_each_utterance_alone(
    family: str, runs: dict[str, str], tiny_shards: Path, tmp_path: Path
) -> None:
    record = write_features(runs[family], str(tiny_shards), str(tmp_path / "out"), ALL, device="cpu")
    encoder = vgim.load_encoder(runs[family])
    shards = Location(tiny_shards)
    index = pd.read_parquet(tmp_path / "out" / "index.parquet").set_index(["utterance_id", "module"])
    manifest = read_manifest(shards)
    utterances = [
        utterance
        for split in ("train", "validation", "test")
        for utterance in read_utterances(shards, manifest, split)
    ]
    assert record.num_utterances == len(utterances) == 48
    assert set(index.checkpoint) == {record.checkpoint}
    for utterance in utterances[::6]:
        for module in record.modules:
            row = index.loc[(utterance.utterance_id, module)]
            features = np.load(tmp_path / "out" / row.file, allow_pickle=False)
            alone = encoder(utterance.audio, module=module)[0].numpy()
            assert features.dtype == np.float32
            assert features.shape == alone.shape == (row.num_frames, row.channels)
            np.testing.assert_allclose(features, alone, rtol=1e-4, atol=1e-5)
            assert (row.speaker_id, row.num_samples) == (utterance.speaker_id, len(utterance.audio))


@pytest.mark.parametrize(("form", "deaths"), [("npy", (1, 2, 20, 30)), ("parquet", (1, 2, 3, 2))])
def test_an_interrupted_call_goes_on_to_the_bytes_of_a_straight_one(
    form: str,
    deaths: tuple[int, ...],
    runs: dict[str, str],
    tiny_shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = FeatureOptions(modules=(0, -1), form=form)  # type: ignore[arg-type]
    write_features(runs["sim"], str(tiny_shards), str(tmp_path / "straight"), options, device="cpu")
    written: list[str] = []
    whole, out = Location.write_bytes_atomic, str(tmp_path / "killed")

    def die_at(number: int) -> None:
        def write(location: Location, data: bytes) -> None:
            if location.uri.startswith(out) and "/.claim" not in location.uri:
                written.append(location.uri)
                if len(written) == number:
                    raise KeyboardInterrupt
            whole(location, data)

        written.clear()
        monkeypatch.setattr(Location, "write_bytes_atomic", write)

    for number in deaths:
        die_at(number)
        with pytest.raises(KeyboardInterrupt):
            write_features(runs["sim"], str(tiny_shards), out, options, device="cpu")
        assert not Path(out, "features.json").exists()
    said: list[str] = []
    die_at(-1)
    write_features(
        runs["sim"], str(tiny_shards), out, options, device="cpu", progress=MessagesOnly(said.append)
    )
    assert "were written earlier" in said[0]
    straight = files_of(tmp_path / "straight")
    assert (
        len([uri for uri in written if "/part-" in uri]) < 9
    )  # of 9 parts, the finished ones are not written again
    assert files_of(Path(out)) == straight
    write_features(
        runs["sim"], str(tiny_shards), out, options, device="cpu", progress=MessagesOnly(said.append)
    )
    assert said[-1].endswith("holds these features already; nothing to do")


def test_parquet_holds_a_row_for_each_utterance(
    runs: dict[str, str], tiny_shards: Path, tmp_path: Path
) -> None:
    for form in ("npy", "parquet"):
        options = FeatureOptions(modules=(1,), form=form, splits=("test",))
        write_features(runs["gim"], str(tiny_shards), str(tmp_path / form), options, device="cpu")
    index = pd.read_parquet(tmp_path / "npy" / "index.parquet").set_index("utterance_id")
    table = pq.read_table(tmp_path / "parquet" / "module-1").to_pandas()
    assert set(table.utterance_id) == set(index.index)
    for row in table.itertuples():
        features = np.stack(row.features)
        assert features.shape[0] == row.num_frames
        np.testing.assert_array_equal(features, np.load(tmp_path / "npy" / index.file[row.utterance_id]))


def test_samples_depend_on_the_seed_and_the_utterance(
    runs: dict[str, str], tiny_shards: Path, tmp_path: Path
) -> None:
    def written(name: str, **options: object) -> dict[str, bytes]:
        chosen = FeatureOptions.model_validate({"modules": (0,), **options})
        write_features(runs["sim"], str(tiny_shards), str(tmp_path / name), chosen, device="cpu")
        return {name: data for name, data in files_of(tmp_path / name).items() if name.endswith(".npy")}

    sampled = written("a", kind="z", splits=("validation", "test"))
    some = written("b", kind="z", splits=("test",))
    assert some == {name: sampled[name] for name in some}
    assert not set(sampled.values()) & set(written("c", kind="z", seed=1, splits=("test",)).values())
    mean, std = written("mu", splits=("test",)), written("std", kind="std", splits=("test",))
    name = next(iter(some))
    z, mu, sigma = (np.load(tmp_path / folder / name) for folder in ("a", "mu", "std"))
    assert sigma.min() > 0
    noise = (z - mu) / sigma
    assert abs(noise.mean()) < 0.1
    assert 0.9 < noise.std() < 1.1
    assert mean.keys() == std.keys()
    for kind, modules, run in (("std", (-1,), "sim"), ("z", (0,), "gim")):
        with pytest.raises(ConfigError, match=f"--kind {kind}, but .* has no posterior; use --kind mu"):
            write_features(
                runs[run],
                str(tiny_shards),
                str(tmp_path / "no"),
                FeatureOptions.model_validate({"kind": kind, "modules": modules}),
                device="cpu",
            )


def test_a_folder_of_something_else_is_left_alone(sounds: Path, runs: dict[str, str], tmp_path: Path) -> None:
    def write(out: Path, run: str = "sim", **options: object) -> FeaturesRecord:
        return write_features(runs[run], str(sounds), str(out), FeatureOptions(), device="cpu", **options)  # type: ignore[arg-type]

    with pytest.raises(StorageError, match="holds other files"):
        write(sounds)
    write(tmp_path / "out")
    with pytest.raises(ConfigError, match="of another encoder, corpus or options; choose another --out"):
        write(tmp_path / "out", "gim")
    before = files_of(tmp_path / "out")
    write(tmp_path / "out", "gim", overwrite=True)
    assert files_of(tmp_path / "out") != before
    (tmp_path / "out" / "features.json").write_text("{")
    with pytest.raises(StorageError, match="whose record is damaged; --overwrite writes them again"):
        write(tmp_path / "out", "gim")
    write(tmp_path / "out", "gim", overwrite=True)


@pytest.mark.parametrize("damage", ["deleted", "cut", "record"])
def test_a_part_that_was_damaged_after_a_stop_is_written_again(
    damage: str, sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_before_the_end(sounds, runs["sim"], tmp_path / "out", monkeypatch, num_parts=1)
    file = next((tmp_path / "out" / "module-3").rglob("*.npy"))
    if damage == "deleted":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:200])
    else:
        next((tmp_path / "out" / ".features").glob("part-*")).write_bytes(b"{")
    said: list[str] = []
    features_of(sounds, runs["sim"], tmp_path / "out", said)
    assert ("is damaged" if damage == "record" else "is missing or cut") in said[0]
    assert not any("were written earlier" in line for line in said)
    features_of(sounds, runs["sim"], tmp_path / "straight", [])
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")


@pytest.mark.parametrize("file", ["module-3/a/x.npy", "index.parquet"])
def test_a_whole_folder_that_lacks_a_file_is_refused(
    file: str, sounds: Path, runs: dict[str, str], tmp_path: Path
) -> None:
    features_of(sounds, runs["sim"], tmp_path / "out", [])
    before = files_of(tmp_path / "out")
    (tmp_path / "out" / file).unlink()
    with pytest.raises(
        StorageError, match=r"(lacks 1 file|index.parquet is missing).*--overwrite writes them again"
    ):
        features_of(sounds, runs["sim"], tmp_path / "out", [])
    features_of(sounds, runs["sim"], tmp_path / "out", [], overwrite=True)
    assert files_of(tmp_path / "out") == before


def test_a_seed_without_an_effect_is_said(sounds: Path, runs: dict[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    features_of(sounds, runs["sim"], tmp_path / "out", said, options=FeatureOptions(seed=3))
    assert "note: the seed 3 has no effect on features of the kind mu; only z is drawn" in said


def test_exports_and_remote_folders_serve(sounds: Path, runs: dict[str, str], tmp_path: Path) -> None:
    from tests.faulty_storage import faulty_storage

    export_run(runs["sim"], "folder", str(tmp_path / "export"))
    write_features(runs["sim"], str(sounds), str(tmp_path / "here"), FeatureOptions(), device="cpu")
    with faulty_storage(tmp_path):
        write_features(
            str(tmp_path / "export"), str(sounds), "faulty://store/out", FeatureOptions(), device="cpu"
        )
    here, there = (
        {name: data for name, data in files_of(folder).items() if name.endswith(".npy")}
        for folder in (tmp_path / "here", tmp_path / "store" / "out")
    )
    assert here == there


def test_workers_on_ray_write_what_one_process_writes(
    ray_session: None, runs: dict[str, str], tiny_shards: Path, tmp_path: Path
) -> None:
    for name, workers in (("one", 0), ("two", 2)):
        write_features(
            runs["sim"], str(tiny_shards), str(tmp_path / name), ALL, device="cpu", workers=workers
        )
    assert files_of(tmp_path / "one").keys() == files_of(tmp_path / "two").keys()
    for name in files_of(tmp_path / "one"):
        if name.endswith(".npy"):  # workers may compute with another number of threads
            here, there = (np.load(tmp_path / folder / name) for folder in ("one", "two"))
            np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-5)


def test_all_modules_come_from_one_pass(
    sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    encode: Callable[..., object] = vgim.load_encoder(runs["sim"]).__class__.encode

    def counted(self: object, audio: np.ndarray, *arguments: object, **options: object) -> object:
        passes.append(len(audio))
        return encode(self, audio, *arguments, **options)

    monkeypatch.setattr("vgim.pretrained.encoder.FrozenEncoder.encode", counted)
    write_features(runs["sim"], str(sounds), str(tmp_path / "out"), ALL, device="cpu")
    assert sum(passes) == 4
