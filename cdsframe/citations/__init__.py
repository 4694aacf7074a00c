"""Checks an answer's citations: its markers, and whether the cited passages support its statements.

`checking` reads the markers, `clauses` reads sentences, `agreement` compares a statement with a passage.
"""

from cdsframe.citations.checking import SUPPORTED, WORTH, Checked, check, statements, support, supports, terms

__all__ = ["SUPPORTED", "WORTH", "Checked", "check", "statements", "support", "supports", "terms"]
