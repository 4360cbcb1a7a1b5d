/* Runs one model on one device through ONNX Runtime, as a run spec says.

   usage: thresher-runner SPEC.json | thresher-runner - | thresher-runner --version

   Reads a `RunSpec`, writes JSON lines to stdout and files to the spec's out_dir (agents/runner/wire.py has both formats).
   Exit code: 0, the stage that failed (10 spec, 11 runtime, 12 session, 13 input, 14 run, 15 output), or 143 after SIGTERM. */
#include <string.h>
#include <unistd.h>

#include "affinity.h"
#include "clocks.h"
#include "golden.h"
#include "loop.h"
#include "memory.h"
#include "sampler.h"
#include "stop.h"

#define RUNNER_VERSION "1.0.0"

static void start(const RunSpec *spec) {
    int64_t begin = now_ns();
    ort_open(spec->runtime);
    int64_t end = now_ns();
    FILE *line = line_begin("start");
    line_integer(line, "version", 1);
    line_text(line, "runner_version", RUNNER_VERSION);
    line_text(line, "runtime_version", ort.version);
    line_integer(line, "pid", getpid());
    line_seconds(line, "library_load_s", end - begin);
    line_end(line);
}

static Session load(const RunSpec *spec) {
    int64_t load_ns;
    Session session = session_open(spec, &load_ns);
    FILE *line = line_begin("loaded");
    line_seconds(line, "session_load_s", load_ns);
    line_end(line);
    return session;
}

static void iterate(Feed *feed, const RunSpec *spec, bool store) {
    loop_first(feed);
    loop_warm_up(feed, &spec->warmup);
    if (!stop_requested()) loop_timed(feed, &spec->timed, store);
}

static void run_memory(Feed *feed, const RunSpec *spec) {
    memory_report("loaded");
    sampler_start(memory_sample, spec->sample_hz);
    iterate(feed, spec, false);
    sampler_end();
    memory_sample(0);
    memory_report_peak();
    feed_release(feed);
    ort.ReleaseSession(feed->session);
    memory_report("retained");
}

static void run_clock(Feed *feed, const RunSpec *spec) {
    clocks_find();
    loop_first(feed);
    loop_warm_up(feed, &spec->warmup);
    sampler_start(clocks_sample, spec->sample_hz);
    if (!stop_requested()) loop_timed(feed, &spec->timed, false);
    sampler_end();
}

static void run_profile(Feed *feed, const RunSpec *spec) {
    char *path;
    iterate(feed, spec, false);
    ort_check(ort.SessionEndProfiling(feed->session, ort.allocator, &path), STAGE_OUTPUT, "end the profile");
    output_adopt(path, "profile.json");
}

static void run(const RunSpec *spec) {
    static const StopHooks hooks = {.interrupt = feed_interrupt, .salvage = loop_salvage};
    Samples *samples = tensors_read(spec);
    if (spec->mode == MODE_MEMORY) memory_report("baseline");
    Session session = load(spec);
    Feed feed = feed_open(spec, &session, samples);
    stop_hooks(&hooks);
    switch ((Mode)spec->mode) {
    case MODE_TIME: iterate(&feed, spec, true); break;
    case MODE_GOLDEN: golden_run(&feed, &session, spec->golden_count); break;
    case MODE_MEMORY: run_memory(&feed, spec); break;
    case MODE_CLOCK: run_clock(&feed, spec); break;
    case MODE_PROFILE: run_profile(&feed, spec); break;
    }
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "--version") == 0) {
        puts(RUNNER_VERSION);
        return 0;
    }
    output_begin();
    stop_watch();
    if (count != 2) fail(STAGE_SPEC, "usage: thresher-runner SPEC.json, or - for stdin, or --version");
    const RunSpec *spec = spec_read(arguments[1]);
    output_folder(spec->out_dir);
    affinity_set(spec);
    start(spec);
    run(spec);
    finish(stop_requested());
}
