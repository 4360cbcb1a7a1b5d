"""Build the on-device runner from its C sources, once for each source, compiler and target."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agents.errors import BuildError, RunnerError

Target = Literal["host", "x86_64-linux", "aarch64-linux"]

SOURCES = Path(__file__).with_name("src")
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pthread", "-s")
LIBRARIES = ("-ldl",)
OLDEST_GLIBC = "2.28"  # what the onnxruntime wheels ask for, too
COMPILER_TIMEOUT_S = 180.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Built:
    """A runner that is there: `sha256` is that of the file's bytes."""

    path: Path
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Compiler:
    """A way to call a C compiler; `identity` changes when what it makes may."""

    command: tuple[str, ...]
    identity: str


def build_runner(target: Target = "host", *, cache: Path, extra_flags: Sequence[str] = ()) -> Built:
    """The runner for a target, from `cache` or else built now; concurrent builds are safe.

    `host` takes the first of $CC, cc, gcc, clang and PyPI's ziglang that works. A named target is built against an old glibc by
    ziglang where it is installed, else by a cross compiler, else by this machine's own.

    Raises: BuildError when no compiler works, saying what to install, or when `cache` cannot be written.
    """
    version = runner_version()
    failures: list[str] = []
    for compiler in _compilers(target, cache):
        path = cache / f"thresher-runner-{version}-{target}-{_key(compiler, target, extra_flags)[:16]}"
        if not path.is_file():
            failure = _compile(compiler, path, extra_flags)
            if failure:
                log.info("trying another compiler: %s", failure)
                failures.append(failure)
                continue
        return Built(path, version, hashlib.sha256(path.read_bytes()).hexdigest())
    raise BuildError(_no_compiler(target, failures))


def runner_version() -> str:
    """The version that the runner will say of itself."""
    match = re.search(r'^#define RUNNER_VERSION "([^"]+)"$', (SOURCES / "runner.c").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise BuildError(f"{SOURCES / 'runner.c'} defines no RUNNER_VERSION; reinstall Thresher")
    return match[1]


def host_runtime() -> Path:
    """ONNX Runtime's shared library inside the installed wheel, found without importing it.

    Raises: RunnerError (stage `runtime`) when there is none.
    """
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise RunnerError("ONNX Runtime is not installed here. Install it: pip install onnxruntime", stage="runtime")
    folder = Path(spec.origin).parent / "capi"
    libraries = sorted(path for path in folder.glob("libonnxruntime.so*") if path.is_file())
    if not libraries:
        raise RunnerError(
            f"the installed onnxruntime has no libonnxruntime.so in {folder}: this needs a wheel for Linux. Try: pip install --force-reinstall onnxruntime",
            stage="runtime",
        )
    return libraries[-1]


def default_cache() -> Path:
    """The user's cache folder for Thresher, made if need be; a private folder under the temporary one where that cannot be.

    Raises: BuildError when neither can be written.
    """
    wanted = _user_cache()
    if wanted is not None and _usable(wanted):
        return wanted
    fallback = Path(tempfile.gettempdir()) / f"thresher-cache-{os.getuid()}"
    if not _usable(fallback) or not _private(fallback):
        raise BuildError(
            f"no folder to keep the built runner in: neither {wanted} nor {fallback} can be used. Set XDG_CACHE_HOME to a folder of yours"
        )
    log.warning("%s cannot be written: built runners are kept in %s", wanted, fallback)
    return fallback


def _user_cache() -> Path | None:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if Path(configured).is_absolute():  # the XDG base directory specification: relative paths are ignored
        return Path(configured) / "thresher"
    try:
        return Path.home() / ".cache" / "thresher"
    except RuntimeError:  # no HOME and no entry in the user database
        return None


def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _private(folder: Path) -> bool:
    """Nobody else can have put a program there: anyone may make names in the temporary folder."""
    about = folder.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022


def _compilers(target: Target, cache: Path) -> Iterator[Compiler]:
    if target == "host":
        yield from _native_compilers()
        yield from _zig(f"{_machine()}-linux-gnu", cache)
        return
    machine = target.removesuffix("-linux")
    yield from _zig(f"{machine}-linux-gnu", cache)
    yield from _named([f"{machine}-linux-gnu-gcc"])
    if machine == _machine() and sys.platform == "linux":
        yield from _native_compilers()


def _native_compilers() -> Iterator[Compiler]:
    try:
        configured = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise BuildError(f"the environment variable CC cannot be read as a command: {error}") from error
    if configured:
        yield from _named(configured)
    for name in ("cc", "gcc", "clang"):
        yield from _named([name])


def _named(command: Sequence[str]) -> Iterator[Compiler]:
    if shutil.which(command[0]) is None:
        return
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return
    if said.returncode == 0:
        yield Compiler(tuple(command), said.stdout.decode("utf-8", "replace"))


def _zig(triple: str, cache: Path) -> Iterator[Compiler]:
    if importlib.util.find_spec("ziglang") is None:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        identity = f"ziglang {version('ziglang')} {triple}.{OLDEST_GLIBC}"
    except PackageNotFoundError:
        return
    yield Compiler((sys.executable, "-m", "ziglang", "cc", "-target", f"{triple}.{OLDEST_GLIBC}"), identity)


def _machine() -> str:
    machine = platform.machine()
    return {"arm64": "aarch64", "amd64": "x86_64", "AMD64": "x86_64"}.get(machine, machine)


def _key(compiler: Compiler, target: Target, extra_flags: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in (compiler.identity, target, *FLAGS, *extra_flags, *LIBRARIES):
        digest.update(part.encode() + b"\0")
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in {".c", ".h"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _compile(compiler: Compiler, path: Path, extra_flags: Sequence[str]) -> str | None:
    """Build into a folder of its own, then give the file its name. Gives what went wrong with this compiler, or None."""
    sources = sorted(source.name for source in SOURCES.glob("*.c"))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".build-") as folder:
            made = Path(folder) / "runner"
            command = [*compiler.command, *FLAGS, *extra_flags, *sources, "-o", str(made), *LIBRARIES]
            failure = _run(command, _environment(path.parent))
            if failure is None:
                _put(made, path)
            elif os.strerror(errno.ENOSPC) in failure:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return failure
    except OSError as error:
        raise BuildError(
            f"cannot keep the built runner in {path.parent}: {error.strerror or error}. Name another folder, or make room there"
        ) from error


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    name = Path(command[0]).name if "ziglang" not in command else "ziglang"
    try:
        done = subprocess.run(command, cwd=SOURCES, env=environment, capture_output=True, timeout=COMPILER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"{name} did not end within {COMPILER_TIMEOUT_S:g} s"
    if done.returncode == 0:
        return None
    return f"{name} ended with {done.returncode}: {done.stderr.decode('utf-8', 'replace').strip()[-2000:]}"


def _environment(cache: Path) -> Mapping[str, str]:
    """Zig keeps caches; by default one of them would be beside the sources."""
    return {**os.environ, "LC_ALL": "C", "ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"), "ZIG_LOCAL_CACHE_DIR": str(cache / "zig")}


def _put(made: Path, path: Path) -> None:
    """The file appears whole or not at all, also after a power cut."""
    with made.open("rb") as file:
        os.fsync(file.fileno())
    made.chmod(0o755)
    made.replace(path)


def _no_compiler(target: Target, failures: Sequence[str]) -> str:
    install = "Install one: `apt install gcc` (Debian, Ubuntu) or `pip install ziglang`"
    if target == "aarch64-linux" and _machine() != "aarch64":
        install = "Install one: `pip install ziglang`, or `apt install gcc-aarch64-linux-gnu` (Debian, Ubuntu)"
    if not failures:
        return f"no C compiler for {target} was found, and the runner is built from C. {install}"
    return f"the runner could not be built for {target}. {install}. What was tried: " + "; ".join(failures)
