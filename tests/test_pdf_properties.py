"""PDF: on files made at random, each word is in the text in its order inside its block, or counted."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdf_files import shown, write_pdf

from cdsframe.corpus.readers.pdf import read_pdf

WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789.,:%/()<>-", min_size=1, max_size=12).filter(
    lambda word: any(map(str.isalnum, word))
)
LINES = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)
BLOCKS = st.tuples(
    st.lists(LINES, min_size=1, max_size=4),
    st.sampled_from([7, 10, 10, 10, 18]),
    st.sampled_from([0, 0, 0, 90, 270, 30]),
)
PAGES = st.lists(st.lists(BLOCKS, min_size=1, max_size=4), min_size=1, max_size=3)


def drawn(blocks):
    """Operators that show blocks in boxes of their own: four rows of 190 points, turned text within them."""
    content = ""
    for n, (lines, size, angle) in enumerate(blocks):
        x, y = 40.0, 780.0 - 190 * n
        for k, line in enumerate(lines):
            down = (k + 1) * 1.3 * size
            step = {0: (0, -down), 90: (down, -180), 270: (300 - down, 0), 30: (100 + down / 2, -170 - 0.866 * down)}[
                angle
            ]
            content += shown(line[: int(180 / size / 0.9)].strip(), x + step[0], y + step[1], size, angle)
    return content


def kept(blocks):
    return [[line[: int(180 / size / 0.9)].strip() for line in lines] for lines, size, _ in blocks]


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(PAGES, st.sampled_from([0, 90, 180, 270]))
def test_each_word_is_in_the_text_in_its_order_or_counted(pages, rotation):
    parsed = read_pdf(write_pdf(*map(drawn, pages), page=f"/Rotate {rotation}"), 1 << 20)
    words = parsed.text.split()
    counted = sum(item.count for item in parsed.omitted if "words" in item.reason)
    for page in pages:
        for block in kept(page):
            wanted = " ".join(block).split()
            assert counted >= _missing(wanted, words), (wanted, parsed.text)


def _missing(wanted, words):
    """How many of the words do not stand in the text in their order."""
    place = missing = 0
    for word in wanted:
        if word in words[place:]:
            place = words.index(word, place) + 1
        else:
            missing += 1
    return missing
