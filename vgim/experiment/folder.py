"""An experiment's folder: its file, its runs, its results, and the process that works on it.

EXPERIMENT/  experiment.yaml  experiment.json  runs/ARM-seedN/ (runs)
"""

from __future__ import annotations

from dataclasses import dataclass

from vgim.errors import StorageError, TrainingError
from vgim.experiment.config import ExperimentConfig
from vgim.experiment.file import from_yaml, to_yaml
from vgim.runs.process_claim import claiming_process, write_claim
from vgim.storage import Location

CONFIG, RECORD, RUNS = "experiment.yaml", "experiment.json", "runs"


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
        """Refuse the folder while another process works on it.

        Raises:
            TrainingError: A live process on this machine is working on the experiment.
        """
        pid = claiming_process(self.location.child(RECORD))
        if pid is not None:
            raise TrainingError(
                f"process {pid} is working on the experiment {self.location.uri}; wait for it, stop it, or "
                "give --out another folder"
            )

    def claim(self, config: ExperimentConfig) -> None:
        """Write the experiment's file and this process into the folder."""
        self.location.child(CONFIG).write_bytes_atomic(to_yaml(config).encode())
        write_claim(self.location.child(RECORD))

    def release(self) -> None:
        """Say that no process works on the experiment any more."""
        self.location.child(RECORD).delete()
