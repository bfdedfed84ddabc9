"""Variational Greedy InfoMax (Smooth InfoMax) speech encoders, trained on Ray.

    >>> import vgim
    >>> run = vgim.train("quickstart", "cluster.workers=0")
    >>> encoder = vgim.load_encoder(run)
    >>> vgim.probe(run, task="phone")

`import vgim` loads neither torch nor Ray nor pandas: each function imports what it needs when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vgim.api import analyze_latents as analyze_latents
    from vgim.api import load_config as load_config
    from vgim.api import prepare as prepare
    from vgim.api import probe as probe
    from vgim.api import train as train
    from vgim.api import train_decoder as train_decoder
    from vgim.api_reading import list_runs as list_runs
    from vgim.api_reading import open_shards as open_shards
    from vgim.api_reading import read_metrics as read_metrics
    from vgim.api_shards import merge_shards as merge_shards
    from vgim.api_shards import split_shards as split_shards
    from vgim.api_shards import subset_shards as subset_shards
    from vgim.pretrained.decoder import load_decoder as load_decoder
    from vgim.pretrained.encoder import load_encoder as load_encoder

__version__ = "0.2.0"

_MODULES = {
    "analyze_latents": "vgim.api",
    "list_runs": "vgim.api_reading",
    "load_config": "vgim.api",
    "load_decoder": "vgim.pretrained.decoder",
    "load_encoder": "vgim.pretrained.encoder",
    "merge_shards": "vgim.api_shards",
    "open_shards": "vgim.api_reading",
    "prepare": "vgim.api",
    "probe": "vgim.api",
    "read_metrics": "vgim.api_reading",
    "split_shards": "vgim.api_shards",
    "subset_shards": "vgim.api_shards",
    "train": "vgim.api",
    "train_decoder": "vgim.api",
}
"""Module of each public function."""

__all__ = [
    "__version__",
    "analyze_latents",
    "list_runs",
    "load_config",
    "load_decoder",
    "load_encoder",
    "merge_shards",
    "open_shards",
    "prepare",
    "probe",
    "read_metrics",
    "split_shards",
    "subset_shards",
    "train",
    "train_decoder",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'vgim' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
