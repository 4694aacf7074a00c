"""Logs a run's metrics to CSV or Weights & Biases.

Besides metrics, logs only an allow-list of settings: the names of the chosen options, and settings that are numbers or
booleans. Does not log paths, texts or the environment. The only module that imports wandb.
"""

from __future__ import annotations

import configparser
import logging
import netrc
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cdsframe.artifacts.run import Run
from cdsframe.errors import CdsframeError, ConfigError

log = logging.getLogger(__name__)

_JOINS = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RESUME_FROM", "WANDB_FORK_FROM", "WANDB_SWEEP_ID")
"""Variables that select an existing W&B run; with them, all jobs of a multirun would write into that run."""
_DECIDED = {
    "WANDB_PROJECT": "set logger.wandb.project instead",
    "WANDB_MODE": "set logger.wandb.mode instead; logger=csv switches W&B off",
    "WANDB_DISABLED": "give logger=csv to switch W&B off",
    "WANDB_NAME": "set name instead",
    "WANDB_RUN_GROUP": "the group is the multirun",
    "WANDB_JOB_TYPE": "the job type is the entry point's name",
    "WANDB_DIR": "W&B writes into the run's folder, below paths.outputs",
}
"""W&B variables that cdsframe overrides -> the setting that applies instead."""
_SETTINGS = ("wandb/settings", ".wandb/settings")
"""wandb's settings files in the working folder. They take precedence over the file in the user's home folder."""


def enabled(nodes: Any) -> dict[str, Any]:
    """Returns logger name -> configuration, without loggers that are null: `logger.csv=null` switches CSV off."""
    return {str(name): node for name, node in (nodes or {}).items() if node is not None}


def shared_run_problems(nodes: Any, environment: Mapping[str, str]) -> list[str]:
    """Returns an error for each environment variable that would merge a multirun's jobs into one W&B run.

    Returns no error if no W&B logger is enabled.
    """
    if not any(str(node.get("_target_")).endswith(".Wandb") for node in enabled(nodes).values()):
        return []
    found = [name for name in _JOINS if environment.get(name)]
    return [
        f"the environment has {name}: each job of a multirun needs a separate W&B run; unset {name}, or give logger=csv"
        for name in found
    ]


def missing_key(mode: str, key_env: str, environment: Mapping[str, str]) -> str | None:
    """Returns an error if `online` mode has no API key; None if wandb finds a key or needs none."""
    if mode != "online" or environment.get(key_env) or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return None
    if key_env == "WANDB_API_KEY" and (_netrc_has_a_key(environment) or _settings_have_a_key(environment)):
        return None
    return (
        f"logger.wandb.mode=online needs a key, and the variable {key_env} (logger.wandb.key_env) is not set; "
        f"set {key_env}, or give logger.wandb.mode=offline"
    )


def _exists(path: str) -> bool:
    return Path(path).expanduser().is_file()


def _netrc_has_a_key(environment: Mapping[str, str]) -> bool:
    """Whether the netrc file, written by `wandb login`, has a key for the server."""
    host = urlsplit(environment.get("WANDB_BASE_URL") or "https://api.wandb.ai").netloc
    for path in (environment.get("NETRC"), "~/.netrc", "~/_netrc"):
        if path and _exists(path):
            try:
                return netrc.netrc(Path(path).expanduser()).authenticators(host) is not None
            except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
                return False
    return False


def _settings_have_a_key(environment: Mapping[str, str]) -> bool:
    """Whether a settings file of wandb has an `api_key`."""
    folder = environment.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    return any(_key_in(Path(path).expanduser()) for path in (f"{folder}/settings", *_SETTINGS))


def _key_in(path: Path) -> bool:
    """Whether a settings file has an `api_key`; False for a file that wandb cannot read either."""
    settings = configparser.ConfigParser()
    try:
        settings.read(path)
        return bool(settings.get("default", "api_key", fallback="").strip())
    except (configparser.Error, OSError, UnicodeDecodeError):
        return False


class NoLogger:
    """Logs no metrics; the run still writes its files into its folder."""

    def open(self) -> Any:
        """Returns a Lightning logger, or None for no logger."""
        return None

    def close(self, failed: bool) -> None:
        """Ends this job's log; called after success and after failure (`failed`)."""


class CsvLogger(NoLogger):
    """Writes `csv/metrics.csv` in the run's folder."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def open(self) -> Any:
        from lightning.pytorch.loggers import CSVLogger

        shutil.rmtree(self._run.folder / "csv", ignore_errors=True)  # a resumed run logs all its steps again
        return CSVLogger(save_dir=self._run.folder, name="csv", version="")


class Wandb(NoLogger):
    """Logs each job as one Weights & Biases run; the jobs of a multirun share a group.

    Args:
        project: the W&B project.
        mode: `offline` writes into the run's folder, for `wandb sync`; `online` sends to the server.
        key_env: the name of the environment variable with the API key; read in `online` mode.
    """

    @staticmethod
    def problems(mode: str, key_env: str) -> list[str]:
        """Returns an error if `online` mode has no API key."""
        problem = missing_key(mode, key_env, os.environ)
        return [problem] if problem else []

    def __init__(self, run: Run, name: str, project: str, mode: Literal["offline", "online"], key_env: str) -> None:
        self._run, self._name, self._project, self._mode, self._key_env = run, name, project, mode, key_env
        self._opened: Any = None

    def open(self) -> Any:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        if problem := missing_key(self._mode, self._key_env, os.environ):
            raise ConfigError(problem)
        if self._mode == "online" and self._key_env in os.environ:
            os.environ["WANDB_API_KEY"] = os.environ[self._key_env]
        for name, decided in _DECIDED.items():
            if os.environ.get(name):
                log.warning("the environment variable %s has no effect: %s", name, decided)
        try:
            self._opened = wandb.init(
                project=self._project,
                name=f"{self._name}-{self._run.folder.name}",
                group=self._run.group,
                job_type=self._run.task,
                dir=self._run.folder,
                mode=self._mode,
                config=dict(self._run.hyperparameters),
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
        except wandb.errors.CommError as error:
            raise CdsframeError(
                "the Weights & Biases server does not answer; check the network, or give logger.wandb.mode=offline"
            ) from error
        except wandb.errors.Error as error:
            raise CdsframeError(
                f"Weights & Biases did not start, most often because of a wrong key; check {self._key_env}, or give "
                "logger.wandb.mode=offline"
            ) from error
        except ValueError as error:
            wrong = sorted(
                {f"WANDB_{str(one['loc'][0]).upper()}" for one in getattr(error, "errors", list)() if one["loc"]}
            )
            raise CdsframeError(
                f"Weights & Biases refused a setting of the environment ({', '.join(wrong) or 'a variable WANDB_…'}); "
                "unset the variable, or give logger=csv"
            ) from error
        return WandbLogger(experiment=self._opened)

    def close(self, failed: bool) -> None:
        if self._opened is not None:
            self._opened.finish(exit_code=1 if failed else 0)
            self._opened = None
