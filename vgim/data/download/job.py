"""Download archives of a corpus into a local folder, and unpack them there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vgim.claims.claim import take_claim
from vgim.claims.record import CLAIMS
from vgim.claims.ticket import Work
from vgim.data.corpora.archive import Archive
from vgim.data.corpora.registry import CORPORA
from vgim.data.download.fetch import fetch
from vgim.data.download.unpack import Unpacked, unpack
from vgim.errors import ConfigError, DataError
from vgim.extras import require_extra
from vgim.progress import SILENT, Progress
from vgim.storage import Location
from vgim.text import first_few, join_words, shorten

RECORDS = ".vgim-download"
"""Folder in the corpus's folder for what is downloaded, and for a record of each archive that is unpacked."""
DOWNLOADING = Work("downloading into", "choose another --out")


def downloadable_corpora() -> list[str]:
    """Names of the corpora that `vgim data download` can be given."""
    return [name for name, kind in CORPORA.items() if kind.archives]


def download(
    name: str,
    out: str | Path,
    *,
    subsets: Sequence[str] = (),
    mirror: str = "",
    keep_archives: bool = False,
    progress: Progress = SILENT,
) -> Path:
    """Download a corpus from its publisher and unpack it. What is there already is left alone.

    Args:
        name: Name of the corpus, such as `librispeech`.
        out: Local folder for the corpus.
        subsets: The archives, such as `train-clean-100`; none means all of a corpus that has one archive.
        mirror: Address of the folder of another server with the same files.
        keep_archives: Keep archives after they are unpacked.
        progress: Where to report.

    Returns:
        The folder, for `vgim data prepare NAME --corpus`.

    Raises:
        ConfigError: The corpus, a subset or the mirror is none, or `out` is not local.
        DataError: A file is not the publisher's, or is damaged.
        StorageError: The server does not answer, or `out` cannot be written.
        ClaimHeldError: Another process downloads into `out`.
    """
    require_extra("vgim data download", "data", ("pooch", "requests"))
    archives = _chosen(name, subsets)
    if not Location(out).is_local:
        raise ConfigError(
            f"--out {out} is no local folder; download to one, and prepare shards on other storage"
        )
    if mirror and (urlsplit(mirror).scheme not in ("http", "https") or not urlsplit(mirror).netloc):
        raise ConfigError(f"--mirror {shorten(mirror)} is no address; give one such as https://host/folder")
    folder = Location(out).local_path
    records = Location(folder).child(RECORDS)
    with take_claim(records, DOWNLOADING):
        for subset, archive in archives.items():
            if _is_unpacked(records, subset, archive):
                progress.message(f"{subset} is in {folder} already")
                continue
            url = f"{mirror.rstrip('/')}/{archive.file_name}" if mirror else archive.url
            file = fetch(archive, url, records.local_path, progress)
            unpacked = unpack(file, folder, strip=archive.strip, progress=progress)
            if archive.content and unpacked.content != archive.content:
                file.unlink()
                raise DataError(
                    f"{url} does not hold the files of its publisher (SHA-256 of their listing {unpacked.content[:12]} "
                    f"instead of {archive.content[:12]}); remove {folder} and give the command again"
                )
            _record(records, subset, archive, unpacked)
            if not keep_archives:
                file.unlink()
            progress.message(f"{subset}: {unpacked.num_files:,} files, {unpacked.num_bytes / 1e9:.2f} GB")
    records.child(CLAIMS).delete()
    return folder


def _chosen(name: str, subsets: Sequence[str]) -> dict[str, Archive]:
    if name not in downloadable_corpora():
        raise ConfigError(
            f"no corpus {name!r} can be downloaded; choose from {', '.join(downloadable_corpora())}"
        )
    archives = CORPORA[name].archives
    unknown = [subset for subset in subsets if subset not in archives]
    if unknown:
        raise ConfigError(
            f"{name} has no subset {shorten(first_few(unknown))}; choose from {', '.join(archives)}"
        )
    if not subsets and len(archives) > 1:
        raise ConfigError(f"name what to download with --subset: {join_words(list(archives))}")
    return {subset: archives[subset] for subset in dict.fromkeys(subsets or archives)}


def _is_unpacked(records: Location, subset: str, archive: Archive) -> bool:
    """Whether an earlier call unpacked this archive to its end."""
    record = records.child(f"{subset}.json")
    if not record.exists():
        return False
    try:
        told = json.loads(record.read_bytes())
        return bool(told["archive"] == archive.file_name and told["hash"] == (archive.md5 or archive.content))
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def _record(records: Location, subset: str, archive: Archive, unpacked: Unpacked) -> None:
    told = {
        "archive": archive.file_name,
        "hash": archive.md5 or archive.content,
        "files": unpacked.num_files,
        "bytes": unpacked.num_bytes,
    }
    records.child(f"{subset}.json").write_bytes_atomic(json.dumps(told, indent=2).encode())
