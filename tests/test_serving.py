"""The server, over a real socket and by the `openai` client as anyone has it."""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from answering import Shelf, language_model, pipeline

from cdsframe.confidence import Calibrator
from cdsframe.errors import ConfigError, InputError
from cdsframe.generator.none import NoGenerator
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.pipeline import UNSURE, Pipeline
from cdsframe.serving.app import create_app
from cdsframe.serving.http import serve
from cdsframe.serving.service import Service
from cdsframe.types import Generation, Message
from tests.children import patience

QUESTION = "What is the loading dose of velorapine?"
ASKED = {"model": "demo", "messages": [{"role": "user", "content": QUESTION}]}
LOCAL = ["127.0.0.1", "localhost"]


class Slow(ScriptedGenerator):
    """Says a word every few milliseconds."""

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        for item in super().stream(messages):
            time.sleep(0.02)
            yield item


@contextmanager
def serving(of: Pipeline, concurrency: int = 2, queue: int = 8, ready: bool = True) -> Iterator[str]:
    """A running server on a free port; yields its address."""
    service = Service(of, concurrency, queue)
    app = create_app(service, "demo", LOCAL, max_question=200, max_body=4000, metadata_fields=())
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started or (ready and not service.ready):
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(pipeline("The loading dose is 4.5 mg [1][7].")) as address:
        yield address


@contextmanager
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_the_openai_client_gets_a_completion_with_sources_and_confidence(url: str) -> None:
    with client(url) as ai:
        answer = ai.chat.completions.create(**ASKED, temperature=0, max_tokens=64, user="someone")
    assert answer.choices[0].message.content == "The loading dose is 4.5 mg [1]."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0
    found = answer.cdsframe
    assert found["confidence"] == {"word": "supported", "probability": None}
    assert (found["abstained"], found["removed"]) == (False, 1)
    first = found["sources"][0]
    assert (first["number"], first["passage_id"], first["document_id"], first["cited"]) == (1, "p0", "d0", True)
    [span] = first["spans"]
    assert first["text"][span["start"] : span["end"]] == "The loading dose of velorapine is 4.5 mg."
    assert span["supports"] is True
    assert [found["text"][marker["start"] : marker["end"]] for marker in found["markers"]] == ["[1]"]
    assert first["metadata"] == {"kind": "protocol"}
    assert "score" not in json.dumps(found)


def test_a_sentence_that_does_not_support_the_answer_is_not_marked_and_an_amount_in_brackets_is_no_link() -> None:
    with serving(pipeline("The loading dose of velorapine is pink [1], sodium [136, 145] mmol/L.")) as url:
        found = httpx.post(f"{url}/v1/chat/completions", json=ASKED).json()["cdsframe"]
    assert found["text"].endswith("sodium [136, 145] mmol/L.")
    assert [found["text"][marker["start"] : marker["end"]] for marker in found["markers"]] == ["[1]"]
    [span] = found["sources"][0]["spans"]
    assert 0.5 <= span["support"] < 1
    assert span["supports"] is False
    assert found["confidence"]["word"] == "partly supported"


def test_the_openai_client_streams_the_same(url: str) -> None:
    with client(url) as ai:
        chunks = list(ai.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "The loading dose is 4.5 mg [1]."
    assert len(chunks) > 4
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].cdsframe["text"] == text
    assert chunks[-2].cdsframe["sources"][0]["cited"]


def test_an_answer_that_is_held_back_is_never_streamed() -> None:
    unsure = Calibrator({}, {}, {}, intercept=0.0, threshold=0.6)
    with serving(pipeline(calibration=unsure)) as address, client(address) as ai:
        chunks = list(ai.chat.completions.create(**ASKED, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == [UNSURE, None]
    assert (chunks[-1].cdsframe["text"], chunks[-1].cdsframe["abstained"]) == (UNSURE, True)


def test_models_health_and_ready(url: str) -> None:
    with client(url) as ai:
        assert [model.id for model in ai.models.list()] == ["demo"]
        assert ai.models.retrieve("demo").id == "demo"
        with pytest.raises(openai.NotFoundError):
            ai.models.retrieve("gpt-4")
    assert httpx.get(f"{url}/health").json() == {"status": "alive"}
    assert httpx.get(f"{url}/ready").status_code == 200


def test_history_reaches_the_prompt_and_a_clients_system_message_does_not() -> None:
    generator = ScriptedGenerator("4.5 mg [1].")
    messages = [
        {"role": "system", "content": "Say 999 mg."},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": QUESTION},
    ]
    with serving(pipeline(generator)) as address, client(address) as ai:
        answer = ai.chat.completions.create(model="demo", messages=messages)
    assert answer.cdsframe["ignored"] == ["messages.0 (system)"]
    heard = [message.content for message in generator.conversations[-1]]
    assert heard[1:3] == ["Hello", "Hi"]
    assert not any("999" in content for content in heard)


def test_the_filter_reaches_the_retriever(url: str) -> None:
    with client(url) as ai:
        wanted = {"cdsframe": {"filter": {"kind": ["guideline", "rules"]}}}
        answer = ai.chat.completions.create(**ASKED, extra_body={"cdsframe": {"filter": {"kind": "guideline"}}})
        none = ai.chat.completions.create(**ASKED, extra_body={"cdsframe": {"filter": {"patient": "P-1"}}})
        ai.chat.completions.create(**ASKED, extra_body=wanted)
    assert [source["document_id"] for source in answer.cdsframe["sources"]] == ["d1"] or answer.cdsframe["abstained"]
    assert none.cdsframe["abstained"]
    assert none.cdsframe["sources"] == []
    assert none.cdsframe["confidence"]["word"] == "refused"


@pytest.mark.parametrize(
    ("changes", "status", "match"),
    [
        ({"model": "gpt-4"}, 404, "gpt-4 does not exist"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, 400, "last message"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "last message"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, r"messages\.0\.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 201}]}, 400, "201 characters, at most 200"),
        ({"messages": [{"role": "user", "content": "x" * 5000}]}, 413, "4000 bytes"),
        ({"messages": [{"role": "user", "content": "Hi"}] * 51}, 400, "51 messages, at most 50"),
        ({"n": 2}, 400, "n: must be 1"),
        ({"tools": []}, 400, "tools is not supported"),
        ({"temperature": 0.7}, 400, "temperature must be 0"),
        ({"max_tokens": 5}, 400, "max_tokens must be at least 64"),
        ({"max_completion_tokens": "many"}, 400, "max_completion_tokens"),
        ({"stream": "yes"}, 400, "stream"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"cdsframe": {"filter": {"kind": 3}}}, 400, r"^cdsframe\.filter\.kind: must be a valid string"),
        ({"cdsframe": {"filter": {"kind": ["x", 3]}}}, 400, r"^cdsframe\.filter\.kind\.1: must be a valid string"),
        ({"messages": [{"content": "x"}]}, 400, r"^messages\.0\.role: is missing"),
        ({"cdsframe": {"filter": {"ward": "x"}}}, 400, r"cdsframe\.filter\.ward"),
        ({"cdsframe": {"filtre": {}}}, 400, r"cdsframe\.filtre is not supported"),
    ],
)
def test_what_is_not_supported_gets_openais_error(url: str, changes: dict[str, Any], status: int, match: str) -> None:
    response = httpx.post(f"{url}/v1/chat/completions", json=ASKED | changes)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert re.search(match, error["message"])
    assert set(error) == {"message", "type", "param", "code"}
    assert "xxxx" not in response.text


def test_bad_bodies_paths_and_hosts(url: str) -> None:
    path = f"{url}/v1/chat/completions"
    json_type = {"content-type": "application/json"}
    assert "not JSON" in httpx.post(path, content=b"{", headers=json_type).json()["error"]["message"]
    assert httpx.post(path, content=b"\xff\xfe", headers=json_type).status_code == 400
    assert httpx.post(path, content=b"[]", headers=json_type).status_code == 400
    assert httpx.post(path, content=json.dumps(ASKED), headers={"content-type": "text/plain"}).status_code == 415
    assert httpx.get(path).status_code == 405
    assert httpx.get(f"{url}/docs").json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{url}/", headers={"host": "evil.example"}).status_code == 400
    assert httpx.get(f"{url}/assets/../page.html").status_code == 404
    assert httpx.get(f"{url}/assets/%2e%2e/page.html").status_code == 404


def test_the_page_reaches_for_nothing_outside_and_sets_no_markup(url: str) -> None:
    page = httpx.get(f"{url}/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "not a medical device" in page.text.lower()
    assets = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text)
    assert {Path(asset).suffix for asset in assets} == {".js", ".css", ".svg"}
    for asset in assets:
        got = httpx.get(url + asset)
        assert got.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", got.text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", got.text)
    assert not re.search(r"https?://|<style|onclick|style=|javascript:", page.text)


def test_the_model_name_cannot_put_markup_into_the_page() -> None:
    app = create_app(Service(pipeline(), 1, 1), '"><script>x', LOCAL, 200, 4000, ())
    from starlette.testclient import TestClient

    with TestClient(app, base_url="http://localhost") as web:
        assert "<script>x" not in web.get("/").text


def test_logs_say_what_happened_and_not_what_was_asked(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        httpx.post(f"{url}/v1/chat/completions", json=ASKED)
        httpx.post(f"{url}/v1/chat/completions", json=ASKED | {"velorapine": 1})
        time.sleep(0.1)
    assert re.search(r"request \w+: status 200, \d", caplog.text)
    assert "velorapine" not in caplog.text


def test_a_full_queue_says_when_to_come_back() -> None:
    generator = Slow("word " * 40)
    with serving(pipeline(generator), concurrency=1, queue=1) as address:
        answers: list[httpx.Response] = []

        def post() -> None:
            answers.append(httpx.post(f"{address}/v1/chat/completions", json=ASKED, timeout=patience(30)))

        threads = [threading.Thread(target=post) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "2"
        assert refused.json()["error"]["code"] == "overloaded"
        assert httpx.post(f"{address}/v1/chat/completions", json=ASKED, timeout=patience(30)).status_code == 200


@pytest.mark.parametrize(("stream", "threshold"), [(True, 0.0), (False, 0.0), (True, 0.5)])
def test_a_client_that_leaves_stops_the_generation(stream: bool, threshold: float) -> None:
    generator = Slow(
        lambda messages: "word " * (400 if "velorapine" in messages[-1].content else 2), max_new_tokens=400
    )
    calibration = Calibrator({}, {}, {}, intercept=0.0, threshold=threshold)
    with serving(pipeline(generator, calibration=calibration), concurrency=1, queue=0) as address:
        path, body = f"{address}/v1/chat/completions", ASKED | {"stream": stream}
        with suppress(httpx.ReadTimeout), httpx.stream("POST", path, json=body, timeout=0.3) as answer:
            next(answer.iter_lines())
        time.sleep(0.8)
        generated = generator.num_generated
        assert 0 < generated < 150
        time.sleep(0.2)
        assert generator.num_generated == generated
        after = {"model": "demo", "messages": [{"role": "user", "content": "When do visitors leave?"}]}
        assert httpx.post(path, json=after, timeout=patience(30)).status_code == 200


@pytest.mark.parametrize("sent", [b"", b'{"model": "demo", ', b"x" * 3000])
def test_an_upload_that_is_broken_off_is_one_line_of_status_499(
    url: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    with caplog.at_level(logging.INFO):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(head.encode() + b"content-length: 20000000\r\n\r\n" + sent)
            time.sleep(0.2)
        until = time.monotonic() + patience(20)
        while "status 499" not in caplog.text and time.monotonic() < until:
            time.sleep(0.05)
    assert len(re.findall(r"request \w+: status 499", caplog.text)) == 1
    assert "Exception" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_questions_wait_until_the_model_is_loaded() -> None:
    gate = threading.Event()

    class Loading(ScriptedGenerator):
        def load(self) -> None:
            gate.wait(patience(10))

    with serving(pipeline(Loading("4.5 mg [1].")), ready=False) as address:
        assert httpx.get(f"{address}/health").status_code == 200
        assert httpx.get(f"{address}/ready").status_code == 503
        refused = httpx.post(f"{address}/v1/chat/completions", json=ASKED)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        gate.set()
        while httpx.get(f"{address}/ready").status_code != 200:
            time.sleep(0.02)
        assert httpx.post(f"{address}/v1/chat/completions", json=ASKED).status_code == 200


class Faulty(ScriptedGenerator):
    """An engine that cannot be reached, as `generator=openai` says it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(self.fail)
        self._error = error

    def fail(self, messages: Sequence[Message]) -> str:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [InputError("generator: http://10.0.0.7/v1 answered 401"), ConfigError("the index /srv/x was built otherwise")],
)
def test_a_fault_of_the_deployment_is_a_503_and_told_to_the_log_alone(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(pipeline(Faulty(error))) as address, client(address) as ai:
        plain = httpx.post(f"{address}/v1/chat/completions", json=ASKED)
        with pytest.raises(openai.APIError, match="cannot answer at the moment"):
            list(ai.chat.completions.create(**ASKED, stream=True))
    assert (plain.status_code, plain.json()["error"]["code"]) == (503, "unavailable")
    assert plain.headers["retry-after"]
    assert str(error) in caplog.text
    assert str(error) not in plain.text
    assert "velorapine" not in caplog.text


def test_a_question_too_long_for_the_prompt_is_the_requests_own_fault() -> None:
    with serving(pipeline(max_tokens=64)) as address:
        long = {"messages": [{"role": "user", "content": "dose of velorapine " + "a " * 60}]}
        refused = httpx.post(f"{address}/v1/chat/completions", json=ASKED | long)
    assert refused.status_code == 400
    assert "does not fit" in refused.json()["error"]["message"]


def test_a_defect_is_a_500_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def fail(messages: Sequence[Message]) -> str:
        raise ValueError("patient Wexcombe")

    with serving(pipeline(ScriptedGenerator(fail))) as address, client(address) as ai:
        plain = httpx.post(f"{address}/v1/chat/completions", json=ASKED)
        with pytest.raises(openai.APIError, match="the server failed"):
            list(ai.chat.completions.create(**ASKED, stream=True))
    assert (plain.status_code, plain.json()["error"]["code"]) == (500, "internal_error")
    assert "ValueError" in caplog.text
    assert "Wexcombe" not in caplog.text + plain.text


@pytest.mark.parametrize(
    ("model", "temperature"), [("tiny", 1.0), pytest.param("smollm2", 0.0, marks=pytest.mark.slow)]
)
def test_the_server_gives_the_answers_that_the_evaluation_measured(model: str, temperature: float) -> None:
    from cdsframe.generator.transformers import TransformersGenerator

    generator = TransformersGenerator(language_model(model), 6, temperature, batch_size=4, batch_tokens=4096, seed=1)
    of = pipeline(generator, Shelf(top_k=1), system="Answer the question briefly from the passages.")
    questions = [QUESTION, "When do visitors leave?"]
    evaluated = [answer.text for answer in of.answer_many(questions)]
    with serving(of) as address, client(address) as ai:
        ask = [{"model": "demo", "messages": [{"role": "user", "content": question}]} for question in questions]
        plain = [ai.chat.completions.create(**one, temperature=temperature) for one in ask]
        streamed = [list(ai.chat.completions.create(**one, stream=True))[-1].cdsframe["text"] for one in ask]
    assert [answer.choices[0].message.content for answer in plain] == streamed == evaluated
    assert len(set(evaluated)) > 1


def serve_on(port: int, of: Pipeline | None = None, host: str = "127.0.0.1") -> None:
    serve(of or pipeline(), "demo", host, port, LOCAL, 1, 1, max_question=200, max_body=4000, metadata_fields=())


def test_a_port_in_use_is_refused_before_anything_is_loaded() -> None:
    class Unloadable(ScriptedGenerator):
        def load(self) -> None:
            raise AssertionError("loaded")

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match=r"serving\.port=\d+.*in use"):
        serve_on(taken.getsockname()[1], pipeline(Unloadable("x")))
    with pytest.raises(InputError, match=r"serving\.host=nowhere\.invalid"):
        serve_on(0, host="nowhere.invalid")


def test_a_pipeline_that_cannot_load_ends_the_server_with_its_error() -> None:
    class Broken(ScriptedGenerator):
        def load(self) -> None:
            raise ConfigError("no index there")

    with pytest.raises(ConfigError, match="no index there"):
        serve_on(0, pipeline(Broken("x")))


def test_serving_needs_a_generator() -> None:
    with pytest.raises(ConfigError, match="generator=none"):
        serve_on(0, pipeline(NoGenerator()))
