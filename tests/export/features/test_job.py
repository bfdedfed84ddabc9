"""Features of a corpus: the encoder's, of every utterance, whole after any interruption."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

import vgim
from tests.data.hostile import add_hostile_files
from tests.export.cases import FAMILIES, make_run
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_utterances
from vgim.errors import ConfigError, DataError, StorageError
from vgim.export.features.corpus import FeatureCorpus, find_corpus
from vgim.export.features.job import FeaturesRecord, write_features
from vgim.export.features.options import FeatureOptions
from vgim.export.features.part import file_name, write_part
from vgim.export.job import export_run
from vgim.progress import MessagesOnly
from vgim.storage import Location

ALL = FeatureOptions(modules=())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("runs")
    return {family: str(make_run(root, family, *overrides)) for family, overrides in FAMILIES.items()}


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file but the record, which has a time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "features.json" and ".claim" not in path.parts
    }


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


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder of four usable sound files, a damaged one and one of two samples."""
    folder, rng = tmp_path / "sounds", np.random.default_rng(0)
    for name, rate, num in (
        ("a/x.wav", 16_000, 9_000),
        ("b/x.flac", 16_000, 7_000),
        ("stereo.wav", 8_000, 6_000),
        ("61/70968/61-70968-0000.wav", 16_000, 5_000),
        ("short.wav", 16_000, 2),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (num, 2) if "stereo" in name else (num,)
        soundfile.write(path, rng.uniform(-0.1, 0.1, shape), rate, subtype="PCM_16")
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "notes.txt").write_text("no sound")
    return folder


def test_sound_files_are_read_from_a_folder_or_a_list(
    sounds: Path, runs: dict[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    options = FeatureOptions()
    record = write_features(
        runs["sim"],
        str(sounds),
        str(tmp_path / "out"),
        options,
        device="cpu",
        progress=MessagesOnly(said.append),
    )
    index = pd.read_parquet(tmp_path / "out" / "index.parquet").set_index("utterance_id")
    assert sorted(index.index) == ["61/70968/61-70968-0000", "a/x", "b/x", "stereo"]
    assert index.speaker_id["61/70968/61-70968-0000"] == "61"
    assert {row.utterance_id for row in record.skipped} == {"short", "broken"}
    assert any("1 file: averaged 2 channels, resampled 8000 Hz to 16000 Hz" in line for line in said)
    assert any(line.startswith("skipped broken: ") for line in said)
    from_file = vgim.load_encoder(runs["sim"]).encode_file(sounds / "a" / "x.wav")[-1].latents[0].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out" / index.file["a/x"]), from_file, rtol=1e-4, atol=1e-5)
    (sounds / "list.txt").write_text(f"a/x.wav\n\n{sounds}/b/x.flac\n")
    listed = write_features(
        runs["sim"], str(sounds / "list.txt"), str(tmp_path / "listed"), options, device="cpu"
    )
    assert listed.num_utterances == 2
    for name in ("a/x.npy", "b/x.npy"):
        assert (tmp_path / "listed/module-3" / name).read_bytes() == (
            tmp_path / "out/module-3" / name
        ).read_bytes()
    (sounds / "a" / "x.flac").write_bytes((sounds / "b" / "x.flac").read_bytes())
    (sounds / "list.txt").write_text("a/x.flac\na/x.wav\n")
    with pytest.raises(DataError, match="1 file with the id of another"):
        write_features(runs["sim"], str(sounds / "list.txt"), str(tmp_path / "twice"), options, device="cpu")


def test_what_a_folder_holds_besides_sound_is_skipped_and_listed(
    sounds: Path, runs: dict[str, str], tmp_path: Path
) -> None:
    reasons = add_hostile_files(sounds, ".wav")
    (sounds / "a" / "x.flac").write_bytes((sounds / "b" / "x.flac").read_bytes())
    reasons["a/x.wav"] = "it has the same id as a/x.flac, a/x"
    said: list[str] = []
    record = write_features(
        runs["sim"],
        str(sounds),
        str(tmp_path / "out"),
        FeatureOptions(),
        device="cpu",
        progress=MessagesOnly(said.append),
    )
    assert record.num_utterances == 4
    skipped = {row.utterance_id: row.reason for row in record.skipped}
    assert skipped.keys() == {*reasons, "short", "broken"}
    assert {name: skipped[name] for name in reasons} == reasons
    assert any(line.startswith("skipped ") and " more; " in line for line in said)


def test_a_file_that_goes_after_the_listing_is_skipped(
    sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_and_lose(*args: str) -> FeatureCorpus:
        found = find_corpus(args[0], ())
        (sounds / "stereo.wav").unlink()
        return found

    monkeypatch.setattr("vgim.export.features.job.find_corpus", find_and_lose)
    record = write_features(runs["sim"], str(sounds), str(tmp_path / "out"), FeatureOptions(), device="cpu")
    (lost,) = [row for row in record.skipped if row.utterance_id == "stereo"]
    assert "there is no such file" in lost.reason
    assert record.num_utterances == 3


@pytest.mark.parametrize(
    ("corpus", "error", "message"),
    [
        ("nothing", StorageError, "there is no corpus"),
        ("sounds/notes.txt", DataError, r"notes\.txt line 1 ends in none of"),
        ("sounds/61/70968/none", StorageError, "there is no corpus"),
        ("empty", DataError, "holds neither shards nor sound files"),
        ("sounds/short.wav", DataError, "has no utterance that can be encoded"),
    ],
)
def test_what_is_no_corpus_is_told(
    corpus: str,
    error: type[Exception],
    message: str,
    sounds: Path,
    runs: dict[str, str],
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message) as raised:
        write_features(
            runs["sim"], str(tmp_path / corpus), str(tmp_path / "out"), FeatureOptions(), device="cpu"
        )
    assert "\n" not in str(raised.value)


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


def features_of(
    corpus: Path, run: str, out: Path, said: list[str], *, overwrite: bool = False
) -> FeaturesRecord:
    return write_features(
        run,
        str(corpus),
        str(out),
        FeatureOptions(),
        device="cpu",
        overwrite=overwrite,
        progress=MessagesOnly(said.append),
    )


def stop_before_the_end(
    corpus: Path, run: str, out: Path, monkeypatch: pytest.MonkeyPatch, *, num_parts: int
) -> None:
    """Write features in parts of two files, and stop after some of the parts."""

    def stopping(*arguments: object) -> object:
        nonlocal num_parts
        if not num_parts:
            raise KeyboardInterrupt
        num_parts -= 1
        return write_part(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("vgim.export.features.corpus.FILES_IN_PART", 2)
    with monkeypatch.context() as patch:
        patch.setattr("vgim.export.features.job.write_part", stopping)
        with pytest.raises(KeyboardInterrupt):
            features_of(corpus, run, out, [])


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


@pytest.mark.parametrize("listed", [False, True])
def test_a_sound_file_that_was_replaced_makes_another_corpus(
    listed: bool, sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = sounds
    if listed:
        corpus = tmp_path / "list.txt"
        corpus.write_text("sounds/a/x.wav\nsounds/b/x.flac\nsounds/stereo.wav\n")
    stop_before_the_end(corpus, runs["sim"], tmp_path / "out", monkeypatch, num_parts=1)
    file = sounds / "a" / "x.wav"
    louder, rate = soundfile.read(file, dtype="int16")
    time_ns, size = file.stat().st_mtime_ns, file.stat().st_size
    soundfile.write(file, louder * 2, rate, subtype="PCM_16")
    assert file.stat().st_size == size
    os.utime(file, ns=(time_ns + 10**9, time_ns + 10**9))
    with pytest.raises(ConfigError, match="a sound file that was changed makes another corpus"):
        features_of(corpus, runs["sim"], tmp_path / "out", [])


def test_a_list_is_checked_first_and_can_be_mended(
    sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = tmp_path / "list.txt", tmp_path / "out"
    for wrong, what in (("sounds/none.wav", "no file"), ("sounds/folder.wav", "a folder")):
        (sounds / "folder.wav").mkdir(exist_ok=True)
        listed.write_text(f"sounds/a/x.wav\n{wrong}\n")
        with pytest.raises(StorageError, match=rf"line 2 of .*list\.txt names .*{wrong}, which is {what}"):
            features_of(listed, runs["sim"], out, [])
        assert not out.exists()
    listed.write_text("sounds/a/x.wav\nsounds/short.wav\n")
    stop_before_the_end(listed, runs["sim"], out, monkeypatch, num_parts=0)
    listed.write_text("sounds/a/x.wav\n")  # nothing of the longer list is there, so that nothing is lost
    assert features_of(listed, runs["sim"], out, []).num_utterances == 1


def test_a_seed_without_an_effect_is_said(sounds: Path, runs: dict[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    options = FeatureOptions(seed=3)
    write_features(
        runs["sim"],
        str(sounds),
        str(tmp_path / "out"),
        options,
        device="cpu",
        progress=MessagesOnly(said.append),
    )
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


def test_ids_lead_to_no_place_outside() -> None:
    assert file_name("a/b-1") == "a/b-1"
    assert file_name("../../etc/x") == "%2E%2E/%2E%2E/etc/x"
    assert file_name("a b:c\n") == "a b%3Ac%0A"
    assert file_name("/a").startswith("id-")
    assert file_name("x" * 300).startswith("id-")


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
