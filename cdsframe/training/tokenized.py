"""Tokenised examples as an Arrow data set of `datasets`: built by its `map`, read row by row, mapped from a file.

Does not choose where a set is stored (see `cdsframe.training.cache`), and writes nothing to the library's own cache.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cdsframe.artifacts.datasets_output import library_output
from cdsframe.chat.encoding import IGNORED, Encoded
from cdsframe.training.examples import QUESTIONS_AT_ONCE, Example, ExampleBuilder
from cdsframe.training.left_out import report_left_out
from cdsframe.types import Question

if TYPE_CHECKING:
    import datasets

_IN_A_FILE = 1024
"""Examples per record batch; this many are in memory while a file is written."""
_SHOWN_FROM = 4 * QUESTIONS_AT_ONCE
"""Minimum number of questions for a progress bar on a terminal."""


class TokenizedExamples(Sequence[Example]):
    """Examples in the rows of a data set; a row becomes an `Example` when it is read.

    Columns: `id`; `input_ids`; `labelled`, true where the loss counts a token; `closing`, the number of tokens that end
    the turn; `length`, the number of tokens.
    """

    def __init__(self, rows: datasets.Dataset, left_out: Mapping[str, int]) -> None:
        self._rows, self.left_out = rows, left_out

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> Example: ...

    @overload
    def __getitem__(self, number: slice) -> list[Example]: ...

    def __getitem__(self, number: int | slice) -> Example | list[Example]:
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        return _as_example(self._rows[number])

    def __iter__(self) -> Iterator[Example]:
        return map(_as_example, self._rows)

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each example; reads one column."""
        found: list[int] = self._rows.select_columns("length")[:]["length"]
        return found


def lengths(examples: Sequence[Example]) -> list[int]:
    """Returns the number of tokens of each example; of a data set, reads only the column of lengths."""
    return examples.lengths if isinstance(examples, TokenizedExamples) else list(map(len, examples))


def tokenize(builder: ExampleBuilder, questions: Sequence[Question], file: Path | None, key: str) -> TokenizedExamples:
    """Builds the questions' examples as a data set, with few of them in memory while a file is written.

    Runs in this process: the tokenizer uses all cores, and its Python part takes half the time. On two cores, two
    forked processes took 1.6 times the CPU time of one for 12,000 questions, two new interpreters 6.7 times.

    Args:
        file: the Arrow file to write; None: the data set stays in memory.
        key: fingerprint of the data set: a digest of all that the examples depend on.

    Raises InputError if no question gives an example.
    """
    import datasets

    prepared = builder.prepare(questions)

    def some(rows: Mapping[str, list[int]]) -> dict[str, list[Any]]:
        numbers = rows["number"]
        return _as_columns(prepared.examples(numbers[0], numbers[-1] + 1))

    numbers = datasets.Dataset.from_dict({"number": list(range(len(prepared)))})
    where: dict[str, Any] = {"keep_in_memory": True} if file is None else {"cache_file_name": str(file)}
    with library_output(progress=sys.stderr.isatty() and len(prepared) >= _SHOWN_FROM):
        rows = numbers.map(
            some, batched=True, batch_size=QUESTIONS_AT_ONCE, remove_columns="number", features=_features(),
            new_fingerprint=key, load_from_cache_file=False, writer_batch_size=_IN_A_FILE, desc="examples", **where,
        )  # fmt: skip
    if not (len(prepared) and len(rows)):
        report_left_out(prepared.left_out, len(questions), 0)
    return TokenizedExamples(rows, prepared.left_out)


def opened(file: Path, left_out: Mapping[str, int]) -> TokenizedExamples:
    """Opens the examples in a file. The file is mapped into memory as long as they are used."""
    import datasets

    return TokenizedExamples(datasets.Dataset.from_file(str(file)), left_out)


def _features() -> datasets.Features:
    import datasets
    import pyarrow

    kinds = pyarrow.string(), pyarrow.list_(pyarrow.int32()), pyarrow.list_(pyarrow.bool_())
    columns = dict(zip(("id", "input_ids", "labelled"), kinds, strict=True))
    schema = pyarrow.schema({**columns, "closing": pyarrow.int32(), "length": pyarrow.int32()})
    return datasets.Features.from_arrow_schema(schema)


def _as_columns(examples: Sequence[Example]) -> dict[str, list[Any]]:
    return {
        "id": [example.id for example in examples],
        "input_ids": [example.encoded.input_ids for example in examples],
        "labelled": [[label != IGNORED for label in example.encoded.labels] for example in examples],
        "closing": [example.encoded.closing for example in examples],
        "length": [len(example) for example in examples],
    }


def _as_example(row: Mapping[str, Any]) -> Example:
    tokens = row["input_ids"]
    labels = [token if own else IGNORED for token, own in zip(tokens, row["labelled"], strict=True)]
    return Example(row["id"], Encoded(tokens, labels, row["closing"]))
