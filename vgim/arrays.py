"""Types of numpy arrays by their elements, as text: their names cost no import of numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

F32: TypeAlias = "NDArray[np.float32]"
F64: TypeAlias = "NDArray[np.float64]"
I16: TypeAlias = "NDArray[np.int16]"
I32: TypeAlias = "NDArray[np.int32]"
I64: TypeAlias = "NDArray[np.int64]"
U64: TypeAlias = "NDArray[np.uint64]"
