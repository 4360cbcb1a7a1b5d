/* Warm-up and the timed loop. */
#ifndef RUNNER_LOOP_H
#define RUNNER_LOOP_H

#include "feed.h"

/* The first inference of the process; writes its line. */
void loop_first(Feed *feed);

/* Until stable or at its limit; writes its line. */
void loop_warm_up(Feed *feed, const WarmupSpec *spec);

/* Iterates by the spec. With `store`, nanoseconds go to iterations.bin at the end, or when loop_salvage is called. */
void loop_timed(Feed *feed, const TimedSpec *spec, bool store);

/* Writes what the timed loop has measured so far, unless it has written it itself. Called with the output lock held. */
void loop_salvage(void);

#endif
