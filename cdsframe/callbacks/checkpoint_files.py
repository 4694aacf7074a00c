"""Writes the checkpoints of a run atomically as folders, verifies them by digests, and keeps the last two.

Holds safetensors and JSON only: reading a checkpoint runs no code. Does not know what is trained and does not choose
when to write.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdsframe.artifacts.files import atomic_folder, remove_partials
from cdsframe.artifacts.run import FORMAT_VERSION, read_manifest
from cdsframe.errors import CdsframeError, FormatVersionError, InputError
from cdsframe.types import JsonObject

log = logging.getLogger(__name__)

_KEPT = 2

_TENSOR, _ITEMS = "__tensor__", "__items__"
"""Keys of `state.json` that mark a tensor, and a mapping whose keys are not strings."""

_FILES = {"state_dict": "weights"}
"""Top-level key of a checkpoint -> file of its tensors; the tensors of all other keys are in `optimizer`."""


class Checkpoints:
    """The checkpoints in a folder: folders `step-<number>` of safetensors, `state.json` and `manifest.json`.

    Args:
        identity: digests of the inputs that the configuration does not determine; a checkpoint whose digests differ is
            refused.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str | None]) -> None:
        self.folder, self.identity = folder, dict(identity)

    def path(self, step: int) -> Path:
        """Returns the folder of the checkpoint after a step."""
        return self.folder / f"step-{step:08}"

    def save(self, step: int, content: Mapping[str, Any]) -> None:
        """Writes a checkpoint, syncs it to disk, renames it into place, then removes all but the last two.

        Needs disk space for three checkpoints. Raises CdsframeError if it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors: dict[str, dict[str, Any]] = {}
        state = {
            key: _taken(value, key, tensors.setdefault(_FILES.get(key, "optimizer"), {}))
            for key, value in content.items()
        }
        try:
            with atomic_folder(self.path(step)) as partial:
                for name, values in tensors.items():
                    on_cpu = {key: value.detach().to("cpu").clone().contiguous() for key, value in values.items()}
                    save_file(on_cpu, partial / f"{name}.safetensors")
                _write(partial / "state.json", state)
                manifest = {"format_version": FORMAT_VERSION, "step": step, "identity": self.identity}
                _write(partial / "manifest.json", manifest | {"files": _digests(partial)})
            for old in self._complete()[:-_KEPT]:
                shutil.rmtree(old)
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            kept = self._complete()
            left = f"the checkpoint of step {_step(kept[-1])} is intact" if kept else "no earlier one exists"
            raise CdsframeError(
                f"the checkpoint of step {step} could not be written to {self.folder} ({reason}); {left}; "
                f"free some space, then resume with resume={self.folder.parent}"
            ) from error

    def latest(self) -> Path | None:
        """Returns the folder of the last intact checkpoint of this run; None if there is no checkpoint.

        Renames later ones that are damaged or of another run to `….refused` and logs a warning. Raises InputError if
        there are checkpoints but none can be used.
        """
        if self.folder.is_dir():
            remove_partials(self.folder / "step-????????")
        refused: dict[Path, str] = {}
        for folder in reversed(self._complete()):
            reason = self.fault(folder)
            if reason is None:
                for other, why in refused.items():
                    log.warning("checkpoint %s %s; resuming from the earlier %s", other.name, why, folder.name)
                    _refuse(other)
                return folder
            refused[folder] = reason
        if refused:
            reasons = "; ".join(f"{folder.name} {why}" for folder, why in refused.items())
            raise InputError(f"resume: no checkpoint in {self.folder} can be used: {reasons}; start a new run")
        return None

    @staticmethod
    def read(folder: Path) -> JsonObject:
        """Reads a checkpoint; its tensors are on the CPU."""
        from safetensors.torch import load_file

        tensors = {file.stem: load_file(file) for file in folder.glob("*.safetensors")}
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {key: _restored(value, tensors.get(_FILES.get(key, "optimizer"), {})) for key, value in state.items()}

    def fault(self, folder: Path) -> str | None:
        """Returns why a checkpoint cannot be used; None if it is intact and of this run."""
        needed = {"step": int, "identity": dict, "files": dict}
        try:
            manifest = read_manifest(folder, "checkpoint", "", needed)
            changed = sorted(name for name, digest in manifest["files"].items() if _digest(folder / name) != digest)
        except FormatVersionError:
            return "was written by another version of cdsframe"
        except (InputError, OSError):
            return "is damaged (its manifest or one of its files cannot be read)"
        if changed or "state.json" not in manifest["files"]:
            return f"is damaged ({', '.join(changed) or 'state.json'} differs from what was written)"
        other = sorted(key for key, value in self.identity.items() if manifest["identity"].get(key) != value)
        return f"is of another run (its {', '.join(other)} differ)" if other else None

    def remove(self) -> None:
        """Removes all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        """Returns the complete checkpoints (those renamed into place), oldest first."""
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))


def _taken(value: Any, name: str, tensors: dict[str, Any]) -> Any:
    """Returns a value as JSON; moves its tensors into `tensors`. Raises CdsframeError if JSON cannot hold it."""
    import torch

    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        parts = {key: _taken(inner, f"{name}.{key}", tensors) for key, inner in value.items()}
        return parts if all(isinstance(key, str) for key in parts) else {_ITEMS: list(parts.items())}
    if isinstance(value, list | tuple):
        return [_taken(inner, f"{name}.{number}", tensors) for number, inner in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise CdsframeError(
        f"the checkpoint cannot hold {name}, a {type(value).__name__}; a callback's state must be plain values"
    )


def _restored(value: Any, tensors: Mapping[str, Any]) -> Any:
    """The inverse of `_taken`; tuples become lists."""
    if isinstance(value, list):
        return [_restored(inner, tensors) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_TENSOR}:
        return tensors[value[_TENSOR]]
    if value.keys() == {_ITEMS}:
        return {key: _restored(inner, tensors) for key, inner in value[_ITEMS]}
    return {key: _restored(inner, tensors) for key, inner in value.items()}


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _refuse(folder: Path) -> None:
    aside = folder.with_name(folder.name + ".refused")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def _write(file: Path, value: JsonObject) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    return {file.name: _digest(file) for file in sorted(folder.iterdir())}


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Locks a run's folder against other training processes. Raises InputError if another process holds the lock."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"resume: another process is training in {folder}; wait until it ends") from None
