"""Passwords and keys in URIs, which would be written to configs, checkpoints, records, pages and errors."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

MASK = "***"
NO_SECRETS = (
    "locations are written to configs, checkpoints and pages, so leave it out and give credentials by environment "
    "variables (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, AZURE_CLIENT_SECRET), a "
    "profile (AWS_PROFILE) or the machine's role"
)
"""Why a location holds no secret, and how credentials are given instead."""
_SECRET_KEY = (
    r"(?:[\w.-]*(?:secret|passw|signature|token|credential(?!_kind))[\w.-]*"
    r"|(?:aws_|storage_|azure_)*(?:access|account|storage|shared|private|api)_?-?key(?:_id)?"
    r"|sas|sig|AccessKeyId|AWSAccessKeyId)"
)
_USERINFO = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s@?#'\"/:]*:[^\s@?#'\"]*@")
_QUERY = re.compile(rf"(?P<key>[?&;]{_SECRET_KEY}=)[^&;\s'\"]+", re.IGNORECASE)
_QUERY_USERINFO = re.compile(
    r"(?P<key>[?&;][\w.-]*(?:endpoint|proxy|host)[\w.-]*=)[^&;@\s'\":/]*:[^&;@\s'\"]*@"
)
_PORT_BEFORE_PATH = re.compile(r"[^:@/]*:\d{1,5}(?:/|$)")


def has_secret(uri: str) -> bool:
    """Whether a URI has a password before its host, or a query key that holds a secret, percent-encoded or not."""
    return mask_secrets(uri) != uri or mask_secrets(unquote(uri)) != unquote(uri)


def mask_location(uri: str) -> str:
    """A URI for an error that refuses it, with asterisks for its secrets; decoded if they are percent-encoded."""
    masked = mask_secrets(uri)
    return masked if masked != uri or not has_secret(uri) else mask_secrets(unquote(uri))


def mask_secrets(text: str) -> str:
    """A text in which passwords of URIs, and values of query keys that hold secrets, are asterisks."""
    text = _USERINFO.sub(_masked_userinfo, text)
    return _QUERY.sub(rf"\g<key>{MASK}", _QUERY_USERINFO.sub(rf"\g<key>{MASK}@", text))


def without_secrets(uri: str) -> str:
    """A URI without user, password and query keys that hold secrets; any other text as it is."""
    if not has_secret(uri):
        return uri
    if mask_secrets(uri) == uri:
        uri = unquote(uri)
    parts = urlsplit(_QUERY_USERINFO.sub(r"\g<key>", _USERINFO.sub(r"\g<scheme>", uri)))
    kept = [item for item in parts.query.split("&") if item and not _QUERY.match(f"?{item}")]
    return parts._replace(query="&".join(kept)).geturl()


def _masked_userinfo(match: re.Match[str]) -> str:
    authority = match[0][len(match["scheme"]) :]
    if _PORT_BEFORE_PATH.match(authority):  # hdfs://host:8020/mail@home: a port, and an at sign in the path
        return match[0]
    return f"{match['scheme']}{MASK}@"
