"""How completely, and in which order, the PDF reader reads a folder of PDF files; measured against pdfium's own text.

    python benchmarks/reading_pdf.py FOLDER [WORST]

Prints, for the WORST files and for all files with more than 60 words: the share of pdfium's words that are in the text
(as a multiset; only letters and digits count), the share of its adjacent pairs of words that stay adjacent, and the CPU
time of a page. Words that the reader reports as left out, and words with letters that pdfium cannot decode, are not
expected. To measure another version, set PYTHONPATH to its checkout. Does not judge which of two orders is right.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pypdfium2 as pdfium

sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind PYTHONPATH, which may name another version

from cdsframe.corpus.parallel import TooLong, time_limit
from cdsframe.corpus.readers import READERS, Refused

_FEWEST = 60
_SECONDS = 900
_CJK = "\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff"
_UNSPACED = re.compile(f"(?<=[{_CJK}])(?=[^{_CJK}])|(?<=[^{_CJK}])(?=[{_CJK}])")
_HYPHEN = re.compile(r"[-\u00ad\u2010]\s*\n\s*|[\u0002\ufffe]\s*")


def words(text: str) -> list[str]:
    """Words of letters and digits; a word that a line's end divides is one, and one of Chinese or Japanese letters ends
    where others begin.

    Of an Arabic word the order of the letters does not count: pdfium turns the two of a ligature around.
    """
    text = unicodedata.normalize("NFKC", _HYPHEN.sub("", text)).casefold()
    text = _UNSPACED.sub(" ", text)
    cleaned = ("".join(filter(str.isalnum, word)) for word in text.split())
    return ["".join(sorted(word)) if "\u0600" <= word[0] < "\u0700" else word for word in cleaned if word]


def expected(path: Path) -> list[list[str]]:
    """The words of each line of the file, by pdfium."""
    raw = pdfium.raw
    lines: list[list[str]] = []
    document = pdfium.PdfDocument(path)
    for page in document:
        text = page.get_textpage()
        shown = ""
        for index in range(text.count_chars()):
            code = raw.FPDFText_GetUnicode(text, index)
            lost = raw.FPDFText_HasUnicodeMapError(text, index) == 1 or (
                code not in (2, 9, 10, 13, 0xFFFE)
                and unicodedata.category(chr(min(code, 0x10FFFF))) in ("Cc", "Co", "Cn")
            )
            shown += "\ufffd" if lost else chr(code)
        shown = shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for line in re.sub(r"[\u0002\ufffe]\s*", "", shown).splitlines():
            lines.append(words(" ".join(word for word in line.split() if "\ufffd" not in word)))
        text.close()
        page.close()
    document.close()
    return lines


def overlap(wanted: Counter, got: Counter) -> int:
    return sum((wanted & got).values())


def main(folder: Path, worst: int) -> None:
    logging.disable(logging.CRITICAL)
    rows, refused, losses, pages, seconds = [], [], Counter(), 0, 0.0
    for path in sorted(folder.rglob("*.pdf")):
        try:
            lines = expected(path)
        except pdfium.PdfiumError:
            lines = []
        count = sum(map(len, lines))
        data, start = path.read_bytes(), time.process_time()
        try:
            with time_limit(_SECONDS):
                parsed = READERS[".pdf"](data, 1 << 30)
        except (Refused, TooLong) as refusal:
            if count > _FEWEST:
                rows.append((0.0, 0.0, count, 0.0, path.name))
            refused.append(f"{path.name}: {refusal or 'takes too long'}")
            continue
        spent = time.process_time() - start
        omitted = getattr(parsed, "omitted", ())
        for item in omitted:
            losses[item.reason, item.text] += item.count
        if count <= _FEWEST:
            continue
        seconds += spent
        text = "\n".join([parsed.title or "", parsed.text])
        flat = Counter(word for line in lines for word in line)
        reported = sum(item.count for item in omitted if item.reason.startswith("words "))
        pairs = Counter(pair for line in lines for pair in pairwise(line))
        recall = kept = 0.0
        for got in (words(text), words(text.replace("^", " "))):  # a superscript is a word for pdfium, or part of one
            recall = max(recall, min(1.0, (overlap(flat, Counter(got)) + reported) / count))
            near = overlap(pairs, Counter(pairwise(got))) + reported
            kept = max(kept, min(1.0, near / max(sum(pairs.values()), 1)))
        rows.append((recall, kept, count, spent, path.name))
        pages += len(lines) and len(pdfium.PdfDocument(data))
    for recall, kept, count, spent, name in sorted(rows)[:worst]:
        print(f"recall {recall:.3f}  pairs {kept:.3f}  words {count:6}  {spent:6.2f} s  {name}")
    print("fewest pairs kept:")
    for recall, kept, count, spent, name in sorted(rows, key=lambda row: row[1])[:worst]:
        print(f"recall {recall:.3f}  pairs {kept:.3f}  words {count:6}  {spent:6.2f} s  {name}")
    print("refused:", len(refused), *refused[:worst], sep="\n  ")
    for (reason, text), count in sorted(losses.items()):
        print(f"{'text lost' if text else 'left out'}: {count} {reason}")
    total, n = sum(row[2] for row in rows), max(len(rows), 1)
    print(
        f"files with more than {_FEWEST} words: {len(rows)}, pages {pages}, {seconds / max(pages, 1):.3f} CPU-s a page"
    )
    high, low = sum(row[0] >= 0.98 for row in rows), sum(row[0] < 0.75 for row in rows)
    print(f"recall >= .98 on {high / n:.1%} of them, < .75 on {low}")
    print(f"recall of all words {sum(row[0] * row[2] for row in rows) / max(total, 1):.4f}")
    middle = sorted(row[1] for row in rows)[n // 2] if rows else 0.0
    print(
        f"adjacent pairs kept {sum(row[1] * row[2] for row in rows) / max(total, 1):.4f}, median of files {middle:.4f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 25)
