"""What every run leaves behind in its folder: `config.yaml`, `metrics.json`, `manifest.json`.

Does not choose the folder (Hydra does). `metrics.json` and `manifest.json` hold no path, no secret and no text of a
document; `config.yaml` holds what was configured.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import time
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from cdsframe import __version__
from cdsframe.artifacts.files import parse_object, read_json, write_json, write_text
from cdsframe.errors import FormatVersionError, InputError
from cdsframe.types import Metrics

FORMAT_VERSION = 1
OUTPUT_FILE = "output.json"

_NEEDED = {"choices": dict}

_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "lightning", "sentence-transformers", "lancedb", "lm-eval",
    "hydra-core", "omegaconf", "numpy",
)  # fmt: skip


class Run:
    """One run's folder.

    Args:
        folder: where the run writes; made if absent.
        task: the entry point's name.
        seed: the run's seed.
        config_yaml: the resolved configuration without secrets; None for a run that writes nothing.
        choices: group -> the option that was chosen.
        group: the name that the jobs of one multirun share; the run's name otherwise.
        hyperparameters: numbers and switches that a tracker may see, by their config path.
        sweep_folder: the multirun's folder; None in a single run.
        resumed: whether this run resumes an interrupted one, in its folder.
    """

    def __init__(
        self,
        folder: Path,
        task: str,
        seed: int,
        config_yaml: str | None,
        choices: Mapping[str, str],
        group: str,
        hyperparameters: Mapping[str, Any] | None = None,
        sweep_folder: Path | None = None,
        resumed: bool = False,
    ) -> None:
        self.folder, self.task, self.seed, self.choices, self.group = folder, task, seed, choices, group
        self.hyperparameters = dict(hyperparameters or {})
        self.sweep_folder, self.resumed = sweep_folder, resumed
        self._started = time.time()
        if config_yaml is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.yaml", config_yaml)

    def finish(self, metrics: Metrics, digests: Mapping[str, str | None] | None = None, **facts: Any) -> None:
        """Writes `manifest.json`, and `metrics.json` last: it is the mark that a run has come to its end.

        Metrics that are not finite are left out.
        """
        self.write_manifest(self.folder, digests, **facts)
        write_json(self.folder / "metrics.json", {k: float(v) for k, v in metrics.items() if math.isfinite(v)})

    def leaves(self, kind: str, target: Path) -> None:
        """Records what the run made: the folder `kind` in its own, to be published as `target`.

        The best job of a multirun is published when the multirun ends.
        """
        write_json(self.folder / OUTPUT_FILE, {"kind": kind, "published": str(target)})

    @property
    def output(self) -> tuple[str, Path] | None:
        """The kind (`adapter`, `embedder`, `reranker`, `model`) and where it is published; None for no output."""
        return output_of(self.folder)

    def write_manifest(self, folder: Path, digests: Mapping[str, str | None] | None = None, **facts: Any) -> None:
        """Writes `manifest.json` into any folder that the run leaves behind (a run, an adapter, a calibration)."""
        write_json(folder / "manifest.json", self.manifest(digests, **facts))

    def manifest(self, digests: Mapping[str, str | None] | None = None, **facts: Any) -> dict[str, Any]:
        """What is needed to tell this run from another one and to repeat it."""
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "seed": self.seed,
            "choices": dict(self.choices),
            "digests": dict(digests or {}),
            "versions": {"cdsframe": __version__, "python": platform.python_version(), **_versions()},
            "commit": _commit(),
            "processor": f"{platform.machine()} {processor()}, {os.cpu_count()} cores",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(time.time() - self._started, 3),
            **facts,
        }


def output_of(folder: Path) -> tuple[str, Path] | None:
    """What `Run.leaves` recorded in a run's folder."""
    file = folder / OUTPUT_FILE
    if not file.is_file():
        return None
    recorded = read_json(file, "output")
    return str(recorded["kind"]), Path(str(recorded["published"]))


def read_manifest(
    folder: Path,
    what: str,
    mend: str = "make it again",
    needed: Mapping[str, Any] = _NEEDED,
    version: int = FORMAT_VERSION,
    readable: Collection[int] = (),
) -> dict[str, Any]:
    """Reads a manifest of a format version, or of another `readable` one, whose keys `needed` have these types.

    Raises InputError, and says how to fix it, where there is no manifest, where it is damaged, and (FormatVersionError)
    where another format wrote it.
    """
    file = folder / "manifest.json"
    if not file.is_file():
        raise InputError(f"{what}: {folder} has no manifest.json; {mend}")
    try:
        manifest = parse_object(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{what}: {folder} is damaged: manifest.json is {error}; {mend}") from None
    found = manifest.get("format_version")
    if found not in {version, *readable}:
        raise FormatVersionError(
            f"{what}: {folder} has format version {found!r}, this cdsframe reads {version}; {mend}, or use the "
            "cdsframe that made it"
        )
    wrong = [key for key, kind in needed.items() if not isinstance(manifest.get(key, ...), kind)]
    if wrong:
        raise InputError(f"{what}: {folder} is damaged: manifest.json has no {', '.join(wrong)}; {mend}")
    return manifest


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """The commit of the checkout that cdsframe runs from, None elsewhere."""
    root = Path(__file__).resolve().parent.parent.parent
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
