"""Reads the small files of the sentence-transformers format: modules, pooling, prompts. Does not import the library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdsframe.artifacts.packaged import model_path
from cdsframe.errors import ConfigError, InputError

_OWN = "sentence_transformers."

_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Key of older versions of the format -> pooling mode, in the order in which modes are concatenated."""


@dataclass(frozen=True, slots=True)
class EncoderFolder:
    """A model's files, in a folder or in the hub's cache.

    Args:
        group: the config group that names the model, for error messages.
        name: hub id, folder, or `package:NAME`.
    """

    group: str
    name: str

    @property
    def place(self) -> str:
        """Config key and value for error messages."""
        return f"{self.group}.name: {self.name}"

    @property
    def path(self) -> str:
        return model_path(self.name)

    def file(self, relative: str) -> Path | None:
        """Returns the path of a file, from the hub if necessary; None if the model has no such file."""
        folder = Path(self.path)
        if folder.is_dir():
            found = folder / relative
            return found if found.is_file() else None
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        cached = try_to_load_from_cache(self.path, relative)
        if isinstance(cached, str):
            return Path(cached)
        try:
            return Path(hf_hub_download(self.path, relative, etag_timeout=10))
        except (EntryNotFoundError, HfHubHTTPError, OSError):  # offline: what is not in the cache does not exist
            return None

    def read(self, relative: str) -> Any:
        """Returns the content of a JSON file; None if the model has none. Raises InputError if it is not JSON."""
        file = self.file(relative)
        if file is None:
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{self.place}: its file {relative} is not JSON; download it again") from None

    def modules(self) -> list[Mapping[str, str]] | None:
        """Returns the entries of `modules.json`; None without it. Raises ConfigError if an entry is custom code."""
        modules: list[Mapping[str, str]] | None = self.read("modules.json")
        for module in modules or []:
            if not module["type"].startswith(_OWN):
                raise ConfigError(
                    f"{self.place} needs the class {module['type']} from its repository; cdsframe "
                    "does not run code of a model (trust_remote_code); use a model whose modules.json names classes "
                    "of sentence-transformers only"
                )
        return modules

    def pooling(self) -> tuple[str, ...] | None:
        """Returns the pooling modes that the model's own files name; None if they name none."""
        for module in self.modules() or []:
            if module["type"].rpartition(".")[2] == "Pooling":
                return pooling_modes(self.read(f"{module['path']}/config.json") or {})
        return None

    def prompt(self, side: str) -> str:
        """Returns the prompt stored for a side, `query` or `passage`; "" if the model has none.

        As in the library, a model's default prompt is not used for queries and passages.
        """
        stored = (self.read("config_sentence_transformers.json") or {}) if self.modules() is not None else {}
        prompts = stored.get("prompts") or {}
        names = ("query",) if side == "query" else ("document", "passage", "corpus")
        return next((str(prompts[name]) for name in names if prompts.get(name)), "")

    def tokenizer_file(self) -> Path | None:
        """Returns `tokenizer.json`, of the model or of its first module; None if it has none."""
        modules = self.modules() or []
        inner = [f"{modules[0]['path']}/tokenizer.json"] if modules and modules[0]["path"] else []
        return next((file for place in ("tokenizer.json", *inner) if (file := self.file(place))), None)


def pooling_modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the modes of a pooling module's `config.json`, in the order in which they are concatenated."""
    stated = config.get("pooling_mode")
    if stated is None:
        return tuple(mode for key, mode in _POOLING.items() if config.get(key)) or ("mean",)
    return (stated,) if isinstance(stated, str) else tuple(stated)
