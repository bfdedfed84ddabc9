"""What of an encoder features are read from, as results and tables name it; importable without torch."""

from __future__ import annotations

from typing import NamedTuple


class Output(NamedTuple):
    """A module, one of its convolutions, or several modules side by side; nothing for features of no encoder."""

    module: int | None = None
    """Module of the encoder; None for several modules, or for features without an encoder."""
    layer: int | None = None
    """Convolution of the module; None for the module's output."""
    concat: tuple[int, ...] = ()
    """Modules whose outputs are concatenated; empty for one output."""

    @property
    def name(self) -> str:
        """`module 1`, `module 1 layer 0`, `modules 0+1+2`; nothing for features of no encoder."""
        if self.concat:
            return f"modules {self.numbers}"
        return f"module {self.numbers}" if self.module is not None else ""

    @property
    def numbers(self) -> str:
        """`1`, `1 layer 0`, `0+1+2`: the name for a column of modules."""
        if self.concat:
            return "+".join(map(str, self.concat))
        if self.module is None:
            return ""
        return str(self.module) if self.layer is None else f"{self.module} layer {self.layer}"

    @property
    def depth(self) -> tuple[int, int, tuple[int, ...]]:
        """A key that sorts by depth: a module's convolutions, its output, the next module, and at last several."""
        far = 1_000_000
        module = far if self.concat else -1 if self.module is None else self.module
        return module, far if self.layer is None else self.layer, self.concat
