"""What holds for all tests: no network, no hub, warnings are errors, outputs in a temporary folder."""

import os
import socket

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("HYDRA_FULL_ERROR", None)

from pathlib import Path

import pytest

_LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0")
_connect = socket.socket.connect


def _guarded_connect(self: socket.socket, address: object) -> None:
    """Refuses every connection that would leave this machine."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple) and address[0] not in _LOCAL:
        raise RuntimeError(f"a test tried to reach {address[0]}: the network is off in tests")
    _connect(self, address)


socket.socket.connect = _guarded_connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the field's data sets; tests that need it skip, and say so, where it is absent."""
    folder = os.environ.get("CDSFRAME_DATA")
    if not folder:
        pytest.skip("CDSFRAME_DATA is not set: this test needs the field's data sets")
    return Path(folder)
