"""Weights & Biases: a run that cannot start gives one clear sentence."""

import pytest

from cdsframe.artifacts.run import Run
from cdsframe.errors import CdsframeError
from cdsframe.logger import Wandb, missing_key


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_online_without_a_key_is_refused_in_a_sentence(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    run = Run(tmp_path, "train", 1, None, {}, "group")
    logger = Wandb(run, "demo", "cdsframe", "online", "WANDB_API_KEY")
    with pytest.raises(CdsframeError, match=r"needs a key, .* set WANDB_API_KEY.*mode=offline"):
        logger.open()


@pytest.mark.parametrize(
    ("settings", "has_key"),
    [
        ("", False),
        ("[default]\nmode = online\nbase_url = https://wandb.example\n", False),
        ("[default]\napi_key =\n", False),
        ("[other]\napi_key = 0123\n", False),
        ("api_key = 0123\n", False),
        ("[default]\napi_key = %(missing)s\n", False),
        ("\ufffe\x00", False),
        ("[default]\nmode = online\napi_key = 0123\n", True),
    ],
)
@pytest.mark.parametrize("place", ["home/.config/wandb", "work/wandb", "work/.wandb", "configured"])
def test_a_settings_file_of_wandb_counts_only_with_a_key(tmp_path, monkeypatch, settings, has_key, place):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    environment = {"WANDB_CONFIG_DIR": str(tmp_path / "configured")} if place == "configured" else {}
    file = tmp_path / place / "settings"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(settings, encoding="utf-16" if "\x00" in settings else "utf-8")
    assert (missing_key("online", "WANDB_API_KEY", environment) is None) == has_key
