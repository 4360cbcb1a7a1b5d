/* SIGTERM, SIGINT and SIGHUP: end soon, keep what was measured.

   A thread of its own sleeps in sigwait until one comes, so it costs a measurement nothing. Until the run has begun it ends
   the process at once. From then on it interrupts the inference and leaves the main thread a moment to end by itself;
   if that does not happen (one long kernel, a long pause between paced inferences), it writes what there is. */
#ifndef RUNNER_STOP_H
#define RUNNER_STOP_H

#include <stdbool.h>

typedef struct {
    void (*interrupt)(void); /* makes the inference in progress return early */
    void (*salvage)(void);   /* writes what was measured; called with the output lock held */
} StopHooks;

/* Starts the thread. Called before the runtime makes its threads, so that all of them leave these signals to it. */
void stop_watch(void);

/* The run begins: from now on the main thread asks stop_requested() and ends by itself. */
void stop_hooks(const StopHooks *hooks);

bool stop_requested(void);

#endif
