"""Generators: `transformers` in this process, `openai` on an engine, `none`, and the test double `scripted`."""
