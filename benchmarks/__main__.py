"""Run every comparison, or those named: python -m benchmarks [NAME...]. Each prints ratios against a named peer, from one run."""

from __future__ import annotations

import importlib
import sys
import time

BENCHMARKS = ("cli_startup", "runner_overhead", "engine_overhead", "aa_compare")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        started = time.monotonic()
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
        print(f"   ({time.monotonic() - started:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
