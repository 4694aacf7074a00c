"""A generator on any OpenAI-compatible engine (vLLM, SGLang, llama.cpp): how one outgrows one machine.

The engine applies its own chat template, so what keeps special tokens inside a passage from opening a turn is the
engine's own business here; the in-process generator sees to it itself.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from cdsframe.errors import CdsframeError, ConfigError, InputError
from cdsframe.types import Generation, Message

if TYPE_CHECKING:
    import httpx

_CHARACTERS_PER_TOKEN = 3
"""For estimates: English takes about 4; 3 leaves room, so that prompts fit."""


class OpenAiGenerator:
    """Asks an engine over HTTP.

    Args:
        base_url: where the engine is, with its version (`http://127.0.0.1:8080/v1`).
        model_name: the model as the engine names it.
        api_key_env: the *name* of the environment variable that holds the key; None sends none.
        timeout: seconds without a byte from the engine before it counts as lost.
        max_new_tokens: the most tokens of an answer.
        temperature: 0 takes the most probable token.
        concurrency: how many questions are asked at once.
        log_probabilities: whether to ask for the tokens' log-probabilities (some engines refuse).
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
        """What an answer depends on: not where the engine runs."""
        return {
            "_target_": "cdsframe.generator.openai.OpenAiGenerator",
            "model_name": self.name,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
        }

    def load(self) -> None:
        """Asks the engine for its models. Raises where it is unreachable or has no such model."""
        with self._errors():
            response = self._client().get("/models")
            self._check(response.status_code)
            names = [str(model.get("id")) for model in response.json().get("data", [])]
        if names and self.name not in names:
            raise ConfigError(f"generator.model_name={self.name}: {self._url} has {', '.join(names)}")

    def close(self) -> None:
        """Closes the connections."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def count(self, messages: Sequence[Message]) -> int:
        """An estimate, a token for three characters and four for each turn: the engine's tokenizer is not at hand."""
        return sum(ceil(len(message.content) / _CHARACTERS_PER_TOKEN) + 4 for message in messages)

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        from concurrent.futures import ThreadPoolExecutor

        from tqdm import tqdm

        with ThreadPoolExecutor(self._concurrency) as pool:
            answers = pool.map(self._ask, conversations)
            few = len(conversations) <= self._concurrency
            return list(tqdm(answers, total=len(conversations), desc="answers", unit="", disable=few))

    def stream(self, messages: Sequence[Message]) -> Iterator[str | Generation]:
        """Closing the iterator closes the connection, at which engines stop generating."""
        body = {**self._body(messages), "stream": True, "stream_options": {"include_usage": True}}
        pieces: list[str] = []
        chosen: list[Mapping[str, Any]] = []
        usage: Mapping[str, Any] = {}
        with self._errors(), self._client().stream("POST", "/chat/completions", json=body) as response:
            self._check(response.status_code)
            for event in _events(response.iter_lines()):
                if "error" in event:
                    raise CdsframeError(f"generator: {self._url} broke off its answer with an error of its own")
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
            mend = f"the key in {self._key_env} is not accepted" if self._key_env else "it wants a key: set api_key_env"
        elif status == 404:
            mend = f"is base_url right (with /v1), and is {self.name} a model of this engine?"
        elif status == 429:
            mend = "it takes no more requests for now; lower generator.concurrency or try later"
        elif status >= 500:
            mend = "the engine failed; its own log says why"
        else:
            mend = "it does not accept the request; does it know logprobs, and does the prompt fit its context?"
        raise InputError(f"generator: {self._url} answered {status}: {mend}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Says in a sentence what went wrong on the way, without the request."""
        import httpx

        try:
            yield
        except httpx.TimeoutException:
            raise InputError(
                f"generator: {self._url} was silent for {self._timeout:g} s; is it overloaded, generator.timeout low?"
            ) from None
        except httpx.RemoteProtocolError:
            raise InputError(
                f"generator: {self._url} broke off its answer or does not speak HTTP; look at the engine's log"
            ) from None
        except httpx.HTTPError:
            raise InputError(
                f"generator: {self._url} is not reachable; start the engine or set generator.base_url"
            ) from None
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            raise InputError(
                f"generator: {self._url} does not answer as the OpenAI API does; is generator.base_url the address of "
                "such an engine, with /v1 at its end?"
            ) from None


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)
