"""Whether the PDF reader reads pages in their reading order, measured against orders that people wrote down.

    python benchmarks/reading_order.py FOLDER                       # compare with benchmarks/reading_order.json
    python benchmarks/reading_order.py FOLDER --draw SEED OUT       # draw new pages, with numbered lines, for labelling

FOLDER holds the public test files of pdf.js, pdfplumber, tika and docling. A label is one page with its *blocks* (a
paragraph, a list item, a row of a table, a heading): the numbers of the lines of a block in their reading order. Blocks
of one *stream* follow each other; between streams (a margin note, a header, the labels of a figure) no order is wrong.

A page is right when the letters of each block stand together in the text that the reader returns, and the blocks of a
stream stand in their order. Only letters and digits are compared. A block in ``furniture`` (a page number, a repeated
header) may be missing. Labels are divided in two halves: readers are tuned on `development` and `test` is only counted.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import logging
import random
import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
from PIL import Image, ImageDraw

sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind PYTHONPATH, which may name another version

from cdsframe.corpus.readers import READERS, Refused

LABELS = Path(__file__).with_suffix(".json")
_DRAWN = 32  # pages of one draw
_FEWEST, _MOST = 60, 700  # words of a page that is drawn
_GAP = 1.2  # a wider gap than this many letter heights ends a line: the next column or cell begins
_FOOTNOTE_MARK = re.compile(r"\^\d+")
_SCALE = 2.0  # pixels of a point in a drawn page


@dataclass
class Line:
    """Letters that stand side by side, and the box around them in points: left, bottom, right, top."""

    text: str
    box: tuple[float, float, float, float]


def lines_of(page: pdfium.PdfPage) -> list[Line]:
    """The page's lines in pdfium's order; a gap between two columns divides a line."""
    raw, text = pdfium.raw, page.get_textpage()
    found: list[Line] = []
    open_line = False
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    for index in range(text.count_chars()):
        letter = chr(raw.FPDFText_GetUnicode(text, index))
        if letter in "\r\n":
            open_line = False
            continue
        raw.FPDFText_GetCharBox(text, index, left, right, bottom, top)
        box = (left.value, bottom.value, right.value, top.value)
        if not letter.isalnum() and unicodedata.category(letter) != "Cs":
            if open_line:
                found[-1].text += letter
            continue
        if open_line:
            last = found[-1].box
            height = max(raw.FPDFText_GetFontSize(text, index), 4.0)
            apart = max(box[0] - last[2], last[0] - box[2]) > _GAP * height
            open_line = not apart and box[1] < last[3] + height / 5 and box[3] > last[1] - height / 5
        if open_line:
            last = found[-1].box
            found[-1].box = (min(last[0], box[0]), min(last[1], box[1]), max(last[2], box[2]), max(last[3], box[3]))
            found[-1].text += letter
        else:
            found.append(Line(letter, box))
            open_line = True
    text.close()
    for line in found:  # pdfium gives letters outside the basic plane in two halves
        line.text = line.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return found


def letters(text: str) -> str:
    """Letters and digits only, without case: what two readings of a line are compared by.

    The strokes that draw an Arabic word out do not count.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum() and letter != "\u0640")


def one_page(path: Path, number: int) -> bytes:
    document, single = pdfium.PdfDocument(path), pdfium.PdfDocument.new()
    single.import_pages(document, [number])
    single.save(buffer := io.BytesIO())
    return buffer.getvalue()


def reading(data: bytes) -> str:
    """The text of a page as the reader gives it to a corpus: headings once, before what they stand over."""
    parsed = READERS[".pdf"](data, 1 << 30)
    parts, before = [parsed.title or ""], ()
    for section in parsed.sections:
        pairs = zip(before, section.heading, strict=False)
        shared = next(
            (n for n, (one, other) in enumerate(pairs) if one != other), min(len(before), len(section.heading))
        )
        parts += section.heading[shared:]
        parts.append(parsed.text[section.start : section.end])
        before = section.heading
    return "\n".join(parts)


def faults(label: dict, lines: list[Line], text: str) -> list[str]:
    """Each block of the label that the text does not hold whole and in its place, by its first words."""
    found, got = [], letters(text)
    without_marks = letters(_FOOTNOTE_MARK.sub("", text))
    for stream in label["streams"]:
        place = 0
        for block in stream:
            shown = " ".join(lines[number].text for number in numbers(block))
            start = got.find(wanted := letters(shown), place)
            if start >= 0:
                place = start + len(wanted)
            elif wanted not in without_marks:
                found.append(f"{'out of place' if wanted in got else 'interrupted'}: {shown[:70]}")
    return found


def numbers(block: str) -> list[int]:
    """The numbers of `3-5,8`."""
    ranges = [part.partition("-") for part in block.split(",")]
    return [number for first, _, last in ranges for number in range(int(first), int(last or first) + 1)]


def compare(folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    for half in ("development", "test"):
        right = 0
        for label in labels[half]:
            path = next(folder.rglob(label["file"]))
            lines = lines_of(pdfium.PdfDocument(path)[label["page"] - 1])
            try:
                wrong = faults(label, lines, reading(one_page(path, label["page"] - 1)))
            except Refused as refusal:
                wrong = [str(refusal)]
            right += not wrong
            if wrong:
                print(f"{half}: {label['file']}, page {label['page']}:", *wrong[:6], sep="\n    ")
        print(f"{half}: {right} of {len(labels[half])} pages in their reading order")


def draw(folder: Path, seed: int, out: Path) -> None:
    """Draw first pages without a label at random and write each as a picture with its lines numbered."""
    paths = sorted(folder.rglob("*.pdf"))
    random.Random(seed).shuffle(paths)
    out.mkdir(parents=True, exist_ok=True)
    labels = json.loads(LABELS.read_text(encoding="utf-8")) if LABELS.exists() else {}
    known = {label["file"] for half in labels.values() for label in half}
    names: list[str] = []
    for path in paths:
        try:
            page = pdfium.PdfDocument(path)[0]
            count = len(page.get_textpage().get_text_range().split())
        except pdfium.PdfiumError:
            continue
        if not _FEWEST < count < _MOST or path.name in {*names, *known}:
            continue
        picture(page, out / f"{len(names):02}.png")
        names.append(path.name)
        if len(names) == _DRAWN:
            break
    (out / "files.json").write_text(json.dumps(names, indent=1))


def picture(page: pdfium.PdfPage, target: Path) -> None:
    image = page.render(scale=_SCALE).to_pil().convert("RGB")
    plain, pen = image.copy(), ImageDraw.Draw(image)
    for number, line in enumerate(lines_of(page)):
        left, bottom, right, top = line.box
        height = page.get_height()
        box = [left * _SCALE, (height - top) * _SCALE, right * _SCALE, (height - bottom) * _SCALE]
        box = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
        pen.rectangle(box, outline="red")
        pen.text((box[0] - 6 * len(str(number)) - 2, box[1] - 6), str(number), fill="blue")
    both = Image.new("RGB", (image.width * 2, image.height), "white")
    both.paste(plain, (0, 0))
    both.paste(image, (image.width, 0))
    both.save(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", nargs=2, metavar=("SEED", "OUT"))
    options = parser.parse_args()
    if options.draw:
        draw(options.folder, int(options.draw[0]), Path(options.draw[1]))
    else:
        compare(options.folder)


if __name__ == "__main__":
    main()
