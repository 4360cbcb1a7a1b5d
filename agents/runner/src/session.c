#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "providers.h"

enum { MAX_PORTS = 4096, ORT_PARALLEL = 1 };

static void check_model(const char *path) {
    struct stat about;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &about) != 0) fail(STAGE_SESSION, "cannot read the model `%s`: %s", path, strerror(errno));
    if (!S_ISREG(about.st_mode)) fail(STAGE_SESSION, "the model `%s` is not a file", path);
    if (about.st_size == 0) fail(STAGE_SESSION, "the model `%s` is empty", path);
    close(descriptor);
}

static void set(OrtStatus *status) {
    ort_check(status, STAGE_SESSION, "set the session options");
}

static void set_profiling(OrtSessionOptions *options, const char *out_dir) {
    static const char name[] = "/profile";
    size_t length = strlen(out_dir);
    char *prefix = malloc(length + sizeof name);
    if (!prefix) fail(STAGE_SESSION, "out of memory");
    memcpy(prefix, out_dir, length);
    memcpy(prefix + length, name, sizeof name);
    set(ort.EnableProfiling(options, prefix));
    free(prefix);
}

static OrtSessionOptions *make_options(const RunSpec *run) {
    static const int levels[] = {0, 1, 2, 99}; /* GraphOptimizationLevel */
    const SessionSpec *spec = &run->session;
    OrtSessionOptions *options;
    set(ort.CreateSessionOptions(&options));
    set(ort.SetSessionLogSeverityLevel(options, ORT_LOG_ERROR));
    set(ort.SetIntraOpNumThreads(options, (int)spec->intra_op_threads));
    set(ort.SetInterOpNumThreads(options, (int)spec->inter_op_threads));
    if (spec->inter_op_threads > 1) set(ort.SetSessionExecutionMode(options, ORT_PARALLEL));
    set(ort.SetSessionGraphOptimizationLevel(options, levels[spec->graph_optimization]));
    if (!spec->cpu_arena) set(ort.DisableCpuMemArena(options));
    if (!spec->memory_pattern) set(ort.DisableMemPattern(options));
    for (size_t i = 0; i < spec->config.count; i++)
        ort_check(ort.AddSessionConfigEntry(options, spec->config.keys[i], spec->config.values[i]), STAGE_SESSION, spec->config.keys[i]);
    if (run->mode == MODE_PROFILE) set_profiling(options, run->out_dir);
    provider_append(options, spec);
    return options;
}

static void describe_tensor(const OrtTypeInfo *info, Port *port) {
    const OrtTensorInfo *tensor; /* belongs to info */
    ort_check(ort.CastTypeInfoToTensorInfo(info, &tensor), STAGE_SESSION, "read the model's types");
    ort_check(ort.GetTensorElementType(tensor, &port->element), STAGE_SESSION, "read the model's types");
    ort_check(ort.GetDimensionsCount(tensor, &port->rank), STAGE_SESSION, "read the model's types");
    if (port->rank > MAX_RANK) fail(STAGE_SESSION, "`%s` has rank %zu; the runner takes at most %d", port->name, port->rank, MAX_RANK);
    ort_check(ort.GetDimensions(tensor, port->dims, port->rank), STAGE_SESSION, "read the model's types");
    port->has_shape = ort.TensorHasShape ? ort.TensorHasShape(tensor) : port->rank > 0; /* older: a scalar looks like "any rank" */
}

static Port describe_port(const Session *session, size_t index, bool output) {
    Port port = {0};
    OrtTypeInfo *info;
    char *name; /* kept for the life of the process */
    const char *doing = "read the model's inputs and outputs";
    ort_check((output ? ort.SessionGetOutputName : ort.SessionGetInputName)(session->handle, index, ort.allocator, &name), STAGE_SESSION, doing);
    ort_check((output ? ort.SessionGetOutputTypeInfo : ort.SessionGetInputTypeInfo)(session->handle, index, &info), STAGE_SESSION, doing);
    port.name = name;
    ort_check(ort.GetOnnxTypeFromTypeInfo(info, &port.kind), STAGE_SESSION, doing);
    if (port.kind == ORT_KIND_TENSOR) describe_tensor(info, &port);
    ort.ReleaseTypeInfo(info);
    return port;
}

static Port *describe_ports(const Session *session, size_t count, bool output) {
    if (count > MAX_PORTS) fail(STAGE_SESSION, "the model has %zu %s; the runner takes at most %d", count, output ? "outputs" : "inputs", MAX_PORTS);
    Port *ports = calloc(count ? count : 1, sizeof *ports);
    if (!ports) fail(STAGE_SESSION, "out of memory");
    for (size_t i = 0; i < count; i++) ports[i] = describe_port(session, i, output);
    return ports;
}

Session session_open(const RunSpec *spec, int64_t *load_ns) {
    Session session = {0};
    check_model(spec->model);
    int64_t begin = now_ns();
    OrtSessionOptions *options = make_options(spec);
    ort_check(ort.CreateSession(ort.env, spec->model, options, &session.handle), STAGE_SESSION, "load the model");
    *load_ns = now_ns() - begin;
    ort.ReleaseSessionOptions(options);
    ort_check(ort.SessionGetInputCount(session.handle, &session.input_count), STAGE_SESSION, "count the model's inputs");
    ort_check(ort.SessionGetOutputCount(session.handle, &session.output_count), STAGE_SESSION, "count the model's outputs");
    session.inputs = describe_ports(&session, session.input_count, false);
    session.outputs = describe_ports(&session, session.output_count, true);
    return session;
}

const char *port_kind_name(int kind) {
    static const char *const names[] = {"of unknown kind", "a tensor", "a sequence", "a map", "opaque", "a sparse tensor", "optional"};
    return kind >= 0 && (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : names[0];
}

const char *shape_text(const int64_t *dims, size_t rank, char text[SHAPE_TEXT]) {
    size_t used = (size_t)snprintf(text, SHAPE_TEXT, "%s", rank ? "" : "a scalar");
    for (size_t i = 0; i < rank && used < SHAPE_TEXT; i++) {
        const char *times = i ? "×" : "";
        used += (size_t)(dims[i] < 0 ? snprintf(text + used, SHAPE_TEXT - used, "%s?", times)
                                     : snprintf(text + used, SHAPE_TEXT - used, "%s%lld", times, (long long)dims[i]));
    }
    return text;
}
