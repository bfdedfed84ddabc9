"""Which tests run in one process."""

from __future__ import annotations

import pytest

from tests.scheduling import RAY, scope_of


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        # By itself, through a fixture of the file, and through one of a conftest.py.
        ("tests/training/test_on_ray.py::test_two_workers_train_and_leave_the_same_folder", RAY),
        ("tests/test_multinode.py::test_three_nodes_prepare_train_and_probe_though_one_is_lost", RAY),
        ("tests/training/test_stopping.py::test_any_file_of_that_name_asks_for_a_stop[x-1]", None),
        (
            "tests/training/test_stopping.py::test_a_request_in_the_folder_stops_the_run_as_a_signal_does",
            "tests/training/test_stopping.py",
        ),
        ("tests/compare/test_picture.py::test_the_picture_is_drawn_for_any_choice_of_runs", "tests/compare"),
    ],
)
def test_tests_that_share_a_fixture_stay_together(nodeid: str, scope: str | None) -> None:
    assert scope_of(nodeid) == (scope or nodeid)
