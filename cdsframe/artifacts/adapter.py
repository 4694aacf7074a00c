"""Publishes an adapter's folder (PEFT's files, a manifest, a model card) and checks it against a configuration.

`PeftModel.from_pretrained` loads the folder. Does not train and does not load weights.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from cdsframe.artifacts.files import atomic_folder, expanded, read_json, remove_partials, write_json, write_text
from cdsframe.artifacts.identity import differences
from cdsframe.artifacts.run import read_manifest
from cdsframe.errors import AdapterMismatchError, InputError
from cdsframe.types import Metrics

_USE = """Load it with `peft.PeftModel.from_pretrained(base, folder)`, the base quantized as above, or name it in
`adapter=FOLDER`."""
_USE_WITH_TOKENS = """Load it with `peft.PeftModel.from_pretrained(base, folder)`, or name it in `adapter=FOLDER`. Its
tokenizer is in this folder. Quantize the base as above and, if its embeddings have fewer rows than the tokenizer has
tokens, add rows first: `base.resize_token_embeddings(len(tokenizer))`."""
_USE_WHOLE = "Load it with `transformers.AutoModelForCausalLM.from_pretrained(folder)`, or name it in `adapter=FOLDER`."

_SETTINGS = ("double_quant", "threshold")
"""Keys of a component's identity that are also keys of its configuration, with the same value."""


class _Identified(Protocol):
    @property
    def identity(self) -> Mapping[str, Any]: ...


def require_match(folder: str | None, **components: _Identified | Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the adapter's manifest; None for no adapter.

    Args:
        components: group -> component or its identity (`model=…, quantization=…, prompt=…`).

    Raises AdapterMismatchError if the adapter was trained with other components (the message has the overrides that fix
    it), if the folder is damaged, or if train.py did not make it.
    """
    if folder is None:
        return None
    files = expanded(folder)
    if not (files / "manifest.json").is_file():
        raise AdapterMismatchError(f"adapter: {folder} was not made by train.py (it has no manifest.json); train one")
    try:
        manifest = read_manifest(files, "adapter", "train it again", {"identity": dict, "choices": dict})
        if not any((files / name).is_file() for name in ("adapter_model.safetensors", "model.safetensors")):
            raise InputError(f"adapter: {folder} is damaged: it has no adapter_model.safetensors; train it again")
    except InputError as error:
        raise AdapterMismatchError(str(error)) from None
    problems = []
    for group, component in components.items():
        identity = component if isinstance(component, Mapping) else component.identity
        trained, wanted = manifest["identity"].get(group, {}), dict(identity)
        found = differences(trained, wanted)
        if found:
            differing = sorted(found)
            first = differing[0]
            more = f"; {', '.join(differing[1:])} too" if len(differing) > 1 else ""
            fix = _overrides(group, manifest["choices"].get(group), trained, differing)
            problems.append(
                f"the adapter {folder} was trained with another {group} ({first}: {found[first][0]!r}, not "
                f"{found[first][1]!r}{more}); add {fix}"
            )
    if problems:
        raise AdapterMismatchError(problems)
    return manifest


def require_tokens(folder: str, chat: str, matches_legacy: Callable[[], bool]) -> None:
    """Raises AdapterMismatchError if prompts are now tokenised differently from when the adapter was trained.

    Args:
        chat: the digest of the model's chat format.
        matches_legacy: called if the adapter's manifest has no such digest, because an older cdsframe trained it;
            returns whether this version tokenises conversations as that one did.
    """
    manifest = read_json(Path(folder) / "manifest.json", "adapter")
    if manifest["chat"] == chat if "chat" in manifest else matches_legacy():
        return
    why = "another chat template or tokenizer" if "chat" in manifest else "an older cdsframe, whose tokens were wrong"
    chosen = sorted(manifest.get("choices", {}).items())
    choices = " ".join(
        f"{group}={choice}" for group, choice in chosen if choice != "None"
    )  # older manifests have "None" for a group without an option
    raise AdapterMismatchError(
        f"the adapter {folder} was trained with {why} for this model, so its prompts would have other tokens than in "
        f"training; train it again: python train.py {choices} name={Path(folder).name}, and its other overrides"
    )


def _overrides(group: str, choice: object, trained: Mapping[str, Any], differing: Sequence[str]) -> str:
    """Returns the overrides that configure a component as in training, as far as the manifest records its settings."""
    overrides = [f"{group}={choice}"]
    overrides += [
        f"{group}.{key}={str(trained[key]).lower()}" for key in differing if key in _SETTINGS and key in trained
    ]
    if "new_tokens" in differing:
        words = trained.get("new_tokens", ())
        plain = all(re.fullmatch("[A-Za-z][A-Za-z0-9]*", word) for word in words)
        overrides.append(
            f"model.new_tokens=[{','.join(words)}]" if plain else f"'model.new_tokens={json.dumps(words)}'"
        )
    if "digest" in differing:
        overrides.append(
            "model.name=FOLDER, the folder of its base" if "digest" in trained else "without model.name=FOLDER"
        )
    return " ".join(overrides)


def name_base(folder: Path, base: str) -> None:
    """Replaces the base model's local path in PEFT's configuration with its name."""
    file = folder / "adapter_config.json"
    if file.is_file():
        write_json(file, {**read_json(file, "adapter"), "base_model_name_or_path": base})


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silences PEFT 0.21's call of a deprecated attribute of transformers 5.23, which a user cannot fix."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield


def require_publishable(target: Path) -> None:
    """Checks before any work that `publish` can write to `target`, by creating and removing a temporary folder.

    Raises InputError if `target` exists and training did not make it, OSError if its parent folder is not writable.
    """
    _require_ours(target)
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".partial.old"):
            pass
    finally:
        with suppress(OSError):  # another run may have written into the new folder
            for folder in made:
                folder.rmdir()


def _require_ours(target: Path) -> None:
    if target.exists() and not (target / "manifest.json").is_file():
        raise InputError(f"{target} exists and was not made by train.py; move it away or give another name=…")


def publish(source: Path, target: Path) -> None:
    """Copies a trained adapter's or model's folder to its published path, atomically.

    A lock serialises processes; partial copies of killed processes are removed. Raises InputError, and replaces
    nothing, if `target` exists and training did not make it.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        _require_ours(target)
        remove_partials(target)
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    with atomic_folder(target) as partial:
        for file in sorted(source.rglob("*")):  # copytree would wrap OSErrors and lose their errno
            copy = partial / file.relative_to(source)
            if file.is_dir():
                copy.mkdir(exist_ok=True)
            else:
                shutil.copyfile(file, copy)


def write_card(folder: Path, manifest: Mapping[str, Any], metrics: Metrics, name: str, base: str) -> None:
    """Writes the model card (README.md in the hub's format) of an adapter or a fully fine-tuned model."""
    whole = not (folder / "adapter_config.json").is_file()
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(metrics.items()))
    choices = ", ".join(f"{group}={choice}" for group, choice in sorted(manifest["choices"].items()))
    new_tokens = manifest["identity"]["model"].get("new_tokens", ())
    words = f" Its tokenizer has {len(new_tokens)} new tokens: {', '.join(new_tokens)}." if new_tokens else ""
    library, tag, what, use = (
        ("transformers", "full-fine-tuning", "All weights of", _USE_WHOLE)
        if whole
        else ("peft", "qlora", "A LoRA adapter for", _USE_WITH_TOKENS if new_tokens else _USE)
    )
    text = f"""---
base_model: {base}
library_name: {library}
tags: [{tag}, cdsframe]
---
# {name}

{what} `{base}`, trained by cdsframe {manifest["versions"]["cdsframe"]} on: {manifest["scope"]}.{words}

Composition: {choices}; seed {manifest["seed"]}; {manifest["trainable"]:,} trainable weights.

| metric | value |
|---|---|
{rows}

{use}

Not a medical device. It repeats what it was trained on, with errors; a clinician decides. Whoever may not see the
training data should not get this adapter.
"""
    write_text(folder / "README.md", text)
