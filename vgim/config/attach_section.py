"""The section that puts a run behind the modules of another run, which may still train."""

from __future__ import annotations

from pydantic import Field

from vgim.config.section import Section


class AttachConfig(Section):
    """The run behind whose modules this run trains one more."""

    run: str = Field("", max_length=4096)
    """Folder, URI or name of a run, whose modules come first, frozen, as they are in its newest checkpoint: newer ones
    replace them while this run trains its one module. `vgim train --attach` sets it; empty: no such run."""
