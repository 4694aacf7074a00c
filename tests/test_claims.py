"""Which statements agree with a sentence: polarity, bounds, frequencies, amounts and their subjects."""

from __future__ import annotations

import pytest
from answering import passage
from growth import growth

from cdsframe.citations import check, support
from cdsframe.citations.clauses import clauses, fragment
from cdsframe.citations.spelling import spelled_out
from cdsframe.confidence import word
from cdsframe.text.tokens import strip_markers
from cdsframe.types import Passage

ECG = "The check ECG is now taken 6 hours after the first dose."
DOSE = "Give 15 mg of velorapine by mouth twice daily before meals for the left leg."
NOT = "Do not give velorapine when the systolic pressure is below 100 mmHg, or when heart failure has decompensated."
AGES = "Adults get 5 mg. Children get 2 mg. Infants need no dose."
PACKAGE = "Metformin is contraindicated in renal failure. He denies chest pain. No fever. Avoid alcohol."


def called(statement: str, text: str, title: str = "") -> str:
    source = Passage("p", "d", "s", "passage", text, title, (), 0, 0, len(text), "")
    return word(check(f"{statement} [1].", [source])).word


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        (ECG, "The check ECG is not taken after velorapine"),
        (ECG, "The check ECG isn't taken 6 hours after the first dose"),
        (ECG, "The check ECG is no longer taken 6 hours after the first dose"),
        (ECG, "The check ECG must never be taken 6 hours after the first dose"),
        (ECG, "The check ECG fails to be taken 6 hours after the first dose"),
        (ECG, "The check ECG is hardly taken 6 hours after the first dose"),
        (ECG, "Neither the check ECG nor the first dose is taken"),
        (ECG, "In the absence of the check ECG, 6 hours after the first dose"),
        (ECG, "The check ECG is now taken 6 hours before the first dose"),
        (ECG, "The check ECG is now taken within 6 hours after the first dose"),
        (ECG, "The check ECG is now taken ≥ 6 hours after the first dose"),
        (ECG, "The check ECG is now taken 6 hours after the second dose"),
        (DOSE, "Give 15 mg of velorapine intravenously twice daily before meals"),
        (DOSE, "Give 15 mg of velorapine by mouth twice daily after meals"),
        (DOSE, "Give 15 mg of velorapine by mouth twice weekly before meals"),
        (DOSE, "Give 15 mg of velorapine by mouth tds before meals"),
        (DOSE, "Give 15 mg of velorapine by mouth q6h before meals"),
        (DOSE, "Give 15 mg of velorapine by mouth twice daily before meals for the right leg"),
        (DOSE, "Give 15 micrograms of velorapine by mouth twice daily"),
        (DOSE, "Give 15 mg/kg of velorapine by mouth twice daily"),
        (DOSE, "Give at most 15 mg of velorapine by mouth twice daily"),
        (DOSE, "15 mg every 8 hours"),
        (DOSE, "15 mg every other day"),
        (NOT, "Give velorapine when the systolic pressure is below 100 mmHg"),
        (NOT, "Do not give velorapine when the systolic pressure is above 100 mmHg"),
        (NOT, "Do not give velorapine unless the systolic pressure is below 100 mmHg"),
        (NOT, "Do not withhold velorapine when the systolic pressure is below 100 mmHg"),
        (AGES, "Children get 5 mg"),
        ("Adults get 5 mg, children get 2 mg.", "Children get 5 mg"),
        ("Children under 12 get 5 mg, those over 12 get 10 mg.", "Children under 12 get 10 mg"),
        ("Take half a tablet at night.", "Take a tablet at night"),
        ("Double the dose after a week.", "Give the dose after a week"),
        ("Take 1 1/2 tablets at night.", "Take 1 tablets at night"),
        ("Take 1½ tablets at night.", "Take 1 tablet at night"),
        ("Give 12 500 units of heparin.", "Give 500 units of heparin"),
        ("Give 1'000 units of heparin.", "Give 1 units of heparin"),
        ("Hold metformin for 48 hours.", "Give metformin for 48 hours"),
        ("Is zelnorin safe in pregnancy? It is not.", "Zelnorin is safe in pregnancy"),
        ("Patients should be given few fluids.", "Patients should be given fluids"),
        ("In acute severe asthma do not\ngive zelnorin to patients.", "Give zelnorin to patients"),
        ("The ward team, as all of us, should never\nDr Smith said, give zelnorin.", "Dr Smith said, give zelnorin"),
        ("Give 10 mg daily\nor less.", "Give 10 mg daily"),
        ("The dose is 15 mg\nper kg.", "The dose is 15 mg"),
        ("Give 5-\n10 mg.", "Give 10 mg"),
        ("Do not:\n- take zelnorin\n- drive", "Take zelnorin"),
        ("You must not\n1. drive after treatment. Swim at sea\n2. drink", "Swim at sea"),
        ("The following must not be given:\n\n- aspirin\n- ibuprofen", "Ibuprofen may be given"),
        (AGES, "Adults: 2 mg"),
        (AGES, "Infants get 2 mg"),
        (PACKAGE, "Metformin is indicated in renal failure"),
        (PACKAGE, "Metformin in renal failure"),
        (PACKAGE, "He has chest pain"),
        (PACKAGE, "Fever"),
        (PACKAGE, "Take alcohol"),
        ("Increase the dose if sodium falls and decrease it if potassium rises.", "Decrease the dose if sodium falls"),
        ("Sodium of 136 to 145 mmol/L is normal.", "Sodium above 145 mmol/L is normal"),
        ("Give the antibiotic within 60 minutes.", "Give the antibiotic after 60 minutes"),
        ("Patients under 16 years must not drive.", "Patients over 16 years must not drive"),
        ("It opens again 60 hours after the last case.", "The ward does not open again after 60 hours"),
        ("A full clean with chlorine at 1,200 parts per million.", "Chlorine at 1,200 ppm must never be used"),
        ("A full clean with chlorine at 1,200 parts per million.", "Chlorine at 1,000 parts per million"),
        ("Give 40 mg twice daily for 10 days, then 25 mg once daily.", "Give 25 mg twice daily for 10 days"),
        ("Check at 15, 30 and 60 minutes.", "Check at 15, 30 and 15 minutes"),
    ],
)
def test_a_statement_that_says_something_else_is_not_supported(text: str, statement: str) -> None:
    assert called(statement, text) == "unsupported"


@pytest.mark.parametrize(
    "never", ["every 0 hours", "0 times daily", "0 times a day", "every 0 days", "0 doses per week"]
)
def test_a_frequency_of_zero_is_a_frequency_like_any_other(never: str) -> None:
    assert called("15 mg", f"Give 15 mg {never}.") == "supported"
    assert called(f"Give 15 mg {never}", f"Give 15 mg {never}.") == "supported"
    assert called(f"15 mg {never}", DOSE) == called("15 mg twice daily", f"Give 15 mg {never}.") == "unsupported"


def test_a_count_of_thousands_of_digits_is_not_a_frequency() -> None:
    assert called("15 mg", f"Give 15 mg every {'9' * 5000} hours.") == "supported"


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        (DOSE, "15 mg twice daily"),
        (DOSE, "15 mg b.d."),
        (DOSE, "15 mg every 12 hours"),
        (DOSE, "Give velorapine 15 mg orally two times a day before meals"),
        (NOT, "Velorapine must not be given when the systolic pressure is below 100 mmHg"),
        (NOT, "Don't give velorapine when the systolic pressure is under 100 mmHg"),
        (NOT, "Avoid velorapine when the systolic pressure is less than 100 mmHg"),
        (NOT, "When the systolic pressure is <100 mmHg, do not give velorapine"),
        ("The total must not exceed 60 mg in one day.", "The total is at most 60 mg in one day"),
        ("The total must not exceed 60 mg in one day.", "60 mg"),
        ("Serum magnesium should be 0.9 mmol/L or more.", "magnesium ≥0.9 mmol/L"),
        ("Sodium of 136 to 145 mmol/L is normal.", "Sodium of [136, 145] mmol/L is normal"),
        ("Give 1 g three times daily.", "1000 mg t.d.s."),
        ("Change the dressing every 5 days.", "5 days"),
        ("A full clean with chlorine at 1,200 parts per million.", "chlorine at 1200 ppm"),
    ],
)
def test_other_words_for_the_same_are_supported(text: str, statement: str) -> None:
    assert called(statement, text) == "supported"


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("Give beta-\nblockers.", "Give beta-blockers"),
        ("It treats hyper-\ntension.", "It treats hypertension"),
        ("COVID-\n19 patients stay 5-\n10 days.", "COVID-19 patients stay 5-10 days"),
        (
            "Check it. Do not give amicosine when the\nclearance is below 20 mL/min.",
            "Do not give amicosine when the clearance is below 20 mL/min",
        ),
        ("Do not:\n- take zelnorin\n- drive", "Do not drive"),
        ("Call the team if:\n- the pulse is above 120\n- it hurts", "Call the team if it hurts"),
        ("Department: Pharmacy\nOpening hours: 8 to 17\nTelephone: 6112", "Opening hours: 8 to 17"),
        ("2024-03-01: Potassium 3.1 mmol/L\n2024-03-02: No allergy", "2024-03-01: Potassium 3.1 mmol/L"),
        ("The total must not exceed 60 mg in one day.", "The total must not exceed 60 mg per day"),
        ("The catheter stays 4 days at most.", "The catheter stays at most 4 days"),
        ("Give 12 500 units of heparin.", "Give 12,500 units of heparin"),
        ("Take 1½ tablets at night.", "Take 1.5 tablets at night"),
    ],
)
def test_lines_lists_and_other_spellings_do_not_hide_what_is_said(text: str, statement: str) -> None:
    assert called(statement, text) == "supported"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("1,000 ppm [1]. Rooms are cleaned twice a day [2].", "unsupported"),
        ("4.5 mg [1]. Give 16 mg/kg of amicosine [2].", "unsupported"),
        ("4.5 mg [1]. Give amicosine 15 mg/kg [2].", "supported"),
        ("4.5 mg [1]. Give amicosine 15 mg/kg and lovely flowers [2].", "partly supported"),
        ("4.5 mg [1, 2].", "partly supported"),
    ],
)
def test_one_statement_that_fails_makes_the_answer_unsupported(answer: str, expected: str) -> None:
    assert word(check(answer, [passage(0), passage(1)])).word == expected


def test_words_of_the_title_count_neither_way_but_a_subject_of_another_sentence_does() -> None:
    text = "Adults get 5 mg. Children get 2 mg."
    titled = Passage("p", "d", "s", "passage", text, "Velorapine", (), 0, 0, len(text), "")
    assert support("Children get 2 mg of velorapine", titled)[2] == 1.0
    assert support("Children get 5 mg of velorapine", titled)[2] == 0.0


@pytest.mark.parametrize(
    ("statement", "form"),
    [("15 mg twice daily", "amount"), ("bleep 2140", "amount"), ("6 hours before surgery", "phrase")]
    + [(said, "") for said in ("Give 15 mg", "It is 60 mg", "velorapine", "")],
)
def test_an_amount_alone_is_known(statement: str, form: str) -> None:
    assert fragment(statement) == form


def test_spellings_of_one_frequency_and_of_one_bound_are_read_alike() -> None:
    for same in (
        ["2 g tds", "2 g t.d.s.", "2 g three times daily", "2 g 3 times a day", "2 g every 8 hours", "2 g 8-hourly"],
        ["2 g daily", "2 g once a day", "2 g od", "2 g every 24 hours", "2 g per day"],
        ["at least 2 g", "≥ 2 g", "2 g or more", "no less than 2 g", ">=2 g", "a minimum of 2 g", "2000 mg and above"],
        ["at most 2 g", "no more than 2 g", "must not exceed 2 g", "up to 2 g", "<= 2 g", "2 g or less", "within 2 g"],
    ):
        assert len({clauses(text) for text in same}) == 1, same


def test_a_sentence_ten_times_as_long_takes_about_ten_times_as_long() -> None:
    assert growth(lambda size: clauses("1 a b, " * size + "or more than not " * size), 1_000, factor=10) < 40


@pytest.mark.parametrize(
    ("start", "repeated", "end"), [("", "1.", ""), ("", "1..", ""), ("1", "a", ""), ("", "1, ", ""), ("a", " ", "b")]
)
def test_a_run_of_numbers_letters_or_blanks_is_spelled_out_in_linear_time(start: str, repeated: str, end: str) -> None:
    def read(times: int) -> None:
        text = start + repeated * times + end
        spelled_out(text), strip_markers(text)

    assert growth(read, 8_000 // len(repeated)) < 9  # linear 4, quadratic 16


def test_an_amount_before_its_bound_begins_where_the_number_begins() -> None:
    for text, plain in [
        ("1.5 mg or more", "≥ 1.5 mg"),
        ("10-20 mg or more", "10-≥ 20 mg"),
        ("1,200 mg and below", "≤ 1,200 mg"),
        ("(5 mg tablets or less)", "(≤ 5 mg tablets)"),
    ]:
        assert " ".join(spelled_out(text).split()) == plain, text


def test_a_condition_of_another_sentence_is_not_borrowed():
    text = "Start heparin at 18 units/kg/h. Stop heparin if the platelet count falls below 100 x 10^9/L."
    assert called("Start heparin if the platelet count falls below 100 x 10^9/L", text) != "supported"
    assert called("Stop heparin if the platelet count falls below 100 x 10^9/L", text) == "supported"


def test_the_titles_drug_does_not_take_the_dose_of_another():
    text = "Folic acid 5 mg is taken once weekly."
    assert called("Methotrexate 5 mg is taken once weekly", text, title="Methotrexate") == "unsupported"
    assert called("Folic acid 5 mg is taken once weekly", text, title="Methotrexate") == "supported"


def test_a_sentence_without_words_to_compare_is_at_most_partly_supported():
    assert called("Yes. Visitors wear a mask", "Visitors wear a mask.") == "partly supported"
