#include "sampler.h"

#include <pthread.h>
#include <stdbool.h>

#include "clock.h"
#include "output.h"

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool ending;
    void (*take)(int64_t since_ns);
    int64_t began, interval;
} sampler;

static void *sample(void *unused) {
    (void)unused;
    int64_t due = sampler.began;
    pthread_mutex_lock(&sampler.lock);
    while (!sampler.ending) {
        pthread_mutex_unlock(&sampler.lock);
        int64_t now = now_ns();
        sampler.take(now - sampler.began);
        do due += sampler.interval;
        while (due <= now); /* a sample that took longer than the interval costs the ones it covers */
        struct timespec until = timespec_of(due);
        pthread_mutex_lock(&sampler.lock);
        while (!sampler.ending && now_ns() < due) pthread_cond_timedwait(&sampler.ended, &sampler.lock, &until);
    }
    pthread_mutex_unlock(&sampler.lock);
    return NULL;
}

void sampler_start(void (*take)(int64_t since_ns), double hz) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&sampler.ended, &attributes);
    pthread_mutex_init(&sampler.lock, NULL);
    sampler.take = take;
    sampler.interval = (int64_t)(1e9 / hz);
    sampler.began = now_ns();
    if (pthread_create(&sampler.thread, NULL, sample, NULL) != 0) fail(STAGE_RUN, "cannot start a thread");
}

void sampler_end(void) {
    pthread_mutex_lock(&sampler.lock);
    sampler.ending = true;
    pthread_cond_signal(&sampler.ended);
    pthread_mutex_unlock(&sampler.lock);
    pthread_join(sampler.thread, NULL);
}
