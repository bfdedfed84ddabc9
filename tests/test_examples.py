"""The notebooks in `examples/` run from top to bottom, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = ("from-data-to-latents", "listening-to-a-traversal")  # the second finds the run of the first


def read(name: str) -> Any:
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_they_are_stored_without_outputs() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == set(NOTEBOOKS)
    for name in NOTEBOOKS:
        for cell in read(name).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None


@pytest.mark.slow
def test_they_run_from_top_to_bottom(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    for name in NOTEBOOKS:
        notebook = read(name)
        NotebookClient(
            notebook, timeout=600, startup_timeout=600, resources={"metadata": {"path": str(tmp_path)}}
        ).execute()
        shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert any("image/png" in output.get("data", {}) for output in shown)
        if name == "listening-to-a-traversal":
            assert sum("<audio" in output.get("data", {}).get("text/html", "") for output in shown) == 7
