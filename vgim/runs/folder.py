"""A run's folder on shared storage: the config, and `run.json`, which says what the run is and in which state."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from vgim.config import AnyConfig, DecoderConfig, RunConfig, blocking_difference, from_yaml, to_yaml
from vgim.errors import CheckpointError, ConfigError, DataError, StorageError, VgimError
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.claim import TRAINING, RecordedProcess, refuse_seen_holder
from vgim.runs.environment import git_revision, package_versions, utc_now
from vgim.runs.layout import CONFIG, RECORD
from vgim.runs.masked import MaskedText
from vgim.runs.record_file import read_record
from vgim.storage import Location

Config = TypeVar("Config", RunConfig, DecoderConfig, AnyConfig)
State = Literal["running", "finished", "failed", "interrupted", "stopped"]


class RunRecord(BaseModel):
    """The content of `run.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[1] = 1
    name: str
    state: State
    message: MaskedText = ""
    """Why the run failed, or how it ended."""
    error: str = ""
    """Class name of the error that ended the run."""
    created: str
    updated: str
    launches: int
    """Number of times that the command was started."""
    attempts: int = 0
    """Number of times that this launch started its workers; more than one if workers were lost."""
    command: tuple[MaskedText, ...]
    host: str
    pid: int
    """Process on `host` that drives the run."""
    seed: int
    data_fingerprint: str
    data: MaskedText
    family: str
    kld_weight: float
    target_rate: float = 0.0
    """`objective.target_rate` in nats a frame; 0 for a KL weight that stays."""
    workers: int | str
    """`cluster.workers`: a number, or a range such as 2..8."""
    world_size: int = 0
    """Ranks that trained last; 0 before any trained."""
    resizes: int = 0
    """Number of times that this launch started its workers anew because the cluster had grown or shrunk."""
    moves: int = 0
    """Number of times that this launch started its workers anew because a node was taken away with notice."""
    planned: Literal["", "resize", "move"] = ""
    """Why the next start of the workers, if there is one, follows no loss."""
    loss: str = ""
    """Which worker was lost last; empty if none was, or it is not known."""
    versions: dict[str, str]
    git_revision: str

    @property
    def driver(self) -> RecordedProcess | None:
        """The process that drives the run, if it has not said that it has ended."""
        return RecordedProcess(self.host, self.pid, self.updated) if self.state == "running" else None


@dataclass(frozen=True)
class Attempt:
    """What was before workers start to train."""

    lost: int = 0
    """How often workers of this launch were lost and started again."""
    world_size_before: int = 0
    """Ranks that trained last, in this launch or an earlier one; 0 if none did."""
    loss: str = ""
    """Which worker was lost last; empty if that is not known."""


def no_run(folder: Location, missing: str = CONFIG) -> CheckpointError:
    """The error for a folder that a user named as a run's, and that lacks the file `missing`."""
    return CheckpointError(f"{folder.uri} is no run: it has no {missing}; name a run's folder")


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes a run's folder."""

    location: Location

    def config(self) -> RunConfig | None:
        """The resolved config that the run was started with; None where there is no run."""
        return self._config(RunConfig)

    def decoder_config(self) -> DecoderConfig | None:
        """The resolved config of a decoder's run; None where there is no run."""
        return self._config(DecoderConfig)

    def _config(self, root: type[Config]) -> Config | None:
        path = self.location.child(CONFIG)
        return from_yaml(path.read_text(), path.uri, root) if path.exists() else None

    def record(self) -> RunRecord | None:
        """The run's record; None where there is no run."""
        path = self.location.child(RECORD)
        if not path.exists():
            return None
        return read_record(
            path,
            RunRecord,
            problem="does not read as a run's record",
            fix="restore it, or use another storage.name",
        )

    def readable_record(self) -> RunRecord | None:
        """The run's record; None also where it is damaged, which the run's next launch mends."""
        try:
            return self.record()
        except StorageError:
            self.location.child(RECORD).read_bytes()  # storage that cannot be read is no damage
            return None

    def write(self, record: RunRecord) -> None:
        """Write `run.json`."""
        self.location.child(RECORD).write_bytes_atomic(record.model_dump_json(indent=2).encode())

    def set_state(self, state: State, message: str = "", error: str = "") -> None:
        """Write the run's state to `run.json`, if there is one."""
        record = self.record()
        if record is not None:
            self.write(
                record.model_copy(
                    update={"state": state, "message": message, "error": error, "updated": utc_now()}
                )
            )

    def begin_attempt(self, world_size: int) -> Attempt:
        """Count that `world_size` workers start to train; returns what was before."""
        record = self.record()
        if record is None:
            return Attempt()
        # A start that was planned may have been planned twice, as the cluster changed again before the workers began.
        resizes = record.resizes + (record.planned == "resize")
        moves = record.moves + (record.planned == "move")
        changes = {"attempts": record.attempts + 1, "world_size": world_size, "planned": ""}
        self.write(record.model_copy(update={**changes, "resizes": resizes, "moves": moves}))
        return Attempt(record.attempts - resizes - moves, record.world_size, record.loss)

    def begin_resize(self) -> None:
        """Say that the workers are about to be started anew, in another number, although none of them was lost."""
        self._before_start(planned="resize")

    def begin_move(self) -> None:
        """Say that the workers are about to be started anew, because one of their nodes is taken away with notice."""
        self._before_start(planned="move")

    def tell_loss(self, loss: str) -> None:
        """Say which worker was lost, before the workers are started anew."""
        self._before_start(planned="", loss=loss)

    def _before_start(self, **changes: str) -> None:
        record = self.record()
        if record is not None:
            self.write(record.model_copy(update=changes))

    def fail(self, error: VgimError) -> None:
        """Write the error that ended the run to `run.json`."""
        self.set_state("failed", str(error), type(error).__name__)

    def check(self, config: AnyConfig, data_fingerprint: str) -> RunRecord | None:
        """Check that a launch may use this folder; returns the record of the run that is in it, or None.

        Raises:
            ConfigError: The name belongs to a run of another config; the differences are named.
            DataError: The shards hold other data than the run was started on.
            ClaimHeldError: A live process on this machine is training the run.
        """
        before, earlier = self._config(type(config)), self.record()
        if before is None or earlier is None:
            return None
        refuse_seen_holder(self.location, TRAINING, earlier.driver)
        if complete_checkpoints(self.location):  # else nothing was trained, so another config loses nothing
            self.refuse_other_run(before, earlier.data_fingerprint, config, data_fingerprint)
        return earlier

    def refuse_other_run(
        self, before: AnyConfig, trained_on: str, config: AnyConfig, data_fingerprint: str
    ) -> None:
        """Refuse to go on with a run by another config, or on other data.

        Args:
            before: The run's config.
            trained_on: Fingerprint of the data that it was trained on.
            config: The config to go on by.
            data_fingerprint: Fingerprint of the data to go on with.

        Raises:
            ConfigError: The configs differ in keys that may not change.
            DataError: The data differ.
        """
        differences = blocking_difference(before, config)
        if differences:
            raise ConfigError(
                f"the run {self.location.uri} exists with another config ({'; '.join(differences)}); "
                "give this one a storage.name of its own, or set these keys as they were"
            )
        if trained_on != data_fingerprint:
            raise DataError(
                f"the run {self.location.uri} was trained on data {trained_on[:12]}, but "
                f"{config.data.shards} holds {data_fingerprint[:12]}; give the shards it was started on, "
                "or another storage.name"
            )

    def claim(self, config: AnyConfig, data_fingerprint: str) -> RunRecord | None:
        """Write the run's config and record into the folder, if the folder is free or holds the same run.

        The caller holds the folder's claim (`vgim.runs.claim`).

        Returns:
            The record of the earlier launch that is to be continued; None for a new run.

        Raises:
            VgimError: As `check` raises; StorageError if the folder cannot be written.
        """
        earlier = self.check(config, data_fingerprint)
        self.location.child(CONFIG).write_bytes_atomic(to_yaml(config).encode())
        self.write(
            RunRecord(
                name=config.storage.name,
                state="running",
                created=earlier.created if earlier else utc_now(),
                updated=utc_now(),
                launches=earlier.launches + 1 if earlier else 1,
                command=tuple(sys.argv),
                host=socket.gethostname(),
                pid=os.getpid(),
                seed=config.train.seed,
                data_fingerprint=data_fingerprint,
                data=config.data.shards,
                family=config.family,
                kld_weight=config.kld_weight,
                target_rate=config.target_rate,
                workers=config.cluster.workers,
                world_size=earlier.world_size if earlier else 0,
                versions=package_versions(),
                git_revision=git_revision(),
            )
        )
        return earlier
