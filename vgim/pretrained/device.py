"""The device that a user names, for encoders and decoders."""

from __future__ import annotations

import torch

from vgim.errors import ConfigError


def find_device(device: object, name: str = "device") -> torch.device:
    """The device of a name such as `cpu`, `cuda` or `cuda:1`; `auto` is a GPU where torch sees one, else the CPU.

    Args:
        device: The name, or a torch.device.
        name: The argument, for errors.

    Raises:
        ConfigError: There is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if not isinstance(device, str | torch.device):
            raise TypeError
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise _no_device(name, device) from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        num = torch.cuda.device_count()
        seen = f"{num} GPU{'s' * (num > 1)}" if num else "no GPU"
        raise ConfigError(f"{name}={device}, but torch sees {seen} here; use {name}=auto or cpu")
    try:
        torch.empty(
            1, device=found
        ).item()  # a kind of device that this build of torch lacks, or that holds no data
    except (RuntimeError, NotImplementedError):
        raise _no_device(name, device) from None
    return found


def _no_device(name: str, device: object) -> ConfigError:
    return ConfigError(f"{name}={device!r} is no device here; use auto, cpu, cuda or cuda:0")
