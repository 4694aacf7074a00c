"""Finds the adapters that differ only in the seed of their training: they are one level of a factor.

Reads the adapters' manifests. Does not read weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from cdsframe.artifacts.files import expanded
from cdsframe.artifacts.run import read_manifest
from cdsframe.errors import InputError
from cdsframe.evaluation.factorial.settings import EvaluatedRun
from cdsframe.types import JsonObject

_FACTS = ("choices", "identity", "scope", "data", "total", "trainable")
"""What an adapter's manifest without `recipe` has of its training."""
_PLACES = ("paths", "logger", "callbacks")


def adapter_levels(runs: Sequence[EvaluatedRun], declared: Mapping[str, Sequence[str]] | None) -> dict[str, str]:
    """Folder of each adapter -> name of its level: adapters that differ only in their training seed have one level.

    Args:
        declared: name of a level -> folders of its adapters; None: compares the adapters' manifests.

    Raises InputError if an adapter is in no declared level, or if its manifest does not decide.
    """
    used = {run.adapter: run.manifest.get("digests", {}).get("adapter") for run in runs if run.adapter is not None}
    if declared is not None:
        names = {str(Path(folder)): name for name, folders in declared.items() for folder in folders}
        if missing := [folder for folder in used if str(Path(folder)) not in names]:
            raise InputError(
                f"evaluation.adapters: names no level of {missing[0]}; add this folder to one of the levels"
            )
        return {folder: names[str(Path(folder))] for folder in used}
    if len({digest or folder for folder, digest in used.items()}) < 2:
        return dict.fromkeys(used, "tuned")
    manifests = {folder: _manifest(folder, digest) for folder, digest in used.items()}
    whole = all(manifest.get("recipe") for manifest in manifests.values())
    same: dict[str, list[str]] = {}
    for folder, manifest in sorted(manifests.items()):
        same.setdefault(manifest["recipe"] if whole else _facts(manifest), []).append(folder)
    for folders in same.values():
        _require_other_seeds({folder: manifests[folder] for folder in folders})
    if len(same) == 1:
        return dict.fromkeys(used, "tuned")
    short = [_name(folders) for folders in same.values()]
    unique = [
        name if name not in ("", "base") and short.count(name) == 1 else folders[0]
        for name, folders in zip(short, same.values(), strict=True)
    ]
    return {folder: name for name, folders in zip(unique, same.values(), strict=True) for folder in folders}


def _manifest(folder: str, digest: str | None) -> JsonObject:
    try:
        manifest = read_manifest(expanded(folder), "adapter", "its runs cannot be assigned", {"seed": int})
    except InputError as error:
        raise _undecided(str(error)) from None
    if digest is not None and manifest.get("digests", {}).get("adapter") != digest:
        raise _undecided(f"{folder} has other weights than when it was evaluated")
    return manifest


def _facts(manifest: JsonObject) -> str:
    choices = {group: option for group, option in manifest.get("choices", {}).items() if group not in _PLACES}
    facts = {key: manifest.get(key) for key in _FACTS} | {"choices": choices}
    examples = manifest.get("metrics", {}).get("train/examples")
    return json.dumps([facts, examples, manifest.get("digests", {}).get("model")], sort_keys=True)


def _require_other_seeds(manifests: Mapping[str, JsonObject]) -> None:
    seen: dict[int, tuple[str, JsonObject]] = {}
    for folder, manifest in manifests.items():
        other = seen.setdefault(manifest["seed"], (folder, manifest))
        if other[1].get("digests", {}).get("adapter") != manifest.get("digests", {}).get("adapter"):
            raise _undecided(f"{other[0]} and {folder} have the same recipe and the same seed, {manifest['seed']}")


def _undecided(why: str) -> InputError:
    return InputError(
        f"evaluation.adapters: which adapters differ only in their training seed is not known: {why}; name them: "
        "evaluation.adapters={NAME:[FOLDER,FOLDER],NAME:[FOLDER]}"
    )


def _name(folders: Sequence[str]) -> str:
    """The common part of the folders' names, without the seed: `short` for `short-1` and `short-2`."""
    paths = [Path(folder) for folder in folders]
    names = [path.parent.name if path.name == "adapter" else path.name for path in paths]
    if len(names) == 1:
        return names[0]
    common = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return re.sub(r"[-_. ]*(seed)?[-_. ]*\d*$", "", "".join(letters[0] for letters in common))
