"""No word of a Word file is lost: files made by hypothesis, whose visible words are known, read back."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from word_files import field, make_docx, p, r, table, text_box

from cdsframe.corpus.readers.word import read_docx

_ON = 'w:id="1" w:author="A"'
_SHOWN = (
    "{}", f"<w:ins {_ON}>{{}}</w:ins>", f"<w:moveTo {_ON}>{{}}</w:moveTo>", '<w:smartTag w:element="x">{}</w:smartTag>',
    '<w:customXml w:element="x">{}</w:customXml>', "<w:hyperlink>{}</w:hyperlink>",
    "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>", '<w:fldSimple w:instr="REF">{}</w:fldSimple>',
    '<w:dir w:val="rtl">{}</w:dir>', "<unknown>{}</unknown>",
)  # fmt: skip
_HIDDEN = (
    f"<w:del {_ON}>{{}}</w:del>", f"<w:moveFrom {_ON}>{{}}</w:moveFrom>",
    "<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>",
)  # fmt: skip
_NO_TEXT = ("<w:vanish/>", "<w:strike/>", "<w:dstrike/>")


class Source:
    """Words in order, and whether each is visible."""

    def __init__(self):
        self.shown, self.hidden = [], []

    def word(self, visible):
        words = self.shown if visible else self.hidden
        words.append(f"{'seen' if visible else 'gone'}{len(words)}q")
        return words[-1]


class Maker(random.Random):
    """Makes nested runs, paragraphs and tables from a seed."""

    def __init__(self, seed, source):
        super().__init__(seed)
        self.source = source

    def many(self, make, most, depth):
        return [make(depth) for _ in range(self.randint(1, most))]

    def run(self, depth):
        kind = self.choice(("plain", "plain", "hidden", "wrapped", "wrapped", "removed", "field", "split"))
        if kind == "plain" or depth > 3:
            return r(self.source.word(True) + " ")
        if kind == "hidden":
            return r(self.source.word(False) + " ", self.choice(_NO_TEXT))
        if kind == "split":
            word = self.source.word(True)
            return r(word[:3]) + r(word[3:], "<w:b/>") + r(" ")
        if kind == "removed":
            return self.choice(_HIDDEN).format(r(self.source.word(False) + " "))
        inner = "".join(self.many(self.run, 2, depth + 1))
        return field(" REF gone ", inner) if kind == "field" else self.choice(_SHOWN).format(inner)

    def paragraph(self, depth):
        content = self.many(self.run, 3, 0)
        if depth < 2 and self.random() < 0.2:
            content.append(text_box(*self.many(self.block, 2, depth + 1)))
        return p(*content, style=self.choice(("", "Heading1", "Heading2")))

    def block(self, depth):
        kind = self.choice(("paragraph", "paragraph", "table", "wrapped"))
        if kind == "paragraph" or depth > 2:
            return self.paragraph(depth)
        if kind == "wrapped":
            return self.choice(_SHOWN[3:5] + _SHOWN[6:7]).format("".join(self.many(self.block, 2, depth + 1)))
        columns = self.randint(1, 2)
        return table(*([self.cell(depth) for _ in range(columns)] for _ in range(self.randint(1, 2))))

    def cell(self, depth):
        return f"<w:tc>{self.block(depth + 1)}</w:tc>"


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_each_visible_word_is_read_once_in_its_order_and_each_hidden_one_is_counted(seed):
    source = Source()
    body = [p(r(source.word(True))), *Maker(seed, source).many(Maker(seed, source).block, 3, 0)]
    parsed = read_docx(make_docx(*body), 1 << 24)
    words = [word for word in parsed.text.replace("|", " ").replace(";", " ").split() if word.endswith("q")]
    assert words == source.shown
    assert "gone" not in parsed.text
    assert sum(item.count for item in parsed.omitted) == len(source.hidden)
    assert not any(item.text for item in parsed.omitted)
    covered = "".join(
        parsed.text[section.start : section.end] + " ".join(section.heading) for section in parsed.sections
    )
    assert all(word in covered for word in words)
