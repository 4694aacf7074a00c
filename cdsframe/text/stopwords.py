"""Stop words that BM25 ignores, the same on every engine.

Excludes "a" (hepatitis A), "no", "not", "without" and "it".
"""

_LISTED = """
an and are as at be but by do does for from how if in into is of on or such that the their then there these they this
to was were what when where which who will with
"""

STOP_WORDS = tuple(_LISTED.split())
