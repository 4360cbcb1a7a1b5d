#include "fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

Place place_member(const Place *parent, const char *key) {
    Place place;
    int length = snprintf(place.text, sizeof place.text, "%s%s%s", parent->text, parent->text[0] ? "." : "", key);
    if (length >= (int)sizeof place.text) memcpy(place.text + sizeof place.text - 4, "...", 4);
    return place;
}

Place place_element(const Place *parent, size_t index) {
    Place place;
    int length = snprintf(place.text, sizeof place.text, "%s[%zu]", parent->text, index);
    if (length >= (int)sizeof place.text) memcpy(place.text + sizeof place.text - 4, "...", 4);
    return place;
}

void fields_expect(const Json *value, const Place *place, JsonKind kind, size_t most) {
    if (value->kind != kind)
        fail(STAGE_SPEC, "%s must be %s, not %s", place->text[0] ? place->text : "the run spec", json_kind_name(kind), json_kind_name(value->kind));
    if ((kind == JSON_ARRAY || kind == JSON_OBJECT) && value->count > most)
        fail(STAGE_SPEC, "%s holds %zu values; the runner takes at most %zu", place->text, value->count, most);
}

void *fields_allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) fail(STAGE_SPEC, "out of memory while reading the run spec");
    return memory;
}

static int64_t read_whole(const Json *value, const Place *place, const Field *field) {
    fields_expect(value, place, JSON_NUMBER, 0);
    if (!value->whole || value->number < field->low || value->number > field->high)
        fail(STAGE_SPEC, "%s must be a whole number from %.0f to %.0f", place->text, field->low, field->high);
    return value->integer;
}

static double read_real(const Json *value, const Place *place, const Field *field) {
    fields_expect(value, place, JSON_NUMBER, 0);
    if (!(value->number >= field->low && value->number <= field->high))
        fail(STAGE_SPEC, "%s is %g; it must be from %g to %g", place->text, value->number, field->low, field->high);
    return value->number;
}

static const char *read_text(const Json *value, const Place *place, bool path) {
    fields_expect(value, place, JSON_STRING, 0);
    if (!value->text[0]) fail(STAGE_SPEC, "%s is empty", place->text);
    if (path && value->text[0] != '/') fail(STAGE_SPEC, "%s must be an absolute path, not `%s`", place->text, value->text);
    return value->text;
}

static int64_t read_word(const Json *value, const Place *place, const Field *field) {
    char known[256] = "";
    fields_expect(value, place, JSON_STRING, 0);
    for (size_t i = 0; field->words[i]; i++) {
        if (strcmp(field->words[i], value->text) == 0) return (int64_t)i;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", field->words[i]);
    }
    fail(STAGE_SPEC, "%s is `%s`; it must be one of %s", place->text, value->text, known);
}

static void read_field(const Json *value, const Place *place, const Field *field, void *into) {
    void *at = (char *)into + field->offset;
    if (value->kind == JSON_NULL && field->nullable) return;
    switch (field->kind) {
    case FIELD_WHOLE: *(int64_t *)at = read_whole(value, place, field); break;
    case FIELD_REAL: *(double *)at = read_real(value, place, field); break;
    case FIELD_BOOL:
        fields_expect(value, place, JSON_BOOL, 0);
        *(bool *)at = value->truth;
        break;
    case FIELD_TEXT: *(const char **)at = read_text(value, place, false); break;
    case FIELD_PATH: *(const char **)at = read_text(value, place, true); break;
    case FIELD_WORD: *(int64_t *)at = read_word(value, place, field); break;
    case FIELD_OTHER: field->read(value, place, into); break;
    }
}

static const Field *field_named(const char *name, const Field *fields, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0) return &fields[i];
    return NULL;
}

static _Noreturn void fail_unknown(const Place *place, const Field *fields, size_t count) {
    char known[512] = "";
    for (size_t i = 0; i < count; i++)
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", fields[i].name);
    fail(STAGE_SPEC, "%s is not a key of the run spec; known here: %s", place->text, known);
}

void fields_read(const Json *object, const Place *place, const Field *fields, size_t count, void *into) {
    fields_expect(object, place, JSON_OBJECT, JSON_MAX_VALUES);
    for (const Json *member = object->first; member; member = member->next) {
        Place inner = place_member(place, member->key);
        const Field *field = field_named(member->key, fields, count);
        if (!field) fail_unknown(&inner, fields, count);
        read_field(member, &inner, field, into);
    }
    for (size_t i = 0; i < count; i++) {
        bool given = false;
        for (const Json *member = object->first; member && !given; member = member->next) given = strcmp(member->key, fields[i].name) == 0;
        if (fields[i].required && !given) fail(STAGE_SPEC, "%s is missing", place_member(place, fields[i].name).text);
    }
}
