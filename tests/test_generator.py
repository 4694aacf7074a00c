"""Generators: batches equal single answers, streams equal both, and an engine's faults become sentences."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from answering import language_model

from cdsframe.contracts import Generator
from cdsframe.errors import ConfigError, InputError
from cdsframe.generator.none import NoGenerator
from cdsframe.generator.openai import OpenAiGenerator
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.generator.transformers import TransformersGenerator
from cdsframe.types import Generation, Message


def conversation(question: str) -> list[Message]:
    return [Message("user", question)]


CONVERSATIONS = [
    conversation("What is the capital of France?"),
    conversation("Name a colour. " + "Think of the sky, the grass and the sea. " * 3),
    conversation("How many legs has a dog?"),
]


def transformers(option: str = "tiny", **changes) -> TransformersGenerator:
    settings = {"max_new_tokens": 12, "temperature": 0.0, "batch_size": 2, "batch_tokens": 4096, "seed": 1} | changes
    return TransformersGenerator(language_model(option), **settings)


def test_all_generators_keep_the_contract() -> None:
    engine = OpenAiGenerator("http://127.0.0.1:9/v1", "m", None, 1.0, 8, 0.0, 1, False)
    for generator in (transformers(), engine, NoGenerator(), ScriptedGenerator("x")):
        assert isinstance(generator, Generator)


def test_greedy_batches_equal_single_answers_and_transformers_own_generate() -> None:
    import torch

    from cdsframe.chat.encoding import encode, end_of_turn_ids

    generator, model = transformers("smollm2", max_new_tokens=8), language_model("smollm2")
    first, second = generator.generate(CONVERSATIONS[:2])
    assert (first.text, second.text) == (
        generator.generate([CONVERSATIONS[0]])[0].text,
        generator.generate([CONVERSATIONS[1]])[0].text,
    )
    assert "Paris" in first.text
    ids = torch.tensor([encode(model.tokenizer, CONVERSATIONS[1]).input_ids])
    out = model.load().generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8,
        eos_token_id=end_of_turn_ids(model.tokenizer), pad_token_id=0,
    )  # fmt: skip
    assert second.text == model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert second.prompt_tokens == ids.shape[1] == generator.count(CONVERSATIONS[1])


def test_a_stream_says_the_same_with_the_same_log_probabilities() -> None:
    generator = transformers("smollm2", max_new_tokens=6)
    *pieces, streamed = generator.stream(CONVERSATIONS[0])
    [whole] = generator.generate([CONVERSATIONS[0]])
    assert streamed == whole
    assert "".join(pieces) == whole.text
    assert len(pieces) > 3
    assert len(whole.log_probabilities) == whole.completion_tokens
    assert all(value <= 0 for value in whole.log_probabilities)


def test_log_probabilities_are_those_of_a_forward_pass() -> None:
    import torch

    from cdsframe.chat.encoding import encode

    generator, model = transformers(max_new_tokens=5), language_model()
    [said] = generator.generate([CONVERSATIONS[0]])
    prompt = encode(model.tokenizer, CONVERSATIONS[0]).input_ids
    tokens, expected = [], []
    for _ in range(5):
        with torch.inference_mode():
            scores = model.load()(torch.tensor([prompt + tokens])).logits[0, -1].log_softmax(-1)
        tokens.append(int(scores.argmax()))
        expected.append(float(scores.max()))
    assert said.finish_reason == "length"
    assert said.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_a_drawn_tokens_log_probability_is_its_own_and_not_the_most_probable_ones() -> None:
    import torch

    from cdsframe.chat.encoding import encode

    generator, model = transformers(temperature=1.5, max_new_tokens=5), language_model()
    prompt = encode(model.tokenizer, CONVERSATIONS[0]).input_ids
    drawn = [step[0][1] for step in generator._steps([prompt])]
    with torch.inference_mode():
        logits = model.load()(torch.tensor([prompt + drawn])).logits[0, len(prompt) - 1 : -1]
    scores = logits.log_softmax(-1)  # of the model itself, whatever the temperature
    expected = scores.gather(1, torch.tensor(drawn)[:, None])[:, 0].tolist()
    assert expected != pytest.approx(scores.max(-1).values.tolist(), abs=0.1)
    [said] = generator.generate([CONVERSATIONS[0]])
    assert said.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_rows_that_end_early_leave_the_others_as_they_were() -> None:
    generator = transformers(temperature=1.0, batch_size=3)
    before = generator.generate(CONVERSATIONS)
    first = next(generator._steps([generator._encode(CONVERSATIONS[1])]))[0][1]
    generator._ends |= {first}  # the longest prompt's answer, which has no padding, now ends at once
    after = generator.generate(CONVERSATIONS)
    assert after[1] == Generation("", (), before[1].prompt_tokens, 0, "stop")
    for one, same in zip(after[::2], before[::2], strict=True):
        assert one.text == same.text
        assert one.log_probabilities == pytest.approx(same.log_probabilities, abs=1e-5)


def test_draws_depend_on_the_seed_and_the_prompt_alone() -> None:
    drawing = transformers(temperature=1.0, max_new_tokens=6)
    together = [one.text for one in drawing.generate(CONVERSATIONS)]
    assert together == [drawing.generate([one])[0].text for one in CONVERSATIONS]
    assert together != [
        one.text for one in transformers(temperature=1.0, max_new_tokens=6, seed=2).generate(CONVERSATIONS)
    ]


def test_closing_a_stream_frees_the_model_at_once() -> None:
    generator = transformers(max_new_tokens=1500)
    stream = generator.stream(CONVERSATIONS[0])
    next(stream)
    stream.close()
    assert generator._lock.acquire(timeout=1)


def test_a_prompt_longer_than_the_model_reads_is_refused() -> None:
    with pytest.raises(InputError, match=r"2048 tokens.*max_new_tokens"):
        transformers().generate([conversation("word " * 2100)])


def test_no_generator_refuses() -> None:
    with pytest.raises(ConfigError, match="generator=none"):
        NoGenerator().generate([CONVERSATIONS[0]])


# ------------------------------------------------------------------------------------------------ an engine elsewhere


@contextmanager
def engine(reply: Callable[[dict], tuple[int, bytes]]) -> Iterator[tuple[str, list[dict]]]:
    """A server that speaks just enough of the OpenAI API; yields its address and the bodies it was sent."""
    asked: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, json.dumps({"data": [{"id": "small"}]}).encode())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(body | {"key": self.headers.get("authorization")})
            self.answer(*reply(body))

        def answer(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def remote(url: str, **changes) -> OpenAiGenerator:
    settings = {
        "base_url": url, "model_name": "small", "api_key_env": None, "timeout": 5.0, "max_new_tokens": 8,
        "temperature": 0.0, "concurrency": 2, "log_probabilities": True,
    } | changes  # fmt: skip
    return OpenAiGenerator(**settings)


def said(body: dict) -> tuple[int, bytes]:
    text = body["messages"][-1]["content"].upper()
    usage = {"prompt_tokens": 9, "completion_tokens": 2}
    logprobs = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]}
    if not body.get("stream"):
        choice = {"message": {"content": text}, "finish_reason": "length", "logprobs": logprobs}
        return 200, json.dumps({"choices": [choice], "usage": usage}).encode()
    events = [
        {"choices": [{"delta": {"content": text[:2]}, "logprobs": {"content": logprobs["content"][:1]}}]},
        {"choices": [{"delta": {"content": text[2:]}, "logprobs": {"content": logprobs["content"][1:]}}]},
        {"choices": [{"delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": usage},
    ]
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
    return 200, "".join(lines).encode()


def test_an_engine_answers_in_order_and_streams_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", "s3cret")
    with engine(said) as (url, asked):
        generator = remote(url, api_key_env="ENGINE_KEY")
        generator.load()
        answers = generator.generate([conversation("one"), conversation("two"), conversation("three")])
        *pieces, streamed = generator.stream(conversation("two"))
        generator.close()
    assert [answer.text for answer in answers] == ["ONE", "TWO", "THREE"]
    assert answers[1] == streamed == Generation("TWO", (-0.5, -1.5), 9, 2, "length")
    assert pieces == ["TW", "O"]
    assert all(body["key"] == "Bearer s3cret" and body["max_tokens"] == 8 for body in asked)


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (401, "requires a key"),
        (404, "base_url"),
        (429, "no more requests"),
        (500, "its log"),
        (400, "rejects the request"),
    ],
)
def test_an_engines_refusal_is_a_sentence_without_the_question(status: int, match: str) -> None:
    with engine(lambda body: (status, b"secret question echoed")) as (url, _):
        generator = remote(url)
        for ask in (generator.generate, lambda many: list(generator.stream(many[0]))):
            with pytest.raises(InputError, match=match) as caught:
                ask([conversation("patient Wexcombe")])
            assert "Wexcombe" not in str(caught.value)
            assert "echoed" not in str(caught.value)
        generator.close()


def test_an_engine_that_is_not_there_or_no_engine_at_all() -> None:
    with pytest.raises(InputError, match="not reachable"):
        remote("http://127.0.0.1:9/v1").generate([conversation("one")])
    for answer in (b"<html>", b"[]", b"{}", b'{"choices": ["one"]}'):
        with engine(lambda body, answer=answer: (200, answer)) as (url, _):
            generator = remote(url)
            with pytest.raises(InputError, match="is not in the OpenAI API's format"):
                generator.generate([conversation("one")])
            generator.close()
    with engine(lambda body: (200, b"data: []\n\n")) as (url, _):
        generator = remote(url)
        with pytest.raises(InputError, match="is not in the OpenAI API's format"):
            list(generator.stream(conversation("one")))
        generator.close()


def test_a_model_or_a_key_that_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINE_KEY", raising=False)
    with engine(said) as (url, _):
        generator = remote(url, model_name="large")
        with pytest.raises(ConfigError, match=r"model_name=large.*small"):
            generator.load()
        generator.close()
        with pytest.raises(ConfigError, match="ENGINE_KEY is not set"):
            remote(url, api_key_env="ENGINE_KEY").load()


@pytest.mark.parametrize(("tokens", "sizes"), [(10_000, [3, 3, 1]), (1, [1] * 7)])
def test_batches_keep_within_the_token_budget(tokens: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    generator, found = transformers(batch_size=3, batch_tokens=tokens, max_new_tokens=2), []
    plain = generator._batch
    monkeypatch.setattr(generator, "_batch", lambda prompts: found.append(len(prompts)) or plain(prompts))
    conversations = [conversation("word " * n) for n in range(1, 8)]
    assert len(generator.generate(conversations)) == 7
    assert found == sizes


def test_a_budget_counts_the_longest_prompt_with_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    conversations = [conversation("word " * n) for n in (10, 10, 30, 30)]
    probe = transformers(max_new_tokens=2)
    short, long = probe.count(conversations[0]) + 2, probe.count(conversations[2]) + 2
    assert 2 * short < 2 * long
    generator, found = transformers(batch_size=4, batch_tokens=2 * long - 1, max_new_tokens=2), []
    plain = generator._batch
    monkeypatch.setattr(generator, "_batch", lambda prompts: found.append(len(prompts)) or plain(prompts))
    generator.generate(conversations)
    assert found == [1, 1, 2]


def test_batches_are_halved_when_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = [one.text for one in transformers(batch_size=1).generate(CONVERSATIONS)]
    generator, found = transformers(batch_size=4), []
    plain, handled = generator._batch, []
    monkeypatch.setattr("cdsframe.generator.transformers.empty_cuda_cache", lambda: handled.append(sys.exception()))

    def short_of_memory(prompts: list[list[int]]) -> list[Generation]:
        found.append(len(prompts))
        if len(prompts) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return plain(prompts)

    monkeypatch.setattr(generator, "_batch", short_of_memory)
    assert [one.text for one in generator.generate(CONVERSATIONS)] == wanted
    assert found == [3, 1, 1, 1]
    assert handled == [None], "emptied once the error, which keeps the batch's tensors, is handled"
    assert "memory is short" in caplog.text


@pytest.mark.parametrize(("cuda", "emptied"), [(True, 1), (False, 0)])
def test_the_cuda_cache_is_emptied_if_there_is_one(cuda: bool, emptied: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from cdsframe.machine.memory import empty_cuda_cache

    calls: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(1))
    empty_cuda_cache()
    assert len(calls) == emptied


@pytest.mark.parametrize("error", [RuntimeError("size mismatch"), MemoryError()])
def test_other_errors_and_a_single_conversation_too_large_are_raised(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = transformers(batch_size=1 if isinstance(error, MemoryError) else 4)

    def fail(prompts: list[list[int]]) -> list[Generation]:
        raise error

    monkeypatch.setattr(generator, "_batch", fail)
    with pytest.raises(type(error)):
        generator.generate(CONVERSATIONS)
