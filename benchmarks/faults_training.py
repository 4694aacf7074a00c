"""Whether anything is lost: a training process is killed at random moments and goes on, until it has ended.

    python -m benchmarks.faults_training --kills 50 --folder /tmp --folder /dev/shm

A tiny model is trained through `train.py`, with a checkpoint after every second step, and killed (`kill -9`) at a
moment drawn uniformly from its whole duration, start included, every other time at the first moment after that at
which a checkpoint or an adapter is being written; then it is started with `resume=` until it ends. The kills are shared
out over the folders' file systems.

After every kill, each checkpoint that is in its place must be whole, and the adapter, where there is one, must load.
After the end, every step's loss, every validation loss and the adapter must be those of a run that was never
interrupted, bit by bit.

Counted: `kills`; `lost`, losses and adapters that are absent or differ; `corrupt`, files in their place that are not
whole, and runs that cannot go on. Then SIGTERM, and a disk without space (where a small tmpfs can be mounted).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from threading import RLock
from typing import Any

from benchmarks.measuring import headline, last_line
from cdsframe.artifacts.packaged import weights_digest
from cdsframe.callbacks.checkpoint_files import Checkpoints

RUN = (
    "model=tiny", "embedder=none", "retriever=none", "quantization=none", "training.train_limit=80",
    "training.validation_limit=8", "training.max_epochs=2", "training.validations=3",
    "callbacks.early_stopping.patience=99", "callbacks.checkpoint.every_n_train_steps=2",
    "callbacks.checkpoint.minutes=null", "trainer=cpu", "callbacks.progress=null", "logger=csv", "name=demo",
)  # fmt: skip
"""Forty steps, six validations, twenty checkpoints."""


IMPORTED = ("lightning.pytorch.loggers", "peft", "cdsframe.training.fitting", "train")


class Training:
    """`train.py` in a process forked from one that has imported all of it once."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        nest = multiprocessing.get_context("forkserver")
        nest.set_forkserver_preload([__name__, *IMPORTED])
        self._process = nest.Process(target=_train, args=(str(folder), [*RUN, *overrides]), daemon=True)
        self._process.start()

    def ended(self, seconds: float | None) -> bool:
        """Whether it ends within so many seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    @property
    def code(self) -> int | None:
        return self._process.exitcode

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, number)
        self._process.join()


def _train(folder: str, overrides: list[str]) -> None:
    from tqdm import tqdm

    import train

    tqdm.set_lock(RLock())
    os.chdir(folder)
    with Path("told").open("a") as told:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        sys.argv = ["train.py", *overrides]
        train.main()


def run_of(folder: Path) -> Path | None:
    """The run's folder, None where it was killed before it had begun."""
    return next((file.parent for file in folder.glob("outputs/runs/train/*/config.yaml")), None)


def results(folder: Path) -> Counter[tuple[str, ...]]:
    """Every loss with its step, and the adapter's digest, as they stand on disk."""
    run = run_of(folder)
    assert run is not None
    with (run / "csv" / "metrics.csv").open(encoding="utf-8") as rows:
        found = Counter((row["step"], row["train/loss"], row["val/loss"]) for row in csv.DictReader(rows))
    return found + Counter([("adapter", weights_digest(folder / "outputs/adapters/demo"))])


def checkpoints(folder: Path) -> set[str]:
    """The names of the checkpoints that are in their place."""
    return {place.name for place in folder.glob("outputs/runs/train/*/checkpoints/step-*")}


def partials(folder: Path) -> set[Path]:
    """What is being written of checkpoints and adapters, or was when its writer was killed."""
    found = set[Path]()
    for place in (*folder.glob("outputs/runs/train/*"), *folder.glob("outputs/runs/train/*/checkpoints")):
        with contextlib.suppress(FileNotFoundError):  # it goes on while it is looked at
            found.update(Path(item) for item in os.scandir(place) if ".partial" in item.name)
    return found


def corrupt(folder: Path) -> int:
    """How many checkpoints and adapters are in their place and not whole."""
    from safetensors import safe_open

    run = run_of(folder)
    if run is None:
        return 0
    checkpoints = Checkpoints(run / "checkpoints", {})
    bad = sum(checkpoints.fault(there) is not None for there in checkpoints.folder.glob("step-????????"))
    for adapter in (run / "adapter", folder / "outputs/adapters/demo"):
        if adapter.is_dir():
            try:
                safe_open(adapter / "adapter_model.safetensors", "pt").keys()
            except Exception:  # noqa: BLE001 (whatever is wrong with it, it counts)
                bad += 1
    return bad


def kills(on: Path, wanted: int, generator: random.Random) -> Counter[str]:
    """Kills on one file system until it has killed as often as was asked for."""
    counts = Counter[str]()
    with tempfile.TemporaryDirectory(dir=on) as name:
        for whole in (Path(name) / "first", Path(name) / "second"):  # the first one waits for the imports
            whole.mkdir()
            start = time.perf_counter()
            if not Training(whole).ended(300) or run_of(whole) is None:
                raise RuntimeError((whole / "told").read_text()[-2000:])
            expected, seconds = results(whole), time.perf_counter() - start
        print(f"{on}: {len(expected)} figures, {seconds:.1f} s without a kill", flush=True)
        while counts["kills"] < wanted:
            counts["runs"] += 1
            folder = Path(name) / f"run-{counts['runs']}"
            folder.mkdir()
            tries = 0
            while True:
                run = run_of(folder)
                left, training = partials(folder), Training(folder, *([f"resume={run}"] if run else []))
                spare = counts["kills"] >= wanted or tries >= 12
                if training.ended(300 if spare else generator.uniform(0, 1.1) * seconds):
                    break
                while tries % 2 and not partials(folder) - left and not training.ended(0):
                    pass
                training.signal(signal.SIGKILL)
                tries += 1
                counts["kills"] += 1
                run = run_of(folder)
                counts["during_training"] += bool(run and (run / "checkpoints").is_dir())
                counts["during_a_write"] += bool(partials(folder) - left)
                counts["corrupt"] += corrupt(folder)
            if training.code:
                counts["corrupt"] += 1
                print((folder / "told").read_text()[-2000:])
                break
            counts["lost"] += (expected - results(folder)).total() + (results(folder) - expected).total()
            print(f"run {counts['runs']}: killed {tries} times, then done; {dict(counts)}", flush=True)
            shutil.rmtree(folder)
    return counts


def terminated(on: Path, generator: random.Random) -> str:
    """A run that is asked to end by SIGTERM, until it has had the time to end: what became of it, in words."""
    with tempfile.TemporaryDirectory(dir=on) as name:
        whole, folder = Path(name) / "whole", Path(name) / "run"
        whole.mkdir()
        folder.mkdir()
        Training(whole).ended(300)
        stops, run = 0, None
        while True:
            kept = checkpoints(folder)
            training = Training(folder, *([f"resume={run}"] if run else []))
            while stops < 3 and checkpoints(folder) == kept and not training.ended(0.01):
                pass  # until it trains
            if not training.ended(generator.uniform(0, 0.3) if stops < 3 else 300):
                training.signal(signal.SIGTERM)
            run = run_of(folder)
            if training.code == 0:
                break
            if training.code != 128 + signal.SIGTERM:
                return f"exit code {training.code}"
            stops += 1
        same = results(folder) == results(whole)
        return f"stopped {stops} times with exit code 143, then done, {'the same' if same else 'not the same'}"


def no_space(generator: random.Random) -> str:
    """A run whose checkpoints do not fit: what became of it, in words."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "cdsframe", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return "not tried: no right to mount a small tmpfs"
        try:
            there = Path(folder)
            filler = there / "filler"
            training = Training(there)
            while not checkpoints(there) and not training.ended(0.002):
                pass  # until it trains
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(generator.randbytes(4096))
                    file.flush()
            training.ended(300)
            told = (there / "told").read_text()
            run = run_of(there)
            said = "could not be written" in told and "No space left" in told
            intact = training.code == 1 and corrupt(there) == 0 and checkpoints(there)
            filler.unlink()
            subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)
            Training(there, f"resume={run}").ended(300)
            with tempfile.TemporaryDirectory() as other:
                Training(Path(other)).ended(300)
                same = results(there) == results(Path(other))
            return f"{'told' if said else told[-500:]}, {'intact' if intact else 'not intact'}, then done, same: {same}"
        finally:
            subprocess.run(["umount", "-l", folder], check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path, action="append", help="on whose file system; may be given several times")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folders = args.folder or [Path(tempfile.gettempdir()), Path("/dev/shm")]
    generator, counts = random.Random(args.seed), Counter[str]()
    headline("kill -9 while training")
    for number, folder in enumerate(folders):
        share = args.kills * (number + 1) // len(folders) - args.kills * number // len(folders)
        counts += kills(folder, share, generator)
    told = {"sigterm": terminated(folders[0], generator), "no_space": no_space(generator)}
    for what, became in told.items():
        print(f"{what}: {became}")
    names = ("kills", "lost", "corrupt", "runs", "during_training", "during_a_write")
    figures: dict[str, Any] = {name: counts[name] for name in names}
    last_line(**figures, folders=[str(folder) for folder in folders], **told)


if __name__ == "__main__":
    main()
