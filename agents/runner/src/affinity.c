#include "affinity.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "output.h"

static const char *list_cpus(const cpu_set_t *set, char *text, size_t size) {
    size_t used = 0;
    text[0] = '\0';
    for (int cpu = 0; cpu < CPU_SETSIZE && used < size; cpu++)
        if (CPU_ISSET(cpu, set)) used += (size_t)snprintf(text + used, size - used, "%s%d", used ? ", " : "", cpu);
    return text;
}

void affinity_set(const RunSpec *spec) {
    cpu_set_t allowed, wanted;
    char known[512];
    if (spec->affinity_count == 0) return;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) fail(STAGE_SPEC, "cannot ask for the allowed CPUs: %s", strerror(errno));
    CPU_ZERO(&wanted);
    for (size_t i = 0; i < spec->affinity_count; i++) {
        if (!CPU_ISSET(spec->affinity[i], &allowed))
            fail(STAGE_SPEC, "affinity names CPU %d, which this process may not use; it may use %s", spec->affinity[i], list_cpus(&allowed, known, sizeof known));
        CPU_SET(spec->affinity[i], &wanted);
    }
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0) fail(STAGE_SPEC, "cannot set the affinity: %s", strerror(errno));
}
