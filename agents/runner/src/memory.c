#include "memory.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "output.h"

typedef struct {
    int64_t pss, swap_pss, rss; /* bytes */
} Memory;

static Memory peak = {-1, -1, -1};

static bool read_field(const char *line, const char *name, int64_t *bytes) {
    long long kilobytes;
    size_t length = strlen(name);
    if (strncmp(line, name, length) != 0 || sscanf(line + length, "%lld kB", &kilobytes) != 1) return false;
    *bytes += kilobytes * 1024;
    return true;
}

/* smaps_rollup has one value of each; smaps (kernels before 4.14) one a mapping, to be added up. */
static Memory read_memory(void) {
    char line[512];
    Memory memory = {0};
    bool found = false;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    if (!file) file = fopen("/proc/self/smaps", "re");
    if (!file) fail(STAGE_RUN, "cannot read /proc/self/smaps_rollup: %s", strerror(errno));
    while (fgets(line, sizeof line, file)) {
        found |= read_field(line, "Pss:", &memory.pss);
        read_field(line, "SwapPss:", &memory.swap_pss);
        read_field(line, "Rss:", &memory.rss);
    }
    fclose(file);
    if (!found) fail(STAGE_RUN, "/proc/self/smaps_rollup does not say the PSS of this process");
    return memory;
}

static void write_memory(const char *stage, const Memory *memory) {
    FILE *line = line_begin("memory");
    line_text(line, "stage", stage);
    line_integer(line, "pss_bytes", memory->pss);
    line_integer(line, "swap_pss_bytes", memory->swap_pss);
    line_integer(line, "rss_bytes", memory->rss);
    line_end(line);
}

void memory_report(const char *stage) {
    Memory memory = read_memory();
    write_memory(stage, &memory);
}

void memory_sample(int64_t since_ns) {
    (void)since_ns;
    Memory memory = read_memory();
    if (memory.pss + memory.swap_pss > peak.pss + peak.swap_pss) peak = memory;
}

void memory_report_peak(void) {
    write_memory("peak", &peak);
}
