"""What ``piblas run`` gives a program: buffers and uniforms, as the command line describes them."""

from __future__ import annotations

import argparse
import os
import re
from typing import Any, Dict, List, Tuple, Union

import numpy as np

from ..driver.device import uniform_words
from ..errors import DeviceError, PiblasError

__all__ = ["buffers", "contents", "settings", "streams"]

_SETTING = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)
_SHAPE = re.compile(r"(\d+(?:x\d+)*):([a-z]+\d*)")
_FLOAT = re.compile(r"[.]|nan|inf|^[^x]*e", re.IGNORECASE)
_AT = re.compile(r"@(\w+)(?:\+(\w+))?")

Contents = Union[np.ndarray, List[str]]
"""What a buffer starts with: an array, or words that may be addresses of buffers."""


def _load(path: str) -> np.ndarray:
    """The array of a .npy file."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise PiblasError(f"{path}: no .npy file of numbers") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise PiblasError(f"{path}: no .npy file of numbers")
    if array.dtype.itemsize > 4:
        raise PiblasError(
            f"{path} holds {array.dtype}: QPUs work on at most 32 bits; convert it first"
        )
    return array.astype(array.dtype.newbyteorder("<"), copy=False)  # as a QPU sees memory


def settings(parser: argparse.ArgumentParser, option: str, texts: List[str]) -> Dict[str, str]:
    """The texts NAME=... of an option that may be repeated, by name."""
    found: Dict[str, str] = {}
    for text in texts:
        match = _SETTING.fullmatch(text)
        if match is None:
            parser.error(f"{option} {text}: write NAME=..., NAME of letters, digits and _")
        if match.group(1) in found:
            parser.error(f"{option} {text}: {match.group(1)} is there already")
        found[match.group(1)] = match.group(2)
    return found


def contents(parser: argparse.ArgumentParser, name: str, what: str) -> Contents:
    """What a --buffer starts with."""
    match = _SHAPE.fullmatch(what)
    if match is None:
        if (what.startswith("@") or "," in what) and not os.path.exists(what):
            return _items(what)
        return _load(what)
    try:
        dtype = np.dtype(match.group(2))
    except TypeError:
        parser.error(f"--buffer {name}={what}: {match.group(2)!r} is no type of NumPy")
    if dtype.kind not in "fiu" or dtype.itemsize > 4:
        parser.error(f"--buffer {name}={what}: choose a number type of at most 32 bits")
    shape = [int(size) for size in match.group(1).split("x")]
    try:
        return np.zeros(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise PiblasError(f"--buffer {name}={what}: {error}") from None


def _items(text: str) -> List[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _word(
    parser: argparse.ArgumentParser, option: str, text: str, buffers: Dict[str, Any]
) -> Union[int, float]:
    """One word of --uniforms, or of a --buffer that is a list of words."""
    match = _AT.fullmatch(text)
    try:
        if match is None:
            return float(text) if _FLOAT.search(text) else int(text, 0)
        if match.group(1) in buffers:
            address: int = buffers[match.group(1)].bus_address
            return address + int(match.group(2) or "0", 0)
    except ValueError:
        pass
    else:
        parser.error(f"{option} {text}: there is no --buffer {match.group(1)}")
    parser.error(f"{option}: {text!r} is neither a number nor @NAME or @NAME+BYTES")


def streams(args: argparse.Namespace, buffers: Dict[str, Any]) -> List[Any]:
    """The uniforms of each QPU."""
    found: List[Any] = []
    for text in args.uniforms:
        if text.endswith(".npy"):
            array = _load(text)
            if array.ndim not in (1, 2) or array.dtype.itemsize != 4:
                raise PiblasError(
                    f"{text} holds {array.dtype} of shape {array.shape}: uniforms are 32-bit "
                    "words, in one row or one row a QPU"
                )
            found += list(np.atleast_2d(array))
        else:
            items = [_word(args.parser, "--uniforms", item, buffers) for item in _items(text)]
            found.append(items)
    found = found or [[]]
    if len(found) == 1:
        found *= args.threads * (args.qpus or 1)
    if len(found) % args.threads:
        args.parser.error(f"--threads 2: there are uniforms for {len(found)} threads")
    qpus = len(found) // args.threads
    if args.qpus is not None and qpus != args.qpus:
        args.parser.error(f"--qpus {args.qpus}: there are uniforms for {qpus}")
    return found


def buffers(
    parser: argparse.ArgumentParser, device: Any, contents: Dict[str, Contents]
) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """The buffers in device memory, and a view of each; all are there before any is filled, so
    that one may hold the addresses of others, or its own."""
    made: Dict[str, Any] = {}
    for name, content in contents.items():
        nbytes = 4 * len(content) if isinstance(content, list) else content.nbytes
        try:
            made[name] = device.alloc(nbytes)
        except DeviceError as error:
            raise PiblasError(f"--buffer {name}: {error}") from None
    arrays: Dict[str, np.ndarray] = {}
    for name, content in contents.items():
        if isinstance(content, list):
            content = _list(parser, name, content, made)
        arrays[name] = made[name].array(content.dtype, content.shape)
        arrays[name][...] = content
        made[name].clean()
    return made, arrays


def _list(
    parser: argparse.ArgumentParser, name: str, items: List[str], made: Dict[str, Any]
) -> np.ndarray:
    """The words of a --buffer that is a list."""
    values = [_word(parser, f"--buffer {name}", item, made) for item in items]
    try:
        return uniform_words(values, 0)
    except DeviceError as error:
        reason = str(error).partition(": ")[2]
        parser.error(f"--buffer {name}: {reason}")
