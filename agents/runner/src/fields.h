/* JSON objects into structs, by tables of fields. What does not fit ends the process (stage "spec"). */
#ifndef RUNNER_FIELDS_H
#define RUNNER_FIELDS_H

#include "json.h"

/* Where a value stands in the spec, for messages: "inputs[2].shape". */
typedef struct {
    char text[256];
} Place;

typedef enum {
    FIELD_WHOLE, /* int64_t within low..high */
    FIELD_REAL,  /* double within low..high */
    FIELD_BOOL,  /* bool */
    FIELD_TEXT,  /* const char *, not empty */
    FIELD_PATH,  /* const char *, absolute */
    FIELD_WORD,  /* int64_t: index into words */
    FIELD_OTHER, /* read() takes it */
} FieldKind;

typedef struct {
    const char *name;
    FieldKind kind;
    size_t offset;
    double low, high;
    const char *const *words; /* ends with NULL */
    void (*read)(const Json *value, const Place *place, void *into);
    bool required, nullable; /* null leaves the default */
} Field;

void fields_read(const Json *object, const Place *place, const Field *fields, size_t count, void *into);

Place place_member(const Place *parent, const char *key);
Place place_element(const Place *parent, size_t index);

/* Ends the process unless the value is of that kind and, for arrays and objects, holds at most `most`. */
void fields_expect(const Json *value, const Place *place, JsonKind kind, size_t most);

/* Memory of zeros for `count` things; for none a pointer to none. */
void *fields_allocate(size_t count, size_t size);

#endif
