"""What every schedule answers about a run: its phases, and what else it allows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Phase:
    """A part of a run in which the same modules are trained. Warm-up, decay and early stopping count within it."""

    number: int
    """Position among the run's phases, from 0."""
    modules: tuple[int, ...]
    """Modules that are trained, ascending. Modules before them are frozen, modules behind them do not run."""
    epochs: int
    """Epochs of the phase."""


class Schedule(ABC):
    """The order in which a run trains its modules. Other code asks these attributes, never for the name."""

    name: ClassVar[str]
    """Value of `train.schedule` that selects the schedule."""
    summary: ClassVar[str]
    """What it does, as half a sentence for help texts and the report."""
    min_modules: ClassVar[int] = 1
    """Fewest modules for which the schedule has a meaning. A decoder is one network, and so has one module."""
    takes_module_epochs: ClassVar[bool] = False
    """Whether `train.module_epochs` gives each module its own number of epochs."""
    continues_shallower_runs: ClassVar[bool] = False
    """Whether a run of the first d modules is the first part of every deeper run, and may be continued as one."""
    has_stages: ClassVar[bool] = False
    """Whether each rank trains some of the modules only, on the latents that other ranks send (`stages`)."""
    takes_the_steps_of: ClassVar[str] = ""
    """Name of the schedule that computes the same steps with other ranks: a run of one goes on under the other."""
    trains_one_module: ClassVar[bool] = False
    """Whether the schedule can train one module alone, behind the frozen modules of another run (`attach.run`)."""
    trains_all_modules_throughout: ClassVar[bool] = True
    """Whether every phase trains every module. If not, losses of two phases belong to different modules and do not
    compare, and a run's last module is untrained until the last phase."""

    @abstractmethod
    def phases(self, modules: Sequence[int], epochs: int, module_epochs: Sequence[int]) -> list[Phase]:
        """The phases of a run, in order.

        Args:
            modules: the run's modules, ascending.
            epochs: `train.epochs`.
            module_epochs: `train.module_epochs`: epochs of each module, or empty.
        """

    def phase_message(self, phase: Phase, step: int) -> str | None:
        """Message of the event where a launch begins or continues a phase; None writes no event.

        Args:
            step: optimizer steps that the run had taken when the phase began.
        """
        return None
