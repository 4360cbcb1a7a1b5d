"""Samples: npz files read without trust, checked against the model, split so that nothing is evaluated on what calibrated it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizers.dataset import calibration_rows, evaluation_rows, split_samples
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.feeds import calibration_feeds, run_samples
from optimizers.inputs import plan_inputs
from optimizers.model_file import ModelFile
from optimizers.npz import MAX_INFLATED_BYTES, read_index
from optimizers.samples import Wanted, convert, open_samples
from optimizers.session import TensorInfo, open_session


def tensor(name: str = "x", dtype: str = "float32", shape: tuple[int | str | None, ...] = ("n", 3)) -> TensorInfo:
    return TensorInfo(name, dtype, shape, f"tensor({dtype})")


def wanted(*inputs: TensorInfo, streaming: bool = False) -> Wanted:
    return Wanted(inputs or (tensor(),), "labels", {"sr": "`constants` sets that input"}, streaming)


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_are_what_was_saved(tmp_path: Path, save) -> None:
    x = np.arange(12, dtype=">f4").reshape(4, 3)
    save(tmp_path / "s.npz", x=np.asfortranarray(x), labels=np.arange(4))
    samples = open_samples(tmp_path / "s.npz", wanted())
    assert samples.n == 4
    assert [samples.inputs["x"].row(i).tolist() for i in range(4)] == x.tolist()
    assert samples.labels is not None
    assert samples.labels.row(3) == 3


def test_shards_are_joined_in_order_of_name(tmp_path: Path) -> None:
    for name, start in (("b.npz", 2), ("a.npz", 0), ("c.npz", 3)):
        stop = {"a.npz": 2, "b.npz": 3, "c.npz": 6}[name]
        write(tmp_path / name, x=np.repeat(np.arange(start, stop, dtype=np.float32)[:, None], 3, 1))
    samples = open_samples(tmp_path, wanted())
    assert [samples.inputs["x"].row(i)[0] for i in range(samples.n)] == [0, 1, 2, 3, 4, 5]


def test_equal_data_have_equal_fingerprints(tmp_path: Path) -> None:
    x = np.zeros((2, 3), np.float32)
    prints = {open_samples(write(tmp_path / f"{i}.npz", x=x + (i == 2)), wanted()).fingerprint for i in range(3)}
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.zeros((2, 3), np.float32)}, "did you mean `x`"),
        ({"labels": np.zeros(2)}, "no array for the model's input `x`"),
        ({"x": np.zeros((2, 3), np.float32), "sr": np.zeros(2)}, "`constants` sets that input"),
        ({"x": np.zeros((2, 4), np.float32)}, r"\(2, 4\).*\[n, 3\]"),
        ({"x": np.zeros((2, 1, 3), np.float32)}, "n_samples"),
        ({"x": np.float32(1)}, "n_samples"),
        ({"x": np.zeros((2, 3), np.float32), "labels": np.zeros(3)}, r"`x` has \(2,\).*`labels` has \(3,\)"),
        ({"x": np.zeros((0, 3), np.float32)}, "no samples"),
        ({"x": np.zeros((2, 3), np.complex64)}, "plain numbers"),
        ({"x": np.array([["a", "b", "c"]])}, "plain numbers"),
        ({"x": np.zeros((2, 3), np.float32), "labels": np.float32(1)}, "single value"),
    ],
)
def test_what_does_not_fit_the_model_is_told(tmp_path: Path, arrays, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        open_samples(write(tmp_path / "s.npz", **arrays), wanted())


def test_floats_do_not_become_integers(tmp_path: Path) -> None:
    path = write(tmp_path / "s.npz", x=np.zeros((2, 3), np.float64))
    with pytest.raises(ModelError, match=r"float64.*int32"):
        open_samples(path, wanted(tensor(dtype="int32")))


@pytest.mark.parametrize(
    ("values", "dtype", "fits"),
    [
        (np.array([1, 255]), "uint8", True),
        (np.array([1, 256]), "uint8", False),
        (np.array([-1]), "uint64", False),
        (np.array([True, False]), "float32", True),
        (np.array([1e300]), "float32", False),
        (np.array([np.inf]), "float32", True),
        (np.array([0.1]), "float32", True),
        (np.array([2]), "bool", False),
        (np.array(7), "int64", True),
    ],
)
def test_conversion_loses_nothing_unseen(values: np.ndarray, dtype: str, fits: bool) -> None:
    info = tensor(dtype=dtype)
    if fits:
        converted = convert(values, info, where="here")
        assert (converted.dtype, converted.shape) == (np.dtype(dtype), values.shape)
    else:
        with pytest.raises(ModelError, match="here"):
            convert(values, info, where="here")


def test_no_pickles(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ModelError, match="plain numbers"):
        read_index(tmp_path / "s.npz")


def header(shape: str, descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(path: Path, data: bytes, *, name: str = "x.npy", compress: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compress) as file:
        file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "shape", ["(4611686018427387904,)", "(1000000, 1000000, 1000000)", "(-1,)", "(2, 3)", "(True,)", "('a',)", "((((", "(" * 60]
)
def test_headers_that_lie_are_refused_before_anything_is_read(tmp_path: Path, shape: str) -> None:
    with pytest.raises(ModelError):
        open_samples(archive(tmp_path / "s.npz", header(shape) + bytes(8)), wanted())


def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    """A member that claims more than the limit: refused by its header, whatever it holds."""
    path = tmp_path / "s.npz"
    count = MAX_INFLATED_BYTES // 4 + 1
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", header(f"({count},)") + bytes(1000))
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    true_size, claimed = len(header("(1,)")) + 1000, 128 + count * 4
    assert data[place + 24 : place + 28] == true_size.to_bytes(4, "little")
    data[place + 24 : place + 28] = min(claimed, 2**32 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ModelError):
        read_index(path)


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "s.npz", x=np.ones((200_000, 3), np.float32))
    data = bytearray(path.read_bytes())
    data[1_000_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        open_samples(path, wanted())


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.ones((5, 3), np.float32))
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(0, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "s.npz"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        samples = open_samples(path, wanted())
    except ModelError:
        return
    assert samples.inputs["x"].row(0).shape == (3,)


@given(st.integers(2, 2000), st.none() | st.integers(0, 3000))
@settings(max_examples=50, deadline=None)
def test_split_is_disjoint_and_complete(n: int, count: int | None) -> None:
    if count is not None and count >= n:
        with pytest.raises(ModelError, match="leaves nothing"):
            split_samples(n, count)
        return
    split = split_samples(n, count)
    assert sorted(split.evaluation + split.calibration) == list(range(n))
    assert len(split.calibration) == (min(128, n // 4) if count is None else count)
    assert split == split_samples(n, count)


# --- with a model ---

LINEAR = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[{batch}, 3] x) => (float[{batch}, 3] y) {{ y = Add (x, x) }}"""
COUNTER = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[n, 1] x, float[n, m] s, int64 k) => (float[n, 1] y, float[n, m] t) {
  kf = Cast <to = 1> (k)
  u = Mul (x, kf)
  t = Add (s, u)
  y = ReduceSum <keepdims = 1> (t)
}"""


def model_of(folder: Path, text: str, **fields) -> ModelFile:
    path = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return ModelFile(name="m", path=path, **fields)


def planned(model: ModelFile):
    session = open_session(model.path)
    return session, plan_inputs(model, session.signature)


@pytest.mark.parametrize(("batch", "group"), [("n", 1), ("1", 1), ("4", 4)])
def test_each_sample_meets_its_own_output_whatever_the_batch(tmp_path: Path, batch: str, group: int) -> None:
    x = np.arange(18, dtype=np.float32).reshape(6, 3)
    model = model_of(tmp_path, LINEAR.format(batch=batch), samples=write(tmp_path / "s.npz", x=x), calibration=0)
    session, plan = planned(model)
    assert plan.group == group
    samples, rows = evaluation_rows(model, plan)
    got = [(index, out["y"].tolist()) for index, out in run_samples(session, plan, samples, rows, outputs=["y"])]
    assert got == [(i, (2 * x[i]).tolist()) for i in range(6)]


def streaming(folder: Path, x: np.ndarray, **fields) -> ModelFile:
    return model_of(
        folder,
        COUNTER,
        samples=write(folder / "s.npz", x=x),
        **{"constants": {"k": 2}, "states": {"t": "s"}, "state_shapes": {"s": (1, 1)}, **fields},
    )


def test_states_begin_at_zero_for_each_sequence(tmp_path: Path) -> None:
    x = np.array([[1, 2, 3], [10, 20, 30]], np.float32).reshape(2, 3, 1, order="C")
    model = streaming(tmp_path, x, calibration=0)
    session, plan = planned(model)
    samples, rows = evaluation_rows(model, plan)
    got = [out["y"].ravel().tolist() for _, out in run_samples(session, plan, samples, rows, outputs=["y"])]
    assert got == [[2, 6, 12], [20, 60, 120]]


def test_calibration_feeds_carry_the_states_of_the_float_model(tmp_path: Path) -> None:
    x = np.arange(1, 25, dtype=np.float32).reshape(8, 3, 1)
    model = streaming(tmp_path, x)
    held = split_samples(8, None).calibration
    feeds = list(calibration_feeds(model, model.path))
    assert len(feeds) == len(held) * 3
    assert [float(feed["s"].item()) for feed in feeds[:3]] == [0, 2 * x[held[0], 0, 0], 2 * x[held[0], :2, 0].sum()]
    assert feeds[0]["k"].shape == ()
    few = list(calibration_feeds(model, model.path, limit=2))
    assert len(few) == 2


def test_calibration_feeds_are_spread_over_the_samples(tmp_path: Path) -> None:
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    other = write(tmp_path / "c.npz", x=x)
    model = model_of(tmp_path, LINEAR.format(batch="n"), calibration=other)
    firsts = [feed["x"][0, 0] for feed in calibration_feeds(model, model.path, limit=5)]
    assert firsts == [0, 6, 12, 18, 24]


def test_copies_of_evaluation_samples_are_not_calibrated_on(tmp_path: Path) -> None:
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    model = model_of(
        tmp_path,
        LINEAR.format(batch="n"),
        samples=write(tmp_path / "s.npz", x=x[:6]),
        calibration=write(tmp_path / "c.npz", x=x[4:].astype(np.float64)),
    )
    _, plan = planned(model)
    assert calibration_rows(model, plan)[1] == (2, 3, 4, 5)
    same = model.model_copy(update={"calibration": write(tmp_path / "d.npz", x=x[:3])})
    with pytest.raises(UnsupportedModel, match="also an evaluation sample"):
        calibration_rows(same, plan)


def test_without_samples_there_is_nothing_to_calibrate_on(tmp_path: Path) -> None:
    model = model_of(tmp_path, LINEAR.format(batch="n"))
    with pytest.raises(UnsupportedModel, match="no samples"):
        next(calibration_feeds(model, model.path))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"constants": {"kk": 1}}, "did you mean `k`"),
        ({"constants": {"k": 1.5}}, "int64"),
        ({"constants": {"k": [[1], [2, 3]]}}, "different lengths"),
        ({"states": {"tt": "s"}}, "no output `tt`"),
        ({"state_shapes": {}}, "give it in `state_shapes`"),
        ({"state_shapes": {"s": (1, 1, 1)}}, r"\[n, m\]"),
    ],
)
def test_names_and_shapes_in_model_yaml_are_checked(tmp_path: Path, fields, said: str) -> None:
    model = streaming(tmp_path, np.zeros((2, 3, 1), np.float32), **fields)
    with pytest.raises(ModelError, match=said):
        planned(model)
