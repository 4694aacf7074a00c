"""Text as the other rooms read it: sentences, words and numbers, units, headings, and the form that is searched."""
