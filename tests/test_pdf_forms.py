"""PDF: values of forms, typed comments and notes are read with their labels."""

from __future__ import annotations

import pytest
from corpus_files import sections_of
from pdf_files import shown, stream, write_pdf

from cdsframe.corpus.readers.pdf import read_pdf


def widget(rect, rest):
    return f"<< /Type /Annot /Subtype /Widget /Rect [{rect}] /F 4 {rest} >>"


def form(content, *annotations):
    names = " ".join(f"{20 + n} 0 R" for n, body in enumerate(annotations) if "/Annot" in body)
    return read_pdf(
        write_pdf(
            content, objects=annotations, page=f"/Annots [{names}]", catalog=f"/AcroForm << /Fields [{names}] >>"
        ),
        1 << 20,
    )


def test_values_stand_behind_their_labels():
    labels = [("Allergy:", 700), ("Dose:", 680), ("Asthma", 660), ("Glaucoma", 640), ("Ward:", 620), ("Drugs:", 600)]
    content = "".join(shown(label, 50, y) for label, y in labels)
    states = "/MK << /CA (4) >> /AP << /N << /Yes 26 0 R /Off 26 0 R >> >>"
    parsed = form(
        content,
        widget("100 695 300 712", "/FT /Tx /T (a) /V (Penicillin anaphylaxis)"),
        widget("100 675 300 692", "/FT /Tx /T (b) /V (5 mg) "),
        widget("20 655 32 667", f"/FT /Btn /T (c) /V /Yes /AS /Yes {states}"),
        widget("20 635 32 647", f"/FT /Btn /T (d) /V /Off /AS /Off {states}"),
        widget("100 615 300 632", "/FT /Ch /Ff 131072 /T (e) /Opt [[(w1) (Marram)] [(w2) (Kelp)]] /V (w1)"),
        widget(
            "100 595 300 612",
            "/FT /Ch /Ff 2097152 /T (f) /Opt [(zelnorin) (belzamine) (corvex)] /V [(zelnorin) (corvex)]",
        ),
        stream("q Q\n", "/Type /XObject /Subtype /Form /BBox [0 0 12 12]"),
    )
    assert parsed.text == (
        "Page 1\n\nAllergy: Penicillin anaphylaxis\nDose: 5 mg\n[x] Asthma\n[ ] Glaucoma\nWard: Marram\n"
        "Drugs: zelnorin, corvex"
    )


@pytest.mark.parametrize(("rect", "label"), [("50 775 300 798", 10), ("100 755 300 771", 14)])
def test_what_somebody_fills_in_is_no_title(rect, label):
    content = "".join(shown(f"This sheet stays with its patient on the ward {n}", 50, 700 - 14 * n) for n in range(4))
    parsed = form(shown("Name", 50, 760, label) + content, widget(rect, "/FT /Tx /T (n) /V (Oswin Tarrell)"))
    assert "Oswin Tarrell" in parsed.text
    assert not parsed.title
    assert sections_of(parsed)[0][0] == ("Page 1",)


def test_typed_text_and_notes_are_read():
    parsed = form(
        shown("Dose: 50 mg", 50, 700),
        "<< /Type /Annot /Subtype /FreeText /Rect [200 695 320 712] /F 4 /Contents (Corrected: 5 mg) >>",
        "<< /Type /Annot /Subtype /Text /Rect [400 695 420 712] /F 4 /Contents (Checked by the pharmacy) >>",
        "<< /Type /Annot /Subtype /Highlight /Rect [50 695 90 712] /F 4 /Contents (Too high) >>",
    )
    assert parsed.text == "Page 1\n\nDose: 50 mg Corrected: 5 mg\n\nNote: Checked by the pharmacy\n\nNote: Too high"


def test_a_form_that_holds_only_values_is_no_scan():
    parsed = form("", widget("100 695 300 712", "/FT /Tx /T (a) /V (Penicillin anaphylaxis)"))
    assert parsed.text == "Page 1\n\nPenicillin anaphylaxis"


def test_hidden_values_are_counted_and_not_read():
    hidden = "<< /Type /Annot /Subtype /Widget /Rect [100 695 300 712] /F 2 /FT /Tx /T (a) /V (secret words) >>"
    parsed = form(
        shown("Allergy:", 50, 700), hidden, widget("100 675 300 692", "/FT /Tx /Ff 8192 /T (b) /V (password)")
    )
    assert parsed.text == "Page 1\n\nAllergy:"
    assert [(o.reason, o.count, o.text) for o in parsed.omitted] == [
        ("form values and comments that are not shown", 2, False)
    ]


def test_an_xfa_form_is_named():
    xfa = "/AcroForm << /Fields [] /XFA [(datasets) 20 0 R] >>"
    data = "<xfa/>\n"
    objects = (f"<< /Length {len(data)} >>\nstream\n{data}endstream",)
    parsed = read_pdf(write_pdf(shown("Please wait", 50, 700), catalog=xfa, objects=objects), 1 << 20)
    assert [(o.reason, o.text) for o in parsed.omitted] == [("XFA forms, whose fields are not read", True)]
