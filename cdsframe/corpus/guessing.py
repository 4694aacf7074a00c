"""Guesses the encoding of bytes that are not UTF-8: with chardetng (Firefox), and by rules for what it misses.

Prefers code pages in common use. Does not decode whole files.
"""

from __future__ import annotations

import re
import unicodedata

from cdsframe.corpus.wide import utf_16

UNKNOWN = "is neither UTF-8 nor in another encoding that could be recognised"

CODECS = {
    "iso-8859-1": "cp1252", "windows-1252": "cp1252", "windows-1250": "cp1250", "windows-1251": "cp1251",
    "windows-1253": "cp1253", "windows-1254": "cp1254", "windows-1255": "cp1255", "windows-1256": "cp1256",
    "windows-1257": "cp1257", "windows-1258": "cp1258", "windows-874": "cp874", "ibm866": "cp866",
    "shift_jis": "cp932", "euc-kr": "cp949", "gbk": "gb18030", "gb2312": "gb18030", "big5": "big5hkscs",
    "iso-8859-8-i": "iso-8859-8", "x-mac-cyrillic": "mac-cyrillic", "macintosh": "mac-roman",
}  # fmt: skip
"""Name in the Encoding Standard -> name of Python's equivalent codec, where the two differ."""

_ISO_2022_JP = re.compile(rb"\x1b\$[@B](?:[\x21-\x7e]{2})+\x1b\([BJ]")
_ISO_2022_KR = re.compile(rb"\x1b\$\)C.*?\x0e(?:[\x21-\x7e]{2})+\x0f", re.DOTALL)
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}")
_HZ_OF_WORDS = re.compile(rb"~\{[\w .,:/-]*~\}")
"""Matches placeholders in ASCII text, such as `~{NAME~}`, which are not HZ."""

_HZ_BYTES = 8
"""A single run `~{…~}` with at least this many bytes inside the braces is enough to recognise HZ."""

_UTF7 = re.compile(rb"(?<![\w/+])\+([A-Za-z0-9+/]{3,})-|(?<=[a-zA-Z])\+([A-Za-z0-9+/]{3,})-(?=[a-zA-Z])")
_SYMBOLS = re.compile(
    "(?<![^\\W\\d_])µ(?=(?:g|mol|l|L|m|M|s|kat|U|IU|Sv|Gy|W|A|V)\\b)|(?<![^\\W\\d_])[°±½¼¾×€£§]|"
    "(?<=\\bm)[²³]|(?<=\\b[cdkm]m)[²³]|(?<=[^A-Za-z]m)[²³]|(?<=\\d)[¹²³]+|¥(?=\\s?\\d)|(?<!\\w)Ø(?=\\s?\\d)|(?<=\\w)[’™®](?!\\w)|(?<=[A-Za-z])’(?=[a-z])|(?<!\\w)[‘’“”–—…•©«»\xa0]|"
    "[“”–—…•«»\xa0](?!\\w)|(?<=\\d)[–—](?=\\d)"
)
"""Signs of Windows-1252 in the places where English text has them. Elsewhere, their bytes may be letters of another
code page."""

_UTF7_SAMPLE = 1 << 20
_DOS = re.compile("[^\\W\\d_][„”‚†‡ˆ‰\x81\x8d\x90\x9d][^\\W\\d_]")
_NOT_WESTERN = re.compile("(?<=[a-z])[ŠŽŸŒÕ](?![A-Z])|(?<=[A-Za-z])[§¦¨¶‡†‰‹„¢£\x81\x8d\x8f\x90\x9d\ufffd](?=[a-z])")
"""Signs within words and capitals behind small letters, which show that the encoding is not Windows-1252."""

_WESTERN = re.compile(
    "[äöüßéèêëàâçîïôûùñáíóúãõøåæ]|(?<![a-zß-ÿ])[ÄÖÜÉÈÀÇÑØÅÆÁÍÓÚ]|(?<![^\\W\\d_])[µ°±–—‘“•«£≥≤]|(?<=[\\w.!?])[’”…»%]|"
    "[≤≥](?=\\s?\\d)|(?<!\\w)[≠≈∞√π∆Ω](?![^\\W\\d_])"
)
_RAISED_BEFORE = re.compile(
    "(?:(?<=[^\\W\\d_] )(?<![^A-Za-z]m )(?<![cdkm]m )|(?<=[(\\[:;,=] )|(?<=[(\\[]))[²³](?=\\s?\\d)|"
    "(?<=[^\\W\\d_])[²³](?=\\d)"
)
"""A superscript 2 or 3 in front of a number, as no Western text has it: in Mac Roman, its byte is `≤` or `≥`."""

_OLD = ("mac-roman", "cp850")
_BALTIC = frozenset("ąčęėįšųūžāēģīķļņŗõäöüĄČĘĖĮŠŲŪŽĀĒĢĪĶĻŅÕÄÖÜ")
_TURKISH = frozenset("çğıöşüâîûÇĞİÖŞÜÂÎÛ")
_DOS_TABLE = {byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(128, 256)}
_HUNGARIAN = frozenset("áéíóöõúüûÁÉÍÓÖÕÚÜÛ")
_NO_HEBREW = re.compile("(?<!\\w)[\u05b0-\u05c3][\u05d0-\u05ea]|[ךםןףץ][\u05d0-\u05ea]")
"""A Hebrew vowel point at a word's start, or a final letter within a word: signs of Cyrillic decoded as Hebrew."""


def wide(data: bytes) -> str | None:
    """Returns Python's name of UTF-16 or UTF-32 without a byte order mark, or of an encoding that writes letters as
    ASCII (ISO-2022, HZ, UTF-7); None for all other bytes."""
    if b"\0" in data:
        return _utf_32_or_16(data) or utf_16(data)
    if (found := utf_16(data)) or not data.isascii():
        return found
    if b"\x1b$" in data:
        return "iso2022_jp_ext" if _ISO_2022_JP.search(data) else "iso2022_kr" if _ISO_2022_KR.search(data) else None
    if _has_hz(data) and _is_readable(data, "hz"):
        return "hz"
    tokens = [one or two for one, two in _UTF7.findall(data[:_UTF7_SAMPLE])]
    if len(set(tokens)) > 1 and all(_is_readable(b"+" + token + b"-", "utf-7") for token in tokens):
        return "utf-7"
    return None


def _has_hz(data: bytes) -> bool:
    """Whether ASCII text has two different HZ runs or one long run, and at least one run that is no placeholder."""
    runs = set(_HZ.findall(data))
    enough = len(runs) > 1 or any(len(run) >= _HZ_BYTES + 4 for run in runs)
    return enough and not all(map(_HZ_OF_WORDS.fullmatch, runs))


def _utf_32_or_16(data: bytes) -> str | None:
    sample = data[: 1 << 16]
    sample = sample[: len(sample) // 4 * 4] if len(data) % 4 == 0 else sample[: len(sample) // 2 * 2]
    if len(data) % 4 == 0 and sample.count(0) >= len(sample) / 2:
        for name in ("utf-32-le", "utf-32-be"):
            if _is_readable(sample, name):
                return name
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if len(data) % 2 or max(even, odd) < 2 or min(even, odd) or max(even, odd) < 0.1 * len(sample) / 2:
        return None
    name = "utf-16-be" if even else "utf-16-le"
    return name if _is_readable(sample, name) else None


def _is_readable(data: bytes, encoding: str) -> bool:
    """Whether the bytes are valid and decode to no control, private, surrogate or unassigned characters."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if error.end < len(data) - 3 or not error.start:
            return False
        text = data[: error.start].decode(encoding)
    odd = ("Cc", "Cn", "Co", "Cs")
    return not any(unicodedata.category(letter) in odd for letter in set(text) - set("\t\n\r\f"))


def guess(sample: bytes) -> str:
    """Returns Python's name of the likeliest encoding of bytes that are not UTF-8."""
    from chardetng_py import EncodingDetector

    western = sample.decode("cp1252", "replace")
    if _SYMBOLS.sub("", western).isascii():
        return "cp1252"
    if _RAISED_BEFORE.search(western) and _is_mac_roman(sample):
        return "mac-roman"
    detector = EncodingDetector()
    detector.feed(sample, last=True)
    found = detector.guess(tld=None, allow_utf8=False).lower()
    return _second_look(sample, western, CODECS.get(found, found))


def _second_look(sample: bytes, western: str, found: str) -> str:
    """Returns chardetng's guess `found`, corrected where it is often wrong: chardetng was made for long web pages."""
    if found == "cp1252" and _NOT_WESTERN.search(western) and _is_mac_roman(sample):
        return "mac-roman"
    if found == "cp1252" and _DOS.search(sample.decode("latin-1").translate(_DOS_TABLE)):
        dos = _beyond(sample, "cp850")
        return "cp850" if sum(map(str.isalpha, dos)) > 0.9 * len(dos) else found
    if found == "cp1252" and set(letters := _beyond(sample, "cp1252")) <= _HUNGARIAN and "õ" in letters:
        return "cp1250" if set(letters) & set("áéíóúÁÉÍÓÚ") else found
    if found in ("cp1250", "iso-8859-4"):
        turkish = _beyond(sample, "cp1254")
        if set(turkish) <= _TURKISH and set(turkish) & set("ğışİŞĞ"):
            return "cp1254"
    if found == "iso-8859-4":
        baltic = _beyond(sample, "cp1257")
        return "cp1257" if len(baltic) > 1 and set(baltic) <= _BALTIC else "cp1252"
    if found == "cp1255" and _NO_HEBREW.search(sample.decode("cp1255", "replace")):
        return "cp1251"
    return found


def _is_mac_roman(sample: bytes) -> bool:
    """Whether all characters beyond ASCII are Western ones in their usual places if the bytes are decoded as Mac Roman,
    but not if they are decoded as code page 850 (DOS)."""
    wrong = [_beyond(_WESTERN.sub("", sample.decode(name, "replace")).encode(), "utf-8") for name in _OLD]
    return not wrong[0] and bool(wrong[1])


def _beyond(sample: bytes, encoding: str) -> str:
    return "".join(filter(lambda letter: not letter.isascii(), sample.decode(encoding, "replace")))
