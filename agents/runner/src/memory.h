/* Mode memory: what the process holds, by /proc/self/smaps_rollup. */
#ifndef RUNNER_MEMORY_H
#define RUNNER_MEMORY_H

#include <stdint.h>

/* Reads and writes a line; a device that does not say ends the process (stage "run"). */
void memory_report(const char *stage);

/* Keeps the sample with the largest PSS + SwapPss; memory_report_peak writes it. */
void memory_sample(int64_t since_ns);
void memory_report_peak(void);

#endif
