/* Tensor element types by the names of the wire format, with ONNX Runtime's numbers (ONNXTensorElementDataType). */
#ifndef RUNNER_ELEMENTS_H
#define RUNNER_ELEMENTS_H

#include <stddef.h>

typedef struct {
    const char *name;
    int onnx;
    size_t size; /* bytes */
} Element;

enum { ELEMENT_BOOL = 9 };

/* NULL: not a type that the wire format carries. */
const Element *element_named(const char *name);
const Element *element_numbered(int onnx);

/* What ONNX Runtime calls any of its element types, for messages. */
const char *element_label(int onnx);

#endif
