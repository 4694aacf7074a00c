"""Decodes bytes without a declared encoding: by byte order mark, as UTF-8, or by a guess (see `guessing`).

Replaces invalid bytes by U+FFFD and counts them. Does not read declarations within a format; the HTML reader does.
"""

from __future__ import annotations

import codecs
from typing import IO, NamedTuple

from cdsframe.corpus.guessing import UNKNOWN, guess, wide
from cdsframe.types import Omission

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 20
"""Bytes on which a guess is based."""

_BINARY = "is binary (it holds NUL bytes)"
_MOST_WRONG = 0.02
"""A guessed encoding counts as wrong if more than this share of the characters beyond ASCII is invalid or a control."""

_FEW = 20
"""Up to this number of characters beyond ASCII, a guessed encoding is not checked."""


class Decoded(NamedTuple):
    """A decoded text. `decode` converts its line ends to `\\n`."""

    text: str
    guessed: str | None
    """The encoding if it was guessed, else None."""
    replaced: int = 0
    """Number of places with invalid bytes, each replaced by U+FFFD."""

    @property
    def remark(self) -> str | None:
        """A log message about the guess, to follow the file's name; None without a guess."""
        return self.guessed and f"is not UTF-8 and declares no encoding; read as {self.guessed}"

    @property
    def omitted(self) -> tuple[Omission, ...]:
        """The omission to report if bytes could not be decoded; empty if all could."""
        return undecoded(self.replaced)


def undecoded(count: int, place: str = "") -> tuple[Omission, ...]:
    """Returns the omission of characters whose bytes are invalid in the encoding; empty if `count` is 0."""
    return (Omission("letters that cannot be decoded", count, text=True, place=place),) if count else ()


def decode(data: bytes) -> Decoded:
    """Decodes bytes. Raises ValueError, whose message is to follow the file's name, for bytes that are not text."""
    marked = mark_of(data)
    guessed = None
    if marked:
        decoded = replacing(data, marked)
        if marked != "utf-8-sig" and "\ufffd" in decoded.text[:1]:
            raise ValueError(f"is not valid {marked}, although its byte order mark says so")
    elif escaped := wide(data):
        guessed, decoded = escaped, replacing(data, escaped)
    else:
        decoded = replacing(data, "utf-8")
        if decoded.replaced and b"\0" not in data and not mostly_utf8(data, decoded.replaced):
            guessed = guess(_around_first_error(data))
            decoded = replacing(data, guessed)
            _check(decoded)
    if "\0" in decoded.text:
        raise ValueError(_BINARY)
    return Decoded(decoded.text.replace("\r\n", "\n").replace("\r", "\n"), guessed, decoded.replaced)


def mark_of(data: bytes) -> str | None:
    """Returns the encoding of a byte order mark; None without a mark."""
    return next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)


def replacing(data: bytes, encoding: str) -> Decoded:
    """Decodes bytes, with U+FFFD for invalid ones. Does not count U+FFFD that the source itself contains."""
    try:
        return Decoded(data.decode(encoding), None)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        own = data.count("\ufffd".encode()) if encoding.startswith("utf-8") else 0
        return Decoded(text, None, max(1, text.count("\ufffd") - own))


def mostly_utf8(data: bytes, wrong: int) -> bool:
    """Whether bytes with `wrong` invalid places are still UTF-8: at least as many characters beyond ASCII are valid.

    Other encodings, above all those with two bytes a character, contain some valid UTF-8 by accident.
    """
    text = data.decode("utf-8", "ignore")
    right = len(text) - len(text.encode("ascii", "ignore"))
    return right >= wrong


def encoding_of(file: IO[bytes]) -> tuple[str, bool]:
    """Reads a file once, in pieces. Returns its encoding, and whether the encoding was guessed.

    Raises ValueError for a binary file. Its message begins with a verb: the caller writes the file's name before it.
    """
    piece = file.read(_SAMPLE)
    marked = mark_of(piece)
    if marked:
        return marked, False
    if escaped := wide(piece):
        return escaped, True
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    wrong, first = 0, b""
    valid = 0
    while piece:
        if b"\0" in piece:
            raise ValueError(_BINARY)
        following = file.read(_SAMPLE)
        text = decoder.decode(piece, final=not following)
        bad = text.count("\ufffd")
        wrong, valid = wrong + bad, valid + len(text) - len(text.encode("ascii", "ignore")) - bad
        first = first or (_around_first_error(piece) if bad else b"")
        piece = following
    if valid >= wrong:
        return "utf-8", False
    return guess(first), True


def _around_first_error(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return data[max(0, error.start - _SAMPLE // 2) :][:_SAMPLE]
    return data[:_SAMPLE]


def _check(decoded: Decoded) -> None:
    """Raises ValueError if too many characters are invalid for the guess to be right."""
    beyond = len(decoded.text) - len(decoded.text.encode("ascii", "ignore"))
    control = sum(map(decoded.text.count, map(chr, (*range(1, 9), *range(14, 27), *range(28, 32), *range(128, 160)))))
    if beyond > _FEW and decoded.replaced + control > _MOST_WRONG * beyond:
        raise ValueError(UNKNOWN)
