"""Word files written by hand, as XML: shared by the tests of the Word reader."""

from __future__ import annotations

import io
import zipfile

_SPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
    'xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
_TYPES = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_CORE = "http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties"
_STRICT = {
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main": "http://purl.oclc.org/ooxml/wordprocessingml/main",
    _TYPES: "http://purl.oclc.org/ooxml/officeDocument/relationships",
}

HEADINGS = "".join(
    f'<w:style w:type="paragraph" w:styleId="Heading{n}"><w:name w:val="heading {n}"/>'
    f'<w:pPr><w:outlineLvl w:val="{n - 1}"/></w:pPr></w:style>'
    for n in (1, 2, 3)
)
STYLES = '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>' + HEADINGS


def t(text):
    return f'<w:t xml:space="preserve">{text}</w:t>'


def r(text, properties=""):
    """A run."""
    return f"<w:r><w:rPr>{properties}</w:rPr>{t(text)}</w:r>"


def p(*content, style="", properties=""):
    """A paragraph; plain words become runs."""
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    inner = "".join(item if item.startswith("<") else r(item) for item in content)
    return f"<w:p><w:pPr>{named}{properties}</w:pPr>{inner}</w:p>"


def table(*rows):
    """A table of rows of cells; a cell is words, or blocks as XML, or whole `<w:tc>`."""
    return "<w:tbl><w:tblPr/>" + "".join(row if isinstance(row, str) else tr(*row) for row in rows) + "</w:tbl>"


def tr(*cells, properties=""):
    def _cell(cell):
        if cell.startswith(("<w:tc>", "<w:sdt>")):
            return cell
        return f"<w:tc>{cell if cell.startswith('<') else p(cell)}</w:tc>"

    return f"<w:tr><w:trPr>{properties}</w:trPr>{''.join(map(_cell, cells))}</w:tr>"


def field(instruction, result):
    """A complex field."""

    def mark(kind):
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    code = instruction if instruction.startswith("<") else f"<w:r><w:instrText>{instruction}</w:instrText></w:r>"
    return f"{mark('begin')}{code}{mark('separate')}{result}{mark('end')}"


def text_box(*paragraphs):
    """A text box as Word writes it: once for new programs, once for old ones."""
    content = f"<w:txbxContent>{''.join(paragraphs)}</w:txbxContent>"
    return (
        '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wps:wsp><wps:txbx>'
        f"{content}</wps:txbx></wps:wsp></w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox>"
        f"{content}</v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )


def make_docx(*body, styles=STYLES, numbering="", title=None, strict=False, parts=None, **stories):
    """The bytes of a .docx.

    Args:
        body: blocks as XML.
        styles: the content of the styles part; "" leaves the part out.
        numbering: the content of the numbering part.
        title: the title in the file's properties.
        strict: in the namespaces of ISO 29500 Strict.
        parts: relationship id -> `(kind, name below word/, content)` of further parts.
        stories: `footnotes`, `endnotes`, `comments`, `header`, `footer`: their content.
    """
    files = {"word/document.xml": f"<w:document {_SPACES}><w:body>{''.join(body)}<w:sectPr/></w:body></w:document>"}
    relations = {}
    for kind, content in {"styles": styles, "numbering": numbering, **stories}.items():
        if content:
            files[f"word/{kind}.xml"] = f"<w:{kind} {_SPACES}>{content}</w:{kind}>"
            relations[f"rel-{kind}"] = f"{_TYPES}/{kind}", f"{kind}.xml"
    for id_, (kind, name, content) in (parts or {}).items():
        files[f"word/{name}"] = content.replace("<c:chartSpace", f"<c:chartSpace {_SPACES}", 1).replace(
            "<dgm:dataModel", f"<dgm:dataModel {_SPACES}", 1
        )
        relations[id_] = f"{_TYPES}/{kind}", name
    files["word/_rels/document.xml.rels"] = _relationships(relations)
    package = {"main": (f"{_TYPES}/officeDocument", "word/document.xml")}
    if title is not None:
        files["docProps/core.xml"] = (
            '<p:coreProperties xmlns:p="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></p:coreProperties>'
        )
        package["core"] = _CORE, "docProps/core.xml"
    files["_rels/.rels"] = _relationships(package)
    files["[Content_Types].xml"] = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            for old, new in _STRICT.items() if strict else ():
                content = content.replace(old, new)
            archive.writestr(name, content)
    return buffer.getvalue()


def _relationships(relations):
    items = "".join(f'<Relationship Id="{i}" Type="{kind}" Target="{to}"/>' for i, (kind, to) in relations.items())
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{items}</Relationships>'
    )
