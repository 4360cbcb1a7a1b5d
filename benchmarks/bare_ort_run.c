/* The least that can time OrtRun: no checks, no rotation, no states; two clock reads around each call.

   usage: bare_ort_run LIBRARY MODEL INPUT OUTPUT FILE WARMUP ITERATIONS DIM...
   One float32 input from FILE. Writes ITERATIONS int64 nanoseconds to stdout. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef void *Handle;
typedef void (*Slot)(void);
#define CALL(slot, type) ((type)api[slot])

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void check(Handle status) {
    if (status) exit(1);
}

int main(int count, char **arguments) {
    if (count < 9) return 2;
    const char *input_name[] = {arguments[3]}, *output_name[] = {arguments[4]};
    int64_t warmup = atoll(arguments[6]), iterations = atoll(arguments[7]), shape[8];
    size_t rank = 0, bytes = sizeof(float);
    for (int i = 8; i < count && rank < 8; i++) bytes *= (size_t)(shape[rank++] = atoll(arguments[i]));
    float *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    FILE *file = fopen(arguments[5], "rb");
    if (!file || fread(data, 1, bytes, file) != bytes) return 3;

    void *library = dlopen(arguments[1], RTLD_NOW);
    struct {
        const Slot *(*get)(uint32_t);
        const char *(*version)(void);
    } *base = ((void *(*)(void))dlsym(library, "OrtGetApiBase"))();
    const Slot *api = base->get(12);
    Handle env, options, session, memory, input, output;
    check(CALL(3, Handle(*)(int, const char *, Handle *))(3, "bare", &env));
    check(CALL(10, Handle(*)(Handle *))(&options));
    check(CALL(24, Handle(*)(Handle, int))(options, 1));
    check(CALL(25, Handle(*)(Handle, int))(options, 1));
    check(CALL(23, Handle(*)(Handle, int))(options, 99));
    check(CALL(7, Handle(*)(Handle, const char *, Handle, Handle *))(env, arguments[2], options, &session));
    check(CALL(69, Handle(*)(int, int, Handle *))(0, 0, &memory));
    check(CALL(49, Handle(*)(Handle, void *, size_t, const int64_t *, size_t, int, Handle *))(memory, data, bytes, shape, rank, 1, &input));

    typedef Handle (*Run)(Handle, Handle, const char *const *, const Handle *, size_t, const char *const *, size_t, Handle *);
    Run run = (Run)api[9];
    void (*release)(Handle) = CALL(96, void (*)(Handle));
    int64_t *times = malloc((size_t)iterations * sizeof *times);
    for (int64_t i = -warmup; i < iterations; i++) {
        output = NULL;
        int64_t begin = now();
        Handle status = run(session, NULL, input_name, &input, 1, output_name, 1, &output);
        int64_t end = now();
        check(status);
        if (i >= 0) times[i] = end - begin;
        release(output);
    }
    return fwrite(times, sizeof *times, (size_t)iterations, stdout) == (size_t)iterations ? 0 : 4;
}
