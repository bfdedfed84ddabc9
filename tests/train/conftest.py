"""Training in the tests' own process, without waiting for disks."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints need not outlive a power cut here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
