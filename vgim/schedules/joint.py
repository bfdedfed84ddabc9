"""Schedule joint: one phase, in which every batch trains all modules."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.schedules.schedule import Phase, Schedule


class Joint(Schedule):
    """All modules learn from every batch, each from its own loss."""

    name = "joint"
    summary = "all modules at once, each with its own backward pass"
    trains_one_module = True

    def phases(self, modules: Sequence[int], epochs: int, module_epochs: Sequence[int]) -> list[Phase]:
        return [Phase(0, tuple(modules), epochs)]
