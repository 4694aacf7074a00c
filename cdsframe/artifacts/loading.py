"""Turns errors of libraries that load models into one sentence with a fix. Does not load anything."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cdsframe.errors import CdsframeError, ConfigError, InputError, named
from cdsframe.machine.memory import WORDS

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"does not support an attention implementation|does not support Flash ?Attention",
        "model.attention: not supported by this model; use model.attention=eager",
    ),
    (
        r"flash.?attn|FlashAttention2? .*(?:install|package)",
        "model.attention: flash_attention_2 needs the package flash-attn and a GPU; use model.attention=sdpa",
    ),
    (
        r"trust_remote_code|contains custom code",
        "{model} needs Python code from its repository, which cdsframe does not run (trust_remote_code); use a model "
        "with an architecture that transformers supports",
    ),
    (
        r"Should have a `model_type` key",
        "{model}: its config.json is missing or has no model_type; download the files again",
    ),
    (
        r"model type [`'\"]?(?P<what>[\w.-]+)|Unrecognized model|Unrecognized configuration class",
        "{model}: the installed transformers has no causal language model for the model_type in its config.json"
        "{named}; update transformers, or use another model",
    ),
    (
        r"not a valid JSON|Expecting (?:value|property|',')|Extra data|Unterminated string|Invalid control character",
        "{model}: one of its JSON files (config.json, tokenizer.json, …) is damaged; download the files again",
    ),
    (
        r"[Nn]o file named|[Nn]o such file|does not appear to have (?:a file|files) named|cannot find the requested",
        "{model}: a weights or configuration file is missing (expected: config.json, tokenizer.json and "
        "model.safetensors, or all shards in model.safetensors.index.json); download the files again",
    ),
    (
        r"HeaderToo|InvalidHeader|MetadataIncomplete|InvalidOffset|incomplete metadata|Error while deserializing|"
        r"PytorchStreamReader|unpickling|invalid header",
        "{model}: a weights file is damaged or incomplete; download the files again",
    ),
    (
        r"size mismatch|mismatched? (?:sizes|shapes)|ignore_mismatched_sizes|shapes? .*mismatch|cannot be multiplied",
        "{model}: its weights do not have the shapes in its config.json; download config.json and weights of the same "
        "version",
    ),
    (
        r"[Cc]ouldn't instantiate the backend tokenizer|Can't load tokenizer|enum ModelWrapper|not a valid tokenizer",
        "{model}: its tokenizer cannot be read (expected: tokenizer.json, tokenizer_config.json); download the files "
        "again",
    ),
    (
        "(?i)" + "|".join(map(re.escape, WORDS)),
        "{model} does not fit into memory; use quantization=nf4 or a smaller model",
    ),
)


@contextmanager
def loading(place: str) -> Iterator[None]:
    """Turns a library's error while it loads a model into ConfigError or InputError. A CdsframeError passes unchanged.

    An unknown error is not quoted: its text can contain class names, paths and tokens.

    Args:
        place: the config key and its value, `model.name: NAME`.
    """
    try:
        yield
    except (CdsframeError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise _in_words(place, error) from error


def _in_words(place: str, error: Exception) -> CdsframeError:
    """Returns the error for a missing resource, or for the first pattern of `_KNOWN` found in the error or its causes.

    If neither applies, returns a general InputError.
    """
    if reason := _resource_problem(error):
        return InputError(f"{place}: {reason}")
    texts = list(_texts(error))
    for pattern, sentence in _KNOWN:
        for text in texts:
            if match := re.search(pattern, text):
                words = sentence.format(model=place, named=_of_type(match))
                return ConfigError(words) if words.startswith("model.attention") else InputError(words)
    return InputError(
        f"{place} cannot be loaded; check that its folder is complete and that transformers supports its architecture "
        "(CDSFRAME_TRACEBACKS=1 shows the library's error)"
    )


_BY_ERRNO = {
    errno.EACCES: "there is no permission to read {file}",
    errno.EPERM: "there is no permission to read {file}",
    errno.ENOSPC: "no space is left on the disk for {file}",
    errno.EDQUOT: "the disk quota is used up, and {file} does not fit",
    errno.EIO: "the disk cannot read {file}",
    errno.ENOMEM: "it does not fit into memory; use quantization=nf4 or a smaller model",
}


def _resource_problem(error: BaseException | None) -> str | None:
    """Returns what is missing (memory, a package, permission, space), by the types of the error and its causes."""
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
    """Yields the message and the class name of an error and each of its causes, for the patterns of `_KNOWN`."""
    while error is not None:
        yield f"{error}" if not isinstance(error, KeyError) else f"missing key {error}"
        yield type(error).__name__
        error = error.__cause__ or error.__context__


def require_weights(place: str, absent: list[str]) -> None:
    """Raises InputError if a checkpoint lacks weights: transformers would initialise them randomly and only warn."""
    if absent:
        raise InputError(
            f"{place}: its files lack {len(absent)} weights that its config.json requires (the first: "
            f"{absent[0]}); download config.json and weights of the same version"
        )
