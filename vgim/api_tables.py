"""Lists of records that pandas reads as data frames: what the functions of `import vgim` return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vgim.errors import ConfigError

if TYPE_CHECKING:
    import pandas

    from vgim.downstream.result import ProbeResult
    from vgim.latents.result import AnalysisResult
    from vgim.runs.listing import RunSummary
    from vgim.runs.metrics import MetricsRecord

Record = TypeVar("Record")
Row = dict[str, Any]


class Table(list[Record], Generic[Record]):
    """A list of records, which `to_pandas` turns into a data frame. Notebooks show the data frame.

    Args:
        records: The records.
        rows: Makes a record's rows of the data frame: values by column.
    """

    def __init__(self, records: Iterable[Record], rows: Callable[[Record], list[Row]]) -> None:
        super().__init__(records)
        self._rows = rows

    def to_pandas(self) -> pandas.DataFrame:
        """The records as a data frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError(
                "to_pandas needs pandas, not installed here; pip install 'vgim[notebook]'"
            ) from error
        return pandas.DataFrame([row for record in self for row in self._rows(record)])

    def _repr_html_(self) -> str | None:
        """The data frame for notebooks; None without pandas."""
        try:
            html: str = self.to_pandas()._repr_html_()
        except ConfigError:
            return None
        return html


def run_rows(run: RunSummary) -> list[Row]:
    """A row for a run: its fields, and the InfoNCE of each module as `nce0`, `nce1`, …"""
    row = {name: getattr(run, name) for name in run.__dataclass_fields__ if name != "nce"}
    return [{**row, **{f"nce{module}": nce for module, nce in enumerate(run.nce)}}]


def metrics_rows(record: MetricsRecord) -> list[Row]:
    """A row for each module of a record, and one for an event; `mean_loss` is the mean loss over the modules."""
    shared = {key: value for key, value in record.items() if key not in ("modules", "loss")}
    if "loss" in record:
        shared["mean_loss"] = record["loss"]
    return [{**shared, **module} for module in record.get("modules", [])] or [shared]


def probe_rows(result: ProbeResult) -> list[Row]:
    """A row for a probe: what was probed, its accuracy with the interval over utterances, and what chance is."""
    names = ("task", "encoder", "module", "layer", "step", "accuracy")
    interval = result.interval_over_utterances
    return [
        {
            **{name: getattr(result, name) for name in names},
            "concat": result.output.numbers if result.concat else "",
            "low": interval.low,
            "high": interval.high,
            "majority": result.majority,
            "chance": result.chance,
            "unit": result.unit,
            "num_train": result.num_train,
            "num_test": result.num_test,
        }
    ]


def analysis_rows(result: AnalysisResult) -> list[Row]:
    """A row for each metric of an analysis of a module's latents."""
    return [
        {"analysis": result.analysis, "module": result.module, "metric": name, "value": value}
        for name, value in result.figures.items()
    ]
