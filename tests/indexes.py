"""Indexes of each kind without content: shared by the tests of indexes and of what fills them."""

from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml

from cdsframe.embedder import HashEmbedder
from cdsframe.index.elasticsearch import ElasticsearchIndex
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from tests.children import patience

ROOT = Path(__file__).parent.parent
EMBEDDER = HashEmbedder(16)
IDENTITY = {"embedder": EMBEDDER.identity, "chunking": {"size": 256}}

KINDS = ["lance", "memory", pytest.param("elasticsearch", marks=pytest.mark.elasticsearch)]


def empty_index(request, tmp_path, name="test", identity=None):
    """An index of the kind that a test's fixture has as its parameter."""
    identity = identity or {}
    if request.param == "elasticsearch":
        return on_elasticsearch(request, identity)
    return LanceIndex(str(tmp_path), name, identity) if request.param == "lance" else MemoryIndex(identity)


def on_elasticsearch(request, identity=IDENTITY, patch=None, **options):
    """An index of a random name on the real server, with the options of `configs/index/elasticsearch.yaml`."""
    url = request.getfixturevalue("elasticsearch")
    patch = patch or request.getfixturevalue("monkeypatch")
    patch.setenv("CDSFRAME_ELASTICSEARCH_URL", url)
    patch.setattr("cdsframe.index.elasticsearch.searches.reading.GRACE", 0.05)
    settings = yaml.safe_load((ROOT / "configs/index/elasticsearch.yaml").read_text(encoding="utf-8"))
    del settings["_target_"]
    name = f"test-{uuid4().hex[:12]}"

    def delete():
        for path in (f"{name}.state", f"{name}-*"):
            httpx.delete(f"{url}/{path}?ignore_unavailable=true&expand_wildcards=all", timeout=patience(60))

    request.addfinalizer(delete)
    return ElasticsearchIndex(**{**settings, "name": name, **options}, identity=identity)
