"""Whatever cannot be done ends with a line that says where and why, and the exit code of its stage."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from onnx import TensorProto, helper

from agents.runner.build import host_runtime
from agents.runner.wire import EXIT_STAGE, Failed, InputTensor, SessionOptions

X = InputTensor(name="x", dtype="float32", shape=(1, 4))


def value(name, shape, element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


def expect(launch, stage: str, *words: str) -> None:
    failed = launch.lines[-1]
    assert isinstance(failed, Failed), launch.lines
    assert (failed.stage, EXIT_STAGE[launch.exit_code]) == (stage, stage), failed
    for word in words:
        assert word in failed.message, failed.message
    assert not [path for path in launch.out.iterdir() if not path.name.endswith(".part")]


SPECS: dict[str, tuple[Callable[[dict], object], str]] = {
    "unknown key": (lambda spec: spec.update(modle="x"), "modle is not a key"),
    "unknown key inside": (lambda spec: spec["session"].update(threads=2), "session.threads is not a key"),
    "unknown version": (lambda spec: spec.update(version=2), "version"),
    "missing": (lambda spec: spec.pop("model"), "model is missing"),
    "relative path": (lambda spec: spec.update(model="model.onnx"), "absolute"),
    "empty path": (lambda spec: spec.update(out_dir=""), "out_dir is empty"),
    "wrong mode": (lambda spec: spec.update(mode="fast"), "time, golden, memory"),
    "negative dim": (lambda spec: spec["inputs"][0].update(shape=[-1, 4]), "inputs[0].shape[0]"),
    "fractional dim": (lambda spec: spec["inputs"][0].update(shape=[1.5]), "inputs[0].shape[0]"),
    "overflowing shape": (lambda spec: spec["inputs"][0].update(shape=[2**31 - 1] * 4), "too large"),
    "overflowing count": (lambda spec: spec["inputs"][0].update(shape=[2**31 - 1, 2**30], count=1_000_000, file="/x"), "too large"),
    "rank": (lambda spec: spec["inputs"][0].update(shape=[1] * 17), "at most 16"),
    "dtype": (lambda spec: spec["inputs"][0].update(dtype="string"), "string"),
    "zeros twice": (lambda spec: spec["inputs"][0].update(count=2), "count must be 1"),
    "twice": (lambda spec: spec["inputs"].append(spec["inputs"][0]), "a second input named `x`"),
    "two states": (lambda spec: spec.update(states=[{"output": "y", "input": "x"}] * 2), "two outputs"),
    "threads": (lambda spec: spec["session"].update(intra_op_threads=0), "from 1 to 256"),
    "truth": (lambda spec: spec["session"].update(cpu_arena=1), "a truth value"),
    "huge": (lambda spec: spec["timed"].update(max_iterations=10**30), "timed.max_iterations"),
    "golden without samples": (lambda spec: spec.update(mode="golden"), "golden_count"),
    "affinity": (lambda spec: spec.update(affinity=[1023]), "CPU 1023"),
    "null": (lambda spec: spec.update(warmup=None), "warmup must be an object, not null"),
    "not an object": (lambda spec: spec.update(session=[]), "session must be an object"),
    "options": (lambda spec: spec["session"].update(provider_options={"a": 1}), "provider_options.a"),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_that_breaks_a_rule(rig, name: str) -> None:
    spec = json.loads(rig.spec(rig.folder / "model.onnx", [X]).model_dump_json())
    change, words = SPECS[name]
    change(spec)
    expect(rig.launch(json.dumps(spec).encode()), "spec", words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "line 1, column 1"),
        (b'{"version": 1,\n "mode" "time"}', "line 2, column 9"),
        (b'{"version": 1, "version": 1}', "twice"),
        (b'{"version": 1} x', "follows"),
        (b'{"version": 01}', "not a JSON value"),
        (b'{"version": NaN}', "not a JSON value"),
        (b'{"version": 1e999}', "too large"),
        (b'{"version": ' + b"1" * 100 + b"}", "digits"),
        (b'{"mode": "\xff"}', "UTF-8"),
        (b'{"mode": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"mode": "\\ud800"}', "surrogate"),
        (b'{"mode": "\\ud83d\\u0041"}', "surrogate"),
        (b'{"mode": "a\\u0000b"}', "NUL"),
        (b'{"mode": "\x01"}', "control character"),
        (b'{"mode": "\\x"}', "escape"),
        (b'{"mode": "', "does not end"),
        (b'{"mode": "\\', "does not end"),
        (b"[" * 100_000, "deeply"),
        (b'{"a":' * 100_000, "deeply"),
        (b"[" + b"0," * 200_000 + b"0]", "too many values"),
        (b"{" + b",".join(b'"%d":0' % i for i in range(90_000)) + b"}", "too many keys"),
        (b" " * (5 << 20), "larger than"),
        (b"[]", "must be an object"),
        (b"\0", "not a JSON value"),
    ],
)
def test_text_that_is_not_a_spec(rig, text: bytes, words: str) -> None:
    expect(rig.launch(text), "spec", words)


def test_a_spec_that_is_not_there(rig) -> None:
    for arguments in ([str(rig.folder / "none.json")], [str(rig.folder)], [], ["a", "b"]):
        done = subprocess.run([rig.runner, *arguments], check=False, capture_output=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 10
        assert b'"stage":"spec"' in done.stdout


def test_a_folder_that_is_not_there(rig) -> None:
    expect(rig.launch(rig.spec(rig.identity(), [X], out_dir=str(rig.folder / "none"))), "output", "none", "No such file")


def test_a_disk_that_is_full(rig) -> None:
    """A limit on the size of files stands for it: both make write() fail."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))

    text = rig.spec(rig.identity(), [X]).model_dump_json().encode()
    done = subprocess.run([rig.runner, "-"], check=False, input=text, capture_output=True, preexec_fn=limit)
    assert done.returncode == 15
    assert b"cannot write `iterations.bin`: File too large" in done.stdout
    assert not (rig.out / "iterations.bin").exists()


def test_nothing_is_written_through_a_link(rig) -> None:
    outside = rig.folder / "outside"
    outside.write_text("mine")
    (rig.out / "iterations.bin.part").symlink_to(outside)
    (rig.out / "iterations.bin").symlink_to(outside)
    launch = rig.launch(rig.spec(rig.identity(), [X]))

    assert launch.exit_code == 0
    assert outside.read_text() == "mine"
    assert not (rig.out / "iterations.bin").is_symlink()


def test_a_runtime_too_old_to_use(rig) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs cc")
    source, library = rig.folder / "old.c", rig.folder / "libonnxruntime.so"
    source.write_text(
        'static const void *api(unsigned n) { return n > 11 ? 0 : (void *)1; } static const char *version(void) { return "1.11.9"; }\n'
        "static const void *base[] = {(void *)api, (void *)version}; const void *OrtGetApiBase(void) { return base; }\n"
    )
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True)
    expect(rig.launch(rig.spec(rig.identity(), [X], runtime=str(library))), "runtime", "1.11.9 is too old", "1.12 or newer")


def test_a_file_that_cannot_be_put_in_place(rig) -> None:
    (rig.out / "iterations.bin.part").mkdir()
    launch = rig.launch(rig.spec(rig.identity(), [X]))

    assert launch.exit_code == 15
    assert "iterations.bin" in launch.lines[-1].message


@pytest.mark.parametrize("what", ["missing", "not a library", "another library"])
def test_a_runtime_that_is_none(rig, what: str) -> None:
    path = rig.folder / "libonnxruntime.so"
    words = "cannot load"
    if what == "not a library":
        path.write_bytes(b"\x7fELF" + b"\0" * 100)
    elif what == "another library":
        path, words = host_runtime().with_name("libonnxruntime_providers_shared.so"), "OrtGetApiBase"
    expect(rig.launch(rig.spec(rig.identity(), [X], runtime=str(path))), "runtime", words)


def test_a_model_that_is_none(rig) -> None:
    bad = rig.folder / "bad.onnx"
    bad.write_bytes(b"this is no model, it is text" * 10)
    empty = rig.folder / "empty.onnx"
    empty.touch()
    for model, words in {
        bad: "load the model",
        empty: "is empty",
        rig.folder: "is not a file",
        rig.folder / "none.onnx": "No such file",
    }.items():
        expect(rig.launch(rig.spec(model, [X])), "session", words)


def test_a_provider_that_this_runtime_lacks(rig) -> None:
    launch = rig.launch(rig.spec(rig.identity(), [X], session=SessionOptions(provider="XnnpackExecutionProvider")))

    expect(launch, "session", "XnnpackExecutionProvider", "CPUExecutionProvider")


def test_options_that_the_cpu_does_not_have(rig) -> None:
    options = SessionOptions(provider_options={"speed": "more"})
    expect(rig.launch(rig.spec(rig.identity(), [X], session=options)), "session", "`speed`")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], ["`x` is not given"]),
        ([X, X.model_copy(update={"name": "z\x1b[31m"})], ["no input `z\x1b[31m`", "its inputs: `x`"]),
        ([X.model_copy(update={"dtype": "int64"})], ["int64", "takes float32"]),
        ([X.model_copy(update={"shape": (1, 5)})], ["shape 1×5", "takes 1×4"]),
        ([X.model_copy(update={"shape": (4,)})], ["shape 4", "takes 1×4"]),
        ([X.model_copy(update={"shape": ()})], ["a scalar", "takes 1×4"]),
        ([X.model_copy(update={"file": "/dev/zero"})], ["not a file"]),
        ([X.model_copy(update={"file": "/nowhere/x.bin"})], ["No such file"]),
    ],
)
def test_inputs_that_do_not_fit_the_model(rig, inputs, words) -> None:
    expect(rig.launch(rig.spec(rig.identity(), inputs)), "input", *words)


@pytest.mark.parametrize("size", [0, 15, 17, 31, 33])
def test_a_file_of_another_size(rig, size: int) -> None:
    path = rig.folder / "x.bin"
    path.write_bytes(b"\0" * size)
    tensor = X.model_copy(update={"file": str(path), "count": 2})
    expect(rig.launch(rig.spec(rig.identity(), [tensor])), "input", f"has {size} bytes", "make 32")


def test_inputs_that_do_not_fit_in_memory(rig) -> None:
    model = rig.save([helper.make_node("Identity", ["x"], ["y"])], [value("x", ["n"])], [value("y", ["n"])])
    expect(rig.launch(rig.spec(model, [InputTensor(name="x", dtype="float64", shape=(2**30,))])), "input", "2048 MB")


def test_a_bool_that_is_neither(rig) -> None:
    model = rig.save([helper.make_node("Not", ["x"], ["y"])], [value("x", [2], TensorProto.BOOL)], [value("y", [2], TensorProto.BOOL)])
    tensor = rig.tensor("x", np.array([[0, 2]], np.uint8), "bool")
    expect(rig.launch(rig.spec(model, [tensor])), "input", "neither 0 nor 1")


def test_inputs_that_are_not_plain_tensors(rig) -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    cases = {
        "a sequence": ([helper.make_node("SequenceLength", ["x"], ["y"])], helper.make_value_info("x", helper.make_sequence_type_proto(floats))),
        "optional": ([helper.make_node("OptionalHasElement", ["x"], ["h"]), helper.make_node("Cast", ["h"], ["y"], to=TensorProto.INT64)],
                     helper.make_value_info("x", helper.make_optional_type_proto(floats))),
        "string": ([helper.make_node("StringNormalizer", ["x"], ["s"]), helper.make_node("Size", ["s"], ["y"])], value("x", [2], TensorProto.STRING)),
    }  # fmt: skip
    for words, (nodes, declared) in cases.items():
        model = rig.save(nodes, [declared], [value("y", [], TensorProto.INT64)])
        expect(rig.launch(rig.spec(model, [X])), "input", "`x`", words)


def test_outputs_that_are_not_plain_tensors_matter_only_to_golden(rig) -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    cases = {
        "a sequence": ([helper.make_node("SequenceConstruct", ["x"], ["y"])], helper.make_value_info("y", helper.make_sequence_type_proto(floats))),
        "string": ([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.STRING)], value("y", [1, 4], TensorProto.STRING)),
    }  # fmt: skip
    for words, (nodes, declared) in cases.items():
        model = rig.save(nodes, [value("x", [1, 4])], [declared])
        expect(rig.launch(rig.spec(model, [X], "golden", golden_count=1)), "output", "`y`", words)
        assert rig.launch(rig.spec(model, [X], "memory")).exit_code == 0


def test_golden_outputs_need_one_shape(rig) -> None:
    model = rig.save([helper.make_node("NonZero", ["x"], ["y"])], [value("x", [4])], [value("y", [1, "n"], TensorProto.INT64)])
    samples = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], np.float32)
    launch = rig.launch(rig.spec(model, [rig.tensor("x", samples)], "golden", golden_count=2))

    expect(launch, "output", "`y`", "1×2 for sample 0", "1×3 for sample 1")


def test_states_of_other_names_and_types(rig) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Size", ["x"], ["n"])]
    model = rig.save(nodes, [value("x", [1, 4])], [value("y", [1, 4]), value("n", [], TensorProto.INT64)])
    expect(rig.launch(rig.spec(model, [X], states={"z": "x"})), "input", "output `z`", "`y`")
    expect(rig.launch(rig.spec(model, [X], states={"y": "w"})), "input", "input `w`", "`x`")
    expect(rig.launch(rig.spec(model, [X], states={"n": "x"})), "input", "`n` is of int64", "takes float32")
    several = rig.tensor("x", np.zeros((2, 1, 4), np.float32))
    expect(rig.launch(rig.spec(model, [several], states={"y": "x"})), "input", "`x` has several samples")


def test_an_inference_that_fails(rig) -> None:
    """Gather with an index beyond its end: only the run can tell."""
    model = rig.save(
        [helper.make_node("Gather", ["x", "i"], ["y"])], [value("x", [4]), value("i", [1], TensorProto.INT64)], [value("y", [1])]
    )
    inputs = [InputTensor(name="x", dtype="float32", shape=(4,)), rig.tensor("i", np.array([[1], [9]]))]
    expect(rig.launch(rig.spec(model, inputs)), "run", "inference 1", "bounds")
    launch = rig.launch(rig.spec(model, inputs, "golden", golden_count=2))
    assert (launch.exit_code, launch.lines[-1].stage) == (14, "run")


def test_a_long_message_is_cut_between_characters(rig) -> None:
    tensor = X.model_copy(update={"name": "é" * 5000})
    launch = rig.launch(rig.spec(rig.identity(), [tensor]))

    assert launch.exit_code == 13
    assert len(launch.lines[-1].message.encode()) <= 2010
    assert "\ufffd" not in launch.lines[-1].message
    assert launch.lines[-1].message.endswith("é…")


def test_nobody_reads_its_lines(rig) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [rig.runner, "-"], check=False, input=rig.spec(rig.identity(), [X]).model_dump_json().encode(), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert done.returncode == 15


def test_version(rig) -> None:
    done = subprocess.run([rig.runner, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().replace(".", "").isdigit()
