#include "elements.h"

#include <string.h>

static const Element ELEMENTS[] = {
    {"float32", 1, 4}, {"uint8", 2, 1},    {"int8", 3, 1},   {"uint16", 4, 2},  {"int16", 5, 2},   {"int32", 6, 4},     {"int64", 7, 8},
    {"bool", 9, 1},    {"float16", 10, 2}, {"float64", 11, 8}, {"uint32", 12, 4}, {"uint64", 13, 8}, {"bfloat16", 16, 2},
};
enum { COUNT = sizeof ELEMENTS / sizeof ELEMENTS[0] };

const Element *element_named(const char *name) {
    for (size_t i = 0; i < COUNT; i++)
        if (strcmp(ELEMENTS[i].name, name) == 0) return &ELEMENTS[i];
    return NULL;
}

const Element *element_numbered(int onnx) {
    for (size_t i = 0; i < COUNT; i++)
        if (ELEMENTS[i].onnx == onnx) return &ELEMENTS[i];
    return NULL;
}

const char *element_label(int onnx) {
    static const char *const others[] = {
        [0] = "undefined", [8] = "string", [14] = "complex64", [15] = "complex128", [17] = "float8e4m3fn", [18] = "float8e4m3fnuz",
        [19] = "float8e5m2", [20] = "float8e5m2fnuz", [21] = "uint4", [22] = "int4", [23] = "float4e2m1", [24] = "uint2", [25] = "int2",
    };
    const Element *element = element_numbered(onnx);
    if (element) return element->name;
    if (onnx < 0 || (size_t)onnx >= sizeof others / sizeof others[0] || !others[onnx]) return "an element type unknown to the runner";
    return others[onnx];
}
