/* A thread that takes samples at a rate while the main thread iterates. Only in modes that do not time. */
#ifndef RUNNER_SAMPLER_H
#define RUNNER_SAMPLER_H

#include <stdint.h>

/* Calls `take` at once and then `hz` times a second with the nanoseconds since the start. */
void sampler_start(void (*take)(int64_t since_ns), double hz);

/* Returns when the thread has ended. */
void sampler_end(void);

#endif
