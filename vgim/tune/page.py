"""`sweep.html`: one self-contained page that loads nothing from the network."""

from __future__ import annotations

from vgim import __version__
from vgim.config.yaml_text import to_flow
from vgim.pages.environment import page_environment, script
from vgim.tune.charts import metric_against, parallel_coordinates, pareto_of_kl, pareto_of_normality
from vgim.tune.results import LEARNED, SweepResult, ranked
from vgim.tune.verdict import NOT_LEARNED

KLD_WEIGHT = "objective.kld_weight"


def render(result: SweepResult) -> str:
    """The page as HTML."""
    keys = sorted(result.keys, key=lambda key: key != KLD_WEIGHT)  # the KL weight first
    keys = [key for key in keys if key != "model.depth"] or keys
    finished = ranked(result.trials, result.metric)
    states = {t.state: sum(u.state == t.state for u in result.trials) for t in result.trials}
    charts = [
        *(metric_against(result, key) for key in keys[:3]),
        pareto_of_kl(result),
        pareto_of_normality(result),
    ]
    environment = page_environment("vgim.tune")
    return environment.get_template("sweep.html").render(
        **script(environment, "chart.js", "tables.js"),
        result=result,
        coordinates=parallel_coordinates(result),
        charts=[chart for chart in charts if chart is not None],
        ends=[t for t in result.trials if t.state in ("failed", "stopped", "interrupted") and t.message],
        rows=[*finished, *(t for t in result.trials if t not in finished)],
        states=", ".join(f"{count} {state}" for state, count in states.items()),
        better="lower" if result.metric.mode == "min" else "higher",
        text=to_flow,
        learned=LEARNED,
        not_learned=NOT_LEARNED,
        version=__version__,
    )
