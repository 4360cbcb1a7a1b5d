#include "loop.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "stop.h"

enum { BLOCK = 10 };

/* The timed loop's figures, which another thread reads when it has to end the process. */
static struct {
    int64_t *nanoseconds; /* NULL: not stored */
    _Atomic int64_t iterations, began, ended, late;
    atomic_bool running;
} measured;

/* Ends the process if the inference failed for any reason but a request to stop; false: stop. */
static bool went_well(const Once *once, const char *phase, int64_t iteration) {
    if (!once->status) return true;
    if (!stop_requested()) fail(STAGE_RUN, "inference %lld of the %s failed: %s", (long long)iteration, phase, ort.GetErrorMessage(once->status));
    ort.ReleaseStatus(once->status);
    return false;
}

static inline int64_t nanoseconds_of(double seconds) {
    return (int64_t)(seconds * 1e9);
}

void loop_first(Feed *feed) {
    feed_restart(feed);
    Once once = feed_infer(feed);
    if (!went_well(&once, "first run", 0)) finish(true);
    feed_advance(feed);
    FILE *line = line_begin("first");
    line_seconds(line, "latency_s", once.end - once.begin);
    line_end(line);
}

static int64_t median_of_block(int64_t *block) {
    for (int i = 1; i < BLOCK; i++) {
        int64_t value = block[i];
        int k = i;
        for (; k > 0 && block[k - 1] > value; k--) block[k] = block[k - 1];
        block[k] = value;
    }
    return (block[BLOCK / 2 - 1] + block[BLOCK / 2]) / 2;
}

/* Blocks of ten: their medians, two at a time. */
typedef struct {
    int64_t block[BLOCK], last;
    int filled;
    bool agree;
} Stability;

static void stability_add(Stability *stability, int64_t nanoseconds, double tolerance) {
    stability->block[stability->filled++] = nanoseconds;
    if (stability->filled < BLOCK) return;
    int64_t median = median_of_block(stability->block), apart = llabs(median - stability->last);
    stability->agree = stability->last > 0 && (double)apart <= tolerance * (double)stability->last;
    stability->last = median;
    stability->filled = 0;
}

static bool warm_enough(const WarmupSpec *spec, int64_t iterations, int64_t elapsed, bool agree) {
    if (elapsed >= nanoseconds_of(spec->max_s)) return true;
    if (iterations < spec->min_iterations || elapsed < nanoseconds_of(spec->min_s)) return false;
    return agree || iterations >= spec->max_iterations;
}

void loop_warm_up(Feed *feed, const WarmupSpec *spec) {
    Stability stability = {0};
    int64_t began = now_ns(), ended = began, iterations = 0;
    feed_restart(feed);
    while (!stop_requested() && !warm_enough(spec, iterations, ended - began, stability.agree)) {
        Once once = feed_infer(feed);
        if (!went_well(&once, "warm-up", iterations)) break;
        feed_advance(feed);
        stability_add(&stability, once.end - once.begin, spec->tolerance);
        iterations++;
        ended = once.end;
    }
    FILE *line = line_begin("warmed-up");
    line_integer(line, "iterations", iterations);
    line_seconds(line, "duration_s", ended - began);
    line_bool(line, "stable", stability.agree);
    line_end(line);
}

/* Waits until `due`, or counts as late when the inference before ended after that; gives when the next one is due. */
static int64_t pace(int64_t due, int64_t interval) {
    if (measured.ended > due) {
        measured.late++;
        return now_ns() + interval; /* no burst to catch up: that would be another workload */
    }
    struct timespec until = timespec_of(due);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) continue;
    return due + interval;
}

static bool enough(const TimedSpec *spec, int64_t iterations, int64_t elapsed) {
    if (iterations >= spec->max_iterations || elapsed >= nanoseconds_of(spec->max_s)) return true;
    return iterations >= spec->min_iterations && elapsed >= nanoseconds_of(spec->min_s);
}

/* Once at least. All bookkeeping is outside the two clock reads of feed_infer. */
static void iterate(Feed *feed, const TimedSpec *spec) {
    int64_t interval = nanoseconds_of(spec->interval_s), began = now_ns(), due = began, iterations = 0, *store = measured.nanoseconds;
    measured.began = measured.ended = began;
    while (!stop_requested() && !(iterations > 0 && enough(spec, iterations, measured.ended - began))) {
        if (iterations > 0 && due - began >= nanoseconds_of(spec->max_s)) break; /* paced: the next would start too late */
        if (interval > 0) due = pace(due, interval);
        Once once = feed_infer(feed);
        if (!went_well(&once, "timed loop", iterations)) return;
        if (store) store[iterations] = once.end - once.begin;
        iterations++;
        atomic_store_explicit(&measured.ended, once.end, memory_order_relaxed);
        atomic_store_explicit(&measured.iterations, iterations, memory_order_release);
        feed_advance(feed);
    }
}

void loop_timed(Feed *feed, const TimedSpec *spec, bool store) {
    if (store) {
        measured.nanoseconds = malloc((size_t)spec->max_iterations * sizeof *measured.nanoseconds);
        if (!measured.nanoseconds) fail(STAGE_RUN, "out of memory for the times of %lld inferences", (long long)spec->max_iterations);
    }
    feed_restart(feed);
    measured.running = true;
    iterate(feed, spec);
    output_lock();
    loop_salvage();
    output_unlock();
}

void loop_salvage(void) {
    if (!atomic_exchange(&measured.running, false)) return;
    int64_t iterations = atomic_load_explicit(&measured.iterations, memory_order_acquire);
    if (measured.nanoseconds) {
        OutputFile file = output_create("iterations.bin");
        output_write(&file, measured.nanoseconds, (size_t)iterations * sizeof *measured.nanoseconds);
        output_keep(&file);
    }
    FILE *line = line_begin("timed");
    line_integer(line, "iterations", iterations);
    line_seconds(line, "duration_s", measured.ended - measured.began);
    line_integer(line, "late", measured.late);
    line_end(line);
}
