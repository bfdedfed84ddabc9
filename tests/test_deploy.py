"""Manifests hold to the shape of KubeRay's resources and to this project."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from vgim.config import load_config

ROOT = Path(__file__).resolve().parent.parent
KUBERAY = ROOT / "deploy/kuberay"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The fields of KubeRay's API (ray.io/v1) that a manifest may have.
CLUSTER_FIELDS = {
    "authOptions",
    "autoscalerOptions",
    "enableInTreeAutoscaling",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "headServiceAnnotations",
    "managedBy",
    "rayVersion",
    "suspend",
    "workerGroupSpecs",
}
HEAD_FIELDS = {"enableIngress", "headService", "rayStartParams", "serviceType", "template"}
GROUP_FIELDS = {
    "groupName",
    "idleTimeoutSeconds",
    "maxReplicas",
    "minReplicas",
    "numOfHosts",
    "rayStartParams",
    "replicas",
    "scaleStrategy",
    "suspend",
    "template",
}
JOB_FIELDS = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "clusterSelector",
    "deletionStrategy",
    "entrypoint",
    "entrypointNumCpus",
    "entrypointNumGpus",
    "entrypointResources",
    "jobId",
    "managedBy",
    "metadata",
    "rayClusterSpec",
    "runtimeEnvYAML",
    "shutdownAfterJobFinishes",
    "submissionMode",
    "submitterConfig",
    "submitterPodTemplate",
    "suspend",
    "ttlSecondsAfterFinished",
}


def manifest(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERAY / name).read_text())
    return found


def ray_clusters() -> Iterator[dict[str, Any]]:
    """The spec of every RayCluster, those inside of a RayJob included."""
    yield manifest("raycluster.yaml")["spec"]
    yield manifest("rayjob.yaml")["spec"]["rayClusterSpec"]


def groups(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_manifests_have_only_fields_that_kuberay_knows() -> None:
    assert (manifest("raycluster.yaml")["apiVersion"], manifest("raycluster.yaml")["kind"]) == (
        "ray.io/v1",
        "RayCluster",
    )
    assert (manifest("rayjob.yaml")["apiVersion"], manifest("rayjob.yaml")["kind"]) == ("ray.io/v1", "RayJob")
    assert set(manifest("rayjob.yaml")["spec"]) <= JOB_FIELDS
    for cluster in ray_clusters():
        assert set(cluster) <= CLUSTER_FIELDS
        assert set(cluster["headGroupSpec"]) <= HEAD_FIELDS
        for group in cluster["workerGroupSpecs"]:
            assert set(group) <= GROUP_FIELDS
            assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        for group in groups(cluster):
            # Ray's start parameters are strings, numbers included.
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_pods_share_the_image_the_storage_and_the_port_of_the_metrics() -> None:
    claim = manifest("storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    port = manifest("monitoring/podmonitor.yaml")["spec"]["podMetricsEndpoints"][0]["port"]
    for cluster in ray_clusters():
        assert cluster["authOptions"] == {"mode": "token"}
        for group in groups(cluster):
            pod = group["template"]["spec"]
            (container,) = pod["containers"]
            assert container["image"] == f"REGISTRY/vgim:{PROJECT['version']}"
            assert port in {p["name"] for p in container["ports"]}
            claims = [
                v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if v["name"] == "shared"
            ]
            assert claims == [claim["metadata"]["name"]]
            assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
            # Ray counts limits, Kubernetes schedules requests: they must say the same.
            assert container["resources"]["requests"] == container["resources"]["limits"]


def test_the_manifests_ray_is_one_that_the_project_takes() -> None:
    (needed,) = [d for d in PROJECT["dependencies"] if d.startswith("ray[")]
    lowest = tuple(int(part) for part in needed.partition(">=")[2].split("."))
    for cluster in ray_clusters():
        assert tuple(int(part) for part in cluster["rayVersion"].split(".")) >= lowest


def test_the_jobs_run_fits_its_cluster() -> None:
    spec = manifest("rayjob.yaml")["spec"]
    python, script, preset, *overrides = shlex.split(spec["entrypoint"])
    assert python == "python"
    assert (ROOT / script.removeprefix("/opt/vgim/")).exists()
    cluster = load_config(preset, overrides).config.cluster
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert cluster.workers == group["replicas"] * int(limits["nvidia.com/gpu"])
    assert int(limits["cpu"]) > int(limits["nvidia.com/gpu"])


def test_the_image_is_made_of_what_is_there() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
    assert "RAY_AUTH_MODE=token" in lines[-1]
