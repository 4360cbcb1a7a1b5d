#include "feed.h"

#include <stdlib.h>
#include <string.h>

OrtRunOptions *feed_options;
static OrtMemoryInfo *cpu_memory;

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) fail(STAGE_INPUT, "out of memory");
    return memory;
}

static const InputSpec *given_input(const RunSpec *spec, const char *name, size_t *index) {
    for (*index = 0; *index < spec->input_count; (*index)++)
        if (strcmp(spec->inputs[*index].name, name) == 0) return &spec->inputs[*index];
    return NULL;
}

static size_t port_named(const Port *ports, size_t count, const char *name) {
    size_t i = 0;
    while (i < count && strcmp(ports[i].name, name) != 0) i++;
    return i;
}

/* The names of ports for a message; a long list is cut. */
static const char *list_ports(const Port *ports, size_t count, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "%s", count ? "" : "none");
    for (size_t i = 0; i < count && used < size; i++) used += (size_t)snprintf(text + used, size - used, "%s`%s`", i ? ", " : "", ports[i].name);
    return text;
}

static void check_names(const RunSpec *spec, const Session *session) {
    char known[1024];
    size_t unused;
    for (size_t i = 0; i < spec->input_count; i++)
        if (port_named(session->inputs, session->input_count, spec->inputs[i].name) == session->input_count)
            fail(STAGE_INPUT, "the model has no input `%s`; its inputs: %s", spec->inputs[i].name,
                 list_ports(session->inputs, session->input_count, known, sizeof known));
    for (size_t i = 0; i < session->input_count; i++)
        if (!given_input(spec, session->inputs[i].name, &unused)) fail(STAGE_INPUT, "the model's input `%s` is not given", session->inputs[i].name);
}

static bool same_shape(const Port *port, const InputSpec *given) {
    if (!port->has_shape) return true;
    if (port->rank != given->rank) return false;
    for (size_t i = 0; i < port->rank; i++)
        if (port->dims[i] >= 0 && port->dims[i] != given->shape[i]) return false;
    return true;
}

static void check_input(const Port *port, const InputSpec *given) {
    char wanted[SHAPE_TEXT], got[SHAPE_TEXT];
    if (port->kind != ORT_KIND_TENSOR)
        fail(STAGE_INPUT, "the model's input `%s` is %s; the runner feeds tensors only", port->name, port_kind_name(port->kind));
    if (!element_numbered(port->element))
        fail(STAGE_INPUT, "the model's input `%s` is of %s, which the runner cannot feed", port->name, element_label(port->element));
    if (port->element != given->element->onnx)
        fail(STAGE_INPUT, "input `%s` is of %s, and the model takes %s", port->name, given->element->name, element_label(port->element));
    if (!same_shape(port, given))
        fail(STAGE_INPUT, "input `%s` has shape %s, and the model takes %s", port->name, shape_text(given->shape, given->rank, got),
             shape_text(port->dims, port->rank, wanted));
}

static OrtValue **make_values(const InputSpec *input, const Samples *samples) {
    OrtValue **values = allocate((size_t)input->count, sizeof *values);
    for (int64_t i = 0; i < input->count; i++)
        ort_check(ort.CreateTensorWithDataAsOrtValue(cpu_memory, samples->data + samples->stride * (size_t)i, input->bytes, input->shape,
                                                     input->rank, input->element->onnx, &values[i]),
                  STAGE_INPUT, "make an input tensor");
    return values;
}

static void open_input(Feed *feed, const RunSpec *spec, const Session *session, const Samples *samples, size_t index) {
    size_t at;
    const InputSpec *given = given_input(spec, session->inputs[index].name, &at);
    check_input(&session->inputs[index], given);
    OrtValue **values = make_values(given, &samples[at]);
    feed->input_names[index] = session->inputs[index].name;
    feed->inputs[index] = values[0];
    if (given->count > feed->samples) feed->samples = given->count;
    if (given->count > 1) feed->rotations[feed->rotation_count++] = (Rotation){.input = index, .values = values, .count = given->count};
}

static void open_state(Feed *feed, const StateSpec *link, const Session *session) {
    char known[1024];
    State state = {
        .output = port_named(session->outputs, session->output_count, link->output),
        .input = port_named(session->inputs, session->input_count, link->input),
    };
    if (state.output == session->output_count)
        fail(STAGE_INPUT, "a state comes from output `%s`, which the model does not have; its outputs: %s", link->output,
             list_ports(session->outputs, session->output_count, known, sizeof known));
    if (state.input == session->input_count)
        fail(STAGE_INPUT, "a state goes to input `%s`, which the model does not have; its inputs: %s", link->input,
             list_ports(session->inputs, session->input_count, known, sizeof known));
    const Port *output = &session->outputs[state.output], *input = &session->inputs[state.input];
    if (output->kind != ORT_KIND_TENSOR) fail(STAGE_INPUT, "the state output `%s` is %s, not a tensor", output->name, port_kind_name(output->kind));
    if (output->element != input->element)
        fail(STAGE_INPUT, "the state output `%s` is of %s, and input `%s` takes %s", output->name, element_label(output->element), input->name,
             element_label(input->element));
    for (size_t i = 0; i < feed->rotation_count; i++)
        if (feed->rotations[i].input == state.input) fail(STAGE_INPUT, "the state input `%s` has several samples; it starts from one", input->name);
    state.start = (OrtValue *)feed->inputs[state.input];
    feed->states[feed->state_count++] = state;
}

Feed feed_open(const RunSpec *spec, const Session *session, const Samples *samples) {
    Feed feed = {.session = session->handle, .input_count = session->input_count, .output_count = session->output_count, .samples = 1};
    check_names(spec, session);
    feed.input_names = allocate(feed.input_count, sizeof *feed.input_names);
    feed.inputs = allocate(feed.input_count, sizeof *feed.inputs);
    feed.rotations = allocate(feed.input_count, sizeof *feed.rotations);
    feed.output_names = allocate(feed.output_count, sizeof *feed.output_names);
    feed.outputs = allocate(feed.output_count, sizeof(OrtValue *));
    feed.held = allocate(feed.output_count, sizeof(OrtValue *));
    feed.states = allocate(spec->state_count, sizeof *feed.states);
    ort_check(ort.CreateCpuMemoryInfo(0, 0, &cpu_memory), STAGE_INPUT, "describe memory"); /* OrtDeviceAllocator, OrtMemTypeDefault */
    ort_check(ort.CreateRunOptions(&feed_options), STAGE_INPUT, "make run options");
    for (size_t i = 0; i < feed.input_count; i++) open_input(&feed, spec, session, samples, i);
    for (size_t i = 0; i < feed.output_count; i++) feed.output_names[i] = session->outputs[i].name;
    for (size_t i = 0; i < spec->state_count; i++) open_state(&feed, &spec->states[i], session);
    return feed;
}

static void release(OrtValue **value) {
    if (*value) ort.ReleaseValue(*value);
    *value = NULL;
}

static void restart_states(Feed *feed) {
    feed->sample = 0;
    for (size_t i = 0; i < feed->state_count; i++) {
        feed->inputs[feed->states[i].input] = feed->states[i].start;
        release(&feed->held[feed->states[i].output]);
    }
}

void feed_restart(Feed *feed) {
    for (size_t i = 0; i < feed->rotation_count; i++) {
        feed->rotations[i].at = 0;
        feed->inputs[feed->rotations[i].input] = feed->rotations[i].values[0];
    }
    restart_states(feed);
}

/* The outputs themselves become inputs: no copy. One output may feed several inputs. */
static void feed_back(Feed *feed) {
    for (size_t i = 0; i < feed->state_count; i++) {
        const State *state = &feed->states[i];
        if (feed->outputs[state->output]) {
            release(&feed->held[state->output]);
            feed->held[state->output] = feed->outputs[state->output];
            feed->outputs[state->output] = NULL;
        }
        feed->inputs[state->input] = feed->held[state->output];
    }
}

void feed_advance(Feed *feed) {
    feed_back(feed);
    for (size_t i = 0; i < feed->output_count; i++) release(&feed->outputs[i]);
    for (size_t i = 0; i < feed->rotation_count; i++) {
        Rotation *rotation = &feed->rotations[i];
        if (++rotation->at == rotation->count) rotation->at = 0;
        feed->inputs[rotation->input] = rotation->values[rotation->at];
    }
    if (++feed->sample == feed->samples) restart_states(feed);
}

void feed_release(Feed *feed) {
    for (size_t i = 0; i < feed->output_count; i++) {
        release(&feed->outputs[i]);
        release(&feed->held[i]);
    }
}

void feed_interrupt(void) {
    if (feed_options) (void)ort.RunOptionsSetTerminate(feed_options);
}
