"""The words that BM25 passes over, the same on every engine.

Not among them: "a" (hepatitis A), "no", "not", "without", "it".
"""

_LISTED = """
an and are as at be but by do does for from how if in into is of on or such that the their then there these they this
to was were what when where which who will with
"""

STOP_WORDS = tuple(_LISTED.split())
