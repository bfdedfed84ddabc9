"""Schedule parallel: the steps of `joint`, with the modules spread over ranks that work at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.schedules.schedule import Phase, Schedule


class Parallel(Schedule):
    """Stages of modules, each on ranks of its own, send each other detached latents.

    No gradient crosses a module's border. A stage therefore never waits for the stages behind it, no weight is stale,
    and the weights are those of `joint` (Löwe et al. 2019, section 5, propose it; Belilovsky et al. 2020 study it for
    images as Decoupled Greedy Learning).
    """

    name = "parallel"
    summary = "all modules at once, in stages that have workers of their own"
    min_modules = 2
    has_stages = True
    takes_the_steps_of = "joint"

    def phases(self, modules: Sequence[int], epochs: int, module_epochs: Sequence[int]) -> list[Phase]:
        return [Phase(0, tuple(modules), epochs)]
