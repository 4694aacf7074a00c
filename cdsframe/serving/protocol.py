"""The part of OpenAI's chat completions API that a cited answer has, and what cdsframe adds to it (`cdsframe`).

Checks requests and writes responses; knows nothing of HTTP servers. A field that would change what was evaluated
(sampling, tools, several choices) is refused unless it asks for what is done anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from cdsframe.citations import supports
from cdsframe.errors import (
    BusyError,
    CdsframeError,
    DefectError,
    NotReadyError,
    QuestionError,
    ServiceError,
    UnavailableError,
    clearest,
)
from cdsframe.filters import empty_fields
from cdsframe.metadata import unknown_field
from cdsframe.text.markers import find
from cdsframe.types import Answer, Filter, Hit, Message


class RequestError(Exception):
    """A request is refused; becomes OpenAI's error JSON."""

    def __init__(
        self, message: str, param: str | None = None, status: int = 400, code: str | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


MAX_TURNS = 50
"""Messages of a conversation, its question included. Each is tokenised, and far fewer fit into a prompt."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Part(_Strict):
    type: Literal["text"]
    text: str


class _Turn(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Part]
    name: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class _StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = False


class _Format(_Strict):
    type: Literal["text"]


class _Extension(_Strict):
    filter: dict[str, str | list[str]] = {}


class _Body(_Strict):
    model: str
    messages: Annotated[list[_Turn], Field(min_length=1)]
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    cdsframe: _Extension = _Extension()
    # taken, without effect
    user: str | None = None
    seed: int | None = None
    # taken with the value that says "as it is anyway"
    n: Literal[1] | None = None
    top_p: Literal[1] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None
    stop: None = None
    response_format: _Format | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a request asks of the pipeline."""

    question: str
    history: tuple[Message, ...]
    filter: Filter
    stream: bool
    include_usage: bool
    ignored: tuple[str, ...]
    """The messages that were not followed: instructions come from the deployment, never from a client."""


_STATUS = {
    NotReadyError: (503, "not_ready"),
    BusyError: (503, "overloaded"),
    UnavailableError: (503, "unavailable"),
    DefectError: (500, "internal_error"),
}
"""Error of the service -> HTTP status and OpenAI's error code."""


def translated(error: CdsframeError) -> RequestError:
    """An error of the service in OpenAI's form."""
    if isinstance(error, QuestionError):
        return RequestError(str(error), "messages", code="question")
    status, code = next((both for kind, both in _STATUS.items() if isinstance(error, kind)), (500, "internal_error"))
    retry_after = error.retry_after if isinstance(error, ServiceError) else 0
    return RequestError(str(error), status=status, code=code, retry_after=retry_after)


def parse(
    data: bytes, model: str, max_question: int, max_new_tokens: int, temperature: float, known_fields: Sequence[str]
) -> ChatRequest:
    """Raises RequestError that names the field."""
    try:
        body = _Body.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(error, data) from None
    if body.model != model:
        raise RequestError(
            f"the model {body.model} does not exist; this server has {model}", "model", 404, "model_not_found"
        )
    for name in ("max_tokens", "max_completion_tokens"):
        wanted = getattr(body, name)
        if wanted is not None and wanted < max_new_tokens:
            message = f"{name} must be at least {max_new_tokens}: answers have at most that many tokens and are not cut"
            raise RequestError(message, name)
    if body.temperature is not None and body.temperature != temperature:
        raise RequestError(f"temperature must be {temperature:g}, as this deployment was evaluated", "temperature")
    for field in body.cdsframe.filter:
        if field not in known_fields:
            param = f"cdsframe.filter.{field[:80]}"
            raise RequestError(f"{param}: {unknown_field(field[:80], known_fields)}", param)
    if empty := empty_fields(body.cdsframe.filter):
        param = f"cdsframe.filter.{empty[0]}"
        raise RequestError(f"{param} is empty; give a value or a list of values, or leave the field out", param)
    if len(body.messages) > MAX_TURNS:
        message = (
            f"the conversation has {len(body.messages)} messages, at most {MAX_TURNS} are taken; leave out old ones"
        )
        raise RequestError(message, "messages", code="too_long")
    *earlier, last = body.messages
    question = last.text.strip()
    if last.role != "user" or not question:
        raise RequestError("the last message must be a user's with a question in it", "messages")
    if len(question) > max_question:
        raise RequestError(
            f"the question has {len(question)} characters, at most {max_question} are taken",
            "messages",
            400,
            "too_long",
        )
    return ChatRequest(
        question=question,
        history=tuple(Message(turn.role, turn.text) for turn in earlier if turn.role in ("user", "assistant")),
        filter=Filter(body.cdsframe.filter),
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
        ignored=tuple(
            f"messages.{place} ({turn.role})"
            for place, turn in enumerate(earlier)
            if turn.role in ("system", "developer")
        ),
    )


def _refusal(error: ValidationError, data: bytes) -> RequestError:
    """The first problem, by the field's name and never its value."""
    details = error.errors(include_input=False, include_url=False)
    if details[0]["type"] == "json_invalid":
        return RequestError("the body is not JSON")
    place, detail = clearest(details, from_json(data))
    param = ".".join(map(str, place)) or None
    if detail["type"] == "extra_forbidden":
        return RequestError(f"{param} is not supported by this server", param, code="unsupported_parameter")
    message = str(detail["msg"]).replace("Input should be", "must be").replace("Field required", "is missing")
    return RequestError(f"{param or 'the body'}: {message}", param)


def completion(answer: Answer, request: ChatRequest, id: str, created: int, model: str) -> dict[str, Any]:
    """The whole response of a request that does not stream."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason, "logprobs": None}
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": dict(answer.usage),
        "cdsframe": extension(answer, request),
    }


def chunk(
    id: str, created: int, model: str, delta: Mapping[str, Any] | None, reason: str | None = None, **fields: Any
) -> dict[str, Any]:
    """One event of a stream; without a delta, one that has no choices (the usage)."""
    choices = [] if delta is None else [{"index": 0, "delta": dict(delta), "finish_reason": reason, "logprobs": None}]
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": choices,
        **fields,
    }


def extension(answer: Answer, request: ChatRequest) -> dict[str, Any]:
    """The field `cdsframe`: the text that counts, its sources, how sure it is. It holds no retrieval scores."""
    sources = answer.hits if answer.abstained else answer.hits[: answer.shown]
    return {
        "text": answer.text,
        "confidence": {"word": answer.confidence.word, "probability": answer.confidence.probability},
        "abstained": answer.abstained,
        "reason": answer.reason or None,
        "removed": answer.removed,
        "markers": [
            {"start": marker.end - len(answer.text[marker.start : marker.end].lstrip()), "end": marker.end}
            for marker in find(answer.text, len(sources))
        ],
        "ignored": list(request.ignored),
        "sources": [_source(number, hit, answer) for number, hit in enumerate(sources, start=1)],
        "timings": {stage: round(seconds, 4) for stage, seconds in answer.timings.items()},
    }


def _source(number: int, hit: Hit, answer: Answer) -> dict[str, Any]:
    """A passage with the spans of it that the answer cites, as offsets into `text` (in Unicode code points)."""
    passage = hit.passage
    cited = [citation for citation in answer.citations if citation.number == number]
    return {
        "number": number,
        "passage_id": passage.id,
        "document_id": passage.document_id,
        "title": passage.title,
        "heading": list(passage.heading),
        "metadata": dict(passage.metadata),
        "text": passage.text,
        "start": passage.start,
        "end": passage.end,
        "cited": bool(cited),
        "spans": [
            {
                "start": c.start - passage.start,
                "end": c.end - passage.start,
                "support": round(c.support, 4),
                "supports": supports(c),
            }
            for c in cited
        ],
    }
