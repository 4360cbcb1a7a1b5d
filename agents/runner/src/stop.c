#include "stop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "output.h"

enum { STACK_BYTES = 256 << 10, GRACE_NS = 400000000 };

static atomic_bool requested;
static _Atomic(const StopHooks *) hooks;
static sigset_t signals;

bool stop_requested(void) {
    return atomic_load_explicit(&requested, memory_order_relaxed);
}

void stop_hooks(const StopHooks *given) {
    atomic_store(&hooks, given);
}

static void *watch(void *unused) {
    (void)unused;
    int number;
    while (sigwait(&signals, &number) != 0) continue;
    atomic_store(&requested, true);
    const StopHooks *running = atomic_load(&hooks);
    if (running) {
        atomic_thread_fence(memory_order_seq_cst); /* whoever sees the interruption sees the request */
        running->interrupt();
        nanosleep(&(struct timespec){.tv_nsec = GRACE_NS}, NULL);
    }
    output_lock();
    if (running) running->salvage();
    finish(true);
}

void stop_watch(void) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    signal(SIGPIPE, SIG_IGN); /* writing to a closed pipe or past a size limit is an error like any other */
    signal(SIGXFSZ, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, watch, NULL) != 0) fail(STAGE_RUNTIME, "cannot start a thread");
    pthread_attr_destroy(&attributes);
}
