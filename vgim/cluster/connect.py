"""Connects to the Ray cluster that a command works on, or starts Ray on this machine."""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from vgim.cluster.environment import default_environment, environment
from vgim.errors import ConfigError, TrainingError
from vgim.progress import SILENT, Progress
from vgim.signals import handlers_kept
from vgim.text import first_line, shorten

CONNECT_TIMEOUT_S = 5.0
START_ATTEMPTS = 2
"""Starts of a private Ray: on a busy machine the first may run into the 30 seconds that Ray gives itself."""
WITHOUT_RAY = "work without Ray (--workers 0)"
"""What the user of a command with --workers can do where Ray does not start."""
PRIVATE_DEFAULTS = {
    # By default Ray's processes that compute have a niceness 15 above that of the command: on a machine that does other
    # work too, they get a small part of the time that the command itself would get.
    "RAY_worker_niceness": "0",
    # By default Ray starts a process per CPU at once. Workers of a training cannot use them: they have an environment
    # of their own.
    "RAY_prestart_worker_first_driver": "0",
}
"""Variables of a private instance's processes, unless the user has set them."""
UNUSED = ("start_monitor", "start_api_server")
"""Methods of Ray's node that start the autoscaler and the dashboard's server, which runs even without a dashboard."""
LOG_MONITOR = "start_log_monitor"
"""The method that starts the process which sends log lines to the command."""
_ADDRESS = re.compile(r"^(?:ray://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})$")


def ensure_ray(
    min_cpus: float = 0,
    *,
    address: str | None = None,
    verbose: bool = False,
    dashboard: bool = False,
    without_ray: str | None = None,
    progress: Progress = SILENT,
) -> None:
    """Connect to the cluster at `address` or $RAY_ADDRESS; without either, start a private instance on this machine.

    A private instance listens on the loopback interface alone, and asks for a token that only its processes know.

    Args:
        min_cpus: smallest number of logical CPUs of a private instance, whatever the machine has.
        address: `auto`, `host:port` or `ray://host:port`.
        verbose: show Ray's log lines.
        dashboard: start a private instance's dashboard, and with it the State API.
        without_ray: what the user can do without Ray, for the error of a private instance that does not start.
        progress: where to report that Ray is waited for.

    Raises:
        ConfigError: the address is none, or no cluster answers at it.
        TrainingError: a private instance did not start.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = {} if verbose else {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        cores = os.cpu_count() or 1
        with progress.stage("starting Ray on this machine"):
            unused = () if dashboard else UNUSED if verbose else (*UNUSED, LOG_MONITOR)
            _start_here(
                unused,
                without_ray,
                num_cpus=max(cores, math.ceil(min_cpus)),
                include_dashboard=dashboard,
                **quiet,
            )
        return
    _check_reachable(address)
    # Ray reads this variable when it is imported; by default it tries for ten minutes, with a line for each try.
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    try:
        with progress.stage(f"connecting to Ray at {address}"), handlers_kept():
            import ray

            ray.init(address, **quiet)
    except ConnectionError as error:
        raise ConfigError(
            f"no Ray cluster lets us in at {address}: {first_line(error)}; start one with `ray start --head`, check "
            "that RAY_AUTH_MODE and the token are the cluster's, or leave --address and RAY_ADDRESS out to use this "
            "machine alone"
        ) from error


def free_resources() -> dict[str, float]:
    """The resources of the cluster that nobody uses now; none if this process is connected to no cluster."""
    if "ray" not in sys.modules:
        return {}
    import ray

    try:
        # Asking would else start a Ray.
        return dict(ray.available_resources()) if ray.is_initialized() else {}
    except Exception:  # a cluster that is just ending; whoever uses it says so
        return {}


def starts_private(address: str | None) -> bool:
    """Whether `ensure_ray` would start a private instance for this address."""
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        return is_private()
    return (address or os.environ.get("RAY_ADDRESS") or "local") == "local"


def _start_here(unused: Collection[str], without_ray: str | None, **options: Any) -> None:
    """Start a private instance.

    Args:
        unused: Methods of Ray's node that start processes without use here. If the first start fails, the second one
            calls them.
        without_ray: What the user can do without Ray, for the error.
        options: Options of `ray.init`.
    """
    # Nobody takes this node away, so no process has to watch for preemption.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    global _private_address
    with _private_environment(), default_environment(PRIVATE_DEFAULTS):
        import ray

        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                with handlers_kept(), _without(unused if attempt == 1 else ()):
                    context = ray.init("local", **options)
                _private_address = context.address_info["gcs_address"]
                return
            except Exception as error:
                # Ray raises bare Exception and RuntimeError for a start that failed; anything else is a defect.
                if not (
                    type(error) is Exception or isinstance(error, RuntimeError | ray.exceptions.RayError)
                ):
                    raise
                ray.shutdown()
                if attempt == START_ATTEMPTS:
                    raise TrainingError(
                        f"Ray did not start on this machine, {START_ATTEMPTS} times ({first_line(error)}); it may be "
                        f"too busy or short of memory: try again{f', or {without_ray}' if without_ray else ''}"
                    ) from error


@contextmanager
def _without(starts: Collection[str]) -> Iterator[None]:
    """Let Ray's node skip methods that start a process each, as far as this version of Ray has them.

    `ray.init` has no option for it. Each of these processes imports Ray, and `ray.init` waits for one of them.
    """
    from ray._private.node import Node

    with ExitStack() as patches:
        for name in starts:
            if hasattr(Node, name):
                patches.enter_context(patch.object(Node, name, lambda node, **options: None))
        yield


_private_variables: dict[str, str] | None = None
_private_address: str | None = None
"""Address of the instance that `ensure_ray` started last; None before."""


def is_private() -> bool:
    """Whether this process is connected to an instance that `ensure_ray` started for it alone."""
    if _private_address is None:
        return False
    import ray

    return bool(ray.is_initialized() and ray.get_runtime_context().gcs_address == _private_address)


@contextmanager
def _private_environment() -> Iterator[None]:
    """Set the variables by which a private instance is closed to others while its processes start.

    A cluster that this process starts or joins later does not see them. Ray reads them when it is imported, so that a
    process has one set of them for all its private instances, and a process that imported Ray before vgim did keeps
    Ray's own behavior.
    """
    global _private_variables
    if _private_variables is None:
        _private_variables = {} if "ray" in sys.modules else _loopback_and_token()
    with environment(_private_variables):
        yield


def _loopback_and_token() -> dict[str, str]:
    # The name tells where Ray needed it first: Ray uses 127.0.0.1 as the node's address then, on Linux too.
    variables = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return variables


def _check_reachable(address: str) -> None:
    """Fail at once if the address is none, or nothing listens there.

    Raises:
        ConfigError: The address is none, or nothing listens there.
    """
    if address == "auto":
        return
    match = _ADDRESS.match(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError(
            f"{shorten(address)!r} is no address of a Ray cluster; give auto, HOST:PORT or ray://HOST:PORT (--address "
            "or RAY_ADDRESS)"
        )
    try:
        socket.create_connection(
            (match["host"].strip("[]"), int(match["port"])), timeout=CONNECT_TIMEOUT_S
        ).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot have
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise ConfigError(
            f"no Ray cluster answers at {address}: {reason}; start one with `ray start --head`, or "
            "leave --address and RAY_ADDRESS out to use this machine alone"
        ) from error
