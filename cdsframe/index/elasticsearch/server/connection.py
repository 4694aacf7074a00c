"""Connects to an Elasticsearch server: authentication, timeouts, retries and readable errors.

Does not interpret requests. Addresses and secrets come from the environment and are never stored or logged.
"""

from __future__ import annotations

import os
import random
import time
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from cdsframe.errors import CdsframeError, ConfigError, InputError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

T = TypeVar("T")

BUSY = frozenset({429, 502, 503, 504})
"""HTTP statuses after which a retry may succeed: too many requests, or an unavailable node."""

_SHORT, _LONG = 0.1, 5.0
"""Shortest and longest pause between tries, in seconds."""

_FIRST_CONTACT = 3
"""Tries before giving up on a server that never answered: a wrong address, or not running."""


class OverloadedError(InputError):
    """The server lacks the memory or capacity for a request, after all retries."""


class Connection:
    """A client, connected on first use, with one deadline for each request and its retries.

    Args:
        environment: prefix of the environment variables: `…_URL` (addresses, separated by commas), `…_USER` and
            `…_PASSWORD` or `…_API_KEY`, and `…_CA` (file of the certificate authority).
        timeout: seconds per request, retries included.
    """

    def __init__(self, environment: str, timeout: float) -> None:
        self._environment, self._timeout = environment, timeout
        self._client: Elasticsearch | None = None
        self._lock = Lock()
        self._answered = False

    def _close_with_me(self, client: Elasticsearch) -> Elasticsearch:
        weakref.finalize(self, client.close)
        return client

    def deadline(self) -> float:
        """The deadline of a request that is sent now, by the monotonic clock."""
        return time.monotonic() + self._timeout

    @property
    def addresses(self) -> list[str]:
        """The servers' addresses. Raises ConfigError if the variable is not set."""
        value = os.environ.get(f"{self._environment}_URL", "")
        addresses = [address.strip() for address in value.split(",") if address.strip()]
        if not addresses:
            raise ConfigError(
                f"index=elasticsearch needs the server's address in the environment variable {self._environment}_URL, "
                "for example http://127.0.0.1:9200; index=lance needs no server"
            )
        return addresses

    @property
    def where(self) -> str:
        """The addresses without credentials, for messages; the variable's name if an address is malformed."""
        unknown = f"the address in {self._environment}_URL"
        try:
            parts = [urlsplit(address) for address in self.addresses]
        except ValueError:
            return unknown
        if any("@" in f"{part.path}{part.query}{part.fragment}" or not part.netloc for part in parts):
            return unknown
        return ", ".join(f"{part.scheme}://{part.netloc.rpartition('@')[2]}" for part in parts)

    def ask(
        self, question: Callable[[Elasticsearch], T], until: float | None = None, expected: Collection[int] = ()
    ) -> T:
        """Sends a request; retries while the server is busy or unreachable and the deadline allows.

        The request must be idempotent. After the first fault, retries end within `timeout` seconds even if `until` is
        later. Raises the client's own error if its status is in `expected`, else ConfigError or InputError with a
        readable message.
        """
        from elastic_transport import TransportError
        from elasticsearch import ApiError

        client = self._connected()
        until = self.deadline() if until is None else until
        tries = 0
        while True:
            left = max(until - time.monotonic(), 0.05)
            share = left if len(self.addresses) == 1 else left / 2  # leaves time to try another node
            try:
                answer = question(client.options(request_timeout=share, max_retries=0))
            except ApiError as error:
                self._answered = True
                if error.meta.status in expected:
                    raise
                fault: ApiError | TransportError = error
            except TransportError as error:
                fault = error
            else:
                self._answered = True
                return answer
            tries += 1
            until = min(until, self.deadline()) if tries == 1 else until
            pause = self._pause(fault, tries)
            if pause is None or time.monotonic() + pause >= until:
                raise self.as_error(fault) from None
            time.sleep(pause)

    def _pause(self, fault: Exception, tries: int) -> float | None:
        """Seconds until the next try, with jitter or as the server asks; None if a retry cannot help."""
        from elastic_transport import ConnectionError, ConnectionTimeout, TlsError
        from elasticsearch import ApiError

        pause = backoff(tries)
        if isinstance(fault, ApiError):
            if fault.meta.status not in BUSY or is_blocked(fault.body):
                return None
            wished = fault.meta.headers.get("retry-after") or ""
            return max(pause, float(wished)) if wished.isdigit() else pause
        if isinstance(fault, TlsError) or not isinstance(fault, ConnectionError | ConnectionTimeout):
            return None
        return pause if self._answered or tries < _FIRST_CONTACT else None

    def _connected(self) -> Elasticsearch:
        with self._lock:
            self._client = self._client or self._close_with_me(self._connect())
            return self._client

    def _connect(self) -> Elasticsearch:
        try:
            from elasticsearch import Elasticsearch
            from elasticsearch.serializer import OrjsonSerializer
        except ImportError:
            raise ConfigError(
                "index=elasticsearch needs the packages elasticsearch and orjson; install cdsframe[elasticsearch]"
            ) from None

        class Json(OrjsonSerializer):
            mimetype = "application/vnd.elasticsearch+json"

        options: dict[str, Any] = {}
        user, password, key = (self._credential(name) for name in ("USER", "PASSWORD", "API_KEY"))
        ca = self._variable("CA")
        if key:
            options["api_key"] = key
        elif user and password:
            options["basic_auth"] = (user, password)
        elif user or password:
            missing = "PASSWORD" if user else "USER"
            raise ConfigError(f"{self._environment}_{missing} is not set; user and password must be set together")
        if ca:
            if not Path(ca).is_file():
                raise ConfigError(
                    f"{self._environment}_CA={ca} is not a file; set it to the file of the certificate authority"
                )
            options["ca_certs"] = ca
        self._check_addresses()
        return Elasticsearch(self.addresses, serializers={Json.mimetype: Json()}, **options)

    def _check_addresses(self) -> None:
        """Raises ConfigError for a malformed address. Does not show the address: it may contain a password."""
        from elastic_transport.client_utils import url_to_node_config

        for address in self.addresses:
            try:
                url_to_node_config(address, use_default_ports_for_scheme=True)
                read = urlsplit(address).scheme in ("http", "https")
            except ValueError:
                read = False
            if not read or "?" in address or "#" in address:
                raise ConfigError(
                    f"{self._environment}_URL must hold addresses with scheme, host and port, without ?query and "
                    f"#fragment, for example http://127.0.0.1:9200; put credentials into {self._environment}_USER and "
                    f"{self._environment}_PASSWORD"
                )

    def _variable(self, name: str) -> str | None:
        return os.environ.get(f"{self._environment}_{name}", "").strip() or None

    def _credential(self, name: str) -> str | None:
        """The value of a secret variable, never shown. Raises ConfigError if an HTTP header cannot carry it."""
        value = self._variable(name)
        if value and not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"{self._environment}_{name} must hold printable ASCII characters only; set it again without line "
                "breaks or other control characters"
            )
        return value

    def as_error(self, fault: Exception) -> CdsframeError:
        """The error with a readable message and a fix, without any text that was sent."""
        from elastic_transport import ConnectionError, ConnectionTimeout, TlsError
        from elasticsearch import ApiError, UnsupportedProductError

        server, name = f"the Elasticsearch server at {self.where}", self._environment
        if isinstance(fault, TlsError):
            message = str(fault.message).casefold()
            return ConfigError(next(words for sign, words in _tls(server, name) if sign in message))
        if isinstance(fault, ConnectionTimeout):
            return InputError(f"{server} did not answer within {self._timeout:g} seconds; try again")
        if isinstance(fault, ConnectionError):
            return InputError(f"{server} cannot be reached; start it, or set {name}_URL to the right address")
        if isinstance(fault, UnsupportedProductError):
            return ConfigError(
                f"the server at {self.where} is not Elasticsearch; set {name}_URL to the address of Elasticsearch"
            )
        if isinstance(fault, ApiError):
            return self.response_error(fault.meta.status, fault.body)
        return InputError(f"{server} sent an unreadable response; check that {name}_URL is its address")

    def response_error(self, status: int, body: Any) -> CdsframeError:
        """The error for an HTTP error response, with a fix."""
        kind, name, server = reason(body), self._environment, f"the Elasticsearch server at {self.where}"
        if status == 401:
            return ConfigError(
                f"{server} refuses the credentials; set {name}_USER and {name}_PASSWORD, or {name}_API_KEY"
            )
        if "license is non-compliant" in str(body):
            return ConfigError(f"{server} has no licence for a requested feature ({kind}); disable the feature")
        if is_blocked(body):
            return InputError(
                f"{server} blocks writes, as it does when its disk is nearly full; free disk space, then try again"
            )
        if status == 403:
            return ConfigError(f"{server} denies its user this action ({kind}); grant the privilege")
        if status == 429:
            return OverloadedError(
                f"{server} has been overloaded ({kind}) for {self._timeout:g} seconds; try again later"
            )
        if status == 413:
            return OverloadedError(f"{server} rejects requests of this size; lower index.bulk_megabytes")
        if "media_type_header" in kind or status == 406:
            return ConfigError(f"{server} is older than version 9, which index=elasticsearch needs; upgrade it")
        if "unknown_setting" in str(body) or "unknown setting" in str(body):
            return ConfigError(
                f"{server} does not support a setting of this index ({kind}); a server module may be missing"
            )
        return InputError(f"{server} answered with status {status}: {kind}")


def _tls(server: str, name: str) -> list[tuple[str, str]]:
    """Part of OpenSSL's message -> error message. The first match counts; the last entry matches always."""
    certificate = f"the certificate of {server}"
    return [
        (
            "no_certificate",
            f"{name}_CA names a file without a certificate; set it to the file of {server}'s certificate authority",
        ),
        ("wrong_version", f"{server} does not use TLS; set {name}_URL to its address with http://"),
        ("expired", f"{certificate} has expired; renew it"),
        ("match", f"{certificate} is for another host; set {name}_URL to the host name in the certificate"),
        ("", f"{certificate} is not trusted; set {name}_CA to its authority's file"),
    ]


def backoff(tries: int) -> float:
    """Seconds to wait after this many tries: doubles, with jitter (Brooker 2015, "Exponential backoff and jitter")."""
    return float(min(_LONG, _SHORT * 2**tries) * random.uniform(0.5, 1.0))


def reason(body: Any) -> str:
    """The error type in a response. Omits the error's text, which may quote what was sent."""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "no reason given"
    cause = (error.get("root_cause") or [error])[0]
    return str(cause.get("type") or error.get("type") or "no reason given")


def is_blocked(body: Any) -> bool:
    """Whether the error reports an index blocked for writes, which lasts until disk space is freed."""
    return "cluster_block_exception" in str(body) and "read-only" in str(body)
