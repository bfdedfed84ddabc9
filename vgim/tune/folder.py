"""A sweep's folder: its config, its base config, and the process that works on it.

SWEEP/  sweep.yaml  base.yaml  sweep.json  trials/ID/ (runs)  results.json  results.csv  sweep.html  tensorboard/
"""

from __future__ import annotations

from dataclasses import dataclass

from vgim.claims.claim import Claim, take_claim
from vgim.claims.ticket import Work
from vgim.config import blocking_difference
from vgim.config import from_yaml as run_from_yaml
from vgim.config import to_yaml as run_to_yaml
from vgim.config.keys import dump
from vgim.config.yaml_text import to_flow
from vgim.errors import ConfigError, StorageError
from vgim.runs.claim import refuse_recorded_holder, write_process_record
from vgim.storage import Location
from vgim.tune.config import SweepConfig
from vgim.tune.sweep_file import Sweep, from_yaml, to_yaml

CONFIG, BASE, RECORD = "sweep.yaml", "base.yaml", "sweep.json"
MAY_DIFFER = ("trials_at_once", "overrides", "base", "name")
"""Keys that a sweep may be continued with other values of; the base run's config is compared key by key."""
WORK = Work("working on the sweep", "use another name")


@dataclass(frozen=True)
class SweepFolder:
    """Reads and writes a sweep's folder."""

    location: Location

    def config(self) -> SweepConfig:
        """The config that the sweep was started with.

        Raises:
            StorageError: there is no sweep here.
        """
        path = self.location.child(CONFIG)
        if not path.exists():
            raise StorageError(f"{self.location.uri} is no sweep: it has no {CONFIG}; name the folder of one")
        return from_yaml(path.read_text(), path.uri)

    def claim(self, sweep: Sweep) -> Claim:
        """Claim the folder for this sweep, new or again.

        Returns:
            The claim, which is held until it is released.

        Raises:
            ConfigError: the folder belongs to another sweep; the message names the differences.
            ClaimHeldError: a live process is working on it.
        """
        self._check(sweep)
        claim = take_claim(self.location, WORK)
        try:
            self._check(sweep)  # another process may have written its sweep before this one had the claim
            self.location.child(CONFIG).write_bytes_atomic(to_yaml(sweep.config).encode())
            self.location.child(BASE).write_bytes_atomic(run_to_yaml(sweep.base).encode())
            write_process_record(self.location.child(RECORD))
        except BaseException:
            claim.release()
            raise
        return claim

    def _check(self, sweep: Sweep) -> None:
        refuse_recorded_holder(self.location, self.location.child(RECORD), WORK)
        if not self.location.child(CONFIG).exists():
            return
        before, base = self.config(), self.location.child(BASE)
        old, new = dump(before), dump(sweep.config)
        differing = [
            f"{key}: {to_flow(old[key])} → {to_flow(new[key])}"
            for key in new
            if key not in MAY_DIFFER and old[key] != new[key]
        ]
        if base.exists():
            differing += blocking_difference(run_from_yaml(base.read_text(), base.uri), sweep.base)
        if differing:
            raise ConfigError(
                f"the sweep {self.location.uri} exists with other settings ({'; '.join(differing)}); set "
                "them as they were, or give this sweep another name=NAME"
            )
