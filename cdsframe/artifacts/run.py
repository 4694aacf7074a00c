"""Writes and reads a run's files: `config.yaml`, `metrics.json`, `manifest.json`.

`config.yaml` has the resolved configuration; the other two contain no path, no secret and no document's text. Does not
choose the folder (Hydra does).
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import time
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from cdsframe import __version__
from cdsframe.artifacts.digests import digest
from cdsframe.artifacts.files import parse_object, read_json, require_file, write_json, write_text
from cdsframe.artifacts.resources import Resources
from cdsframe.errors import FormatVersionError, InputError
from cdsframe.types import Metrics

FORMAT_VERSION = 1
OUTPUT_FILE = "output.json"

_NEEDED = {"choices": dict}
_NOT_OF_RECIPE = ("name", "resume", "own_process", "paths", "logger")
"""Keys of a configuration that do not change what a run computes. Seeds are left out too."""

_PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "lightning", "sentence-transformers", "lancedb", "lm-eval",
    "hydra-core", "omegaconf", "numpy",
)  # fmt: skip


class Run:
    """One run's folder.

    Args:
        folder: the folder to write into; created if missing.
        task: the entry point's name.
        seed: the run's seed.
        config_yaml: the resolved configuration without secrets; None writes no `config.yaml` and creates no folder.
        choices: group -> the chosen option.
        group: the name shared by the jobs of a multirun; in a single run, the folder's name.
        hyperparameters: group or config path -> option name, number or boolean that loggers may log.
        sweep_folder: the multirun's folder; None in a single run.
        resumed: whether this run resumes an interrupted one in the same folder.
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
        self._started, self._resources = time.time(), Resources()
        self._recipe = None if config_yaml is None else _recipe(config_yaml)
        if config_yaml is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "config.yaml", config_yaml)

    def finish(self, metrics: Metrics, digests: Mapping[str, str | None] | None = None, **facts: Any) -> None:
        """Writes `manifest.json`, then `metrics.json`, which marks the run as finished. Omits non-finite metrics."""
        self.write_manifest(self.folder, digests, **facts)
        write_metrics(self.folder, metrics)

    def record_output(self, kind: str, target: Path) -> None:
        """Records that the run wrote the folder `kind` within its folder, to be published as `target`.

        When a multirun ends, the output of its best job is published.
        """
        write_json(self.folder / OUTPUT_FILE, {"kind": kind, "published": str(target)})

    @property
    def output(self) -> tuple[str, Path] | None:
        """The output's kind (`adapter`, `embedder`, `reranker`, `model`) and published path; None without output."""
        return output_of(self.folder)

    def write_manifest(self, folder: Path, digests: Mapping[str, str | None] | None = None, **facts: Any) -> None:
        """Writes `manifest.json` into a folder that the run made (a run, an adapter, a calibration)."""
        write_json(folder / "manifest.json", self.manifest(digests, **facts))

    def manifest(self, digests: Mapping[str, str | None] | None = None, **facts: Any) -> dict[str, Any]:
        """Returns the facts that identify the run and are needed to repeat it, and what it cost.

        `recipe`: a digest of the configuration without seeds, equal for runs that differ in their seed only.
        """
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "seed": self.seed,
            "choices": dict(self.choices),
            "recipe": self._recipe,
            "digests": dict(digests or {}),
            "versions": {"cdsframe": __version__, "python": platform.python_version(), **_versions()},
            "commit": _commit(),
            "processor": f"{platform.machine()} {processor()}, {os.cpu_count()} cores",
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(time.time() - self._started, 3),
            **self._resources.used(),
            **facts,
        }


def write_metrics(folder: Path, metrics: Metrics) -> None:
    """Writes `metrics.json` without the metrics that are not finite."""
    write_json(folder / "metrics.json", {k: float(v) for k, v in metrics.items() if math.isfinite(v)})


def read_config(folder: Path, what: str, fix: str = "make it again") -> tuple[str, dict[str, Any]]:
    """Reads a run's `config.yaml`: its text, and its values.

    Raises InputError, which begins with `what` and ends with `fix`, if it is missing or no YAML mapping.
    """
    file = require_file(folder / "config.yaml", what)
    try:
        text = file.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"{what}: {file} is not YAML; {fix}") from None
    if not isinstance(config, dict | None):
        raise InputError(f"{what}: {file} is damaged: expected a mapping of settings; {fix}")
    return text, config or {}


def _recipe(config_yaml: str) -> str:
    """Returns a digest of a configuration without seeds, names and places."""
    config = yaml.safe_load(config_yaml) or {}
    kept = {key: _without_seeds(value) for key, value in config.items() if key not in (*_NOT_OF_RECIPE, "seed")}
    return digest(json.dumps(kept, sort_keys=True, default=str))


def _without_seeds(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _without_seeds(value) for key, value in node.items() if key != "seed"}
    return [_without_seeds(value) for value in node] if isinstance(node, list) else node


def output_of(folder: Path) -> tuple[str, Path] | None:
    """Returns the kind and published path that `Run.record_output` recorded in a run's folder; None without output."""
    file = folder / OUTPUT_FILE
    if not file.is_file():
        return None
    recorded = read_json(file, "output")
    return str(recorded["kind"]), Path(str(recorded["published"]))


def read_manifest(
    folder: Path,
    what: str,
    fix: str = "make it again",
    needed: Mapping[str, Any] = _NEEDED,
    version: int = FORMAT_VERSION,
    readable: Collection[int] = (),
) -> dict[str, Any]:
    """Reads a folder's `manifest.json`.

    Args:
        what: the beginning of error messages: the kind of folder (`adapter`).
        fix: the end of error messages: how to fix it (`train it again`).
        needed: required key -> type.
        version: the current format version.
        readable: other format versions to accept.

    Raises InputError if the manifest is missing or damaged, FormatVersionError if it has another format version.
    """
    file = folder / "manifest.json"
    if not file.is_file():
        raise InputError(f"{what}: {folder} has no manifest.json; {fix}")
    try:
        manifest = parse_object(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{what}: {folder} is damaged: manifest.json is {error}; {fix}") from None
    found = manifest.get("format_version")
    if found not in (version, *readable):
        raise FormatVersionError(
            f"{what}: {folder} has format version {found!r}, this cdsframe reads {version}; {fix}, or use the "
            "cdsframe that made it"
        )
    wrong = [key for key, kind in needed.items() if not isinstance(manifest.get(key, ...), kind)]
    if wrong:
        raise InputError(f"{what}: {folder} is damaged: manifest.json has no {', '.join(wrong)}; {fix}")
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
    """Returns the commit of the git checkout that cdsframe runs from; None without one."""
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
    """Returns the processor's name as the operating system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
