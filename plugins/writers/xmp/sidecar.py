"""Edits an XMP sidecar in place: what others wrote keeps every byte, and what was put in can be taken out again.

A packet is read by expat for the places of its elements, and pieces of text are cut out or put in there; it is never
parsed and written anew. Which keywords are ours stands in a property of our own namespace, so that a person's keyword
stays even where it is equal to one of ours.

XMP: ISO 16684-1, https://developer.adobe.com/xmp/docs/.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
OWN = "https://pypi.org/project/ahekit/xmp/1.0/"
LISTS = {
    "dc:subject": ("http://purl.org/dc/elements/1.1/", "Bag"),
    "lr:hierarchicalSubject": ("http://ns.adobe.com/lightroom/1.0/", "Bag"),
    "digiKam:TagsList": ("http://www.digikam.org/ns/1.0/", "Seq"),
}
"""The properties that keywords stand in: namespace, and the kind of list."""

ADDED = "Added"
DATE = "Date"
MOST_BYTES = 32 * 2**20

_FRAME = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="ahekit">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{block}
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_MARKS = (  # of the byte order; those of 32 bits begin as those of 16 do
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TAG = re.compile(rb"""<[^>"']*(?:(?:"[^"]*"|'[^']*')[^>"']*)*>""")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Unfit(Exception):
    """Why a sidecar is left alone, in words."""


@dataclass(frozen=True)
class Entries:
    """What a photo's sidecar is to say.

    Attributes:
        keywords: By property of `LISTS`, in order.
        facts: Names and values of our own namespace.
    """

    keywords: Mapping[str, Sequence[str]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Element:
    """Where an element stands in the text, in bytes: `start` … `inside` … `close` … `end`."""

    name: str
    attributes: dict[str, str]
    start: int
    inside: int = -1
    close: int = -1
    end: int = -1
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    @property
    def is_closed_at_once(self) -> bool:
        return self.close == self.inside == self.end


@dataclass
class _Added:
    """What we put into a sidecar.

    Attributes:
        keywords: By property.
        made: Properties that weren't there before.
        closed: Lists and frames that were written as one empty tag, and how.
        is_file: There was no sidecar before.
    """

    keywords: dict[str, list[str]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    is_file: bool = False

    @classmethod
    def read(cls, text: str) -> _Added:
        """From the property's text; what isn't as we write it says nothing."""
        try:
            values = json.loads(text)
            keywords = {name: [str(word) for word in values.get(name, ())] for name in LISTS}
            closed = {str(name): str(tag) for name, tag in values.get("closed", {}).items()}
            return cls(keywords, [str(name) for name in values.get("made", ())], closed, values.get("file") is True)
        except (ValueError, AttributeError, TypeError):
            return cls()

    @property
    def as_text(self) -> str:
        values: dict[str, Any] = {name: words for name, words in self.keywords.items() if words}
        values |= {"made": self.made} if self.made else {}
        values |= {"closed": self.closed} if self.closed else {}
        values |= {"file": True} if self.is_file else {}
        return json.dumps(values)


def with_entries(content: bytes | None, entries: Entries) -> bytes:
    """A sidecar that says what it is to say, and beside that all it said before; the same where it says so already.

    Args:
        content: None: there is none yet.

    Raises:
        Unfit: It is damaged, or of a form that nothing can be put into.
    """
    keywords = {name: [_clean(word) for word in entries.keywords.get(name, ())] for name in LISTS}
    added = _Added(keywords, [name for name, words in keywords.items() if words], is_file=True)
    fresh = _FRAME.format(block="\n  " + _block(entries, added)).encode()
    if content is None or content == fresh:  # most are, and needn't be read
        return fresh
    packet = _Packet(content)
    if packet.says(entries):
        return content
    before = without_entries(content)
    if before is None:
        return fresh
    return _Packet(before).encoded(_Packet(before).put_in(entries))


def without_entries(content: bytes) -> bytes | None:
    """A sidecar without what `with_entries` put in; None where nothing else was or is in it.

    Raises:
        Unfit: It is damaged.
    """
    packet = _Packet(content)
    edits = packet.taking_out()
    if not edits:
        return content
    rest = packet.encoded(edits)
    return None if packet.added.is_file and _Packet(rest).is_empty else rest


def is_ours(content: bytes) -> bool:
    """Whether nobody but us has written into a sidecar."""
    return without_entries(content) is None


class _Packet:
    """A sidecar's text, its elements, and what of it is ours."""

    def __init__(self, content: bytes) -> None:
        self._mark, self._encoding, text = _decoded(content)
        self._data = text.encode()
        self._rdf = _frame_of(_parsed(self._data))
        self._descriptions = [each for each in self._rdf.children if each.name == f"{RDF} Description"]
        self.facts: dict[str, str] = {}
        for each in self._descriptions:
            self.facts |= {name[len(OWN) + 1 :]: value for name, value in each.attributes.items() if _is_own(name)}
            self.facts |= {inner.name[len(OWN) + 1 :]: inner.text for inner in each.children if _is_own(inner.name)}
        self.added = _Added.read(self.facts.get(ADDED, "{}"))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said at all."""
        return not any(
            each.children or any(_local(name) != "about" for name in each.attributes) for each in self._descriptions
        )

    def says(self, entries: Entries) -> bool:
        """Whether this and no more of ours is in it; a date alone makes no difference."""
        own = {name: value for name, value in self.facts.items() if name not in (ADDED, DATE)}
        if own != {name: _clean(value) for name, value in entries.facts.items() if name != DATE}:
            return False
        for name in LISTS:
            words = [_clean(word) for word in entries.keywords.get(name, ())]
            there = [item.text for each in self._lists(name) for item in _items(each)]
            ours = self.added.keywords.get(name, [])
            theirs = list(there)
            for word in ours:
                if word in theirs:
                    theirs.remove(word)
            if sorted(ours) != sorted(word for word in words if word not in theirs) or not set(words) <= set(there):
                return False
        return True

    def put_in(self, entries: Entries) -> list[tuple[int, int, bytes]]:
        """The edits that put entries into a packet that holds none of ours."""
        edits: list[tuple[int, int, bytes]] = []
        added = _Added()
        for name in LISTS:
            words = [_clean(word) for word in entries.keywords.get(name, ())]
            lists = self._lists(name)
            if not lists:
                added.made += [name] if words else []
                added.keywords[name] = words
                continue
            there = {item.text for each in lists for item in _items(each)}
            added.keywords[name] = [word for word in words if word not in there]
            if added.keywords[name]:
                edits.append(self._insertion(name, lists[0], added))
        if self._rdf.is_closed_at_once:
            added.closed["RDF"] = self._raw(self._rdf)
        block = _block(entries, added, about=self._about())
        if self._prefix(self._rdf) != "rdf:":
            block = block.replace("<rdf:Description", f"<rdf:Description xmlns:rdf={quoteattr(RDF)}", 1)
        if b"\r\n" in self._data:
            block = block.replace("\n", "\r\n")
        if self._rdf.is_closed_at_once:
            return [*edits, (*_span(self._rdf), self._opened(self._rdf, block))]
        last = self._rdf.children[-1] if self._rdf.children else None
        place = last.end if last else self._rdf.inside
        space = self._space_before(last) if last else b""
        return [*edits, (place, place, space + block.encode())]

    def taking_out(self) -> list[tuple[int, int, bytes]]:
        """The edits that take out all that is ours."""
        edits: list[tuple[int, int, bytes]] = []
        left = {name: list(words) for name, words in self.added.keywords.items()}
        if not self.facts:
            return edits
        for each in self._descriptions:
            edits += self._taking_out_of(each, left)
        if "RDF" in self.added.closed and len(edits) == 1 and len(self._rdf.children) == 1:
            return [(*_span(self._rdf), self.added.closed["RDF"].encode())]
        return edits

    def encoded(self, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
        """The packet with edits, in the encoding it came in."""
        data = self._data
        for start, end, piece in sorted(edits, reverse=True):
            data = data[:start] + piece + data[end:]
        return self._mark + _encode(data.decode(), self._encoding)

    def _taking_out_of(self, description: _Element, left: dict[str, list[str]]) -> list[tuple[int, int, bytes]]:
        gone: list[_Element] = []
        edits: list[tuple[int, int, bytes]] = []
        for child in description.children:
            name = _list_name(child)
            if _is_own(child.name):
                gone.append(child)
            elif name:
                items = _items(_container(child)) if _container(child) else []
                ours = []
                for item in items:
                    if item.text in left.get(name, ()):
                        left[name].remove(item.text)
                        ours.append(item)
                if ours and len(ours) == len(items) and name in self.added.made:
                    gone.append(child)
                elif ours and len(ours) == len(items) and name in self.added.closed:
                    edits.append((*_span(_container(child)), self.added.closed[name].encode()))
                else:
                    edits += [self._cut(item) for item in ours]
        attributes = [name for name in description.attributes if _is_own(name)]
        others = [name for name in description.attributes if not _is_own(name) and _local(name) != "about"]
        if not gone and not attributes:
            return edits
        if len(gone) == len(description.children) and not others and not description.text:
            return [self._cut(description)]
        return edits + [self._cut(child) for child in gone] + self._own_attributes(description)

    def _own_attributes(self, element: _Element) -> list[tuple[int, int, bytes]]:
        """The places of our attributes in a start tag, and of the declaration of our namespace."""
        tag = self._data[element.start : element.inside]
        declared = re.findall(rb"""xmlns:([^\s=]+)\s*=\s*["']%s["']""" % re.escape(OWN.encode()), self._data)
        edits = []
        for match in _ATTRIBUTE.finditer(tag):
            prefix, _, local = match[1].partition(b":")
            if prefix in declared or (prefix == b"xmlns" and local in declared):
                edits.append((element.start + match.start(), element.start + match.end(), b""))
        return edits

    def _insertion(self, name: str, container: _Element, added: _Added) -> tuple[int, int, bytes]:
        prefix = self._prefix(container)
        items = _items(container)
        space = self._space_before(items[-1]).decode() if items else ""
        words = "".join(f"{space}<{prefix}li>{escape(word)}</{prefix}li>" for word in added.keywords[name])
        if container.is_closed_at_once:
            added.closed[name] = self._raw(container)
            return (*_span(container), self._opened(container, words))
        place = items[-1].end if items else container.inside
        return place, place, words.encode()

    def _lists(self, name: str) -> list[_Element]:
        """The lists of a property, wherever they stand.

        Raises:
            Unfit: The property is there and is no list.
        """
        lists = []
        for each in self._descriptions:
            for child in each.children:
                if _list_name(child) == name:
                    container = _container(child)
                    if container is None:
                        raise Unfit(f"its {name} is no list; left as it is")
                    lists.append(container)
        return lists

    def _about(self) -> str:
        """What the packet is about: its parts have to agree on that."""
        for each in self._descriptions:
            for name, value in each.attributes.items():
                if _local(name) == "about":
                    return value
        return ""

    def _prefix(self, element: _Element) -> str:
        """The prefix of an element as it is written, with its colon; empty where it has none."""
        tag = re.match(rb"<([^\s/>]+)", self._data[element.start : element.inside])
        assert tag is not None
        prefix, colon, _ = tag[1].decode().rpartition(":")
        return prefix + colon

    def _raw(self, element: _Element) -> str:
        return self._data[element.start : element.inside].decode()

    def _opened(self, element: _Element, inside: str) -> bytes:
        """An element that was written as one empty tag, with something in it."""
        tag = self._raw(element)
        name = re.match(r"<([^\s/>]+)", tag)
        assert name is not None
        return f"{tag[:-2].rstrip()}>{inside}</{name[1]}>".encode()

    def _space_before(self, element: _Element) -> bytes:
        before = self._data[: element.start]
        return before[len(before.rstrip()) :]

    def _cut(self, element: _Element) -> tuple[int, int, bytes]:
        return element.start - len(self._space_before(element)), element.end, b""


def _block(entries: Entries, added: _Added, *, about: str = "") -> str:
    """Everything that has no place in the packet yet, as a description of its own."""
    spaces = {name.partition(":")[0]: LISTS[name][0] for name in added.made} | {"ahekit": OWN}
    lines = [f"<rdf:Description rdf:about={quoteattr(about)}"]
    lines += [f"    xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in spaces.items()]
    lines[-1] += ">"
    for name in added.made:
        kind = LISTS[name][1]
        lines += [f"   <{name}>", f"    <rdf:{kind}>"]
        lines += [f"     <rdf:li>{escape(word)}</rdf:li>" for word in added.keywords[name]]
        lines += [f"    </rdf:{kind}>", f"   </{name}>"]
    for name, value in {**entries.facts, ADDED: added.as_text}.items():
        lines.append(f"   <ahekit:{name}>{escape(_clean(value))}</ahekit:{name}>")
    return "\n".join([*lines, "  </rdf:Description>"])


def _parsed(data: bytes) -> _Element:
    """The root element of a text in UTF-8, with all below it.

    Raises:
        Unfit: It is no XML, or declares entities.
    """
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    root = _Element("", {}, 0)
    open_elements = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        element = _Element(name, attributes, parser.CurrentByteIndex)
        tag = _TAG.match(data, element.start)
        assert tag is not None, "expat has read a tag here"
        element.inside = tag.end()
        open_elements[-1].children.append(element)
        open_elements.append(element)

    def end(_: str) -> None:
        element = open_elements.pop()
        element.text = element.text.strip()
        if data[element.inside - 2 : element.inside] == b"/>":
            element.close = element.end = element.inside
        else:
            element.close = parser.CurrentByteIndex
            element.end = data.index(b">", element.close) + 1

    def text(piece: str) -> None:
        open_elements[-1].text += piece

    def doctype(*_: object) -> None:
        raise Unfit("it declares a document type, which sidecars don't; left as it is")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unfit(f"damaged: {expat.ErrorString(error.code)} in line {error.lineno}; left as it is") from None
    return root.children[0]


def _frame_of(root: _Element) -> _Element:
    """The element that holds the descriptions."""
    waiting = [root]
    while waiting:
        element = waiting.pop(0)
        if element.name == f"{RDF} RDF":
            return element
        waiting += element.children
    raise Unfit("no XMP (it holds no rdf:RDF); left as it is")


def _decoded(content: bytes) -> tuple[bytes, str, str]:
    """Its mark of the byte order, encoding and text.

    Raises:
        Unfit: It is too large, empty, or in no encoding that can be written back to the byte.
    """
    if len(content) > MOST_BYTES:
        raise Unfit(f"larger than {MOST_BYTES // 2**20} MiB; left as it is")
    if not content.strip():
        raise Unfit("empty; left as it is")
    declared = _DECLARED.match(content)
    mark, encoding = next(((mark, name) for mark, name in _MARKS if content.startswith(mark)), (b"", ""))
    encoding = encoding or (declared[1].decode() if declared else "utf-8")
    try:
        text = content[len(mark) :].decode(encoding)
        is_whole = mark + _encode(text, encoding) == content
    except (UnicodeError, LookupError):
        is_whole = False
    if not is_whole:
        raise Unfit(f"not in the encoding it should have ({encoding}); left as it is")
    return mark, encoding, text


def _encode(text: str, encoding: str) -> bytes:
    """In an encoding; letters it lacks as references."""
    return text.encode(encoding, "xmlcharrefreplace")


def _clean(text: str) -> str:
    """Text that XML can hold and that comes back as it was put in."""
    return " ".join(_FORBIDDEN.sub("\ufffd", text).split())


def _is_own(name: str) -> bool:
    return name.startswith(f"{OWN} ")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _list_name(element: _Element) -> str:
    """Which of the lists of keywords a property is; empty where it is none."""
    return next((name for name, (uri, _) in LISTS.items() if element.name == f"{uri} {name.partition(':')[2]}"), "")


def _container(element: _Element) -> _Element | None:
    kinds = {f"{RDF} {kind}" for kind in ("Bag", "Seq", "Alt")}
    return next((child for child in element.children if child.name in kinds), None)


def _items(container: _Element | None) -> list[_Element]:
    return [] if container is None else [child for child in container.children if child.name == f"{RDF} li"]


def _span(element: _Element | None) -> tuple[int, int]:
    assert element is not None
    return element.start, element.end
