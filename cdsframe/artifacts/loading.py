"""Turns errors of the libraries that load a model into one sentence with a remedy.

Does not load anything.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdsframe.errors import CdsframeError, ConfigError, InputError, named

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"does not support an attention implementation|does not support Flash ?Attention",
        "model.attention: this model has no such attention; use model.attention=eager",
    ),
    (
        r"flash.?attn|FlashAttention2? .*(?:install|package)",
        "model.attention: flash_attention_2 needs the package flash-attn and a GPU; use model.attention=sdpa",
    ),
    (
        r"trust_remote_code|contains custom code",
        "{model} needs Python code that its repository brings along; cdsframe runs no code of a model (transformers "
        "calls it trust_remote_code); use a model of an architecture that transformers knows",
    ),
    (
        r"Should have a `model_type` key",
        "{model}: its config.json is missing or names no model_type; get the files anew",
    ),
    (
        r"model type [`'\"]?(?P<what>[\w.-]+)|Unrecognized model|Unrecognized configuration class",
        "{model}: the installed transformers has no causal language model of the type that its config.json names"
        "{named}; update transformers, or use another model",
    ),
    (
        r"not a valid JSON|Expecting (?:value|property|',')|Extra data|Unterminated string|Invalid control character",
        "{model}: one of its JSON files (config.json, tokenizer.json, …) is damaged; get the files anew",
    ),
    (
        r"[Nn]o file named|[Nn]o such file|does not appear to have (?:a file|files) named|cannot find the requested",
        "{model}: a file of weights or of the configuration is missing (expected: config.json, tokenizer.json and "
        "model.safetensors, or all parts that model.safetensors.index.json names); get the files anew",
    ),
    (
        r"HeaderToo|InvalidHeader|MetadataIncomplete|InvalidOffset|incomplete metadata|Error while deserializing|"
        r"PytorchStreamReader|unpickling|invalid header",
        "{model}: a file of weights is damaged or cut short; get the files anew",
    ),
    (
        r"size mismatch|mismatched? (?:sizes|shapes)|ignore_mismatched_sizes|shapes? .*mismatch|cannot be multiplied",
        "{model}: its weights have other shapes than its config.json says; get config.json and weights of one version",
    ),
    (
        r"[Cc]ouldn't instantiate the backend tokenizer|Can't load tokenizer|enum ModelWrapper|not a valid tokenizer",
        "{model}: its tokenizer cannot be read (expected: tokenizer.json, tokenizer_config.json); get the files anew",
    ),
    (
        r"out of memory|not enough memory|can't allocate memory",
        "{model} does not fit into memory; use quantization=nf4 or a smaller model",
    ),
)


@contextmanager
def loading(place: str) -> Iterator[None]:
    """Turns what a library raises while it loads a model into ConfigError or InputError. Our own errors pass.

    An error of an unknown kind is not quoted: its text can hold names of classes, paths and tokens.

    Args:
        place: the key and its value, `model.name: NAME`.
    """
    try:
        yield
    except (CdsframeError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise _in_words(place, error) from error


def _in_words(place: str, error: Exception) -> CdsframeError:
    """The sentence of the machine's own fault, else of the first pattern found in the error or in its causes."""
    if reason := _of_the_machine(error):
        return InputError(f"{place}: {reason}")
    texts = list(_texts(error))
    for pattern, sentence in _KNOWN:
        for text in texts:
            if match := re.search(pattern, text):
                words = sentence.format(model=place, named=_of_type(match))
                return ConfigError(words) if words.startswith("model.attention") else InputError(words)
    return InputError(
        f"{place} cannot be loaded; check that its folder is complete and that transformers knows its architecture "
        "(CDSFRAME_TRACEBACKS=1 shows the library's own error)"
    )


_BY_ERRNO = {
    errno.EACCES: "there is no permission to read {file}",
    errno.EPERM: "there is no permission to read {file}",
    errno.ENOSPC: "no space is left on the disk (needed for {file})",
    errno.EDQUOT: "the disk quota is used up (needed for {file})",
    errno.EIO: "the disk cannot read {file}",
    errno.ENOMEM: "it does not fit into memory; use quantization=nf4 or a smaller model",
}


def _of_the_machine(error: BaseException | None) -> str | None:
    """What the machine lacks (memory, a package, permission, space), by the types of the error and of its causes."""
    while error is not None:
        if isinstance(error, MemoryError):
            return _BY_ERRNO[errno.ENOMEM]
        if isinstance(error, ModuleNotFoundError) and error.name:
            return f"the Python package {error.name} is missing; install it, or use another model"
        if isinstance(error, OSError) and error.errno in _BY_ERRNO:
            return _BY_ERRNO[error.errno].format(file=named(Path(str(error.filename or "a file")).name)[1:-1])
        error = error.__cause__ or error.__context__
    return None


def _of_type(match: re.Match[str]) -> str:
    found = match.groupdict().get("what")
    return f" ({found})" if found else ""


def _texts(error: BaseException | None) -> Iterator[str]:
    """The words of an error and of its causes, each followed by the name of its class, which patterns look for."""
    while error is not None:
        yield f"{error}" if not isinstance(error, KeyError) else f"missing key {error}"
        yield type(error).__name__
        error = error.__cause__ or error.__context__


def require_weights(place: str, absent: list[str]) -> None:
    """Raises InputError where a checkpoint lacks weights: transformers would draw them at random, with a warning."""
    if absent:
        raise InputError(
            f"{place}: its files lack {len(absent)} weights that its config.json asks for (the first: "
            f"{absent[0]}); get config.json and weights of one version"
        )
