"""Schedule sequential: one phase per module, in which the module trains alone on the frozen modules before it."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.schedules.schedule import Phase, Schedule


class Sequential(Schedule):
    """Modules are trained one after the other.

    A module's random draws depend on (seed, module, step), and no later module changes it. A run of depth d is
    therefore the first d phases of a deeper run.
    """

    name = "sequential"
    summary = "one module after the other, with the modules before it frozen"
    min_modules = 2
    takes_module_epochs = True
    continues_shallower_runs = True
    trains_all_modules_throughout = False

    def phases(self, modules: Sequence[int], epochs: int, module_epochs: Sequence[int]) -> list[Phase]:
        of_module = module_epochs or (epochs,) * len(modules)
        return [Phase(m, (m,), of_module[m]) for m in modules]

    def phase_message(self, phase: Phase, step: int) -> str | None:
        return f"module {phase.modules[0]} trains from step {step} on"
