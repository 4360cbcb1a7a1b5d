/* A strict reader of JSON (RFC 8259) with bounds on depth, values, keys of one object and digits.

   Stricter than the RFC: no repeated key, no NUL in a string, no number that overflows a double. */
#ifndef RUNNER_JSON_H
#define RUNNER_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_MAX_DEPTH = 16, JSON_MAX_VALUES = 100000, JSON_MAX_KEYS = 1024, JSON_MAX_NUMBER = 63 };

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonKind;

typedef struct Json {
    JsonKind kind;
    bool truth;       /* JSON_BOOL */
    bool whole;       /* JSON_NUMBER: `integer` is exact */
    double number;    /* JSON_NUMBER */
    int64_t integer;  /* JSON_NUMBER, when whole */
    char *text;       /* JSON_STRING: UTF-8, no NUL inside */
    char *key;        /* of a member of an object */
    size_t count;     /* of members or elements */
    struct Json *first, *next;
} Json;

/* The value that `text` holds, or NULL with `problem` set ("line 3, column 7: ..."). `text[size]` must be NUL.
   Values are never freed: the process reads one spec. */
const Json *json_parse(const char *text, size_t size, char *problem, size_t problem_size);

/* "a number", "an object", ... */
const char *json_kind_name(JsonKind kind);

#endif
