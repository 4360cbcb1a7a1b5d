"""Charts as SVG that may stand in a page: drawn by vl-convert, then rebuilt from the few elements and attributes that drawing needs.

Nothing that can run, load or link survives: what is not in the lists below is dropped, whatever a name in the data tried to smuggle in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup, escape

from dashboards.errors import ReportError

_ELEMENTS = frozenset({"g", "path", "line", "rect", "text", "tspan", "circle"})
_GEOMETRY = frozenset({"d", "x", "y", "x1", "y1", "x2", "y2", "dx", "dy", "cx", "cy", "r", "width", "height", "transform"})
_PAINT = frozenset({"fill", "stroke", "fill-opacity", "stroke-opacity", "opacity", "stroke-width", "stroke-dasharray", "stroke-dashoffset"})
_TEXT = frozenset({"text-anchor", "font-size", "font-weight", "stroke-linejoin", "stroke-miterlimit", "stroke-linecap"})
_ATTRIBUTES = _GEOMETRY | _PAINT | _TEXT
_VALUE = re.compile(r"[A-Za-z0-9 .,#%+-]*|var\(--[a-z-]+\)|(?:(?:translate|rotate|scale)\([-0-9., e]*\)\s*)+")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
_MARKS = frozenset({"point", "bar", "rule mark"})
_NOTHING = frozenset({"M0,0h0v0h0Z", ""})


def draw(spec: Mapping[str, Any]) -> str:
    """A Vega-Lite specification as SVG text; nothing is fetched. Raises: ReportError."""
    import vl_convert

    try:
        return str(vl_convert.vegalite_to_svg(dict(spec), allowed_base_urls=[]))
    except ValueError as error:
        raise ReportError(f"vl-convert could not draw a chart: {str(error).strip().splitlines()[0]}") from error


def clean_svg(text: str, *, label: str, description: str, id: str) -> Markup:
    """The drawing as an image with a name and a description; `aria-label`s of marks become their tooltips. Raises: ReportError."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - vl-convert's own output, without a document type
    except ElementTree.ParseError as error:
        raise ReportError(f"vl-convert drew what is not XML: {error}") from error
    width, height = (round(float(root.get(side, "0"))) for side in ("width", "height"))
    inside = "".join(_cleaned(child) for child in root if child.get("fill") != "white")
    return Markup(
        '<svg role="img" aria-label="{}" aria-describedby="{}-desc" viewBox="0 0 {} {}" width="{}" height="{}">'
        '<desc id="{}-desc">{}</desc>{}</svg>'
    ).format(label, id, width, height, width, height, id, description, Markup(inside))  # noqa: S704 - built of escaped parts


def _cleaned(element: ElementTree.Element) -> str:
    """The element's own text, every part of it escaped; nothing for one that is not drawn."""
    tag = element.tag.rpartition("}")[2]
    if tag not in _ELEMENTS or element.get("display") == "none" or (tag == "path" and element.get("d", "") in _NOTHING):
        return ""
    children = "".join(_cleaned(child) for child in element)
    said = element.get("aria-label") if element.get("aria-roledescription") in _MARKS else None
    title = f"<title>{escape(said)}</title>" if said else ""
    words = escape(element.text) if element.text and tag in {"text", "tspan"} else ""
    attributes = "".join(f' {name}="{value}"' for name, value in _attributes(element))
    if tag == "g" and not attributes:
        return children
    body = f"{title}{words}{children}"
    return f"<{tag}{attributes}>{body}</{tag}>" if body or tag != "g" else ""


def _attributes(element: ElementTree.Element) -> list[tuple[str, str]]:
    kept = []
    for name, value in element.items():
        plain = _LONG_NUMBER.sub(_rounded, value)
        if name in _ATTRIBUTES and _VALUE.fullmatch(plain) and (name, plain) not in {("opacity", "1"), ("transform", "translate(0,0)")}:
            kept.append((name, plain))
    return kept


def _rounded(match: re.Match[str]) -> str:
    return f"{round(float(match[0]), 2):g}" if abs(float(match[0])) < 1e6 else match[0]
