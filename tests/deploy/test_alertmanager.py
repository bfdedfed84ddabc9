"""Alertmanager accepts the example of its config, sends each alert where the example says, and in words."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import ROOT
from tests.deploy.test_monitoring import rules
from tests.waiting import wait_until

CONFIG = ROOT / "deploy/monitoring/alertmanager.yml"
SECRETS = "/etc/alertmanager/secrets/vgim-receivers"
SERVER = "prometheus-alertmanager"

alertmanager = pytest.mark.skipif(
    not (shutil.which("amtool") and shutil.which(SERVER)),
    reason="needs amtool and Alertmanager, of Debian's package prometheus-alertmanager",
)


def amtool(*command: str) -> str:
    done = subprocess.run(["amtool", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@alertmanager
def test_alertmanager_accepts_the_config() -> None:
    assert "SUCCESS" in amtool("check-config", str(CONFIG))


@alertmanager
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("severity=critical", "release=PAGED"), "pager,slack"),
        (("severity=critical", "release=staging"), "mail,slack"),
        (("severity=critical",), "mail,slack"),
        (("severity=warning", "release=PAGED"), "slack"),
        (("severity=none", "alertname=Watchdog"), "nobody"),
        (("alertname=unlabelled",), "slack"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_alerts_go_by_severity_and_cluster(labels: tuple[str, ...], receivers: str) -> None:
    found = amtool("config", "routes", "test", f"--config.file={CONFIG}", "run=sim", *labels)
    assert found.strip() == receivers


def test_every_severity_of_our_alerts_has_a_route_and_prometheus_names_its_cluster() -> None:
    routes = yaml.safe_load(CONFIG.read_text())["route"]["routes"]
    named = " ".join(matcher for route in routes for matcher in route["matchers"])
    assert all(rule["labels"]["severity"] in named for rule in rules())
    prometheus = yaml.safe_load((CONFIG.parent / "prometheus.yml").read_text())
    assert set(prometheus["global"]["external_labels"]) == {"release"}


@contextmanager
def stand_in() -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """The address of a server in place of Slack and PagerDuty, and the JSON that it is sent, by path."""
    received: dict[str, list[Any]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.setdefault(self.path, []).append(json.loads(body))
            self.send_response(202 if self.path == "/pager" else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@alertmanager
def test_a_critical_alert_reaches_pager_and_slack_in_words_and_mutes_the_runs_warnings(
    tmp_path: Path,
) -> None:
    with stand_in() as (address, received):
        (tmp_path / "slack-url").write_text(f"{address}/slack\n")
        (tmp_path / "pagerduty-key").write_text("key\n")
        text = CONFIG.read_text().replace(SECRETS, str(tmp_path)).replace("PAGED", "vgim")
        config = yaml.safe_load(text)
        config["global"]["pagerduty_url"] = f"{address}/pager"
        config["route"]["group_wait"] = "1s"
        (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
        api = f"http://127.0.0.1:{free_port()}"
        server = subprocess.Popen(
            [
                SERVER,
                f"--config.file={tmp_path / 'config.yml'}",
                f"--storage.path={tmp_path / 'state'}",
                f"--web.listen-address={api.removeprefix('http://')}",
                "--cluster.listen-address=",
            ],
            stdout=subprocess.DEVNULL,
            stderr=(tmp_path / "log").open("wb"),
        )
        try:
            wait_until(lambda: is_ready(api), "Alertmanager answers")
            sent = [alert("VgimRunLost", "critical"), alert("VgimCheckpointOld", "warning")]
            request = urllib.request.Request(
                f"{api}/api/v2/alerts", json.dumps(sent).encode(), {"Content-Type": "application/json"}
            )
            urllib.request.urlopen(request, timeout=60).close()
            wait_until(lambda: len(received) == 2, f"both are told: {(tmp_path / 'log').read_text()}")
        finally:
            server.kill()
            server.wait()
    (to_pager,) = received["/pager"]
    assert (to_pager["routing_key"], to_pager["payload"]["severity"]) == ("key", "critical")
    assert to_pager["payload"]["summary"] == "sim: VgimRunLost. "
    (to_slack,) = received["/slack"]
    (message,) = to_slack["attachments"]
    assert message["title"] == "FIRING: sim on vgim"
    assert message["text"] == "critical: sim: VgimRunLost. Run the command again.\n"


def alert(name: str, severity: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": severity, "run": "sim", "release": "vgim"},
        "annotations": {"summary": f"sim: {name}", "description": "Run the command again."},
    }


def is_ready(api: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"{api}/-/ready", timeout=60) as page:
        return bool(page.status == 200)
    return False
