"""Texts of records that may repeat what a user wrote."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from vgim.secrets import mask_secrets

MaskedText = Annotated[str, AfterValidator(mask_secrets)]
"""Text in which passwords and keys of URIs are masked: also those in records that earlier versions wrote."""
