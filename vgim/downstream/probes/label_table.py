"""Labels of one's own: a table of utterances, files or speakers with a column for each task.

id,emotion                                           a label for each utterance
path,emotion,dialect                                 for each file, by its path below the corpus or its name
path,start,duration,emotion                          for each segment of a file
speaker,gender                                       for each speaker, so for all of its utterances
{"id": "a-1", "emotion": "calm"}                     the same as JSON lines
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vgim.data.corpora.cells import open_table, text_of
from vgim.data.corpora.folder import SEGMENT, id_of_name, segment_id, utterance_id_of
from vgim.data.corpora.manifest_file import (
    DURATION,
    END,
    NAME,
    PATH,
    SPEAKER,
    SPLIT,
    START,
    TRANSCRIPT,
    seconds_of,
)
from vgim.downstream.probes.registry import TASKS, is_own_task
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import first_few, plural, printable, shorten

KEYS = {"utterance": NAME, "file": PATH, "speaker": SPEAKER}
"""What a row labels → names of the column that names it; the first that a table has counts."""
NO_LABELS = {*NAME, *PATH, *SPEAKER, *TRANSCRIPT, *SPLIT, *START, *DURATION, *END}
"""Names of columns that lists of recordings have beside labels."""
_OF_SEGMENT = re.compile(rf"{SEGMENT}[0-9]+$")
FEW_CLASSES = 10
"""Classes up to which each may have a single example."""
MAX_LABEL = 200
"""Characters in a label, which tables and pictures show."""


@dataclass(frozen=True)
class LabelTable:
    """A table of labels that was read."""

    file: str
    kind: str
    """A key of `KEYS`."""
    columns: dict[str, dict[str, str]]
    """Task → id, path or speaker, composed → label; an empty cell gives none."""
    problems: dict[str, str]
    """Other column, or task that several columns would be → why it is none of `columns`, with the fix."""

    def labels_of(self, task: str, speaker_of: Mapping[str, str]) -> dict[str, str]:
        """The labels of the utterances of shards.

        Args:
            task: A column.
            speaker_of: Utterance id → speaker, of all utterances.

        Raises:
            DataError: No utterance has a label.
        """
        column = self.columns[task]
        if not column:
            raise DataError(f"{self.file}, column {task}: it has no value; label some utterances")
        if self.kind == "speaker":
            in_table = {name: _composed(speaker) for name, speaker in speaker_of.items()}
            found = {name: column[speaker] for name, speaker in in_table.items() if speaker in column}
            have: Collection[str] = set(speaker_of.values())
        else:
            spellings_of = _spellings if self.kind == "utterance" else _ends
            found = _by_id(column, {_composed(name): name for name in speaker_of}, spellings_of)
            have = speaker_of.keys()
        if not found:
            raise DataError(
                f"{self.file} has a {task} for none of the {plural(len(speaker_of), 'utterance')} of the shards: it "
                f"names {first_few(sorted(column))}, and the shards have {first_few(sorted(have))}; give the table of "
                "these recordings, with ids, paths or speakers as `vgim data prepare` reads them"
            )
        return found


def problem_of_classes(labels: Collection[str], kind: str = "utterance") -> str | None:
    """Why a column's values are no classes, with the fix; None if they are.

    Args:
        kind: What the labels are of, a key of `KEYS`. A speaker may have many examples.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        only = f"only {shorten(next(iter(counts)))!r}" if counts else "no value"
        return f"it has {only}, and a probe needs two classes; label more utterances"
    if (longest := max(map(len, counts))) > MAX_LABEL:
        return f"it has a label of {longest:,} characters; write labels of {MAX_LABEL} at most"
    if len(counts) > FEW_CLASSES and 2 * len(counts) > len(labels):
        one, choose = (
            ("speaker", ", or choose the column with --task") if kind == "speaker" else ("example", "")
        )
        return (
            f"its {len(labels):,} labels are of {len(counts):,} classes, most of which have a single {one}; write "
            f"groups of values, such as decades for ages{choose}"
        )
    return None


def read_label_table(file: str) -> LabelTable:
    """Read a table of labels: CSV or TSV with a header, or JSON lines.

    Raises:
        DataError: The file is missing, a line does not read, nothing names what a line labels, or there is no column
            of labels.
        StorageError: The file cannot be read.
    """
    place = Location(file)
    if not place.exists():
        raise DataError(f"there is no table of labels {file}; check --labels")
    names_of_keys = [name for names in KEYS.values() for name in names]
    read_line, lines, header = open_table(place.read_bytes(), place, names_of_keys)
    rows: list[tuple[int, Mapping[str, object]]] = []
    for line in lines:
        try:
            if line.problem:
                raise ValueError(f"{line.problem}; save the file as UTF-8 text")
            rows.append((line.number, read_line(line.text)))
        except ValueError as problem:
            raise DataError(f"{file}, line {line.number}: {problem}") from None
    used = dict.fromkeys(header or (name for _, values in rows for name in values))
    kind = next((kind for kind, names in KEYS.items() if used.keys() & set(names)), None)
    if kind is None and rows:
        raise DataError(
            f"{file} has no column {names_of_keys[0]} (or {', '.join(names_of_keys[1:])}); add the one that names what "
            "each line labels"
        )
    kind = kind or "utterance"
    columns, problems = _tasks_of(header or tuple(used), file)
    table: dict[str, dict[str, str]] = {task: {} for task in columns}
    for number, values in rows:
        where = f"{file}, line {number}"
        key = _composed(_key(values, kind, where))
        for task, name in columns.items():
            conflict = _add(table[task], key, _composed(printable(text_of(values, [name]))))
            if conflict is not None:
                problems.setdefault(task, f"{where}: {conflict}")
    table = {task: column for task, column in table.items() if task not in problems}
    if not table:
        raise DataError(
            next(iter(problems.values()), "")
            or f"{file} has no column of labels; add one beside {' and '.join(sorted(used)) or KEYS[kind][0]}, with "
            "the task's name in the header"
        )
    return LabelTable(file, kind, table, problems)


def _key(values: Mapping[str, object], kind: str, where: str) -> str:
    """What a row labels: an id, a path or a speaker; of a segment, its path and its start."""
    key = text_of(values, KEYS[kind])
    if kind != "file" or not key:
        return key
    try:
        start_s = seconds_of(values, START)
    except ValueError as problem:
        raise DataError(f"{where}: {problem}") from None
    return key if start_s is None else segment_id(key, start_s)


def _composed(text: str) -> str:
    """Text with each accented letter as one character, where Unicode, as names of files on macOS, has two."""
    return unicodedata.normalize("NFC", text)


def _add(column: dict[str, str], key: str, label: str) -> str | None:
    """Add a label; why it cannot be added, if the key has another one."""
    if not key or not label or column.setdefault(key, label) == label:
        return None
    return (
        f"{shorten(key)} is {shorten(label)!r}, and {shorten(column[key])!r} in a line before; remove one of them, or "
        "label utterances in a column id"
    )


def _tasks_of(names: Sequence[str], file: str) -> tuple[dict[str, str], dict[str, str]]:
    """Task → column, such as `accent_group` for `accent group`; and other columns → why they are no tasks."""
    columns: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name in names:
        task = "_".join(name.replace("-", " ").split())
        if not task or name in NO_LABELS:
            continue
        shown = f"{file} has a column {shorten(name)!r}"
        if "\ufffd" in name:
            problems[name] = f"{shown}, which is not UTF-8; save the file as UTF-8 text"
        elif task in TASKS:
            problems[name] = f"{shown}, which is a task of the shards' own labels; rename the column"
        elif not is_own_task(task):
            problems[name] = (
                f"{shown}, which cannot name a task; write letters, digits and _, beginning with a letter, 40 at most"
            )
        elif columns.setdefault(task, name) != name or names.count(name) > 1:
            problems[task] = f"{file} has two columns of the name {task}; rename one of them"
    return columns, problems


def _by_id(
    column: Mapping[str, str], id_of: Mapping[str, str], spellings_of: Callable[[str], Iterator[str]]
) -> dict[str, str]:
    """Labels by utterance id: the first of a key's spellings that is the id of an utterance.

    Args:
        id_of: Composed id → id.
    """
    found: dict[str, str] = {}
    for key, label in column.items():
        name = next((id_of[spelling] for spelling in spellings_of(key) if spelling in id_of), None)
        if name is not None and found.setdefault(name, label) != label:
            raise DataError(
                f"the table of labels has two for {name}, {found[name]!r} and {label!r}; give the column id"
            )
    return found


def _spellings(name: str) -> Iterator[str]:
    """An id as it is, and as `vgim data prepare` writes one that it reads."""
    yield from (name, id_of_name(name))


def _ends(key: str) -> Iterator[str]:
    """Utterance ids of the ends of a path, the longest first; of a segment, with its start before those without."""
    segment = _OF_SEGMENT.search(key)
    path, start = (key[: segment.start()], segment[0]) if segment else (key, "")
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    ids = [*map(id_of_name, parts[:-1]), *map(utterance_id_of, parts[-1:])]
    for suffix in dict.fromkeys((start, "")):
        for first in range(len(ids)):
            yield "-".join(ids[first:]) + suffix
