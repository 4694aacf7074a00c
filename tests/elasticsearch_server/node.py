"""One node of the test server: its folders, its configuration and its process.

It knows nothing of the other nodes: `cluster` introduces them to one another.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .distribution import Unavailable, distribution, java_home, open_to_others

_PROCESSORS = min(2, os.cpu_count() or 1)


class Machine:
    """What every node needs to run here: the server's files, a JDK and its options, and a user that is not root."""

    def __init__(self, heap: str, quick: bool) -> None:
        self.home, self.java = distribution(), java_home()
        self.options = f"-Xms{heap} -Xmx{heap} -XX:ActiveProcessorCount={_PROCESSORS}"
        if quick:
            self.options += " -XX:TieredStopAtLevel=1"
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def as_user(self) -> dict:
        """Arguments of `subprocess.Popen` for the user that the server runs as: it refuses root."""
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}

    def hand_over(self, *folders: Path) -> None:
        """Gives the folders, with all in them, to the user that the server runs as."""
        if not self.user:
            return
        for path in (self.home, self.java, *folders):
            if not open_to_others(path.parent):
                raise Unavailable(
                    f"The test server does not run as root, and the user {self.user.pw_name}, as whom it would run, "
                    f"cannot go into {path.parent}: use another folder, or another user than root."
                )
        for path in (one for folder in folders for one in (folder, *folder.rglob("*"))):
            os.chown(path, self.user.pw_uid, self.user.pw_gid)


@dataclass
class Node:
    """One node; `process` is its launcher (the server itself is the launcher's child), none while it is down.

    Attributes:
        folder: Configuration, logs and temporary files.
        data: The indexes.
        port: Of HTTP; 0 until a free one was bound.
    """

    name: str
    folder: Path
    data: Path
    port: int
    machine: Machine
    process: subprocess.Popen | None = None

    @property
    def pid(self) -> int:
        """The server's process number."""
        return int((self.folder / "pid").read_text())

    def configure(self, settings: dict, password: str | None) -> None:
        """Makes the folders and writes the configuration, with the password of the user `elastic`."""
        shutil.copytree(self.machine.home / "config", self.folder / "config")
        (self.folder / "tmp").mkdir()
        self.data.mkdir(parents=True, exist_ok=True)
        own = {
            "node.name": self.name,
            "node.processors": _PROCESSORS,
            "node.portsfile": True,
            "path.data": str(self.data),
            "path.logs": str(self.folder / "logs"),
        }
        (self.folder / "config" / "elasticsearch.yml").write_text(json.dumps(settings | own), encoding="utf-8")
        if password:
            command = [self.machine.home / "bin" / "elasticsearch-keystore", "add", "-x", "-f", "bootstrap.password"]
            done = subprocess.run(
                command, input=password, env=self._environment(), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise Unavailable(f"The test server took no password: {done.stderr or done.stdout}".strip())
        self.machine.hand_over(self.folder, self.data)

    def launch(self, group: int) -> None:
        """Starts the server in a process group."""
        for kind in ("http", "transport"):
            (self.folder / "logs" / f"{kind}.ports").unlink(missing_ok=True)
        with (self.folder / "output.log").open("wb") as output:
            self.process = subprocess.Popen(
                [self.machine.home / "bin" / "elasticsearch", "-p", self.folder / "pid", f"-Ehttp.port={self.port}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                process_group=group,
                **self.machine.as_user(),
            )

    def end(self, how: signal.Signals) -> None:
        """Sends the server the signal and waits until it is gone; it is killed after a minute."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self._send(how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self._send(signal.SIGKILL)
                self.process.wait()
        self.process = None

    def _send(self, how: signal.Signals) -> None:
        try:
            os.kill(self.pid, how)
            os.kill(self.pid, signal.SIGCONT)
        except (FileNotFoundError, ProcessLookupError):  # it is not up yet, or already gone
            self.process.kill()

    def addresses(self, kind: str) -> list[str]:
        """What the server has bound for `http` or `transport`; nothing while it starts."""
        file = self.folder / "logs" / f"{kind}.ports"
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    def complaint(self) -> str:
        """The server's own words: the first error that it printed, else its last line."""
        text = (self.folder / "output.log").read_text(encoding="utf-8", errors="replace").strip()
        of_java = re.search(r"^error:\n(.+)", text, re.MULTILINE)
        own = re.search(r"^(.*(?:ERROR|FATAL|Exception).*)", text, re.MULTILINE)
        return (of_java or own or re.search(r"(.*)$", text))[1]

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOSTNAME") if name in os.environ}
        return kept | {
            "ES_JAVA_HOME": str(self.machine.java),
            "ES_PATH_CONF": str(self.folder / "config"),
            "ES_TMPDIR": str(self.folder / "tmp"),
            "ES_JAVA_OPTS": self.machine.options,
        }
