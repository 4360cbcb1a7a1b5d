#include "golden.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "stop.h"

typedef struct {
    OutputFile file;
    const Element *element;
    size_t rank;
    int64_t shape[MAX_RANK];
} Golden;

static void check_output(const Port *port) {
    if (port->kind != ORT_KIND_TENSOR)
        fail(STAGE_OUTPUT, "the model's output `%s` is %s; golden outputs must be tensors", port->name, port_kind_name(port->kind));
    if (!element_numbered(port->element))
        fail(STAGE_OUTPUT, "the model's output `%s` is of %s; golden outputs must be of numbers or bool", port->name, element_label(port->element));
}

static void read_shape(OrtValue *value, const Port *port, Golden *into) {
    OrtTensorInfo *info;
    int element;
    const char *doing = "read an output";
    ort_check(ort.GetTensorTypeAndShape(value, &info), STAGE_OUTPUT, doing);
    ort_check(ort.GetTensorElementType(info, &element), STAGE_OUTPUT, doing);
    ort_check(ort.GetDimensionsCount(info, &into->rank), STAGE_OUTPUT, doing);
    if (into->rank > MAX_RANK) fail(STAGE_OUTPUT, "output `%s` has rank %zu; the runner takes at most %d", port->name, into->rank, MAX_RANK);
    ort_check(ort.GetDimensions(info, into->shape, into->rank), STAGE_OUTPUT, doing);
    ort.ReleaseTensorTypeAndShapeInfo(info);
    into->element = element_numbered(element);
    if (!into->element) fail(STAGE_OUTPUT, "output `%s` is of %s", port->name, element_label(element));
}

static size_t bytes_of(const Golden *golden) {
    size_t bytes = golden->element->size;
    for (size_t i = 0; i < golden->rank; i++) bytes *= (size_t)golden->shape[i]; /* the tensor is in memory: no overflow */
    return bytes;
}

static void write_output(OrtValue *value, const Port *port, Golden *golden, int64_t sample) {
    Golden now = *golden;
    char first[SHAPE_TEXT], other[SHAPE_TEXT];
    void *data;
    read_shape(value, port, &now);
    if (sample > 0 && (now.rank != golden->rank || memcmp(now.shape, golden->shape, now.rank * sizeof now.shape[0]) != 0))
        fail(STAGE_OUTPUT, "output `%s` has shape %s for sample 0 and %s for sample %lld; golden outputs need one shape", port->name,
             shape_text(golden->shape, golden->rank, first), shape_text(now.shape, now.rank, other), (long long)sample);
    *golden = now;
    ort_check(ort.GetTensorMutableData(value, &data), STAGE_OUTPUT, "read an output");
    output_write(&golden->file, data, bytes_of(golden));
}

/* Each output is an open file: ask for as many as the system allows. */
static void allow_files(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* if not, creating one says so */
}

static Golden *open_outputs(const Session *session) {
    Golden *goldens = calloc(session->output_count + 1, sizeof *goldens);
    if (!goldens) fail(STAGE_OUTPUT, "out of memory");
    for (size_t k = 0; k < session->output_count; k++) check_output(&session->outputs[k]);
    allow_files();
    for (size_t k = 0; k < session->output_count; k++) {
        char name[32];
        snprintf(name, sizeof name, "golden-%zu.bin", k);
        goldens[k].file = output_create(name);
    }
    return goldens;
}

static void report(const Golden *golden, const Port *port, size_t index, int64_t count) {
    output_keep(&golden->file);
    FILE *line = line_begin("output");
    line_integer(line, "index", (int64_t)index);
    line_text(line, "name", port->name);
    line_text(line, "dtype", golden->element->name);
    fputs(",\"shape\":[", line);
    for (size_t i = 0; i < golden->rank; i++) fprintf(line, "%s%lld", i ? "," : "", (long long)golden->shape[i]);
    fputs("]", line);
    line_integer(line, "count", count);
    line_end(line);
}

void golden_run(Feed *feed, const Session *session, int64_t count) {
    Golden *goldens = open_outputs(session);
    int64_t done = 0;
    feed_restart(feed);
    for (; done < count && !stop_requested(); done++) {
        Once once = feed_infer(feed);
        if (once.status && stop_requested()) break;
        if (once.status) fail(STAGE_RUN, "the inference of sample %lld failed: %s", (long long)done, ort.GetErrorMessage(once.status));
        for (size_t k = 0; k < session->output_count; k++) write_output(feed->outputs[k], &session->outputs[k], &goldens[k], done);
        feed_advance(feed);
    }
    for (size_t k = 0; k < session->output_count && done > 0; k++) report(&goldens[k], &session->outputs[k], k, done);
    free(goldens);
}
