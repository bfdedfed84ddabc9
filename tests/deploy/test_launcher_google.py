"""Nodes on Google Cloud have fields, values and types of its Compute API."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from tests.deploy.launcher_configs import config_of, of_each, of_provider


def compute_schemas() -> dict[str, Any]:
    """Schemas of Google's Compute API, as its client has them."""
    document = resources.files("googleapiclient") / "discovery_cache/documents/compute.v1.json"
    found: dict[str, Any] = json.loads(document.read_text())["schemas"]
    return found


KINDS = {"string": str, "integer": int, "boolean": bool, "number": (int, float)}


def faults(value: Any, schema: dict[str, Any], schemas: dict[str, Any], at: str) -> list[str]:
    """What a value has that Google's schema has not."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    if schema["type"] == "object":
        if not isinstance(value, dict):
            return [f"{at} is no object"]
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        unknown = [f"{at}.{key} is unknown" for key in value if key not in known and other is None]
        inside = [
            faults(v, known.get(k, other), schemas, f"{at}.{k}") for k, v in value.items() if k in known
        ]
        return [*unknown, *(fault for found in inside for fault in found)]
    if schema["type"] == "array":
        if not isinstance(value, list):
            return [f"{at} is no list"]
        return [
            fault for i, v in enumerate(value) for fault in faults(v, schema["items"], schemas, f"{at}[{i}]")
        ]
    if schema.get("format") in ("int64", "uint64"):  # JSON's numbers are too small for these: strings
        return [] if str(value).isdigit() else [f"{at} is no whole number"]
    if not isinstance(value, KINDS[schema["type"]]):
        return [f"{at} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at} is none of {schema['enum']}"]
    return []


@of_each(of_provider("gcp"))
def test_nodes_on_google_cloud_have_fields_values_and_types_of_its_compute_api(path: Path) -> None:
    schemas = compute_schemas()
    for name, kind in config_of(path)["available_node_types"].items():
        assert faults(kind["node_config"], {"$ref": "Instance"}, schemas, name) == []


def test_a_field_that_google_does_not_know_or_a_list_instead_of_an_object_is_found() -> None:
    schemas = compute_schemas()
    wrong = {"scheduling": [{"provisioningModel": "SPOT"}], "disks": [{"boott": True, "type": "FOREVER"}]}
    assert faults(wrong, {"$ref": "Instance"}, schemas, "node") == [
        "node.scheduling is no object",
        "node.disks[0].boott is unknown",
        f"node.disks[0].type is none of {schemas['AttachedDisk']['properties']['type']['enum']}",
    ]
