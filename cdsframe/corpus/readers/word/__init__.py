"""The parts of the Word reader (see `readers.docx`): package, styles, numbering, paragraphs, tables."""
