"""Manifests of KubeRay and Kueue, rendered as they are applied, fit this project, Ray and each other."""

from __future__ import annotations

import fnmatch
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement
from ray._common import utils as common
from ray._private import ray_constants, services, utils

from tests.deploy.manifests import (
    COMPONENTS,
    KUBERAY,
    OVERLAYS,
    PREPARING,
    ROOT,
    TRAINING,
    Manifest,
    combined,
    groups,
    kubectl,
    of_kind,
    ray_cluster,
    rendered,
)
from vgim.cli import main
from vgim.cluster.placement import DATA_CPUS
from vgim.config import load_config

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BYTES = {"Mi": 2**20, "Gi": 2**30}
QUEUED = [folder for folder in OVERLAYS if folder.name.endswith("h100")]

pytestmark = kubectl
each_combination = pytest.mark.parametrize(
    ("base", "components"),
    [(base, components) for base in ("job", "cluster") for components in COMPONENTS.values()],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
each_overlay = pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
each_training = pytest.mark.parametrize("folder", TRAINING, ids=lambda folder: folder.name)
each_preparing = pytest.mark.parametrize("folder", PREPARING, ids=lambda folder: folder.name)
each_queued = pytest.mark.parametrize("folder", QUEUED, ids=lambda folder: folder.name)


def amount(text: str | int) -> float:
    """A number of Kubernetes: `64Gi`, `100m`, `8`."""
    number, unit = re.fullmatch(r"(\d+)(\w*)", str(text)).groups()  # type: ignore[union-attr]
    return int(number) / 1000 if unit == "m" else int(number) * BYTES.get(unit, 1)


def pod_of(group: Manifest) -> Manifest:
    pod: Manifest = group["template"]["spec"]
    return pod


def container_of(group: Manifest) -> Manifest:
    (container,) = pod_of(group)["containers"]
    return dict(container)


def sidecars_of(group: Manifest) -> list[Manifest]:
    return [c for c in pod_of(group)["initContainers"] if c.get("restartPolicy") == "Always"]


def home_of(group: Manifest) -> str:
    (home,) = [pair["value"] for pair in container_of(group)["env"] if pair["name"] == "VGIM_HOME"]
    return str(home)


@each_combination
def test_pods_share_image_home_port_of_metrics_and_ask_for_what_they_may_have(
    base: str, components: list[str]
) -> None:
    monitor = yaml.safe_load((KUBERAY / "monitoring/podmonitor.yaml").read_text())
    port = monitor["spec"]["podMetricsEndpoints"][0]["port"]
    cluster = ray_cluster(combined(base, *components))
    assert cluster["authOptions"] == {"mode": "token"}
    assert len({home_of(group) for group in groups(cluster)}) == 1
    for group in groups(cluster):
        container = container_of(group)
        others = [c for c in pod_of(group)["initContainers"] if c not in sidecars_of(group)]
        assert {c["image"] for c in [container, *others]} == {f"REGISTRY/vgim:{PROJECT['version']}"}
        assert port in {p["name"] for p in container["ports"]}
        # Ray counts limits, Kubernetes schedules requests: they must say the same.
        assert container["resources"]["requests"] == container["resources"]["limits"]
        # Ray's start parameters are strings, numbers included.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for group in cluster["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@each_combination
def test_rays_object_store_fits_into_dev_shm_and_that_into_the_pod(
    base: str, components: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in groups(ray_cluster(combined(base, *components))):
        (volume,) = [volume for volume in pod_of(group)["volumes"] if volume["name"] == "shm"]
        assert volume["emptyDir"]["medium"] == "Memory"
        assert {"name": "shm", "mountPath": "/dev/shm"} in container_of(group)["volumeMounts"]
        size, memory = (
            amount(volume["emptyDir"]["sizeLimit"]),
            amount(container_of(group)["resources"]["limits"]["memory"]),
        )
        monkeypatch.setattr(utils, "get_shared_memory_bytes", lambda size=size: int(size))
        monkeypatch.setattr(common, "get_system_memory", lambda memory=memory: int(memory))
        store = int(group["rayStartParams"]["object-store-memory"])
        assert services.determine_plasma_store_config(store, "/tmp/ray")[0] == "/dev/shm"
        assert store <= 0.9 * size <= 0.4 * memory


def test_by_itself_ray_would_keep_its_objects_on_disk_in_such_a_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "get_shared_memory_bytes", lambda: 8 * 2**30)
    chosen = utils.resolve_object_store_memory(64 * 2**30)
    assert chosen == ray_constants.REQUIRE_SHM_SIZE_THRESHOLD
    assert services.determine_plasma_store_config(chosen, "/tmp/ray")[0] == "/tmp/ray"


@each_training
def test_the_jobs_run_has_a_worker_on_every_gpu_and_leaves_ray_data_a_cpu_on_each_node(folder: Path) -> None:
    spec = of_kind(rendered(folder), "RayJob")["spec"]
    python, script, preset, *overrides = shlex.split(spec["entrypoint"])
    assert python == "python"
    assert (ROOT / script.removeprefix("/opt/vgim/")).exists()
    cluster = load_config(preset, overrides).config.cluster
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    limits = container_of(group)["resources"]["limits"]
    gpus = int(limits["nvidia.com/gpu"])
    assert (cluster.device, cluster.workers) == ("cuda", group["replicas"] * gpus)
    assert (group["replicas"], gpus) == ((8, 8) if folder in QUEUED else (2, 4))
    assert int(limits["cpu"]) - gpus >= DATA_CPUS


@pytest.mark.parametrize("components", COMPONENTS.values(), ids=COMPONENTS)
def test_a_cluster_that_stays_is_the_jobs_but_for_its_number_of_workers(components: list[str]) -> None:
    job = ray_cluster(combined("job", *components))
    stays = ray_cluster(combined("cluster", *components))
    (own,), (other,) = job.pop("workerGroupSpecs"), stays.pop("workerGroupSpecs")
    assert (other["minReplicas"], other["maxReplicas"]) == (0, own["maxReplicas"])
    assert stays.pop("enableInTreeAutoscaling")
    del stays["autoscalerOptions"]
    numbers = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"))
    assert (job, own | numbers) == (stays, other | numbers)


@pytest.mark.parametrize("base", ["job", "cluster"])
def test_pods_mount_the_shared_folder_as_the_user_that_the_image_runs_as(base: str) -> None:
    manifests = combined(base, "shared-folder")
    claim = of_kind(manifests, "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    user = re.findall(r"--uid (\d+)", (ROOT / "deploy/Dockerfile").read_text())
    for group in groups(ray_cluster(manifests)):
        (volume,) = [volume for volume in pod_of(group)["volumes"] if volume["name"] == "shared"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert {"name": "shared", "mountPath": home_of(group)} in container_of(group)["volumeMounts"]
        assert [str(pod_of(group)["securityContext"]["fsGroup"])] == user


@pytest.mark.parametrize("base", ["job", "cluster"])
@pytest.mark.parametrize(("component", "scheme"), [("s3", "s3://"), ("gcs", "gs://")])
def test_pods_reach_a_bucket_by_their_service_account_and_mount_no_volume(
    base: str, component: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = combined(base, component)
    account = of_kind(manifests, "ServiceAccount")
    for group in groups(ray_cluster(manifests)):
        assert pod_of(group)["serviceAccountName"] == account["metadata"]["name"]
        assert [volume["name"] for volume in pod_of(group)["volumes"]] == ["shm"]
        monkeypatch.setenv("VGIM_HOME", home_of(group))
        config = load_config("librispeech-sim", ["storage.name=sim"]).config
        assert config.storage.root.startswith(f"{scheme}BUCKET/")
        assert config.data.shards.startswith(f"{scheme}BUCKET/")


@each_preparing
def test_shards_are_prepared_where_the_training_of_the_same_cloud_looks_for_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = rendered(folder)
    pod = of_kind(manifests, "Job")["spec"]["template"]["spec"]
    (download,), (prepare,) = pod["initContainers"], pod["containers"]
    (volume,) = [mount for mount in download["volumeMounts"] if mount["name"] == "corpus"]
    assert volume in prepare["volumeMounts"]
    context = parsed(download["command"])
    assert (context["corpus"], context["out"]) == ("librispeech", volume["mountPath"])
    assert context["no_unpack"]
    (home,) = [pair["value"] for pair in prepare["env"] if pair["name"] == "VGIM_HOME"]
    context = parsed([word.replace("$(VGIM_HOME)", home) for word in prepare["command"]])
    assert context["corpus"] == volume["mountPath"]
    assert 0 < context["workers"] < int(prepare["resources"]["limits"]["cpu"])

    job = rendered(folder.parent / folder.name.replace("-prepare", "-h100"))
    spec = of_kind(job, "RayJob")["spec"]
    head = spec["rayClusterSpec"]["headGroupSpec"]
    assert home_of(head) == home
    assert pod["serviceAccountName"] == pod_of(head)["serviceAccountName"]
    assert of_kind(manifests, "ServiceAccount") == of_kind(job, "ServiceAccount")
    monkeypatch.setenv("VGIM_HOME", home)
    _, _, preset, *overrides = shlex.split(spec["entrypoint"])
    assert load_config(preset, overrides).config.data.shards == context["out"]


def parsed(command: list[str]) -> dict[str, Any]:
    """The parameters of a `vgim` command, by name."""
    program, *args = command
    assert program == "vgim"
    context = click.Context(main)
    found: click.Command = main
    while isinstance(found, click.Group):
        _, following, args = found.resolve_command(context, args)
        assert following is not None
        found = following
    return dict(found.make_context("vgim", args, parent=context).params)


def test_the_preparation_writes_to_a_shared_folder_as_the_trainings_pods_read_it() -> None:
    job = of_kind(combined("prepare", "shared-folder"), "Job")
    pod, (container,) = job["spec"]["template"]["spec"], job["spec"]["template"]["spec"]["containers"]
    head = ray_cluster(combined("job", "shared-folder"))["headGroupSpec"]
    assert container["env"] == [{"name": "VGIM_HOME", "value": home_of(head)}]
    for mine, theirs in (
        (pod["volumes"], pod_of(head)["volumes"]),
        (container["volumeMounts"], container_of(head)["volumeMounts"]),
    ):
        (shared,) = [entry for entry in theirs if entry["name"] == "shared"]
        assert shared in mine
    assert pod["securityContext"] == pod_of(head)["securityContext"]


def test_the_eks_cluster_has_nodes_disks_and_a_role_for_what_its_overlays_ask() -> None:
    cluster = yaml.safe_load((KUBERAY / "eks/cluster.yaml").read_text())
    (cpu, gpu) = cluster["managedNodeGroups"]
    manifests = rendered(KUBERAY / "overlays/eks-h100")
    (group,) = ray_cluster(manifests)["workerGroupSpecs"]
    assert pod_of(group)["nodeSelector"] == {"node.kubernetes.io/instance-type": gpu["instanceType"]}
    assert gpu["maxSize"] == group["replicas"]
    assert gpu["efaEnabled"]
    assert container_of(group)["image"] == f"REGISTRY/vgim:{PROJECT['version']}-efa"
    assert set(gpu["availabilityZones"]) < set(cluster["availabilityZones"])
    assert not gpu.get("taints")  # eksctl's plugin of EFA would not run beside them
    node = yaml.safe_load(gpu["overrideBootstrapCommand"])
    assert node["spec"] == {"instance": {"localStorage": {"strategy": "RAID0"}}}
    (association,) = cluster["iam"]["podIdentityAssociations"]
    account = of_kind(manifests, "ServiceAccount")["metadata"]
    assert association["serviceAccountName"] == account["name"]
    assert {"name": "eks-pod-identity-agent"} in cluster["addons"]
    bucket = home_of(group).removeprefix("s3://").partition("/")[0]
    resources = {part["Resource"] for part in association["permissionPolicy"]["Statement"]}
    assert resources == {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"}
    pod = of_kind(rendered(KUBERAY / "overlays/eks-prepare"), "Job")["spec"]["template"]["spec"]
    disk = amount(pod["containers"][0]["resources"]["limits"]["ephemeral-storage"])
    assert disk < 0.8 * cpu["volumeSize"] * BYTES["Gi"]
    (corpus,) = [volume for volume in pod["volumes"] if volume["name"] == "corpus"]
    assert amount(corpus["emptyDir"]["sizeLimit"]) < disk


@each_queued
def test_a_queued_job_names_a_queue_a_priority_and_a_level_that_exist_and_fits_the_quota(
    folder: Path,
) -> None:
    job = of_kind(rendered(folder), "RayJob")
    admin = rendered(KUBERAY / "kueue" / folder.name.partition("-")[0])
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in admin}
    labels = job["metadata"]["labels"]
    assert ("LocalQueue", labels["kueue.x-k8s.io/queue-name"]) in names
    assert ("WorkloadPriorityClass", labels["kueue.x-k8s.io/priority-class"]) in names
    assert job["spec"]["shutdownAfterJobFinishes"]
    assert "suspend" not in job["spec"]  # to apply it again would stop a run that Kueue has started
    assert "enableInTreeAutoscaling" not in job["spec"]["rayClusterSpec"]  # Kueue refuses it

    queue = of_kind(admin, "ClusterQueue")
    assert of_kind(admin, "LocalQueue")["spec"]["clusterQueue"] == queue["metadata"]["name"]
    (resources,) = queue["spec"]["resourceGroups"]
    quotas: dict[str, dict[str, Any]] = {}
    for flavor in resources["flavors"]:
        assert ("ResourceFlavor", flavor["name"]) in names
        quotas[flavor["name"]] = {r["name"]: amount(r["nominalQuota"]) for r in flavor["resources"]}
        assert set(quotas[flavor["name"]]) == set(resources["coveredResources"])
    head, (group,) = (
        job["spec"]["rayClusterSpec"]["headGroupSpec"],
        job["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    )
    asked: Counter[str] = Counter()
    for name, value in container_of(group)["resources"]["requests"].items():
        asked[name] = int(group["replicas"] * amount(value))
    assert dict(asked) == quotas["vgim-h100"]
    for name, value in container_of(head)["resources"]["requests"].items():
        assert amount(value) <= quotas["vgim-cpu"][name]
    assert quotas["vgim-cpu"]["nvidia.com/gpu"] == 0

    flavors = {
        m["metadata"]["name"]: m["spec"] for m in admin if m["kind"] == "ResourceFlavor" and "spec" in m
    }
    flavor, topology = flavors["vgim-h100"], of_kind(admin, "Topology")
    assert flavor["topologyName"] == topology["metadata"]["name"]
    assert flavor["nodeLabels"].items() <= pod_of(group)["nodeSelector"].items()
    annotations = group["template"]["metadata"]["annotations"]
    levels = [level["nodeLabel"] for level in topology["spec"]["levels"]]
    assert annotations["kueue.x-k8s.io/podset-preferred-topology"] in levels[:-1]


@pytest.mark.parametrize("base", ["job", "cluster"])
def test_the_cache_of_shards_fits_into_a_volume_on_disks_for_which_the_pod_asks(base: str) -> None:
    (group,) = ray_cluster(combined(base, "s3", "h100"))["workerGroupSpecs"]
    (volume,) = [volume for volume in pod_of(group)["volumes"] if volume["name"] == "cache"]
    (mount,) = [mount for mount in container_of(group)["volumeMounts"] if mount["name"] == "cache"]
    room = amount(volume["emptyDir"]["sizeLimit"])
    assert "medium" not in volume["emptyDir"]  # memory
    assert room < amount(container_of(group)["resources"]["requests"]["ephemeral-storage"])
    if base == "job":
        spec = of_kind(combined(base, "s3", "h100"), "RayJob")["spec"]
        _, _, preset, *overrides = shlex.split(spec["entrypoint"])
        data = load_config(preset, overrides).config.data
        assert data.cache_dir == mount["mountPath"]
        assert data.cache_gib * 2**30 < room


@pytest.mark.parametrize("base", ["job", "cluster"])
def test_a_sidecar_prints_the_lines_of_json_that_rays_workers_write_to_files(base: str) -> None:
    manifests = combined(base, "s3", "h100", "efa", "logs")
    config = yaml.safe_load(of_kind(manifests, "ConfigMap")["data"]["fluent-bit.yaml"])
    (tail,) = config["pipeline"]["inputs"]
    name = "/tmp/ray/session_2026-01-31_12-00-00_000000_1/logs/worker-0123-01000000-512.err"  # Ray's name
    assert fnmatch.fnmatch(name, tail["path"])
    for group in groups(ray_cluster(manifests)):
        ray, (logs,) = container_of(group), sidecars_of(group)
        volumes = {volume["name"]: volume for volume in pod_of(group)["volumes"]}
        mounts = {mount["name"]: mount for mount in logs["volumeMounts"]}
        assert {"name": "ray-logs", "mountPath": "/tmp/ray"} in ray["volumeMounts"]
        assert {"name": "VGIM_LOG_FORMAT", "value": "json"} in ray["env"]
        assert (mounts["ray-logs"]["mountPath"], mounts["ray-logs"]["readOnly"]) == ("/tmp/ray", True)
        assert Path(tail["db"]).parent == Path(mounts["logs-state"]["mountPath"])
        # Both outlive a container that starts again.
        assert [volumes[volume]["emptyDir"] for volume in ("ray-logs", "logs-state")] == [{}, {}]
        settings = volumes["logs-config"]["configMap"]["name"]
        assert settings == of_kind(manifests, "ConfigMap")["metadata"]["name"]
        assert f"{mounts['logs-config']['mountPath']}/fluent-bit.yaml" in logs["command"]
    (worker,) = ray_cluster(manifests)["workerGroupSpecs"]
    assert {c["name"] for c in pod_of(worker)["initContainers"]} == {"efa-plugin", "logs"}


def test_a_pod_without_the_efa_plugin_does_not_start() -> None:
    (group,) = ray_cluster(rendered(KUBERAY / "overlays/eks-h100"))["workerGroupSpecs"]
    (check,) = pod_of(group)["initContainers"]
    done = subprocess.run(check["command"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "no EFA plugin for NCCL in this image")


@each_overlay
def test_what_a_user_must_fill_in_is_named_at_the_top(folder: Path) -> None:
    head = (folder / "kustomization.yaml").read_text().partition("apiVersion")[0]
    text = yaml.safe_dump_all(rendered(folder))
    asked = set(re.findall(r"\b(?:REGISTRY|BUCKET|[A-Z]+_ID)\b", text))
    assert asked == set(re.findall(r"\b(?:REGISTRY|BUCKET|[A-Z]+_ID)\b", head))
    assert f"kubectl apply -k {folder.relative_to(ROOT)}" in head


@each_training
def test_the_manifests_ray_is_one_that_the_project_takes(folder: Path) -> None:
    (needed,) = [need for line in PROJECT["dependencies"] if (need := Requirement(line)).name == "ray"]
    assert needed.specifier.contains(ray_cluster(rendered(folder))["rayVersion"])
