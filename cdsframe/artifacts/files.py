"""Reads JSON and JSON Lines with line numbers in errors, and writes files and folders atomically.

Does not interpret the content.
"""

from __future__ import annotations

import errno
import gzip
import io
import json
import math
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from importlib.resources import files as resource_files
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from cdsframe.errors import InputError

_UMASK = os.umask(0o077)
os.umask(_UMASK)

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def expanded(path: str | Path) -> Path:
    """Replaces `~` by the home folder; returns the path unchanged if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def resolve(path: str | Path) -> Path:
    """Expands `~`, and resolves `package:FOLDER/…` to the file FOLDER/… inside the installed package cdsframe."""
    text = str(path)
    if text.startswith("package:"):
        return Path(str(resource_files("cdsframe"))) / text.removeprefix("package:")
    return expanded(text)


def require_file(path: str | Path, what: str) -> Path:
    """Returns the resolved path of an existing file.

    Raises InputError, with a message that begins with `what`, if the path is a folder or does not exist.
    """
    found = resolve(path)
    if found.is_dir():
        raise InputError(f"{what}: {path} is a folder, a file was expected")
    if not found.is_file():
        raise InputError(f"{what}: no file {path} (paths are relative to the working folder)")
    return found


def _check_file(path: str) -> str:
    try:
        require_file(path, "input")
    except InputError as error:
        raise ValueError(str(error).removeprefix("input: ")) from None
    return path


def _check_folder(path: str) -> str:
    if not resolve(path).is_dir():
        raise ValueError(f"no folder {path} (paths are relative to the working folder)")
    return path


def _check_path(path: str) -> str:
    if not resolve(path).exists():
        raise ValueError(f"no file or folder {path} (paths are relative to the working folder)")
    return path


InputFile = Annotated[str, AfterValidator(_check_file)]
"""Annotation of an argument that names an existing file; `check` reports a missing file before any work."""

InputFolder = Annotated[str, AfterValidator(_check_folder)]
"""Annotation of an argument that names an existing folder."""

InputPath = Annotated[str, AfterValidator(_check_path)]
"""Annotation of an argument that names an existing file or folder."""


def open_text(path: Path) -> io.TextIOBase:
    """Opens UTF-8 text, with or without a byte order mark; decompresses `.gz`."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def parse_object(data: str | bytes, decimals: bool = False) -> dict[str, Any]:
    """Parses a JSON object strictly (RFC 8259): refuses NaN, infinity, lone surrogates and repeated keys.

    With `decimals`, a number with a point or an exponent becomes a `Decimal`, which keeps its digits (1.10).
    Raises ValueError with the reason (`not JSON (…)`), without the text.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        exact = _exact if decimals else _finite
        value = json.loads(text, parse_float=exact, parse_constant=_finite, object_pairs_hook=_unique_keys)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except UnicodeEncodeError:
        raise ValueError("not JSON (half a surrogate pair)") from None
    except _RepeatedKey:
        raise ValueError("not JSON (an object has the same key twice)") from None
    except ValueError:  # from `_finite`, and from integers longer than Python converts
        raise ValueError("not JSON (a number is not finite, or too long)") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


class _RepeatedKey(ValueError):
    """An object has a key twice; Python's parser would drop the first value."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _RepeatedKey
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _exact(text: str) -> Decimal:
    _finite(text)
    return Decimal(text)


@contextmanager
def open_utf8(path: str | Path, what: str) -> Iterator[io.TextIOBase]:
    """Opens a text file, which may be gzipped. Raises InputError if it does not exist or is not UTF-8."""
    with open_text(require_file(path, what)) as lines:
        try:
            yield lines
        except UnicodeDecodeError:
            raise InputError(f"{what}: {path} is not UTF-8 text; convert it to UTF-8") from None


def read_jsonl(path: str | Path, what: str = "JSON Lines") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields `(line number, object)`; skips blank lines.

    Raises InputError, with the line's number, if a line is not a JSON object or not UTF-8 text.
    """
    found = require_file(path, what)
    number = 0
    try:
        with open_text(found) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    value = parse_object(line)
                except ValueError as error:
                    raise InputError(f"{what}: {path}, line {number}: {error}") from None
                yield number, value
    except UnicodeDecodeError:
        raise InputError(f"{what}: {path}, after line {number}: not UTF-8 text (is it a binary file?)") from None
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{what}: {path} is not a complete gzip file") from None


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary file beside the target; syncs it and renames it to the target if the block succeeds."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        _fsync(partial)
        partial.chmod(0o666 & ~_UMASK)
        partial.replace(target)
        _fsync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside the target, which replaces the target if the block succeeds.

    All files get default permissions; if `private`, only the owner can read them. A folder that is not empty cannot be
    replaced in one step: the old one is renamed first, then removed. Raises OSError(ENOSPC) for a full disk, also if a
    library reported it as another error.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    mask = 0o077 if private else _UMASK
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial"))
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file() and not file.is_symlink():
                file.chmod(0o666 & ~mask)  # safetensors writes files that only the owner may read
                _fsync(file)
        partial.chmod(0o777 & ~mask)
        _fsync(partial)
        if target.exists():
            aside = partial.with_name(partial.name + ".old")
            target.rename(aside)
            partial.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            partial.rename(target)
        _fsync(target.parent)
    except Exception as error:
        if f"(os error {errno.ENOSPC})" in str(error):  # safetensors and tokenizers raise other types
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partials(path: str | Path) -> None:
    """Removes the temporary files and folders of killed writers beside a target, whose name may be a glob pattern."""
    for left in Path(path).parent.glob(f".{Path(path).name}.????????.partial*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented JSON with sorted keys, atomically. Raises ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, values: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object per line, atomically."""
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as lines:
        for value in values:
            lines.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Reads a file that contains one JSON object. Raises InputError if the file is missing or contains anything else.

    The message begins with `what` and names the file.
    """
    found = require_file(path, what)
    try:
        return parse_object(found.read_bytes())
    except ValueError as error:
        raise InputError(f"{what}: {path} is {error}") from None


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
