from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from device_profiles.quantity import (
    ENERGY,
    FRACTION,
    SHARE,
    TIME,
    Bytes,
    Fraction,
    Joules,
    Seconds,
    format_quantity,
    parse_bytes,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0.005, 0.005),
        (3, 3.0),
        ("0.005", 0.005),
        ("5ms", 0.005),
        ("5 ms", 0.005),
        ("250us", 0.00025),
        ("250\u00b5s", 0.00025),
        ("250\u03bcs", 0.00025),
        ("17ns", 1.7e-8),
        ("1.5s", 1.5),
        ("1e3us", 0.001),
        (".5s", 0.5),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("0ms", 0.0),
        ("0.1ms", 0.0001),
    ],
)
def test_times_are_exact(written, seconds):
    assert parse_quantity(written, TIME) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (80, 80),
        (80e6, 80_000_000),
        ("80", 80),
        ("80MB", 80_000_000),
        ("80 kB", 80_000),
        ("64MiB", 67_108_864),
        ("1.1GiB", 1_181_116_006),
        ("1.5KB", 1500),
        (2**53 + 1, 2**53 + 1),
    ],
)
def test_sizes_are_whole_bytes(written, size):
    assert parse_bytes(written) == size
    assert isinstance(parse_bytes(written), int)


def test_energies_and_shares():
    assert parse_quantity("20mJ", ENERGY) == 0.02
    assert parse_quantity("3\u00b5J", ENERGY) == 3e-6
    assert parse_quantity("1%", SHARE) == 0.01
    assert parse_quantity("12.5 %", FRACTION) == 0.125
    assert parse_quantity(250, SHARE) == 250.0
    with pytest.raises(ValueError, match="at most 1, not `101%`"):
        parse_quantity("101%", FRACTION)


@pytest.mark.parametrize(
    "written",
    ["", " ", "ms", "-5ms", -1, "5 parsecs", "5MS5", "1_000", "1e400s", "1e999", "nan", "inf", float("nan"), float("inf"), True, None, [1]],
)
def test_what_is_not_a_time_is_refused_with_the_units(written):
    with pytest.raises(ValueError, match=r"needs a time in seconds.*`5ms` \(units: ns, us, µs, ms, s, min, h\)"):
        parse_quantity(written, TIME)


def test_wrong_case_of_a_unit_is_guessed():
    with pytest.raises(ValueError, match="`MS` is not one of them, did you mean `ms`"):
        parse_quantity("5MS", TIME)


def test_a_part_of_a_byte_is_refused():
    with pytest.raises(ValueError, match="not a part of a byte"):
        parse_bytes(0.5)
    with pytest.raises(ValueError, match=r"at most 9\.2"):
        parse_bytes("1e30TB")


@given(st.one_of(st.text(max_size=40), st.floats(), st.integers(), st.booleans(), st.none()))
@settings(max_examples=50, deadline=None)
def test_anything_is_a_quantity_or_one_printable_line(value):
    try:
        assert parse_quantity(value, TIME) >= 0
    except ValueError as error:
        assert str(error).isprintable()


def test_as_pydantic_types():
    class Limits(BaseModel):
        t: Seconds
        b: Bytes
        e: Joules
        f: Fraction

    limits = Limits.model_validate({"t": "5ms", "b": "1MB", "e": "2J", "f": "2%"})
    assert (limits.t, limits.b, limits.e, limits.f) == (0.005, 1_000_000, 2.0, 0.02)
    assert Limits.model_validate_json(limits.model_dump_json()) == limits
    with pytest.raises(ValidationError):
        Limits.model_validate({"t": "5J", "b": 1, "e": 1, "f": 1})


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.00123, "s", "1.23 ms"),
        (80_000_000, "B", "80.0 MB"),
        (0.0034, "J", "3.40 mJ"),
        (0.123, "%", "12.3 %"),
        (1.0, "%", "100 %"),
        (0.0, "s", "0 s"),
        (0.0, "1", "0"),
        (0.9996, "s", "1.00 s"),
        (119.0, "s", "119 s"),
        (150.0, "s", "2.50 min"),
        (9000.0, "s", "2.50 h"),
        (512, "B", "512 B"),
        (999.6, "B", "1.00 kB"),
        (2_800_000_000, "Hz", "2.80 GHz"),
        (43.21, "°C", "43.2 °C"),
        (-0.0012, "s", "-1.20 ms"),
        (0.9851, "1", "0.985"),
        (1234.5, "1", "1234"),
        (31.456, "dB", "31.5 dB"),
        (float("nan"), "s", "nan"),
    ],
)
def test_shown_with_three_digits(value, unit, shown):
    assert format_quantity(value, unit) == shown


@given(st.floats(min_value=1e-9, max_value=7000, allow_nan=False))
@settings(max_examples=50, deadline=None)
def test_what_is_shown_reads_back_within_half_a_percent(value):
    assert parse_quantity(format_quantity(value, "s"), TIME) == pytest.approx(value, rel=0.0051)
