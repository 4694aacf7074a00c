"""How often a sentence of a document that was altered is still called *supported*, and how often a true paraphrase is.

    python -m benchmarks.altered_statements            # the synthetic hospital: a minute of one core

Each sentence of each passage is an answer that cites its passage, as it stands and altered by code: a negation removed
or inserted, a bound or a frequency changed, another number of the same passage, a number times ten, another unit, a
direction (before, left, by mouth) turned around. The alterations are regular expressions of this file; it imports
nothing from the rules that it tests. Paraphrases are the hospital's short answers, which cite the passage that holds
their evidence, and sentences rewritten by code (abbreviated frequencies, bounds in other words, another order).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cdsframe.citations import check
from cdsframe.confidence import word
from cdsframe.corpus.hospital import hospital as hospital_corpus
from cdsframe.data.jsonl import hospital as hospital_questions
from cdsframe.types import Document, Passage

Alter = Callable[[str, str, random.Random], list[str]]
"""From a sentence, its passage's text and dice: the altered sentences."""

_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_FIGURE = re.compile(r"(?<![\w.,:/-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w:/-]|[.,]\d)")


@dataclass(frozen=True)
class Tally:
    """Of a class of statements: how many there were, and how many were called supported, partly so, or unsupported."""

    name: str
    words: tuple[str, ...]
    statements: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        return self.words.count("supported") / len(self.words) if self.words else 0.0


def _swap(sentence: str, pairs: list[tuple[str, str]]) -> list[str]:
    """The sentence with each pattern replaced where it stands first, one replacement at a time."""
    found = []
    for pattern, instead in pairs:
        changed = re.sub(rf"\b{pattern}\b", instead, sentence, count=1, flags=re.I)
        if changed != sentence:
            found.append(changed[:1].upper() + changed[1:])
    return found


def negation_removed(sentence: str, passage: str, dice: random.Random) -> list[str]:
    return _swap(
        sentence,
        [
            (r"(do|does|did) not (\w+)", r"\2"),
            (r"(is|are|was|were|must|should|may|can|will|has|have|need) (not|never) ", r"\1 "),
            (r"cannot", "can"),
            (r"never (\w+)", r"\1"),
            (r"without", "with"),
            (r"(?<!at )no (?!more|less|longer|later|fewer)(\w+)", r"\1"),
            (r"no longer ", ""),
            (r"not (for|with|to|by|in|a|the|on)", r"\1"),
            (r"nobody", "everybody"),
            (r"nothing", "everything"),
            (r"neither (.{3,40}?) nor", r"both \1 and"),
            (r"unless", "if"),
            (r"avoid", "give"),
            (r"(omit|withhold|stop)", "give"),
            (r"rather than", "and"),
            (r"instead of", "and"),
            (r"except", "and"),
        ],
    )


def negation_inserted(sentence: str, passage: str, dice: random.Random) -> list[str]:
    verb = r"(is|are|was|were|must|should|may|can|will|has|have)"
    plain = rf"{verb} (?!not\b|never\b|no\b)"
    ways = [r"\1 not ", r"\1 never ", r"\1 no longer ", r"\1 hardly ever ", r"\1 by no means "]
    found = [re.sub(rf"\b{plain}", way, sentence, count=1) for way in ways if re.search(rf"\b{plain}", sentence)]
    short = re.sub(r"\b(is|are|was|were|must|should|has|have) (?!not\b|never\b|no\b)", r"\1n't ", sentence, count=1)
    found += [short] if short != sentence else []
    opened = re.match(
        r"(Give|Start|Take|Check|Send|Ring|Call|Keep|Use|Stop|Repeat|Offer|Add|Begin|Put|Fill|Record)\b", sentence
    )
    if opened:
        rest = sentence[0].lower() + sentence[1:]
        found += [f"Do not {rest}", f"Never {rest}", f"Don't {rest}", f"Avoid this: {rest}"]
    found += _swap(sentence, [(r"with (?=[a-z])", "without ")])
    return [one for one in found if one != sentence]


def bound_changed(sentence: str, passage: str, dice: random.Random) -> list[str]:
    figure = r"(?=\d|one|two|three|four|five|six|seven|eight)"
    return _swap(
        sentence,
        [
            (rf"(above|over|more than|longer than|at least|beyond) {figure}", "below "),
            (rf"(below|under|less than|at most|up to|no more than) {figure}", "more than "),
            (rf"within {figure}", "not before "),
            (rf"within {figure}", "after "),
            (r"or more", "or less"),
            (r"or less", "or more"),
            (r"must not exceed", "must exceed"),
            (r"never exceeds?", "always exceeds"),
            (rf"at least {figure}", "at most "),
            (rf"at least {figure}", ""),
            (rf"(above|over|below|under) {figure}", ""),
            (rf"up to {figure}", "at least "),
            (r"no more than", "no less than"),
            (rf"after {figure}", "before "),
            (r"(of|for|give|is|dose|to) (\d[\d.]*) (?=mg|mL|mmol|hours|days|minutes)", r"\1 less than \2 "),
        ],
    )


def frequency_changed(sentence: str, passage: str, dice: random.Random) -> list[str]:
    return _swap(
        sentence,
        [
            (r"once (daily|a day)", "twice daily"),
            (r"once (daily|a day)", "once weekly"),
            (r"twice (daily|a day)", "three times daily"),
            (r"twice (daily|a day)", "od"),
            (r"three times (daily|a day)", "once daily"),
            (r"(?<!once )(?<!twice )(?<!times )daily", "weekly"),
            (r"every (\d+|two|three|four|five|six|eight) (hours|days|minutes|weeks)", "every 11 \\2"),
            (r"every (\d+|two|three|four|five|six|eight) hours", "hourly"),
            (r"every (\d+|two|three|four|five|six|eight) hours", "every \\1 days"),
            (r"every (day|week|month|year)", "every other \\1"),
            (r"hourly", "daily"),
            (r"weekly", "monthly"),
            (r"monthly", "weekly"),
        ],
    )


def another_number(sentence: str, passage: str, dice: random.Random) -> list[str]:
    others = [figure[0] for figure in _FIGURE.finditer(passage)]
    found = []
    for figure in _FIGURE.finditer(sentence):
        choice = sorted({other for other in others if other != figure[0]})
        if choice:
            found.append(sentence[: figure.start()] + dice.choice(choice) + sentence[figure.end() :])
    return found


def times_ten(sentence: str, passage: str, dice: random.Random) -> list[str]:
    found = []
    for figure in _FIGURE.finditer(sentence):
        value = float(figure[0].replace(",", "")) * 10
        found.append(f"{sentence[: figure.start()]}{value:g}{sentence[figure.end() :]}")
    return found


def unit_changed(sentence: str, passage: str, dice: random.Random) -> list[str]:
    others = {
        "mg": "g", "g": "mg", "mcg": "mg", "micrograms": "mg", "mL": "L", "mmol": "mol", "hours": "days", "hour": "day",
        "days": "hours", "minutes": "hours", "weeks": "days", "months": "weeks", "units": "mg", "mmHg": "kPa",
        "kg": "g", "mmol/L": "mg/L", "mg/kg": "mg", "puffs": "tablets", "tablets": "puffs", "per cent": "mg",
        "years": "months",
    }  # fmt: skip
    found = []
    for unit, other in others.items():
        changed = re.sub(rf"(\d ?){re.escape(unit)}(?![\w/])", rf"\g<1>{other}", sentence, count=1)
        if changed != sentence:
            found.append(changed)
    return found


def direction_changed(sentence: str, passage: str, dice: random.Random) -> list[str]:
    pairs = [
        ("before", "after"), ("left", "right"), ("increased?", "reduce"), ("raised?", "lower"),
        ("by mouth", "into a vein"), ("oral", "intravenous"), ("intravenous", "oral"), ("higher", "lower"),
        ("first", "last"), ("start", "stop"),
    ]  # fmt: skip
    return _swap(sentence, [*pairs, ("after", "before"), ("right", "left"), ("lower", "higher"), ("stop", "start")])


ALTERED: dict[str, Alter] = {
    "negation removed": negation_removed,
    "negation inserted": negation_inserted,
    "bound changed": bound_changed,
    "frequency changed": frequency_changed,
    "another number of the passage": another_number,
    "number times ten": times_ten,
    "unit changed": unit_changed,
    "direction changed": direction_changed,
}


def paraphrased(sentence: str) -> list[str]:
    """True sentences in other words: frequencies and bounds spelled differently, contractions, another order."""
    found = _swap(
        sentence,
        [
            (r"twice (daily|a day)", "two times a day"),
            (r"once (daily|a day)", "every 24 hours"),
            (r"three times (daily|a day)", "every 8 hours"),
            (r"three times (daily|a day)", "tds"),
            (r"every (four|4) hours", "six times a day"),
            (r"at least (?=\d)", "no less than "),
            (r"(above|more than) (?=\d)", "over "),
            (r"(below|under) (?=\d)", "less than "),
            (r"cannot", "can't"),
            (r"(is|are|do|does|must|should) not", r"\1n't"),
            (r"per cent", "%"),
            (r"by mouth", "orally"),
        ],
    )
    head, comma, tail = sentence.rstrip(".").partition(", ")
    if comma and re.match(r"(In|If|When|For|After|Before|With)\b", head):
        found.append(f"{tail[:1].upper()}{tail[1:]}, {head[:1].lower()}{head[1:]}.")
    return found


def sentences(passage: Passage) -> list[str]:
    """Sentences of a passage with at least four words."""
    whole = " ".join(line for line in passage.text.splitlines() if not line.startswith("#"))
    return [sentence for sentence in _ENDS.split(whole) if len(sentence.split()) >= 4]


def sections() -> Iterator[Passage]:
    """The sections of the hospital's documents as passages."""
    for document in hospital_corpus("hospital").documents():
        if not isinstance(document, Document):
            continue
        for number, section in enumerate(document.sections):
            text = document.text[section.start : section.end]
            yield Passage(
                f"{document.id}:{number}", document.id, document.id, "passage", text, document.title, section.heading,
                number, section.start, section.end, "",
            )  # fmt: skip


def wrapped(passage: Passage, width: int) -> Passage:
    """The passage with lines of at most `width` characters."""
    lines = (textwrap.wrap(line, width) or [""] for line in passage.text.split("\n"))
    text = "\n".join("\n".join(parts) for parts in lines)
    return replace(passage, text=text, end=passage.start + len(text))


def called(statement: str, passage: Passage) -> str:
    """The word for an answer that is this statement and cites this passage."""
    return word(check(f"{statement.rstrip('. ')} [1].", [passage])).word


def measure(passages: list[Passage], seed: int = 1, width: int | None = None) -> list[Tally]:
    """The words of every sentence, verbatim, altered in each way and paraphrased.

    Args:
        width: of the lines into which the cited passages are wrapped; None: as they are.
    """
    dice = random.Random(seed)
    said: dict[str, list[tuple[str, Passage]]] = {name: [] for name in ("verbatim", *ALTERED, "paraphrased by code")}
    for passage in passages:
        cited = wrapped(passage, width) if width else passage
        for sentence in sentences(passage):
            said["verbatim"].append((sentence, cited))
            for name, alter in ALTERED.items():
                said[name] += [(one, cited) for one in alter(sentence, passage.text, dice)]
            said["paraphrased by code"] += [(one, cited) for one in paraphrased(sentence)]
    return [_tally(name, pairs) for name, pairs in said.items()]


def short_answers(passages: list[Passage]) -> Tally:
    """The hospital's right answers and their aliases, citing the passage that holds their first evidence."""
    found = []
    for split in ("train", "validation", "test"):
        for question in hospital_questions(hospital_corpus("hospital")).questions(split):
            holds = [passage for passage in passages if question.evidence and question.evidence[0].overlaps(passage)]
            found += [(text, holds[0]) for text in (question.answer, *question.aliases) if holds]
    return _tally("right short answers", found)


def _tally(name: str, said: list[tuple[str, Passage]]) -> Tally:
    return Tally(name, tuple(called(*pair) for pair in said), tuple(statement for statement, _ in said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=int, default=0, help="wrongly judged statements to print of each class")
    parser.add_argument("--wrap", type=int, help="the longest line of the passages, as files have it that are wrapped")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    asked = parser.parse_args()
    passages = list(sections())
    tallies = [*measure(passages, width=asked.wrap), short_answers(passages)]
    if asked.json:
        print(json.dumps({tally.name: {"n": len(tally.words), "supported": tally.share} for tally in tallies}))
        return
    print(f"{'class':32} {'n':>6} {'supported':>10} {'partly':>8} {'unsupported':>12}")
    for tally in tallies:
        rest = [tally.words.count(name) / max(len(tally.words), 1) for name in ("partly supported", "unsupported")]
        print(f"{tally.name:32} {len(tally.words):6d} {tally.share:10.3f} {rest[0]:8.3f} {rest[1]:12.3f}")
        right = tally.name not in ALTERED
        misjudged = [
            said for said, name in zip(tally.statements, tally.words, strict=True) if (name == "supported") != right
        ]
        for statement in misjudged[: asked.show]:
            print("   ", statement)


if __name__ == "__main__":
    main()
