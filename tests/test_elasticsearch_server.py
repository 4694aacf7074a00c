"""The test server: what it says when something is missing, that it is an Elasticsearch, that nothing stays behind."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import unmet
from elasticsearch_server import Unavailable, distribution, server

from tests.children import patience

ROOT = Path(__file__).parent.parent


def _ask(url, body=None, user=None, method=None):
    """Status and JSON of one request."""
    headers = {"Content-Type": "application/json"}
    if user:
        headers["Authorization"] = "Basic " + b64encode(":".join(user).encode()).decode()
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=patience(60)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def _listens(url):
    """Whether a process has the address's port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", urlsplit(url).port)) == 0


def _jdk(folder, version):
    """A folder that looks like a JDK."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "javac").touch(mode=0o755)
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n', encoding="utf-8")
    return folder


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without Java, without Maven, with an empty cache."""
    for name in ("ES_JAVA_HOME", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(distribution, "_JVMS", ((str(tmp_path / "jvm"), "*"),))
    monkeypatch.setattr(distribution, "cache", lambda: tmp_path / "cache")
    return tmp_path


def test_missing_java_is_told_in_one_sentence(bare):
    _jdk(bare / "jvm" / "old", "17.0.9")
    with (
        pytest.raises(Unavailable, match=r"needs a JDK of version 21 or newer and none was found: .*ES_JAVA_HOME"),
        server(),
    ):
        pass


def test_java_is_the_first_that_is_new_enough(bare, monkeypatch):
    for version in ("21.0.1", "25", "17.0.9"):
        _jdk(bare / "jvm" / version, version)
    assert distribution.java_home() == bare / "jvm" / "25"
    monkeypatch.setenv("JAVA_HOME", str(bare / "jvm" / "17.0.9"))
    assert distribution.java_home() == bare / "jvm" / "25"
    monkeypatch.setenv("JAVA_HOME", str(bare / "jvm" / "21.0.1"))
    assert distribution.java_home() == bare / "jvm" / "21.0.1"
    monkeypatch.setenv("ES_JAVA_HOME", str(bare / "jvm" / "25"))
    assert distribution.java_home() == bare / "jvm" / "25"


def test_without_maven_and_network_it_says_what_could_not_be_fetched(bare, monkeypatch):
    _jdk(bare / "jvm" / "21", "21")
    monkeypatch.setattr(distribution, "_URL", "http://127.0.0.1:9/server.zip")
    with pytest.raises(Unavailable, match=r"could not be fetched: Maven \(mvn\) is not installed, and http.* refused"):
        distribution.distribution()


def test_a_damaged_download_is_refused_and_not_kept(bare, monkeypatch):
    _jdk(bare / "jvm" / "21", "21")
    (bare / "server.zip").write_bytes(b"PK")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=bare)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        monkeypatch.setattr(distribution, "_URL", f"http://127.0.0.1:{site.server_port}/server.zip")
        with pytest.raises(Unavailable, match="is damaged"):
            distribution.distribution()
        site.shutdown()
    assert {path.name for path in (bare / "cache").iterdir()} <= {".lock"}


def test_a_missing_server_skips_here_and_fails_in_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("CDSFRAME_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Java"):
        unmet("elasticsearch", "no Java")
    monkeypatch.setenv("CDSFRAME_REQUIRE", "browser,elasticsearch")
    with pytest.raises(pytest.fail.Exception, match="no Java"):
        unmet("elasticsearch", "no Java")
    monkeypatch.delenv("CDSFRAME_REQUIRE")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="no Java"):
        unmet("elasticsearch", "no Java")


@pytest.mark.elasticsearch
def test_it_greets_and_stems_as_a_full_server_does(elasticsearch):
    status, greeting = _ask(elasticsearch)
    assert status == 200
    assert greeting["version"]["number"].startswith("9.")
    assert greeting["tagline"] == "You Know, for Search"
    _, analyzed = _ask(f"{elasticsearch}/_analyze", {"analyzer": "english", "text": "The patients' running noses"})
    assert [token["token"] for token in analyzed["tokens"]] == ["patient", "run", "nose"]


HOLDER = """
import time
from elasticsearch_server import server
with server(heap="512m", quick=True, security=True) as cluster:
    print(cluster.addresses[0], cluster.password, cluster.folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.elasticsearch
@pytest.mark.slow
def test_it_asks_for_the_password_and_goes_with_its_parent(elasticsearch):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    parent = subprocess.Popen([sys.executable, "-c", HOLDER], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        url, password, folder = parent.stdout.readline().split()
        assert _ask(url)[0] == 401
        assert _ask(url, user=("elastic", "wrong"))[0] == 401
        deadline = time.monotonic() + patience(30)  # a new server knows its user a moment after it answers
        while _ask(url, user=("elastic", password))[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        status, key = _ask(f"{url}/_security/api_key", {"name": "test"}, user=("elastic", password))
        assert (status, key["name"]) == (200, "test")
        folder = Path(folder)
        assert folder.is_dir()
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    deadline = time.monotonic() + patience(60)
    while folder.exists() or _listens(url):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.elasticsearch
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_outlives_a_node_that_comes_back_with_its_data(elasticsearch):
    with server(nodes=3, heap="512m", quick=True) as cluster:
        before = cluster.addresses
        assert _ask(f"{before[0]}/notes", {"settings": {"number_of_replicas": 1}}, method="PUT")[0] == 200
        assert _ask(f"{before[0]}/notes/_doc/1?wait_for_active_shards=2", {"text": "dose"}, method="PUT")[0] == 201
        cluster.kill(0)
        assert not _listens(before[0])
        assert _ask(f"{before[1]}/_cluster/health?wait_for_nodes=2&timeout=60s")[0] == 200
        assert _ask(f"{before[1]}/notes/_doc/1")[0] == 200
        cluster.restart(0)
        assert cluster.addresses == before
        assert _ask(f"{before[0]}/notes/_doc/1")[1]["_source"] == {"text": "dose"}
        cluster.suspend(2)
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(before[2], timeout=1)
        cluster.resume(2)
        assert _ask(before[2])[0] == 200
