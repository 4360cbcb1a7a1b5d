"""Building the runner: cached by content, atomic, and clear about what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents.errors import BuildError, RunnerError
from agents.runner.build import build_runner, default_cache, host_runtime, runner_version

COMPILER = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
FAST = ["-O0"]
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs cc, gcc or clang")


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine whose compilers are the given scripts and no other; `REAL` in a script is a compiler that works."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setitem(sys.modules, "ziglang", None)
    monkeypatch.delenv("CC", raising=False)

    def place(**scripts: str) -> Path:
        real_path = os.environ["PATH"]
        for name, text in scripts.items():
            script = folder / name
            script.write_text(f"#!/bin/sh\nPATH='{real_path}'\n{text.replace('REAL', COMPILER or 'cc')}\n")
            script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return place


@needs_compiler
def test_the_second_build_is_the_first_one(only, tmp_path: Path) -> None:
    only(cc='REAL "$@"; echo built >> "$(dirname "$0")/log"')
    first = build_runner(cache=tmp_path / "cache", extra_flags=FAST)
    second = build_runner(cache=tmp_path / "cache", extra_flags=FAST)

    assert first == second
    assert first.version == runner_version()
    assert subprocess.run([first.path, "--version"], capture_output=True, text=True, check=True).stdout.strip() == first.version
    log = (tmp_path / "bin" / "log").read_text().splitlines()
    assert len(log) == 3  # asked for its version twice, built once
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.path.name]


@needs_compiler
def test_the_same_sources_make_the_same_bytes(only, tmp_path: Path) -> None:
    only(cc='REAL "$@"')
    assert build_runner(cache=tmp_path / "one", extra_flags=FAST).sha256 == build_runner(cache=tmp_path / "two", extra_flags=FAST).sha256


@needs_compiler
def test_another_compiler_or_flag_is_another_runner(only, tmp_path: Path) -> None:
    folder = only(cc='REAL "$@"')
    first = build_runner(cache=tmp_path / "cache", extra_flags=FAST)
    other = build_runner(cache=tmp_path / "cache", extra_flags=[*FAST, "-DNOTHING"])
    (folder / "cc").write_text((folder / "cc").read_text().replace("\n/", '\n[ "$1" = --version ] && echo newer\n/'))
    newer = build_runner(cache=tmp_path / "cache", extra_flags=FAST)

    assert len({first.path, other.path, newer.path}) == 3


@needs_compiler
def test_concurrent_builds_agree(only, tmp_path: Path) -> None:
    only(cc='REAL "$@"')
    with ThreadPoolExecutor(3) as pool:
        built = list(pool.map(lambda _: build_runner(cache=tmp_path / "cache", extra_flags=FAST), range(3)))

    assert len({(runner.path, runner.sha256) for runner in built}) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


@needs_compiler
def test_cc_comes_first_and_a_broken_one_is_passed_over(only, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = only(
        mine='echo used > "$(dirname "$0")/log"; REAL "$@"', cc="[ $1 = --version ] || { echo 'no headers' >&2; exit 3; }", gcc='REAL "$@"'
    )
    assert build_runner(cache=tmp_path / "one", extra_flags=FAST).path.exists()
    assert not (folder / "log").exists()
    monkeypatch.setenv("CC", "mine -pipe")
    build_runner(cache=tmp_path / "two", extra_flags=FAST)
    assert (folder / "log").read_text() == "used\n"


def test_no_compiler(only, tmp_path: Path) -> None:
    only()
    with pytest.raises(BuildError, match=r"no C compiler .*apt install gcc.*pip install ziglang"):
        build_runner(cache=tmp_path / "cache", extra_flags=FAST)
    with pytest.raises(BuildError, match="pip install ziglang"):
        build_runner("aarch64-linux", cache=tmp_path / "cache")


def test_a_compiler_that_fails_is_quoted(only, tmp_path: Path) -> None:
    only(cc="[ $1 = --version ] || { echo 'stdio.h: not found' >&2; exit 3; }")
    with pytest.raises(BuildError, match=r"apt install.*cc ended with 3: stdio.h: not found"):
        build_runner(cache=tmp_path / "cache", extra_flags=FAST)
    assert not list((tmp_path / "cache").iterdir())


def test_cc_that_is_no_command(only, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only()
    monkeypatch.setenv("CC", "gcc 'unclosed")
    with pytest.raises(BuildError, match="environment variable CC"):
        build_runner(cache=tmp_path / "cache", extra_flags=FAST)


@needs_compiler
def test_a_cache_that_cannot_be_written(only, tmp_path: Path) -> None:
    only(cc='REAL "$@"')
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot keep the built runner in"):
        build_runner(cache=tmp_path / "file" / "cache")


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache() == tmp_path / "xdg" / "thresher"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / ".cache" / "thresher"


def test_where_the_default_cache_cannot_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fallback = default_cache()
    assert fallback.parent == tmp_path
    assert fallback.stat().st_mode & 0o777 == 0o700

    fallback.chmod(0o777)  # someone else could put a program there
    with pytest.raises(BuildError, match="XDG_CACHE_HOME"):
        default_cache()


def test_the_runtime_of_this_machine() -> None:
    """Found without importing it: a process of its own can tell."""
    code = "import sys; from agents.runner.build import host_runtime; print(host_runtime()); assert 'onnxruntime' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(said) == host_runtime()
    assert host_runtime().is_file()


def test_no_runtime_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunnerError, match="pip install onnxruntime") as caught:
        host_runtime()
    assert caught.value.stage == "runtime"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs PyPI's ziglang")
@pytest.mark.parametrize(("target", "machine"), [("aarch64-linux", 183), ("x86_64-linux", 62)])
def test_cross_builds(target, machine: int) -> None:
    """ELF's e_machine (18 bytes in): 183 is AArch64, 62 x86-64."""
    built = build_runner(target, cache=default_cache(), extra_flags=["-Werror"])
    header = built.path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == machine


@pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None or importlib.util.find_spec("ziglang") is None, reason="needs qemu-aarch64 and ziglang"
)
@pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine needs no emulation")
def test_the_arm_runner_runs() -> None:
    built = build_runner("aarch64-linux", cache=default_cache(), extra_flags=["-Werror"])
    sysroot = next((path for path in (Path("/usr/aarch64-linux-gnu"),) if path.is_dir()), None)
    if sysroot is None:
        pytest.skip("needs an AArch64 C library (Debian: libc6-arm64-cross)")
    done = subprocess.run(["qemu-aarch64", "-L", str(sysroot), built.path, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == runner_version()
