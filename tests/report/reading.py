"""Reading a page without a browser: its elements, its texts, and the exact values it carries."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "col", "link"}


class Page(HTMLParser):
    """Elements with their attributes, all text, and the values of figures with what is shown."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.figures: list[tuple[str, str]] = []
        self._open: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self._open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute occurs twice in {tag}"
        self.elements.append((tag, found))
        if tag not in VOID:
            self._open.append((tag, found.get("value") if tag == "data" else None))
        if "data-value" in found:
            self.figures.append((str(found["data-value"]), ""))

    def handle_endtag(self, tag: str) -> None:
        last, _ = self._open.pop()
        assert last == tag, f"</{tag}> closes <{last}>"

    def handle_data(self, data: str) -> None:
        tag, value = self._open[-1] if self._open else ("", None)
        if tag != "style":
            self.words.append(data)
        if value is not None:
            self.figures.append((value, data))

    @property
    def text(self) -> str:
        """All text that is shown or told in titles."""
        titles = [str(a["title"]) for _, a in self.elements if a.get("title")]
        return "\n".join(self.words + titles)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]
