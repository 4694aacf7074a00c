"""Files: what is refused with its line, and writes that are whole, readable by others, or not there."""

import errno
import gzip
import json
import os
from pathlib import Path

import pytest

from cdsframe.artifacts.files import atomic_folder, expanded, read_json, read_jsonl, write_json, write_jsonl
from cdsframe.errors import InputError

NOT_JSON = {
    "cut off": '{"a": ',
    "nested": "[" * 100_000,
    "long number": f'{{"a": {"9" * 6000}}}',
    "NaN": '{"a": NaN}',
    "infinity": '{"a": [-Infinity]}',
    "overflow": '{"a": 1e999}',
    "half a pair": '{"a": "\\ud800"}',
    "half a pair in a key": '{"\\uDfff": 1}',
    "no object": "[1]",
}


@pytest.mark.parametrize("text", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_a_json_object_is_named_with_its_line(tmp_path, text):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": "\\ud83d\\ude00"}}\n\n{text}\n')
    lines = read_jsonl(path, "data")
    assert next(lines) == (1, {"a": "😀"})
    with pytest.raises(InputError, match=rf"^data: {path}, line 3: not (JSON|a JSON object)") as refused:
        next(lines)
    assert len(str(refused.value)) < len(str(path)) + 80
    path.write_text(text)
    with pytest.raises(InputError, match=rf"^manifest: {path} is not (JSON|a JSON object)"):
        read_json(path, "manifest")


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_byte_order_mark_is_passed_over(tmp_path, name):
    data = '{"a": "ö"}\n{"a": 2}\n'.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert list(read_jsonl(tmp_path / name)) == [(1, {"a": "ö"}), (2, {"a": 2})]


def test_bytes_that_are_not_text_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match="not UTF-8 text"):
        list(read_jsonl(path))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_json(path, "manifest")


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: data[:10] + b"\xff" * 60, bytes.hex]
)
def test_a_gzip_file_that_is_not_whole_is_refused(tmp_path, damage):
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress("".join(json.dumps({"n": n * 7919}) + "\n" for n in range(500)).encode(), mtime=0)
    path.write_bytes(whole)
    assert len(list(read_jsonl(path))) == 500
    broken = damage(whole)
    path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.raises(InputError, match="not a complete gzip file"):
        list(read_jsonl(path))


def test_what_is_written_is_read_back(tmp_path):
    rows = [{"b": 1, "a": "ﬁ\u2028😀"}, {"c": None}]
    write_jsonl(tmp_path / "sub/rows.jsonl", rows)
    write_json(tmp_path / "one.json", rows[0])
    assert [row for _, row in read_jsonl(tmp_path / "sub/rows.jsonl")] == rows
    assert read_json(tmp_path / "one.json", "one") == rows[0]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "one.json", {"a": float("nan")})
    assert read_json(tmp_path / "one.json", "one") == rows[0]
    assert {path.name for path in tmp_path.iterdir()} == {"sub", "one.json"}


def test_a_folder_is_whole_and_all_its_files_are_as_readable_as_new_ones(tmp_path):
    elsewhere = tmp_path / "private"
    elsewhere.touch(0o600)
    plain = tmp_path / "plain"
    plain.touch()
    with atomic_folder(tmp_path / "made") as partial:
        for name in ("weights", "sub/weights"):
            (partial / name).parent.mkdir(exist_ok=True)
            os.close(os.open(partial / name, os.O_CREAT | os.O_WRONLY, 0o600))
        (partial / "link").symlink_to(elsewhere)
    for name in ("weights", "sub/weights"):
        assert (tmp_path / "made" / name).stat().st_mode == plain.stat().st_mode
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "made") as partial:
        (partial / "no/such/folder").touch()
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"weights", "sub", "link"}
    with atomic_folder(tmp_path / "made") as partial:
        (partial / "other").touch()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["other"]
    assert {path.name for path in tmp_path.iterdir()} == {"made", "private", "plain"}


@pytest.mark.parametrize(
    "said", ["I/O error: No space left on device (os error 28)", "No space left on device (os error 28)"]
)
def test_a_disk_that_a_library_found_full_is_an_error_of_the_system(tmp_path, said):
    with pytest.raises(OSError, match="No space left") as full, atomic_folder(tmp_path / "model"):
        raise Exception(said)
    assert full.value.errno == errno.ENOSPC
    assert not [*tmp_path.iterdir()]


def test_a_home_that_there_is_not_stays_as_it_is_written():
    assert expanded("~nobody-of-that-name/base") == Path("~nobody-of-that-name/base")
    assert expanded("~") == Path.home()
