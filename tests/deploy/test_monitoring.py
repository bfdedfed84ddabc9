"""Dashboard and alerts read only what is exported; each alert fires when it should, by Prometheus's own unit tests."""

from __future__ import annotations

import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import kubectl, rendered
from vgim.model.collapse import FEWEST_ACTIVE
from vgim.training.prometheus import (
    ENDED_GAUGE,
    MODULE_GAUGES,
    RUN_GAUGES,
    SOURCE_GAUGES,
    STAGE_GAUGES,
    WAITING_GAUGE,
)

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy/monitoring"
ALERTS = yaml.safe_load((MONITORING / "vgim-alerts.yml").read_text())["groups"]
DASHBOARD = json.loads((MONITORING / "vgim-dashboard.json").read_text())
GAUGES = {*RUN_GAUGES, *MODULE_GAUGES, *STAGE_GAUGES, *SOURCE_GAUGES, ENDED_GAUGE, WAITING_GAUGE}

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*asked, *(rule["expr"] for rule in rules())]


def test_dashboard_and_alerts_read_only_gauges_of_vgim_that_exist() -> None:
    names = {name for expression in expressions() for name in re.findall(r"ray_(vgim_\w+)", expression)}
    assert names <= GAUGES
    # Without a panel: sums of what is shown, and figures for which TensorBoard is the place.
    assert GAUGES - names == {
        "vgim_loss",
        "vgim_kl_per_frame",
        "vgim_validation_loss",
        "vgim_checkpoint_step",
        "vgim_stage_steps_per_second",
        "vgim_stage_sent_mb_per_second",
    }


def test_dashboard_and_alerts_ask_gauges_of_vgim_for_labels_that_they_have() -> None:
    more = dict.fromkeys(MODULE_GAUGES, "module") | dict.fromkeys(STAGE_GAUGES, "stage")
    texts = [(t["expr"], t["legendFormat"]) for panel in panels() for t in panel["targets"]]
    texts += [(rule["expr"], rule["annotations"]["summary"]) for rule in rules()]
    for expression, text in texts:
        names = re.findall(r"ray_(vgim_\w+)", expression)
        listed = re.findall(r"\b(?:by|on) \(([\w, ]*)\)|(\w+) *(?:=~?|!=|!~)\"", expression)
        asked = {label for pair in listed for label in re.findall(r"\w+", " ".join(pair))}
        asked |= set(re.findall(r"\{\{ *(?:\$labels\.)?(\w+)", text))
        labels = {"run", *(more[name] for name in names if name in more)}
        if ENDED_GAUGE in names:
            labels |= {"state", "error"}
        assert not names or asked <= labels, expression


def test_dashboard_reads_metrics_of_ray_that_rays_own_dashboard_reads() -> None:
    panels_of_ray = importlib.resources.files("ray.dashboard.modules.metrics.dashboards")
    own = (panels_of_ray / "default_dashboard_panels.py").read_text()
    names = {name for e in expressions() for name in re.findall(r"\bray_(?!vgim_)\w+", e)}
    assert {"ray_node_gpus_utilization", "ray_node_gram_used", "ray_node_gram_available"} <= names
    assert all(re.search(rf"\b{name}\b", own) for name in names)


def test_the_panel_of_crops_says_crops_and_that_of_progress_what_it_divides() -> None:
    by_expression = {panel["targets"][0]["expr"]: panel for panel in panels()}
    (crops,) = [panel["title"] for e, panel in by_expression.items() if "vgim_crops_per_second" in e]
    assert crops == "Crops per second"
    (text,) = [p["description"] for e, p in by_expression.items() if "last_step" in e and "description" in p]
    assert "at which the phase ends" in text  # as the gauge says: steps of the whole run


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_operator_gets_the_same_alerts() -> None:
    manifest = yaml.safe_load((ROOT / "deploy/kuberay/monitoring/prometheusrule.yaml").read_text())
    assert manifest["spec"]["groups"] == ALERTS


@kubectl
def test_monitor_and_rules_have_the_label_that_kube_prometheus_stack_selects_by() -> None:
    manifests = rendered(ROOT / "deploy/kuberay/monitoring")
    (release,) = re.findall(
        r"helm install (\S+) \S+/kube-prometheus-stack", (ROOT / "docs/kubernetes.md").read_text()
    )
    assert {manifest["kind"] for manifest in manifests} == {"PodMonitor", "PrometheusRule"}
    assert {manifest["metadata"]["labels"]["release"] for manifest in manifests} == {release}


def test_a_collapse_is_told_by_the_share_of_units_by_which_training_tells_it() -> None:
    (rule,) = [rule for rule in rules() if rule["alert"] == "VgimCollapsed"]
    assert rule["expr"].endswith(f"ray_vgim_active_units) < {FEWEST_ACTIVE}")


def test_every_alert_says_where_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert "$labels.run" in rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")
    tested = (Path(__file__).parent / "alerts.yml").read_text()
    assert all(tested.count(f"alertname: {rule['alert']}") >= 2 for rule in rules())


@promtool
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "deploy/monitoring/vgim-alerts.yml"],
        ["check", "config", "deploy/monitoring/prometheus.yml"],
        ["test", "rules", "tests/deploy/alerts.yml"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_prometheus_accepts_the_rules_and_they_fire_as_they_should(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_every_expression_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    groups = [{"name": "panels", "rules": [{"record": "x", "expr": e} for e in expressions()]}]
    text = json.dumps({"groups": groups}).replace("$run", ".*")
    (tmp_path / "panels.yml").write_text(text)
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint=none", str(tmp_path / "panels.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
