/* The session: its options, its inputs and outputs. */
#ifndef RUNNER_SESSION_H
#define RUNNER_SESSION_H

#include "ort.h"
#include "spec.h"

/* An input or output as the model declares it. */
typedef struct {
    const char *name;
    int kind;         /* ORT_KIND_TENSOR, else sequence, map, optional, ... */
    int element;      /* of a tensor */
    bool has_shape;   /* false: any rank */
    size_t rank;
    int64_t dims[MAX_RANK]; /* negative: any */
} Port;

typedef struct {
    OrtSession *handle;
    Port *inputs, *outputs;
    size_t input_count, output_count;
} Session;

/* Loads the model; what does not work ends the process (stage "session"). */
Session session_open(const RunSpec *spec, int64_t *load_ns);

/* "tensor", "sequence", ... */
const char *port_kind_name(int kind);

enum { SHAPE_TEXT = 256 };
/* "2×3×?" into `text`; a negative dim is any. */
const char *shape_text(const int64_t *dims, size_t rank, char text[SHAPE_TEXT]);

#endif
