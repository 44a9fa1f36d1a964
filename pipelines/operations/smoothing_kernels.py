"""The inner loops of filters.py: sharpening by a mask, the median of a wide window, the bilateral filter.

Imports numba and OpenCV: import this module inside functions only. No loop depends on where in the image it starts, so
tiles with their surroundings give exactly the pixels of the whole image.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.kernel_compiler import compiled
from pipelines.operations.compiled_arithmetic import fused, plus_high_product
from pipelines.operations.planes import flat
from pipelines.operations.registry import Image, Shares
from pipelines.operations.row_kernels import add, add_product, add_squares
from pipelines.operations.samples import float_planes, full_scale, interleaved, reflected

Samples = NDArray[Any]
Plane = NDArray[np.float32]


def sharpened(image: Image, blurred: Image, amount: float, threshold: float) -> Image:
    """image + amount * (image - blurred) where the difference reaches the threshold (stored units)."""
    result = np.empty(image.shape, image.dtype)
    arguments = (flat(image), blurred.reshape(-1), result.reshape(-1), np.float32(amount), np.float32(threshold))
    if image.dtype.kind == "f":
        _sharpen_floats(*arguments)
    else:
        _sharpen(*arguments, np.float32(full_scale(image.dtype)))
    return result


@compiled
def _sharpen(
    image: Samples, blurred: Samples, result: Samples, amount: np.float32, threshold: np.float32, top: np.float32
) -> None:
    for i in range(image.size):
        value = np.float32(image[i])
        difference = value - np.float32(blurred[i])
        sharp = value + amount * difference
        sharp = value if abs(difference) < threshold else sharp
        sharp = max(np.float32(0), min(sharp, top))
        result[i] = np.int32(sharp + np.float32(0.5))


@compiled
def _sharpen_floats(
    image: Samples, blurred: Samples, result: Samples, amount: np.float32, threshold: np.float32
) -> None:
    for i in range(image.size):
        difference = image[i] - blurred[i]
        sharp = image[i] + amount * difference
        result[i] = image[i] if abs(difference) < threshold else sharp


MASK_SIGMA = 3.0
"""Up to here ``sharpened_bytes`` has weights enough."""


def sharpened_bytes(image: Image, sigma: float, amount: float, threshold: float) -> Image:
    """uint8 sharpened by a Gaussian of at most ``MASK_SIGMA``: blur and sum in one walk, row by row.

    The Gaussian ends after three standard deviations: what lies beyond weighs less than the unit of 1/256. The blurred
    copy is never rounded to a level; it is kept in units of 1/128.
    """
    result = np.empty(image.shape, image.dtype)
    rows = flat(image).reshape(image.shape[0], -1)
    channels = rows.shape[1] // image.shape[1]
    down, across = _whole_weights(sigma, 1 << 8), _whole_weights(sigma, 1 << 16)
    across = np.append(across, np.zeros(-(across.size - 1) % 3, np.uint16))  # for ``_blur_row``
    target = result.reshape(rows.shape)
    _sharpen_rows(rows, channels, down, across, np.float32(amount), np.float32(threshold), target)
    return result


@lru_cache(maxsize=16)
def _whole_weights(sigma: float, unit: int) -> NDArray[np.uint16]:
    """Half a Gaussian, from the centre outwards, as whole multiples of 1 / unit; the whole Gaussian sums up to 1."""
    radius = int(3 * sigma + 0.5)
    gauss = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    whole = np.rint(gauss / (gauss[0] + 2 * gauss[1:].sum()) * unit).astype(np.int64)
    whole[0] = min(unit - 2 * whole[1:].sum(), np.iinfo(np.uint16).max)
    return np.asarray(whole, np.uint16)


@compiled(inline="always")
def _mirrored(place: int, size: int) -> int:
    """Where a place outside of 0..size-1 lies when the border pixel is a mirror."""
    while place < 0 or place >= size:
        if size == 1:
            return 0
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


# The sums are written in 16 bits, term by term: so they compile to vector instructions of twice or four times as many
# samples, 2.8 ms instead of 7 ms for 2.4 megapixels of RGB by OpenCV's blur and a second walk.


@compiled
def _sharpen_rows(
    image: Samples,
    channels: int,
    down: NDArray[np.uint16],
    across: NDArray[np.uint16],
    amount: np.float32,
    threshold: np.float32,
    result: Samples,
) -> None:
    height, samples = image.shape
    radius = down.size - 1
    margin = radius * channels
    width = samples // channels
    padded = np.empty(samples + 2 * margin, np.uint16)
    row = padded[margin : margin + samples]
    blurred = np.empty(samples, np.uint16)
    for y in range(height):
        here = image[y]
        for x in range(samples):
            row[x] = np.uint16(down[0] * here[x])
        for k in range(1, radius + 1, 2):
            more = min(k + 1, radius)
            above, below = image[_mirrored(y - k, height)], image[_mirrored(y + k, height)]
            further_above, further_below = image[_mirrored(y - more, height)], image[_mirrored(y + more, height)]
            weight, further = down[k], down[more] if more > k else np.uint16(0)
            for x in range(samples):
                near = np.uint16(weight * (np.uint16(above[x]) + np.uint16(below[x])))
                row[x] += near + np.uint16(further * (np.uint16(further_above[x]) + np.uint16(further_below[x])))
        for x in range(samples):
            row[x] >>= np.uint16(1)  # so that the sum of two fits in 16 bits
        for k in range(1, radius + 1):
            left, right = _mirrored(-k, width) * channels, _mirrored(width - 1 + k, width) * channels
            for c in range(channels):
                padded[margin - k * channels + c] = row[left + c]
                padded[margin + samples + (k - 1) * channels + c] = row[right + c]
        _blur_row(padded, channels, across, blurred)
        _sharpen_row(here, blurred, amount, threshold, result[y])


@compiled
def _blur_row(
    padded: NDArray[np.uint16], channels: int, weights: NDArray[np.uint16], blurred: NDArray[np.uint16]
) -> None:
    """``weights``: half a Gaussian, and zeros that make its length one more than a multiple of three."""
    samples = blurred.size
    reach = (padded.size - samples) // 2
    half = np.uint16((reach // channels + 1) // 2)  # each product loses half a unit on average
    middle, weight = padded[reach : reach + samples], weights[0]
    for x in range(samples):
        blurred[x] = plus_high_product(half, middle[x], weight)
    for k in range(1, weights.size, 3):
        near, far, farther = k * channels, min((k + 1) * channels, reach), min((k + 2) * channels, reach)
        left, right = padded[reach - near :], padded[reach + near :]
        far_left, far_right = padded[reach - far :], padded[reach + far :]
        farther_left, farther_right = padded[reach - farther :], padded[reach + farther :]
        weight, far_weight, farther_weight = weights[k], weights[k + 1], weights[k + 2]
        for x in range(samples):
            total = plus_high_product(blurred[x], np.uint16(left[x] + right[x]), weight)
            total = plus_high_product(total, np.uint16(far_left[x] + far_right[x]), far_weight)
            blurred[x] = plus_high_product(total, np.uint16(farther_left[x] + farther_right[x]), farther_weight)


@compiled
def _sharpen_row(
    image: Samples, blurred: NDArray[np.uint16], amount: np.float32, threshold: np.float32, result: Samples
) -> None:
    half, top, unit = np.float32(0.5), np.float32(255), np.float32(1 / 128)
    if threshold > 0:
        for x in range(image.size):
            value = np.float32(image[x])
            difference = fused(-unit, np.float32(blurred[x]), value)
            sharp = value if abs(difference) < threshold else fused(amount, difference, value)
            result[x] = np.int32(max(np.float32(0), min(sharp, top)) + half)
        return
    own, others = np.float32(1) + amount, -amount * unit
    for x in range(image.size):
        sharp = fused(own, np.float32(image[x]), fused(others, np.float32(blurred[x]), half))
        result[x] = np.int32(max(np.float32(0), min(sharp, top)))


BLOCK = 256
"""Side of the blocks, margins included, in which float samples are ranked: their ranks fit in 16 bits."""


def wide_median(image: Image, radius: int, visible: NDArray[np.bool_] | None = None) -> Image:
    """The median of square windows, the border pixel repeated outside; of the visible pixels alone where some aren't.

    Pixels with none within reach stay as they are.
    """
    around = None if visible is None else _framed(visible.astype(np.uint16), radius)
    channels = (image,) if image.ndim == 2 else tuple(image[..., channel] for channel in range(image.shape[-1]))
    planes = []
    for channel in channels:
        if channel.dtype.kind == "f":
            result = np.array(channel)
            _median_by_rank(_framed(channel, radius), radius, around, result)
        else:
            result = np.array(channel, np.uint16)
            _window_median(_framed(channel.astype(np.uint16), radius), radius, around, result)
        planes.append(result)
    return interleaved(tuple(planes), image.dtype)


def _framed(plane: NDArray[Any], radius: int) -> NDArray[Any]:
    margins = (radius,) * 4
    return np.asarray(cv2.copyMakeBorder(np.ascontiguousarray(plane), *margins, cv2.BORDER_REPLICATE))


def _median_by_rank(padded: Plane, radius: int, visible: NDArray[np.uint16] | None, result: Plane) -> None:
    step = BLOCK - 2 * radius
    for row in range(0, result.shape[0], step):
        for column in range(0, result.shape[1], step):
            target = result[row : row + step, column : column + step]
            rows, columns = target.shape
            place = np.s_[row : row + rows + 2 * radius, column : column + columns + 2 * radius]
            values, numbers = np.unique(padded[place], return_inverse=True)
            ranks = numbers.reshape(rows + 2 * radius, -1).astype(np.uint16)
            medians = ranks[radius : radius + rows, radius : radius + columns].copy()
            _window_median(ranks, radius, None if visible is None else visible[place].copy(), medians)
            target[:] = values[medians]


@compiled
def _window_median(
    padded: NDArray[np.uint16], radius: int, visible: NDArray[np.uint16] | None, result: NDArray[np.uint16]
) -> None:
    """The median of each window of 2 radius + 1; ``padded`` is larger than ``result`` by ``radius`` on each side.

    ``visible`` is 1 for pixels that count and 0 for others, None when all do: then the compiler leaves it out.

    A running histogram in four levels of 16 bins each: a column of the window enters, one leaves, and the median is
    found in at most 64 steps (after Huang, Yang and Tang 1979).
    """
    side = 2 * radius + 1
    counts = np.zeros((4, 65536), np.uint16)
    for row in range(result.shape[0]):
        counts[:] = 0
        number = 0
        for column in range(side):
            number += _count_column(padded, row, side, column, visible, counts, 1)
        for column in range(result.shape[1]):
            if number > 0:
                result[row, column] = _at_rank(counts, number // 2)
            if column + 1 < result.shape[1]:
                number += _count_column(padded, row, side, column, visible, counts, -1)
                number += _count_column(padded, row, side, column + side, visible, counts, 1)


@compiled
def _count_column(
    padded: NDArray[np.uint16],
    row: int,
    side: int,
    column: int,
    visible: NDArray[np.uint16] | None,
    counts: NDArray[np.uint16],
    change: int,
) -> int:
    """Add ``change`` to the counts of a column's pixels; gives what that adds up to."""
    total = 0
    for line in range(row, row + side):
        if visible is not None and visible[line, column] == 0:
            continue
        value = padded[line, column]
        counts[0, value >> 12] += change
        counts[1, value >> 8] += change
        counts[2, value >> 4] += change
        counts[3, value] += change
        total += change
    return total


@compiled(inline="always")
def _at_rank(counts: NDArray[np.uint16], rank: int) -> int:
    place = 0
    for level in range(4):
        place *= 16
        while counts[level, place] <= rank:
            rank -= counts[level, place]
            place += 1
    return place


def smooth_alike(image: Image, sigma_space: float, sigma_color: float, shares: Shares | None = None) -> Image:
    """The bilateral filter; ``sigma_color`` in stored units. Pixels without a share may be NaN."""
    radius = ceil(2 * sigma_space)
    offsets = np.arange(-radius, radius + 1) ** 2
    weights = np.exp(-(offsets[:, None] + offsets[None, :]) / (2 * sigma_space**2)).astype(np.float32)
    present = None if shares is None else reflected(shares, radius)
    if shares is not None:
        image = np.where(shares > 0 if image.ndim == 2 else shares[..., None] > 0, image, image.dtype.type(0))
    padded = np.stack(float_planes(image, radius))
    result = np.empty((len(padded), *image.shape[:2]), np.float32)
    _bilateral(padded, weights, np.float32(1 / (2 * sigma_color**2)), present, result)
    return interleaved(tuple(result), image.dtype)


STRIP = 512
"""Columns that are worked on together, so that the buffers of the bilateral filter stay in the processor's cache."""


@compiled
def _bilateral(padded: Plane, weights: Plane, scale: np.float32, shares: Plane | None, result: Plane) -> None:
    """Mean of each window, weighted by place (``weights``) and by exp(-scale * squared distance of the colours).

    ``padded`` (channels, rows, columns) is larger than ``result`` by half of ``weights`` on each side. The exponential
    is the power (1 - t + t ** 2 / 2 - t ** 3 / 6) ** 256 of a 256th, t: within 1e-4 of itself up to an exponent of 12.
    ``shares``, as large as ``padded``, are weights as
    well.
    """
    channels, rows, columns = result.shape
    radius = weights.shape[0] // 2
    total = np.empty((channels, STRIP), np.float32)
    norm, near = np.empty(STRIP, np.float32), np.empty(STRIP, np.float32)
    for row in range(rows):
        for start in range(0, columns, STRIP):
            width = min(STRIP, columns - start)
            total[:] = 0
            norm[:] = 0
            for dy in range(weights.shape[0]):
                for dx in range(weights.shape[1]):
                    near[:] = 0
                    for channel in range(channels):
                        here = padded[channel, row + radius, start + radius : start + radius + width]
                        there = padded[channel, row + dy, start + dx : start + dx + width]
                        add_squares(here, there, near)
                    _weigh(near, scale / np.float32(256), weights[dy, dx])
                    if shares is not None:
                        present = shares[row + dy, start + dx : start + dx + width]
                        for i in range(width):
                            near[i] *= present[i]
                    add(near, norm)
                    for channel in range(channels):
                        there = padded[channel, row + dy, start + dx : start + dx + width]
                        add_product(there, near, total[channel])
            for channel in range(channels):
                for i in range(width):
                    if norm[i] == 0:  # nothing within reach has a share
                        result[channel, row, start + i] = padded[channel, row + radius, start + i + radius]
                    else:
                        result[channel, row, start + i] = total[channel, i] / norm[i]


@compiled
def _weigh(near: Plane, scale: np.float32, weight: np.float32) -> None:
    for i in range(near.size):
        t = near[i] * scale
        t = np.float32(1) if t > np.float32(1) else t
        power = np.float32(1) - t * (np.float32(1) - t * (np.float32(1 / 2) - t * np.float32(1 / 6)))
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        power *= power
        near[i] = power * weight
