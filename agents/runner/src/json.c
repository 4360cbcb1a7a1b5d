#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

typedef struct {
    const char *start, *at, *end;
    size_t values;
    char *problem;
    size_t problem_size;
} Reader;

static Json *read_value(Reader *reader, int depth);

/* Notes the first problem with its place; gives NULL so that callers can return it. */
static void *wrong(Reader *reader, const char *what) {
    if (reader->problem[0]) return NULL;
    size_t line = 1, column = 1;
    for (const char *c = reader->start; c < reader->at; c++) {
        column = *c == '\n' ? 1 : column + 1;
        line += *c == '\n';
    }
    snprintf(reader->problem, reader->problem_size, "line %zu, column %zu: %s", line, column, what);
    return NULL;
}

static void skip_space(Reader *reader) {
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at) reader->at++;
}

static bool take(Reader *reader, char wanted) {
    skip_space(reader);
    if (reader->at >= reader->end || *reader->at != wanted) return false;
    reader->at++;
    return true;
}

static Json *new_value(Reader *reader, JsonKind kind) {
    if (++reader->values > JSON_MAX_VALUES) return wrong(reader, "too many values");
    Json *value = calloc(1, sizeof *value);
    if (!value) return wrong(reader, "out of memory");
    value->kind = kind;
    return value;
}

static bool read_hex4(Reader *reader, unsigned *code) {
    if (reader->end - reader->at < 4) return false;
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = *reader->at++;
        unsigned digit;
        if (c >= '0' && c <= '9') digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f') digit = (unsigned)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F') digit = (unsigned)(c - 'A' + 10);
        else return false;
        *code = *code << 4 | digit;
    }
    return true;
}

/* After `\u`: one code point, from a pair of surrogates where need be. */
static bool read_unicode(Reader *reader, unsigned *code) {
    unsigned low;
    if (!read_hex4(reader, code)) return wrong(reader, "\\u needs four hexadecimal digits"), false;
    if (*code == 0) return wrong(reader, "a NUL in a string"), false;
    if (*code < 0xD800 || *code > 0xDFFF) return true;
    bool paired = *code <= 0xDBFF && reader->end - reader->at >= 6 && reader->at[0] == '\\' && reader->at[1] == 'u';
    if (paired) {
        reader->at += 2;
        paired = read_hex4(reader, &low) && low >= 0xDC00 && low <= 0xDFFF;
    }
    if (!paired) return wrong(reader, "half of a surrogate pair"), false;
    *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

/* After a backslash; writes at most 4 bytes, never more than it read. */
static bool read_escape(Reader *reader, char **out) {
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (reader->at >= reader->end) return wrong(reader, "the string does not end"), false;
    char c = *reader->at++;
    if (c == 'u') {
        unsigned code;
        if (!read_unicode(reader, &code)) return false;
        *out += utf8_encode(code, *out);
        return true;
    }
    const char *letter = c ? strchr(letters, c) : NULL;
    if (!letter) return wrong(reader, "no such escape"), false;
    *(*out)++ = meanings[letter - letters];
    return true;
}

/* After the opening quote. */
static char *read_text(Reader *reader) {
    const char *stop = reader->at;
    while (stop < reader->end && *stop != '"') stop += *stop == '\\' && stop + 1 < reader->end ? 2 : 1;
    char *text = malloc((size_t)(stop - reader->at) + 1), *out = text;
    if (!text) return wrong(reader, "out of memory");
    while (reader->at < reader->end && *reader->at != '"') {
        if ((unsigned char)*reader->at < 0x20) return wrong(reader, "a control character in a string");
        if (*reader->at == '\\') {
            reader->at++;
            if (!read_escape(reader, &out)) return NULL;
            continue;
        }
        size_t length = utf8_sequence(reader->at, (size_t)(reader->end - reader->at));
        if (length == 0) return wrong(reader, "a string is not UTF-8");
        memcpy(out, reader->at, length);
        out += length;
        reader->at += length;
    }
    if (reader->at >= reader->end) return wrong(reader, "the string does not end");
    reader->at++;
    *out = '\0';
    return text;
}

static const char *skip_digits(const char *at, const char *end) {
    while (at < end && *at >= '0' && *at <= '9') at++;
    return at;
}

/* The end of the number at `at` by the grammar of RFC 8259 section 6, or NULL. */
static const char *number_end(const char *at, const char *end, bool *whole) {
    const char *digits;
    *whole = true;
    if (at < end && *at == '-') at++;
    digits = at;
    at = skip_digits(at, end);
    if (at == digits || (*digits == '0' && at - digits > 1)) return NULL;
    if (at < end && *at == '.') {
        *whole = false;
        digits = ++at;
        if ((at = skip_digits(at, end)) == digits) return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        *whole = false;
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        digits = at;
        if ((at = skip_digits(at, end)) == digits) return NULL;
    }
    return at;
}

static Json *read_number(Reader *reader) {
    char copy[JSON_MAX_NUMBER + 1];
    bool whole;
    const char *end = number_end(reader->at, reader->end, &whole);
    if (!end) return wrong(reader, "not a JSON value");
    size_t length = (size_t)(end - reader->at);
    if (length > JSON_MAX_NUMBER) return wrong(reader, "a number has too many digits");
    memcpy(copy, reader->at, length);
    copy[length] = '\0';
    Json *value = new_value(reader, JSON_NUMBER);
    if (!value) return NULL;
    value->number = strtod(copy, NULL); /* nothing has called setlocale yet: the locale is "C" */
    if (!isfinite(value->number)) return wrong(reader, "a number is too large");
    errno = 0;
    value->integer = whole ? strtoll(copy, NULL, 10) : 0;
    value->whole = whole && errno == 0;
    reader->at = end;
    return value;
}

static Json *read_word(Reader *reader, const char *word, JsonKind kind, bool truth) {
    size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0) return wrong(reader, "not a JSON value");
    Json *value = new_value(reader, kind);
    if (!value) return NULL;
    value->truth = truth;
    reader->at += length;
    return value;
}

static char *read_key(Reader *reader, const Json *object) {
    if (!take(reader, '"')) return wrong(reader, "expected a key in quotes");
    char *key = read_text(reader);
    if (!key) return NULL;
    for (const Json *member = object->first; member; member = member->next)
        if (strcmp(member->key, key) == 0) return wrong(reader, "the same key twice");
    if (!take(reader, ':')) return wrong(reader, "expected ':' after the key");
    return key;
}

/* After the opening bracket of an object or array. */
static Json *read_members(Reader *reader, JsonKind kind, int depth) {
    char closing = kind == JSON_OBJECT ? '}' : ']';
    if (depth >= JSON_MAX_DEPTH) return wrong(reader, "nested too deeply");
    Json *parent = new_value(reader, kind);
    if (!parent) return NULL;
    if (take(reader, closing)) return parent;
    Json **tail = &parent->first;
    do {
        if (kind == JSON_OBJECT && parent->count == JSON_MAX_KEYS) return wrong(reader, "too many keys in one object");
        char *key = kind == JSON_OBJECT ? read_key(reader, parent) : NULL;
        if (kind == JSON_OBJECT && !key) return NULL;
        Json *member = read_value(reader, depth + 1);
        if (!member) return NULL;
        member->key = key;
        *tail = member;
        tail = &member->next;
        parent->count++;
    } while (take(reader, ','));
    if (!take(reader, closing)) return wrong(reader, kind == JSON_OBJECT ? "expected ',' or '}'" : "expected ',' or ']'");
    return parent;
}

static Json *read_value(Reader *reader, int depth) {
    skip_space(reader);
    if (reader->at >= reader->end) return wrong(reader, "the text ends where a value should be");
    switch (*reader->at) {
    case '{': reader->at++; return read_members(reader, JSON_OBJECT, depth);
    case '[': reader->at++; return read_members(reader, JSON_ARRAY, depth);
    case 't': return read_word(reader, "true", JSON_BOOL, true);
    case 'f': return read_word(reader, "false", JSON_BOOL, false);
    case 'n': return read_word(reader, "null", JSON_NULL, false);
    case '"': {
        reader->at++;
        char *text = read_text(reader);
        Json *value = text ? new_value(reader, JSON_STRING) : NULL;
        if (value) value->text = text;
        return value;
    }
    default: return read_number(reader);
    }
}

const Json *json_parse(const char *text, size_t size, char *problem, size_t problem_size) {
    Reader reader = {.start = text, .at = text, .end = text + size, .problem = problem, .problem_size = problem_size};
    problem[0] = '\0';
    const Json *value = read_value(&reader, 0);
    skip_space(&reader);
    if (value && reader.at != reader.end) return wrong(&reader, "something follows the JSON value");
    return value;
}

const char *json_kind_name(JsonKind kind) {
    static const char *const names[] = {"null", "a truth value", "a number", "a string", "an array", "an object"};
    return names[kind];
}
