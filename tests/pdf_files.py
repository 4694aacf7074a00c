"""Writes small PDF files for the tests of the PDF reader: text at any place, size and angle, fonts, forms, pictures."""

from __future__ import annotations

import math

IDENTITY_MAP = (
    "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
    "1 begincodespacerange <0000> <FFFF> endcodespacerange\n1 beginbfrange <0000> <FFFF> <0000> endbfrange\n"
    "endcmap end end\n"
)


def stream(data: str, extra: str = "") -> str:
    return f"<< /Length {len(data)} {extra} >>\nstream\n{data}endstream"


def shown(text, x, y, size=10, angle=0.0, font="F1", before=""):
    """Operators that show a text; with the font U any text of the basic plane, else Latin."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    if font == "F1":
        escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        string = f"({escaped})"
    else:
        string = f"<{''.join(f'{ord(letter):04X}' for letter in text)}>"
    return f"BT {before} /{font} {size} Tf {cos:.5f} {sin:.5f} {-sin:.5f} {cos:.5f} {x} {y} Tm {string} Tj ET\n"


def grid(xs, ys):
    """Operators that draw a ruled grid."""
    level = "".join(f"{xs[0]} {y} m {xs[-1]} {y} l S\n" for y in ys)
    return level + "".join(f"{x} {ys[0]} m {x} {ys[-1]} l S\n" for x in xs)


def write_pdf(*contents, page="", catalog="", info="", objects=(), box="0 0 600 800"):
    """A PDF with a page for each content.

    The fonts are F1 (Helvetica), U (any letter, with its Unicode map) and X (as U, without the map). `objects` get the
    numbers 20, 21, …; `page`, `catalog` and `info` are added to those dictionaries. `box` is the media box.
    """
    first = 20 + len(objects)
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(contents)))
    descriptor = (
        "<< /Type /FontDescriptor /FontName /Any /Flags 4 /FontBBox [0 -200 1000 800] /ItalicAngle 0 /Ascent 800 "
        "/Descent -200 /CapHeight 700 /StemV 80 >>"
    )
    cid = (
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Any /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) "
        "/Supplement 0 >> /FontDescriptor 7 0 R /DW 600 >>"
    )
    fonts = "/Font << /F1 3 0 R /U 4 0 R /X 5 0 R >>"
    bodies = {
        1: f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        2: f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>",
        3: "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        4: "<< /Type /Font /Subtype /Type0 /BaseFont /Any /Encoding /Identity-H /DescendantFonts [6 0 R] "
        "/ToUnicode 8 0 R >>",
        5: "<< /Type /Font /Subtype /Type0 /BaseFont /Any /Encoding /Identity-H /DescendantFonts [6 0 R] >>",
        6: cid,
        7: descriptor,
        8: stream(IDENTITY_MAP),
        9: f"<< {info} >>",
        **{20 + n: body for n, body in enumerate(objects)},
    }
    for n, content in enumerate(contents):
        bodies[first + 2 * n] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents {first + 2 * n + 1} 0 R "
            f"/Resources << {fonts} /XObject << /I1 20 0 R >> >> {page} >>"
        )
        bodies[first + 2 * n + 1] = stream(content)
    text, offsets = "%PDF-1.7\n", {}
    for number, body in sorted(bodies.items()):
        offsets[number] = len(text)
        text += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{number} 1\n{offset:010d} 00000 n \n" for number, offset in offsets.items())
    trailer = f"trailer\n<< /Size {max(bodies) + 1} /Root 1 0 R /Info 9 0 R >>\nstartxref\n{len(text)}\n%%EOF\n"
    return (text + "xref\n0 1\n0000000000 65535 f \n" + table + trailer).encode("latin-1")
