"""Builds the components of a system from a configuration, each once and at first use.

A component receives the dependencies that its signature names: an argument `retriever` receives the system's retriever,
`seed` the system's seed. Does not compose the configuration (see `compose`) or check it (see `check`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf

from cdsframe.artifacts.adapter import require_match
from cdsframe.artifacts.files import expanded
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.config.build import DEPENDENCIES, build, examine, locate
from cdsframe.errors import CdsframeError, ConfigError
from cdsframe.metadata import identity_of

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from cdsframe.artifacts.run import Run
    from cdsframe.confidence import Calibrator, NoCalibration
    from cdsframe.contamination import Contamination, NoContamination
    from cdsframe.contracts import (
        Chunker,
        Context,
        Corpus,
        DataSource,
        Embedder,
        Fusion,
        Generator,
        Index,
        LanguageModel,
        Logger,
        Lora,
        Quantization,
        Reranker,
        Retriever,
        Trainer,
    )
    from cdsframe.optimization import Optimization
    from cdsframe.pipeline import Pipeline
    from cdsframe.prompt import Prompt

_ANSWERED_FROM = frozenset({"index", "corpus", "chunking", "data"})
"""Groups that provide documents and questions. They are not part of a calibration's identity: a calibration remains
valid for other documents."""


T = TypeVar("T")


_RESULTS = {"evaluation": ("text", "value"), "ingestion": ("metrics", "text", "score", "failure")}
"""Job -> the attributes of its result that the command reads; a training returns a number."""


class _Once(Generic[T]):
    """A property that is computed at first access, once for all threads.

    Holds the system's lock, which `functools.cached_property` does not: two threads that answer their first question
    would each load a model.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, system: Composition | None, owner: type) -> T:
        if system is None:
            return self  # type: ignore[return-value]
        found = vars(system)
        with system._lock:
            if self._name not in found:
                found[self._name] = self._compute(system)
        made: T = found[self._name]
        return made


class _Built(_Once[Any]):
    """Builds the component of the config group with the attribute's name at first access."""

    def __init__(self) -> None:
        super().__init__(lambda system: system._built(self._name))


def _component() -> Any:
    return _Built()


class Composition:
    """A system (`cdsframe.contracts.System`) whose components are built from a configuration.

    Args:
        cfg: a checked configuration.
        run: the run's folder; None if nothing is written, as in a notebook.
    """

    quantization: Quantization = _component()
    prompt: Prompt = _component()
    lora: Lora = _component()
    corpus: Corpus = _component()
    chunking: Chunker = _component()
    embedder: Embedder = _component()
    index: Index = _component()
    data: DataSource = _component()
    contamination: Contamination | NoContamination = _component()
    fusion: Fusion = _component()
    reranker: Reranker = _component()
    context: Context = _component()
    generator: Generator = _component()
    trainer: Trainer = _component()
    optimization: Optimization = _component()

    def __init__(self, cfg: DictConfig, run: Run | None = None) -> None:
        self._cfg, self._run = cfg, run
        self._lock = RLock()
        self._dependencies = _Dependencies(self)

    @property
    def cfg(self) -> DictConfig:
        """The configuration; commands read their own keys from it."""
        return self._cfg

    @property
    def name(self) -> str:
        return str(self._cfg.get("name", "default"))

    @property
    def seed(self) -> int:
        return int(self._cfg.get("seed", 1))

    @property
    def metadata_fields(self) -> tuple[str, ...]:
        """The metadata fields of documents that this deployment adds to the standard ones."""
        return tuple(self._cfg.get("metadata_fields") or ())

    @property
    def adapter(self) -> str | None:
        """The adapter's folder; None for the base model."""
        adapter: str | None = self._cfg.get("adapter")
        return adapter

    @property
    def run(self) -> Run:
        """The run's folder. Raises ConfigError if the system was composed without one."""
        if self._run is None:
            raise ConfigError(
                "this system was composed in Python, without a run folder; use a command (python evaluate.py)"
            )
        return self._run

    @_Once
    def model(self) -> LanguageModel:
        """The model with its adapter. Raises ConfigError if the adapter was trained with other components."""
        model: LanguageModel = self._built("model")
        require_match(self.adapter, model=model, quantization=self.quantization, prompt=self.prompt.form)
        examine(self._cfg, model)
        return model

    @property
    def identity(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings that an index depends on, by group."""
        chunking = {"chunking": self.chunking.identity} if "chunking" in self._cfg else {}
        return {"embedder": self.embedder.identity, **chunking, **identity_of(self.metadata_fields)}

    @_Once
    def _configured_retriever(self) -> Retriever:
        """The component of the group `retriever`."""
        found: Retriever = self._built("retriever")
        return found

    @_Once
    def retriever(self) -> Retriever:
        """The retriever, wrapped by the query expansion if one is configured."""
        found = self._configured_retriever
        if "expansion" in self._cfg:
            dependencies = {**self._dependencies.of(self._cfg.expansion, "retriever"), "retriever": found}
            found = build(self._cfg.expansion, dependencies, "expansion")
        return found

    @_Once
    def calibration(self) -> Calibrator | NoCalibration:
        """The configured calibration, or `NoCalibration`.

        Raises CalibrationMismatchError if it was fitted to answers of another configuration.
        """
        from cdsframe.confidence import NoCalibration, open_calibration

        path = self._cfg.get("calibration")
        return NoCalibration() if path is None else open_calibration(path, self.answers_depend_on)

    @_Once
    def pipeline(self) -> Pipeline:
        from cdsframe.pipeline import Pipeline

        return Pipeline(
            self.retriever,
            self.reranker,
            self.context,
            self.prompt,
            self.generator,
            self.calibration,
            self.index,
            lambda: self.answers_depend_on,
        )

    @_Once
    def logger(self) -> list[Logger]:
        """The enabled loggers."""
        if "logger" not in self._cfg:
            raise ConfigError("the configuration has no logger")
        return [build(node, self._dependencies, "logger") for node in self._cfg.logger.values() if node is not None]

    @_Once
    def callbacks(self) -> list[Callback]:
        """The enabled callbacks of the training."""
        nodes = self._cfg.get("callbacks") or {}
        return [build(node, self._dependencies, "callbacks") for node in nodes.values() if node is not None]

    @property
    def identities(self) -> Mapping[str, Mapping[str, Any]]:
        """Group -> its component's `identity`, or its settings if its class has no `identity`."""
        return {group: self._identity(group) for group in self._groups()}

    @_Once
    def answers_depend_on(self) -> Mapping[str, Mapping[str, Any]]:
        """The identities of all components that affect an answer, and the digest of the adapter's weights.

        Follows the dependencies in the components' signatures, so that components of new groups are included.
        """
        reached = self._reached({"model", "quantization", "embedder", "prompt", "expansion", "retriever", "reranker",
                                 "context", "generator"})  # fmt: skip
        adapter = {"digest": weights_digest(expanded(self.adapter)) if self.adapter else None}
        return {"adapter": adapter, **{g: self._identity(g) for g in sorted(reached - _ANSWERED_FROM)}}

    def require_compatible(self) -> None:
        """Builds the pipeline without loading a model. Raises ConfigError if its components are incompatible."""
        _ = self.model, self.pipeline

    def run_job(self, job: str) -> Any:
        """Calls the function of the group `job` (`ingestion`, `training`, `evaluation` or `serving`) with components
        of this system; returns its result. Raises CdsframeError if the result is not what the command needs."""
        result = self._built(job)
        missing = [name for name in _RESULTS.get(job, ()) if not hasattr(result, name)]
        if missing or (job == "training" and not isinstance(result, int | float)):
            expected = f"an object with {', '.join(_RESULTS[job])}" if missing else "a number"
            target = self._cfg[job]["_target_"]
            raise CdsframeError(f"{job}: {target} returned {type(result).__qualname__}; it must return {expected}")
        return result

    def _built(self, group: str) -> Any:
        if group not in self._cfg:
            raise ConfigError(
                f"the configuration has no {group}; the primary configuration lacks this group, or ~{group} removed it"
            )
        return build(self._cfg[group], self._dependencies, group)

    def _groups(self) -> list[str]:
        return [
            str(group)
            for group in self._cfg
            if isinstance(node := self._cfg._get_node(group), DictConfig) and not node._is_none() and "_target_" in node
        ]

    def _identity(self, group: str) -> Mapping[str, Any]:
        settings: dict[str, Any] = OmegaConf.to_container(self._cfg[group], resolve=True)  # type: ignore[assignment]
        if hasattr(locate(settings["_target_"]), "identity"):
            return dict(getattr(self, "_configured_retriever" if group == "retriever" else group).identity)
        for path, weight in self._weights_in_use.items():
            owner, *between, key = path.split(".")
            if owner == group:
                place = settings
                for name in between:
                    place = place[name]
                place[key] = weight
        return settings

    @_Once
    def _weights_in_use(self) -> Mapping[str, float]:
        """Config path -> weight that the retriever uses; empty for a retriever without such weights."""
        if "retriever" not in self._groups() or not hasattr(locate(self._cfg.retriever["_target_"]), "weights_key"):
            return {}
        weights: Mapping[str, float] = self._configured_retriever.weights  # type: ignore[attr-defined]
        return weights

    def _reached(self, groups: set[str]) -> set[str]:
        """The given groups and all groups that their components depend on, directly or indirectly."""
        found: set[str] = set()
        waiting = groups & set(self._groups())
        while waiting:
            found |= waiting
            named = {name for group in waiting for name in _parameters(self._cfg[group])}
            waiting = (named & set(self._groups())) - found
        return found


def _parameters(node: Any) -> Iterator[str]:
    """The parameter names of a node's target and of all nested targets."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield from inspect.signature(locate(str(node["_target_"]))).parameters
        for key in node:
            yield from _parameters(node._get_node(key))


class _Dependencies(Mapping[str, Any]):
    """The system's components by name, each built at first lookup."""

    def __init__(self, system: Composition) -> None:
        self._system = system

    def __getitem__(self, name: str) -> Any:
        if name not in DEPENDENCIES:
            raise KeyError(name)
        return self._system if name == "system" else getattr(self._system, name)

    def __iter__(self) -> Iterator[str]:
        return iter(DEPENDENCIES)

    def __len__(self) -> int:
        return len(DEPENDENCIES)

    def of(self, node: DictConfig, *but: str) -> dict[str, Any]:
        """The dependencies that a node's targets name as parameters, except `but`."""
        return {name: self[name] for name in _parameters(node) if name in DEPENDENCIES and name not in but}
