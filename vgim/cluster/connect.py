"""Connects to the Ray cluster that a command works on, or starts Ray on this machine."""

from __future__ import annotations

import logging
import math
import os
import socket

from vgim.errors import ConfigError
from vgim.signals import handlers_kept
from vgim.text import first_line

CONNECT_TIMEOUT_S = 5.0


def ensure_ray(
    min_cpus: float = 0, *, address: str | None = None, verbose: bool = False, dashboard: bool = False
) -> None:
    """Connect to the cluster at `address` or $RAY_ADDRESS; without either, start a private instance on this machine.

    Args:
        min_cpus: smallest number of logical CPUs of a private instance, whatever the machine has.
        address: `auto`, `host:port` or `ray://host:port`.
        verbose: show Ray's log lines.
        dashboard: start a private instance's dashboard, and with it the State API.

    Raises:
        ConfigError: no cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        # Ray reads this variable when it is imported; by default it tries for ten minutes, with a line for each try.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    import ray

    if ray.is_initialized():
        return
    if address != "local":
        _check_reachable(address)
    quiet = {} if verbose else {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            # Nobody takes this node away, so no process has to watch for preemption.
            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
            cores = os.cpu_count() or 1
            num_cpus = max(cores, math.ceil(min_cpus))
            with handlers_kept():
                ray.init("local", num_cpus=num_cpus, include_dashboard=dashboard, **quiet)
        else:
            with handlers_kept():
                ray.init(address, **quiet)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster lets us in at {address}: {first_line(error)}; start one with `ray start --head`, check "
            "that RAY_AUTH_MODE and the token are the cluster's, or leave --address and RAY_ADDRESS out to use this "
            "machine alone"
        ) from error


def _check_reachable(address: str) -> None:
    """Fail at once if nothing listens at HOST:PORT.

    Raises:
        ConfigError: Nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; start one with `ray start --head`, or "
            "leave --address and RAY_ADDRESS out to use this machine alone"
        ) from error
