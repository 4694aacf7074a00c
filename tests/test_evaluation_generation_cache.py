"""Generated texts are kept: what decides a text is in its key, a killed evaluation computes only what is missing."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from answering import language_model
from evaluation_doubles import QUESTIONS, Questions, SystemDouble, pipeline, rows_without_seconds, run_in

from cdsframe.errors import InputError
from cdsframe.evaluation.generation_cache import CachedGenerator, GenerationCache, cached
from cdsframe.evaluation.qa import evaluate
from cdsframe.generator.scripted import ScriptedGenerator
from cdsframe.generator.transformers import TransformersGenerator
from cdsframe.quantization import Nf4
from cdsframe.types import Generation, Message

CONVERSATIONS = [[Message("user", f"question {'long ' * n}{n}")] for n in range(7)]


class Counting:
    """Answers with a conversation's text and counts what it computes; `fails_at`: the batch that raises."""

    generates = uses_model = True
    name, max_new_tokens, temperature = "counting", 8, 0.0

    def __init__(self, fails_at: int | None = None) -> None:
        self.batches: list[list[str]] = []
        self.fails_at, self.loaded = fails_at, 0

    def load(self) -> None:
        self.loaded += 1

    def count(self, messages: Sequence[Message]) -> int:
        return len(messages[-1].content)

    def keys(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        return [messages[-1].content for messages in conversations]

    def generate(self, conversations: Sequence[Sequence[Message]]) -> list[Generation]:
        return [one for batch in self.generate_batches(conversations) for one in batch.values()]

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[int, Generation]]:
        for first in range(0, len(conversations), 2):
            if len(self.batches) == self.fails_at:
                raise KeyboardInterrupt
            self.batches.append([messages[-1].content for messages in conversations[first : first + 2]])
            yield {
                number: Generation(text.upper(), (-0.5,), 3, 1, "length", 0.25)
                for number, text in enumerate(self.batches[-1], start=first)
            }

    def stream(self, messages: Sequence[Message]) -> Any:
        return iter(())


def test_a_killed_evaluation_computes_only_what_is_missing(tmp_path: Path) -> None:
    wanted = [Generation(m[-1].content.upper(), (-0.5,), 3, 1, "length", 0.25) for m in CONVERSATIONS]
    with pytest.raises(KeyboardInterrupt):
        CachedGenerator(Counting(fails_at=2), GenerationCache(tmp_path)).generate(CONVERSATIONS)
    again = Counting()
    assert CachedGenerator(again, GenerationCache(tmp_path)).generate(CONVERSATIONS) == wanted
    assert sorted(map(len, again.batches)) == [1, 2], "four of seven were stored"
    assert again.loaded == 1
    last = Counting()
    found = CachedGenerator(last, GenerationCache(tmp_path)).generate(CONVERSATIONS)
    assert found == wanted
    assert [one.seconds for one in found] == [0.25] * 7, "what it cost when it was computed"
    assert (last.batches, last.loaded) == ([], 0), "no model is loaded"


def test_a_batch_is_stored_as_a_whole(tmp_path: Path) -> None:
    """So the batches after an interruption are those of an uninterrupted run, and their rounding too."""
    generator = Counting()
    batches = CachedGenerator(generator, GenerationCache(tmp_path)).generate_batches(CONVERSATIONS)
    assert next(batches) == {}, "nothing is stored"
    assert len(next(batches)) == 2
    batches.close()  # after one batch
    again = Counting()
    CachedGenerator(again, GenerationCache(tmp_path)).generate(CONVERSATIONS)
    whole = Counting()
    whole.generate(CONVERSATIONS)
    assert generator.batches + again.batches == whole.batches


def test_equal_conversations_are_computed_once(tmp_path: Path) -> None:
    generator = Counting()
    first, second = CachedGenerator(generator, GenerationCache(tmp_path)).generate([CONVERSATIONS[0]] * 2)
    assert first == second
    assert generator.batches == [["question 0"]]


def test_without_a_folder_or_without_keys_nothing_is_stored(tmp_path: Path) -> None:
    generator, scripted = Counting(), ScriptedGenerator("x")
    assert cached(generator, None) is generator
    assert cached(scripted, str(tmp_path)) is scripted
    assert isinstance(cached(generator, str(tmp_path)), CachedGenerator)
    assert not list(tmp_path.iterdir())


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    GenerationCache(tmp_path / "new").write({"k": Generation("secret", None, 1, 1)})
    assert (tmp_path / "new" / "generations.sqlite").stat().st_mode & 0o777 == 0o600
    assert GenerationCache(tmp_path / "new").read(["k", "other"]) == {"k": Generation("secret", None, 1, 1)}


def test_a_link_is_not_followed_and_an_open_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "generations.sqlite").symlink_to(tmp_path / "elsewhere" / "texts")
    with pytest.raises(InputError, match="cannot be used"):
        GenerationCache(tmp_path).write({"k": Generation("secret", None, 1, 1)})
    assert not list((tmp_path / "elsewhere").iterdir())
    store = GenerationCache(tmp_path / "open")
    store.write({"k": Generation("secret", None, 1, 1)})
    (tmp_path / "open" / "generations.sqlite").chmod(0o644)
    assert store.read(["k"])
    assert (tmp_path / "open" / "generations.sqlite").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "value",
    ['{}', '{"text": 5, "log_probabilities": null, "prompt_tokens": 1, "completion_tokens": 1, "finish_reason": "stop",'
     ' "seconds": null}', "[" * 100_000, "5"],
)  # fmt: skip
def test_values_that_are_no_texts_are_refused(value: str, tmp_path: Path) -> None:
    store = GenerationCache(tmp_path)
    store.write({"k": Generation("x", None, 1, 1)})
    with sqlite3.connect(tmp_path / "generations.sqlite") as database:
        database.execute("UPDATE generations SET value = ?", [value])
    database.close()
    with pytest.raises(InputError, match="cannot be used"):
        store.read(["k"])


@pytest.mark.parametrize("damage", ["text", "value", "table"])
def test_a_damaged_file_is_named_with_the_way_out(damage: str, tmp_path: Path) -> None:
    store, path = GenerationCache(tmp_path), tmp_path / "generations.sqlite"
    store.write({"k": Generation("x", None, 1, 1)})
    if damage == "text":
        path.write_text("not a database, but long enough to be read as one " * 20)
    else:
        with sqlite3.connect(path) as database:
            database.execute("UPDATE generations SET value = '{}'" if damage == "value" else "DROP TABLE generations")
            if damage == "table":
                database.execute("CREATE TABLE generations (other TEXT)")
        database.close()
    with pytest.raises(InputError, match=r"generations.sqlite cannot be used: .* evaluation.cache=null"):
        store.read(["k"])


def test_whatever_decides_a_text_changes_its_key(tmp_path: Path) -> None:
    """One byte of each ingredient: prompt, decoding, precision, quantization, weights and configuration."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    copytree(language_model("tiny").path, base)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 8}')
    (adapter / "adapter_model.safetensors").write_bytes(b"weights 1")

    def keys(prompt: str = "Which dose?", decoding: dict[str, Any] = {}, **changed: object) -> str:  # noqa: B006
        model = language_model.__wrapped__("tiny")  # not the one that other tests share
        vars(model).update({"path": str(base), "tokenizer": language_model("tiny").tokenizer, **changed})
        settings = {
            "max_new_tokens": 4,
            "temperature": 0.0,
            "batch_size": 2,
            "batch_tokens": 4096,
            "seed": 1,
        } | decoding
        return TransformersGenerator(model, **settings).keys([[Message("user", prompt)]])[0]

    found = {
        "plain": keys(),
        "prompt": keys("Which dose!"),
        "tokens": keys(decoding={"max_new_tokens": 5}),
        "temperature": keys(decoding={"temperature": 0.5}),
        "seed": keys(decoding={"temperature": 0.5, "seed": 2}),
        "attention": keys(_attention="eager"),
        "precision": keys(_wanted_dtype="float16"),
        "new tokens": keys(new_tokens=["velorapine"]),
        "quantization": keys(quantization=Nf4(double_quant=True, expand_on_cpu=False)),
        "double quantization": keys(quantization=Nf4(double_quant=False, expand_on_cpu=False)),
        "adapter": keys(adapter=str(adapter)),
    }
    (adapter / "adapter_config.json").write_text('{"r": 9}')
    found["adapter's settings"] = keys(adapter=str(adapter))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights 2")
    found["adapter's weights"] = keys(adapter=str(adapter))
    assert keys() == found["plain"] == keys(decoding={"seed": 2, "batch_size": 1}), "greedy decoding needs no seed"
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    found["base's settings"] = keys()
    with next(base.glob("*.safetensors")).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    found["base's weights"] = keys()
    assert len(set(found.values())) == len(found), found


def test_an_evaluation_repeated_is_read_and_keeps_its_costs(tmp_path: Path) -> None:
    asked, index = pipeline("x")
    results = []
    for number in range(2):
        generator = Counting()
        generator.uses_model = False  # the system has none
        system = SystemDouble(asked.with_generator(generator), index=index, data=Questions(QUESTIONS))
        results.append(
            evaluate(system, run_in(tmp_path / str(number)), 1, "test", None, str(tmp_path / "cache")).metrics
        )
        assert bool(generator.batches) is (number == 0)
        manifest = json.loads((tmp_path / str(number) / "manifest.json").read_text())
        assert manifest["read_from_cache"] == (len(QUESTIONS) if number else 0)
    first, second = ({k: v for k, v in metrics.items() if "seconds" not in k} for metrics in results)
    assert first == second
    assert results[1]["qa/seconds_per_question"] >= 0.25
    assert rows_without_seconds(tmp_path / "0") == rows_without_seconds(tmp_path / "1")


class Noting(Counting):
    """Notes each batch in a file before it computes it; after a given number of batches it waits to be killed."""

    uses_model = False

    def __init__(self, notes: Path, waits_at: int | None = None) -> None:
        super().__init__()
        self._notes, self._waits_at = notes, waits_at

    def generate_batches(self, conversations: Sequence[Sequence[Message]]) -> Iterator[dict[int, Generation]]:
        for first in range(0, len(conversations), 2):
            with self._notes.open("a") as notes:
                notes.write("batch\n")
            if first // 2 == self._waits_at:
                time.sleep(60)
            for batch in super().generate_batches(conversations[first : first + 2]):
                yield {first + number: one for number, one in batch.items()}


def test_an_evaluation_killed_twice_loses_one_batch_at_most_each_time(tmp_path: Path) -> None:
    asked, index = pipeline("x")
    notes = tmp_path / "notes"

    def evaluated(run: str, waits_at: int | None) -> dict[str, float]:
        system = SystemDouble(asked.with_generator(Noting(notes, waits_at)), index=index, data=Questions(QUESTIONS))
        return evaluate(system, run_in(tmp_path / run), 1, "test", None, str(tmp_path / "cache")).metrics

    for attempt in range(2):  # of six questions in three batches, each computes one more and is killed in the next
        if (child := os.fork()) == 0:
            evaluated(f"killed-{attempt}", 1)
            os._exit(0)
        before = 2 * attempt
        while not notes.exists() or len(notes.read_text().splitlines()) < before + 2:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert not (tmp_path / f"killed-{attempt}" / "metrics.json").exists()
        rows = (tmp_path / f"killed-{attempt}" / "predictions.jsonl").read_text().splitlines()
        assert len([json.loads(row) for row in rows]) == 2 * (attempt + 1)
    metrics = evaluated("last", None)
    assert len(notes.read_text().splitlines()) == 3 + 2, "three batches, and one lost by each kill"
    whole = evaluate(
        SystemDouble(asked.with_generator(Noting(tmp_path / "other")), index=index, data=Questions(QUESTIONS)),
        run_in(tmp_path / "whole"), 1, "test", None, None,
    ).metrics  # fmt: skip
    assert {k: v for k, v in metrics.items() if "seconds" not in k} == {
        k: v for k, v in whole.items() if "seconds" not in k
    }
    assert rows_without_seconds(tmp_path / "last") == rows_without_seconds(tmp_path / "whole")


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    GenerationCache(tmp_path).write({"a": Generation("1", None, 1, 1)})
    if (child := os.fork()) == 0:
        GenerationCache(tmp_path).write({"b": Generation("2", None, 1, 1)})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert set(GenerationCache(tmp_path).read(["a", "b"])) == {"a", "b"}
