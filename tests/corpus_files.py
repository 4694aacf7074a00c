"""Files of every kind, made by hand, and what a document's sections hold: shared by the tests of corpora."""

from __future__ import annotations

import gzip
import json


def make_pdf(lines, trailer="", drawing="", pages=1):
    """A PDF whose pages show `(text, size in points)` for each line, and the operators of a drawing."""
    shown = "".join(f"BT /F1 {size} Tf 50 {780 - 30 * n} Td ({text}) Tj ET\n" for n, (text, size) in enumerate(lines))
    shown += drawing
    kids = " ".join(f"{6 + n} 0 R" for n in range(pages))
    page = (
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
    )
    bodies = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>",
        "null",
        f"<< /Length {len(shown)} >>\nstream\n{shown}endstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        *([page] * pages),
    ]
    text, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(text))
        text += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    start, size = len(text), len(bodies) + 1
    text += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\n"
    return (text + f"startxref\n{start}\n%%EOF\n").encode()


def sections_of(document):
    return [(section.heading, document.text[section.start : section.end].strip()) for section in document.sections]


def write_lines(path, *records):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)
