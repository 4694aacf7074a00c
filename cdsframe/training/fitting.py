"""The course of a training run: steps, validations, early stopping, checkpoints, and the going on from one.

A checkpoint is the state after a step and before its validation, so that whatever follows can be repeated: a run that
went on has the losses of one that was never interrupted. Does not know how a step is taken.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any, NoReturn

from cdsframe.errors import Stopped
from cdsframe.training.batches import Batches
from cdsframe.training.checkpoint import Checkpoints, random_states, restore_random_states
from cdsframe.training.module import SupervisedFineTuning
from cdsframe.training.speed import peak_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What was configured: `steps` of the whole run, and when it is validated, stopped and kept."""

    steps: int
    validations: int
    patience: int
    checkpoint_steps: int | None
    checkpoint_minutes: float | None
    progress: bool
    flops_per_token: float = 0.0
    peak_flops: float = 0.0
    """Of the device, a second; 0: unknown, and no utilisation is told."""


@dataclass(slots=True)
class TrainingState:
    """How far the run has come: what a checkpoint keeps of it besides weights, optimiser and random states."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    lowest: float = math.inf
    """The lowest validation loss so far."""
    waited: int = 0
    """Validations since then."""
    history: list[dict[str, float]] = field(default_factory=list)
    """What was logged, with its `step`."""

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)


class TrainingLoop:
    """Trains to the end of the plan, from the last checkpoint where there is one.

    Args:
        keeper: has `validated(loss, course)`, called in the first process after each validation, and `resume()`.
        loggers: Lightning's loggers, of the first process.
    """

    def __init__(
        self,
        plan: Plan,
        tuning: SupervisedFineTuning,
        train: Batches,
        validation: Batches,
        devices: Any,
        checkpoints: Checkpoints,
        keeper: Any,
        loggers: Sequence[Any],
    ) -> None:
        self._plan, self._tuning, self._train, self._validation = plan, tuning, train, validation
        self._devices, self._checkpoints, self._keeper, self._loggers = devices, checkpoints, keeper, loggers
        self.course, self._saved, self._saved_at = TrainingState(), 0, time.monotonic()

    def run(self) -> TrainingState:
        """Trains; raises Stopped, with a checkpoint written, after a signal."""
        from tqdm import tqdm

        self._resume()
        course, batches = self.course, self._train.after(self.course.step)
        hidden = not (self._plan.progress and self._devices.first)
        with (
            _Signals() as signals,
            tqdm(total=self._plan.steps, initial=course.step, desc="training", unit="step", disable=hidden) as bar,
        ):
            while not (self._due() and self._validated(signals)) and course.step < self._plan.steps:
                self._step(next(batches))
                bar.update()
                bar.set_postfix(loss=f"{course.history[-1]['train/loss']:.3f}", refresh=False)
                self._keep_or_stop(signals)
        return course

    def _step(self, batch: dict[str, Any]) -> None:
        course, started = self.course, time.monotonic()
        logged = self._tuning.update(batch, course.step)
        course.step += 1
        course.tokens += batch["tokens"]
        course.seconds += time.monotonic() - started
        self._log({**logged, **self._speed(batch)})

    def _speed(self, batch: dict[str, Any]) -> dict[str, float]:
        """Real tokens a second (padding not counted), and what else tells whether the device is used well."""
        course, plan = self.course, self._plan
        left = (plan.steps - course.step) * course.seconds / course.step
        figures = {"tokens_per_second": course.tokens_per_second, "seconds_left": left}
        if "padding" in batch:  # batches of texts that are embedded do not tell
            figures["padding_share"] = batch["padding"]
        figures["peak_memory_gb"] = peak_memory(self._devices.device) / 1e9
        if plan.peak_flops > 0:
            rate = course.tokens_per_second * plan.flops_per_token / self._devices.world_size
            figures["flops_utilisation"] = rate / plan.peak_flops
        return {f"train/{name}": value for name, value in figures.items()}

    # -------------------------------------------------------------------------------------------- validation

    def _due(self) -> bool:
        """Whether a validation follows the step that was taken last."""
        step, epoch, times = self.course.step, len(self._train), self._plan.validations
        due = {math.ceil(epoch * n / times) for n in range(1, times + 1)}
        return step > 0 and ((step - 1) % epoch + 1 in due or step == self._plan.steps)

    def _validated(self, signals: _Signals) -> bool:
        """Validates; whether training has gone on long enough without a lower loss."""
        course = self.course
        loss = self._tuning.validate(self._validation, lambda: self._devices.any(signals.caught)[0])
        if loss is None:
            self._stop(signals)
        self._log({"val/loss": loss})
        if self._devices.first:
            self._keeper.validated(loss, course)
        course.waited = 0 if loss < course.lowest else course.waited + 1
        course.lowest = min(loss, course.lowest)
        return course.waited >= self._plan.patience

    def _log(self, metrics: dict[str, float]) -> None:
        row = {**metrics, "epoch": float((self.course.step - 1) // len(self._train)), "step": float(self.course.step)}
        self.course.history.append(row)
        self._tell(row)

    def _tell(self, row: dict[str, float]) -> None:
        for logger in self._loggers:
            logger.log_metrics({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))
            logger.save()

    # -------------------------------------------------------------------------------------------- checkpoints

    def _keep_or_stop(self, signals: _Signals) -> None:
        steps, minutes = self._plan.checkpoint_steps, self._plan.checkpoint_minutes
        due = steps is not None and self.course.step % steps == 0
        due = due or (minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes)
        stop, due = self._devices.any(signals.caught, due)
        if stop:
            self._stop(signals)
        if due:
            self._save()

    def _stop(self, signals: _Signals) -> NoReturn:
        if self._saved != self.course.step:
            self._save()
        if not self._devices.first:
            raise SystemExit(0)  # the first process tells, and has the exit code
        run = self._checkpoints.folder.parent
        raise Stopped(
            signals.number or signal.SIGTERM, f"step {self.course.step} is kept; go on with the same and resume={run}"
        )

    def _save(self) -> None:
        """Writes a checkpoint in the first process; all fail where it does."""
        course, states = self.course, self._devices.gather(random_states())
        fault: Exception | None = None
        if self._devices.first:
            tensors, numbers = self._tuning.state()
            state = {"course": asdict(course), "optimizer": numbers, "random": states}
            try:
                self._checkpoints.save(course.step, tensors, state)
            except Exception as error:  # noqa: BLE001 (raised below, once the others know)
                fault = error
        if self._devices.any(fault is not None)[0]:
            raise fault or SystemExit(0)
        self._saved, self._saved_at = course.step, time.monotonic()

    def _resume(self) -> None:
        """Takes up the last checkpoint, and tells the loggers what was before it."""
        found = self._devices.broadcast(self._checkpoints.latest() if self._devices.first else None)
        if found is None:
            return
        tensors, state = found
        self._tuning.restore(tensors, state["optimizer"])
        restore_random_states(state["random"][self._devices.rank])
        self.course = TrainingState(**state["course"])
        if self._devices.first:
            self._keeper.resume()
        self._saved = self.course.step
        for row in self.course.history:
            self._tell(row)
        log.info("going on after step %d of %d", self.course.step, self._plan.steps)


class _Signals:
    """Notes the first SIGTERM or Ctrl-C; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def caught(self) -> bool:
        return self.number is not None

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        log.warning("%s: stopping after this step, with a checkpoint", signal.Signals(number).name)
        self.__exit__()
