"""Features of several modules side by side, at the frame rate of the slowest.

Shapes: B clips, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def concatenate(
    features: Sequence[Tensor], ratios: Sequence[int], num_frames: Sequence[Sequence[int]]
) -> Tensor:
    """Average each module's frames over those of the slowest module, and concatenate the channels, [B, T, ΣC].

    Frame t of the result holds the mean of a module's frames r·t to r·t + r - 1, of which the last frame of a clip may
    have fewer. Frames behind `num_concatenated` have no meaning.

    Args:
        features: Outputs of the modules, [B, T, C] each.
        ratios: r: frames of each module in a frame of the slowest.
        num_frames: For each module, the true number of frames of each clip, [B].
    """
    of_clips = [num_concatenated(ratios, numbers) for numbers in zip(*num_frames, strict=True)]
    num = max(of_clips)
    return torch.cat(
        [_pool(*module, num) for module in zip(features, ratios, num_frames, strict=True)],
        dim=2,
    )


def num_concatenated(ratios: Sequence[int], num_frames: Sequence[int]) -> int:
    """Frames of a clip in which every module has a frame.

    Args:
        ratios: As in `concatenate`.
        num_frames: Frames of each module.
    """
    return min(-(-num // ratio) for ratio, num in zip(ratios, num_frames, strict=True))


def _pool(x_BTC: Tensor, ratio: int, num_frames: Sequence[int], num: int) -> Tensor:
    """Means of `ratio` frames that follow each other, [B, num, C]; frames behind a clip's end do not count."""
    B, _, C = x_BTC.shape
    wanted = num * ratio
    x_BTC = x_BTC[:, :wanted]
    end_B = torch.tensor(num_frames, device=x_BTC.device).clamp(max=wanted)
    behind_BT = torch.arange(x_BTC.shape[1], device=x_BTC.device) >= end_B[:, None]
    x_BTC = x_BTC.masked_fill(behind_BT[..., None], 0)
    x_BTC = torch.nn.functional.pad(x_BTC, (0, 0, 0, wanted - x_BTC.shape[1]))
    start_T = torch.arange(num, device=x_BTC.device) * ratio
    count_BT = (end_B[:, None] - start_T).clamp(1, ratio)
    return x_BTC.view(B, num, ratio, C).sum(2) / count_BT[..., None]
