"""Draws docstrings, comments and messages at random, so that a reader can be asked what each means.

    python benchmarks/prose_sample.py [--seed 1] [--count 40] [--exclude training,serving]

The draw is uniform over the texts of the package and of the YAML files that have at least five words: docstrings,
comments, messages of errors and log lines. A reader who has never seen the repository explains each in one sentence. A
text that is explained wrongly, or read twice, is rewritten; then another seed is drawn.
"""

from __future__ import annotations

import argparse
import ast
import io
import random
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FEWEST = 5
_MESSAGES = ("Error", "Refused", "warning", "info", "error", "append")
"""Endings of the names of calls whose texts users read."""


@dataclass(frozen=True)
class Text:
    place: str
    kind: str
    text: str
    code: str
    """The line that the text is about: what a reader would see beside it."""


def texts(excluded: tuple[str, ...]) -> list[Text]:
    """All texts of the package and the configuration files, in a fixed order."""
    found: list[Text] = []
    for path in sorted([*(ROOT / "cdsframe").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml")]):
        name = str(path.relative_to(ROOT))
        if not any(f"/{part}" in f"/{name}" for part in excluded):
            found += _of_yaml(path, name) if path.suffix == ".yaml" else _of_python(path, name)
    return [one for one in found if len(one.text.split()) >= _FEWEST]


def _of_yaml(path: Path, name: str) -> Iterator[Text]:
    """The comment behind a value with the comment lines below that continue it; blocks of comment lines elsewhere."""
    first, beside, block = 0, "", list[str]()
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], start=1):
        code, mark, comment = line.partition("# ")
        if block and (code.strip() or not mark):
            yield Text(f"{name}:{first}", "YAML comment", "\n".join(block), beside)
            block = []
        if mark:
            if not block:
                first, beside = number, code.strip()
            block.append(comment.strip())


def _of_python(path: Path, name: str) -> Iterator[Text]:
    source = path.read_text(encoding="utf-8")
    lines, tree = source.splitlines(), ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (doc := ast.get_docstring(node)):
            line = getattr(node, "lineno", 1)
            yield Text(f"{name}:{line}", "docstring", doc, "" if line == 1 else lines[line - 1].strip())
        if isinstance(node, ast.Call) and _called(node).endswith(_MESSAGES):
            for argument in node.args[:1]:
                if said := _said(argument):
                    yield Text(f"{name}:{node.lineno}", "message", said, _called(node))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        comment = token.string.lstrip("# ")
        if token.type == tokenize.COMMENT and not re.match(r"noqa|type: ignore|fmt:", comment):
            yield Text(f"{name}:{token.start[0]}", "comment", comment, token.line.split("#")[0].strip())


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _said(node: ast.expr) -> str:
    """The text of a string or an f-string, with `{…}` for values."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{…}" for part in node.values)
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--exclude", default="", help="parts of paths, separated by commas")
    options = parser.parse_args()
    everything = texts(tuple(filter(None, options.exclude.split(","))))
    drawn = random.Random(options.seed).sample(everything, options.count)
    print(f"{options.count} of {len(everything)} texts, seed {options.seed}\n")
    for number, one in enumerate(sorted(drawn, key=lambda text: text.place), start=1):
        code = f"\n    beside: {one.code}" if one.code else ""
        print(f"{number}. {one.place} ({one.kind}){code}\n    " + one.text.replace("\n", "\n    ") + "\n")


if __name__ == "__main__":
    main()
