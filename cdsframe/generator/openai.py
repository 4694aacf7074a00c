"""Generates on an OpenAI-compatible engine (vLLM, SGLang, llama.cpp), which can run on other machines.

The engine applies its chat template. This module does not prevent control tokens in a passage from opening a turn; the
generator `transformers` prevents it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.errors import CdsframeError, ConfigError, InputError
from cdsframe.types import Generation, Message

if TYPE_CHECKING:
    import httpx

_CHARACTERS_PER_TOKEN = 3
"""For estimates. English has about 4; 3 overestimates the tokens, so that prompts fit."""


class OpenAiGenerator:
    """Generates by HTTP requests to an engine.

    Args:
        base_url: the engine's URL, with the API version (`http://127.0.0.1:8080/v1`).
        model_name: the engine's name of the model.
        api_key_env: the *name* of the environment variable with the API key; None sends no key.
        timeout: seconds without a byte from the engine after which a request fails.
        max_new_tokens: maximum tokens of an answer.
        temperature: sampling temperature; 0: greedy decoding.
        concurrency: maximum number of concurrent requests.
        log_probabilities: whether to request the tokens' log-probabilities (some engines reject this).
    """

    generates = True
    uses_model = False

    def __init__(
        self,
        base_url: Annotated[str, Field(pattern="^https?://")],
        model_name: Annotated[str, Field(min_length=1)],
        api_key_env: str | None,
        timeout: Annotated[float, Field(gt=0)],
        max_new_tokens: Annotated[int, Field(ge=1)],
        temperature: Annotated[float, Field(ge=0, le=2)],
        concurrency: Annotated[int, Field(ge=1, le=256)],
        log_probabilities: bool,
    ) -> None:
        self._url, self._key_env, self._timeout = base_url.rstrip("/"), api_key_env, timeout
        self.name, self.max_new_tokens, self.temperature = model_name, max_new_tokens, temperature
        self._concurrency, self._log_probabilities = concurrency, log_probabilities
        self._made: httpx.Client | None = None
        self._lock = threading.Lock()

    @property
    def identity(self) -> Mapping[str, Any]:
        """Settings that affect answers; excludes the engine's URL."""
        return {
            "_target_": "cdsframe.generator.openai.OpenAiGenerator",
            "model_name": self.name,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }

    def load(self) -> None:
        """Checks that the engine answers and, if it lists models, has the model. Raises InputError or ConfigError."""
        with self._errors():
            response = self._client().get("/models")
            self._check(response.status_code)
            names = [str(model.get("id")) for model in response.json().get("data", [])]
        if names and self.name not in names:
            raise ConfigError(
                f"generator.model_name={self.name}: {self._url} has no such model; it has {', '.join(names)}"
            )

    def close(self) -> None:
        """Closes the connections."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def count(self, messages: Sequence[Message]) -> int:
        """Estimates the prompt's tokens: one per three characters and four per turn. The tokenizer is not available."""
        return sum(ceil(len(message.content) / _CHARACTERS_PER_TOKEN) + 4 for message in messages)

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        return [one for batch in self.generate_batches(conversations) for one in batch.values()]

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[int, Generation]]:
        """Yields each answer as a batch, in order.

        The seconds of an answer are those of its request, divided by the number of concurrent requests.
        """
        from concurrent.futures import ThreadPoolExecutor

        from tqdm import tqdm

        at_once = max(1, min(self._concurrency, len(conversations)))

        def timed(messages: Sequence[Message]) -> Generation:
            started = perf_counter()
            found = self._ask(messages)
            return replace(found, seconds=(perf_counter() - started) / at_once)

        with ThreadPoolExecutor(self._concurrency) as pool:
            answers = pool.map(timed, conversations)
            few = len(conversations) <= self._concurrency
            shown = tqdm(answers, total=len(conversations), desc="answers", unit="", disable=few)
            yield from ({number: one} for number, one in enumerate(shown))

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Streams an answer. Closing the iterator closes the connection, which makes engines stop generating."""
        body = {**self._body(messages), "stream": True, "stream_options": {"include_usage": True}}
        pieces: list[str] = []
        chosen: list[Mapping[str, Any]] = []
        usage: Mapping[str, Any] = {}
        with self._errors(), self._client().stream("POST", "/chat/completions", json=body) as response:
            self._check(response.status_code)
            for event in _events(response.iter_lines()):
                if "error" in event:
                    raise CdsframeError(
                        f"generator: {self._url} reported an error while answering; see the engine's log"
                    )
                usage = event.get("usage") or usage
                for choice in event.get("choices", [])[:1]:
                    chosen.append(choice)
                    piece = (choice.get("delta") or {}).get("content") or ""
                    pieces.append(piece)
                    if piece:
                        yield piece
        reasons = [choice.get("finish_reason") for choice in chosen]
        yield self._generation(messages, "".join(pieces), chosen, "length" if "length" in reasons else "stop", usage)

    def _ask(self, messages: Sequence[Message]) -> Generation:
        with self._errors():
            response = self._client().post("/chat/completions", json=self._body(messages))
            self._check(response.status_code)
            answer = response.json()
            choice = answer["choices"][0]
            text = choice["message"].get("content") or ""
            return self._generation(messages, text, [choice], choice.get("finish_reason"), answer.get("usage") or {})

    def _body(self, messages: Sequence[Message]) -> dict[str, Any]:
        return {
            "model": self.name,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            **({"logprobs": True} if self._log_probabilities else {}),
        }

    def _generation(
        self,
        messages: Sequence[Message],
        text: str,
        choices: Sequence[Mapping[str, Any]],
        reason: str | None,
        usage: Mapping[str, Any],
    ) -> Generation:
        tokens = [token for choice in choices for token in (choice.get("logprobs") or {}).get("content") or []]
        return Generation(
            text=text.strip(),
            log_probabilities=tuple(float(token["logprob"]) for token in tokens) or None,
            prompt_tokens=int(usage.get("prompt_tokens", self.count(messages))),
            completion_tokens=int(usage.get("completion_tokens", ceil(len(text) / _CHARACTERS_PER_TOKEN))),
            finish_reason="length" if reason == "length" else "stop",
        )

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._made is None:
                headers = {}
                if self._key_env is not None:
                    key = os.environ.get(self._key_env, "")
                    if not key:
                        raise ConfigError(f"generator.api_key_env: the environment variable {self._key_env} is not set")
                    headers["Authorization"] = f"Bearer {key}"
                self._made = httpx.Client(base_url=self._url, headers=headers, timeout=self._timeout)
            return self._made

    def _check(self, status: int) -> None:
        if status < 400:
            return
        if status in (401, 403):
            fix = (
                f"the key in {self._key_env} is not accepted"
                if self._key_env
                else "it requires a key; set generator.api_key_env"
            )
        elif status == 404:
            fix = f"check that generator.base_url is right (with /v1) and that the engine has the model {self.name}"
        elif status == 429:
            fix = "it accepts no more requests for now; lower generator.concurrency or try later"
        elif status >= 500:
            fix = "the engine failed; see its log"
        else:
            fix = (
                "it rejects the request; check that the prompt fits its context, and give "
                "generator.log_probabilities=false if it does not support logprobs"
            )
        raise InputError(f"generator: {self._url} answered {status}: {fix}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns errors of a request into InputError with a fix, without the request's content."""
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise InputError(
                f"generator: {self._url} sent nothing for {self._timeout:g} s; raise generator.timeout, or lower "
                "generator.concurrency if the engine is overloaded"
            ) from None
        except httpx.RemoteProtocolError:
            raise InputError(
                f"generator: {self._url} closed the connection early or does not speak HTTP; see the engine's log"
            ) from None
        except httpx.HTTPError:
            raise InputError(
                f"generator: {self._url} is not reachable; start the engine or correct generator.base_url"
            ) from None
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            raise InputError(
                f"generator: the answer of {self._url} is not in the OpenAI API's format; check that "
                "generator.base_url is the URL of such an engine, with /v1 at its end"
            ) from None


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)
