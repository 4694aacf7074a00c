"""Reading and writing files safely: JSON Lines with line numbers in errors, and writes that are whole or not there.

Does not know what the files mean.
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
    """A path with the home folder for `~`; as it stands where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def resolve(path: str | Path) -> Path:
    """A path as it stands, or `package:NAME/…`: a file that ships inside cdsframe."""
    text = str(path)
    if text.startswith("package:"):
        return Path(str(resource_files("cdsframe"))) / text.removeprefix("package:")
    return expanded(text)


def require_file(path: str | Path, what: str) -> Path:
    """The resolved path of an existing file. Raises InputError that says what the file was wanted for."""
    found = resolve(path)
    if found.is_dir():
        raise InputError(f"{what}: {path} is a folder, a file was expected")
    if not found.is_file():
        raise InputError(f"{what}: no file {path} (paths are relative to where the command is started)")
    return found


def _check_file(path: str) -> str:
    try:
        require_file(path, "input")
    except InputError as error:
        raise ValueError(str(error).removeprefix("input: ")) from None
    return path


def _check_folder(path: str) -> str:
    if not resolve(path).is_dir():
        raise ValueError(f"no folder {path} (paths are relative to where the command is started)")
    return path


def _check_path(path: str) -> str:
    if not resolve(path).exists():
        raise ValueError(f"no file or folder {path} (paths are relative to where the command is started)")
    return path


InputFile = Annotated[str, AfterValidator(_check_file)]
"""The annotation of an argument that names an existing file: refused before any work where there is none."""

InputFolder = Annotated[str, AfterValidator(_check_folder)]
"""The annotation of an argument that names an existing folder."""

InputPath = Annotated[str, AfterValidator(_check_path)]
"""The annotation of an argument that names an existing file or folder."""


def open_text(path: Path) -> io.TextIOBase:
    """Opens UTF-8 text, with or without a byte order mark, unzipping `.gz` on the way."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def parse_object(data: str | bytes, decimals: bool = False) -> dict[str, Any]:
    """A JSON object by RFC 8259: Python's own reader also takes NaN, infinity, and half a surrogate pair.

    With `decimals`, a number with a point or an exponent is a `Decimal`, which keeps its digits (1.10).
    Raises ValueError that says what it is instead (`not JSON (…)`), never with the text.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        exact = _exact if decimals else _finite
        value = json.loads(text, parse_float=exact, parse_constant=_finite, object_pairs_hook=_once)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError("not JSON that can be read (nested too deeply)") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except UnicodeEncodeError:
        raise ValueError("not JSON (half a surrogate pair)") from None
    except _Twice:
        raise ValueError("not JSON that can be read (an object names a key twice)") from None
    except ValueError:  # what `_finite` refuses, and integers that are longer than Python converts
        raise ValueError("not JSON (a number is not finite, or too long)") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


class _Twice(ValueError):
    """An object has a key twice; Python's reader would drop the first value."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _Twice
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _exact(text: str) -> Decimal:
    _finite(text)
    return Decimal(text)


def read_jsonl(path: str | Path, what: str = "JSON Lines") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields `(line number, object)`; blank lines are passed over.

    Raises InputError with the line's number where a line is not a JSON object, and where the file is not UTF-8 text.
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
        raise InputError(f"{what}: {path} is not a whole gzip file") from None


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary file beside the target, that is fsynced and renamed onto it when the block ends without an error."""
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
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside the target, that replaces it when the block ends without an error.

    All files in it get the permissions of newly made ones, whoever wrote them.
    A folder cannot be replaced in one step where it is not empty: the old one is renamed aside first, then removed.
    A full disk is an OSError, whichever library has found it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial"))
    try:
        yield partial
        for file in sorted(partial.rglob("*")):
            if file.is_file() and not file.is_symlink():
                file.chmod(0o666 & ~_UMASK)  # safetensors writes files that only their owner may read
                _fsync(file)
        partial.chmod(0o777 & ~_UMASK)
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
        if f"(os error {errno.ENOSPC})" in str(error):  # safetensors and tokenizers have kinds of their own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partials(path: str | Path) -> None:
    """Removes what killed writers left beside a target; its name may be a pattern."""
    for left in Path(path).parent.glob(f".{Path(path).name}.????????.partial*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented JSON with sorted keys, whole or not at all. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: str | Path, values: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line, whole or not at all."""
    with atomic(path) as partial, partial.open("w", encoding="utf-8") as lines:
        for value in values:
            lines.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """Reads one JSON object. Raises InputError that names the file."""
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
