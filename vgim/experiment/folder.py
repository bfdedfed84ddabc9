"""An experiment's folder: its file, its runs, its results, and the process that works on it.

EXPERIMENT/  experiment.yaml  experiment.json  runs/ARM-seedN/ (runs)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vgim.claims.claim import Claim, take_claim
from vgim.claims.ticket import Work
from vgim.errors import StorageError
from vgim.experiment.config import ExperimentConfig
from vgim.experiment.file import from_yaml, to_yaml
from vgim.runs.claim import refuse_recorded_holder, write_process_record
from vgim.storage import Location

CONFIG, RECORD, RUNS = "experiment.yaml", "experiment.json", "runs"
WORK = Work("working on the experiment", "give --out another folder")


@dataclass(frozen=True)
class ExperimentFolder:
    """Reads and writes an experiment's folder."""

    location: Location

    @property
    def runs(self) -> Location:
        """The folder that holds the runs."""
        return self.location.child(RUNS)

    def config(self) -> ExperimentConfig:
        """The file that the experiment was last started with, with its overrides.

        Raises:
            StorageError: There is no experiment here.
        """
        path = self.location.child(CONFIG)
        if not path.exists():
            raise StorageError(
                f"{self.location.uri} is no experiment: it has no {CONFIG}; give the folder that vgim experiment "
                "printed first (its --out, or the file's name below storage.root), or the experiment's file"
            )
        return from_yaml(path.read_text(), path.uri)

    def check_free(self) -> None:
        """Refuse the folder while another process on this machine works on it.

        Raises:
            ClaimHeldError: A live process is working on the experiment.
        """
        refuse_recorded_holder(self.location, self.location.child(RECORD), WORK)

    @contextmanager
    def claimed(self, config: ExperimentConfig) -> Iterator[Claim]:
        """Hold the folder for this process, with the experiment's file written into it.

        Raises:
            ClaimHeldError: Another live process is working on the experiment.
            StorageError: The folder cannot be written.
        """
        with take_claim(self.location, WORK) as claim:
            self.check_free()
            self.location.child(CONFIG).write_bytes_atomic(to_yaml(config).encode())
            write_process_record(self.location.child(RECORD))
            try:
                yield claim
            finally:
                if not claim.is_lost:
                    self.location.child(RECORD).delete()
