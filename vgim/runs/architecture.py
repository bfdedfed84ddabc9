"""Whether a checkpoint's network is the one that a config describes."""

from __future__ import annotations

from collections.abc import Mapping

from vgim.config import DecoderConfig, RunConfig
from vgim.config.schema import Section
from vgim.config.yaml_text import to_flow
from vgim.errors import CheckpointError, VgimError
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.layout import CONFIG


def check_same_architecture(
    checkpoint: Checkpoint,
    sections: Mapping[str, Section],
    root: type[RunConfig] | type[DecoderConfig] = RunConfig,
) -> None:
    """Refuse a checkpoint whose config has other values in `sections`.

    Raises:
        CheckpointError: Sections differ; the keys are named.
    """
    try:
        theirs = checkpoint.config(root)
    except CheckpointError:
        raise
    except VgimError as error:
        raise CheckpointError(f"{checkpoint.location.child(CONFIG).uri} does not read: {error}") from error
    differing = [
        f"{name}.{key}={to_flow(there)} there, {to_flow(here)} here"
        for name, section in sections.items()
        for key, here in section
        if (there := getattr(getattr(theirs, name), key)) != here
    ]
    if differing:
        raise CheckpointError(
            f"checkpoint {checkpoint.location.uri} is of another architecture ({'; '.join(differing)}); "
            "set these keys to its values or start from another checkpoint"
        )
