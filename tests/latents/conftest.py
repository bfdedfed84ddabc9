"""A tiny run with a decoder of its first module, each trained for two steps in the tests' own process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vgim.config import ResolvedConfig


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plain_run(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run without a decoder; copy it before you write into it."""
    from vgim.training.trainer import train

    folder = tmp_path_factory.mktemp("latents")
    assert train(tiny_config_in(folder, "train.max_steps=2")) == 0
    return folder / "runs" / "run"


@pytest.fixture(scope="session")
def decoded_run(plain_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `plain_run` with a decoder of module 0; tests write below its `latents`."""
    from vgim.decode.train import DecoderOptions, train_decoder

    run = Path(shutil.copytree(plain_run, tmp_path_factory.mktemp("decoded") / "decoded"))
    quick = ("train.batch_size=4", "train.max_steps=2", "listen.crops=0")
    assert train_decoder(str(run), DecoderOptions(module=0, loss="mse"), quick) == 0
    return run
