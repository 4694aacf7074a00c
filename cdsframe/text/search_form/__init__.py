"""Normalises texts for search, alike for documents and questions, on every index and for every model.

The text that is shown and cited is not normalised. Does not tokenise Latin text: engines and models do.
"""

from cdsframe.text.search_form.normal import search_form
from cdsframe.text.search_form.scripts import MARKS, UNSPACED, grams
from cdsframe.text.search_form.words import search_words

__all__ = ["MARKS", "UNSPACED", "grams", "search_form", "search_words"]
