/* What goes into each inference and what comes out: samples in rotation, states fed back. */
#ifndef RUNNER_FEED_H
#define RUNNER_FEED_H

#include "clock.h"
#include "session.h"
#include "tensors.h"

typedef struct {
    size_t input;      /* index among the model's inputs */
    OrtValue **values; /* one a sample */
    int64_t count, at;
} Rotation;

typedef struct {
    size_t output, input;
    OrtValue *start; /* what the input gets when sample 0 comes round */
} State;

typedef struct {
    OrtSession *session;
    const char **input_names, **output_names;
    size_t input_count, output_count;
    const OrtValue **inputs; /* of the next inference */
    OrtValue **outputs;      /* of the last one; NULL: none */
    Rotation *rotations;     /* inputs with more than one sample */
    size_t rotation_count;
    State *states;
    size_t state_count;
    OrtValue **held;         /* an output that is an input of the next inference, by output; NULL: none */
    int64_t sample, samples; /* which sample is next, of how many in the longest rotation */
} Feed;

/* One inference: the clock before and after, and the runtime's answer. */
typedef struct {
    int64_t begin, end;
    OrtStatus *status;
} Once;

/* Checks the spec's inputs and states against the model; what does not fit ends the process (stage "input"). */
Feed feed_open(const RunSpec *spec, const Session *session, const Samples *samples);

/* Back to sample 0 and the states' start. */
void feed_restart(Feed *feed);

/* After an inference: lets go of its outputs, or feeds them back, and puts the next sample in place. */
void feed_advance(Feed *feed);

/* Lets go of the values that the session made. */
void feed_release(Feed *feed);

/* Makes an inference in progress, and every later one, return early. Any thread may call it. */
void feed_interrupt(void);

/* The run options that feed_interrupt works on. */
extern OrtRunOptions *feed_options;

/* Two clock reads with nothing but the call between them. */
static inline Once feed_infer(const Feed *feed) {
    Once once;
    once.begin = now_ns();
    once.status = ort.Run(feed->session, feed_options, feed->input_names, feed->inputs, feed->input_count, feed->output_names,
                          feed->output_count, feed->outputs);
    once.end = now_ns();
    return once;
}

#endif
