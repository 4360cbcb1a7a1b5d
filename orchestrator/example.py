"""The example farm that `thresher init` and `thresher demo` write: a trained network that reads digits."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from orchestrator.errors import StoreError, UsageError

FILES = ("farm.yaml", "model.yaml", "campaign.yaml", "model.onnx", "samples.npz", "calibration.npz")


def example_folder() -> Path:
    """Where the example's files are: inside the installed package, or in the checkout."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "examples" / "digits", package.parent / "examples" / "digits"):
        if all((candidate / name).is_file() for name in FILES):
            return candidate
    raise StoreError("the example's files are missing from this installation: install Thresher again")


def write_example(folder: Path) -> list[Path]:
    """Write the example farm into a folder, which is made where it is not there; all of it or nothing.

    Raises: UsageError when one of its files is there already or the folder cannot be written.
    """
    source = example_folder()
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(there)} already, and nothing of a farm is overwritten: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".init-") as scratch:
            for name in FILES:
                shutil.copyfile(source / name, Path(scratch, name))
            for name in FILES:
                Path(scratch, name).replace(folder / name)
    except OSError as error:
        raise UsageError(f"cannot write the farm into {folder}: {error.strerror or error}") from error
    return [folder / name for name in FILES]
