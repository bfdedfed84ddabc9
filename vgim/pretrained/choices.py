"""What a user chooses when a run is opened; importable without torch, for records that hold the choices."""

from __future__ import annotations

from typing import Literal

CheckpointChoice = Literal["last", "best", "named"]
"""Which checkpoint of a run is read: the newest, the one of lowest validation loss, or one named by its own folder."""
Device = Literal["auto", "cpu", "cuda"]
"""Device that an encoder runs on; `auto` is a GPU where torch sees one."""
