"""A filter that no document fulfils is reported, in words of its own, on every face of the pipeline."""

import io

import httpx
import pytest
from rich.console import Console

from cdsframe.confidence import NoCalibration
from cdsframe.errors import InputError, NotReadyError
from cdsframe.filters import LIMIT, empty_fields, nearest, unmatched
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.index.memory import MemoryIndex
from cdsframe.pipeline import Pipeline
from cdsframe.retriever.flat import Bm25
from cdsframe.serving.service import Service
from cdsframe.serving.terminal import show_hits
from cdsframe.types import Filter, Passage
from tests.answering import AsFound, context, prompt
from tests.children import patience
from tests.indexes import KINDS, empty_index
from tests.test_serving import serving

DOCUMENTS = [
    {"kind": "protocol", "department": "Infection Control", "author": "Dr Ada Okoye", "date": "2025-03-14"},
    {"kind": "protocol", "department": "Cardiology", "author": "Dr Imre Halloran", "date": "2024-01-02"},
    {"kind": "letter", "department": "Cardiology", "patient": "P-1004", "source": "okoye.pdf"},
    {"kind": "letter", "department": "Palliative Care", "patient": "P-1005"},
]


def fill(index):
    records = [
        Passage(f"p{n}", f"d{n}", f"d{n}#0", "passage", f"Chlorine strength {n}.", "", (), 0, 0, 20, "1", metadata)
        for n, metadata in enumerate(DOCUMENTS)
    ]
    index.write(records, None)
    index.commit()
    return index


@pytest.fixture(params=KINDS)
def index(request, tmp_path):
    return fill(empty_index(request, tmp_path))


def pipeline(index=None, answer="It is 1 % [1].", top_k=3):
    index = index or fill(MemoryIndex({}))
    retriever = Bm25(top_k, 10, index=index)
    return Pipeline(retriever, AsFound(), context(), prompt(), ScriptedGenerator(answer), NoCalibration(), index)


NONE = "no document has "


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        ({"department": "infection control"}, "department = infection control; did you mean Infection Control?"),
        ({"department": "Cardiolog"}, "department = Cardiolog; did you mean Cardiology?"),
        ({"department": "palliative"}, "department = palliative; did you mean Palliative Care?"),
        ({"department": "INFECTION-CONTROL"}, "department = INFECTION-CONTROL; did you mean Infection Control?"),
        (
            {"department": "Nowhere"},
            "department = Nowhere; the values of department are Cardiology, Infection Control, Palliative Care",
        ),
        ({"kind": ["Letters", "notes"]}, "kind = Letters or notes; did you mean letter?"),
        ({"date": "2025-3-14"}, "date = 2025-3-14; did you mean 2025-03-14?"),
        ({"date": "yesterday"}, "date = yesterday"),
        ({"patient": "p-1004"}, "patient = p-1004"),
        ({"author": "dr ada okoye"}, "author = dr ada okoye"),
        ({"source": "Okoye.pdf"}, "source = Okoye.pdf"),
        ({"kind": "x", "department": "y"}, "kind = x and department = y"),
        (
            {"kind": "letter", "department": "Infection Control"},
            "kind = letter and department = Infection Control; the only value of kind is protocol",
        ),
    ],
)
def test_what_no_document_fulfils_is_said_with_what_was_meant(index, filter, said):
    assert unmatched(filter, index) == NONE + said


def test_the_part_that_is_at_fault_is_said(index):
    found = unmatched({"kind": "letter", "department": "cardiology"}, index)
    assert found == "no document with kind = letter has department = cardiology; did you mean department = Cardiology?"
    assert unmatched({"kind": "letter"}, index) is None
    assert unmatched({"kind": ["x", "letter"], "patient": "P-1004"}, index) is None
    assert unmatched({}, index) is None


def test_only_values_below_the_rest_of_the_filter_are_shown(index):
    """The rest may be what the caller is allowed to see."""
    found = unmatched({"patient": "P-1005", "department": "cardiology"}, index)
    assert found.startswith("no document with patient = P-1005 has department = cardiology")
    assert "Cardiology" not in found
    assert "Infection" not in found
    for filter in ({"patient": "P-9"}, {"author": "x"}, {"patient": "p-1004", "author": "okoye"}):
        said = unmatched(filter, index)
        assert not any(value in said for value in ("P-1004", "P-1005", "Okoye", "Halloran", "okoye.pdf"))


def test_a_suggestion_stays_within_what_a_role_may_see(index):
    role = Filter({"kind": ["letter", "note"]})
    for wanted in ({"kind": "protocols"}, {"kind": "formulary"}, {"kind": ["protocol"]}):
        said = unmatched(role.narrowed(wanted), index)
        assert said == "no document can match the filter, which allows no value of kind"
        assert unmatched(Filter(role.narrowed(wanted)), index) == said
    said = unmatched(role.narrowed({"kind": "note"}), index)
    assert said == "no document has kind = note; the only value of kind is letter"
    assert unmatched(role.narrowed({"kind": "note"}).narrowed({}), index) == NONE + "kind = note"
    ward = Filter({"department": "Cardiology", "kind": ["protocol", "note"]})
    said = unmatched(ward.narrowed({"date": "2025-01-02", "kind": "protocol"}), index)
    assert said.endswith("has date = 2025-01-02; did you mean date = 2024-01-02?")
    assert "letter" not in (unmatched(ward.narrowed({"date": "2025-03-14", "kind": "note"}), index) or "")
    answer = pipeline().answer("Chlorine?", role.narrowed({"kind": "protocols"}))
    assert answer.text == "No document can match the filter, which allows no value of kind."


def test_a_value_that_is_no_text_is_refused_by_its_field():
    for value in (None, 3, [3], ["a", None], {"a": 1}, b"kind"):
        with pytest.raises(InputError, match="the filter's value of kind must be a text or a list of texts"):
            pipeline().search("Chlorine?", {"kind": value})
        assert Filter({"kind": "3"}) != {"kind": value}
    for filter, said in (("kind", "must map metadata fields"), ([], "must map"), ({3: "a"}, "must be a text, got 3")):
        with pytest.raises(InputError, match=said):
            pipeline().search("Chlorine?", filter)


def test_long_and_strange_values_are_shown_short_and_plain(index):
    said = unmatched({"kind": "\x1b[31m" + "letter " * 5000}, index)
    assert len(said) < 300
    assert "\x1b" not in said


def test_alike_values():
    assert nearest("icu", ["ICU", "ICU ", "CCU"]) == ["ICU", "ICU "]
    assert nearest("Ⅳ  line", ["IV line"]) == ["IV line"]
    assert nearest("", ["a"]) == nearest("zzz", ["Cardiology"]) == []
    assert LIMIT >= 100


def test_empty_values_are_refused():
    empty = {"kind": "", "department": [], "date": " ", "author": ["a", ""], "patient": "P", "url": ["u"]}
    assert empty_fields(empty) == ["kind", "department", "date", "author"]
    for field in ("kind", "department", "author"):
        with pytest.raises(InputError, match=f"filter's value of {field} is empty"):
            pipeline().answer("Chlorine?", {field: empty[field]})


def test_an_answer_says_why_nothing_was_searched():
    answers = pipeline().answer_many(["Chlorine strength?", "Something?"], {"department": "infection control"})
    for answer in answers:
        assert answer.text == "No document has department = infection control; did you mean Infection Control?"
        assert (answer.abstained, answer.hits, answer.reason) == (True, (), answer.text[0].lower() + answer.text[1:])
    plain = pipeline().answer("Unrelated?", {"department": "Infection Control"})
    assert (plain.text, plain.reason) == (prompt().refusal, "")
    assert pipeline().answer("Chlorine strength?", {"department": "Infection Control"}).citations
    *_, last = pipeline().stream("Chlorine?", {"kind": "Letter"})
    assert last.text == "No document has kind = Letter; did you mean letter?"


def test_the_terminal_shows_the_reason():
    out = io.StringIO()
    show_hits([], "x", Console(file=out, width=200), reason="no document has kind = [red]x\x1b")
    assert out.getvalue().rstrip() == "no document has kind = [red]x"


def ask(url, filter, stream=False):
    body = {
        "model": "demo", "messages": [{"role": "user", "content": "Chlorine strength?"}],
        "cdsframe": {"filter": filter}, "stream": stream,
    }  # fmt: skip
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=patience(30))


def test_the_api_says_why_refuses_empty_values_and_offers_those_that_exist():
    with serving(pipeline()) as url:
        found = ask(url, {"department": "infection control"}).json()
        assert found["choices"][0]["message"]["content"].endswith("did you mean Infection Control?")
        assert found["cdsframe"]["reason"].startswith("no document has department = infection control")
        assert (found["cdsframe"]["abstained"], found["cdsframe"]["sources"]) == (True, [])
        assert "did you mean Infection Control?" in ask(url, {"department": "infection control"}, stream=True).text
        found = ask(url, {"department": "Infection Control"}).json()
        assert found["cdsframe"]["reason"] is None
        assert found["cdsframe"]["sources"]
        for filter in ({"patient": ""}, {"kind": []}, {"kind": ["a", " "]}):
            refused = ask(url, filter)
            assert refused.status_code == 400
            assert refused.json()["error"]["param"] == f"cdsframe.filter.{next(iter(filter))}"
            assert "is empty" in refused.json()["error"]["message"]
        assert httpx.get(f"{url}/v1/values").json() == {
            "kind": ["letter", "protocol"],
            "department": ["Cardiology", "Infection Control", "Palliative Care"],
            "date": ["2024-01-02", "2025-03-14"],
        }
        page = httpx.get(url).text
        assert 'list="values-department"' in page
        assert 'list="values-patient"' not in page


def test_values_wait_until_the_index_is_open():
    service = Service(pipeline(), 1, 1)
    with pytest.raises(NotReadyError, match="is being loaded"):
        service.values()
    service.ready = True
    assert service.values()["kind"] == ["letter", "protocol"]
