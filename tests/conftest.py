"""What holds for all tests: no network, no hub, warnings are errors, outputs in a temporary folder."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("HYDRA_FULL_ERROR", None)
os.environ.pop("CDSFRAME_COMPONENTS", None)  # a user's packages; tests name their own

from pathlib import Path

import absl.logging
import pytest

from cdsframe.contracts import Index
from cdsframe.machine.environment import set_defaults
from cdsframe.machine.shared_cores import watch
from tests.children import patience
from tests.indexes import KINDS, empty_index

set_defaults()  # before a test loads torch
watch()
absl.logging.get_absl_handler().python_handler.stream = (
    sys.__stderr__
)  # it closes pytest's own, when Hydra sets logs up
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background; tests that press Ctrl-C need it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0")
_connect = socket.socket.connect


def _guarded_connect(self: socket.socket, address: object) -> None:
    """Refuses every connection that would leave this machine."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple) and address[0] not in _LOCAL:
        raise RuntimeError(f"a test tried to reach {address[0]}: the network is off in tests")
    _connect(self, address)


socket.socket.connect = _guarded_connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the field's data sets; tests that need it skip, and say so, where it is absent."""
    folder = os.environ.get("CDSFRAME_DATA")
    if not folder:
        pytest.skip("CDSFRAME_DATA is not set: this test needs the field's data sets")
    return Path(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The start of the Elasticsearch server does not count into a test's own time."""
    for item in items:
        if item.get_closest_marker("elasticsearch") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(func_only=True))


def unmet(name: str, reason: str) -> None:
    """Skips a test that lacks something; fails it where `CI` is set or `CDSFRAME_REQUIRE` names what it lacks."""
    if os.environ.get("CI") or name in os.environ.get("CDSFRAME_REQUIRE", "").split(","):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[str]:
    """The address of a real Elasticsearch, the same for all tests: `CDSFRAME_ELASTICSEARCH_URL`, else one of our own.

    A test names its indexes by itself (a random name) and deletes them.
    """
    from elasticsearch_server import Unavailable, server

    if urls := os.environ.get("CDSFRAME_ELASTICSEARCH_URL"):
        url = urls.split(",")[0]
        try:
            with closing(
                http.client.HTTPConnection(urlsplit(url).netloc.rpartition("@")[2], timeout=patience(30))
            ) as connection:
                connection.connect()
        except OSError as error:
            unmet("elasticsearch", f"Nothing answers at CDSFRAME_ELASTICSEARCH_URL: {error}")
        yield url
        return
    command = [sys.executable, "-m", "tests.elasticsearch_server", "--fetch"]  # the network is off in this process
    fetched = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    if fetched.returncode:
        unmet("elasticsearch", fetched.stderr.strip())
    try:
        with server(heap="512m", quick=True) as cluster:
            yield cluster.addresses[0]
    except Unavailable as error:
        unmet("elasticsearch", str(error))


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Index]:
    """Makes an index without content, of each kind, by a name."""
    return lambda name: empty_index(request, tmp_path, name)


@pytest.fixture
def index(make: Callable[[str], Index]) -> Index:
    """An index without content, of each kind."""
    return make("test")


@pytest.fixture(autouse=True)
def _switches_of_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point that runs within a test sets them for the processes below: they are gone afterwards."""
    for variable in ("CDSFRAME_TRACEBACKS", "HYDRA_FULL_ERROR"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
