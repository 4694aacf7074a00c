"""The chat format of a model: its chat template, examined once, and the tokens of a printed conversation.

Chooses no passages and has no list of known models. Other modules call `cdsframe.chat.encoding`.
"""
