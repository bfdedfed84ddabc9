"""A member of a population goes on from another's checkpoint, with other values of some keys.

A run's folder tells the history of the weights that it holds. So a member takes the other's records over with its
checkpoint, and what it did itself until then is dropped. `lineage.json` says whose weights these were, and which values
held from which step on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vgim.config import RunConfig, config_difference, to_yaml
from vgim.config.keys import dump, flatten
from vgim.storage import Location
from vgim.train.checkpoint import Checkpoint, complete_checkpoints, put
from vgim.train.folder import CONFIG, METRICS, TENSORBOARD
from vgim.train.greedy import headline
from vgim.train.hparams import hyperparameters
from vgim.train.metrics import MetricsWriter, read_metrics
from vgim.tune import normality, quick_probe
from vgim.tune.lines import lines_until

LINEAGE = "lineage.json"
LOOKS = (quick_probe.FILE, normality.FILE)
HISTORY = (METRICS, TENSORBOARD, *LOOKS, LINEAGE)


class Stretch(BaseModel):
    """Steps that were taken with the same values, up to the next stretch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    epoch: int
    """Of its first step."""
    run: str
    """Name of the run that took its first step."""
    taken_from: str
    """Checkpoint of another run that it started from; empty where a run started afresh."""
    values: dict[str, Any]


class Lineage(BaseModel):
    """`lineage.json`: how the weights of a run came to be, oldest stretch first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    stretches: tuple[Stretch, ...] = ()


def read_lineage(run: Location) -> Lineage:
    """Of a run that never was a population's member, an empty one."""
    place = run.child(LINEAGE)
    return Lineage.model_validate_json(place.read_bytes()) if place.exists() else Lineage()


def start_lineage(run: Location, config: RunConfig, keys: Sequence[str]) -> None:
    """Note with what a run without a checkpoint starts; of a takeover that was cut off nothing is left."""
    for name in HISTORY:
        run.child(name).delete()
    first = Stretch(step=0, epoch=0, run=run.name, taken_from="", values=values_of(config, keys))
    _write(run, Lineage(stretches=(first,)))


def take_over(run: Location, source: Checkpoint, config: RunConfig, keys: Sequence[str]) -> str:
    """Make `source` the newest and only checkpoint of `run`, to be continued with `config`.

    The checkpoint's own `config.yaml` and `state.json` stay those that it was trained with. Its state is written last:
    where this is cut off, the run has no checkpoint, and starts afresh.

    Returns:
        A sentence that says what was taken from where and what changes; it is in the records, too.

    Raises:
        CheckpointError: a file of `source` is missing or damaged; `run` is as it was.
    """
    contents, state = source.contents(), source.state
    theirs = source.location.parent.parent
    records = [record for record in read_metrics(theirs) if record["step"] <= state.step]
    looks = {name: lines_until(theirs.child(name), state.step) for name in LOOKS}
    before = [s for s in read_lineage(theirs).stretches if s.step < state.step]
    changes = [line for line in config_difference(source.config(), config) if line.partition(":")[0] in keys]
    sentence = "; ".join([f"goes on from {source.location.uri} (epoch {state.epoch})", *changes])

    for checkpoint in complete_checkpoints(run):
        checkpoint.delete()
    for name in HISTORY:
        run.child(name).delete()
    run.make_dirs()
    writer = MetricsWriter(run, 0)
    for record in records:
        writer.replay(record)
    writer.hparams(hyperparameters(config), headline(config.model))
    writer.event(state.step, sentence)
    writer.close()
    for name in (name for name in LOOKS if looks[name]):
        run.child(name).write_bytes_atomic(looks[name])
    run.child(CONFIG).write_bytes_atomic(to_yaml(config).encode())
    here = Stretch(
        step=state.step,
        epoch=state.epoch,
        run=run.name,
        taken_from=source.location.uri,
        values=values_of(config, keys),
    )
    _write(run, Lineage(stretches=(*before, here)))
    put(run, state, contents)
    return sentence


def _write(run: Location, lineage: Lineage) -> None:
    run.child(LINEAGE).write_bytes_atomic(lineage.model_dump_json(indent=1).encode())


def values_of(config: RunConfig, keys: Iterable[str]) -> dict[str, Any]:
    """What a config has for some of its keys."""
    flat = flatten(dump(config))
    return {key: flat[key] for key in keys}
