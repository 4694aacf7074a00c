"""Decides whether the title in a PDF's properties names the document. Does not read the pages."""

from __future__ import annotations

import re

_LONGEST = 300

_FILE = re.compile(
    r"\.(docx?|docm|dotx?|pdf|xlsx?|pptx?|odt|rtf|txt|html?|xml|indd|qx[dp]|tex|dvi|e?ps|ai|cdr|pub|wpd|fm|tiff?|jpe?g|png)\b"
    r"|^(microsoft (word|powerpoint|excel|office)|untitled|unbenannt|sans.titre|ohne titel|sin t[ií]tulo)\b"
    r"|^(document|dokument|presentation|präsentation|powerpoint[- ]pr[eé]sentation|présentation powerpoint|book|mappe"
    r"|slide|folie|word document|new document|layout|scan(ned document)?|print|title|titel|template|none|null|blank"
    r"|no title|default)\W*\d*$|^\w+://|^about:|[\\/]\S+[\\/]|%20",
    re.IGNORECASE,
)
"""Titles that programs write: file names, addresses, template defaults."""


def sensible(title: str) -> str:
    """The title from the file's properties; "" if a program generated it."""
    title = " ".join(title.split())
    letters = sum(character.isalpha() for character in title)
    if letters < 3 or len(title) > _LONGEST or not title.isprintable() or _FILE.search(title):
        return ""
    if " " not in title and re.search(r"[\d_]", title):
        return ""
    return title
