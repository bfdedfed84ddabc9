"""Utterance ids as label files and split lists spell them: with folders, suffixes, or other capitals."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vgim.text import first_few


def explain_unknown(names: Iterable[str], ids: Collection[str]) -> str:
    """Examples of names that are no utterance id, with the reason where it is in the spelling.

    Args:
        names: Names of a label file or a list.
        ids: The utterance ids of the corpus.
    """
    by_plain = {plain_id(name): name for name in ids}
    unknown = sorted(name for name in names if name not in ids)
    spelled = [
        f"{name}, which the corpus has as {known}"
        for name in unknown
        if (known := by_plain.get(plain_id(name)))
    ]
    if spelled:
        return f"they name {first_few(spelled)}"
    return f"they name {first_few(unknown)}, and the corpus has {first_few(sorted(ids))}"


def plain_id(name: str) -> str:
    """A name without folders, without the suffix of an audio file, in small letters."""
    stem = name.replace("\\", "/").rpartition("/")[2].lower()
    before, dot, suffix = stem.rpartition(".")
    return before if dot and before and suffix.isalnum() and not suffix.isdigit() else stem
