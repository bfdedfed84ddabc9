"""Which Ray instance a command joins or starts, and what it says where it can do neither."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from vgim.cluster.connect import ensure_ray
from vgim.errors import ConfigError


def test_an_address_where_no_cluster_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(address: str, **_: Any) -> None:
        raise ConnectionError(f"Could not connect to {address}\nand a paragraph")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError) as e:
            ensure_ray(address=address)
    assert str(e.value) == (
        f"no Ray cluster lets us in at {address}: Could not connect to {address}; start one with `ray start --head`, "
        "check that RAY_AUTH_MODE and the token are the cluster's, or leave --address and RAY_ADDRESS out to use this "
        "machine alone"
    )


def test_an_address_where_nothing_listens_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray would try for minutes"))
    with socket.socket() as silent:  # keeps its port from others, and does not listen
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            ConfigError, match=f"no Ray cluster answers at {address}: Connection refused; start one"
        ):
            ensure_ray(address=address)


@pytest.mark.parametrize(("min_cpus", "expected"), [(1, 3), (2.5, 3), (4.5, 5)])
def test_this_machine_alone_offers_at_least_the_cpus_that_are_needed(
    monkeypatch: pytest.MonkeyPatch, min_cpus: float, expected: int
) -> None:
    import ray

    asked: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **options: asked.append({"address": address, **options}))
    ensure_ray(min_cpus)
    assert asked[0]["address"] == "local"
    assert asked[0]["num_cpus"] == expected
    assert asked[0]["log_to_driver"] is False
    ensure_ray(min_cpus, verbose=True)
    assert "log_to_driver" not in asked[1]


def test_a_cluster_named_by_ray_address_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    asked: list[str] = []
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **_: asked.append(address))
    ensure_ray()
    ensure_ray(address="10.0.0.9:6379")
    assert asked == ["auto", "10.0.0.9:6379"]
