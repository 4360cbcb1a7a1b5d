/* The run spec, version 1 (agents/runner/wire.py, `RunSpec`): parsed and checked, nothing opened yet. */
#ifndef RUNNER_SPEC_H
#define RUNNER_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "elements.h"

enum { MAX_RANK = 16, MAX_INPUTS = 1024, MAX_CPUS = 1024, MAX_PAIRS = 256 };

typedef enum { MODE_TIME, MODE_GOLDEN, MODE_MEMORY, MODE_CLOCK, MODE_PROFILE } Mode;

typedef struct {
    const char **keys, **values;
    size_t count;
} Pairs;

typedef struct {
    int64_t intra_op_threads, inter_op_threads, graph_optimization; /* the last: index into disabled, basic, extended, all */
    bool cpu_arena, memory_pattern;
    const char *provider;
    Pairs provider_options, config;
} SessionSpec;

typedef struct {
    const char *name, *file; /* file NULL: zeros */
    const Element *element;
    size_t rank;
    int64_t shape[MAX_RANK], count;
    size_t bytes; /* of one sample */
} InputSpec;

typedef struct {
    const char *output, *input;
} StateSpec;

typedef struct {
    int64_t min_iterations, max_iterations;
    double min_s, max_s, tolerance;
} WarmupSpec;

typedef struct {
    int64_t min_iterations, max_iterations;
    double min_s, max_s, interval_s; /* interval_s 0: back to back */
} TimedSpec;

typedef struct {
    int64_t version;
    const char *runtime, *model, *out_dir;
    int64_t mode; /* a Mode */
    SessionSpec session;
    InputSpec *inputs;
    size_t input_count;
    StateSpec *states;
    size_t state_count;
    WarmupSpec warmup;
    TimedSpec timed;
    int64_t golden_count;
    double sample_hz;
    int *affinity;
    size_t affinity_count;
} RunSpec;

/* Reads the spec from a file, or stdin for "-"; a spec that breaks a rule ends the process (stage "spec"). */
const RunSpec *spec_read(const char *path);

#endif
