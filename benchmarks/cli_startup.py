"""`thresher --help` against `python -c "import typer"`, interleaved, medians of wall time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 15


def _seconds(argv: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(argv, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    thresher = [str(Path(sys.executable).with_name("thresher")), "--help"]
    typer = [sys.executable, "-c", "import typer"]
    times: dict[str, list[float]] = {"thresher": [], "typer": []}
    for _ in range(ROUNDS):
        times["thresher"].append(_seconds(thresher))
        times["typer"].append(_seconds(typer))
    ours, peer = (statistics.median(times[name]) for name in ("thresher", "typer"))
    print(
        f"thresher --help {ours * 1e3:.0f} ms; python -c 'import typer' {peer * 1e3:.0f} ms; ratio {ours / peer:.2f} (median of {ROUNDS})"
    )


if __name__ == "__main__":
    main()
