"""Runs the test server in the foreground until Ctrl-C."""

import argparse
import signal
import sys
from pathlib import Path

from . import VERSION, Unavailable, server
from .distribution import distribution


def main() -> None:
    """Reads the arguments, starts the server, says how to use it, and waits."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.elasticsearch_server",
        description=f"A real Elasticsearch {VERSION} for tests and benchmarks, not for real documents; Ctrl-C ends it.",
    )
    parser.add_argument("--nodes", type=int, default=1, help="nodes of the cluster (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="HTTP port of the first node (default: a free one)")
    parser.add_argument("--heap", default="1g", help="Java heap of each node (default: %(default)s)")
    parser.add_argument("--security", action="store_true", help="ask for a user and password")
    parser.add_argument("--data", type=Path, help="folder for the indexes, which stays (default: a temporary one)")
    parser.add_argument("--fetch", action="store_true", help="only fetch and complete the server")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.fetch:
            print(distribution())
            return
        _serve(arguments)
    except Unavailable as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped", flush=True)


def _serve(arguments: argparse.Namespace) -> None:
    print(f"Elasticsearch {VERSION} for tests is starting (a minute, with the download two) ...", flush=True)
    with server(arguments.nodes, arguments.heap, arguments.security, arguments.data, arguments.port) as cluster:
        print(f"It is up at {' '.join(cluster.addresses)}. Use it from another terminal:")
        print(f"  export CDSFRAME_ELASTICSEARCH_URL={','.join(cluster.addresses)}", flush=True)
        if cluster.password:
            print("  export CDSFRAME_ELASTICSEARCH_USER=elastic")
            print(f"  export CDSFRAME_ELASTICSEARCH_PASSWORD={cluster.password}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
