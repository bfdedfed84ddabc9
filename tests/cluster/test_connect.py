"""Which Ray instance a command joins or starts, and what it says where it can do neither."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vgim.cluster.connect import LOG_MONITOR, UNUSED, WITHOUT_RAY, ensure_ray
from vgim.errors import ConfigError, TrainingError

STARTED = SimpleNamespace(address_info={"gcs_address": "127.0.0.1:1"})
"""What Ray returns when it has started."""


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

    def start(address: str, **options: Any) -> SimpleNamespace:
        asked.append({"address": address, **options})
        return STARTED

    monkeypatch.setattr(ray, "init", start)
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


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is not connected to Ray, whatever earlier tests did."""
    if "ray" in sys.modules:
        monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.mark.parametrize(
    "address",
    [
        "garbage",
        "http://host:1",
        "host:",
        ":6379",
        "host:0",
        "host:99999",
        "ray://",
        "auto ",
        "a b:1",
        "\x1b[31m:1",
    ],
)
@pytest.mark.usefixtures("no_ray")
def test_an_address_that_is_none_is_told_before_ray_is_imported(address: str) -> None:
    with pytest.raises(
        ConfigError, match=r"is no address of a Ray cluster; give auto, HOST:PORT or ray://HOST:PORT"
    ) as e:
        ensure_ray(address=address)
    assert "\x1b" not in str(e.value)


@pytest.mark.usefixtures("no_ray")
def test_a_host_name_that_cannot_be_one_is_told() -> None:
    with pytest.raises(ConfigError, match="no Ray cluster answers at"):
        ensure_ray(address=f"{'a' * 70}.example:6379")


def test_a_start_that_times_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    starts: list[str] = []

    def start(address: str, **_: Any) -> SimpleNamespace:
        starts.append(address)
        if len(starts) == 1:
            raise Exception("The current node timed out during startup. This could happen because")
        return STARTED

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: starts.append("shutdown"))
    ensure_ray()
    assert starts == ["local", "shutdown", "local"]


def test_processes_without_use_are_left_out_and_a_second_start_is_ray_as_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray
    from ray._private.node import Node

    names = (*UNUSED, LOG_MONITOR)
    theirs = {name: getattr(Node, name) for name in names}
    left_out: list[set[str]] = []

    def start(address: str, **_: Any) -> SimpleNamespace:
        left_out.append({name for name in names if getattr(Node, name) is not theirs[name]})
        if len(left_out) == 1:
            raise RuntimeError("the raylet died")
        return STARTED

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    ensure_ray()
    ensure_ray(verbose=True)
    ensure_ray(dashboard=True)
    assert left_out == [set(names), set(), set(UNUSED), set()]
    assert all(getattr(Node, name) is theirs[name] for name in names)


def test_a_machine_on_which_ray_never_starts_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the raylet died\nand a paragraph")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(
        TrainingError, match=r"^Ray did not start on this machine, 2 times \(the raylet died\); .*"
    ) as e:
        ensure_ray()
    assert str(e.value).endswith(": try again")
    assert e.value.exit_code == 6
    with pytest.raises(TrainingError, match=r": try again, or work without Ray \(--workers 0\)$"):
        ensure_ray(without_ray=WITHOUT_RAY)


LISTENERS = """
import os, sys
from vgim.cluster.connect import PRIVATE_DEFAULTS, ensure_ray, is_private
assert not is_private()
ensure_ray()
import ray
assert is_private()
assert not PRIVATE_DEFAULTS.keys() & os.environ.keys()  # a cluster that this process starts or joins later
assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
token = ray.get(ray.remote(lambda: os.environ.get("RAY_AUTH_TOKEN")).remote())
print(len(token), "RAY_AUTH_TOKEN" in os.environ)
def parent_of(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
parent = {int(pid): parent_of(pid) for pid in os.listdir("/proc") if pid.isdigit()}
def is_ours(pid):
    return pid == os.getpid() or (pid in parent and is_ours(parent[pid]))
sockets = set()
for pid in filter(is_ours, parent):
    command = open(f"/proc/{pid}/cmdline").read().split("\\0")
    assert not any(part.endswith(("/dashboard.py", "monitor.py")) for part in command), command
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            sockets.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
for table in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
            print("listens", fields[1].partition(":")[0])
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same as an IPv6 address, and ::1, as /proc/net writes them on little-endian machines."""


@pytest.mark.ray
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's table of sockets")
def test_a_private_ray_listens_on_loopback_asks_for_a_token_and_computes_at_the_commands_niceness() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    result = subprocess.run(
        [sys.executable, "-c", LISTENERS], capture_output=True, text=True, timeout=300, check=False, env=plain
    )
    assert result.returncode == 0, result.stderr[-2000:]
    token, *listeners = result.stdout.splitlines()
    assert token == "64 False"
    addresses = {line.split()[1] for line in listeners if line.startswith("listens")}
    assert addresses
    assert addresses <= LOOPBACK, addresses
