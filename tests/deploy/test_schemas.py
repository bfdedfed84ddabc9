"""Every manifest holds to the schema of the project that reads it.

Kubernetes' own schemas come with the package kubernetes-validate. Those of custom resources are read from the folder
that VGIM_CRDS names, with clones of their projects in it:

    for project in ray-project/kuberay kubernetes-sigs/kueue prometheus-operator/prometheus-operator \\
                   eksctl-io/eksctl; do
      git clone --depth 1 https://github.com/$project crds/$project
    done
    VGIM_CRDS=crds make test ARGS=tests/deploy
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import (
    APPLIED,
    COMPONENTS,
    KUBERAY,
    TRAINING,
    Manifest,
    combined,
    crds,
    faults,
    groups,
    kubectl,
    ray_cluster,
    read_crds,
    rendered,
)

CORE = ("v1", "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1")


def check(manifests: list[Manifest], schemas: dict[tuple[str, str], Manifest]) -> None:
    assert manifests
    for manifest in manifests:
        kind = manifest["apiVersion"], manifest["kind"]
        if kind[0] in CORE:
            continue
        assert kind in schemas, f"no CRD of {kind} below VGIM_CRDS"
        assert list(faults(manifest, schemas[kind])) == []


@pytest.fixture(scope="module")
def schemas() -> dict[tuple[str, str], Manifest]:
    return read_crds()


@crds
def test_the_eks_cluster_holds_to_eksctls_schema() -> None:
    (path,) = Path(os.environ["VGIM_CRDS"]).rglob("v1alpha5/assets/schema.json")
    schema = json.loads(path.read_text())
    cluster = yaml.safe_load((KUBERAY / "eks/cluster.yaml").read_text())
    assert list(faults(cluster, schema)) == []
    cluster["managedNodeGroups"][1]["efaEnable"] = True
    assert any("'efaEnable' was unexpected" in fault for fault in faults(cluster, schema))


@crds
@kubectl
@pytest.mark.parametrize("folder", APPLIED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_what_is_applied_holds_to_the_custom_resources_schemas(
    folder: Path, schemas: dict[tuple[str, str], Manifest]
) -> None:
    check(rendered(folder), schemas)


@crds
@kubectl
@pytest.mark.parametrize("base", ["job", "cluster"])
@pytest.mark.parametrize("name", COMPONENTS)
def test_bases_with_components_hold_to_the_custom_resources_schemas(
    base: str, name: str, schemas: dict[tuple[str, str], Manifest]
) -> None:
    check(combined(base, *COMPONENTS[name]), schemas)


@crds
@kubectl
def test_a_field_or_a_value_that_the_schemas_do_not_know_is_found(
    schemas: dict[tuple[str, str], Manifest],
) -> None:
    job = next(manifest for manifest in rendered(TRAINING[0]) if manifest["kind"] == "RayJob")
    job = {**job, "spec": {**job["spec"], "suspended": True, "backoffLimit": "two"}}
    found = " ".join(faults(job, schemas["ray.io/v1", "RayJob"]))
    assert "'suspended' was unexpected" in found
    assert "$.spec.backoffLimit: 'two' is not of type 'integer'" in found


@kubectl
@pytest.mark.parametrize("folder", APPLIED, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_resources_of_kubernetes_hold_to_its_newest_schema(folder: Path) -> None:
    version = kubernetes_validate.latest_version()
    for manifest in rendered(folder):
        if manifest["apiVersion"] in CORE:
            kubernetes_validate.validate(manifest, version, strict=True)


@kubectl
@pytest.mark.parametrize("base", ["job", "cluster"])
@pytest.mark.parametrize("name", COMPONENTS)
def test_pods_of_a_ray_cluster_hold_to_kubernetes_newest_schema(base: str, name: str) -> None:
    version = kubernetes_validate.latest_version()
    for group in groups(ray_cluster(combined(base, *COMPONENTS[name]))):
        template = group["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": template.get("metadata", {}),
            "spec": template["spec"],
        }
        kubernetes_validate.validate(pod, version, strict=True)
        misspelled = {**pod, "spec": {**pod["spec"], "toleration": []}}
        with pytest.raises(kubernetes_validate.ValidationError, match="toleration"):
            kubernetes_validate.validate(misspelled, version, strict=True)
