"""Starts, disturbs and stops the test server: one node or several on this machine, each with ports of its own.

It fetches nothing (see `distribution`) and talks to no server but its own.
"""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import keeper
from .distribution import Unavailable
from .node import Machine, Node

_PASSWORD = "test-equipment"
_PATIENCE = 240
"""Seconds for one node to start: 10 on two idle cores, many times that on busy ones."""


@contextmanager
def server(
    nodes: int = 1,
    heap: str = "1g",
    security: bool = False,
    data: Path | None = None,
    port: int = 0,
    quick: bool = False,
) -> Iterator[Cluster]:
    """A healthy test server that is gone after the block, and also when this process is killed.

    Args:
        nodes: How many nodes form the cluster; with three, one may be lost.
        heap: Java heap of each node (`512m`, `1g`).
        security: Whether requests need the user `elastic` and the cluster's `password`.
        data: Folder for the indexes, which stays; none: a temporary one, deleted at the end.
        port: HTTP port of the first node, the others follow; 0: free ones.
        quick: Compiles less: half the CPU time to start, slower under load. For tests, not for measurements.

    Raises:
        Unavailable: It cannot be had or started; one sentence says why.
    """
    machine = Machine(heap, quick)
    folder = Path(tempfile.mkdtemp(prefix="cdsframe-elasticsearch-"))
    folder.chmod(0o755)
    cluster = Cluster(
        [
            Node(f"node{n}", folder / f"node{n}", (data or folder).resolve() / f"data{n}", port and port + n, machine)
            for n in range(nodes)
        ],
        _PASSWORD if security else None,
        folder,
    )
    held = [sys.executable, "-I", "-S", keeper.__file__, folder]
    with subprocess.Popen(held, stdin=subprocess.PIPE, process_group=0) as holder:
        try:
            cluster.start(holder.pid)
            yield cluster
        finally:
            cluster.stop(signal.SIGTERM if data else signal.SIGKILL)
            holder.stdin.close()
            holder.wait()
            shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """The running test server; `server` makes it.

    Attributes:
        password: Of the user `elastic`; none without security.
        folder: Configuration and logs of each node; it goes with the server.
    """

    def __init__(self, nodes: list[Node], password: str | None, folder: Path) -> None:
        self._nodes = nodes
        self.password = password
        self.folder = folder
        self._group = 0

    @property
    def addresses(self) -> list[str]:
        """The nodes' HTTP addresses in the nodes' order; one that is down keeps its own."""
        return [f"http://127.0.0.1:{node.port}" for node in self._nodes]

    @property
    def pids(self) -> list[int]:
        """The process numbers of the nodes' servers."""
        return [node.pid for node in self._nodes]

    def start(self, group: int) -> None:
        """Starts all nodes in a process group and waits until the cluster is whole."""
        self._group = group
        settings = self._settings()
        for node in self._nodes:
            node.configure(settings, self.password)
            node.launch(group)
        self._wait(self._nodes[0], _PATIENCE * len(self._nodes))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stops all nodes, by default in good order."""
        for node in self._nodes:
            node.end(how)

    def kill(self, n: int) -> None:
        """`kill -9` of node n."""
        self._nodes[n].end(signal.SIGKILL)

    def suspend(self, n: int) -> None:
        """Node n stands still (SIGSTOP): its connections stay open and nothing answers."""
        os.kill(self._nodes[n].pid, signal.SIGSTOP)

    def resume(self, n: int) -> None:
        """Node n goes on after `suspend`."""
        os.kill(self._nodes[n].pid, signal.SIGCONT)

    def restart(self, n: int) -> None:
        """Starts node n with its data at its address, after killing it if it runs, and waits until it has joined."""
        self.kill(n)
        self._nodes[n].launch(self._group)
        self._wait(self._nodes[n], _PATIENCE)

    def _settings(self) -> dict:
        """The nodes' common configuration."""
        settings = {
            "cluster.name": "cdsframe-test",
            "cluster.routing.allocation.disk.threshold_enabled": False,
            "discovery.seed_providers": "file",
            "discovery.initial_state_timeout": "0s",  # a node tells its ports only after this, and the others need them
            "network.host": "127.0.0.1",
            "transport.port": 0,
            "xpack.security.enabled": self.password is not None,
            "xpack.security.autoconfiguration.enabled": False,
        }
        if len(self._nodes) == 1:
            settings["discovery.type"] = "single-node"
        elif not any(node.data.exists() for node in self._nodes):
            settings["cluster.initial_master_nodes"] = [node.name for node in self._nodes]
        return settings

    def _wait(self, asked: Node, seconds: float) -> None:
        """Introduces the running nodes to one another and waits until the one that is asked knows all of them.

        Where none is down, all data must be there as well. A server with users makes their index by itself just after
        it started, and refuses right passwords until that is there: so it is waited for.
        """
        nodes = [node for node in self._nodes if node.process]
        question = f"/_cluster/health?wait_for_nodes={len(nodes)}&timeout=2s"
        if self.password:  # its shard, for an index that is just made counts as yellow without
            question = f"/_cluster/health/.security?wait_for_nodes={len(nodes)}&wait_for_active_shards=1&timeout=2s"
        if len(nodes) == len(self._nodes):
            question += "&wait_for_status=yellow"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for node in nodes:
                if node.process.poll() is not None:
                    raise Unavailable(f"The test server's {node.name} ended while it was starting: {node.complaint()}")
            hosts = [host for node in nodes for host in node.addresses("transport")]
            for node in nodes:
                (node.folder / "config" / "unicast_hosts.txt").write_text("\n".join(hosts), encoding="utf-8")
                if bound := node.addresses("http"):
                    node.port = int(bound[0].rpartition(":")[2])
            if all(node.addresses("http") for node in nodes) and self._ask(asked, question) == 200:
                return
            time.sleep(0.2)
        raise Unavailable(f"The test server was not ready after {seconds:.0f} s, and said: {asked.complaint()}")

    def _ask(self, node: Node, path: str) -> int:
        """The HTTP status that the node answers with; 0 where it does not answer."""
        token = base64.b64encode(f"elastic:{self.password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {token}"} if self.password else {})
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()
