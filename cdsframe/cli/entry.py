"""What makes a script an entry point: composition, refusal, the run's folder, and errors without tracebacks.

Does not know what the scripts do.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cdsframe.artifacts.run import Run
from cdsframe.cli.arguments import (
    as_text,
    refuse_groups_without_option,
    refuse_to_resume_nothing,
    take_question,
)
from cdsframe.cli.interrupt import EXIT_CODE, over
from cdsframe.cli.multirun import told
from cdsframe.cli.pipes import passing
from cdsframe.cli.resume import interrupted_run
from cdsframe.cli.shadow import refuse_shadowed
from cdsframe.cli.sweep import claim, job_of_sweep, note_failure
from cdsframe.config.check import check
from cdsframe.config.components import config_folders
from cdsframe.config.composition import Composition
from cdsframe.config.folders import built_in
from cdsframe.config.hydra_errors import hydra_message, yaml_problem
from cdsframe.config.hyperparameters import hyperparameters
from cdsframe.config.resolvers import without_environment
from cdsframe.errors import CdsframeError, ConfigError
from cdsframe.logger import several_in_one
from cdsframe.machine.environment import set_defaults
from cdsframe.machine.shared_cores import watch
from cdsframe.text.printable import plain

_TRACEBACKS = os.environ.get("CDSFRAME_TRACEBACKS", os.environ.get("HYDRA_FULL_ERROR")) == "1"
"""Whether the user asked for tracebacks (by Hydra's own switch, which is set for all of a sweep's processes below)."""


def start_run(cfg: DictConfig) -> Run:
    """The folder of this job, as Hydra names it."""
    runtime = HydraConfig.get()
    multirun = runtime.mode is not None and runtime.mode.name == "MULTIRUN"
    if multirun and OmegaConf.select(cfg, "trainer.strategy") == "ddp":
        raise ConfigError(
            "trainer=ddp starts the command again for each device, and with -m each would start the whole multirun; "
            "start the jobs one by one (for r in 8 16; do python train.py trainer=ddp lora.r=$r name=r$r; done)"
        )
    _refuse_settings_of_hydra(runtime, multirun)
    if multirun and (problems := several_in_one(cfg.get("logger"), os.environ)):
        raise ConfigError(problems)
    folder, written, resumed = Path(runtime.runtime.output_dir), without_environment(cfg), False
    if cfg.get("resume") and multirun:
        folder, resumed = claim(Path(runtime.sweep.dir), folder, written)
    elif cfg.get("resume"):
        folder, resumed = interrupted_run(cfg, written), True
    choices = {
        group: str(choice)
        for group, choice in runtime.runtime.choices.items()
        if choice is not None and not group.startswith("hydra/")
    }
    return Run(
        folder,
        task=runtime.job.name,
        seed=cfg.get("seed"),
        config_yaml=None if runtime.output_subdir is None else OmegaConf.to_yaml(OmegaConf.create(written)),
        choices=choices,
        group=Path(runtime.sweep.dir).name if multirun else folder.name,
        hyperparameters=hyperparameters(cfg, choices),
        sweep_folder=Path(runtime.sweep.dir).absolute() if multirun else None,
        resumed=resumed,
    )


def _refuse_settings_of_hydra(runtime: Any, multirun: bool) -> None:
    """Refuses Hydra settings that move the working folder or rename the jobs' folders."""
    if runtime.job.chdir:
        raise ConfigError(
            "hydra.job.chdir=true would make paths such as paths.outputs start at the run's folder, and not where you "
            "start the command; leave it out: a run writes into its own folder anyway"
        )
    if multirun and str(runtime.sweep.subdir) != str(runtime.job.num):
        raise ConfigError(
            f"hydra.sweep.subdir={runtime.sweep.subdir}: the jobs of a multirun have numbered folders, by which resume "
            "and the leader board find them; leave it out, and set hydra.sweep.dir to choose the folder above them"
        )


_ON_DISK = {
    errno.ENOSPC: "no space is left on the disk of",
    errno.EDQUOT: "the disk quota is used up at",
    errno.EROFS: "the file system is read-only at",
    errno.EACCES: "there is no permission to write",
    errno.EPERM: "there is no permission to write",
    errno.ENOENT: "there is no file or folder, and none can be made:",
    errno.ENAMETOOLONG: "a name is too long:",
    errno.EEXIST: "there is a file where a folder was expected:",
    errno.ENOTDIR: "there is a file where a folder was expected:",
    errno.EISDIR: "there is a folder where a file was expected:",
}


def entry(function: Callable[[Composition], float | None]) -> Callable[[], None]:
    """Makes a command: Hydra composes, `check` refuses, the function works; users' errors print no traceback.

    The command has the name of the function's file, and its primary configuration as well: in the folder `configs`
    beside that file, else in cdsframe's.

    Exit codes: 0 done, 1 failed (and Hydra's own override errors), 2 configuration refused, 130 interrupted, 143 after
    a SIGTERM that left a checkpoint.
    """
    script = Path(function.__code__.co_filename).resolve()
    name, configs = script.stem, script.parent / "configs"
    configs = configs if configs.is_dir() else built_in()
    asked: list[str] = []
    composed: list[DictConfig] = []

    @functools.wraps(function)
    def job(cfg: DictConfig) -> float | None:
        run = None
        composed.append(cfg)
        set_defaults()
        try:
            if asked:
                cfg.question = as_text(asked[-1])
            check(cfg)
            run = start_run(cfg)
            work = functools.partial(_watched, function, cfg, run)
            return work() if run.sweep_folder is None else job_of_sweep(run, work, cfg.get("own_process") is True)
        except CdsframeError as error:
            _tell(name, error, started=run is not None)
            _end_quietly(error)
            raise
        except OSError as error:
            if error.errno not in _ON_DISK:
                raise
            failed = CdsframeError(f"{_ON_DISK[error.errno]} {error.filename or 'the outputs'}")
            _tell(name, failed, started=True)
            _end_quietly(failed)
            raise failed from error

    main = hydra.main(version_base="1.3", config_path=str(configs), config_name=name)(job)

    @functools.wraps(function)
    @passing()
    def run() -> None:
        os.environ["CDSFRAME_TRACEBACKS"] = str(int(_TRACEBACKS))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra hand every error to us
        try:
            asked[:] = take_question(configs / f"{name}.yaml")
            refuse_groups_without_option(name, configs)
            refuse_to_resume_nothing(name)
            refuse_shadowed(name, configs, config_folders())
            over()
            main()
        except KeyboardInterrupt as stop:
            sys.stderr.write(f"\n{name}: interrupted; {str(stop) or 'what was complete before is kept'}\n")
            sys.exit(getattr(stop, "exit_code", EXIT_CODE))
        except Exception as error:
            if _TRACEBACKS:
                raise
            if isinstance(error, UnicodeDecodeError) and not composed:
                sys.exit(_not_utf8(name))
            sys.exit(_exit_code(name, error))
        finally:
            _tell_of_multiruns(name)

    return run


def _watched(function: Callable[[Composition], float | None], cfg: DictConfig, run: Run) -> float | None:
    """Calls the function, with other programs measured in the process that works: a sweep's job may be a forked one."""
    watch()
    return function(Composition(cfg, run))


def _tell_of_multiruns(name: str) -> None:
    """Prints what there is to tell of multiruns; where that fails for a user's reason, says it and ends with 1."""
    pending = sys.exc_info()[0]
    try:
        for text in told():
            sys.stdout.write(text + "\n")
    except (CdsframeError, OSError) as error:
        code = _exit_code(name, error)
        if isinstance(error, CdsframeError):
            sys.stderr.write(f"{name}: failed: {plain(str(error))}\n")
        if pending is None:
            sys.exit(code)


def _end_quietly(error: CdsframeError) -> None:
    """Ends a single run whose error has been told: what is raised, Hydra tells again, with the whole command line."""
    runtime = HydraConfig.get()
    if not _TRACEBACKS and (runtime.mode is None or runtime.mode.name == "RUN"):
        raise SystemExit(error.exit_code) from error


def _exit_code(name: str, error: Exception) -> int:
    """What an error that ended the program is worth, said if nobody has said it. Defects of ours are raised again."""
    if isinstance(error, CdsframeError):
        return error.exit_code
    if isinstance(error, HydraException | OmegaConfBaseException):
        sys.stderr.write(f"{hydra_message(error)}\n")
        return 1
    if isinstance(error, YAMLError) and (fault := yaml_problem(error)):
        sys.stderr.write(f"{name}: the configuration is refused: {plain(fault)}\n")
        return ConfigError.exit_code
    if isinstance(error, OSError) and error.errno in _ON_DISK:
        sys.stderr.write(f"{name}: failed: {_ON_DISK[error.errno]} {error.filename or 'the outputs'}\n")
        return 1
    raise error


def _not_utf8(name: str) -> int:
    """Prints that a configuration file is not UTF-8 and returns the exit code. Hydra does not report which file."""
    sys.stderr.write(
        f"{name}: the configuration is refused: a file of it is not UTF-8 text; save the files of --config-dir and "
        "hydra.searchpath as UTF-8\n"
    )
    return ConfigError.exit_code


def _tell(name: str, error: CdsframeError, started: bool) -> None:
    """Says what is wrong; of a run that was refused before it began, removes the folder, or in a multirun notes it."""
    runtime = HydraConfig.get()
    single = runtime.mode is None or runtime.mode.name == "RUN"
    if not started and not single and not (Path(runtime.runtime.output_dir) / "config.yaml").is_file():
        note_failure(Path(runtime.runtime.output_dir), error)
    if _TRACEBACKS:
        return
    lines = [plain(line) for line in str(error).splitlines()]
    kind = "the configuration is refused" if isinstance(error, ConfigError) else "failed"
    text = f"{name}: {kind}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{name}: {kind}:", *lines])
    sys.stderr.write(text + "\n")
    if isinstance(error, ConfigError) and single and runtime.output_subdir is not None:
        _remove_empty_run(Path(runtime.runtime.output_dir))


def _remove_empty_run(folder: Path) -> None:
    """Removes the folder of a refused run, in which only Hydra has written."""
    if all(item.name in (".hydra", "config.yaml") or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
