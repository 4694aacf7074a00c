"""How actions are sent: what is large goes alone, and is named where the server has no room for it."""

import threading
import time
from types import SimpleNamespace

import pytest

from cdsframe.errors import InputError
from cdsframe.index.elasticsearch.server.bulk import Bulk, action
from cdsframe.index.elasticsearch.server.connection import Connection

LARGE = action("create", "1", b"x" * 20_000, "322815c6", "report.txt")
SMALL = [action("create", f"s{n}", b"x" * 900, f"s{n}", "small.txt") for n in range(4)]


class Server(Connection):
    """Answers each request as `outcome` says of its length; notes (length, requests under way)."""

    def __init__(self, outcome):
        super().__init__("CDSFRAME_ELASTICSEARCH", 0.5)
        self.outcome, self.seen, self.under_way, self.guard = outcome, [], 0, threading.Lock()

    def ask(self, question, until=None, expected=()):
        return question(SimpleNamespace(bulk=self.bulk))

    def bulk(self, operations, **_):
        with self.guard:
            self.under_way += 1
            self.seen.append((len(operations), self.under_way))
        time.sleep(0.05)
        with self.guard:
            self.under_way -= 1
        status = self.outcome(len(operations))
        if status == 413:
            raise self.response_error(413, {})
        return {"items": [{"create": {"status": status}}] * (operations.count(b"\n") // 2)}


@pytest.fixture(autouse=True)
def address(monkeypatch):
    monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", "http://127.0.0.1:9")


def test_what_is_larger_than_a_request_is_sent_while_nothing_else_is():
    server = Server(lambda size: 201)
    bulk = Bulk(server, threads=2, megabytes=0.001)
    bulk.put("index", [*SMALL[:2], LARGE, *SMALL[2:]])
    assert bulk.drain() == []
    bulk.close()
    assert [under_way for size, under_way in server.seen if size > 20_000] == [1]
    assert sum(size for size, _ in server.seen) == sum(one.size for one in [*SMALL, LARGE])
    assert server.seen[-1][0] < 20_000


@pytest.mark.parametrize("status", [429, 413])
def test_what_is_too_large_for_the_server_is_named_with_what_helps(status):
    bulk = Bulk(Server(lambda size: status if size > 20_000 else 201), threads=2, megabytes=0.01)
    with pytest.raises(
        InputError,
        match=r"'322815c6' of the document 'report\.txt' \(0\.0 MB\) for lack of memory; remove document from ",
    ):
        bulk.put("index", [*SMALL, LARGE])
    bulk.close()
