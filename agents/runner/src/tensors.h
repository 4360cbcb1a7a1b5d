/* Input tensors from raw files: read, checked, aligned. */
#ifndef RUNNER_TENSORS_H
#define RUNNER_TENSORS_H

#include "spec.h"

/* The samples of one input, each on a cache line of its own so that all are aligned alike. */
typedef struct {
    char *data;
    size_t stride; /* bytes from one sample to the next */
} Samples;

/* Reads the samples of every input of the spec; what does not fit ends the process (stage "input"). */
Samples *tensors_read(const RunSpec *spec);

#endif
