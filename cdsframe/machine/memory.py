"""Recognises errors that mean that memory ran out. Does not measure memory."""

from __future__ import annotations

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
"""Of the RuntimeErrors of torch's allocators on CPUs and on CUDA devices."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python means that memory ran out, so that less work at once may succeed."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _WORDS)
