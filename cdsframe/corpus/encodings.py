"""Bytes to text where nothing says how: byte order marks, UTF-8, then a guess (see `guessing`).

Wrong bytes become U+FFFD and are counted. Does not look into a format's own declaration (HTML's reader does).
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
"""Bytes that a guess is made from."""

_BINARY = "is binary (it holds NUL bytes)"
_MOST_WRONG = 0.02
"""A guess that leaves a larger share of the letters beyond ASCII undecoded is refused."""

_FEW = 20
"""Letters beyond ASCII, above which that share is looked at."""


class Decoded(NamedTuple):
    """A text with line ends `\\n`."""

    text: str
    guessed: str | None
    """The encoding, where it was guessed."""
    replaced: int = 0
    """Places where bytes are not valid in the encoding; U+FFFD stands there."""

    @property
    def remark(self) -> str | None:
        """What the log says of the guess; continues the sentence that the file's name begins."""
        return self.guessed and f"is not UTF-8 and does not say what it is; read as {self.guessed}"

    @property
    def omitted(self) -> tuple[Omission, ...]:
        """The bytes that could not be decoded."""
        return undecoded(self.replaced)


def undecoded(count: int, place: str = "") -> tuple[Omission, ...]:
    """The omission of letters whose bytes are not valid in the text's encoding; none where `count` is 0."""
    return (Omission("letters that cannot be decoded", count, text=True, place=place),) if count else ()


def decode(data: bytes) -> Decoded:
    """Raises ValueError that continues the sentence which the file's name begins."""
    marked = mark_of(data)
    guessed = None
    if marked:
        decoded = replacing(data, marked)
        if marked != "utf-8-sig" and "\ufffd" in decoded.text[:1]:
            raise ValueError(f"is not {marked} text, as its first bytes say")
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
    """The encoding that a byte order mark names."""
    return next((encoding for mark, encoding in MARKS if data.startswith(mark)), None)


def replacing(data: bytes, encoding: str) -> Decoded:
    """The text with U+FFFD where bytes are wrong, and how many of them stand there that the source does not hold."""
    try:
        return Decoded(data.decode(encoding), None)
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
        own = data.count("\ufffd".encode()) if encoding.startswith("utf-8") else 0
        return Decoded(text, None, max(1, text.count("\ufffd") - own))


def mostly_utf8(data: bytes, wrong: int) -> bool:
    """Whether text with some wrong bytes is UTF-8 all the same: most of its letters beyond ASCII are valid there.

    Other encodings give valid UTF-8 by accident, those of two bytes a letter more often than the others.
    """
    text = data.decode("utf-8", "ignore")
    right = len(text) - len(text.encode("ascii", "ignore"))
    return right >= wrong


def encoding_of(file: IO[bytes]) -> tuple[str, bool]:
    """A file's encoding and whether it was guessed, by one pass over it in pieces. Raises as `decode` does."""
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
    """Raises ValueError where so much is not decoded that the guess cannot be right."""
    beyond = len(decoded.text) - len(decoded.text.encode("ascii", "ignore"))
    control = sum(map(decoded.text.count, map(chr, (*range(1, 9), *range(14, 27), *range(28, 32), *range(128, 160)))))
    if beyond > _FEW and decoded.replaced + control > _MOST_WRONG * beyond:
        raise ValueError(UNKNOWN)
