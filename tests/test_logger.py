"""Weights & Biases: what cannot be started is told in a sentence."""

import pytest

from cdsframe.errors import CdsframeError
from cdsframe.logger import Wandb
from cdsframe.run import Run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_online_without_a_key_is_told_in_a_sentence(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    run = Run(tmp_path, "train", {}, None, {}, "group")
    logger = Wandb(run, "demo", "cdsframe", "online", "WANDB_API_KEY")
    with pytest.raises(CdsframeError, match=r"needs a key, .* set WANDB_API_KEY.*mode=offline"):
        logger.open()
