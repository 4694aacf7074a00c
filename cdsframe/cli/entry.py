"""The decorator `entry` turns a function into a command: composition, checks, the run's folder, error messages.

Does not depend on what the commands do.
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
    escape_interpolations,
    refuse_groups_without_option,
    refuse_unresumable,
    take_question,
)
from cdsframe.cli.interrupt import EXIT_CODE, restore_interrupts
from cdsframe.cli.multirun import pop_summaries
from cdsframe.cli.pipes import ignore_closed_pipes
from cdsframe.cli.resume import interrupted_run
from cdsframe.cli.shadow import refuse_shadowed
from cdsframe.cli.sweep import folder_of_job, record_failure, run_job
from cdsframe.config.check import check
from cdsframe.config.composition import Composition
from cdsframe.config.folders import built_in
from cdsframe.config.guard import guarded
from cdsframe.config.hydra_errors import hydra_message, yaml_problem
from cdsframe.config.hyperparameters import hyperparameters
from cdsframe.config.open_keys import with_plus
from cdsframe.config.resolvers import without_environment
from cdsframe.config.rules import several_processes
from cdsframe.errors import CdsframeError, ConfigError, HydraSettingError
from cdsframe.logger import shared_run_problems
from cdsframe.machine.environment import set_defaults
from cdsframe.machine.shared_cores import watch
from cdsframe.text.printable import plain

_TRACEBACKS = os.environ.get("CDSFRAME_TRACEBACKS", os.environ.get("HYDRA_FULL_ERROR")) == "1"
"""Whether the user asked for tracebacks. `entry` sets HYDRA_FULL_ERROR in all processes of a sweep, so the user's value
of it is passed on in CDSFRAME_TRACEBACKS."""


def start_run(cfg: DictConfig) -> Run:
    """Opens the job's run in the folder that Hydra chose, or in the folder to resume.

    Raises ConfigError for settings that a run, a multirun or a resumed run does not support.
    """
    runtime = HydraConfig.get()
    multirun = runtime.mode is not None and runtime.mode.name == "MULTIRUN"
    if multirun and several_processes(cfg):
        raise ConfigError(
            "trainer=ddp starts the command again for each device, and with -m each process would start the whole "
            "multirun; start the jobs one by one "
            "(for r in 8 16; do python train.py trainer=ddp lora.r=$r name=r$r; done)"
        )
    _refuse_settings_of_hydra(runtime, multirun)
    if multirun and (problems := shared_run_problems(cfg.get("logger"), os.environ)):
        raise ConfigError(problems)
    folder, written, resumed = Path(runtime.runtime.output_dir), without_environment(cfg), False
    if cfg.get("resume") and multirun:
        folder, resumed = folder_of_job(Path(runtime.sweep.dir), folder, written)
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
    """Raises ConfigError for Hydra settings that change the working folder or rename the jobs' folders."""
    if runtime.job.chdir:
        raise ConfigError(
            "hydra.job.chdir=true would resolve relative paths such as paths.outputs in the run's folder, not in the "
            "working folder; remove this setting: a run writes into its folder without it"
        )
    if multirun and str(runtime.sweep.subdir) != str(runtime.job.num):
        raise ConfigError(
            f"hydra.sweep.subdir={runtime.sweep.subdir}: resume and the leader board need the jobs' numbered folders; "
            "leave it out, and set hydra.sweep.dir to choose the multirun's folder"
        )


_ON_DISK = {
    errno.ENOSPC: "no space is left on the disk of",
    errno.EDQUOT: "the disk quota is used up at",
    errno.EROFS: "the file system is read-only at",
    errno.EACCES: "there is no permission to write",
    errno.EPERM: "there is no permission to write",
    errno.ENOENT: "there is no such file or folder, and it cannot be created:",
    errno.ENAMETOOLONG: "a name is too long:",
    errno.EEXIST: "a folder was expected and a file found:",
    errno.ENOTDIR: "a folder was expected and a file found:",
    errno.EISDIR: "a file was expected and a folder found:",
}


def entry(function: Callable[[Composition], float | None]) -> Callable[[], None]:
    """Turns a function into a command: Hydra composes a configuration, `check` validates it, and the function runs.

    A CdsframeError is printed without a traceback. The command and its primary configuration are named after the
    function's file. The configuration is read from the folder `configs` beside that file, or from cdsframe's own folder
    `configs` if there is none beside it.

    Exit codes: 0 done, 1 failed (also Hydra's override errors), 2 configuration refused, 130 interrupted (Ctrl-C), 143
    stopped by SIGTERM after writing a checkpoint.
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
                cfg.question = escape_interpolations(asked[-1])
            check(cfg)
            run = start_run(cfg)
            work = functools.partial(_watched, function, cfg, run)
            return work() if run.sweep_folder is None else run_job(run, work, cfg.get("own_process") is True)
        except CdsframeError as error:
            _report(name, error, started=run is not None)
            _exit_single_run(error)
            raise
        except OSError as error:
            if error.errno not in _ON_DISK:
                raise
            failed = CdsframeError(f"{_ON_DISK[error.errno]} {error.filename or 'the outputs'}")
            _report(name, failed, started=True)
            _exit_single_run(failed)
            raise failed from error

    main = hydra.main(version_base="1.3", config_path=str(configs), config_name=name)(job)

    @functools.wraps(function)
    @ignore_closed_pipes()
    def run() -> None:
        os.environ["CDSFRAME_TRACEBACKS"] = str(int(_TRACEBACKS))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise every error instead of printing it
        try:
            composed.clear()  # removes the configurations of an earlier call of the command in this process
            asked[:] = take_question(configs / f"{name}.yaml")
            sys.argv[1:] = with_plus(sys.argv[1:], configs / f"{name}.yaml")
            refuse_groups_without_option(name, configs)
            refuse_unresumable(name)
            refuse_shadowed(name, configs)
            restore_interrupts()
            with guarded():
                main()
        except KeyboardInterrupt as stop:
            sys.stderr.write(f"\n{name}: interrupted; {str(stop) or 'completed work is kept'}\n")
            sys.exit(getattr(stop, "exit_code", EXIT_CODE))
        except Exception as error:
            if _TRACEBACKS:
                raise
            if isinstance(error, UnicodeDecodeError) and not composed:
                sys.exit(_not_utf8(name))
            sys.exit(_exit_code(name, error))
        finally:
            _print_summaries(name)

    return run


def _watched(function: Callable[[Composition], float | None], cfg: DictConfig, run: Run) -> float | None:
    """Starts `watch` in the process that does the work, which may be a fork (`own_process`), and calls the function."""
    watch()
    return function(Composition(cfg, run))


def _print_summaries(name: str) -> None:
    """Prints the summaries of this process's multiruns.

    If a summary fails with a CdsframeError or OSError, prints the error and exits, unless the process is already ending
    with another error.
    """
    pending = sys.exc_info()[0]
    try:
        for text in filter(None, pop_summaries()):
            sys.stdout.write(text + "\n")
    except (CdsframeError, OSError) as error:
        code = _exit_code(name, error)
        if isinstance(error, CdsframeError):
            sys.stderr.write(f"{name}: failed: {plain(str(error))}\n")
        if pending is None:
            sys.exit(code)


def _exit_single_run(error: CdsframeError) -> None:
    """Exits a single run whose error is already printed: Hydra would log a raised error with the whole command line."""
    runtime = HydraConfig.get()
    if not _TRACEBACKS and (runtime.mode is None or runtime.mode.name == "RUN"):
        raise SystemExit(error.exit_code) from error


def _exit_code(name: str, error: Exception) -> int:
    """Returns the exit code for an error, and prints the error unless `_report` has printed it.

    Raises any error that a user cannot fix again: it is a defect.
    """
    if isinstance(error, HydraSettingError):
        sys.stderr.write(_text(name, error))
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
    """Prints that a configuration file is not UTF-8, and returns the exit code. Hydra does not say which file it is."""
    sys.stderr.write(
        f"{name}: the configuration is refused: a file of it is not UTF-8 text; save the files of --config-dir and "
        "hydra.searchpath as UTF-8\n"
    )
    return ConfigError.exit_code


def _report(name: str, error: CdsframeError, started: bool) -> None:
    """Prints the error.

    Removes the folder of a refused single run; records the failure of a multirun's job that did not start.
    """
    runtime = HydraConfig.get()
    single = runtime.mode is None or runtime.mode.name == "RUN"
    if not started and not single and not (Path(runtime.runtime.output_dir) / "config.yaml").is_file():
        record_failure(Path(runtime.runtime.output_dir), error)
    if _TRACEBACKS:
        return
    sys.stderr.write(_text(name, error))
    if isinstance(error, ConfigError) and single and runtime.output_subdir is not None:
        _remove_empty_run(Path(runtime.runtime.output_dir))


def _text(name: str, error: CdsframeError) -> str:
    """Returns the lines to print for an error."""
    lines = [plain(line) for line in str(error).splitlines()]
    kind = "the configuration is refused" if isinstance(error, ConfigError) else "failed"
    return (f"{name}: {kind}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{name}: {kind}:", *lines])) + "\n"


def _remove_empty_run(folder: Path) -> None:
    """Removes a refused run's folder if it contains only Hydra's files, logs and `config.yaml`."""
    if all(item.name in (".hydra", "config.yaml") or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
