"""Configs of Ray's launcher hold to Ray's schema, to the services of the cloud, and to each other."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.exceptions import ParamValidationError
from moto import mock_aws

from tests.deploy.launcher_configs import LAUNCHER, ROOT, config_of, of_each, of_provider
from vgim.cluster.placement import DATA_CPUS, place_workers, room_for
from vgim.config import load_config

SHAPES = (ROOT / "docs/cluster-shapes.md").read_text()
SHARED = (
    "file_mounts",
    "rsync_exclude",
    "setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""Keys that every config has; a shape may add commands, but none may lack one of cluster.yaml's."""
ADDED_TO_START = "sudo prlimit --memlock=unlimited --pid $$; "


CLOUD = [*of_provider("aws"), *of_provider("gcp")]
H100 = [path for path in CLOUD if path.stem.endswith("h100")]
BUCKETS = [path for path in CLOUD if path.stem.endswith(("h100", "-cpu"))]
"""Shapes with runs and shards in a bucket; the others have a folder that all nodes mount."""


def home_of(path: Path) -> str:
    """$VGIM_HOME of a shape's nodes."""
    (home,) = re.findall(r"VGIM_HOME=([^\s']+)", " ".join(config_of(path)["setup_commands"]))
    return str(home)


def installs_of(config: dict[str, Any]) -> list[str]:
    """The initialization without what is for a shared folder alone."""
    commands = config["initialization_commands"]
    return [line.replace(" nfs-common", "") for line in commands if "/shared" not in line]


def workers_of(path: Path) -> dict[str, Any]:
    """The node type of a shape's workers."""
    types = config_of(path)["available_node_types"]
    (worker,) = [found for name, found in types.items() if name != "head"]
    return dict(worker)


@of_each(LAUNCHER)
def test_launcher_configs_pass_rays_own_schema(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config_of(path)))


@of_each(LAUNCHER)
def test_every_shape_sets_its_nodes_up_as_cluster_yaml_does(path: Path) -> None:
    first, config = config_of(LAUNCHER[0]), config_of(path)
    for key in SHARED:
        if isinstance(first[key], dict):
            assert config[key] == first[key], key
            continue
        lines = [line.replace(ADDED_TO_START, "") for line in config[key]]
        if "GPU" not in str(config.get("available_node_types", "GPU")):
            lines = [line.replace("requirements-cpu", "requirements-cuda") for line in lines]
        lines = [
            line.replace(f"VGIM_HOME={home_of(path)}", f"VGIM_HOME={home_of(LAUNCHER[0])}") for line in lines
        ]
        assert [line for line in lines if line in first[key]] == first[key], key


@of_each(LAUNCHER)
def test_the_shell_finds_the_project_that_setup_installs(path: Path, tmp_path: Path) -> None:
    pip = tmp_path / "env/bin/pip"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$HOME/arguments"\n')
    pip.chmod(0o755)
    for command in config_of(path)["setup_commands"]:
        if "pip install" in command:
            subprocess.run(["bash", "-c", command], env={"HOME": str(tmp_path)}, check=True)
    assert f"{tmp_path}/vgim" in (tmp_path / "arguments").read_text().splitlines()


@of_each(of_provider("gcp"))
def test_shapes_on_google_cloud_share_image_and_installation(path: Path) -> None:
    first, config = config_of(ROOT / "deploy/launcher/gcp-l4.yaml"), config_of(path)
    assert installs_of(config) == installs_of(first)
    assert config["provider"] == first["provider"]
    if "GPU" in workers_of(path)["resources"]:
        images = re.compile(r"sourceImage: (.*)").findall
        assert images(path.read_text()) == images((ROOT / "deploy/launcher/gcp-l4.yaml").read_text())


@of_each(of_provider("aws"))
def test_shapes_on_aws_share_installation_and_the_image_of_gpus(path: Path) -> None:
    first, config = config_of(LAUNCHER[0]), config_of(path)
    assert installs_of(config) == installs_of(first)
    assert config["provider"] == first["provider"]
    if "GPU" in workers_of(path)["resources"]:
        images = {node["node_config"]["ImageId"] for node in config["available_node_types"].values()}
        assert images == {first["available_node_types"]["head"]["node_config"]["ImageId"]}


@of_each(LAUNCHER)
def test_every_node_gets_the_token_a_home_and_exported_metrics(path: Path) -> None:
    config = config_of(path)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert (ROOT / config["file_mounts"]["~/vgim"] / "pyproject.toml").exists()
    profile = next(line for line in config["setup_commands"] if "profile" in line)
    assert "RAY_AUTH_MODE=token" in profile
    schemes = {"aws": "s3", "gcp": "gs"}
    home = f"{schemes[config['provider']['type']]}://BUCKET/vgim" if path in BUCKETS else "/shared"
    assert f"VGIM_HOME={home}" in profile
    mounts = [line for line in config.get("initialization_commands", ()) if home in line]
    assert bool(mounts) == (path not in BUCKETS and path in CLOUD)
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        start = shlex.split(commands[-1].rpartition("; ")[2])
        assert start[:2] == ["ray", "start"]
        assert "--metrics-export-port=8080" in start
        assert all(command.startswith(". ~/.profile; ") for command in commands)


@of_each(CLOUD)
def test_workers_come_from_none_all_at_once_and_the_head_trains_nothing(path: Path) -> None:
    config, worker = config_of(path), workers_of(path)
    head = config["available_node_types"]["head"]
    assert (worker["min_workers"], head["max_workers"], head["resources"].get("GPU", 0)) == (0, 0, 0)
    assert worker["max_workers"] == config["max_workers"] <= config["upscaling_speed"]


@of_each(CLOUD)
def test_a_worker_on_every_gpu_leaves_ray_data_a_cpu_on_each_node(path: Path) -> None:
    worker = workers_of(path)
    nodes = [worker["resources"]] * worker["max_workers"]
    gpus, cpus = (sum(node.get(name, 0) for node in nodes) for name in ("GPU", "CPU"))
    if not gpus:
        workers, device = int(cpus - DATA_CPUS), "cpu"
    else:
        workers, device = gpus, "cuda"
    overrides = [f"cluster.workers={workers}", f"cluster.device={device}"]
    placement = place_workers(
        load_config("librispeech-sim", overrides).config.cluster, {"CPU": cpus, "GPU": gpus}
    )
    assert room_for(placement.cpus_per_worker, placement.use_gpu, nodes) >= workers
    if gpus:
        per_node = worker["resources"]
        assert per_node["CPU"] - per_node["GPU"] * placement.cpus_per_worker >= DATA_CPUS
    else:
        assert cpus - workers * placement.cpus_per_worker >= DATA_CPUS


@of_each(H100)
def test_h100_shapes_have_eight_nodes_of_eight(path: Path) -> None:
    worker = workers_of(path)
    assert (worker["max_workers"], worker["resources"]["GPU"]) == (8, 8)


@of_each(LAUNCHER)
def test_the_page_of_shapes_has_its_machines_and_the_cpus_left_to_ray_data(path: Path) -> None:
    (row,) = [line for line in SHAPES.splitlines() if line.startswith(f"| `{path.relative_to(ROOT)}`")]
    if path in CLOUD:
        worker = workers_of(path)
        number, resources = worker["max_workers"], worker["resources"]
        machine = worker["node_config"].get("InstanceType") or worker["node_config"]["machineType"]
        left = number * (resources["CPU"] - resources["GPU"]) if "GPU" in resources else ""
        assert f"{number} × {machine}: " in row
        assert f"{resources['CPU']} vCPUs" in row
        assert row.split("|")[-2].strip() == str(left)


@of_each(LAUNCHER)
def test_what_a_user_must_fill_in_is_named_at_the_top(path: Path) -> None:
    comment, _, rest = path.read_text().partition("\ncluster_name")
    asked = set(re.findall(r"\b(?:BUCKET|(?:[A-Z]+_)*[A-Z]+_(?:ID|SERVER))\b", rest))
    assert asked <= set(re.findall(r"\bBUCKET\b|\b[A-Z]+(?:_[A-Z]+)+\b", comment))
    assert asked or path.stem == "on-premise"


@dataclass(frozen=True)
class Node:
    """An instance as a simulated AWS started it."""

    kind: str
    is_in_workers_subnet: bool
    allowed: dict[str, set[str]]
    """Resources by action, of its instance profile's role; empty without one."""


ROLES = ROOT / "deploy/launcher/roles/aws.yaml"


def allowed_to(iam: Any, profile: str) -> dict[str, set[str]]:
    """What the role of an instance profile allows, by the policies that the account has itself."""
    (role,) = iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]["Roles"]
    name = role["RoleName"]
    documents = [
        iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    ]
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        found = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        documents.append(found["PolicyVersion"]["Document"])
    allowed: dict[str, set[str]] = {}
    for document in documents:
        read = yaml.safe_load(document) if isinstance(document, str) else document  # moto's text is no JSON
        for statement in read["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                resources = statement["Resource"]
                allowed.setdefault(action, set()).update(
                    [resources] if isinstance(resources, str) else resources
                )
    return allowed


def launched(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Node]:
    """What Ray's own provider starts on a simulated AWS for each node type of a config, with the roles of `ROLES`."""
    from ray.autoscaler._private.aws import config as aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    for cached in (aws.resource_cache, aws._get_subnets_or_die):
        cached.cache_clear()  # of the simulation before
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes a key for ssh there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        ec2, iam = boto3.client("ec2", "us-west-2"), boto3.client("iam", "us-west-2")
        # Ray would make the head's role by policies of AWS's own, which the simulation has not.
        iam.create_role(RoleName="ray", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="ray-autoscaler-v1")
        iam.add_role_to_instance_profile(InstanceProfileName="ray-autoscaler-v1", RoleName="ray")
        boto3.client("cloudformation", "us-west-2").create_stack(
            StackName="vgim-roles",
            TemplateBody=ROLES.read_text(),
            Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "BUCKET"}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        head, workers, *_ = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="vgim", Description="vgim", VpcId=vpc)["GroupId"]
        ids = {"HEAD_SUBNET_ID": head, "WORKER_SUBNET_ID": workers, "SECURITY_GROUP_ID": group}
        for name, value in ids.items():
            text = text.replace(name, value)
        config = AWSNodeProvider.bootstrap_config(prepare_config(yaml.safe_load(text)))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        found = {}
        for name, kind in config["available_node_types"].items():
            (node,) = provider.create_node(kind["node_config"], {"ray-node-type": name}, 1).values()
            profile = (node.iam_instance_profile or {}).get("Arn", "").rpartition("/")[2]
            found[name] = Node(
                node.instance_type,
                node.subnet_id == workers,
                allowed_to(iam, profile) if profile.startswith("vgim") else {},
            )
        return found


@of_each(of_provider("aws"))
def test_rays_provider_starts_the_nodes_of_each_shape_on_a_simulated_aws(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    types = config_of(path)["available_node_types"]
    nodes = launched(path.read_text(), monkeypatch, tmp_path)
    assert {name: node.kind for name, node in nodes.items()} == {
        name: kind["node_config"]["InstanceType"] for name, kind in types.items()
    }
    if path in H100:
        assert (nodes["gpu_worker"].kind, nodes["gpu_worker"].is_in_workers_subnet) == ("p5.48xlarge", True)
    if path in BUCKETS:
        bucket = f"arn:aws:s3:::{home_of(path).removeprefix('s3://').partition('/')[0]}"
        for node in nodes.values():
            for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
                assert node.allowed[action] == {f"{bucket}/*"}
            assert node.allowed["s3:ListBucket"] == {bucket}
        head = nodes.pop("head").allowed
        (worker,) = nodes.values()
        assert {"ec2:*", "ssm:GetParameters"} <= set(head)
        assert [role.rpartition("/")[2] for role in head["iam:PassRole"]] == ["vgim-worker"]
        assert {action.partition(":")[0] for action in worker.allowed} == {"s3"}


def test_a_field_that_ec2_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (ROOT / "deploy/launcher/aws-h100.yaml").read_text().replace("DeviceIndex: 1,", "DeviceNumber: 1,")
    with pytest.raises(ParamValidationError, match="DeviceNumber"):
        launched(text, monkeypatch, tmp_path)


def test_workers_on_google_cloud_have_an_account_for_the_bucket_and_the_head_one_of_rays() -> None:
    for path in BUCKETS:
        if config_of(path)["provider"]["type"] == "gcp":
            (account,) = workers_of(path)["node_config"]["serviceAccounts"]
            assert account["email"] == "vgim@PROJECT_ID.iam.gserviceaccount.com"
            assert account["scopes"] == ["https://www.googleapis.com/auth/cloud-platform"]
            assert "serviceAccounts" not in config_of(path)["available_node_types"]["head"]["node_config"]


def test_the_template_of_roles_has_no_aliases_which_cloudformation_refuses() -> None:
    assert not [event for event in yaml.parse(ROLES.read_text()) if isinstance(event, yaml.AliasEvent)]


def run_disk_command(tmp_path: Path, disks: int, *, is_mounted: bool) -> tuple[int, list[str]]:
    """The exit code of the A3 shape's command that joins its disks, and what it runs as root."""
    (command,) = config_of(ROOT / "deploy/launcher/gcp-h100.yaml")["worker_setup_commands"]
    folder = tmp_path / "by-id"
    folder.mkdir()
    for i in range(disks):
        (folder / f"google-local-nvme-ssd-{i}").touch()
    for name, script in (
        ("mountpoint", f"exit {0 if is_mounted else 1}"),
        ("sudo", 'echo "$@" >> "$LOG"; case "$*" in *\\**) exit 1;; esac'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    log.touch()
    done = subprocess.run(
        ["bash", "-c", command.replace("/dev/disk/by-id", str(folder))],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LOG": str(log)},
        check=False,
    )
    return done.returncode, log.read_text().splitlines()


def test_the_a3_shape_joins_all_disks_once_and_a_machine_without_them_does_not_join(tmp_path: Path) -> None:
    for name in ("first", "again", "none"):
        (tmp_path / name).mkdir()
    code, ran = run_disk_command(tmp_path / "first", 16, is_mounted=False)
    assert code == 0
    (create,) = [line for line in ran if line.startswith("mdadm")]
    assert "--raid-devices=16 " in create
    assert create.count("google-local-nvme-ssd-") == 16
    assert ran[-2:] == ["mount /dev/md0 /mnt/nvme", "chown ubuntu /mnt/nvme"]
    assert run_disk_command(tmp_path / "again", 16, is_mounted=True) == (0, [])
    code, ran = run_disk_command(tmp_path / "none", 0, is_mounted=False)
    assert code != 0
    assert not [line for line in ran if line.startswith("mkfs")]


def test_every_efa_interface_has_a_network_card_of_its_own() -> None:
    first, *efa = workers_of(ROOT / "deploy/launcher/aws-h100.yaml")["node_config"]["NetworkInterfaces"]
    assert (first["InterfaceType"], first["NetworkCardIndex"], first["DeviceIndex"]) == ("interface", 0, 0)
    assert {interface["InterfaceType"] for interface in efa} == {"efa-only"}
    assert [interface["NetworkCardIndex"] for interface in efa] == list(range(32))
    places = [(interface["NetworkCardIndex"], interface["DeviceIndex"]) for interface in (first, *efa)]
    assert len(set(places)) == 33
