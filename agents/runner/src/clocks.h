/* Mode clock: CPU frequencies and temperatures, by sysfs. */
#ifndef RUNNER_CLOCKS_H
#define RUNNER_CLOCKS_H

#include <stdint.h>

/* Finds the CPUs and thermal zones of this device. */
void clocks_find(void);

/* Reads them and writes a line; what cannot be read is -1 (a CPU) or left out (a zone). */
void clocks_sample(int64_t since_ns);

#endif
