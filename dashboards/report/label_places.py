"""Where the names of points go: beside their point, over no other point and no other name; those that find no place are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.report.figures import columns

_COLUMN_PX = 6.4
_LINE_PX = 13.0
_GAP_PX = 5.0
_APART_PX = 3.0


@dataclass(frozen=True, slots=True)
class Point:
    """A point at pixel (x, y), y downwards, with its radius; the earlier in the list, the earlier its name gets a place."""

    x: float
    y: float
    radius: float
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name is written: `align` says which end of it is at x."""

    point: Point
    x: float
    y: float
    align: str


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


def place_labels(points: Sequence[Point], *, width: float, height: float) -> list[Place]:
    """The names that found a place within (0, 0) to (width, height), in the order of the points."""
    taken = [_Box(p.x - p.radius, p.y - p.radius, p.x + p.radius, p.y + p.radius) for p in points]
    frame = _Box(0, 0, width, height)
    placed: list[Place] = []
    for point in points:
        for candidate in _candidates(point):
            box = _box(candidate)
            if _inside(box, frame) and not any(box.meets(other) for other in taken):
                placed.append(candidate)
                taken.append(box)
                break
    return placed


def _candidates(point: Point) -> list[Place]:
    gap = point.radius + _GAP_PX
    rise = point.radius + _LINE_PX / 2 + 1
    return [
        Place(point, point.x + gap, point.y, "left"),
        Place(point, point.x - gap, point.y, "right"),
        Place(point, point.x, point.y - rise, "center"),
        Place(point, point.x, point.y + rise, "center"),
        Place(point, point.x + gap - 3, point.y - rise, "left"),
        Place(point, point.x + gap - 3, point.y + rise, "left"),
        Place(point, point.x - gap + 3, point.y - rise, "right"),
        Place(point, point.x - gap + 3, point.y + rise, "right"),
    ]


def _box(place: Place) -> _Box:
    wide = columns(place.point.name) * _COLUMN_PX
    left = {"left": place.x, "right": place.x - wide, "center": place.x - wide / 2}[place.align]
    return _Box(left - _APART_PX, place.y - _LINE_PX / 2, left + wide + _APART_PX, place.y + _LINE_PX / 2)


def _inside(box: _Box, frame: _Box) -> bool:
    return box.left >= frame.left and box.right <= frame.right and box.top >= frame.top and box.bottom <= frame.bottom
