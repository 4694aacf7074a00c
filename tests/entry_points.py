"""The entry points, called within the tests' process as the command line would call them."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import evaluate
import ingest
import train

COMMANDS = {"evaluate": evaluate.main, "ingest": ingest.main, "train": train.main}


def run_train(folder: Path, *overrides: str) -> None:
    """`python train.py OVERRIDES` from a folder."""
    run_command("train", folder, *overrides)


def run_command(name: str, folder: Path, *overrides: str) -> None:
    """`python NAME.py OVERRIDES` from a folder; leaves the log as it was, for Hydra sets it for the whole process.

    Without the field's data sets: each training would be compared with all of them (tests/test_contamination.py does).
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    folder.mkdir(exist_ok=True)
    GlobalHydra.instance().clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("CDSFRAME_DATA", raising=False)
        patch.setattr(sys, "argv", [f"{name}.py", *overrides])
        patch.setenv("SQLALCHEMY_SILENCE_UBER_WARNING", "1")  # Optuna's, which a sweep may load
        try:
            COMMANDS[name]()
        finally:
            for handler in {*root.handlers} - {*handlers}:
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)


def exit_code(folder: Path, *overrides: str) -> int | str | None:
    """The exit code of `run_train`."""
    try:
        run_train(folder, *overrides)
    except SystemExit as stopped:
        return stopped.code
    return 0


def run_folder(folder: Path) -> Path:
    """The run's folder below the one that it was started from."""
    return next(run for run in (folder / "outputs" / "runs" / "train").iterdir() if (run / "config.yaml").is_file())
