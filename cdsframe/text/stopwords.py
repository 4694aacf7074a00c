"""Words that carry no content, for searching and for comparing texts. No negation and no comparator is among them."""

from __future__ import annotations

_IGNORED_BY_BM25 = """
an and are as at be but by do does for from how if in into is of on or such that the their then there these they this
to was were what when where which who will with
"""
_FUNCTION_WORDS = """
a an the of in on at to for and or is are was were be been being by with as it its this that these those from should
must may can will would could might shall has have had having do does did than there here he she they them their his
her we our us you your i me my also then so who whom which when if while where because although though since whereas
into onto about per via either any each such but yes
"""

STOP_WORDS = tuple(_IGNORED_BY_BM25.split())
"""Words that BM25 ignores on Lance and on Elasticsearch with `analyzer: english`. Changing them changes the content of
indexes. "a" (hepatitis A) and "it" are not among them."""

FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that do not count when a statement is compared with the text that it repeats."""

QUESTION_WORDS = frozenset(["what", "which", "who", "whom", "how", "when", "where", "why"])
