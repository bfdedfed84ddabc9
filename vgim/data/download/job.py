"""Download archives of a corpus into a local folder, and unpack them there or leave them packed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from vgim.claims.claim import take_claim
from vgim.claims.record import CLAIMS
from vgim.claims.ticket import Work
from vgim.data.corpora.archive import Archive
from vgim.data.corpora.registry import CORPORA
from vgim.data.download.fetch import fetch
from vgim.data.download.unpack import Unpacked, count_by_folder, unpack
from vgim.errors import ConfigError, DataError
from vgim.extras import require_extra
from vgim.progress import SILENT, Progress
from vgim.storage import Location
from vgim.text import first_few, join_words, shorten

RECORDS = ".vgim-download"
"""Folder in the corpus's folder for what is downloaded, and for a record of each archive that is there."""
PACKED = ".packed"
"""Mark in the name of a record: the archive is there as it was published."""
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
    unpack_archives: bool = True,
    progress: Progress = SILENT,
) -> Path:
    """Download a corpus from its publisher. What is there already is left alone.

    Args:
        name: Name of the corpus, such as `librispeech`.
        out: Local folder for the corpus.
        subsets: The archives, such as `train-clean-100`; none means all of a corpus that has one archive.
        mirror: Address of the folder of another server with the same files.
        keep_archives: Keep archives after they are unpacked.
        unpack_archives: False leaves the archives in the folder as they are.
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
    if mirror and not _is_address(mirror):
        raise ConfigError(f"--mirror {shorten(mirror)} is no address; give one such as https://host/folder")
    folder = Location(out).local_path
    records = Location(folder).child(RECORDS)
    with take_claim(records, DOWNLOADING):
        for subset, archive in archives.items():
            url = f"{mirror.rstrip('/')}/{archive.file_name}" if mirror else archive.url
            if unpack_archives:
                _get_unpacked(subset, archive, url, folder, records, keep_archives, progress)
            else:
                _get_packed(subset, archive, url, folder, records, progress)
    records.child(CLAIMS).delete()
    return folder


def _get_unpacked(
    subset: str,
    archive: Archive,
    url: str,
    folder: Path,
    records: Location,
    keep_archive: bool,
    progress: Progress,
) -> None:
    if _is_recorded(records, subset, archive):
        if _has_all_files(folder, records, subset):
            progress.message(f"{subset} is in {folder} already")
            return
        progress.message(
            f"files are missing in {folder}, or are shorter than they were; {subset} is unpacked again"
        )
    packed = folder / archive.file_name
    if packed.exists() and _is_recorded(records, subset, archive, PACKED):
        packed.replace(records.local_path / archive.file_name)
    file = fetch(archive, url, records.local_path, progress)
    unpacked = unpack(file, folder, strip=archive.strip, progress=progress)
    if archive.content and unpacked.content != archive.content:
        file.unlink()
        raise _other_content(url, archive, unpacked, f"remove {folder}")
    counts = {"files": unpacked.num_files, "bytes": unpacked.num_bytes, "folders": unpacked.folders}
    _record(records, subset, archive, counts)
    if not keep_archive:
        file.unlink()
    progress.message(f"{subset}: {unpacked.num_files:,} files, {unpacked.num_bytes / 1e9:.2f} GB")


def _get_packed(
    subset: str, archive: Archive, url: str, folder: Path, records: Location, progress: Progress
) -> None:
    packed = folder / archive.file_name
    if packed.exists():
        if not _is_recorded(records, subset, archive, PACKED):
            raise DataError(
                f"{packed} is there already, not downloaded by this command; prepare shards from it, or move it to "
                "another folder"
            )
        progress.message(f"{packed} is there already")
        return
    file = fetch(archive, url, records.local_path, progress)
    if archive.content:
        found = unpack(file, None, strip=archive.strip, progress=progress)
        if found.content != archive.content:
            file.unlink()
            raise _other_content(url, archive, found, "try later")
    # First the record: a file without one is taken for another's.
    _record(records, subset, archive, {"bytes": file.stat().st_size}, PACKED)
    file.replace(packed)
    progress.message(f"{packed}: {packed.stat().st_size / 1e9:.2f} GB")


def _other_content(url: str, archive: Archive, found: Unpacked, fix: str) -> DataError:
    return DataError(
        f"{url} does not hold the files of its publisher (SHA-256 of their listing {found.content[:12]} instead of "
        f"{archive.content[:12]}); {fix} and give the command again"
    )


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


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:  # brackets that are no IPv6 address
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _has_all_files(folder: Path, records: Location, subset: str) -> bool:
    """Whether the folders of an archive have as many files and bytes as when it was unpacked there, by its record."""
    there = count_by_folder(Location(folder).list_files())
    try:
        told = json.loads(records.child(f"{subset}.json").read_bytes())
        if "folders" not in told:  # the record of an earlier version
            num_files, num_bytes = map(sum, zip(*there.values(), strict=True))
            return bool(num_files >= told["files"] and num_bytes >= told["bytes"])
        return all(
            there.get(name, [0, 0])[0] >= num_files and there.get(name, [0, 0])[1] >= num_bytes
            for name, (num_files, num_bytes) in told["folders"].items()
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False


def _is_recorded(records: Location, subset: str, archive: Archive, state: str = "") -> bool:
    """Whether an earlier call ended with this archive unpacked, or in another state."""
    record = records.child(f"{subset}{state}.json")
    if not record.exists():
        return False
    try:
        told = json.loads(record.read_bytes())
        return bool(told["archive"] == archive.file_name and told["hash"] == (archive.md5 or archive.content))
    except (ValueError, TypeError, LookupError, RecursionError):
        return False


def _record(
    records: Location, subset: str, archive: Archive, counts: Mapping[str, object], state: str = ""
) -> None:
    told = {"archive": archive.file_name, "hash": archive.md5 or archive.content, **counts}
    records.child(f"{subset}{state}.json").write_bytes_atomic(json.dumps(told, indent=2).encode())
