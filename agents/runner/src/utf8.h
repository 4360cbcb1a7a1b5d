/* UTF-8 (RFC 3629), for text that comes in and text that goes out. */
#ifndef RUNNER_UTF8_H
#define RUNNER_UTF8_H

#include <stddef.h>

/* Length of the well-formed sequence at `at` (1 to 4 bytes), or 0: overlong, surrogate, beyond U+10FFFF or cut short. */
size_t utf8_sequence(const char *at, size_t left);

/* Write the code point as UTF-8 into `out` (4 bytes of room); gives the length. The caller excludes surrogates. */
size_t utf8_encode(unsigned code, char *out);

#endif
