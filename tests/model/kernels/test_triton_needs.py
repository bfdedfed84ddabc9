"""Without a compiler, a header or a GPU for Triton, the fused kernels do not apply, and one line says why."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vgim.model.kernels import fused, triton_needs
from vgim.model.kernels.triton_needs import missing, missing_to_build, too_old

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def nothing_found_before() -> Iterator[None]:
    missing.cache_clear()
    yield
    missing.cache_clear()


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    give_capability(monkeypatch, (9, 0))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)


def give_capability(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")


def tensor_on_gpu() -> Any:
    """What `applies` reads of a tensor, since a machine without a GPU has none there."""
    return SimpleNamespace(is_cuda=True, dtype=torch.bfloat16, device=GPU)


@pytest.mark.usefixtures("hopper", "no_compiler")
def test_without_a_compiler_the_kernels_do_not_apply_and_the_log_says_why() -> None:
    assert not fused.applies(tensor_on_gpu())
    sentence = fused.left_out(GPU)
    assert sentence is not None
    assert "\n" not in sentence
    assert "without the fused kernels" in sentence
    assert "no C compiler (apt-get install gcc" in sentence


@pytest.mark.usefixtures("hopper")
def test_with_everything_at_hand_the_kernels_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_needs, "missing_to_build", lambda: None)
    monkeypatch.setattr(triton_needs, "_failure", lambda: None)
    assert fused.applies(tensor_on_gpu())
    assert fused.left_out(GPU) is None


@pytest.mark.usefixtures("no_compiler")
def test_the_compiler_is_what_triton_would_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    (tmp_path / "Python.h").touch()
    for name in ("gcc", "clang", "mycc"):
        (tmp_path / name).touch(mode=0o755)
    assert missing_to_build() is None
    (tmp_path / "gcc").unlink()
    assert missing_to_build() is None
    (tmp_path / "clang").unlink()
    assert "no C compiler" in str(missing_to_build())
    monkeypatch.setenv("CC", "mycc")
    assert missing_to_build() is None
    monkeypatch.setenv("CC", "gcc")
    assert "CC='gcc'" in str(missing_to_build())


def test_a_python_without_headers_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "true")
    monkeypatch.setattr(sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    assert f"no Python.h in {tmp_path}" in str(missing_to_build())


@pytest.mark.parametrize(("capability", "refused"), [((7, 5), True), ((8, 0), False), ((12, 0), False)])
def test_a_gpu_older_than_triton_supports_is_refused(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], refused: bool
) -> None:
    give_capability(monkeypatch, capability)
    sentence = too_old(GPU)
    assert (sentence is not None) == refused
    if refused:
        assert sentence == "Tesla T4 has compute capability 7.5, and Triton needs 8.0 or newer"


@pytest.mark.usefixtures("hopper")
@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton starts where there is a GPU")
def test_what_triton_itself_misses_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_needs, "missing_to_build", lambda: None)
    assert str(missing(GPU)).startswith("Triton does not start: 0 active drivers")
