"""Tables of labels of one's own: what is a column, what a row names, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.downstream.probes.label_table import LabelTable, problem_of_classes, read_label_table
from vgim.errors import DataError

SPEAKER_OF = {"ann-a-1": "ann", "ann-a-2": "ann", "bob-x": "bob", "3_4": "bob"}


def table(folder: Path, text: str, name: str = "labels.csv") -> LabelTable:
    file = folder / name
    file.write_text(text)
    return read_label_table(str(file))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,Emotion\nann-a-1,calm\nbob-x, very  angry\nann-a-2,\n"),
        ("a.tsv", "utt_id\temotion\tpath\nann-a-1\tcalm\tq.wav\nbob-x\tvery angry\tr.wav\n"),
        ("a.csv", "emotion;file_name\ncalm;/data/corpus/ann/a/1.wav\nvery angry;bob\\x.flac\n"),
        (
            "a.jsonl",
            '{"id": "ann-a-1", "emotion": "calm", "text": "hello"}\n{"id": "bob-x", "emotion": "very angry"}\n'
            '{"id": "3_4"}\n',
        ),
    ],
)
def test_ids_and_paths_name_utterances_in_every_kind_of_table(tmp_path: Path, name: str, text: str) -> None:
    read = table(tmp_path, text, name)
    assert list(read.columns) == ["emotion"]
    assert read.labels_of("emotion", SPEAKER_OF) == {"ann-a-1": "calm", "bob-x": "very angry"}


def test_a_speakers_label_is_that_of_all_its_utterances(tmp_path: Path) -> None:
    read = table(tmp_path, "speaker,gender,Age group\nann,F,20-30\nbob,M,\neve,F,30-40\n")
    assert read.labels_of("gender", SPEAKER_OF) == {"ann-a-1": "F", "ann-a-2": "F", "bob-x": "M", "3_4": "M"}
    assert read.labels_of("age_group", SPEAKER_OF) == {"ann-a-1": "20-30", "ann-a-2": "20-30"}


def test_a_list_of_recordings_names_the_utterances_that_a_preparation_makes_of_it(tmp_path: Path) -> None:
    segments = "path,start,duration,mood\nann/one two.wav,0.5,1,near\nann/one two.wav,2,1,far\nb.wav,,,near\n"
    found = table(tmp_path, segments).labels_of(
        "mood", dict.fromkeys(("ann-one_two@500", "ann-one_two@2000", "b"), "")
    )
    assert found == {"ann-one_two@500": "near", "ann-one_two@2000": "far", "b": "near"}
    whole = table(tmp_path, "path,start,mood\nann/a-1.wav,0,far\n")
    assert whole.labels_of("mood", {"ann-a-1": ""}) == {"ann-a-1": "far"}
    ids = table(tmp_path, "id,path,mood\nx/rec 1,a.wav,near\nplain,a.wav,far\n")
    assert ids.labels_of("mood", {"x-rec_1": "", "plain": ""}) == {"x-rec_1": "near", "plain": "far"}


def test_a_path_names_the_utterance_of_its_longest_end(tmp_path: Path) -> None:
    read = table(tmp_path, "path,mood\n/data/ann/a-1.wav,far\nx.wav,near\n")
    found = read.labels_of("mood", {"a-1": "p", "ann-a-1": "q", "x": "r"})
    assert found == {"ann-a-1": "far", "x": "near"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,mood\na,b\n", "line 1: expected a header with a column id "),
        ("", "has no column of labels; add one beside id"),
        ("id,speaker\na,b\n", "has no column of labels; add one beside id and speaker"),
        ("id,mood\na,b,c\n", "line 2: 3 cells under a header of 2"),
        ("path,start,mood\na.wav,soon,c\n", "line 2: start=soon is no time in seconds"),
        ("id,mood\na,b\n\na,c\n", "line 4: a is 'c', and 'b' in a line before"),
        ("id,phone\na,b\n", "has a column 'phone', which is a task of the shards' own labels; rename"),
        ("id,1st\na,b\n", "has a column '1st', which cannot name a task"),
        (f"id,{'m' * 41}\na,b\n", "cannot name a task"),
        ("id,mood,Mood\na,b,c\n", "has two columns of the name mood; rename one of them"),
        ('{"name": "a", "mood": "b"}\n', "has no column id (or utterance_id, "),
        ("id,../mood\na,b\n", "cannot name a task"),
    ],
)
def test_tables_without_labels_are_refused_by_line_and_reason(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError) as error:
        table(tmp_path, text)
    assert told in str(error.value)


def test_a_column_that_is_no_task_leaves_the_others(tmp_path: Path) -> None:
    read = table(
        tmp_path,
        "id,mood,Notes (free),phone,rater,Age group,age-group\na,calm,x,y,r1,1,2\na,calm,x,y,r2,1,2\nb,far,,,,1,1\n",
    )
    assert read.columns == {"mood": {"a": "calm", "b": "far"}}
    told = [problem.partition("labels.csv")[2] for problem in read.problems.values()]
    assert list(read.problems) == ["notes (free)", "phone", "age_group", "rater"]
    assert told[0].startswith(" has a column 'notes (free)', which cannot name a task")
    assert told[3].startswith(", line 3: a is 'r2', and 'r1' in a line before")


def test_json_lines_may_spell_names_as_tables_do_and_have_values_that_are_not_there(tmp_path: Path) -> None:
    lines = '{"ID": "a", "Mood": NaN}\n{"ID": "b", "Mood": "calm"}\n{"ID": "c", "Mood": 2}\n'
    assert table(tmp_path, lines).columns == {"mood": {"b": "calm", "c": "2"}}


def test_labels_hold_no_marks_that_terminals_obey(tmp_path: Path) -> None:
    labels = table(tmp_path, "id,mood\na,\x1b[31mred\x07\nb,x\u202ey\n").columns["mood"]
    assert labels == {"a": r"\x1b[31mred\x07", "b": r"x\u202ey"}


@pytest.mark.parametrize("key", ["id", "path", "speaker"])
def test_accented_letters_are_one_in_both_of_their_spellings(tmp_path: Path, key: str) -> None:
    composed, apart = "Zo\u00eb", "Zoe\u0308"
    for written, stored in ((composed, apart), (apart, composed)):
        read = table(tmp_path, f"{key},mood\n{written},gai\n")
        assert read.labels_of("mood", {stored: stored}) == {stored: "gai"}
    moods = table(tmp_path, f"id,mood\na,{composed}\nb,{apart}\n").columns["mood"]
    assert moods["a"] == moods["b"]


def test_a_table_of_other_recordings_is_refused_with_both_spellings(tmp_path: Path) -> None:
    read = table(tmp_path, "id,mood\nAnn/a/1.wav,calm\n")
    with pytest.raises(
        DataError, match=r"for none of the 4 utterances .* names Ann/a/1\.wav, .* have 3_4, ann-a-1"
    ):
        read.labels_of("mood", SPEAKER_OF)
    empty = table(tmp_path, "id,mood,tone\nann-a-1,,high\n")
    with pytest.raises(DataError, match="column mood: it has no value; label some utterances"):
        empty.labels_of("mood", SPEAKER_OF)
    with pytest.raises(DataError, match="there is no table of labels"):
        read_label_table(str(tmp_path / "none.csv"))
    (tmp_path / "bad.csv").write_bytes(b"id,mood\na,\xff\n")
    with pytest.raises(DataError, match=r"line 2: byte 0xff .* save the file as UTF-8"):
        read_label_table(str(tmp_path / "bad.csv"))
    (tmp_path / "gbk.csv").write_bytes("id,\u60c5\u611f\na,b\n".encode("gbk"))
    with pytest.raises(DataError, match="which is not UTF-8; save the file as UTF-8 text"):
        read_label_table(str(tmp_path / "gbk.csv"))


def test_two_paths_of_one_utterance_must_agree(tmp_path: Path) -> None:
    agree = table(tmp_path, "path,mood\na/x.wav,calm\nb/x.wav,calm\n")
    assert agree.labels_of("mood", {"x": "s"}) == {"x": "calm"}
    differ = table(tmp_path, "path,mood\na/x.wav,calm\nb/x.wav,angry\n")
    with pytest.raises(DataError, match="has two for x, 'calm' and 'angry'"):
        differ.labels_of("mood", {"x": "s"})


def test_values_of_which_each_has_one_example_are_no_classes() -> None:
    assert problem_of_classes(["a", "b"]) is None
    assert problem_of_classes([str(n % 11) for n in range(22)]) is None
    assert "write groups of values" in (problem_of_classes([str(n) for n in range(11)]) or "")
    assert "only 'a'" in (problem_of_classes(["a", "a"]) or "")
    assert "characters; write labels of 200 at most" in (problem_of_classes(["a", "b" * 201]) or "")
    assert "have a single speaker" in (problem_of_classes([str(n) for n in range(11)], "speaker") or "")
    assert "no value" in (problem_of_classes([]) or "")


@given(st.binary(max_size=300))
def test_any_bytes_read_or_are_refused_in_one_line(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "t.csv")
        file.write_bytes(b"id,mood\n" + data)
        try:
            read = read_label_table(str(file))
        except DataError as error:
            told = str(error)
        else:
            told = ""
            assert all(label for column in read.columns.values() for label in column.values())
    assert "\n" not in told
