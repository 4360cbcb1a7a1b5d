/* Mode golden: the outputs of the first samples, to be compared with a reference. */
#ifndef RUNNER_GOLDEN_H
#define RUNNER_GOLDEN_H

#include "feed.h"

/* Writes golden-K.bin and a line for each output; an output that is no plain tensor ends the process (stage "output"). */
void golden_run(Feed *feed, const Session *session, int64_t count);

#endif
