"""The one table of passes: a new pass is its file, its import and its line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from optimizers.optimizer_pass import Pass
from optimizers.passes.compile_ort import CompileOrt
from optimizers.passes.fp16 import Fp16
from optimizers.passes.prune_magnitude import PruneMagnitude
from optimizers.passes.quantize_dynamic import QuantizeDynamic
from optimizers.passes.quantize_static import QuantizeStatic
from optimizers.passes.simplify import Simplify

_ALL: tuple[type[Pass], ...] = (Simplify, Fp16, QuantizeDynamic, QuantizeStatic, PruneMagnitude, CompileOrt)

PASSES: Mapping[str, type[Pass]] = MappingProxyType({one.name: one for one in _ALL})
"""Every pass by the name that recipes use."""
