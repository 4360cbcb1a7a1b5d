"""Quantities that people write (`5ms`, `80MB`, `1%`, or a plain number in SI units), and how they are shown again."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from device_profiles.yaml_tree import printable

_NUMBER = re.compile(r"(?P<number>[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,3})?)\s?(?P<unit>[^\d\s]{0,8})", re.ASCII)
_MAX_BYTES = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Dimension:
    """A kind of quantity: its units with their factors to SI."""

    noun: str
    example: str
    units: Mapping[str, Decimal]
    maximum: float = math.inf

    @property
    def listed(self) -> str:
        """The units for an error message."""
        return ", ".join(unit for unit in self.units if not unit.startswith("\u03bc"))


def _units(text: str) -> dict[str, Decimal]:
    """`ms 1e-3 s 1` as a mapping; MICRO stands for its three spellings (the letter u, the micro sign, Greek mu)."""
    words = text.split()
    found: dict[str, Decimal] = {}
    for unit, factor in zip(words[::2], words[1::2], strict=True):
        found.update({unit.replace("MICRO", letter): Decimal(factor) for letter in ("u", "\u00b5", "\u03bc")})
    return found


TIME = Dimension("a time in seconds", "5ms", _units("ns 1e-9 MICROs 1e-6 ms 1e-3 s 1 min 60 h 3600"))
SIZE = Dimension(
    "a size in bytes",
    "80MB",
    _units(f"B 1 kB 1e3 KB 1e3 MB 1e6 GB 1e9 TB 1e12 KiB 1024 MiB {1 << 20} GiB {1 << 30} TiB {1 << 40}"),
    maximum=_MAX_BYTES,
)
ENERGY = Dimension("an energy in joules", "20mJ", _units("nJ 1e-9 MICROJ 1e-6 mJ 1e-3 J 1 kJ 1e3"))
FREQUENCY = Dimension("a frequency in hertz", "2.4GHz", _units("Hz 1 kHz 1e3 MHz 1e6 GHz 1e9"), maximum=1e15)
SHARE = Dimension("a number", "1%", _units("% 0.01"))
FRACTION = Dimension("a share from 0 to 1", "1%", SHARE.units, maximum=1.0)


def parse_quantity(value: object, dimension: Dimension) -> float:
    """The value in SI units, exact to the last bit of what was written; at least 0 and finite. Raises: ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(_wanted(dimension))
    amount = _of_text(value, dimension) if isinstance(value, str) else value
    try:
        number = float(amount)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or number > dimension.maximum:
        raise ValueError(f"{_wanted(dimension)}, at least 0{_most(dimension)}, not `{printable(str(value), 40)}`")
    return number


def parse_bytes(value: object) -> int:
    """As `parse_quantity`, in whole bytes: text with a unit is rounded to the nearest byte. Raises: ValueError."""
    number = parse_quantity(value, SIZE)
    if isinstance(value, str):
        return int(_of_text(value, SIZE).to_integral_value(ROUND_HALF_EVEN))
    if number != int(number):
        raise ValueError(f"{_wanted(SIZE)}, not a part of a byte: `{value}`")
    return int(value) if isinstance(value, int) else int(number)


def parse_hertz(value: object) -> int:
    """As `parse_quantity`, rounded to whole hertz. Raises: ValueError."""
    return round(parse_quantity(value, FREQUENCY))


def _of_text(text: str, dimension: Dimension) -> Decimal:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_wanted(dimension)}, not `{printable(text, 40)}`")
    unit = match["unit"]
    if unit and unit not in dimension.units:
        near = [known for known in dimension.units if known.casefold() == unit.casefold()]
        hint = f", did you mean `{near[0]}`?" if near else ""
        raise ValueError(f"{_wanted(dimension)}; `{printable(unit)}` is not one of them{hint}")
    return Decimal(match["number"]) * (dimension.units[unit] if unit else 1)


def _wanted(dimension: Dimension) -> str:
    return f"needs {dimension.noun}: a plain number, or text with a unit such as `{dimension.example}` (units: {dimension.listed})"


def _most(dimension: Dimension) -> str:
    return f" and at most {dimension.maximum:g}" if math.isfinite(dimension.maximum) else ""


def quantity_schema(dimension: Dimension) -> dict[str, Any]:
    """The JSON schema of what `parse_quantity` takes."""
    units = "|".join(dimension.units)
    number = r"^\s*[+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
    plain: dict[str, Any] = {"type": "number", "minimum": 0}
    if math.isfinite(dimension.maximum):
        plain["maximum"] = dimension.maximum
    return {"anyOf": [plain, {"type": "string", "pattern": rf"{number}\s?({units})?\s*$"}]}


Seconds = Annotated[float, BeforeValidator(lambda value: parse_quantity(value, TIME)), WithJsonSchema(quantity_schema(TIME))]
"""Seconds: a plain number, or text such as `250us`, `5ms`, `1.5s`, `2min`."""

Bytes = Annotated[int, BeforeValidator(parse_bytes), WithJsonSchema(quantity_schema(SIZE))]
"""Whole bytes: a plain number, or text such as `80MB` (10⁶) or `64MiB` (2²⁰)."""

Joules = Annotated[float, BeforeValidator(lambda value: parse_quantity(value, ENERGY)), WithJsonSchema(quantity_schema(ENERGY))]
"""Joules: a plain number, or text such as `20mJ`."""

Hertz = Annotated[int, BeforeValidator(parse_hertz), WithJsonSchema(quantity_schema(FREQUENCY))]
"""Whole hertz: a plain number, or text such as `2.4GHz`."""

Fraction = Annotated[float, BeforeValidator(lambda value: parse_quantity(value, FRACTION)), WithJsonSchema(quantity_schema(FRACTION))]
"""A share from 0 to 1: a plain number, or text such as `1%`."""

Amount = Annotated[float, BeforeValidator(lambda value: parse_quantity(value, SHARE)), WithJsonSchema(quantity_schema(SHARE))]
"""A number of at least 0 in a unit of its own; `1%` is 0.01."""

_Scale = tuple[tuple[float, str, float], ...]  # factor, symbol, the value from which it is used; the first is also for what is smaller

_SCALES: Mapping[str, _Scale] = MappingProxyType(
    {
        "s": (
            *((factor, symbol, factor) for factor, symbol in ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))),
            (60.0, "min", 120.0),
            (3600.0, "h", 7200.0),
        ),
        "B": tuple((factor, symbol, factor) for factor, symbol in ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"))),
        "J": tuple((factor, symbol, factor) for factor, symbol in ((1e-9, "nJ"), (1e-6, "µJ"), (1e-3, "mJ"), (1.0, "J"), (1e3, "kJ"))),
        "Hz": tuple((factor, symbol, factor) for factor, symbol in ((1.0, "Hz"), (1e3, "kHz"), (1e6, "MHz"), (1e9, "GHz"))),
        "%": ((0.01, "%", 0.01),),
        "1": ((1.0, "", 1.0),),
    }
)


def format_quantity(value: float, unit: str) -> str:
    """A value in an SI unit as people read it, three digits: `1.23 ms`, `80.0 MB`, `12.3 %` (unit `%`: the value is a share).

    A unit it does not know is shown unscaled; `1` is a bare number.
    """
    if not math.isfinite(value):
        return str(value)
    scales = _SCALES.get(unit, ((1.0, unit, 1.0),))
    if value == 0:
        return f"0 {'' if unit == '1' else unit}".rstrip()
    rounded = abs(float(f"{value:.3g}"))  # 999.6 ms is shown as 1.00 s
    factor, symbol, _ = next((scale for scale in reversed(scales) if rounded >= scale[2]), scales[0])
    scaled = value / factor
    text = f"{scaled:.0f}" if symbol == "B" else _three_digits(scaled)
    return f"{text} {symbol}".rstrip()


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent where that is short: 1.23, 12.3, 123, 1234."""
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 1e6 or abs(rounded) < 1e-4:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"
