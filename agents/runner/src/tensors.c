#include "tensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"

#define ALIGNMENT ((size_t)64)
#define MOST_BYTES ((size_t)2 << 30) /* of all inputs together */

static int open_exact(const InputSpec *input) {
    struct stat about;
    int descriptor = open(input->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &about) != 0)
        fail(STAGE_INPUT, "input `%s`: cannot read `%s`: %s", input->name, input->file, strerror(errno));
    if (!S_ISREG(about.st_mode)) fail(STAGE_INPUT, "input `%s`: `%s` is not a file", input->name, input->file);
    size_t wanted = input->bytes * (size_t)input->count;
    if ((uint64_t)about.st_size != wanted)
        fail(STAGE_INPUT, "input `%s`: `%s` has %lld bytes; %lld samples of %zu bytes make %zu", input->name, input->file,
             (long long)about.st_size, (long long)input->count, input->bytes, wanted);
    return descriptor;
}

static void read_sample(int descriptor, const InputSpec *input, char *into) {
    for (size_t done = 0; done < input->bytes;) {
        ssize_t got = read(descriptor, into + done, input->bytes - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail(STAGE_INPUT, "input `%s`: cannot read `%s`: %s", input->name, input->file, strerror(errno));
        if (got == 0) fail(STAGE_INPUT, "input `%s`: `%s` became shorter while it was read", input->name, input->file);
        done += (size_t)got;
    }
    for (size_t i = 0; input->element->onnx == ELEMENT_BOOL && i < input->bytes; i++)
        if ((unsigned char)into[i] > 1) fail(STAGE_INPUT, "input `%s`: `%s` holds a bool that is neither 0 nor 1", input->name, input->file);
}

/* Bytes that the samples take in memory, beside the `used` ones of the inputs before. */
static size_t room(const InputSpec *input, size_t used) {
    size_t stride = (input->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, all;
    if (stride == 0) stride = ALIGNMENT;
    if (__builtin_mul_overflow(stride, (size_t)input->count, &all) || all > MOST_BYTES || used + all > MOST_BYTES)
        fail(STAGE_INPUT, "input `%s`: the inputs take more than %zu MB of memory", input->name, MOST_BYTES >> 20);
    return all;
}

static Samples read_input(const InputSpec *input, size_t used) {
    int descriptor = input->file ? open_exact(input) : -1;
    size_t all = room(input, used);
    Samples samples = {.data = aligned_alloc(ALIGNMENT, all), .stride = all / (size_t)input->count};
    if (!samples.data) fail(STAGE_INPUT, "input `%s`: out of memory (%zu bytes)", input->name, all);
    if (!input->file) memset(samples.data, 0, all);
    for (int64_t i = 0; input->file && i < input->count; i++)
        read_sample(descriptor, input, samples.data + samples.stride * (size_t)i);
    if (input->file) close(descriptor);
    return samples;
}

Samples *tensors_read(const RunSpec *spec) {
    size_t used = 0;
    Samples *samples = calloc(spec->input_count ? spec->input_count : 1, sizeof *samples);
    if (!samples) fail(STAGE_INPUT, "out of memory");
    for (size_t i = 0; i < spec->input_count; i++) {
        samples[i] = read_input(&spec->inputs[i], used);
        used += samples[i].stride * (size_t)spec->inputs[i].count;
    }
    return samples;
}
