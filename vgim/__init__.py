"""Variational Greedy InfoMax (Smooth InfoMax) speech encoders, trained on Ray.

Importing this package imports neither Ray nor pandas, so that an encoder opens in a notebook at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vgim.pretrained.encoder import load_encoder as load_encoder

__version__ = "0.2.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name == "load_encoder":  # torch is imported only once an encoder is asked for
        from vgim.pretrained.encoder import load_encoder

        return load_encoder
    raise AttributeError(f"module 'vgim' has no attribute {name!r}")
