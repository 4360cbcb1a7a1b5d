#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fields.h"
#include "output.h"

enum { MAX_SPEC_BYTES = 4 << 20 };

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define DAY_S 86400.0
#define MOST_ITERATIONS 10000000.0
#define MOST_SAMPLES 1000000.0

static void read_pairs(const Json *value, const Place *place, Pairs *pairs) {
    fields_expect(value, place, JSON_OBJECT, MAX_PAIRS);
    pairs->keys = fields_allocate(value->count, sizeof *pairs->keys);
    pairs->values = fields_allocate(value->count, sizeof *pairs->values);
    for (const Json *member = value->first; member; member = member->next) {
        Place inner = place_member(place, member->key);
        fields_expect(member, &inner, JSON_STRING, 0);
        pairs->keys[pairs->count] = member->key;
        pairs->values[pairs->count++] = member->text;
    }
}

static void read_provider_options(const Json *value, const Place *place, void *into) {
    read_pairs(value, place, &((SessionSpec *)into)->provider_options);
}

static void read_config(const Json *value, const Place *place, void *into) {
    read_pairs(value, place, &((SessionSpec *)into)->config);
}

static void read_session(const Json *value, const Place *place, void *into) {
    static const char *const levels[] = {"disabled", "basic", "extended", "all", NULL};
    static const Field fields[] = {
        {.name = "intra_op_threads", .kind = FIELD_WHOLE, .offset = offsetof(SessionSpec, intra_op_threads), .low = 1, .high = 256},
        {.name = "inter_op_threads", .kind = FIELD_WHOLE, .offset = offsetof(SessionSpec, inter_op_threads), .low = 1, .high = 256},
        {.name = "graph_optimization", .kind = FIELD_WORD, .offset = offsetof(SessionSpec, graph_optimization), .words = levels},
        {.name = "cpu_arena", .kind = FIELD_BOOL, .offset = offsetof(SessionSpec, cpu_arena)},
        {.name = "memory_pattern", .kind = FIELD_BOOL, .offset = offsetof(SessionSpec, memory_pattern)},
        {.name = "provider", .kind = FIELD_TEXT, .offset = offsetof(SessionSpec, provider)},
        {.name = "provider_options", .kind = FIELD_OTHER, .read = read_provider_options},
        {.name = "config", .kind = FIELD_OTHER, .read = read_config},
    };
    fields_read(value, place, fields, COUNT(fields), &((RunSpec *)into)->session);
}

static void read_element(const Json *value, const Place *place, void *into) {
    fields_expect(value, place, JSON_STRING, 0);
    ((InputSpec *)into)->element = element_named(value->text);
    if (!((InputSpec *)into)->element)
        fail(STAGE_SPEC, "%s is `%s`, which is not an element type that the runner takes (float32, int64, bool, ...)", place->text, value->text);
}

static void read_shape(const Json *value, const Place *place, void *into) {
    InputSpec *input = into;
    fields_expect(value, place, JSON_ARRAY, MAX_RANK);
    for (const Json *dim = value->first; dim; dim = dim->next) {
        Place inner = place_element(place, input->rank);
        fields_expect(dim, &inner, JSON_NUMBER, 0);
        if (!dim->whole || dim->integer < 0 || dim->integer > INT32_MAX)
            fail(STAGE_SPEC, "%s must be a whole number from 0 to %d", inner.text, INT32_MAX);
        input->shape[input->rank++] = dim->integer;
    }
}

/* Bytes of one sample; `count` samples must fit the address space too. */
static void check_size(InputSpec *input, const Place *place) {
    size_t bytes = input->element->size, all;
    for (size_t i = 0; i < input->rank; i++)
        if (__builtin_mul_overflow(bytes, (size_t)input->shape[i], &bytes)) fail(STAGE_SPEC, "%s: its shape is too large", place->text);
    if (__builtin_mul_overflow(bytes, (size_t)input->count, &all) || all > PTRDIFF_MAX)
        fail(STAGE_SPEC, "%s: its shape times its count is too large", place->text);
    input->bytes = bytes;
}

static void read_input(const Json *value, const Place *place, InputSpec *input) {
    static const Field fields[] = {
        {.name = "name", .kind = FIELD_TEXT, .offset = offsetof(InputSpec, name), .required = true},
        {.name = "dtype", .kind = FIELD_OTHER, .read = read_element, .required = true},
        {.name = "shape", .kind = FIELD_OTHER, .read = read_shape, .required = true},
        {.name = "count", .kind = FIELD_WHOLE, .offset = offsetof(InputSpec, count), .low = 1, .high = MOST_SAMPLES},
        {.name = "file", .kind = FIELD_PATH, .offset = offsetof(InputSpec, file), .nullable = true},
    };
    input->count = 1;
    fields_read(value, place, fields, COUNT(fields), input);
    if (!input->file && input->count != 1) fail(STAGE_SPEC, "%s: without a file its count must be 1", place->text);
    check_size(input, place);
}

static void read_inputs(const Json *value, const Place *place, void *into) {
    RunSpec *spec = into;
    fields_expect(value, place, JSON_ARRAY, MAX_INPUTS);
    spec->inputs = fields_allocate(value->count, sizeof *spec->inputs);
    for (const Json *element = value->first; element; element = element->next) {
        Place inner = place_element(place, spec->input_count);
        InputSpec *input = &spec->inputs[spec->input_count];
        read_input(element, &inner, input);
        for (size_t i = 0; i < spec->input_count; i++)
            if (strcmp(spec->inputs[i].name, input->name) == 0) fail(STAGE_SPEC, "%s: a second input named `%s`", inner.text, input->name);
        spec->input_count++;
    }
}

static void read_states(const Json *value, const Place *place, void *into) {
    static const Field fields[] = {
        {.name = "output", .kind = FIELD_TEXT, .offset = offsetof(StateSpec, output), .required = true},
        {.name = "input", .kind = FIELD_TEXT, .offset = offsetof(StateSpec, input), .required = true},
    };
    RunSpec *spec = into;
    fields_expect(value, place, JSON_ARRAY, MAX_INPUTS);
    spec->states = fields_allocate(value->count, sizeof *spec->states);
    for (const Json *element = value->first; element; element = element->next) {
        Place inner = place_element(place, spec->state_count);
        StateSpec *state = &spec->states[spec->state_count];
        fields_read(element, &inner, fields, COUNT(fields), state);
        for (size_t i = 0; i < spec->state_count; i++)
            if (strcmp(spec->states[i].input, state->input) == 0) fail(STAGE_SPEC, "%s: input `%s` is fed by two outputs", inner.text, state->input);
        spec->state_count++;
    }
}

static void read_warmup(const Json *value, const Place *place, void *into) {
    static const Field fields[] = {
        {.name = "min_iterations", .kind = FIELD_WHOLE, .offset = offsetof(WarmupSpec, min_iterations), .high = MOST_ITERATIONS},
        {.name = "max_iterations", .kind = FIELD_WHOLE, .offset = offsetof(WarmupSpec, max_iterations), .high = MOST_ITERATIONS},
        {.name = "min_s", .kind = FIELD_REAL, .offset = offsetof(WarmupSpec, min_s), .high = DAY_S},
        {.name = "max_s", .kind = FIELD_REAL, .offset = offsetof(WarmupSpec, max_s), .high = DAY_S},
        {.name = "tolerance", .kind = FIELD_REAL, .offset = offsetof(WarmupSpec, tolerance), .high = 10},
    };
    fields_read(value, place, fields, COUNT(fields), &((RunSpec *)into)->warmup);
}

static void read_timed(const Json *value, const Place *place, void *into) {
    static const Field fields[] = {
        {.name = "min_iterations", .kind = FIELD_WHOLE, .offset = offsetof(TimedSpec, min_iterations), .high = MOST_ITERATIONS},
        {.name = "max_iterations", .kind = FIELD_WHOLE, .offset = offsetof(TimedSpec, max_iterations), .low = 1, .high = MOST_ITERATIONS},
        {.name = "min_s", .kind = FIELD_REAL, .offset = offsetof(TimedSpec, min_s), .high = DAY_S},
        {.name = "max_s", .kind = FIELD_REAL, .offset = offsetof(TimedSpec, max_s), .high = DAY_S},
        {.name = "interval_s", .kind = FIELD_REAL, .offset = offsetof(TimedSpec, interval_s), .low = 1e-6, .high = 3600, .nullable = true},
    };
    fields_read(value, place, fields, COUNT(fields), &((RunSpec *)into)->timed);
}

static void read_affinity(const Json *value, const Place *place, void *into) {
    RunSpec *spec = into;
    fields_expect(value, place, JSON_ARRAY, MAX_CPUS);
    spec->affinity = fields_allocate(value->count, sizeof *spec->affinity);
    for (const Json *cpu = value->first; cpu; cpu = cpu->next) {
        Place inner = place_element(place, spec->affinity_count);
        fields_expect(cpu, &inner, JSON_NUMBER, 0);
        if (!cpu->whole || cpu->integer < 0 || cpu->integer >= MAX_CPUS)
            fail(STAGE_SPEC, "%s must be a CPU number from 0 to %d", inner.text, MAX_CPUS - 1);
        spec->affinity[spec->affinity_count++] = (int)cpu->integer;
    }
}

static void read_spec(const Json *value, RunSpec *spec) {
    static const char *const modes[] = {"time", "golden", "memory", "clock", "profile", NULL};
    static const Field fields[] = {
        {.name = "version", .kind = FIELD_WHOLE, .offset = offsetof(RunSpec, version), .low = 1, .high = 1},
        {.name = "runtime", .kind = FIELD_PATH, .offset = offsetof(RunSpec, runtime), .required = true},
        {.name = "model", .kind = FIELD_PATH, .offset = offsetof(RunSpec, model), .required = true},
        {.name = "out_dir", .kind = FIELD_PATH, .offset = offsetof(RunSpec, out_dir), .required = true},
        {.name = "mode", .kind = FIELD_WORD, .offset = offsetof(RunSpec, mode), .words = modes, .required = true},
        {.name = "session", .kind = FIELD_OTHER, .read = read_session},
        {.name = "inputs", .kind = FIELD_OTHER, .read = read_inputs, .required = true},
        {.name = "states", .kind = FIELD_OTHER, .read = read_states},
        {.name = "warmup", .kind = FIELD_OTHER, .read = read_warmup},
        {.name = "timed", .kind = FIELD_OTHER, .read = read_timed},
        {.name = "golden_count", .kind = FIELD_WHOLE, .offset = offsetof(RunSpec, golden_count), .high = MOST_SAMPLES},
        {.name = "sample_hz", .kind = FIELD_REAL, .offset = offsetof(RunSpec, sample_hz), .low = 1e-6, .high = 1000},
        {.name = "affinity", .kind = FIELD_OTHER, .read = read_affinity},
    };
    fields_read(value, &(Place){""}, fields, COUNT(fields), spec);
    if (spec->mode == MODE_GOLDEN && spec->golden_count < 1) fail(STAGE_SPEC, "golden_count must be at least 1 in mode golden");
}

/* The version decides how the rest is read: look at it first. */
static void check_version(const Json *value) {
    for (const Json *member = value->first; value->kind == JSON_OBJECT && member; member = member->next)
        if (strcmp(member->key, "version") == 0 && !(member->kind == JSON_NUMBER && member->whole && member->integer == 1))
            fail(STAGE_SPEC, "the run spec is of a version that this runner does not know; it reads version 1");
}

static char *read_file(const char *path, size_t *size) {
    int descriptor = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) fail(STAGE_SPEC, "cannot read the run spec `%s`: %s", path, strerror(errno));
    char *text = fields_allocate(MAX_SPEC_BYTES + 1, 1);
    for (*size = 0; *size <= MAX_SPEC_BYTES;) {
        ssize_t got = read(descriptor, text + *size, MAX_SPEC_BYTES + 1 - *size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(STAGE_SPEC, "cannot read the run spec `%s`: %s", path, strerror(errno));
        if (got == 0) break;
        *size += (size_t)got;
    }
    if (*size > MAX_SPEC_BYTES) fail(STAGE_SPEC, "the run spec is larger than %d bytes", MAX_SPEC_BYTES);
    if (descriptor != STDIN_FILENO) close(descriptor);
    text[*size] = '\0';
    return text;
}

const RunSpec *spec_read(const char *path) {
    static RunSpec spec = {
        .version = 1,
        .session = {.intra_op_threads = 1, .inter_op_threads = 1, .graph_optimization = 3, .cpu_arena = true, .memory_pattern = true,
                    .provider = "CPUExecutionProvider"},
        .warmup = {.min_iterations = 10, .min_s = 1, .max_iterations = 100, .max_s = 10, .tolerance = 0.02},
        .timed = {.min_iterations = 50, .min_s = 5, .max_iterations = 1000000, .max_s = 60},
        .sample_hz = 10,
    };
    char problem[160];
    size_t size;
    char *text = read_file(path, &size);
    const Json *value = json_parse(text, size, problem, sizeof problem);
    if (!value) fail(STAGE_SPEC, "the run spec is not JSON: %s", problem);
    free(text);
    check_version(value);
    read_spec(value, &spec);
    return &spec;
}
