"""Recognises errors that mean that memory ran out, and frees what torch keeps of it. Does not measure memory."""

from __future__ import annotations

WORDS = (
    "out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory",
    "cublas_status_alloc_failed",
)  # fmt: skip
"""Of the RuntimeErrors of torch's allocators on CPUs and on CUDA devices, and of cuBLAS, in lower case."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python means that memory ran out, so that less work at once may succeed."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in WORDS)


def empty_cuda_cache() -> None:
    """Returns the memory that torch keeps for later tensors to the CUDA device, so that smaller batches fit.

    Call it after the `except` block: the error's traceback keeps the tensors of the batch.
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
