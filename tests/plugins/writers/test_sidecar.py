"""What others wrote into a sidecar keeps every byte; what we put in can be taken out; a second time changes nothing."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from ahekit_plugins.writers.xmp.sidecar import OWN, Entries, Unfit, with_entries, without_entries

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DOME = Entries(
    {
        "dc:subject": ["outer dome"],
        "lr:hierarchicalSubject": ["architecture|dome|outer dome"],
        "digiKam:TagsList": ["architecture/dome/outer dome"],
    },
    {"State": "machine", "Confidence": "0.9700", "Date": "2026-05-01"},
)
ALTAR = Entries({"dc:subject": ["Altar & <more>"]}, {"State": "reviewed", "Confidence": "0.5000"})
NAMES = {
    "dc:subject": "{http://purl.org/dc/elements/1.1/}subject",
    "lr:hierarchicalSubject": "{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject",
    "digiKam:TagsList": "{http://www.digikam.org/ns/1.0/}TagsList",
}

# Attributes, a list of a person's, several namespaces, a history: as darktable writes it.
DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
   exif:DateTimeOriginal="2026:05:01 10:00:00.000"
   darktable:history_end="2" darktable:note="a > b">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Rome</rdf:li>
     <rdf:li>outer dome</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>place|Rome</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <!-- kept -->
   <darktable:history><rdf:Seq><rdf:li darktable:num="0"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
# A packet's wrapper with its padding, several descriptions, other prefixes for the same namespaces, no line breaks.
LIGHTROOM = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<a:xmpmeta xmlns:a="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<r:Description r:about="uuid:1" xmlns:q="http://purl.org/dc/elements/1.1/"><q:creator><r:Seq><r:li>me</r:li></r:Seq>'
    '</q:creator></r:Description><r:Description r:about="uuid:1" xmlns:q="http://purl.org/dc/elements/1.1/"><q:subject>'
    "<r:Bag><r:li>Caf\u00e9</r:li></r:Bag></q:subject></r:Description></r:RDF></a:xmpmeta>"
    + "\n" * 20
    + "<?xpacket end='w'?>"
)
# Empty lists in one tag each, and no wrapper.
DIGIKAM = """<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'
  xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">\r
 <rdf:Description rdf:about=''>\r
  <digiKam:TagsList><rdf:Seq /></digiKam:TagsList>\r
  <dc:subject><rdf:Bag></rdf:Bag></dc:subject>\r
 </rdf:Description>\r
</rdf:RDF>"""
BARE = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
)
DEFAULT = '<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><Description about=""/></RDF>'
LAYOUTS = {"darktable": DARKTABLE, "Lightroom": LIGHTROOM, "digiKam": DIGIKAM, "bare": BARE, "no prefix": DEFAULT}


def words(content: bytes, name: str) -> list[str]:
    """The keywords of a property, as an XML reader of its own sees them."""
    root = ElementTree.fromstring(content)
    found = [item.text or "" for each in root.iter(NAMES[name]) for item in each.iter(f"{RDF}li")]
    assert len(list(root.iter(NAMES[name]))) <= 1, "a property stands once"
    return found


def own(content: bytes) -> dict[str, str]:
    return {
        each.tag.partition("}")[2]: each.text or ""
        for each in ElementTree.fromstring(content).iter()
        if each.tag.startswith(f"{{{OWN}}}")
    }


def test_a_new_sidecar_has_the_keyword_in_all_three_places_and_goes_again() -> None:
    content = with_entries(None, DOME)
    for name, expected in DOME.keywords.items():
        assert words(content, name) == expected
    facts = own(content)
    facts.pop("Added")
    assert facts == DOME.facts
    assert with_entries(content, DOME) == content
    assert without_entries(content) is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_others_wrote_keeps_every_byte(layout: str, encoding: str) -> None:
    text = LAYOUTS[layout]
    if encoding == "utf-16-be":
        text = "\ufeff" + text.replace('encoding="UTF-8"', 'encoding="UTF-16"')
    if encoding == "latin-1":
        text = re.sub(r"<\?xml.*?\?>", "", text).replace("\ufeff", "").strip()
        text = f'<?xml version="1.0" encoding="ISO-8859-1"?>{text}'
    before = text.encode(encoding)
    first = with_entries(before, DOME)
    assert set(DOME.keywords["digiKam:TagsList"]) <= set(re.findall("[a-z /]+dome", first.decode(encoding)))
    assert with_entries(first, DOME) == first
    second = with_entries(first, ALTAR)
    assert without_entries(first) == without_entries(second) == before
    assert with_entries(second, DOME) == first


def test_a_persons_keywords_stay_even_where_they_are_equal_to_ours() -> None:
    content = with_entries(DARKTABLE.encode(), DOME)
    assert words(content, "dc:subject") == ["Rome", "outer dome"]
    assert words(content, "lr:hierarchicalSubject") == ["place|Rome", "architecture|dome|outer dome"]
    changed = with_entries(content, ALTAR)
    assert words(changed, "dc:subject") == ["Rome", "outer dome", "Altar & <more>"]
    assert words(changed, "lr:hierarchicalSubject") == ["place|Rome"]
    assert without_entries(changed) == DARKTABLE.encode()


def test_where_the_packet_is_of_something_our_part_is_of_the_same() -> None:
    content = with_entries(LIGHTROOM.encode(), DOME)
    root = ElementTree.fromstring(content)
    assert {each.get(f"{RDF}about") for each in root.iter(f"{RDF}Description")} == {"uuid:1"}
    assert words(content, "dc:subject") == ["Caf\u00e9", "outer dome"]


def test_a_date_alone_changes_nothing() -> None:
    content = with_entries(None, DOME)
    later = Entries(DOME.keywords, {**DOME.facts, "Date": "2027-01-01"})
    assert with_entries(content, later) == content
    surer = Entries(DOME.keywords, {**later.facts, "Confidence": "0.9800"})
    assert own(with_entries(content, surer))["Date"] == "2027-01-01"


def test_what_another_program_wrote_anew_loses_only_our_entries() -> None:
    """As exiv2 does: one description, our properties as attributes, lists in its own order and with its additions."""
    added = own(with_entries(None, DOME))["Added"].replace('"', "&quot;")
    rewritten = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:z="{OWN}" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
   z:State="machine" xmp:Rating="4" z:Confidence='0.9700' z:Added="{added}">
   <dc:subject><rdf:Bag><rdf:li>outer dome</rdf:li><rdf:li>Rome</rdf:li></rdf:Bag></dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>""".encode()
    rest = without_entries(rewritten)
    assert rest is not None
    assert words(rest, "dc:subject") == ["Rome"]
    assert OWN.encode() not in rest
    assert b'xmp:Rating="4"' in rest
    assert without_entries(with_entries(rewritten, ALTAR)) == rest


def test_a_person_who_takes_our_keyword_away_gets_it_back_only_by_writing_again() -> None:
    content = with_entries(DARKTABLE.encode(), DOME)
    shortened = content.replace(b"\n     <rdf:li>architecture|dome|outer dome</rdf:li>", b"")
    assert without_entries(shortened) == DARKTABLE.encode()
    assert words(with_entries(shortened, DOME), "lr:hierarchicalSubject") == [
        *("place|Rome", "architecture|dome|outer dome")
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0 no text", "not in the encoding"),
        (DARKTABLE.encode()[:-30], "damaged: "),
        (b"<html/>", "no XMP"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "declares a document type"),
        (DARKTABLE.replace("<rdf:Bag>", "<b>").replace("</rdf:Bag>", "</b>").encode(), "its dc:subject is no list"),
        (DARKTABLE.encode("utf-16")[:-1], "not in the encoding"),
    ],
)
def test_a_damaged_or_dangerous_sidecar_is_left_alone_in_words(content: bytes, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        with_entries(content, DOME)


def test_letters_that_xml_or_the_encoding_lacks_are_no_trouble() -> None:
    entries = Entries({"dc:subject": ["Au\u00dfen\x01kuppel \u2192"]}, {"State": "machine"})
    before = DARKTABLE.replace('encoding="UTF-8"', 'encoding="us-ascii"').encode()
    content = with_entries(before, entries)
    assert words(content, "dc:subject")[-1] == "Au\u00dfen\ufffdkuppel \u2192"
    assert with_entries(content, entries) == content
    assert without_entries(content) == before
