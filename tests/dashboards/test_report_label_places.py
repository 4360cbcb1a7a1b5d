"""Names beside points."""

from __future__ import annotations

from dashboards.report.label_places import Place, Point, place_labels


def test_a_lone_point_has_its_name_on_the_right() -> None:
    [place] = place_labels([Point(100, 100, 5, "fp32")], width=300, height=200)
    assert place.align == "left" and place.x > 105 and place.y == 100


def test_at_the_right_edge_the_name_goes_to_the_left() -> None:
    """
    │        fp32 ●│
    """
    [place] = place_labels([Point(290, 100, 5, "fp32")], width=300, height=200)
    assert place.align == "right"


def test_names_do_not_lie_over_points_or_each_other() -> None:
    points = [Point(100, 100, 6, "one"), Point(118, 100, 6, "two"), Point(100, 114, 6, "three")]
    places = place_labels(points, width=300, height=200)
    assert len(places) == 3
    assert len({(place.x, place.y) for place in places}) == 3
    assert _right_of(places[0]) is False


def test_what_finds_no_place_is_left_out_and_the_first_is_not() -> None:
    points = [Point(50 + index % 3, 50 + index % 5, 8, f"name {index}") for index in range(40)]
    places = place_labels(points, width=200, height=100)
    assert 0 < len(places) < 40
    assert places[0].point.name == "name 0"


def _right_of(place: Place) -> bool:
    return place.align == "left" and place.y == place.point.y
