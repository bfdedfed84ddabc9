"""The kernels of `fused_norm`. Those that read rows compute one part of the rows and one block of channels, by tiles.

A tile is four slices of ROWS rows and COLS channels. Values are computed in fp32.

Shapes: R rows, C channels, P parts.
"""

from __future__ import annotations

import triton
import triton.language as tl

SLICES = tl.constexpr(4)
"""Slices of a tile. Where they are summed, each has a name, and a thread loads all before it adds them up as a tree. A
loop over slices loads one after the other, and `tl.sum` over them exchanges values between threads (Triton 3.6)."""


@triton.jit  # type: ignore[untyped-decorator]
def _part(part, num_rows, rows_a_part, C: tl.constexpr, COLS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Offset of a part's first value in [R, C], the number of its rows, and a program's channels."""
    first = part.to(tl.int64) * rows_a_part
    count = tl.minimum(num_rows - first, rows_a_part).to(tl.int32)
    return first * C, count, tl.program_id(0) * COLS + tl.arange(0, COLS)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def _part_backwards(num_rows, rows_a_part, C: tl.constexpr, COLS: tl.constexpr):  # type: ignore[no-untyped-def]
    """A program's part if the last part comes first: what was written or read last is still in the cache."""
    part = tl.num_programs(1) - 1 - tl.program_id(1)
    first, count, col = _part(part, num_rows, rows_a_part, C, COLS)
    return part, first, count, col


@triton.jit  # type: ignore[untyped-decorator]
def _rows(top, count, col, C: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Offsets of the values of some rows from the part's first value, and which of them exist."""
    row = top + tl.arange(0, ROWS)[:, None]
    return row * C + col, (row < count) & (col < C)


@triton.jit  # type: ignore[untyped-decorator]
def _normalizer(mean, rstd, weight, bias, col, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mean, scale γ / √(var + eps) and β of a program's channels, fp32."""
    valid = col < C
    center = tl.load(mean + col, mask=valid, other=0.0)
    scale = tl.load(rstd + col, mask=valid, other=0.0) * tl.load(weight + col, mask=valid, other=0.0)
    return center, scale, tl.load(bias + col, mask=valid, other=0.0)


@triton.jit
def _is_zero(normalized):  # type: ignore[no-untyped-def]
    """Where ReLU returns zero; false for NaN, which must not be hidden."""
    return normalized <= 0.0


@triton.jit  # type: ignore[untyped-decorator]
def _passed(  # type: ignore[no-untyped-def]
    x, grad_y, center, scale, shift, top, count, col, C: tl.constexpr, ROWS: tl.constexpr
):
    """Values of some rows less their mean, and what ReLU passes of their gradients, fp32."""
    offset, valid = _rows(top, count, col, C, ROWS)
    centered = tl.load(x + offset, mask=valid, other=0.0).to(tl.float32) - center
    grad = tl.load(grad_y + offset, mask=valid, other=0.0).to(tl.float32)
    return centered, tl.where(_is_zero(tl.fma(centered, scale, shift)), 0.0, grad)


@triton.jit  # type: ignore[untyped-decorator]
def _distance(x, origin, top, count, col, C: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Values of some rows less `origin`, fp32; zero where no value exists."""
    offset, valid = _rows(top, count, col, C, ROWS)
    return tl.where(valid, tl.load(x + offset, mask=valid, other=0.0).to(tl.float32) - origin, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def moments(  # type: ignore[no-untyped-def]
    x,
    moments,
    num_rows,
    rows_a_part,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Mean, less the first of all rows, and sum of squared distances from it, of each part and channel.

    Every ROWS-th row is summed up by itself, as distances from the first of them. Distances keep the digits that
    values with a large mean would lose.
    """
    part, first, count, col = _part_backwards(num_rows, rows_a_part, C, COLS)
    first_row = tl.load(x + col, mask=col < C, other=0.0).to(tl.float32)
    x += first
    row = tl.arange(0, ROWS)[:, None]
    origin = tl.load(x + row * C + col, mask=(row < count) & (col < C), other=0.0).to(tl.float32)
    total = tl.zeros((ROWS, COLS), dtype=tl.float32)
    squares = tl.zeros((ROWS, COLS), dtype=tl.float32)
    for top in range(0, rows_a_part, SLICES * ROWS):
        d0 = _distance(x, origin, top, count, col, C, ROWS)
        d1 = _distance(x, origin, top + ROWS, count, col, C, ROWS)
        d2 = _distance(x, origin, top + 2 * ROWS, count, col, C, ROWS)
        d3 = _distance(x, origin, top + 3 * ROWS, count, col, C, ROWS)
        total += (d0 + d1) + (d2 + d3)
        squares += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    summed = (count - row + ROWS - 1) // ROWS
    mean = total / tl.maximum(summed, 1)
    mean, squares = _merged(summed, origin - first_row + mean, squares - total * mean, count)
    out = moments + part.to(tl.int64) * C + col
    tl.store(out, mean, mask=col < C)
    tl.store(out + tl.num_programs(1).to(tl.int64) * C, squares, mask=col < C)


@triton.jit
def _merged(counts, means, squares, count):  # type: ignore[no-untyped-def]
    """Mean of groups of rows, and sum of squared distances from it, by those of each group.

    Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance", for all groups at once.
    """
    mean = tl.sum(counts * means, 0, keep_dims=True) / count
    distance = means - mean
    return mean, tl.sum(squares + counts * distance * distance, 0, keep_dims=True)


@triton.jit  # type: ignore[untyped-decorator]
def _all_parts(values, num_parts, C: tl.constexpr, PARTS: tl.constexpr, COLS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Two values of each part and of a program's channels from [2, P, C], the parts, and the channels."""
    part = tl.arange(0, PARTS)[:, None]
    col = tl.program_id(0) * COLS + tl.arange(0, COLS)[None, :]
    valid = (part < num_parts) & (col < C)
    values += part * C + col
    first = tl.load(values, mask=valid, other=0.0)
    second = tl.load(values + num_parts * C, mask=valid, other=0.0)
    return first, second, part, col


@triton.jit  # type: ignore[untyped-decorator]
def merge_moments(  # type: ignore[no-untyped-def]
    x,
    moments,
    running_mean,
    running_var,
    mean,
    rstd,
    momentum,
    eps,
    num_rows,
    rows_a_part,
    num_parts,
    C: tl.constexpr,
    PARTS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Mean and 1 / √(var + eps) of all rows, and the running statistics."""
    part_mean, squares, part, col = _all_parts(moments, num_parts, C, PARTS, COLS)
    valid = col < C
    count = tl.minimum(num_rows - part.to(tl.int64) * rows_a_part, rows_a_part)
    count = tl.maximum(count, 0).to(tl.float32)
    num_rows = num_rows.to(tl.float32)
    new_mean, squares = _merged(count, part_mean, squares, num_rows)
    new_mean += tl.load(x + col, mask=valid, other=0.0).to(tl.float32)
    tl.store(mean + col, new_mean, mask=valid)
    tl.store(rstd + col, 1.0 / tl.sqrt_rn(squares / num_rows + eps), mask=valid)
    old = tl.load(running_mean + col, mask=valid, other=0.0)
    tl.store(running_mean + col, old + momentum * (new_mean - old), mask=valid)
    old = tl.load(running_var + col, mask=valid, other=0.0)
    tl.store(running_var + col, old + momentum * (squares / (num_rows - 1.0) - old), mask=valid)


@triton.jit  # type: ignore[untyped-decorator]
def normalize(  # type: ignore[no-untyped-def]
    x,
    mean,
    rstd,
    weight,
    bias,
    y,
    num_rows,
    rows_a_part,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    first, count, col = _part(tl.program_id(1), num_rows, rows_a_part, C, COLS)
    center, scale, shift = _normalizer(mean, rstd, weight, bias, col, C)
    x += first
    y += first
    for top in range(0, rows_a_part, SLICES * ROWS):
        offset, valid = _rows(top, count, col, C, SLICES * ROWS)
        centered = tl.load(x + offset, mask=valid, other=0.0).to(tl.float32) - center
        normalized = tl.fma(centered, scale, shift)
        tl.store(y + offset, tl.where(_is_zero(normalized), 0.0, normalized), mask=valid)


@triton.jit  # type: ignore[untyped-decorator]
def sums_back(  # type: ignore[no-untyped-def]
    x,
    grad_y,
    mean,
    rstd,
    weight,
    bias,
    sums,
    num_rows,
    rows_a_part,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Sums of each part and channel: of the gradients behind ReLU, and of their products with x − mean."""
    part, first, count, col = _part_backwards(num_rows, rows_a_part, C, COLS)
    center, scale, shift = _normalizer(mean, rstd, weight, bias, col, C)
    x += first
    grad_y += first
    total = tl.zeros((ROWS, COLS), dtype=tl.float32)
    products = tl.zeros((ROWS, COLS), dtype=tl.float32)
    for top in range(0, rows_a_part, SLICES * ROWS):
        x0, g0 = _passed(x, grad_y, center, scale, shift, top, count, col, C, ROWS)
        x1, g1 = _passed(x, grad_y, center, scale, shift, top + ROWS, count, col, C, ROWS)
        x2, g2 = _passed(x, grad_y, center, scale, shift, top + 2 * ROWS, count, col, C, ROWS)
        x3, g3 = _passed(x, grad_y, center, scale, shift, top + 3 * ROWS, count, col, C, ROWS)
        total += (g0 + g1) + (g2 + g3)
        products += (g0 * x0 + g1 * x1) + (g2 * x2 + g3 * x3)
    out = sums + part.to(tl.int64) * C + col
    tl.store(out, tl.sum(total, 0, keep_dims=True), mask=col < C)
    out += tl.num_programs(1).to(tl.int64) * C
    tl.store(out, tl.sum(products, 0, keep_dims=True), mask=col < C)


@triton.jit  # type: ignore[untyped-decorator]
def merge_sums(  # type: ignore[no-untyped-def]
    sums,
    rstd,
    grad_weight,
    grad_bias,
    num_parts,
    C: tl.constexpr,
    PARTS: tl.constexpr,
    COLS: tl.constexpr,
):
    total, products, _, col = _all_parts(sums, num_parts, C, PARTS, COLS)
    products = tl.sum(products, 0, keep_dims=True) * tl.load(rstd + col, mask=col < C, other=0.0)
    tl.store(grad_weight + col, products, mask=col < C)
    tl.store(grad_bias + col, tl.sum(total, 0, keep_dims=True), mask=col < C)


@triton.jit  # type: ignore[untyped-decorator]
def normalize_back(  # type: ignore[no-untyped-def]
    x,
    grad_y,
    mean,
    rstd,
    weight,
    bias,
    grad_weight,
    grad_bias,
    grad_x,
    num_rows,
    rows_a_part,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """Gradient of x: that behind ReLU less its mean and its regression on x̂, times γ / √(var + eps)."""
    first, count, col = _part(tl.program_id(1), num_rows, rows_a_part, C, COLS)
    center, scale, shift = _normalizer(mean, rstd, weight, bias, col, C)
    mean_grad = tl.load(grad_bias + col, mask=col < C, other=0.0) / num_rows
    slope = tl.load(grad_weight + col, mask=col < C, other=0.0) / num_rows
    slope *= tl.load(rstd + col, mask=col < C, other=0.0)
    x += first
    grad_y += first
    grad_x += first
    for top in range(0, rows_a_part, SLICES * ROWS):
        offset, valid = _rows(top, count, col, C, SLICES * ROWS)
        centered, grad = _passed(x, grad_y, center, scale, shift, top, count, col, C, SLICES * ROWS)
        tl.store(grad_x + offset, scale * (grad - mean_grad - slope * centered), mask=valid)
