"""Imports everything that commands import, once, before processes are forked from this one."""

# ruff: noqa: F401

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.pyplot
import pandas
import PIL.GifImagePlugin
import PIL.JpegImagePlugin
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import ray.train
import ray.tune
import scipy.ndimage
import scipy.optimize
import scipy.stats
import tensorboard.backend.event_processing.event_accumulator
import torch
import torch.utils.tensorboard.writer

import vgim

ALLOWED_THREADS = ("jemalloc_bg_thd",)
"""Threads that may be there when a process is forked: jemalloc's starts again in the child."""


def import_all() -> None:
    """Import all of vgim, and check that a process may be forked.

    Raises:
        RuntimeError: A library has started a thread, which a forked process would lack.
    """
    for module in pkgutil.walk_packages(vgim.__path__, "vgim."):
        if not module.name.startswith("vgim.model.kernels.triton"):
            importlib.import_module(module.name)
    own = str(os.getpid())
    tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != own]
    names = [(task / "comm").read_text(encoding="utf-8").strip() for task in tasks]
    foreign = [name for name in names if name not in ALLOWED_THREADS]
    if foreign:
        raise RuntimeError(f"imports have started threads ({', '.join(foreign)}), so nothing can be forked")
    sys.stdout.flush()
