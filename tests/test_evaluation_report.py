"""The reports: outcomes and figures by hand, and pages that data cannot break."""

import base64
import hashlib
import html
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from selectolax.lexbor import LexborHTMLParser

from cdsframe.evaluation.compare import compare
from cdsframe.evaluation.finished_run import FinishedRun
from cdsframe.evaluation.report import write_comparison_report, write_report
from cdsframe.evaluation.report.blocks import ReportPage, ReportPlot, ReportTable, ReportText
from cdsframe.evaluation.report.cases import worst
from cdsframe.evaluation.report.comparison import comparison_page
from cdsframe.evaluation.report.details import by_k, reliability_bins
from cdsframe.evaluation.report.errors import terciles
from cdsframe.evaluation.report.marks import PlotScale
from cdsframe.evaluation.report.outcomes import (
    ANSWERED,
    MISS,
    NOT_SHOWN,
    READING,
    RIGHT,
    WRONG,
    WRONG_REFUSAL,
    gold_rank,
    outcomes,
)  # fmt: skip
from cdsframe.evaluation.report.run import run_page
from cdsframe.types import JsonObject

NASTY = (
    "</script><img src=x onerror=1> | `a` **b** [c](http://example.org) www.example.org <!-- & $x$ ~~d~~ \\| </title>"
)


def row(name: str, gold: int | None = 1, f1: float = 0.0, **changes: object) -> JsonObject:
    """A row with passages p1 … p10, of which two are hits and one is shown; `gold`: the rank of the evidence."""
    ranking = [f"p{rank}" for rank in range(1, 11)]
    hits = [
        {"id": p, "document_id": "d", "title": "Dose", "heading": ["Adults"], "start": 0, "end": 9,
         "text": f"Text of {p}", "score": 1 / rank, "rank": rank}
        for rank, p in enumerate(ranking[:2], start=1)
    ]  # fmt: skip
    found: JsonObject = {
        "id": name, "type": "fact", "topic": "", "department": "", "group": name, "answerable": True,
        "question": f"What is {name}?", "gold": "15 mg", "aliases": [], "text": "150 mg [1]", "refused": 0.0, "f1": f1,
        "em": float(f1 == 1), "rouge_l": f1, "wrong_dose": 0.0, "cited": [], "hits": hits, "shown": 1,
        "ranking": ranking, "removed": 0, "confidence": {"word": "supported", "probability": None}, "features": {},
        "seconds": {"retrieve": 0.1, "generate": 2.0}, "tokens": {"prompt": 300, "completion": 9},
    }  # fmt: skip
    if gold is not None:
        found["relevant"] = {f"p{gold}": 1, "other": 0}
    return {**found, **changes}


ROWS = [
    row("right", f1=0.5),
    row("dose", f1=0.8, wrong_dose=1.0),  # the prompt showed the evidence
    row("miss", gold=3),
    row("refused-miss", gold=12, refused=1.0, type="history"),
    row("hidden", gold=2, department="Cardiology"),
    row("refused-hidden", gold=2, refused=1.0, department="Cardiology"),
    row("refused", refused=1.0),
    row("misread", f1=0.49),
    row("unknown", gold=None),
    row("invented", gold=None, answerable=False, type="unanswerable"),
    row("rightly-refused", gold=None, answerable=False, refused=1.0, f1=1.0, type="unanswerable"),
]
KINDS = [RIGHT, READING, MISS, MISS, NOT_SHOWN, NOT_SHOWN, WRONG_REFUSAL, READING, WRONG, ANSWERED, RIGHT]
METRICS = {"qa/f1": 0.25, "qa/f1/ci_low": 0.1, "qa/f1/ci_high": 0.5, "qa/questions": 11.0, "qa/fact/f1": 0.3}
FACTS: JsonObject = {
    "name": "demo", "command": "python evaluate.py index.name=demo", "commit": "abc",
    "choices": {"retriever": "hybrid", "model": "tiny"}, "digests": {"adapter": None, "data": "123"},
    "adapter": "outputs/adapters/demo", "seed": 1,
}  # fmt: skip


def table(page: ReportPage, caption: str) -> dict[str, list[str]]:
    """Heading of a row -> its other cells."""
    (found,) = (
        block
        for section in page.sections
        for block in section.blocks
        if isinstance(block, ReportTable) and block.caption == caption
    )
    return {line[0]: list(line[1:]) for line in found.rows}


def words(page: ReportPage, anchor: str) -> str:
    (section,) = (section for section in page.sections if section.anchor == anchor)
    return " ".join(f"{block.strong} {block.text}" for block in section.blocks if isinstance(block, ReportText))


def written(folder: Path, rows: list[JsonObject] | None = None, facts: JsonObject | None = None) -> tuple[str, str]:
    folder.mkdir(exist_ok=True)
    write_report(folder, ROWS if rows is None else rows, METRICS, FACTS if facts is None else facts)
    return (folder / "report.html").read_text(encoding="utf-8"), (folder / "report.md").read_text(encoding="utf-8")


def test_outcomes_by_hand() -> None:
    assert outcomes(ROWS) == KINDS


def test_the_first_stage_that_failed_counts() -> None:
    deep = row("deep", gold=3, refused=1.0)
    assert outcomes([deep], top_k=2) == [MISS]
    assert outcomes([deep], top_k=3) == [NOT_SHOWN]  # retrieved, but dropped before the prompt
    # The order of the prompt counts, not the ranking: the shown hit is the second one.
    assert outcomes([row("turned", gold=2, hits=ROWS[0]["hits"][::-1])]) == [READING]
    assert outcomes([row("graded", gold=None, relevant={"p1": 0, "p2": -1})]) == [WRONG]


def test_without_retrieval_nothing_is_missed() -> None:
    closed = {"hits": [], "ranking": [], "shown": 0}
    assert outcomes([row("a", **closed), row("b", refused=1.0, **closed), row("c", gold=None, **closed)]) == [
        WRONG, WRONG_REFUSAL, WRONG,
    ]  # fmt: skip
    assert outcomes([row("a", **closed), row("b")]) == [MISS, READING]  # a retriever that found nothing


def test_the_rank_of_the_first_evidence() -> None:
    assert [gold_rank(one) for one in ROWS[:5]] == [1, 1, 3, None, 2]
    old = {key: value for key, value in row("old", gold=2).items() if key != "ranking"}
    assert gold_rank(old) == 2


def test_shares_by_level_by_hand() -> None:
    page = run_page(ROWS, METRICS, FACTS)
    every = table(page, "Outcomes, all answerable questions")["all"]
    assert [cell.split()[0] for cell in every] == ["9", ".11", ".22", ".22", ".11", ".22", ".11"]
    kinds = table(page, "Outcomes by question type")
    assert [cell.split()[0] for cell in kinds["history"]] == ["1", ".00", "1.00", ".00", ".00", ".00", ".00"]
    assert table(page, "Outcomes by department")["Cardiology"][3].startswith("1.00 [")  # not shown
    ranks = table(page, "Outcomes by rank of the first passage with evidence")
    assert {level: cells[0] for level, cells in ranks.items()} == {
        "1": "4", "2 to 3": "3", "beyond 10, or not found": "1", "no evidence known": "1",
    }  # fmt: skip
    assert ranks["2 to 3"][2].startswith(".33 [")
    assert table(page, "Questions that the documents do not answer")["all"][:2] == ["2", ".50 [.01, .99]"]


def test_intervals_count_groups() -> None:
    many = [row(str(number), f1=float(number % 2)) for number in range(40)]
    alone = table(run_page(many, {}, {}), "Outcomes, all answerable questions")["all"][1]
    few = [dict(one, group=str(number // 10)) for number, one in enumerate(many)]
    together = table(run_page(few, {}, {}), "Outcomes, all answerable questions")["all"][1]
    assert alone == ".50 [.34, .66]"  # Clopper and Pearson, 20 of 40
    assert together == ".50 [.07, .93]"  # 2 of 4


@pytest.mark.parametrize("values", [[3], [3, 3], [1, 2], [5, 1, 1, 1], [4, 9, 2, 7, 7, 7, 30], list(range(100))])
def test_terciles_divide_and_keep_equal_lengths_together(values: list[int]) -> None:
    levels = terciles(values, "words")
    assert sorted(place for places in levels.values() for place in places) == list(range(len(values)))
    assert len(levels) <= 3
    owners = {
        value: {name for name, places in levels.items() for p in places if values[p] == value} for value in values
    }
    assert all(len(names) == 1 for names in owners.values())


def test_terciles_by_hand() -> None:
    assert terciles([4, 9, 2, 7, 1, 30], "words") == {
        "1 to 2 words": [2, 4],
        "3 to 7 words": [0, 3],
        "8 to 30 words": [1, 5],
    }


def test_retrieval_by_k_by_hand() -> None:
    recall, ndcg = by_k([row("a", gold=1), row("b", gold=3)])
    assert [one.value for one in recall] == [0.5, 0.5, *[1.0] * 8]
    assert [one.value for one in ndcg] == pytest.approx([0.5, 0.5, *[(1 + 1 / math.log2(4)) / 2] * 8])
    assert all(one.low < one.value < one.high or one.value == 1 for one in recall)


def test_bins_of_equal_mass_by_hand() -> None:
    stated = [
        row(f"{p}-{number}", f1=float(number < right), confidence={"word": "", "probability": p + number / 1000})
        for p, right in ((0.9, 9), (0.1, 2))
        for number in range(10)
    ]
    (low, low_mean, low_right), (high, high_mean, high_right) = reliability_bins(stated)
    assert (low, high) == (10, 10)
    assert (low_mean, high_mean) == pytest.approx((0.1045, 0.9045))
    assert (low_right.value, high_right.value) == (0.2, 0.9)
    page = run_page(stated, METRICS, FACTS)
    assert table(page, "Reliability")[".90"][1].startswith(".90 [")
    # |.1045 - .2| and |.9045 - .9|, halved
    assert "calibration error over these bins is .050" in words(page, "confidence")


def test_the_worst_come_first() -> None:
    assert [ROWS[place]["id"] for place in worst(ROWS, KINDS)] == [
        "dose", "invented", "unknown", "misread", "miss", "hidden", "refused-miss", "refused-hidden", "refused",
    ]  # fmt: skip
    many = [
        row(str(number), f1=number / 100, confidence={"word": "", "probability": 0.9 if number == 30 else 0.5})
        for number in range(40)
    ]
    assert worst(many, outcomes(many)) == [30, *range(19)]


def test_the_summary_names_the_most_frequent_error() -> None:
    text = words(run_page([*ROWS, row("again", gold=4)], METRICS, FACTS), "summary")
    assert "12 questions: 10 that the documents answer and 2 that they do not" in text
    assert "Retrieval miss is the most frequent error, 3 of 10 answerable questions." in text
    assert "50 % [1, 99] of 2 questions that the documents do not answer are answered" in text
    few = [dict(one, group="g") for one in ROWS]
    assert "fewer than 6 groups" in words(run_page(few, METRICS, FACTS), "summary")


@pytest.mark.parametrize("field", ["question", "text", "gold", "type", "department", "id", "passage"])
def test_no_text_breaks_the_page(field: str, tmp_path: Path) -> None:
    hit = dict(ROWS[0]["hits"][0], title=NASTY, heading=[NASTY], text=NASTY)
    changes = {"hits": [hit]} if field == "passage" else {field: NASTY}
    page, text = written(
        tmp_path, [{**row("miss", gold=5), **changes}, row("b")], {**FACTS, "name": NASTY, "command": NASTY}
    )
    tree = LexborHTMLParser(page)
    assert not tree.css("script, img")
    assert tree.css_first("title").text() == f"{NASTY}: evaluation"
    assert [link for link in tree.css("a") if not link.attributes["href"].startswith("#")] == []
    assert NASTY in tree.body.text()
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token.type for token in (*tokens, *inline) if "html" in token.type or "link" in token.type]
    assert not [token.type for token in inline if token.type in ("code_inline", "s_open", "image")]
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences == [f"{NASTY}\n"]
    assert not re.search(r"https?:|www\.", text.replace(fences[0], "")), "GitHub makes links of these"
    assert NASTY in "\n".join("".join(child.content for child in token.children or ()) for token in tokens)


def test_each_row_of_markdown_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    _, text = written(tmp_path, [row("a", type="a|b"), row("b", type="c`|`d"), row("c", type="e\\|f\ng")])
    for block in re.findall(r"(?m)(?:^\|.*\n)+", text):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    cells = {
        child.content
        for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text)
        for child in token.children or ()
    }
    assert {"a|b", "c`|`d", "e\\|f g"} <= cells


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    tree = LexborHTMLParser(page)
    assert not tree.css("link, script, iframe, object, embed, img, base, form")
    assert not re.search(r"url\(|@import|http://|https://|\son\w+=", page)
    (style,) = tree.css("style")
    expected = base64.b64encode(hashlib.sha256(style.text().encode()).digest()).decode()
    policy = tree.css_first("meta[http-equiv]").attributes["content"]
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{expected}'" in policy
    assert "style=" not in page  # which the policy would not permit


def test_the_page_is_described_for_those_who_do_not_see_it(tmp_path: Path) -> None:
    tree = LexborHTMLParser(written(tmp_path)[0])
    assert all(plot.attributes.get("aria-label") for plot in tree.css("figure > svg"))
    assert all(one.css_first("caption").text() for one in tree.css("table"))
    anchors = [link.attributes["href"].removeprefix("#") for link in tree.css("nav a")]
    assert anchors == [section.attributes["id"] for section in tree.css("main > section")]
    names = [node.attributes["id"] for node in tree.css("[id]")]
    assert len(names) == len(set(names))
    for section in run_page(ROWS, METRICS, FACTS).sections:
        plots = sum(isinstance(block, ReportPlot) for block in section.blocks)
        assert not plots or any(isinstance(block, ReportTable) for block in section.blocks), section.title


def test_plots_are_well_formed(tmp_path: Path) -> None:
    nasty = [dict(one, type=f"{NASTY}{number % 2}", department=NASTY[number:]) for number, one in enumerate(ROWS)]
    page, _ = written(tmp_path, nasty)
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) > 8
    for plot in plots:
        numbers = [
            float(value)
            for node in ElementTree.fromstring(plot).iter()
            for name, value in node.attrib.items()
            if name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height")
        ]
        assert all(map(math.isfinite, numbers))


def test_equal_inputs_give_equal_files(tmp_path: Path) -> None:
    first = written(tmp_path / "a")
    again = json.loads(json.dumps(ROWS)), {**FACTS, "choices": dict(reversed(FACTS["choices"].items()))}
    assert written(tmp_path / "b", *again) == first


def test_what_repeats_the_run_is_there(tmp_path: Path) -> None:
    page, text = written(tmp_path, facts={**FACTS, "processor": "x86"})
    for fact in ("python evaluate.py index.name=demo", "abc", "hybrid", "123", "outputs/adapters/demo", "x86"):
        assert fact in page
        assert fact in text


def test_empty_runs_have_a_report(tmp_path: Path) -> None:
    write_report(tmp_path, [], {}, {})
    page = html.unescape((tmp_path / "report.html").read_text())
    assert "The run has no questions." in page
    assert "The run has no metrics." in page
    write_report(tmp_path, [ROWS[-1]], {}, {})
    assert "No answer is wrong." in (tmp_path / "report.md").read_text()


def test_closed_book_and_rows_of_earlier_versions(tmp_path: Path) -> None:
    late = ("relevant", "ranking", "seconds", "tokens", "department", "topic", "aliases")
    old = [{key: value for key, value in one.items() if key not in late} for one in ROWS]
    old = [dict(one, hits=[{"id": hit["id"], "score": hit["score"]} for hit in one["hits"]]) for one in old]
    closed = [dict(one, hits=[], shown=0) for one in old]
    for rows in (old, closed):
        page, text = written(tmp_path, rows)
        assert "No passages were retrieved for questions with known evidence" in text
        assert "hold no seconds and no tokens" in page
        assert "retrieval miss" not in text


def test_five_thousand_questions_are_a_small_page(tmp_path: Path) -> None:
    hits = [dict(ROWS[0]["hits"][0], id=f"p{rank}", text="word " * 2000, rank=rank) for rank in range(1, 11)]
    rows = [
        row(str(number), hits=hits, shown=5, question="what " * 200, department=str(number)) for number in range(5000)
    ]
    page, text = written(tmp_path, rows)
    assert len(page) < 1_000_000
    assert len(text) < 1_000_000
    assert page.count("<article>") == text.count("\n### ") == 20
    assert "4980 others" in text


def runs(questions: int = 40) -> list[FinishedRun]:
    found = []
    for name, score in (("base", 0.2), ("tuned | hybrid", 0.9), (NASTY, 0.2)):
        rows = {str(n): row(str(n), f1=min(score + n % 3 / 100, 1.0)) for n in range(questions)}
        metrics = {"qa/f1": score, "qa/f1/ci_low": score - 0.1, "qa/f1/ci_high": score + 0.1}
        found.append(FinishedRun(Path(name), {**metrics, "qa/seconds_per_question": 10 * score}, rows, name))
    return found


def test_a_comparison_says_what_was_tested(tmp_path: Path) -> None:
    comparison = compare(runs(), margin=0.1)
    page = comparison_page(comparison)
    text = words(page, "summary")
    assert "tuned | hybrid is significantly better than base: +.700 [" in text
    assert f"{NASTY} shows no significant difference to base: +.000 [" in text
    assert "It is not worse by more than .1." in text
    assert table(page, "Primary comparisons")["tuned | hybrid"][5] == "yes"
    write_comparison_report(comparison, tmp_path)
    written_page = (tmp_path / "comparison.html").read_text()
    assert not LexborHTMLParser(written_page).css("script, img")
    (forest,) = (p for p in re.findall(r"<svg.*?</svg>", written_page) if 'class="margin"' in p)
    lines = {node.get("class"): node for node in ElementTree.fromstring(forest).iter("line")}
    assert float(lines["margin"].get("x1", "")) < float(lines["zero"].get("x1", ""))
    write_comparison_report(json.loads(json.dumps(comparison)), tmp_path / "again")
    assert (tmp_path / "again" / "comparison.html").read_text() == written_page


def test_a_lower_measure_that_is_better_turns_the_words() -> None:
    found = runs()
    for place, run in enumerate(found):
        for one in run.rows.values():
            one["wrong_dose"] = float(place == 0)
    page = comparison_page(compare(found, primary="wrong_dose", margin=0.03))
    assert "tuned | hybrid is significantly better than base: −1.000" in words(page, "summary")
    (section,) = (one for one in page.sections if one.anchor == "contrasts")
    assert "left of 0 the run is better" in section.reading


def test_a_comparison_of_few_groups_says_so() -> None:
    text = words(comparison_page(compare(runs(4), margin=0.03)), "summary")
    assert "With 4 groups of dependent questions, no difference can be significant." in text


def test_a_comparison_without_costs_and_intervals() -> None:
    bare = [FinishedRun(run.folder, {"score": 0.5}, run.rows, run.given_name) for run in runs()]
    page = comparison_page(compare(bare))
    assert "no costs" in words(page, "cost")
    assert table(page, "Runs")["base"] == [".50"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.013, 0.004), (0, 594), (0, 0.02), (-1, 1)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    ticks = PlotScale(low, high, 0, 100).ticks()
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
