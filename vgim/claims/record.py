"""The files of a folder's claims: FOLDER/.claim/00000007.json, one for each time that the folder changed hands.

The file of the highest number says who holds the folder. It is never removed, so that numbers never start again.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vgim.claims.process import MAX_PID, ProcessIdentity
from vgim.errors import StorageError
from vgim.storage import Location
from vgim.text import first_problem

CLAIMS = ".claim"
_FILE = re.compile(r"(\d{8,18})\.json")


class ClaimRecord(BaseModel):
    """The content of a claim's file."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", defer_build=True)

    schema_version: Literal[1] = 1
    token: str = Field(min_length=1, max_length=100)
    """Random text that tells this claim from every other."""
    host: str
    boot: str
    pid_namespace: str
    pid: int = Field(gt=0, le=MAX_PID)
    process_start: int = Field(ge=0, lt=2**63)
    """When the process started, in the kernel's clock ticks since the machine's start."""
    claimed: float = Field(ge=0, le=1e11)
    """Seconds since 1970, by the holder's clock, when the claim was made."""
    renewed: float = Field(ge=0, le=1e11)
    """Seconds since 1970, by the holder's clock, when the claim was last renewed."""
    lease_s: float = Field(gt=0, le=86_400)
    """Seconds after a renewal for which processes on other machines leave the folder to the holder."""
    released: bool = False
    """Whether the holder has said that it has ended."""

    @classmethod
    def of(cls, process: ProcessIdentity, token: str, lease_s: float) -> ClaimRecord:
        """A new claim of a process."""
        now = time.time()
        return cls(
            token=token,
            host=process.host,
            boot=process.boot,
            pid_namespace=process.pid_namespace,
            pid=process.pid,
            process_start=process.start,
            claimed=now,
            renewed=now,
            lease_s=lease_s,
        )

    @property
    def process(self) -> ProcessIdentity:
        """The process that made the claim."""
        return ProcessIdentity(self.host, self.boot, self.pid_namespace, self.pid, self.process_start)

    def to_bytes(self) -> bytes:
        """The content of the claim's file."""
        return (self.model_dump_json(indent=1) + "\n").encode()


@dataclass(frozen=True)
class ClaimFile:
    """The newest claim of a folder, as it was read."""

    path: Location
    number: int
    content: bytes
    record: ClaimRecord | None
    """None if the file does not read as a claim."""
    problem: str = ""
    """Why the file does not read."""


def claim_path(folder: Location, number: int) -> Location:
    """The file of a folder's claim of a number."""
    return folder.child(CLAIMS, f"{number:08d}.json")


def claim_numbers(folder: Location) -> list[int]:
    """Numbers of a folder's claims, ascending."""
    return sorted(int(match[1]) for name in folder.child(CLAIMS).list() if (match := _FILE.fullmatch(name)))


def newest_claim(folder: Location) -> ClaimFile | None:
    """The claim of the highest number; None if the folder was never claimed.

    Raises:
        StorageError: The claim cannot be read.
    """
    while numbers := claim_numbers(folder):
        path = claim_path(folder, numbers[-1])
        try:
            content = path.read_bytes()
        except StorageError:
            if path.exists():
                raise
            continue  # a newer claim was made, and this one removed, since the listing
        return _parse(path, numbers[-1], content)
    return None


def _parse(path: Location, number: int, content: bytes) -> ClaimFile:
    try:
        return ClaimFile(path, number, content, ClaimRecord.model_validate_json(content))
    except ValidationError as error:
        return ClaimFile(path, number, content, None, first_problem(error))
