"""How a conversation with a model is written: its chat template, examined once, and the tokens of what it prints.

Nothing here chooses passages or knows a model by name. `cdsframe.encoding` is what other modules call.
"""
