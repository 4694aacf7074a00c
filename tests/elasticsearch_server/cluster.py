"""Starts, disturbs and stops the test server: one node or several on this machine, each with ports of its own.

It fetches nothing (see `distribution`) and talks to no server but its own.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from . import keeper
from .distribution import Unavailable, distribution, java_home, open_to_others

_PASSWORD = "test-equipment"


@contextmanager
def server(
    nodes: int = 1, heap: str = "1g", security: bool = False, data: Path | None = None, port: int = 0
) -> Iterator[Cluster]:
    """A healthy test server that is gone after the block, and also when this process is killed.

    Args:
        nodes: How many nodes form the cluster; with more than one, a node may be killed and restarted.
        heap: Java heap of each node (`512m`, `1g`).
        security: Whether requests need the user `elastic` with the cluster's `password`.
        data: Folder for the indexes, which stays; none: a temporary one, deleted at the end.
        port: HTTP port of the first node, the others follow; 0: free ones.

    Raises:
        Unavailable: It cannot be had or started; one sentence says why.
    """
    folder = Path(tempfile.mkdtemp(prefix="cdsframe-elasticsearch-"))
    cluster = None
    try:
        cluster = Cluster(folder, nodes, heap, security, data, port)
        cluster.start()
        yield cluster
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Node:
    """One node's folders and, while it runs, its launcher's process."""

    name: str
    folder: Path
    data: Path
    port: int
    process: subprocess.Popen | None = None

    @property
    def pid(self) -> int:
        """The process number of the server itself (its launcher is another process)."""
        return int((self.folder / "pid").read_text())

    def ports(self, kind: str) -> list[str]:
        """The addresses that the node has bound for `http` or `transport`; none until it has."""
        file = self.folder / "logs" / f"{kind}.ports"
        return file.read_text().split() if file.exists() else []

    def complaint(self) -> str:
        """Why it ended, in its own words: the first error that it printed."""
        lines = (self.folder / "output.log").read_text(errors="replace").splitlines()
        telling = [line for line in lines if re.search(r"ERROR|[Ee]xception|fatal|not", line)]
        return (telling or lines or ["it printed nothing"])[0].strip()


class Cluster:
    """The running test server; `server` makes it."""

    def __init__(self, folder: Path, nodes: int, heap: str, security: bool, data: Path | None, port: int) -> None:
        self._home, self._java = distribution(), java_home()
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._heap, self._security, self._temporary = heap, security, data is None
        self.password = _PASSWORD if security else None
        self._folder = folder
        self._nodes = [
            _Node(f"node{n}", folder / f"node{n}", (data or folder).resolve() / f"data{n}", port + n if port else 0)
            for n in range(nodes)
        ]
        self._keeper: subprocess.Popen | None = None

    @property
    def addresses(self) -> list[str]:
        """The nodes' HTTP addresses, in the nodes' order, also of those that are down."""
        return [f"http://127.0.0.1:{node.port}" for node in self._nodes]

    @property
    def pids(self) -> list[int]:
        """The process numbers of the nodes' servers."""
        return [node.pid for node in self._nodes]

    def start(self) -> None:
        """Starts all nodes and waits until the cluster is green."""
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, self._folder], stdin=subprocess.PIPE, process_group=0
        )
        for node in self._nodes:
            self._prepare(node)
            self._launch(node)
        self._wait(self._nodes, 120 + 60 * len(self._nodes))

    def stop(self) -> None:
        """Stops all nodes: at once where the data are temporary, in good order where they stay."""
        for node in self._nodes:
            if node.process and not self._temporary:
                self._end(node, signal.SIGTERM)
        if self._keeper and self._keeper.stdin:
            self._keeper.stdin.close()
            self._keeper.wait()
        for node in self._nodes:
            if node.process:
                node.process.wait()

    def kill(self, n: int) -> None:
        """`kill -9` of node n."""
        self._end(self._nodes[n], signal.SIGKILL)

    def suspend(self, n: int) -> None:
        """Node n stands still (SIGSTOP): its connections stay open and nothing answers."""
        os.kill(self._nodes[n].pid, signal.SIGSTOP)

    def resume(self, n: int) -> None:
        """Node n goes on after `suspend`."""
        os.kill(self._nodes[n].pid, signal.SIGCONT)

    def restart(self, n: int) -> None:
        """Starts node n again, with its data and at its address, killing it first if it runs; waits until it has joined."""
        node = self._nodes[n]
        self._end(node, signal.SIGKILL)
        self._launch(node)
        self._wait([one for one in self._nodes if one.process], 180)

    def _prepare(self, node: _Node) -> None:
        """Writes the node's configuration and makes its folders, owned by the user that it runs as."""
        shutil.copytree(self._home / "config", node.folder / "config")
        (node.folder / "tmp").mkdir()
        node.data.mkdir(parents=True, exist_ok=True)
        alone = len(self._nodes) == 1
        settings = {
            "cluster.name": "cdsframe-test",
            "node.name": node.name,
            "node.processors": min(2, os.cpu_count() or 1),
            "node.portsfile": True,
            "path.data": str(node.data),
            "path.logs": str(node.folder / "logs"),
            "network.host": "127.0.0.1",
            "http.port": node.port,
            "transport.port": 0,
            "discovery.seed_providers": "file",
            "discovery.type": "single-node" if alone else "multi-node",
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "xpack.security.enabled": self._security,
            "xpack.security.autoconfiguration.enabled": False,
        }
        if not alone and not any(node.data.iterdir()):
            settings["cluster.initial_master_nodes"] = [one.name for one in self._nodes]
        (node.folder / "config" / "elasticsearch.yml").write_text(json.dumps(settings), encoding="utf-8")
        if self._security:
            self._run("elasticsearch-keystore", "add", "-x", "-f", "bootstrap.password", node=node, text=_PASSWORD)
        if self._user:
            for path in (self._folder, node.folder, *node.folder.rglob("*"), node.data, *node.data.rglob("*")):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
            for path in (self._home, self._java, self._folder.parent, node.data.parent.parent):
                if not open_to_others(path):
                    raise Unavailable(
                        f"The test server does not run as root, and the user {self._user.pw_name}, as whom it would run, "
                        f"cannot go into {path}: use another folder, or another user than root."
                    )

    def _launch(self, node: _Node) -> None:
        """Starts the node's process in the keeper's group, which the keeper kills when this process ends."""
        for kind in ("http", "transport"):
            (node.folder / "logs" / f"{kind}.ports").unlink(missing_ok=True)
        with (node.folder / "output.log").open("wb") as output:
            node.process = subprocess.Popen(
                [self._home / "bin" / "elasticsearch", "-p", node.folder / "pid"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(node),
                process_group=self._keeper.pid,
                **self._as_user(),
            )

    def _as_user(self) -> dict:
        user = self._user
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}

    def _environment(self, node: _Node) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOSTNAME") if name in os.environ}
        processors = min(2, os.cpu_count() or 1)
        return kept | {
            "ES_JAVA_HOME": str(self._java),
            "ES_PATH_CONF": str(node.folder / "config"),
            "ES_TMPDIR": str(node.folder / "tmp"),
            "ES_JAVA_OPTS": f"-Xms{self._heap} -Xmx{self._heap} -XX:ActiveProcessorCount={processors}",
        }

    def _run(self, tool: str, *arguments: str, node: _Node, text: str) -> None:
        """Runs one of the server's own tools on the node's configuration."""
        done = subprocess.run(
            [self._home / "bin" / tool, *arguments],
            input=text,
            env=self._environment(node),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"The test server's {tool} did not work: {(done.stderr or done.stdout).strip()}")

    def _end(self, node: _Node, how: signal.Signals) -> None:
        """Ends the node's server and its launcher."""
        if node.process is None:
            return
        if node.process.poll() is None:
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(node.pid, how)
                os.kill(node.pid, signal.SIGCONT)
            try:
                node.process.wait(60)
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
        node.process = None

    def _wait(self, nodes: list[_Node], seconds: float) -> None:
        """Introduces the nodes to one another, and waits until the first that runs says that the cluster is green."""
        deadline = time.monotonic() + seconds
        asked = f"/_cluster/health?wait_for_status=green&wait_for_nodes={len(nodes)}&timeout=2s"
        while time.monotonic() < deadline:
            for node in nodes:
                if node.process.poll() is not None:
                    raise Unavailable(f"The test server's {node.name} ended while it was starting: {node.complaint()}")
            hosts = [host for node in nodes for host in node.ports("transport")]
            for node in nodes:
                (node.folder / "config" / "unicast_hosts.txt").write_text("\n".join(hosts), encoding="utf-8")
                if node.ports("http"):
                    node.port = int(node.ports("http")[0].rpartition(":")[2])
            if all(node.ports("http") for node in nodes) and self._ask(nodes[0], asked) == 200:
                return
            time.sleep(0.2)
        raise Unavailable(f"The test server was not ready after {seconds:.0f} s: {nodes[0].complaint()}")

    def _ask(self, node: _Node, path: str) -> int:
        """The HTTP status that the node answers with; 0 where it does not answer."""
        token = base64.b64encode(f"elastic:{_PASSWORD}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {token}"} if self._security else {})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()
