"""What of this processor decides how weights are quantised."""

from __future__ import annotations

import platform
from pathlib import Path


def saturates_u8s8(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether uint8 × int8 sums of this processor's kernels overflow, so that weights need 7 bits.

    x86 without VNNI adds pairs of products in 16 bits (VPMADDUBSW), which 255 × 127 × 2 overflows. Where the flags cannot
    be read, VNNI is taken to be there: 7 bits would cost accuracy everywhere.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "i686", "i386"):
        return False
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")), [])
    return bool(flags) and not {"avx512_vnni", "avx_vnni"} & set(flags)
