"""How much of web pages is read: segments of trafilatura's evaluation set, and words that are neither read nor counted.

    git clone https://github.com/adbar/trafilatura FOLDER
    python benchmarks/reading_html.py FOLDER/tests

A wanted segment counts where the title or text holds it, white space aside. A word is lost where a browser's tree has
it outside scripts and style sheets, the document has it less often, and no omission counts it. Does not judge order.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import unicodedata
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from cdsframe.corpus.readers import READERS, Parsed, Refused
from cdsframe.corpus.readers.html.source import source_of
from cdsframe.corpus.readers.html.tree import tree_of


def main() -> None:
    """Prints the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds evaldata.json, and the pages in cache/ and eval/")
    parser.add_argument("--list", action="store_true", help="print the pages with lost segments or words")
    arguments = parser.parse_args()
    annotated = json.loads((arguments.folder / "evaldata.json").read_text("utf-8"))
    counts: Counter[str] = Counter()
    for item in annotated.values():
        paths = (arguments.folder / name / item["file"] for name in ("cache", "eval"))
        path = next(filter(Path.is_file, paths), None)
        if path is not None:
            _count(path, item, counts, arguments.list)
    print(
        f"{counts['pages']} pages: {counts['refused']} refused; {counts['none']} read without any wanted segment, "
        f"{counts['none, reported']} of them with a report of lost text"
    )
    print(f"wanted segments: {counts['wanted read']} of {counts['wanted']} read")
    print(f"unwanted segments: {counts['unwanted read']} of {counts['unwanted']} read")
    print(f"visible words: {counts['words']}; counted as left out: {counts['counted']}; lost: {counts['lost']}")
    print(json.dumps(counts))


def _count(path: Path, item: dict[str, list[str]], counts: Counter[str], listed: bool) -> None:
    data = path.read_bytes()
    counts["pages"] += 1
    counts["wanted"] += len(item["with"])
    counts["unwanted"] += len(item["without"])
    try:
        parsed = READERS[".html"](data, len(data))
    except Refused as refusal:
        counts["refused"] += 1
        print(f"{path.name}: {refusal}")
        return
    text = _letters(f"{parsed.title or ''} {parsed.text}")
    wanted = [_letters(segment) in text for segment in item["with"]]
    counts["wanted read"] += sum(wanted)
    counts["unwanted read"] += sum(_letters(segment) in text for segment in item["without"])
    if not any(wanted):
        counts["none"] += 1
        counts["none, reported"] += any(omission.text for omission in parsed.omitted)
    lost = _lost(data, parsed, counts)
    counts["lost"] += lost
    counts["pages with lost words"] += bool(lost)
    if listed and (lost or not all(wanted)):
        print(f"{path.name}: {len(wanted) - sum(wanted)} of {len(wanted)} wanted segments and {lost} words lost")


def _lost(data: bytes, parsed: Parsed, counts: Counter[str]) -> int:
    """Words that the page shows, and that are neither read nor counted."""
    shown = Counter(_words(" ".join(tree_of(source_of(data).text).texts())))
    read = Counter(_words(f"{parsed.title or ''} {parsed.text}"))
    counted = sum(omission.count for omission in parsed.omitted if "words" in omission.reason and not omission.text)
    missing = sum((shown - read).values())
    counts["words"] += sum(shown.values())
    counts["counted"] += min(missing, counted)
    return max(0, missing - counted)


def _letters(text: str) -> str:
    return re.sub(r"[\s\xad\u200b]+", "", unicodedata.normalize("NFKC", text))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).replace("\xad", ""))


if __name__ == "__main__":
    main()
