"""The connection to an Elasticsearch server: who asks, how long, how often, and what its errors say in words.

Knows nothing of what is asked. Addresses and secrets come from the environment and are never written anywhere.
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
"""The statuses after which the same question may be answered: too many questions, or a node that is not there."""

_SHORT, _LONG = 0.1, 5.0
"""Seconds between tries: at first, and at most."""

_STRANGER = 3
"""Tries before a server that never answered is given up: its address is wrong, or it does not run."""


class TooMuch(InputError):
    """The server has no room for a question, however often it was put."""


class Connection:
    """A client that is made at the first question, with one deadline for each question and all its tries.

    Args:
        environment: what the names of the environment variables begin with: `…_URL` (addresses, separated by commas),
            `…_USER` and `…_PASSWORD` or `…_API_KEY`, and `…_CA` (the file of the authority that signs certificates).
        timeout: seconds that a question may take.
    """

    def __init__(self, environment: str, timeout: float) -> None:
        self._environment, self._timeout = environment, timeout
        self._client: Elasticsearch | None = None
        self._lock = Lock()
        self._met = False

    def _close_with_me(self, client: Elasticsearch) -> Elasticsearch:
        weakref.finalize(self, client.close)
        return client

    def deadline(self) -> float:
        """By the monotonic clock, when a question that is put now must be answered."""
        return time.monotonic() + self._timeout

    @property
    def addresses(self) -> list[str]:
        """The servers' addresses. Raises ConfigError where the environment has none."""
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
        """The addresses without credentials, for messages; their variable where those make them unreadable."""
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
        """The answer to a question, which is put again while the server is busy or away and the deadline allows.

        A question must bear being put twice; after a fault it is put again for `timeout` seconds at most, however late
        `until` is. Raises the client's own error where its status is `expected`, else ConfigError or InputError that
        says in one sentence what is wrong.
        """
        from elastic_transport import TransportError
        from elasticsearch import ApiError

        client = self._connected()
        until = self.deadline() if until is None else until
        tries = 0
        while True:
            left = max(until - time.monotonic(), 0.05)
            share = left if len(self.addresses) == 1 else left / 2  # so that another node is asked in time
            try:
                answer = question(client.options(request_timeout=share, max_retries=0))
            except ApiError as error:
                self._met = True
                if error.meta.status in expected:
                    raise
                fault: ApiError | TransportError = error
            except TransportError as error:
                fault = error
            else:
                self._met = True
                return answer
            tries += 1
            until = min(until, self.deadline()) if tries == 1 else until
            pause = self._pause(fault, tries)
            if pause is None or time.monotonic() + pause >= until:
                raise self.in_words(fault) from None
            time.sleep(pause)

    def _pause(self, fault: Exception, tries: int) -> float | None:
        """Seconds until the next try, with jitter or as the server asks; None where another try is of no use."""
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
        return pause if self._met or tries < _STRANGER else None

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
            raise ConfigError(f"{self._environment}_{missing} is not set, and the other half of the credentials is")
        if ca:
            if not Path(ca).is_file():
                raise ConfigError(f"{self._environment}_CA names {ca}, which is not a file")
            options["ca_certs"] = ca
        self._check_addresses()
        return Elasticsearch(self.addresses, serializers={Json.mimetype: Json()}, **options)

    def _check_addresses(self) -> None:
        """Raises ConfigError where one cannot be read. Tells none of them: what cannot be read may hold a password."""
        from elastic_transport.client_utils import url_to_node_config

        for address in self.addresses:
            try:
                url_to_node_config(address, use_default_ports_for_scheme=True)
                read = urlsplit(address).scheme in ("http", "https")
            except ValueError:
                read = False
            if not read or "?" in address or "#" in address:
                raise ConfigError(
                    f"{self._environment}_URL must hold addresses with scheme, host and port, and without ?query and "
                    "#fragment, for example http://127.0.0.1:9200; credentials belong into "
                    f"{self._environment}_USER and {self._environment}_PASSWORD"
                )

    def _variable(self, name: str) -> str | None:
        return os.environ.get(f"{self._environment}_{name}", "").strip() or None

    def _credential(self, name: str) -> str | None:
        """A variable whose value is never told. Raises ConfigError where a request's head cannot carry it."""
        value = self._variable(name)
        if value and not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"{self._environment}_{name} must hold printable ASCII signs only; set it again, without line ends or "
                "other signs that came along"
            )
        return value

    def in_words(self, fault: Exception) -> CdsframeError:
        """What went wrong in one sentence, with what to do, and without any text that was sent."""
        from elastic_transport import ConnectionError, ConnectionTimeout, TlsError
        from elasticsearch import ApiError, UnsupportedProductError

        server, name = f"the Elasticsearch server at {self.where}", self._environment
        if isinstance(fault, TlsError):
            told = str(fault.message).casefold()
            return ConfigError(next(words for sign, words in _tls(server, name) if sign in told))
        if isinstance(fault, ConnectionTimeout):
            return InputError(f"{server} did not answer within {self._timeout:g} seconds; try again")
        if isinstance(fault, ConnectionError):
            return InputError(f"{server} cannot be reached; start it, or set {name}_URL to the right address")
        if isinstance(fault, UnsupportedProductError):
            return ConfigError(f"what answers at {self.where} is not Elasticsearch; set {name}_URL to its address")
        if isinstance(fault, ApiError):
            return self.refused(fault.meta.status, fault.body)
        return InputError(f"{server} gave an answer that cannot be read; see whether {name}_URL is its address")

    def refused(self, status: int, body: Any) -> CdsframeError:
        """What an answer with an error means, and what to do."""
        kind, name, server = reason(body), self._environment, f"the Elasticsearch server at {self.where}"
        if status == 401:
            return ConfigError(
                f"{server} refuses the credentials; set {name}_USER and {name}_PASSWORD, or {name}_API_KEY"
            )
        if "license is non-compliant" in str(body):
            return ConfigError(f"{server} asks for a licence for what was switched on ({kind}); switch it off")
        if is_blocked(body):
            return InputError(
                f"{server} lets nothing be written, as it does when its disk is nearly full; make room, then try again"
            )
        if status == 403:
            return ConfigError(f"{server} does not allow its user this ({kind}); give it the privilege")
        if status == 429:
            return TooMuch(f"{server} is overloaded ({kind}) for {self._timeout:g} seconds; try again later")
        if status == 413:
            return TooMuch(f"{server} takes no request of this size; lower index.bulk_megabytes")
        if "media_type_header" in kind or status == 406:
            return ConfigError(f"{server} is older than version 9, which index=elasticsearch needs")
        if "unknown_setting" in str(body) or "unknown setting" in str(body):
            return ConfigError(f"{server} does not know a setting of this index ({kind}); it may lack a module")
        return InputError(f"{server} answered with status {status}: {kind}")


def _tls(server: str, name: str) -> list[tuple[str, str]]:
    """What OpenSSL's message about a connection has in it -> what is wrong; in this order, the last always fits."""
    certificate = f"the certificate of {server}"
    return [
        ("no_certificate", f"the file that {name}_CA names holds no certificate; name that of {server}'s authority"),
        ("wrong_version", f"{server} speaks no TLS; set {name}_URL to its address with http://"),
        ("expired", f"{certificate} has expired; renew it"),
        ("match", f"{certificate} is another host's; set {name}_URL to the name that it holds"),
        ("", f"{certificate} is not trusted; name its authority's file in {name}_CA"),
    ]


def backoff(tries: int) -> float:
    """Seconds to wait after so many tries: doubling, with jitter (Brooker 2015, "Exponential backoff and jitter")."""
    return min(_LONG, _SHORT * 2**tries) * random.uniform(0.5, 1.0)


def reason(body: Any) -> str:
    """The type of an error by the server's answer. Its text is left out: it may quote what was sent."""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "no reason given"
    cause = (error.get("root_cause") or [error])[0]
    return str(cause.get("type") or error.get("type") or "no reason given")


def is_blocked(body: Any) -> bool:
    """Whether an error says that nothing may be written, which passes only when somebody makes room."""
    return "cluster_block_exception" in str(body) and "read-only" in str(body)
