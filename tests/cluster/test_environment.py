from __future__ import annotations

import os

import pytest

from vgim.cluster.environment import default_environment, environment


def test_variables_are_set_for_the_block_alone_though_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGIM_OLD", "1")
    monkeypatch.delenv("VGIM_NEW", raising=False)

    def fail() -> None:
        with environment({"VGIM_OLD": "2", "VGIM_NEW": "3"}):
            assert (os.environ["VGIM_OLD"], os.environ["VGIM_NEW"]) == ("2", "3")
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert os.environ["VGIM_OLD"] == "1"
    assert "VGIM_NEW" not in os.environ


def test_defaults_leave_what_the_user_set_and_hold_for_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VGIM_OLD", "user")
    monkeypatch.delenv("VGIM_NEW", raising=False)
    for value in ("first run", "second run"):
        with default_environment({"VGIM_OLD": value, "VGIM_NEW": value}):
            assert (os.environ["VGIM_OLD"], os.environ["VGIM_NEW"]) == ("user", value)
    assert "VGIM_NEW" not in os.environ
