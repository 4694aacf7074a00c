"""How many words of Word files the reader keeps.

    python benchmarks/reading_docx.py FOLDER

The source's words are counted here without the reader's code: every `w:t` and `m:t` of the document, the footnotes and
the endnotes that is not deleted, hidden, struck out, a prompt, or the fallback copy of another. Headers, footers and
comments are not counted.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

from lxml import etree

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cdsframe.corpus.folder import read_file
from cdsframe.types import Document

_LOST = ("del", "moveFrom")
_SEPARATORS = ("separator", "continuationSeparator", "continuationNotice")


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _local(element) -> str:
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def _on(run, mark: str) -> bool:
    found = run.find(f"./{{*}}rPr/{{*}}{mark}")
    return found is not None and next(iter(found.attrib.values()), "1") not in ("0", "false", "off")


def _letters(element) -> str:
    """A run's text; the parts of a formula are apart, as they are written at different heights."""
    return f" {element.text or ''} " if element.tag.endswith("/math}t") else element.text or ""


def _is_lost(element) -> bool:
    tag = _local(element)
    if tag in _LOST:
        return True
    if tag == "Fallback":
        return any(_local(item) == "t" for item in element.getparent()[0].iter())
    if tag == "sdt":
        return element.find("./{*}sdtPr/{*}showingPlcHdr") is not None
    if tag in ("footnote", "endnote"):
        return any(value in _SEPARATORS for value in element.attrib.values())
    if tag == "tr":
        return element.find("./{*}trPr/{*}del") is not None
    return tag == "r" and any(_on(element, mark) for mark in ("vanish", "strike", "dstrike"))


def source_paragraphs(path: Path) -> list[list[str]]:
    """The words of each paragraph of the stories."""
    found: dict[object, list[str]] = {}
    with zipfile.ZipFile(path) as archive:
        parts = [n for n in archive.namelist() if re.fullmatch(r"word/(document\d*|footnotes|endnotes)\.xml", n)]
        for part in sorted(parts):
            root = etree.fromstring(archive.read(part), etree.XMLParser(huge_tree=True))
            lost: set[object] = set()
            for element in root.iter():
                parent = element.getparent()
                if parent in lost or _is_lost(element):
                    lost.add(element)
                    continue
                tag = _local(element)
                if tag in ("t", "tab", "br", "cr", "sym", "noBreakHyphen", "ptab", "vertAlign", "rt", "rubyBase"):
                    holder = next((up for up in element.iterancestors() if _local(up) == "p"), root)
                    found.setdefault(holder, []).append(_letters(element) if tag == "t" else " ")
    return [listed for texts in found.values() if (listed := words("".join(texts)))]


def kept(source: Counter[str], text: str) -> int:
    read = Counter(words(text))
    return sum(min(count, read[word]) for word, count in source.items())


def main(folder: Path) -> None:
    total, whole, poor = Counter[str](), Counter[str](), []
    for path in sorted(item for item in folder.rglob("*") if item.suffix.lower() in (".docx", ".docm", ".dotx")):
        try:
            paragraphs = source_paragraphs(path)
        except (zipfile.BadZipFile, KeyError, etree.XMLSyntaxError, RuntimeError) as error:
            print(f"{path.name}: cannot be measured ({type(error).__name__})")
            continue
        source = Counter(word for listed in paragraphs for word in listed)
        item, _ = read_file((path.name, path), folder, 1 << 30, 300)
        total["files"] += 1
        if not isinstance(item, Document):
            total["refused"] += 1
            print(f"{path.name}: {item} ({sum(source.values())} words)")
            text = ""
        else:
            text = "\n".join([item.title, *(h for s in item.sections for h in s.heading), item.text])
            for omission in item.omitted:
                whole[f"{'TEXT LOST' if omission.text else 'left out'}: {omission.reason}"] += omission.count
        found, all_ = kept(source, text), sum(source.values())
        stream = f" {' '.join(words(text))} "
        total["words"] += all_
        total["kept"] += found
        total["paragraphs"] += len(paragraphs)
        total["in order"] += sum(f" {' '.join(listed)} " in stream for listed in paragraphs)
        if all_ and found < 0.98 * all_:
            poor.append((found / all_, all_, path.name))
    print(f"{total['files']} files, {total['refused']} refused")
    print(f"words kept: {total['kept']} of {total['words']} ({total['kept'] / max(1, total['words']):.4f})")
    print(f"paragraphs whole and in order: {total['in order']} of {total['paragraphs']}")
    print(f"files below .98 of their words: {len(poor)}")
    for share, all_, name in sorted(poor):
        print(f"  {share:.3f} of {all_}: {name}")
    for reason, count in sorted(whole.items()):
        print(f"{reason}: {count}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    main(parser.parse_args().folder.resolve())
