"""EfficientNet-Lite0 in numpy: 49 convolutions and one dense layer.

The architecture is that of `lite/efficientnet_lite_builder.py` in github.com/tensorflow/tpu, at width and depth 1.
Arrays are laid out height, width, channels, so that a 1x1 convolution is one matrix product.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .weights import Array

Floats: TypeAlias = npt.NDArray[np.float32]

SIZE = 224  # side of the square input, pixels
CLASSES = 1000  # ImageNet's classes, in the order of labels.json
_BN_EPSILON = 1e-3  # batch norm epsilon, as trained
# One row a stage: repeats, kernel, stride of the first repeat, expansion, channels in, channels out.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


@dataclass(frozen=True)
class _Convolution:
    """One convolution with its batch norm folded in.

    `weight` is (in, out) where kernel is 1, (kernel, kernel, channels) where depthwise, and
    (kernel * kernel * in, out) for the stem.
    """

    weight: Floats
    bias: Floats
    kernel: int
    stride: int
    depthwise: bool
    relu6: bool
    block_ends: bool = False  # the output is what the next block may add to its own
    skip: bool = False  # add the previous block's output


class Network:
    """The network, ready to run. Safe to share between threads.

    Args:
        weights: what `weights.load_weights()` returns.

    Raises:
        ValueError: `weights` holds other tensors than this architecture needs.
    """

    def __init__(self, weights: Mapping[str, Array]):
        self._convolutions = _build(weights)
        self._dense = np.ascontiguousarray(weights["_fc.weight"].T)
        self._dense_bias = weights["_fc.bias"]
        # numpy lets go of the interpreter lock in its loops, so views run on all cores. An image has 2 to 5 of them.
        self._threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="network")

    def logits(self, views: Sequence[Floats]) -> Floats:
        """Runs views of shape (224, 224, 3), values about -1..1, and returns logits of shape (views, 1000)."""
        return np.stack(list(self._threads.map(self._run, views)))

    def _run(self, x: Floats) -> Floats:
        previous = x  # replaced by the stem's output, which the first block never adds
        for c in self._convolutions:
            if c.kernel == 1:
                x = x @ c.weight
                x += c.bias
            elif c.depthwise:
                x = _depthwise(x, c)
            else:
                x = _full(x, c)
            if c.relu6:
                np.clip(x, 0.0, 6.0, out=x)
            if c.skip:
                x += previous
            if c.block_ends:
                previous = x
        pooled: Floats = x.mean(axis=(0, 1))
        logits: Floats = pooled @ self._dense + self._dense_bias
        return logits


def _pad(x: Floats, kernel: int, stride: int) -> tuple[Floats, int, int]:
    """Pads as TensorFlow's 'SAME' does; returns the padded array and the output's height and width.

    The output is ceil(input / stride), and where the padding is odd the extra row and column go to the bottom and the
    right. Symmetric padding, as other frameworks do it, shifts every later layer by half a pixel and only shows as
    lower scores.
    """
    height, width, channels = x.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    extra_rows = max((rows - 1) * stride + kernel - height, 0)
    extra_columns = max((columns - 1) * stride + kernel - width, 0)
    top, left = extra_rows // 2, extra_columns // 2
    padded = np.zeros((height + extra_rows, width + extra_columns, channels), np.float32)
    padded[top : top + height, left : left + width] = x
    return padded, rows, columns


def _taps(x: Floats, c: _Convolution) -> list[Floats]:
    """Returns, for each cell of the kernel, the input pixels it meets: kernel * kernel views of the output's shape."""
    padded, rows, columns = _pad(x, c.kernel, c.stride)
    bottom, right = (rows - 1) * c.stride + 1, (columns - 1) * c.stride + 1
    return [
        padded[i : i + bottom : c.stride, j : j + right : c.stride] for i in range(c.kernel) for j in range(c.kernel)
    ]


def _depthwise(x: Floats, c: _Convolution) -> Floats:
    taps = _taps(x, c)
    cells = c.weight.reshape(-1, c.weight.shape[-1])
    out = np.empty(taps[0].shape, np.float32)
    out[:] = c.bias
    product = np.empty_like(out)
    for tap, cell in zip(taps, cells, strict=True):
        np.multiply(tap, cell, out=product)
        out += product
    return out


def _full(x: Floats, c: _Convolution) -> Floats:
    taps = np.stack(_taps(x, c), axis=2)
    rows, columns = taps.shape[:2]
    out: Floats = taps.reshape(rows, columns, -1) @ c.weight
    out += c.bias
    return out


def _build(weights: Mapping[str, Array]) -> list[_Convolution]:
    """Puts the named tensors in the order in which they run."""
    used = {"_fc.weight", "_fc.bias"}

    def convolution(
        name: str,
        norm: str,
        *,
        stride: int = 1,
        relu6: bool = True,
        depthwise: bool = False,
        block_ends: bool = False,
        skip: bool = False,
    ) -> _Convolution:
        used.update({f"{name}.weight", f"{norm}.num_batches_tracked"}, (f"{norm}.{part}" for part in _NORM))
        weight, bias = _fold(weights, name, norm)
        kernel = weight.shape[2]
        if depthwise:
            weight = weight[:, 0].transpose(1, 2, 0)
        else:
            weight = weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])
        return _Convolution(np.ascontiguousarray(weight), bias, kernel, stride, depthwise, relu6, block_ends, skip)

    layers = [convolution("_conv_stem", "_bn0", stride=2)]
    block = 0
    for repeats, _, first_stride, expansion, channels_in, channels_out in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            # The block's input can be added to its output only where both have the same shape.
            skip = stride == 1 and (repeat > 0 or channels_in == channels_out)
            at = f"_blocks.{block}."
            if expansion != 1:
                layers.append(convolution(f"{at}_expand_conv", f"{at}_bn0"))
            layers.append(convolution(f"{at}_depthwise_conv", f"{at}_bn1", stride=stride, depthwise=True))
            layers.append(convolution(f"{at}_project_conv", f"{at}_bn2", relu6=False, block_ends=True, skip=skip))
            block += 1
    layers.append(convolution("_conv_head", "_bn1"))
    if used != set(weights):
        raise ValueError(f"These are not the weights of EfficientNet-Lite0: {sorted(used ^ set(weights))[:5]}")
    return layers


_NORM = ("weight", "bias", "running_mean", "running_var")


def _fold(weights: Mapping[str, Array], name: str, norm: str) -> tuple[Floats, Floats]:
    """Returns a convolution's kernel (out, in, kernel, kernel) and bias with its batch norm folded in."""
    scale, shift, mean, variance = (weights[f"{norm}.{part}"] for part in _NORM)
    factor = (scale / np.sqrt(variance + _BN_EPSILON)).astype(np.float32)
    kernel: Floats = weights[f"{name}.weight"] * factor[:, None, None, None]
    bias: Floats = shift - mean * factor
    return kernel, bias
