"""Which weights, shards and software a result was made with: the fields that every result record begins with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from vgim.data.shards.manifest import Manifest
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.environment import git_revision, package_versions, utc_now
from vgim.runs.masked import MaskedText
from vgim.storage import Location


class Provenance(BaseModel):
    """Base of the records in `result.json` files.

    A record is built with `Record(**dict(collect_provenance(...)), ...)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    module: int | None
    """Module of the encoder, counted from the input; None for several modules, or for features without an encoder."""
    step: int | None
    """Optimizer steps behind the trained encoder's weights; None where there is no trained encoder."""
    checkpoint: MaskedText | None
    """Checkpoint that the weights were loaded from; None where there is no trained encoder."""
    data: MaskedText
    """Shards that were read."""
    data_fingerprint: str
    """Fingerprint of these shards."""
    labels: str = ""
    """Hash of labels that are not in these shards: phone labels that were added, or a table's; empty without such."""
    created: str
    """ISO 8601 time, UTC."""
    versions: dict[str, str]
    """Versions of Python and of the packages that numbers depend on."""
    git_revision: str
    """Revision of vgim's source tree; empty outside of git."""


def collect_provenance(
    checkpoint: Checkpoint | None,
    module: int | None,
    shards: Location,
    manifest: Manifest,
    labels: str | None = None,
) -> Provenance:
    """Provenance of a result that is made now.

    Args:
        checkpoint: Checkpoint of the trained encoder; None for a baseline.
        module: Module of the encoder; None for several modules, or for features without an encoder.
        shards: Shards that were read.
        manifest: Manifest of these shards.
        labels: Hash of labels that are not in these shards; None for those that the manifest names.
    """
    return Provenance(
        module=module,
        step=None if checkpoint is None else checkpoint.state.step,
        checkpoint=None if checkpoint is None else checkpoint.location.uri,
        data=shards.uri,
        data_fingerprint=manifest.fingerprint,
        labels=manifest.labels_digest if labels is None else labels,
        created=utc_now(),
        versions=package_versions(),
        git_revision=git_revision(),
    )
