"""What becomes of an update while the Elasticsearch server fails: one line for each way in which it may.

    python -m benchmarks.faults_server

A test server of its own, killed, stopped (SIGSTOP) or spoiled by a proxy in the middle of an update; then one of three
nodes, killed with a replica of each shard. Each time: whether the update recovered or ended with one sentence, whether
the index then held the new corpus or exactly that of before, and after a further update nothing but the new one.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from benchmarks.faults_processes import CHUNKING, EMBEDDER, WINDOW, Turn, compare, opened
from benchmarks.measuring import headline, last_line
from cdsframe.errors import CdsframeError
from cdsframe.ingestion.update import update
from tests.elasticsearch_server import Cluster, Proxy, Request, proxy, server

_VARIABLE = "CDSFRAME_ELASTICSEARCH_URL"
_SHORT, _LONG = 4, 120
"""Seconds that a request may take: less, and more, than the server is away."""

Fault = Callable[[Cluster, Proxy], None]


def _after(seconds: float, *steps: Callable[[], None], pause: float = 0.0) -> None:
    """Does the steps on another thread: the first after so many seconds, the next after the pause."""

    def run() -> None:
        time.sleep(seconds)
        for step in steps:
            step()
            time.sleep(pause)

    threading.Thread(target=run, daemon=True).start()


def _spoil(fault: Callable[[Request], None]) -> Fault:
    def spoil(_: Cluster, between: Proxy) -> None:
        between.fault = fault

    return spoil


def _reset(request: Request) -> None:
    if request.number % 5 == 0:
        request.lose("answer" if request.number % 2 else "request")


def _busy(request: Request) -> None:
    if request.number % 10 == 0:
        request.refuse(429, "circuit_breaking_exception", retry_after=1)


def _full(request: Request) -> None:
    if request.is_bulk and request.number % 2:
        request.refuse_item(0, 429, "es_rejected_execution_exception")


def _mapper(request: Request) -> None:
    if request.is_bulk and b'"create"' in request.body and request.number > 30:
        request.refuse_item(0, 400, "document_parsing_exception")


def _absent(request: Request) -> None:
    request.lose("request")


TRIALS: dict[str, tuple[float, Fault]] = {
    "connections are reset, one in five": (_LONG, _spoil(_reset)),
    "429 with Retry-After, one request in ten": (_LONG, _spoil(_busy)),
    "single records of a bulk are rejected (429)": (_LONG, _spoil(_full)),
    "a record is refused for good": (_LONG, _spoil(_mapper)),
    "429 for ever": (_SHORT, _spoil(lambda request: request.refuse(429, "circuit_breaking_exception"))),
    "cannot be reached from the start": (_SHORT, _spoil(_absent)),
    "stands still for 8 s, timeout 120 s": (
        _LONG,
        lambda cluster, _: _after(1, lambda: cluster.suspend(0), lambda: cluster.resume(0), pause=8),
    ),
    "stands still for 12 s, timeout 4 s": (
        _SHORT,
        lambda cluster, _: _after(1, lambda: cluster.suspend(0), lambda: cluster.resume(0), pause=12),
    ),
    "is killed and started again, timeout 120 s": (
        _LONG,
        lambda cluster, _: _after(1, lambda: cluster.restart(0)),
    ),
}


def trial(
    args: argparse.Namespace,
    name: str,
    timeout: float,
    fault: Callable[[], None],
    mended: Callable[[], None],
    *overrides: str,
) -> Counter[str]:
    """Updates from one corpus to another while the fault lasts, and once more when it is mended."""
    index = opened(args, f"index.timeout={timeout}", *overrides)
    patient = opened(args, "index.timeout=240", *overrides)
    EMBEDDER.seconds = 0.0
    update(WINDOW, 0, 1, False, False, Turn(1), CHUNKING, EMBEDDER, patient)
    EMBEDDER.seconds = 0.1
    start, told = time.perf_counter(), ""
    fault()
    try:
        update(WINDOW, 0, 1, False, False, Turn(2), CHUNKING, EMBEDDER, index)
    except CdsframeError as error:
        told = f"exit code {error.exit_code}: {error}"
    seconds = time.perf_counter() - start
    mended()
    left = compare(patient, list(Turn(1 if told else 2).documents()))
    with patient.writer(60):
        update(WINDOW, 0, 1, False, False, Turn(2), CHUNKING, EMBEDDER, patient)
    after = compare(patient, list(Turn(2).documents()))
    outcome = f"{told}; the index of before is there" if told else "recovers"
    print(f"{name}: {outcome} ({seconds:.1f} s); {left}, after the next update {after}", flush=True)
    return Counter(left) + Counter(after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heap", default="512m", help="of each node")
    parser.add_argument("--only", default="", help="trials whose name contains this")
    args = parser.parse_args()
    args.index, args.path = "elasticsearch", ""
    headline("updates while the server fails")
    counts, trials = Counter[str](), 0
    with server(heap=args.heap, quick=True) as cluster, proxy(cluster.addresses[0]) as between:
        os.environ[_VARIABLE] = between.address

        def mend() -> None:
            between.fault = None
            time.sleep(0.1)

        for name, (timeout, fault) in TRIALS.items():
            if args.only in name:
                between.fault = None
                counts += trial(args, name, timeout, lambda fault=fault: fault(cluster, between), mend)  # type: ignore[misc]
                trials += 1
    name = "one of three nodes is killed, one replica"
    if args.only in name:
        with server(nodes=3, heap=args.heap, quick=True) as cluster:
            os.environ[_VARIABLE] = ",".join(cluster.addresses)
            counts += trial(
                args, name, _LONG, lambda: _after(1, lambda: cluster.kill(0)), lambda: None, "index.replicas=1"
            )
            trials += 1
    figures: dict[str, Any] = {key: counts[key] for key in ("lost", "duplicated", "digests")}
    last_line(trials=trials, **figures)


if __name__ == "__main__":
    main()
