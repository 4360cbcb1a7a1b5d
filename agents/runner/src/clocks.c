#include "clocks.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

#ifndef RUNNER_SYSFS
#define RUNNER_SYSFS "/sys" /* tests build with a folder of their own */
#endif

enum { MOST_CPUS = 1024, MOST_ZONES = 256, MOST_NAME = 64 };

typedef struct {
    int number;
    char name[MOST_NAME + 16];
} Zone;

static int cpu_count;
static Zone zones[MOST_ZONES];
static int zone_count;

/* The first line of a file of sysfs, without its end; false: it cannot be read. */
static bool read_line(const char *path, char *text, size_t size) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    ssize_t got = read(descriptor, text, size - 1);
    close(descriptor);
    if (got <= 0) return false;
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return true;
}

static bool read_number(const char *path, long long *value) {
    char text[64], *end;
    if (!read_line(path, text, sizeof text)) return false;
    *value = strtoll(text, &end, 10);
    return end != text && *end == '\0';
}

/* A zone is called by its type; a second one of that type also by its number. */
static void name_zone(Zone *zone, const char *type) {
    snprintf(zone->name, sizeof zone->name, "%s", type);
    for (int i = 0; i < zone_count; i++)
        if (strcmp(zones[i].name, zone->name) == 0) {
            snprintf(zone->name, sizeof zone->name, "%s#%d", type, zone->number);
            return;
        }
}

void clocks_find(void) {
    char path[256], type[MOST_NAME];
    long configured = sysconf(_SC_NPROCESSORS_CONF);
    cpu_count = configured < 1 ? 1 : configured > MOST_CPUS ? MOST_CPUS : (int)configured;
    for (int number = 0; number < MOST_ZONES; number++) {
        snprintf(path, sizeof path, RUNNER_SYSFS "/class/thermal/thermal_zone%d/type", number);
        if (!read_line(path, type, sizeof type)) continue;
        zones[zone_count].number = number;
        name_zone(&zones[zone_count], type);
        zone_count++;
    }
}

static void write_frequencies(FILE *line) {
    char path[256];
    fputs(",\"cpu_frequency_hz\":[", line);
    for (int cpu = 0; cpu < cpu_count; cpu++) {
        long long kilohertz;
        snprintf(path, sizeof path, RUNNER_SYSFS "/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", cpu);
        bool known = read_number(path, &kilohertz) && kilohertz > 0 && kilohertz < 1000000000;
        fprintf(line, "%s%lld", cpu ? "," : "", known ? kilohertz * 1000 : -1);
    }
    fputs("]", line);
}

/* Millidegrees as the kernel documents them (thermal/sysfs-api). */
static void write_temperatures(FILE *line) {
    char path[256];
    const char *comma = "";
    fputs(",\"temperature_c\":{", line);
    for (int i = 0; i < zone_count; i++) {
        long long milli;
        snprintf(path, sizeof path, RUNNER_SYSFS "/class/thermal/thermal_zone%d/temp", zones[i].number);
        if (!read_number(path, &milli) || milli < -273150 || milli > 1000000) continue;
        fputs(comma, line);
        line_string(line, zones[i].name);
        fprintf(line, ":%s%lld.%03lld", milli < 0 ? "-" : "", llabs(milli) / 1000, llabs(milli) % 1000);
        comma = ",";
    }
    fputs("}", line);
}

void clocks_sample(int64_t since_ns) {
    FILE *line = line_begin("clock");
    line_seconds(line, "t_s", since_ns);
    write_frequencies(line);
    write_temperatures(line);
    line_end(line);
}
