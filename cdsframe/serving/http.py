"""Listens and serves a pipeline until it is told to stop.

Does not authenticate and does not encrypt: it listens on this machine alone unless told otherwise, and a reverse proxy
does both (docs/serve.md).
"""

from __future__ import annotations

import errno
import logging
import signal
import socket
import threading
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from cdsframe.errors import ConfigError, InputError
from cdsframe.pipeline import Pipeline
from cdsframe.serving.app import create_app
from cdsframe.serving.service import Service

log = logging.getLogger(__name__)

_STOP_WITHIN = 5
"""Seconds that running answers have to end after a signal to stop."""

HostPattern = Annotated[str, Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9.:\[\]_-]+)$")]


def serve(
    pipeline: Pipeline,
    name: str,
    host: str,
    port: Annotated[int, Field(ge=0, le=65535)],
    allowed_hosts: list[HostPattern],
    concurrency: Annotated[int, Field(ge=1, le=64)],
    queue: Annotated[int, Field(ge=0)],
    max_question: Annotated[int, Field(ge=1)],
    max_body: Annotated[int, Field(ge=1024)],
    metadata_fields: Sequence[str],
) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        name: the model's id in the API.
        host, port: where to listen; port 0 takes a free one.
        allowed_hosts: the `Host` headers that are answered; `*` answers all.
        concurrency: requests answered at once; `generator=transformers` generates one answer at a time.
        queue: requests that may wait besides; more get 503.
        max_question: characters of a question.
        max_body: bytes of a request.
        metadata_fields: the deployment's own metadata fields; a request may filter by them.

    Raises:
        InputError: where the port cannot be had; before anything is loaded.
    """
    import uvicorn

    if not pipeline.generator.generates:
        raise ConfigError("serve answers questions, and generator=none gives no answers; use generator=transformers")
    with _listen(host, port) as listener:
        service = Service(pipeline, concurrency, queue)
        config = uvicorn.Config(
            create_app(
                service, name, allowed_hosts, max_question, max_body, metadata_fields, stop=lambda: _stop(server)
            ),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_STOP_WITHIN,
            server_header=False,
        )
        server = uvicorn.Server(config)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn stops, then hands the signal on to these
                signal.signal(number, lambda *_: None)
        log.info("listening on http://%s:%d", host, listener.getsockname()[1])
        server.run(sockets=[listener])
    if service.failure is not None:
        raise service.failure
    log.info("stopped")


def _stop(server: Any) -> None:
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    where = f"serving.port={port} on {host}"
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family)
    except socket.gaierror:
        raise InputError(f"serving.host={host} is not a name or an address of this machine") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"{where} is in use; stop what listens there or give another serving.port") from None
        raise InputError(f"{where} cannot be had ({error.strerror}); give another serving.host or port") from None
