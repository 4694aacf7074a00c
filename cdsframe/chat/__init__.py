"""Examines a model's chat template once, and tokenises conversations with it. Has no list of known models.

Other modules call `cdsframe.chat.encoding`.
"""
