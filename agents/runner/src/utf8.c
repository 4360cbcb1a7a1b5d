#include "utf8.h"

#include <stdbool.h>

static bool continues(unsigned char byte) {
    return (byte & 0xC0) == 0x80;
}

size_t utf8_sequence(const char *at, size_t left) {
    const unsigned char *byte = (const unsigned char *)at;
    if (left == 0) return 0;
    if (byte[0] < 0x80) return 1;
    if (byte[0] >= 0xC2 && byte[0] <= 0xDF) return left >= 2 && continues(byte[1]) ? 2 : 0;
    if (byte[0] >= 0xE0 && byte[0] <= 0xEF) {
        if (left < 3 || !continues(byte[1]) || !continues(byte[2])) return 0;
        if (byte[0] == 0xE0 && byte[1] < 0xA0) return 0; /* overlong */
        if (byte[0] == 0xED && byte[1] > 0x9F) return 0; /* surrogate */
        return 3;
    }
    if (byte[0] >= 0xF0 && byte[0] <= 0xF4) {
        if (left < 4 || !continues(byte[1]) || !continues(byte[2]) || !continues(byte[3])) return 0;
        if (byte[0] == 0xF0 && byte[1] < 0x90) return 0; /* overlong */
        if (byte[0] == 0xF4 && byte[1] > 0x8F) return 0; /* beyond U+10FFFF */
        return 4;
    }
    return 0;
}

size_t utf8_encode(unsigned code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}
