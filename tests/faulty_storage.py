"""Remote storage that is slow, loses connections and leaves half-written files: `faulty://NAME/...`, over a folder.

    with faulty_storage(tmp_path / "store", Faults(error_rate=0.05, latency_s=0.002)) as faults:
        Location("faulty://store/x").write_bytes_atomic(b"1")
        assert faults.raised

Faults are drawn from a generator with a seed. A process of its own enters `faulty_storage` before it calls vgim.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

from vgim.storage import filesystems, retry

SCHEME = "faulty"
# As Arrow raises them, with and without errno.
TRANSIENT: tuple[Callable[[], OSError], ...] = (
    lambda: OSError("When reading key 'x': AWS Error SLOW_DOWN during GetObject operation: Please reduce"),
    lambda: OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body."),
    lambda: OSError(
        "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 28, Timeout was reached"
    ),
    lambda: OSError(
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of backend error_info={})"
    ),
    lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    lambda: TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
    lambda: OSError(errno.EIO, "Input/output error"),
)
OPERATIONS = ("get_file_info", "list", "create_dir", "delete_dir", "delete_file", "open_input", "open_output")
OPERATIONS += ("read", "write", "close")


@dataclass
class Faults:
    """What goes wrong, and what went wrong."""

    error_rate: float = 0.0
    """Probability with which an operation raises a transient error. Half of those of `write` leave half the data."""
    latency_s: float = 0.0
    """Time that each operation of `slow` takes."""
    bytes_per_s: float = 0.0
    """Bytes a second that all reads together get; 0 for no limit."""
    slow: tuple[str, ...] = OPERATIONS
    """Operations that take `latency_s`."""
    rates: Mapping[str, float] = field(default_factory=dict)
    """Operation of `OPERATIONS` → its own error rate."""
    permanent: dict[str, Callable[[], Exception]] = field(default_factory=dict)
    """Operation → error that it raises always, from now on."""
    outage: int = 0
    """Number of next operations that fail."""
    short_reads: float = 0.0
    """Probability with which a read gives half of what was asked."""
    seed: int = 0
    bytes_read: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    raised: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock, self._line = threading.Lock(), threading.Lock()

    def meet(self, operation: str) -> None:
        """Wait, and perhaps raise, as the operation begins."""
        if self.latency_s and operation in self.slow:
            time.sleep(self.latency_s)
        with self._lock:
            self.calls[operation] += 1
            if operation in self.permanent:
                self.raised[operation] += 1
                raise self.permanent[operation]()
            if self.outage > 0:
                self.outage -= 1
                self.raised[operation] += 1
                raise TRANSIENT[self.outage % len(TRANSIENT)]()
            if self._random.random() < self.rates.get(operation, self.error_rate):
                self.raised[operation] += 1
                raise self._random.choice(TRANSIENT)()

    def transfer(self, num_bytes: int) -> None:
        """Count the bytes of a read and wait for them, one read after the other."""
        with self._line:
            self.bytes_read += num_bytes
            if self.bytes_per_s:
                time.sleep(num_bytes / self.bytes_per_s)

    def draw(self, probability: float) -> bool:
        with self._lock:
            return self._random.random() < probability


@contextmanager
def faulty_storage(root: Path, faults: Faults | None = None) -> Iterator[Faults]:
    """Let `faulty://NAME/PATH` mean the file `root/NAME/PATH`, with faults and short waits between attempts."""
    root.mkdir(parents=True, exist_ok=True)
    faults = faults or Faults()
    filesystem = pafs.PyFileSystem(
        _Handler(pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem()), faults)
    )

    def remote_filesystem(base: str) -> tuple[pafs.FileSystem, str]:
        if base.startswith(f"{SCHEME}://"):
            return filesystem, base.partition("://")[2].partition("?")[0]
        return before[0](base)

    before = filesystems.remote_filesystem, retry.FIRST_WAIT_S
    filesystems.remote_filesystem, retry.FIRST_WAIT_S = remote_filesystem, 0.001
    try:
        yield faults
    finally:
        filesystems.remote_filesystem, retry.FIRST_WAIT_S = before


class _Handler(pafs.FileSystemHandler):  # type: ignore[misc]
    def __init__(self, inner: pafs.FileSystem, faults: Faults) -> None:
        self._inner, self._faults = inner, faults

    def get_type_name(self) -> str:
        return SCHEME

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        self._faults.meet("get_file_info")
        return self._inner.get_file_info(paths)

    def get_file_info_selector(self, selector: pafs.FileSelector) -> Any:
        self._faults.meet("list")
        return self._inner.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._faults.meet("create_dir")
        self._inner.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self._faults.meet("delete_dir")
        self._inner.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self._faults.meet("delete_file")
        self._inner.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> Any:
        self._faults.meet("open_input")
        return pa.PythonFile(_Input(self._inner.open_input_file(path), self._faults), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self._faults.meet("open_output")
        return pa.PythonFile(_Output(self._inner.open_output_stream(path), self._faults), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError


class _Input:
    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def read(self, size: int = -1) -> bytes:
        self._faults.meet("read")
        data = bytes(self._file.read(size if size >= 0 else None))
        self._faults.transfer(len(data))
        return data[: len(data) // 2] if self._faults.draw(self._faults.short_reads) else data


class _Output:
    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def write(self, data: Any) -> int:
        try:
            self._faults.meet("write")
        except OSError:
            if self._faults.draw(0.5):
                self._file.write(bytes(data)[: len(data) // 2])
            raise
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()  # publishes what was written, as object stores do
            self._faults.meet("close")
