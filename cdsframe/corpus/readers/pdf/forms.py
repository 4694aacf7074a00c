"""Reads text that lies over a PDF page: values of form fields, notes and typed comments.

Each value becomes one `Letter` at its position, so that it follows its label. Does not run scripts or read XFA forms.
"""

from __future__ import annotations

import ctypes
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdsframe.corpus.readers.pdf.frames import Box, Frame
from cdsframe.corpus.readers.pdf.letters import Letter

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_HIDDEN = 2 | 32
"""Annotation flags Hidden and NoView: the annotation is not shown."""

_PASSWORD = 1 << 13
_FIRST_RUN = 1_000_000


@dataclass(slots=True)
class Overlay:
    """Text and marks that lie over a page."""

    values: list[tuple[Letter, Letter | None, bool]] = field(default_factory=list)
    """`(value, nearest letter of its label or None, whether that letter precedes the value)`."""
    notes: list[str] = field(default_factory=list)
    """Comments that a viewer shows beside the page."""
    hidden: int = 0
    """Number of form values and comments that are hidden."""
    signatures: int = 0
    stamps: int = 0
    """Number of stamps and watermarks without readable text."""


def read_overlay(page: PdfPage, form: Any, letters: list[Letter]) -> Overlay:
    """Reads the annotations of a page that contain text.

    Args:
        form: pdfium's handle of the document's form; None if it has none.
        letters: the page's letters; a value takes the baseline of its label.
    """
    import pypdfium2.raw as raw

    found = Overlay()
    turn = float(page.get_rotation() % 360)
    beside = [letter for letter in letters if letter.turn == turn]
    for number in range(raw.FPDFPage_GetAnnotCount(page.raw)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, number)
        if not annotation:
            continue
        try:
            reading = _Annotation(raw, form, annotation)
            text = reading.add_to(found)
            if text:
                found.values.append(_value(text, reading.box(), turn, beside, len(found.values)))
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    return found


@dataclass(slots=True)
class _Annotation:
    raw: Any
    form: Any
    handle: Any

    def add_to(self, found: Overlay) -> str:
        """Returns the text shown at the annotation's position, or "". Adds comments and counts to the overlay."""
        raw = self.raw
        kind = raw.FPDFAnnot_GetSubtype(self.handle)
        hidden = bool(raw.FPDFAnnot_GetFlags(self.handle) & _HIDDEN)
        if kind == raw.FPDF_ANNOT_WIDGET and self.form:
            text = self._value(found)
        elif kind in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET):
            return ""
        else:
            text = self._string("Contents")
            if kind in (raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_WATERMARK) and not text and not hidden:
                found.stamps += 1
            if text and not hidden and kind != raw.FPDF_ANNOT_FREETEXT:
                found.notes.append(text)
                return ""
        if hidden:
            found.hidden += bool(text) and text != "[ ]"
            return ""
        return text

    def _value(self, found: Overlay) -> str:
        raw, form = self.raw, self.form
        kind = raw.FPDFAnnot_GetFormFieldType(form, self.handle)
        if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
            return "[x]" if raw.FPDFAnnot_IsChecked(form, self.handle) else "[ ]"
        if kind == raw.FPDF_FORMFIELD_SIGNATURE:
            found.signatures += 1
            return ""
        if kind == raw.FPDF_FORMFIELD_PUSHBUTTON:
            return ""
        if kind == raw.FPDF_FORMFIELD_TEXTFIELD and raw.FPDFAnnot_GetFormFieldFlags(form, self.handle) & _PASSWORD:
            found.hidden += 1
            return ""
        if kind == raw.FPDF_FORMFIELD_LISTBOX:
            options = range(max(raw.FPDFAnnot_GetOptionCount(form, self.handle), 0))
            chosen = [n for n in options if raw.FPDFAnnot_IsOptionSelected(form, self.handle, n)]
            return ", ".join(filter(None, (self._call(raw.FPDFAnnot_GetOptionLabel, form, n) for n in chosen)))
        return self._choice(form) or self._call(raw.FPDFAnnot_GetFormFieldValue, form)

    def _choice(self, form: Any) -> str:
        """The label of a drop-down list's selected option, because the field's value may be a code; "" for others."""
        raw = self.raw
        for number in range(max(raw.FPDFAnnot_GetOptionCount(form, self.handle), 0)):
            if raw.FPDFAnnot_IsOptionSelected(form, self.handle, number):
                return self._call(raw.FPDFAnnot_GetOptionLabel, form, number)
        return ""

    def _call(self, function: Any, form: Any, *arguments: int) -> str:
        return _text(lambda buffer, length: function(form, self.handle, *arguments, buffer, length))

    def _string(self, key: str) -> str:
        get = self.raw.FPDFAnnot_GetStringValue
        return _text(lambda buffer, length: get(self.handle, key.encode(), buffer, length))

    def box(self) -> Box:
        """The annotation's `(left, bottom, right, top)` in PDF user space (see `frames`), in points."""
        rect = self.raw.FS_RECTF()
        self.raw.FPDFAnnot_GetRect(self.handle, rect)
        return rect.left, min(rect.bottom, rect.top), rect.right, max(rect.bottom, rect.top)


def _text(call: Any) -> str:
    """The UTF-16 text that a pdfium function writes into a buffer, on one line."""
    import pypdfium2.raw as raw

    length = call(None, 0)
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    call(ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), length)
    return " ".join(buffer.raw[: length - 2].decode("utf-16-le", "replace").replace("\0", "").split())


def _value(text: str, box: Box, turn: float, beside: list[Letter], number: int) -> tuple[Letter, Letter | None, bool]:
    """Returns an item of `Overlay.values`: the text as one letter as wide as the box, on the baseline of its label."""
    left, top, right, bottom = Frame(turn).box(box)
    size = max(min((bottom - top) * 0.7, 12.0), 1.0)
    base = min(top + size, bottom)
    level = [letter for letter in beside if top <= (letter.top + letter.bottom) / 2 <= bottom]
    before = [letter for letter in level if letter.right <= left + 2]
    label = None
    if before:
        label = max(before, key=lambda letter: letter.right)
    elif level:
        label = min(level, key=lambda letter: abs(letter.left - right))
    if label is not None:
        base, size = label.base, label.size
    if beside:
        sizes = Counter(round(letter.size, 1) for letter in beside)
        size = min(size, sizes.most_common(1)[0][0])  # otherwise a filled-in name becomes a heading and the title
    edges = (left, base - size, max(right, left + 1), base + 0.2 * size)
    return Letter(text, *edges, base, size, turn, _FIRST_RUN + number, " \n"), label, bool(before)


def with_values(letters: list[Letter], overlay: Overlay) -> list[Letter]:
    """Returns the letters with each value inserted beside its label. Values without a label come last."""
    behind: dict[int, list[Letter]] = defaultdict(list)
    ahead: dict[int, list[Letter]] = defaultdict(list)
    rest: list[Letter] = []
    for value, label, before in overlay.values:
        if label is None:
            rest.append(value)
        else:
            (behind if before else ahead)[id(label)].append(value)
    found: list[Letter] = []
    for letter in letters:
        found += ahead.get(id(letter), ())
        found.append(letter)
        if values := behind.get(id(letter)):
            values[-1].space += letter.space
            letter.space = letter.space or " "
            found += values
    return found + rest
