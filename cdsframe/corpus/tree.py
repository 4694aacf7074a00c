"""Lists the files below a folder in the order of their paths, and opens them safely. Does not parse their content."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from cdsframe.corpus.readers.parsed import Refused


def walk(root: Path) -> Iterator[tuple[str, Path | str]]:
    """Yields `(relative path, path)` of every file. Instead of a path, a str is the reason why the file is not read.

    Skips files and folders whose names begin with a dot. Does not follow symbolic links.
    """
    failed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=failed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*links, *(name for name in names if not name.startswith("."))]):
            path = Path(folder) / name
            if path.is_symlink():
                yield source_of(path, root), "is a symbolic link, which is not followed"
            elif path.exists() and not path.is_file():
                yield source_of(path, root), "is not a regular file"
            else:
                yield source_of(path, root), path
    for error in failed:
        yield source_of(Path(error.filename), root), in_words(error)


def source_of(path: Path, root: Path) -> str:
    """Returns the relative path, with escapes for bytes that are not UTF-8."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


def in_words(error: OSError) -> str:
    """Returns why a file could not be read, as a phrase to follow its name."""
    if isinstance(error, FileNotFoundError):
        return "vanished before it was read"
    return error.strerror or "cannot be opened"


def read_bytes(path: Path, limit: int, root: Path | None = None) -> bytes:
    """Reads a file. Raises Refused if the file is larger than `limit` bytes, and the errors of `_opened`."""
    with _opened(path, root) as file:
        if os.fstat(file.fileno()).st_size <= limit:
            data = file.read(limit + 1)  # the file may have grown since fstat
            if len(data) <= limit:
                return data
    raise Refused(f"is larger than {limit >> 20} MB (corpus.max_megabytes)")


@contextmanager
def _opened(path: Path, root: Path | None) -> Iterator[BinaryIO]:
    """Opens a file. Raises OSError.

    With `root`, raises Refused for a symbolic link on the path below it, even if created during the read, and for
    anything but a regular file.
    """
    with open(path, "rb", opener=None if root is None else partial(_open_below, root)) as file:
        if root is not None and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise Refused("is not a regular file")
        yield file


def _open_below(root: Path, path: str, flags: int) -> int:
    """Opens a file folder by folder, each relative to its parent, so that no folder can be swapped for a link."""
    *folders, name = Path(path).relative_to(root).parts
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Refused("lies behind a symbolic link, which is not followed") from None
        raise
    finally:
        os.close(at)


@contextmanager
def open_bytes(path: Path, root: Path | None = None) -> Iterator[BinaryIO]:
    """Opens a file as `_opened` does, and decompresses `.gz`."""
    with _opened(path, root) as file:
        if path.suffix == ".gz":
            with gzip.open(file) as inner:
                yield cast(BinaryIO, inner)
        else:
            yield file
