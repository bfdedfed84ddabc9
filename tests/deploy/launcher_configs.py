"""The configs of Ray's launcher: cluster.yaml, and the shapes below deploy/launcher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = [ROOT / "cluster.yaml", *sorted((ROOT / "deploy/launcher").glob("*.yaml"))]


def config_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def of_provider(kind: str) -> list[Path]:
    return [path for path in LAUNCHER if config_of(path)["provider"]["type"] == kind]


def of_each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)
