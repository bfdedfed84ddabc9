"""Charts of a sweep: the Pareto front."""

from __future__ import annotations

from vgim.tune.charts import pareto_front


def test_the_pareto_front_holds_the_points_that_no_other_point_beats() -> None:
    points = [(1.0, 0.2), (2.0, 0.5), (2.0, 0.4), (3.0, 0.5), (0.5, 0.1)]
    assert pareto_front(points, maximize_second=True) == {0, 1, 4}
    assert pareto_front(points, maximize_second=False) == {4}
