"""The decisions of the measurement protocol: values in, values out; no clock, no file, no device."""

from __future__ import annotations

import re
import signal

import numpy as np
import numpy.typing as npt

from agents.run import Conditions, Latency, LaunchKind, Outcome

MIN_TAIL = 10
"""A percentile q is reported only when at least so many iterations lie beyond it: n(1 - q) >= 10."""

OUTLIER_MADS = 5.0
MAX_PROFILE_COST = 0.10
MAX_LATE_SHARE = 0.10

_SPARE_SHARE = 0.5
_ALWAYS_ALLOWED_CPUS = 0.1
_NS_PER_S = 1e9
_NO_MEMORY = re.compile(r"bad_alloc|failed to allocate memory|out of memory|cannot allocate memory", re.IGNORECASE)
_NO_SPACE = re.compile(r"no space left|disk quota exceeded|file too large", re.IGNORECASE)


def percentile_allowed(n: int, q: float) -> bool:
    """Whether n iterations say anything of their q-quantile, 0 < q < 1; the median always is given."""
    return q == 0.5 or round(n * (1 - q), 9) >= MIN_TAIL


def iterations_needed(q: float) -> int:
    """The least n for which `percentile_allowed`."""
    return round(MIN_TAIL / (1 - q))


def summarize(iterations_ns: npt.NDArray[np.int64], duration_s: float) -> Latency:
    """Figures of one launch's iterations, shape (n,), n >= 1. Quantiles interpolate linearly (Hyndman & Fan 1996, type 7).

    Outliers lie more than 5 MAD from the median; a MAD of 0 counts as the clock's nanosecond.
    """
    n = int(iterations_ns.size)
    values = iterations_ns.astype(np.float64)
    median = float(np.median(values))
    deviations = np.abs(values - median)
    mad = float(np.median(deviations))
    mean = float(values.mean())
    return Latency(
        n=n,
        p50_s=median / _NS_PER_S,
        p90_s=_quantile_s(values, 0.9),
        p99_s=_quantile_s(values, 0.99),
        mean_s=mean / _NS_PER_S,
        min_s=float(values.min()) / _NS_PER_S,
        max_s=float(values.max()) / _NS_PER_S,
        mad_s=mad / _NS_PER_S,
        cv=float(values.std()) / mean if mean > 0 else 0.0,
        outliers=int(np.count_nonzero(deviations > OUTLIER_MADS * max(mad, 1.0))),
        duration_s=duration_s,
    )


def _quantile_s(values: npt.NDArray[np.float64], q: float) -> float | None:
    return float(np.quantile(values, q)) / _NS_PER_S if percentile_allowed(values.size, q) else None


def absent_percentiles(latency: Latency, metrics: tuple[tuple[str, float], ...]) -> dict[str, str]:
    """The reason for each percentile (metric name, q) that so few iterations cannot give."""
    return {
        metric: f"{latency.n} iterations are too few: a {q * 100:g}th percentile needs {iterations_needed(q)}"
        for metric, q in metrics
        if not percentile_allowed(latency.n, q)
    }


def others_busy(before: Conditions, after: Conditions, cpu_s: float | None) -> float | None:
    """Share of all CPUs' time between two readings that was neither idle nor the runner's, 0 to 1; None where it is unknown."""
    if None in (cpu_s, before.cpu_busy_s, after.cpu_busy_s, before.cpu_total_s, after.cpu_total_s):
        return None
    assert cpu_s is not None
    assert before.cpu_busy_s is not None and after.cpu_busy_s is not None
    assert before.cpu_total_s is not None and after.cpu_total_s is not None
    total_s = after.cpu_total_s - before.cpu_total_s
    if total_s <= 0:
        return None
    return min(max((after.cpu_busy_s - before.cpu_busy_s - cpu_s) / total_s, 0.0), 1.0)


def tolerated_busy(threads: int, cpu_count: int) -> float:
    """How much of all CPUs' time others may use before a launch counts as disturbed, 0 to 1.

    Half of the CPUs that the runner's threads leave free, and a tenth of one CPU in any case (a system at rest uses that).
    So on 2 CPUs a run with one thread tolerates 30 %, one with two threads 5 %; on 8 CPUs a run with four tolerates 26 %.
    Others on free CPUs are not harmless (they share caches, memory and heat), hence half; a whole CPU's worth of others
    with no CPU free would come straight out of the runner's time, hence almost none.
    """
    free = max(cpu_count - threads, 0)
    return (_SPARE_SHARE * free + _ALWAYS_ALLOWED_CPUS) / cpu_count


def disturbance(*, busy: float | None, threads: int, cpu_count: int, warmup_stable: bool | None) -> str | None:
    """Why a launch is TAINTED, or None. What is unknown (None) disturbs nothing."""
    limit = tolerated_busy(threads, cpu_count)
    if busy is not None and busy > limit:
        return (
            f"other processes used {busy:.0%} of this machine's {cpu_count} CPUs during the launch; "
            f"{limit:.0%} is tolerated beside {threads} thread{'s' if threads > 1 else ''}"
        )
    if warmup_stable is False:
        return "the warm-up reached its limit while the medians of successive blocks still differed: the device had not settled"
    return None


def profile_refused(inference_s: float, timed_p50_s: float) -> str | None:
    """Why per-op times do not count: profiling must cost at most 10 % of an inference."""
    cost = inference_s / timed_p50_s - 1
    if cost <= MAX_PROFILE_COST:
        return None
    return (
        f"profiling made an inference {cost:.0%} slower ({inference_s:.3g} s against {timed_p50_s:.3g} s): more than {MAX_PROFILE_COST:.0%}"
    )


def pace_lost(late: int, iterations: int, interval_s: float | None) -> str | None:
    """Why paced figures do not count: more than a tenth of the inferences could not start on time."""
    if late <= MAX_LATE_SHARE * iterations:
        return None
    every = "the interval" if interval_s is None else f"every {interval_s:g} s"
    return f"{late} of {iterations} inferences could not start on time ({every}): the device cannot hold that rate"


def fell_back(provider: str, placement: dict[str, int]) -> str | None:
    """Why a run that asked for an accelerator failed: not one node ran on it (a silent fall-back to the CPU)."""
    if provider == "CPUExecutionProvider" or not placement or placement.get(provider, 0) > 0:
        return None
    ran_on = ", ".join(f"{count} on {name}" for name, count in sorted(placement.items()))
    return f"asked for {provider}, but no node of the model ran there ({ran_on})"


def runner_outcome(message: str) -> Outcome:
    """What a failure that the runner itself reported is recorded as."""
    if _NO_MEMORY.search(message):
        return Outcome.OUT_OF_MEMORY
    return Outcome.OUT_OF_SPACE if _NO_SPACE.search(message) else Outcome.ERROR


def died_of_signal(
    number: int, *, before: Conditions | None, after: Conditions | None, model_bytes: int, last_stage: str
) -> tuple[Outcome, str]:
    """Outcome and reason of a runner that a signal ended. SIGKILL is taken for lack of memory only where something says so."""
    name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
    text = f"the runner died of {name} {last_stage}"
    if number == signal.SIGKILL:
        if (evidence := _memory_evidence(before, after, model_bytes)) is not None:
            return Outcome.OUT_OF_MEMORY, f"{text}: {evidence}"
        text += "; nothing says that memory ran out"
    return Outcome.CRASHED, text


def _memory_evidence(before: Conditions | None, after: Conditions | None, model_bytes: int) -> str | None:
    if before is None:
        return None
    if after is not None and before.oom_kills is not None and after.oom_kills is not None and after.oom_kills > before.oom_kills:
        return "the kernel ended it for want of memory (its count of such kills went up)"
    available = before.available_memory_bytes
    if available is not None and available < 2 * model_bytes:
        return f"{available} bytes of memory were available before it began, and the model alone has {model_bytes}"
    return None


def should_retry(outcome: Outcome, *, retryable_error: bool, attempt: int, attempts: int) -> bool:
    """Whether a launch is tried again: what may pass by itself is, up to `attempts` in all; a wrong output never is."""
    if attempt + 1 >= attempts:
        return False
    return retryable_error or outcome in (Outcome.THROTTLED, Outcome.TAINTED, Outcome.TIMEOUT)


def is_disturbable(kind: LaunchKind) -> bool:
    """Whether what else the machine does changes what this kind of launch measures."""
    return kind in (LaunchKind.TIMED, LaunchKind.PACED)
