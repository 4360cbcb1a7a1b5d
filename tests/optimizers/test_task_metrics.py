"""Task metrics against their definitions, computed another way; what happens on the edges; paired intervals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.metrics import Better
from optimizers.bootstrap import MIN_SAMPLES, changed_samples, paired_drop
from optimizers.errors import ModelError, UnsupportedModel
from optimizers.metrics import TASK_METRICS, task_metric
from optimizers.model_file import METRIC_NAMES
from optimizers.python_metric import load_python_metric
from optimizers.statistics import NumberStatistics, RankStatistics, Recorded, SumStatistics, load_statistics, save_statistics


def value(name: str, outputs, labels, *, clip=None) -> float:
    labels = [np.asarray(label) for label in labels]
    metric = task_metric(name, clip=clip, labels_dtype=labels[0].dtype)
    statistics = metric.gather([metric.part(np.asarray(output), label) for output, label in zip(outputs, labels, strict=True)])
    return float(statistics.values(np.ones((1, statistics.n)))[0])


def test_every_metric_of_model_yaml_is_in_the_table() -> None:
    assert tuple(TASK_METRICS) == METRIC_NAMES


@given(st.integers(0, 2**32 - 1), st.integers(6, 30))
@settings(max_examples=30, deadline=None)
def test_top_k_agrees_with_sorting(seed: int, classes: int) -> None:
    random = np.random.RandomState(seed)
    scores = random.randint(0, 5, (20, classes)).astype(np.float32)  # with many ties
    labels = random.randint(0, classes, 20)
    order = np.argsort(-scores, axis=1, kind="stable")
    assert value("top1", scores, labels) == (scores.argmax(1) == labels).mean()
    assert value("top5", scores, labels) == (order[:, :5] == labels[:, None]).any(1).mean()


def test_top1_of_token_labels_leaves_out_the_unlabelled() -> None:
    scores = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert value("top1", [scores], [[0, 1, 0, -1]]) == pytest.approx(2 / 3)


def test_top1_never_counts_nan_as_a_hit() -> None:
    assert value("top1", [[np.nan, 0, 1], [0, 1, 0]], [0, 1]) == 0.5


@pytest.mark.parametrize(
    ("name", "output", "label", "said"),
    [
        ("top1", [1.0, 2.0], 2, "label 2.*2 classes"),
        ("top1", [1.0, 2.0], 0.5, "whole numbers"),
        ("top1", [0.3], 0, "more than 1"),
        ("top5", [1.0, 2.0], 0, "more than 5"),
        ("top1", [[1.0, 2.0]], [0, 1], "labels are"),
        ("mse", [1.0, 2.0], [1.0], "mse"),
        ("psnr_db", [[1.0]], [[1.0, 2.0]], "psnr_db"),
        ("perplexity", [[1.0, 2.0]], [5], "label 5"),
        ("roc_auc", [0.5], 2, "labels 0 and 1"),
        ("roc_auc", [0.5, 0.1, 0.2], 1, "one score"),
        ("roc_auc", [0.5], 1, "both kinds"),
    ],
)
def test_labels_that_do_not_fit_are_told(name: str, output, label, said: str) -> None:
    with pytest.raises((ModelError, UnsupportedModel), match=said):
        value(name, [output], [label])


def test_mse_and_psnr() -> None:
    assert value("mse", [[1.0, 2.0], [3.0, 3.0]], [[1.0, 0.0], [3.0, 1.0]]) == 2.0
    assert value("mse", [[[1.0]], [[3.0]]], [1.0, 1.0]) == 2.0
    images = [np.full((1, 2, 2), 0.5), np.full((1, 2, 2), 0.1)]
    expected = np.mean([10 * np.log10(1 / 0.25), 10 * np.log10(1 / 0.01)])
    assert value("psnr_db", images, [np.zeros((1, 2, 2))] * 2) == pytest.approx(expected)


def test_psnr_peak_follows_the_range() -> None:
    off = [np.full((2, 2), 1.0)]
    assert value("psnr_db", off, [np.zeros((2, 2), np.uint8)]) == pytest.approx(10 * np.log10(255**2))
    assert value("psnr_db", off, [np.zeros((2, 2))], clip=(-1, 1)) == pytest.approx(10 * np.log10(4))


def test_perplexity_is_the_number_of_equally_likely_classes() -> None:
    assert value("perplexity", [np.zeros((4, 7))], [[0, 1, 2, 6]]) == pytest.approx(7)
    assert value("perplexity", [np.full((4, 7), 1e4)], [[0, 1, -100, 6]]) == pytest.approx(7)


def test_sqnr_is_twenty_db_for_a_tenth_of_the_amplitude() -> None:
    reference = np.random.RandomState(0).standard_normal((5, 40))
    assert value("sqnr_db", reference * 1.1, reference) == pytest.approx(20)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_roc_auc_is_the_share_of_pairs_in_order(seed: int) -> None:
    random = np.random.RandomState(seed)
    scores, flags = random.randint(0, 6, 30).astype(float), random.randint(-1, 2, 30)
    flags[:2] = 0, 1
    up, down = scores[flags == 1][:, None], scores[flags == 0][None]
    expected = ((up > down) + 0.5 * (up == down)).mean()
    assert value("roc_auc", scores, flags) == pytest.approx(expected)
    two_columns = [np.array([1 - score, score]) for score in scores]
    assert value("roc_auc", two_columns, flags) == pytest.approx(expected)


# --- paired intervals ---


def hits(*flags: int) -> SumStatistics:
    return SumStatistics(np.stack([np.array(flags, float), np.ones(len(flags))], 1), "ratio")


def test_drop_is_positive_when_worse_for_either_direction() -> None:
    good, bad = hits(*[1] * 20), hits(*[1] * 15, *[0] * 5)
    better = paired_drop(good, bad, Better.HIGHER)
    assert better is not None
    assert better.value == pytest.approx(0.25)
    worse = paired_drop(bad, good, Better.LOWER)
    assert worse is not None
    assert worse.value == pytest.approx(0.25)


def test_pairing_makes_the_interval_narrow() -> None:
    """300 samples of which 90 fail in both and 6 more only in the variant: 2 % worse, give or take the six."""
    both = [0] * 90 + [1] * 204
    drop = paired_drop(hits(*both, *[1] * 6), hits(*both, *[0] * 6), Better.HIGHER)
    assert drop is not None
    assert drop.low is not None and drop.high is not None
    assert drop.value == pytest.approx(0.02)
    assert 0 < drop.low < 0.02 < drop.high < 0.05
    assert changed_samples(hits(*both, *[1] * 6), hits(*both, *[0] * 6)) == 6


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.RandomState(3)
    covered = 0
    for _ in range(60):
        base = random.random(80) < 0.8
        variant = base & (random.random(80) < 0.9)
        drop = paired_drop(hits(*base), hits(*variant), Better.HIGHER)
        assert drop is not None and drop.low is not None and drop.high is not None
        covered += drop.low <= 0.08 <= drop.high
    assert covered >= 50


def test_same_seed_same_interval() -> None:
    a, b = hits(*[1, 0, 1, 1] * 10), hits(*[1, 1, 0, 1] * 10)
    assert paired_drop(a, b, Better.HIGHER) == paired_drop(a, b, Better.HIGHER)


def test_too_few_samples_give_no_interval() -> None:
    drop = paired_drop(hits(*[1] * (MIN_SAMPLES - 1)), hits(*[0] * (MIN_SAMPLES - 1)), Better.HIGHER)
    assert drop is not None
    assert (drop.value, drop.low, drop.high) == (1.0, None, None)
    assert drop.why is not None and "too few" in drop.why


def test_undefined_metric_gives_no_drop() -> None:
    assert paired_drop(hits(1, 1), SumStatistics(np.array([[np.nan, 1], [1, 1]]), "ratio"), Better.HIGHER) is None
    infinite = SumStatistics(np.array([[1.0, 0.0]]), "decibel_ratio")
    assert paired_drop(infinite, infinite, Better.HIGHER) is None


def test_ranks_are_resampled_by_sequence() -> None:
    random = np.random.RandomState(0)
    flags = random.random((12, 50)) < 0.5
    owner = np.repeat(np.arange(12), 50)
    scores = random.standard_normal((12, 50)) + flags
    noisy = scores + random.standard_normal((12, 50))
    drop = paired_drop(
        RankStatistics(scores.ravel(), flags.ravel(), owner, 12), RankStatistics(noisy.ravel(), flags.ravel(), owner, 12), Better.HIGHER
    )
    assert drop is not None and drop.low is not None and drop.high is not None
    assert 0 < drop.low < drop.value < drop.high


@pytest.mark.parametrize(
    "statistics",
    [hits(1, 0, 1), RankStatistics(np.array([0.5, 1]), np.array([True, False]), np.array([0, 1]), 2), NumberStatistics(0.25, 9)],
)
def test_statistics_survive_their_file(tmp_path: Path, statistics) -> None:
    save_statistics(tmp_path / "s.npz", Recorded({"metric": "x\n'"}, statistics))
    back = load_statistics(tmp_path / "s.npz")
    assert back.of == {"metric": "x\n'"}
    weights = np.array([[2.0, 1.0, 1.0][: statistics.n] + [1.0] * (statistics.n - 3)])
    assert type(back.statistics) is type(statistics)
    assert back.statistics.values(weights) == statistics.values(weights)
    assert [one.name for one in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize("content", [b"", b"PK", b"junk", json.dumps({}).encode()])
def test_damaged_statistics_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(ModelError, match="baseline's accuracy"):
        load_statistics(tmp_path / "s.npz")


# --- the user's own functions ---


def python_metric(folder: Path, name: str, body: str):
    (folder / f"{name}.py").write_text(body)
    return load_python_metric(f"python:{name}:score", folder=folder)


OUTPUTS = {"y": np.arange(6, dtype=np.float32).reshape(3, 2)}


def test_a_function_may_give_one_number_or_one_a_sample(tmp_path: Path) -> None:
    one = python_metric(
        tmp_path,
        "user_metric_one",
        "def score(outputs, labels):\n    return outputs['y'].sum()\nscore.better = 'lower'\nscore.unit = 'm'\n",
    )
    assert (one.better, one.unit) == (Better.LOWER, "m")
    assert one.score(OUTPUTS, None, n=3) == NumberStatistics(15.0, 3)
    each = python_metric(
        tmp_path,
        "user_metric_each",
        "def score(outputs, labels):\n    import user_metric_one\n    return outputs['y'].sum(1) == labels\n",
    )
    statistics = each.score(OUTPUTS, np.array([1, 5, 0]), n=3)
    assert float(statistics.values(np.ones((1, 3)))[0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("user_metric_syntax", "def score(:\n", "cannot be imported: SyntaxError"),
        ("user_metric_absent", "def scores(o, l): return 1\n", "cannot be imported: AttributeError"),
        ("user_metric_number", "score = 3\n", "not a function"),
        ("user_metric_better", "def score(o, l): return 1\nscore.better = 'bigger'\n", "'bigger'"),
        (
            "user_metric_raises",
            "def score(o, l):\n    raise KeyError('out')\n",
            r"failed: KeyError: 'out' \(user_metric_raises.py, line 2\)",
        ),
        ("user_metric_text", "def score(o, l): return 'good'\n", "failed: ValueError"),
        ("user_metric_shape", "def score(o, l): return [[1, 2]]\n", r"\(1, 2\)"),
    ],
)
def test_what_a_users_function_does_wrong_is_told(tmp_path: Path, name: str, body: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        python_metric(tmp_path, name, body).score(OUTPUTS, None, n=3)


def test_a_missing_module_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No module named 'user_metric_nowhere'"):
        load_python_metric("python:user_metric_nowhere:score", folder=tmp_path)
