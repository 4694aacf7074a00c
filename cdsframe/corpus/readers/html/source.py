"""Decodes a web page by the Encoding Standard, and closes unclosed markup that would hide the rest of the page.

Does not build a tree (see `tree`).
"""

from __future__ import annotations

import codecs
import html
import re
from collections import Counter
from typing import NamedTuple

from cdsframe.corpus.encodings import Decoded, decode, mark_of, mostly_utf8, replacing
from cdsframe.corpus.guessing import CODECS
from cdsframe.corpus.readers.html.tokens import Ahead, HtmlToken, HtmlTokenizer
from cdsframe.corpus.readers.parsed import Refused

_HEAD = 1024
"""Bytes that the Encoding Standard searches for the declared encoding; four times as many are searched here, as some
sites need."""

_DECLARED = re.compile(
    rb"<meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([^\s\"'/>;]+)|<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([^\"'>]+)",
    re.IGNORECASE,
)
_LABELS = CODECS | {
    "us-ascii": "cp1252", "ascii": "cp1252", "latin1": "cp1252", "l1": "cp1252", "iso8859-1": "cp1252",
    "iso_8859-1": "cp1252", "x-cp1252": "cp1252", "ansi_x3.4-1968": "cp1252", "x-user-defined": "cp1252",
    "iso-8859-9": "cp1254", "iso8859-9": "cp1254", "iso_8859-9": "cp1254", "latin5": "cp1254", "x-cp1254": "cp1254",
    "iso-8859-11": "cp874", "tis-620": "cp874", "dos-874": "cp874", "logical": "iso-8859-8", "visual": "iso-8859-8",
    "x-cp1250": "cp1250", "x-cp1251": "cp1251", "x-gbk": "gb18030", "gb_2312-80": "gb18030", "chinese": "gb18030",
    "cp936": "gb18030", "x-sjis": "cp932", "sjis": "cp932", "shift-jis": "cp932", "windows-31j": "cp932",
    "ms_kanji": "cp932", "x-euc-jp": "euc_jp", "euc-jp": "euc_jp", "ks_c_5601-1987": "cp949", "windows-949": "cp949",
    "korean": "cp949", "euckr": "cp949", "big5-hkscs": "big5hkscs", "cn-big5": "big5hkscs", "x-x-big5": "big5hkscs",
    "iso-2022-jp": "iso2022_jp_ext", "koi8-ru": "koi8-u", "koi": "koi8-r", "koi8": "koi8-r", "mac": "mac-roman",
    "x-mac-roman": "mac-roman", "x-mac-ukrainian": "mac-cyrillic", "unicode-1-1-utf-8": "utf-8",
    "x-unicode20utf8": "utf-8",
}  # fmt: skip
_NOT_TEXT = ("utf-7", "utf_7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined")

_RAW = frozenset(("script", "style", "title", "textarea", "iframe", "noembed", "noframes", "xmp"))
_END_OF_RAW = {name: re.compile(rf"</{name}(?=[\s/>])[^>]*>", re.IGNORECASE) for name in _RAW}
_CONTENT = re.compile(
    r"</?(?:p|div|h[1-6]|body|head|table|ul|ol|article|section|main|link|meta|script|span)\b", re.IGNORECASE
)
_SELF_CLOSED = re.compile(r"(?:[\s\"']|^<\w+)/>\Z")

_OPEN_QUOTE = re.compile(
    r"\s(?:href|src|class|id|name|rel|target)\s*=\s*([\"'])(?:(?!\1)[^<>])*>(?=(?:(?!\1).)*<)", re.DOTALL
)
"""An unclosed attribute value: it runs past the end of its tag and contains another tag."""

_FORMATTING = ("b", "big", "code", "em", "font", "i", "nobr", "small", "strong", "tt", "u")
_STRUCK = ("s", "strike", "del")
_NESTING = (
    "div", "span", "blockquote", "ul", "ol", "dl", "table", "section", "article", "center", "fieldset", "form", "aside",
    "main", "header", "footer", "nav", "address", "figure", "details", "object", "ins", "label", "q", "abbr", "cite",
)  # fmt: skip
_DEEPEST = 10_000
"""Maximum number of unclosed elements; a page with more is refused. The parser's time is quadratic in their number."""

_MOST_OPEN = 100
"""Maximum number of unclosed tags of one formatting element; with more, all its tags are removed, because browsers
reopen each unclosed element in every following paragraph."""


class Source(NamedTuple):
    """A page's text, ready for the parser."""

    text: str
    remark: str | None
    """How the encoding was chosen, for the log; None if it was neither guessed nor declared wrongly."""
    replaced: int
    """Number of places whose bytes could not be decoded."""
    controls: int
    """Number of NUL and other control characters, which are removed."""
    struck_open: int
    """Number of unclosed strike-through tags. They are removed, so that the text after them is kept."""


def source_of(data: bytes) -> Source:
    """Decodes and repairs a page. Raises Refused if the page is not text or is nested too deeply."""
    decoded, remark = _decoded(data)
    text = decoded.text
    controls = sum(text.count(chr(code)) for code in _CONTROLS)
    repaired, opened = _repaired(text.translate(_CONTROLS))
    return Source(repaired, remark, decoded.replaced, controls, opened)


_CONTROLS: dict[int, str | None] = {
    **dict.fromkeys((*range(9), *range(14, 28), 127)),
    **dict.fromkeys((11, *range(28, 32)), " "),
}
"""Control characters are removed; those that separate words become spaces."""


def _decoded(data: bytes) -> tuple[Decoded, str | None]:
    """Decodes by the byte order mark, else by the declared encoding, else by a guess. Returns the text and a remark.

    A declaration that does not fit the bytes is ignored: bytes that are UTF-8 are read as UTF-8, others by a guess.
    """
    declared = None if mark_of(data) else _declared(data[: 4 * _HEAD])
    if declared is None or b"\0" in data[:_HEAD]:
        decoded = _guessed(data)
        return decoded, decoded.remark
    as_utf8 = replacing(data, "utf-8")
    sure = len(as_utf8.text) - len(as_utf8.text.encode("ascii", "ignore")) > _SURE * as_utf8.replaced
    if declared != "utf-8" and sure:
        return as_utf8, f"declares the encoding {declared} but is UTF-8; read as utf-8"
    decoded = replacing(data, declared)
    if declared == "utf-8" and (not decoded.replaced or mostly_utf8(data, decoded.replaced)):
        return as_utf8, None
    beyond = len(decoded.text) - len(decoded.text.encode("ascii", "ignore"))
    wrong = decoded.replaced + sum("\ue000" <= letter <= "\uf8ff" for letter in decoded.text)
    if wrong > max(_FEW, beyond / _SURE) or declared == "utf-8":
        other = _guessed(data)
        if other.replaced < wrong:
            return other, f"declares the encoding {declared} but is not in it; read as {other.guessed or 'utf-8'}"
    return decoded, None


_SURE = 10
"""Valid characters beyond ASCII that are required per invalid character to trust an encoding."""

_FEW = 3


def _guessed(data: bytes) -> Decoded:
    """Decodes bytes whose encoding is not declared.

    Stray NUL bytes, which are no sign of UTF-16 or UTF-32, are put before the text: a later step removes and counts
    them there.
    """
    try:
        return decode(data)
    except ValueError as error:
        whole = data.replace(b"\0", b"")
        if whole == data:
            raise Refused(str(error)) from None
        decoded = _guessed(whole)
        return Decoded("\0" * (len(data) - len(whole)) + decoded.text, decoded.guessed, decoded.replaced)


def _declared(head: bytes) -> str | None:
    """Python's codec for the declared encoding, by the Encoding Standard; None if no known encoding is declared."""
    for meta, xml in _DECLARED.findall(head):
        label = (meta or xml).decode("latin-1").strip().lower()
        if label.startswith(("utf-16", "utf16", "ucs-2", "unicode", "iso-10646-ucs-2")) and label not in _LABELS:
            return "utf-8"  # a declaration that is readable as ASCII rules UTF-16 out
        name = _LABELS.get(label, label)
        try:
            info = codecs.lookup(name)
        except (LookupError, ValueError):
            continue
        if info._is_text_encoding and info.name not in _NOT_TEXT:  # the codec's own flag has no public name
            return _LABELS.get(info.name, "utf-8" if info.name == "utf-8-sig" else info.name)
    return None


def _repaired(text: str) -> tuple[str, int]:
    """Repairs unclosed markup. Returns the source and the number of unclosed strike-through tags, which are removed.

    An unclosed comment, script, text area or attribute would hide the rest of the page: it is closed where content
    begins. Raises Refused if the page is nested too deeply.
    """
    parts: list[str] = []
    open_: Counter[str] = Counter()
    tokens = HtmlTokenizer(text)
    struck: dict[str, list[int]] = {name: [] for name in _STRUCK}
    deepest = position = copied = 0
    xml = text[:200].lstrip("\ufeff \n").startswith("<?xml")
    while token := tokens.next(position):
        position = token.end
        source = text[token.start : token.end] if token.name else ""
        if token.open:
            parts.append(text[copied : token.start])
            copied = position
        elif token.cdata is not None and xml:
            parts += text[copied : token.start], html.escape(token.cdata)
            copied = position
        elif token.name in _RAW and not token.closing:
            end = _end_of_raw(text, token, tokens.ahead)
            parts += text[copied:position], text[position : end[0]], f"</{token.name}>"
            position = copied = end[1]
        elif open_quote := _OPEN_QUOTE.search(source):
            position = token.start + open_quote.end()
            parts += [text[copied : position - 1], open_quote[1], ">"]
            copied = position
        elif name := token.name:
            open_[name] += -1 if token.closing else not source.endswith("/>")
            deepest = max(deepest, open_[name]) if name in _NESTING else deepest
            if name in struck and not token.closing:
                empty = source.endswith("/>")
                parts += text[copied : token.start], "" if empty else source
                copied = position
                struck[name] += [] if empty else [len(parts) - 1]
            elif name in struck:
                del struck[name][-1:]
            if name == "plaintext":
                parts += text[copied : token.start], "<pre>"
                copied = position
    parts.append(text[copied:])
    if sum(count for name, count in open_.items() if name in _NESTING) > _DEEPEST or deepest > _DEEPEST:
        raise Refused("is nested too deeply")  # the parser would drop the deeper content silently
    unclosed = [number for numbers in struck.values() for number in numbers]
    for number in unclosed:
        parts[number] = ""
    repaired = "".join(parts)
    many = [name for name in _FORMATTING if open_[name] > _MOST_OPEN]
    if many:
        end_of_tags = repaired.rfind(">") + 1
        tag = re.compile(rf"</?(?:{'|'.join(many)})(?=[\s/>])[^>]*>", re.IGNORECASE)
        repaired = tag.sub("", repaired[:end_of_tags]) + repaired[end_of_tags:]
    return repaired, len(unclosed)


def _end_of_raw(text: str, token: HtmlToken, ahead: Ahead) -> tuple[int, int]:
    """Returns where a raw-text element's content (script, title, textarea, …) ends, and where the page continues."""
    name, begin = token.name, token.end
    closing, content = ahead.search(_END_OF_RAW[name], begin), ahead.search(_CONTENT, begin)
    self_closed = _SELF_CLOSED.search(text[token.start : token.end])
    if content and self_closed and (closing is None or content.start() < closing.start()):
        return begin, begin
    if closing:
        return closing.start(), closing.end()
    if name in ("title", "textarea"):
        following = text.find("<", begin)
        end = following if following >= 0 else len(text)
    else:
        end = content.start() if content else len(text)
    return end, end
