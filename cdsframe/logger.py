"""Where a run's numbers go besides its folder: CSV, Weights & Biases, nowhere.

What is told about a run is an allow-list: the options that were chosen and the numbers among their settings. No paths,
no texts, no environment. The only module that knows wandb.
"""

from __future__ import annotations

import os
import shutil
from typing import Any, Literal

from cdsframe.errors import CdsframeError, ConfigError
from cdsframe.run import Run

_TOLD = ("model", "quantization", "lora", "data", "prompt", "retriever", "chunking", "training", "trainer")
"""Groups whose numbers and switches are told; strings never are."""


def allowed_config(run: Run) -> dict[str, Any]:
    """The chosen options, and of the groups in the allow-list the numbers and switches, as one flat object."""
    told: dict[str, Any] = dict(run.choices)
    told["seed"] = run.config.get("seed")
    for group in _TOLD:
        settings = run.config.get(group)
        if isinstance(settings, dict):
            told |= {f"{group}.{k}": v for k, v in settings.items() if isinstance(v, bool | int | float)}
    return told


class NoLogger:
    """The run's own folder is enough."""

    def open(self) -> Any:
        """The Lightning logger, or None."""
        return None

    def close(self, failed: bool) -> None:
        """Ends the record of this job; called whether it failed or not."""


class Csv(NoLogger):
    """`csv/metrics.csv` in the run's folder."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def open(self) -> Any:
        from lightning.pytorch.loggers import CSVLogger

        shutil.rmtree(self._run.folder / "csv", ignore_errors=True)  # a run that is gone on with tells all of it again
        return CSVLogger(save_dir=self._run.folder, name="csv", version="")


class Wandb(NoLogger):
    """One Weights & Biases run a job, grouped by multirun.

    Args:
        project: the project's name there.
        mode: `offline` writes into the run's folder; `wandb sync` sends it later, if you want to.
        key_env: the environment variable that holds the key; read by wandb in `online` mode.
    """

    def __init__(self, run: Run, name: str, project: str, mode: Literal["offline", "online"], key_env: str) -> None:
        self._run, self._name, self._project, self._mode, self._key_env = run, name, project, mode, key_env
        self._opened: Any = None

    def open(self) -> Any:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        if self._mode == "online" and self._key_env != "WANDB_API_KEY":
            if self._key_env not in os.environ:
                raise ConfigError(f"logger.wandb.key_env: the environment has no {self._key_env}")
            os.environ["WANDB_API_KEY"] = os.environ[self._key_env]
        try:
            self._opened = wandb.init(
                project=self._project,
                name=f"{self._name}-{self._run.folder.name}",
                group=self._run.group,
                job_type=self._run.task,
                dir=self._run.folder,
                mode=self._mode,
                config=allowed_config(self._run),
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    disable_git=True,
                    disable_code=True,
                    save_code=False,
                    x_disable_meta=True,
                    x_disable_stats=True,
                    x_disable_machine_info=True,
                ),
            )
        except wandb.errors.Error as error:
            raise CdsframeError(
                f"Weights & Biases could not be started ({type(error).__name__}); set {self._key_env}, look at the "
                "network, or take logger.wandb.mode=offline"
            ) from error
        return WandbLogger(experiment=self._opened)

    def close(self, failed: bool) -> None:
        if self._opened is not None:
            self._opened.finish(exit_code=1 if failed else 0)
            self._opened = None
