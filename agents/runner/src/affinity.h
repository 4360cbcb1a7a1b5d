/* Which CPUs the process may use. */
#ifndef RUNNER_AFFINITY_H
#define RUNNER_AFFINITY_H

#include "spec.h"

/* Binds this thread, and so those that it makes, to the spec's CPUs; one that it may not use ends it (stage "spec"). */
void affinity_set(const RunSpec *spec);

#endif
