"""Commands of clouds on the pages about clusters: AWS's have operations and options that its SDK knows."""

from __future__ import annotations

import json
import shlex
from functools import cache
from itertools import takewhile
from typing import Any

import botocore.session
import pytest
import yaml
from botocore import xform_name

from tests.deploy.launcher_configs import config_of
from tests.deploy.manifests import KUBERAY, ROOT
from tests.test_docs import code_blocks, commands

PAGES = [ROOT / "docs/kubernetes.md", ROOT / "docs/cluster-shapes.md", ROOT / "docs/cluster.md"]
OWN = {("ecr", "get-login-password"), ("cloudformation", "deploy")}
"""Commands of AWS's CLI that are no operation of a service."""
GLOBAL = {"region", "profile", "output", "query"}


def aws_commands() -> list[list[str]]:
    found = []
    for page in PAGES:
        for line in code_blocks(page):
            if line.startswith("aws "):
                found.append(list(takewhile(lambda word: word not in ("|", "&&"), shlex.split(line)))[1:])
    return [command for command in found if tuple(command[:2]) not in OWN]


@cache
def operations(service: str) -> dict[str, Any]:
    model = botocore.session.get_session().get_service_model(service.replace("s3api", "s3"))
    return {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}


@pytest.mark.parametrize("command", aws_commands(), ids=" ".join)
def test_a_command_of_aws_has_an_operation_and_options_that_its_sdk_knows(command: list[str]) -> None:
    service, name, *options = command
    shape = operations(service)[name].input_shape
    known = {xform_name(member, "-"): member for member in shape.members}
    given = {word.removeprefix("--") for word in options if word.startswith("--")} - GLOBAL
    assert given <= set(known)
    assert {xform_name(member, "-") for member in shape.required_members} <= given
    for option, value in zip(options[::2], options[1::2], strict=True):
        if value.startswith("{"):
            assert json.loads(value).keys() <= shape.members[known[option.removeprefix("--")]].members.keys()


def test_the_pages_have_commands_of_aws() -> None:
    assert len(aws_commands()) >= 8


def test_the_steps_on_eks_scale_the_group_and_name_the_cluster_of_the_file() -> None:
    cluster = yaml.safe_load((KUBERAY / "eks/cluster.yaml").read_text())
    groups = {group["name"]: group for group in cluster["managedNodeGroups"]}
    scaled = [
        shlex.split(line) for line in code_blocks(PAGES[0]) if line.startswith("eksctl scale nodegroup")
    ]
    assert len(scaled) == 2
    for words in scaled:
        given = dict(zip(words[3::2], words[4::2], strict=True))
        assert given["--cluster"] == cluster["metadata"]["name"]
        assert given["--region"] == cluster["metadata"]["region"]
        assert int(given["--nodes"]) in (0, groups[given["--name"]]["maxSize"])


def test_gpu_nodes_start_in_the_placement_group_in_which_the_steps_reserve_capacity() -> None:
    eks = yaml.safe_load((KUBERAY / "eks/cluster.yaml").read_text())["managedNodeGroups"]
    launched = config_of(ROOT / "deploy/launcher/aws-h100.yaml")["available_node_types"]["gpu_worker"]
    # eksctl makes no group of its own for nodes of a reservation.
    groups = {group["placement"]["groupName"] for group in eks if "capacityReservation" in group}
    groups.add(launched["node_config"]["Placement"]["GroupName"])
    commands_by_name = {tuple(command[:2]): command for command in aws_commands()}
    made = commands_by_name["ec2", "create-placement-group"]
    reserved = commands_by_name["ec2", "create-capacity-reservation"]
    assert groups == {made[made.index("--group-name") + 1]}
    assert {reserved[reserved.index("--placement-group-arn") + 1].partition("placement-group/")[2]} == groups


def test_jobs_of_the_launcher_download_what_kubernetes_does_to_a_disk_that_holds_it() -> None:
    job = yaml.safe_load((KUBERAY / "base/prepare/job.yaml").read_text())["spec"]["template"]["spec"]
    (download,) = job["initContainers"]
    on_kubernetes = download["command"][1:]
    for page in PAGES[1:]:
        (found,) = (args for args in commands(page) if args[:2] == ["data", "download"])
        assert sorted(found[:-1]) == sorted(word for word in on_kubernetes if word != "/corpus")
    needed_gib = int(download["resources"]["requests"]["ephemeral-storage"].removesuffix("Gi"))
    aws, gcp = (
        config_of(ROOT / f"deploy/launcher/{cloud}-cpu.yaml")["available_node_types"]["head"]["node_config"]
        for cloud in ("aws", "gcp")
    )
    assert aws["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] >= needed_gib
    assert gcp["disks"][0]["initializeParams"]["diskSizeGb"] >= needed_gib
