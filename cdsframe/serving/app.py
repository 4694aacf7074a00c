"""The ASGI application: OpenAI's chat completions with sources and confidence, health, and a page to ask at.

Translates between HTTP and a `Service`; does not listen (see `http`) and does not answer (see `service`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cdsframe.errors import CdsframeError
from cdsframe.metadata import STANDARD_FIELDS
from cdsframe.serving.protocol import ChatRequest, RequestError, chunk, completion, extension, parse, translated
from cdsframe.serving.service import Service
from cdsframe.types import Answer

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

log = logging.getLogger(__name__)

_PAGE_POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""Headers of the page and its assets; other faces set their own policy."""

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # a proxy must not hold a stream back
}


def create_app(
    service: Service,
    name: str,
    allowed_hosts: list[str],
    max_question: int,
    max_body: int,
    metadata_fields: Sequence[str],
    stop: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application. It loads the pipeline when it starts up; `stop` is called where that fails."""
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start(stop)
        yield
        service.close()

    folder = Path(str(files("cdsframe.serving") / "page"))
    routes = _Routes(service, name, folder, max_question, max_body, (*STANDARD_FIELDS, *metadata_fields))
    return FastAPI(
        routes=[
            Route("/", routes.page),
            Route("/health", routes.health),
            Route("/ready", routes.ready),
            Route("/v1/models", routes.models),
            Route("/v1/models/{wanted:path}", routes.model),
            Route("/v1/values", routes.values),
            Route("/v1/chat/completions", routes.chat, methods=["POST"]),
            Route("/assets/{name}", routes.asset),
        ],
        middleware=[Middleware(Envelope), Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts)],
        exception_handlers={RequestError: _refuse, CdsframeError: _refuse_as_openai, HTTPException: _not_here},
        lifespan=lifespan,
        openapi_url=None,  # and so no /docs, whose page loads scripts from elsewhere
    )


class _Routes:
    """What the paths answer."""

    def __init__(
        self,
        service: Service,
        name: str,
        folder: Path,
        max_question: int,
        max_body: int,
        known_fields: Sequence[str],
    ) -> None:
        from jinja2 import Environment, FileSystemLoader

        self._service, self._name, self._max_question, self._max_body = service, name, max_question, max_body
        self._known_fields = known_fields
        template = Environment(loader=FileSystemLoader(folder), autoescape=True).get_template("page.html")
        self._page = template.render(name=name, max_question=max_question)
        self._assets = {file.name: file.read_bytes() for file in (folder / "assets").iterdir()}
        self._model = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "cdsframe"}

    async def page(self, request: Request) -> Response:
        from fastapi.responses import HTMLResponse

        return HTMLResponse(self._page, headers=_PAGE_POLICY)

    async def asset(self, request: Request) -> Response:
        from fastapi.responses import Response

        name = request.path_params["name"]
        if name not in self._assets:
            raise RequestError("Not Found", status=404)
        return Response(self._assets[name], media_type=guess_type(name)[0], headers=_PAGE_POLICY)

    async def health(self, request: Request) -> Response:
        return _json({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        return _json({"status": "ready"}) if self._service.ready else _json({"status": "loading"}, 503)

    async def models(self, request: Request) -> Response:
        return _json({"object": "list", "data": [self._model]})

    async def model(self, request: Request) -> Response:
        wanted = request.path_params["wanted"]
        if wanted != self._name:
            raise RequestError(f"the model {wanted} does not exist", "model", 404, "model_not_found")
        return _json(self._model)

    async def values(self, request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        return _json(await run_in_threadpool(self._service.values))

    async def chat(self, request: Request) -> Response:
        from fastapi.responses import Response, StreamingResponse

        if not request.headers.get("content-type", "").startswith("application/json"):
            raise RequestError("content-type must be application/json", status=415)
        generator = self._service.pipeline.generator
        body = await self._body(request)
        asked = parse(
            body,
            self._name,
            self._max_question,
            generator.max_new_tokens,
            generator.temperature,
            self._known_fields,
        )
        self._service.admit()
        id, created = f"chatcmpl-{uuid4().hex}", int(time.time())
        if asked.stream:
            return StreamingResponse(self._events(request, asked, id, created), media_type="text/event-stream")
        async for item in self._answers(request, asked):
            if isinstance(item, Answer):
                return _json(completion(item, asked, id, created, self._name))
        return Response(status_code=499)  # the client has left; the number is for the log

    def _answers(self, request: Request, asked: ChatRequest) -> AsyncIterator[str | Answer]:
        return self._service.answer(asked.question, asked.filter, asked.history, request.is_disconnected)

    async def _events(self, request: Request, asked: ChatRequest, id: str, created: int) -> AsyncIterator[str]:
        """Server-sent events as OpenAI's: pieces, the last one with `cdsframe`, the usage if wanted, `[DONE]`."""

        def event(*arguments: Any, **fields: Any) -> str:
            return _event(chunk(id, created, self._name, *arguments, **fields))

        said = False
        try:
            async for item in self._answers(request, asked):
                if isinstance(item, str):
                    yield event({"content": item} if said else {"role": "assistant", "content": item})
                    said = True
                    continue
                rest = {} if said else {"role": "assistant", "content": item.text}
                yield event(rest, item.finish_reason, cdsframe=extension(item, asked))
                if asked.include_usage:
                    yield event(None, usage=dict(item.usage))
                yield "data: [DONE]\n\n"
        except CdsframeError as error:  # the status is sent already: OpenAI's clients look for this event
            yield _event(translated(error).body)

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than the limit."""
        data = b""
        async for piece in request.stream():
            data += piece
            if len(data) > self._max_body:
                raise RequestError(f"the request has more than {self._max_body} bytes", status=413, code="too_long")
        return data


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from fastapi.responses import JSONResponse

    return JSONResponse(body, status, headers)


def _event(body: Any) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


async def _refuse(request: Request, error: Any) -> Response:
    return _json(error.body, error.status, {"retry-after": str(error.retry_after)} if error.retry_after else None)


async def _refuse_as_openai(request: Request, error: Any) -> Response:
    return await _refuse(request, translated(error))


async def _not_here(request: Request, error: Any) -> Response:
    return _json(RequestError(str(error.detail), status=error.status_code).body, error.status_code)


class Envelope:
    """ASGI middleware: gives every response its security headers and an id, and logs it without any content."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from starlette.requests import ClientDisconnect

        id, started, status = uuid4().hex[:12], time.perf_counter(), 0
        added = [(key.encode(), value.encode()) for key, value in {**_HEADERS, "x-request-id": id}.items()]

        async def wrapped(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self._app(scope, receive, wrapped)
        except ClientDisconnect:  # while it sent its body; nobody reads an answer
            status = 499
        finally:
            log.info("request %s: status %d, %.2f s", id, status, time.perf_counter() - started)
