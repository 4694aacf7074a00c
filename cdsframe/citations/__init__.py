"""Checks what an answer cites: its markers, and whether the passages say what it says.

`checking` reads the markers; `clauses` reads sentences, `agreement` compares a statement with a passage.
"""

from cdsframe.citations.checking import SUPPORTED, WORTH, Checked, check, statements, support, supports, terms

__all__ = ["SUPPORTED", "WORTH", "Checked", "check", "statements", "support", "supports", "terms"]
