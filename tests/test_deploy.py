"""The image of the KubeRay manifests is made of what is there."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_image_is_made_of_what_is_there() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
    assert "RAY_AUTH_MODE=token" in lines[-1]
