"""Folders of sound files and the lists that name recordings in them."""

from __future__ import annotations

import gzip
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.data.corpora.conftest import RATE_HZ
from tests.data.corpora.lists import jsonl, rows
from vgim.cli import main
from vgim.data.corpora.folder import find_folder, utterance_id_of
from vgim.data.corpora.manifest_file import BadLine, ManifestRow, read_manifest_rows
from vgim.data.shards.prepare import prepare
from vgim.errors import ConfigError, DataError
from vgim.storage import Location


def test_every_format_is_read_with_speakers_of_folders(corpus: Path, tmp_path: Path) -> None:
    manifest = prepare(find_folder(corpus), tmp_path / "shards")
    found = rows(tmp_path / "shards")
    assert {name: row["speaker_id"] for name, row in found.items()} == {
        "ann-one": "ann",
        "ann-deep-two": "ann",
        "bob-three": "bob",
        "bob-four": "bob",
        "bob-five": "bob",
        "six_seven": "unknown",
    }
    assert found["ann-one"]["transcript"] == "one line"
    assert all(abs(row["num_samples"] - 2 * RATE_HZ) < 3000 for row in found.values())
    assert manifest.warnings[0] == "no speaker for 1 utterance: six_seven"
    assert {item.path_or_id: item.reason for item in manifest.skipped} == {"ann/._one.wav": "a hidden file"}
    assert manifest.corpus == "folder"


@pytest.mark.parametrize(
    ("speaker_from", "speakers"),
    [("none", {"unknown"}), ("/([a-z])[^/]*$", {"o", "t", "f", "unknown"}), ("(x)?", {"unknown"})],
)
def test_speakers_come_from_where_the_user_says(corpus: Path, speaker_from: str, speakers: set[str]) -> None:
    found = find_folder(corpus, speaker_from=speaker_from)
    assert {item.speaker_id for item in found.utterances} == speakers
    assert bool(found.warnings) == (speaker_from != "none")


@pytest.mark.parametrize("bad", ["(", "no group", "(?P<a>", "[z-a]"])
def test_an_expression_that_names_no_speaker_is_refused(corpus: Path, bad: str) -> None:
    with pytest.raises(ConfigError, match="--speaker-from"):
        find_folder(corpus, speaker_from=bad)


def test_two_files_of_one_name_keep_the_first_and_list_the_second(corpus: Path) -> None:
    (corpus / "ann/one.flac").write_bytes((corpus / "ann/deep/two.flac").read_bytes())
    found = find_folder(corpus)
    assert [item.path for item in found.utterances if item.utterance_id == "ann-one"] == ["ann/one.flac"]
    assert found.skipped[-1].reason == "it has the same id as ann/one.flac, ann-one"


CSV = "path,speaker,transcript,split\nann/one.wav,Ann,one,train\nbob/three.ogg,,three,dev\nbob/none.wav,,,test\n"
NEMO = [
    {"audio_filepath": "ann/one.wav", "duration": 2.0, "text": "one", "speaker": "Ann"},
    {"audio_filepath": "bob/three.ogg", "duration": 2.0, "text": "three"},
    {"audio_filepath": "bob/none.wav", "duration": 2.0, "text": ""},
]
LHOTSE = [
    {
        "id": f"cut-{name}",
        "start": 0,
        "duration": 2.0,
        "channel": 0,
        "type": "MonoCut",
        "supervisions": [{"id": "s", "start": 0, "duration": 2.0, "text": text, "speaker": speaker}],
        "recording": {
            "id": "r",
            "sources": [{"type": "file", "channels": [0], "source": path}],
            "duration": 2.0,
        },
    }
    for name, path, text, speaker in (
        ("1", "ann/one.wav", "one", "Ann"),
        ("2", "bob/three.ogg", "three", None),
        ("3", "bob/none.wav", "", None),
    )
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", CSV),
        ("list.csv", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("list.tsv", CSV.replace(",", "\t")),
        ("nemo.json", jsonl(NEMO)),
        ("cuts.jsonl.gz", jsonl(LHOTSE)),
    ],
)
def test_manifests_give_speakers_and_transcripts_and_list_what_is_missing(
    corpus: Path, tmp_path: Path, name: str, text: str
) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    found = find_folder(corpus, manifest=str(file))
    assert [(item.path, item.speaker_id, item.transcript) for item in found.utterances] == [
        ("ann/one.wav", "Ann", "one"),
        ("bob/three.ogg", "bob", "three"),
    ]
    assert [item.segment_s for item in found.utterances] == [None, None]
    (missing,) = found.skipped
    assert missing.path_or_id.startswith(f"{name}, line ")
    assert missing.reason == f"there is no file bob/none.wav in {corpus}"
    if "csv" in name:
        assert [item.split for item in found.utterances] == ["train", "validation"]


def test_recordings_of_lhotse_are_read_with_absolute_paths(corpus: Path, tmp_path: Path) -> None:
    file = tmp_path / "recordings.jsonl"
    source = {"type": "file", "channels": [0], "source": str(corpus / "ann/one.wav")}
    file.write_text(jsonl([{"id": "rec 1", "sources": [source], "sampling_rate": RATE_HZ, "duration": 2.0}]))
    (item,) = find_folder(corpus, manifest=str(file)).utterances
    assert (item.utterance_id, item.path) == ("rec_1", "ann/one.wav")


@pytest.mark.parametrize(
    ("recording", "told"),
    [
        ({"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}, "lhotse changes the audio .*Speed"),
        ({"sources": [{"source": "ann/one.wav", "channels": [0, 1]}]}, "it is one of 2 channels"),
        ({"sources": 2 * [{"source": "ann/one.wav", "channels": [0]}]}, "its channels are in 2 files"),
    ],
)
def test_cuts_of_other_audio_than_their_file_holds_are_listed(
    corpus: Path, tmp_path: Path, recording: dict[str, Any], told: str
) -> None:
    other = {**LHOTSE[0], "id": "other", "recording": {**LHOTSE[0]["recording"], **recording}}
    kept = {**LHOTSE[0]["recording"], "transforms": [{"name": "Resample"}]}
    file = tmp_path / "cuts.jsonl"
    file.write_text(jsonl([{**LHOTSE[0], "recording": kept}, other]))
    found = find_folder(corpus, manifest=str(file))
    assert [item.utterance_id for item in found.utterances] == ["cut-1"]
    assert re.match(told, found.skipped[0].reason)


def test_spaces_of_a_path_stay_as_they_are(corpus: Path, tmp_path: Path) -> None:
    names = ["two  spaces.wav", "wide\u3000space.wav", "narrow\u202fspace.wav"]
    for name in names:
        (corpus / name).write_bytes((corpus / "ann/one.wav").read_bytes())
    file = tmp_path / "list.csv"
    file.write_text("path,text\n" + "".join(f" {name} ,a  b\n" for name in names))
    found = find_folder(corpus, manifest=str(file))
    assert [item.path for item in found.utterances] == names
    assert {item.transcript for item in found.utterances} == {"a b"}


def test_quotes_between_tabs_stand_for_themselves_unless_they_enclose_a_cell(tmp_path: Path) -> None:
    file = tmp_path / "train.tsv"
    lines = ['a\t"Who is there?\t1', 'b\t"Fine", he said.\t2', 'c\tA "word"\t3', 'd\t"a ""b"" c"\t4']
    file.write_text("\n".join(["path\tsentence\tstart", *lines]))
    rows = [row for row in read_manifest_rows(Location(file)) if isinstance(row, ManifestRow)]
    assert [row.transcript for row in rows] == ['"Who is there?', '"Fine", he said.', 'A "word"', 'a "b" c']
    assert [row.segment_s for row in rows] == [(number, None) for number in (1.0, 2.0, 3.0, 4.0)]


def test_spaces_behind_a_quoted_cell_are_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text('"path" ,"text" \n"a.wav" ,"one, two" \nb.wav,"say ""hi"" , now"\n"c.wav" x,3\n')
    first, second, bad = read_manifest_rows(Location(file))
    assert isinstance(first, ManifestRow)
    assert (first.path, first.transcript) == ("a.wav", "one, two")
    assert isinstance(second, ManifestRow)
    assert second.transcript == 'say "hi" , now'
    assert isinstance(bad, BadLine)


def test_json_lines_of_data_frames_spell_names_freely_and_write_missing_values_as_nan(
    corpus: Path, tmp_path: Path
) -> None:
    file = tmp_path / "frame.jsonl"
    file.write_text('{"Path": "ann/one.wav", "Speaker": NaN, "Text": NaN, "start": NaN, "id": "x"}\n')
    (item,) = find_folder(corpus, manifest=str(file)).utterances
    assert (item.utterance_id, item.speaker_id, item.segment_s) == ("x", "ann", None)
    assert "nan" not in item.transcript


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no recording"),
        ("path\n", "names no recording"),
        (
            "name,age\nx,1\n",
            r"line 1: expected a header with a column path \(or .*file_name, .*\), got 'name,age'",
        ),
        ("path,text\na.wav,one,two\n", "line 2: 3 cells under a header of 2"),
        ("path,split\na.wav,trial\n", "line 2: 'trial' is no split"),
        ("path,start\na.wav,soon\n", "line 2: start=soon is no time in seconds"),
        ("path,start\na.wav,-1\n", "line 2: start=-1 is no time in seconds"),
        ("path,start,end\na.wav,2,1\n", "line 2: end=1 is before start=2"),
        ('{"text": 1}\n[1]\n', "line 1: it names no file"),
        ("path\n" + "x" * 200_000 + "\n", "line 2: field larger than field limit"),
        ('path,text,start\na.wav,"one,2\n', "line 2: a quote is not closed in this line"),
        ('path,text,start\na.wav,"one" two,2\n', "line 2: ',' expected after '\"'"),
        ("path," + "x" * 200_000 + "\n", "line 1: expected a header with a column path"),
        ('{"text": "x"}\n', "line 1: it names no file"),
        ("path\ncaf\u00e9.wav\n", "line 2: byte 0xe9 at position 4 is not UTF-8"),
        ("path\nnone.wav\n", "names no recording in .*: list, line 2: there is no file none.wav"),
    ],
)
def test_a_malformed_manifest_is_told_by_its_line(corpus: Path, tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "list"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=told):
        find_folder(corpus, manifest=str(file))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"path": "ann/one.wav"}\n[1]\n', "expected a JSON object, got '[1]'"),
        ('{"path": "ann/one.wav"}\n{"path": \n', "expected a JSON object, got '{\"path\": '"),
        ('{"path": "ann/one.wav"}\n{"path": "ann/\\ud800.wav"}\n', "there is no file ann/?.wav in {corpus}"),
        ("path,start\nann/one.wav,0\nann/deep/two.flac,soon\n", "start=soon is no time in seconds"),
        (
            "path\nann/one.wav\ncaf\u00e9.wav\n",
            "byte 0xe9 at position 4 is not UTF-8; save the file as UTF-8 text",
        ),
        ("path\nann/one.wav\nann/gone.wav\n", "ann/gone.wav: a link to nowhere, which is not there"),
        ("path\nann/one.wav\n?secret=x\n", "there is no file ?secret=*** in {corpus}"),
    ],
)
def test_a_bad_line_is_skipped_and_listed_beside_good_ones(
    corpus: Path, tmp_path: Path, text: str, told: str
) -> None:
    (corpus / "ann/gone.wav").symlink_to("nowhere")
    file = tmp_path / "list"
    file.write_bytes(text.encode("latin-1"))
    found = find_folder(corpus, manifest=str(file))
    assert [item.path for item in found.utterances] == ["ann/one.wav"]
    (bad,) = found.skipped
    assert bad.path_or_id == f"list, line {3 if text.startswith('path') else 2}"
    assert bad.reason == told.replace("{corpus}", str(corpus))
    with pytest.raises(DataError, match=r"list, line \d: unreadable: .*leave out --strict"):
        prepare(found, tmp_path / "shards", strict=True)


def test_a_name_whose_accents_are_written_otherwise_is_found(corpus: Path, tmp_path: Path) -> None:
    (corpus / "ann/one.wav").rename(corpus / "cafe\u0301.wav")
    (tmp_path / "list.csv").write_text("path\ncaf\u00e9.wav\n")
    (item,) = find_folder(corpus, manifest=str(tmp_path / "list.csv")).utterances
    assert item.path == "cafe\u0301.wav"


@pytest.mark.parametrize("column", ["path", "file", "file_name", "filepath"])
def test_a_list_made_on_windows_is_read(corpus: Path, tmp_path: Path, column: str) -> None:
    text = f"{column};Speaker;emotion\r\nann\\deep\\two.flac;Ann;sad\r\n"
    (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig", newline="")
    (item,) = find_folder(corpus, manifest=str(tmp_path / "list.csv")).utterances
    assert (item.path, item.speaker_id) == ("ann/deep/two.flac", "Ann")


def test_a_whole_file_without_a_transcript_in_the_list_has_the_one_beside_it(
    corpus: Path, tmp_path: Path
) -> None:
    (corpus / "bob/three.txt").write_bytes(b"caf\xe9")
    lines = [
        {"path": "ann/one.wav"},
        {"path": "ann/one.wav", "id": "told", "text": "of the list"},
        {"path": "ann/one.wav", "start": 0.5},
        {"path": "bob/three.ogg"},
    ]
    (tmp_path / "list.jsonl").write_text(jsonl(lines))
    found = find_folder(corpus, manifest=str(tmp_path / "list.jsonl"))
    assert [item.transcript for item in found.utterances] == ["one line", "of the list", "", "caf\ufffd"]
    (warning,) = found.warnings
    assert "bob/three.txt, line 1" in warning


@given(st.binary(max_size=120))
def test_any_bytes_are_rows_or_one_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(b'{"path": "a.wav"}\n' + data)
    with suppress(DataError):
        assert read_manifest_rows(Location(file))


def test_a_folder_without_sound_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=r"found 1 file, none of them \.wav, \.flac"):
        find_folder(tmp_path)
    assert utterance_id_of("a b/c.d/e  f.wav") == "a_b-c.d-e_f"


def test_the_command_prepares_a_folder_and_a_manifest(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(CSV)
    command = ["data", "prepare", "folder", "--corpus", str(corpus), "--out", str(tmp_path / "shards")]
    result = CliRunner().invoke(main, [*command, "--manifest", str(tmp_path / "list.csv")])
    assert result.exit_code == 0, result.output
    assert set(rows(tmp_path / "shards")) == {"ann-one", "bob-three"}
