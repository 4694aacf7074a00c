"""`check_package`: failures name the file and the fault, and leave the environment as it was."""

import os
import sys

import pytest

from cdsframe.config.components import VARIABLE
from cdsframe.errors import ConfigError
from cdsframe.testing import check_package

CODE = """
class Thing:
    top_k, searches = 4, True
    def search(self, query, top_k=None, filter=None): return []
    def search_many(self, queries, top_k=None, filter=None): return []
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package that is on `sys.path`, but not on PYTHONPATH."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv(VARIABLE, "json")
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def write(code=CODE, option="retriever/mine.yaml", text="_target_: ward_checked.made.Thing\n"):
        for path, content in (("__init__.py", ""), ("made.py", code), (f"configs/{option}", text)):
            file = tmp_path / "ward_checked" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")

    yield write
    for name in [name for name in sys.modules if name.startswith("ward_checked")]:
        del sys.modules[name]


def test_a_package_that_only_this_process_finds_is_checked(package):
    package()
    check_package("ward_checked")
    assert os.environ[VARIABLE] == "json,ward_checked"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"code": CODE + "import sys\nif 'pytest' not in sys.modules: raise ValueError('only here')"}, "only here"),
        ({"code": CODE.replace("search_many", "search_all")}, r"mine\.yaml: .* it lacks search_many"),
        ({"option": "retreiver/mine.yaml"}, r"retreiver is not a config group; did you mean retriever\?"),
        ({"text": ""}, r"mine\.yaml has no _target_"),
        ({"text": "- 1\n"}, r"mine\.yaml has no _target_"),
    ],
)
def test_a_fault_is_named_and_leaves_no_trace(package, written, said):
    package(**written)
    with pytest.raises(AssertionError, match=said):
        check_package("ward_checked")
    assert os.environ[VARIABLE] == "json"


def test_a_missing_package_does_not_fail_the_next_check(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="names the package 'nopkg', which is not importable"):
        check_package("nopkg")
    assert VARIABLE not in os.environ
    with pytest.raises(AssertionError, match="contains no option; expected files"):
        check_package("json")
    assert VARIABLE not in os.environ
