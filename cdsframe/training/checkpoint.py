"""Checkpoints of one run: whole or not there, checked by digest when read, the last two kept.

safetensors and JSON only: reading one runs no code. Does not know what is trained and does not choose when to write.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdsframe.artifacts.files import atomic_folder, remove_partials
from cdsframe.artifacts.run import FORMAT_VERSION, read_manifest
from cdsframe.errors import CdsframeError, FormatVersionError, InputError
from cdsframe.types import JsonObject

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_KEPT = 2

Tensors = Mapping[str, Mapping[str, "torch.Tensor"]]
"""File name without suffix -> name -> tensor."""


class Checkpoints:
    """The checkpoints in a folder, each a folder `step-<number>` of safetensors, `state.json` and `manifest.json`.

    Args:
        identity: digests of what the run depends on besides its configuration: a checkpoint with others is foreign.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str | None]) -> None:
        self.folder, self._identity = folder, dict(identity)

    def save(self, step: int, tensors: Tensors, state: JsonObject) -> None:
        """Writes one beside its place, fsyncs and renames it, then removes all but the last two.

        Raises CdsframeError where it cannot be written, with what is left; room for three is needed.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            with atomic_folder(self.folder / f"step-{step:08}") as partial:
                for name, values in tensors.items():
                    on_cpu = {key: value.detach().to("cpu").clone().contiguous() for key, value in values.items()}
                    save_file(on_cpu, partial / f"{name}.safetensors")
                _write(partial / "state.json", state)
                manifest = {"format_version": FORMAT_VERSION, "step": step, "identity": self._identity}
                _write(partial / "manifest.json", manifest | {"files": _digests(partial)})
            for old in self._whole()[:-_KEPT]:
                shutil.rmtree(old)
        except (OSError, SafetensorError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            kept = self._whole()
            left = f"that of step {_step(kept[-1])} is whole" if kept else "there is none before it"
            raise CdsframeError(
                f"the checkpoint of step {step} could not be written to {self.folder} ({reason}); {left}; "
                f"make room, then go on with resume={self.folder.parent}"
            ) from error

    def latest(self) -> tuple[dict[str, dict[str, torch.Tensor]], JsonObject] | None:
        """Tensors (on the CPU) and state of the last one that is whole and of this run; None where there is none.

        Those that are torn or foreign are renamed to `….refused`, with a warning. Raises InputError where no other is
        left.
        """
        from safetensors.torch import load_file

        if self.folder.is_dir():
            remove_partials(self.folder / "step-????????")
        refused: dict[Path, str] = {}
        for folder in reversed(self._whole()):
            reason = self.fault(folder)
            if reason is None:
                for other, why in refused.items():
                    log.warning("checkpoint %s %s; going on from the one before it, %s", other.name, why, folder.name)
                    _refuse(other)
                tensors = {file.stem: load_file(file) for file in folder.glob("*.safetensors")}
                return tensors, json.loads((folder / "state.json").read_text(encoding="utf-8"))
            refused[folder] = reason
        if refused:
            told = "; ".join(f"{folder.name} {why}" for folder, why in refused.items())
            raise InputError(f"resume: no checkpoint in {self.folder} can be used: {told}; start a new run")
        return None

    def fault(self, folder: Path) -> str | None:
        """What is wrong with a checkpoint, None where it is whole and of this run."""
        needed = {"step": int, "identity": dict, "files": dict}
        try:
            manifest = read_manifest(folder, "checkpoint", "", needed)
            changed = sorted(name for name, digest in manifest["files"].items() if _digest(folder / name) != digest)
        except FormatVersionError:
            return "was written by another cdsframe (its format version is another one)"
        except (InputError, OSError):
            return "is torn (its manifest or a file of it cannot be read)"
        if changed or "state.json" not in manifest["files"]:
            return f"is torn ({', '.join(changed) or 'state.json'} is not as it was written)"
        other = sorted(key for key, value in self._identity.items() if manifest["identity"].get(key) != value)
        return f"is of another run (other {', '.join(other)})" if other else None

    def remove(self) -> None:
        """Removes all of them: the run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _whole(self) -> list[Path]:
        """Those that were renamed into place, oldest first."""
        return sorted(self.folder.glob("step-" + "[0-9]" * 8))


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


# ------------------------------------------------------------------------------------------------ random states


def random_states() -> JsonObject:
    """The states of this process's generators: Python's, numpy's, torch's, and the current CUDA device's."""
    import numpy
    import torch

    version, internal, gauss = random.getstate()
    legacy: Any = numpy.random.get_state()
    _, keys, position, has_gauss, cached = legacy
    return {
        "python": [version, list(internal), gauss],
        "numpy": [keys.tolist(), position, has_gauss, cached],
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
        "cuda": bytes(torch.cuda.get_rng_state().tolist()).hex() if torch.cuda.is_available() else None,
    }


def restore_random_states(states: JsonObject) -> None:
    """Sets the generators to what `random_states` gave."""
    import numpy
    import torch

    def state(text: str) -> torch.Tensor:
        return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)

    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    numpy.random.set_state(("MT19937", numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
    torch.set_rng_state(state(states["torch"]))
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state(states["cuda"]))


# ------------------------------------------------------------------------------------------------ one at a time


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a run's folder, until the process ends however it ends. Raises InputError where another holds it."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"resume: another process is training in {folder}; wait for its end") from None
