"""What becomes of writes and searches when the server fails, or what is between: a proxy spoils their requests."""

import threading
import time

import pytest
from elasticsearch_server import proxy
from test_index_elasticsearch import beside

from cdsframe.errors import InputError
from cdsframe.testing.index import corpus, near, passage, words
from tests.indexes import EMBEDDER, on_elasticsearch

pytestmark = pytest.mark.elasticsearch


def write(index, records, optimize=False):
    with index.writer():
        put(index, records)
        index.commit(optimize=optimize)


def put(index, records):
    index.write(records, EMBEDDER.encode_passages([p.search_text for p in records]))


@pytest.fixture
def spoiled(request, monkeypatch):
    """Makes an index that is reached through a proxy, one beside that is not, and gives the proxy."""
    running = []

    def make(**options):
        index = on_elasticsearch(request)
        write(index, corpus(4))
        straight = beside(index)
        assert texts(straight)["d00-0"] == "fever cough word0"  # it has met the server at its own address
        between = proxy(request.getfixturevalue("elasticsearch"))
        address = between.__enter__()
        running.append(between)
        monkeypatch.setenv("CDSFRAME_ELASTICSEARCH_URL", address.address)
        through = beside(index, **options)
        assert through.documents()
        return through, straight, address

    yield make
    for between in running:
        between.__exit__(None, None, None)


def texts(index):
    """Passage id -> text of all that a reader sees, by vectors."""
    return {hit.passage.id: hit.passage.text for hit in index.search([near("fever", k=100)])[0]}


NEW = [passage(f"d{n:02}", m, f"new fever word{n}", digest="2") for n in range(2, 8) for m in range(2)]
"""Two documents that were there before, and four that were not."""


def assert_updated(index):
    found = texts(index)
    assert {id_: text for id_, text in found.items() if id_[1:3] in ("00", "01")}.keys() == {
        "d00-0", "d00-1", "d01-0", "d01-1",
    }  # fmt: skip
    assert {p.id: p.text for p in NEW}.items() <= found.items()
    assert len(found) == 16
    assert index.documents() == {f"d{n:02}": "1" if n < 2 else "2" for n in range(8)}


def test_what_was_done_and_whose_answer_got_lost_is_not_done_twice(spoiled, monkeypatch):
    """The answer to each request is lost once: none takes effect twice, and none is an error at the second time."""
    monkeypatch.setattr("cdsframe.index.elasticsearch.server.connection._SHORT", 0.01)
    through, straight, between = spoiled()
    between.fault = lambda request: request.lose("answer") if request.number % 2 else None
    write(through, NEW, optimize=True)
    assert_updated(straight)
    with through.rebuild() as new:
        put(new, [*corpus(2), *NEW])
        through.note({"n": 1})
        assert new.noted() == [{"n": 1}]
        new.commit(optimize=True)
    assert_updated(straight)
    through.purge(["d00"])
    assert set(straight.documents()) == {f"d{n:02}" for n in range(1, 8)}
    assert len(through.search([words("fever"), near("fever", k=50)])[1]) == 14
    assert len(through.passages(["d02"])) == 2


def test_a_server_that_asks_for_patience_gets_it(spoiled):
    through, straight, between = spoiled()

    def busy(request):
        if request.number in (2, 5):
            request.refuse(429, "circuit_breaking_exception", retry_after=1)

    between.fault = busy
    start = time.monotonic()
    write(through, NEW)
    assert time.monotonic() - start > 2
    assert_updated(straight)


def test_records_that_a_full_queue_rejects_are_sent_again_alone(spoiled):
    through, straight, between = spoiled()
    sizes = []

    def full(request):
        if request.is_bulk and b'"create"' in request.body:
            sizes.append(request.body.count(b'"create"'))
            for position in range(sizes[-1] // 2):
                request.refuse_item(position, 429, "es_rejected_execution_exception")

    between.fault = full
    write(through, NEW)
    assert sizes == [12, 6, 3, 1]
    assert_updated(straight)


def test_records_that_are_rejected_for_ever_leave_the_index_as_it_was(spoiled):
    through, straight, between = spoiled(timeout=3)

    def full(request):
        if request.is_bulk and b'"create"' in request.body:
            request.refuse_item(request.body.count(b'"create"') - 1, 429, "es_rejected_execution_exception")

    between.fault = full
    with pytest.raises(InputError, match=r"is overloaded and kept rejecting records; try again later, or"):
        write(through, NEW)
    assert len(texts(straight)) == 8
    between.fault = None
    write(through, NEW)
    assert_updated(straight)


def test_a_record_that_is_refused_for_good_is_named_and_the_index_is_left_as_it_was(spoiled):
    through, straight, between = spoiled()

    def mapper(request):
        if request.is_bulk and b'"create"' in request.body:
            request.refuse_item(3, 400, "document_parsing_exception")

    between.fault = mapper
    with pytest.raises(InputError, match=r"rejected the record 'd03-1' of the document 'd03': document_parsing_exc"):
        write(through, NEW)
    assert len(texts(straight)) == 8
    between.fault = None
    with through.writer():
        through.discard()
        write(through, NEW)
    assert_updated(straight)


def test_a_server_that_is_away_for_a_moment_is_waited_for(spoiled):
    through, straight, between = spoiled()
    until = time.monotonic() + 1
    between.fault = lambda request: request.lose("request") if time.monotonic() < until else None
    assert len(through.search([words("fever")])[0])
    assert time.monotonic() > until
    until += 1
    write(through, NEW)
    assert_updated(straight)


def test_a_lease_that_ran_out_while_the_server_was_away_is_gone_on_with_where_nobody_took_it(spoiled, monkeypatch):
    through, straight, _ = spoiled(lease_seconds=1)
    monkeypatch.setattr("cdsframe.index.elasticsearch.commits.lease.Lease._renew_until", lambda _, done: done.wait())
    with through.writer():
        put(through, NEW[:6])
        time.sleep(1.2)
        put(through, NEW[6:])
        through.commit()
    assert_updated(straight)


def test_a_server_that_stays_away_is_given_up_at_the_deadline(spoiled):
    through, straight, between = spoiled(timeout=3)
    seen = []

    def away(request):
        seen.append(request.path)
        if len(seen) > 6:
            request.lose("request")

    between.fault = away
    start = time.monotonic()
    with pytest.raises(InputError, match=r"cannot be reached; start it, or set CDSFRAME_ELASTICSEARCH_URL to the righ"):
        write(through, NEW)
    assert time.monotonic() - start < 15
    assert len(texts(straight)) == 8
    between.fault = None
    write(through, NEW)
    assert_updated(straight)


def test_a_server_that_goes_away_while_it_rewrites_its_files_is_not_waited_for_a_day(spoiled):
    through, straight, between = spoiled(timeout=3)
    gone = []

    def away(request):
        if gone or "_forcemerge" in request.path:
            gone.append(request.path)
            request.lose("request")

    between.fault = away
    with pytest.raises(InputError, match="cannot be reached"):
        write(through, NEW, optimize=True)
    assert "_forcemerge" in gone[0]
    assert_updated(straight)
    between.fault = None
    write(through, [passage("d00", 0, "fever", digest="3")])
    assert straight.documents()["d00"] == "3"


def test_a_server_that_does_not_answer_is_given_up_at_the_deadline(spoiled):
    through, straight, between = spoiled(timeout=3)
    hold = threading.Event()
    between.fault = lambda request: hold.wait(20)
    try:
        with pytest.raises(InputError, match="did not answer within 3 seconds; try again"):
            through.search([words("fever")])
        with pytest.raises(InputError, match="did not answer within 3 seconds; try again"):
            write(through, NEW)
    finally:
        hold.set()
        between.fault = None
    assert len(texts(straight)) == 8
    with through.writer(wait=10):
        through.discard()
        write(through, NEW)
    assert_updated(straight)
