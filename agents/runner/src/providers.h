/* Execution providers by ONNX Runtime's names. */
#ifndef RUNNER_PROVIDERS_H
#define RUNNER_PROVIDERS_H

#include "ort.h"
#include "spec.h"

/* Adds the spec's provider to the options; one that this runtime lacks ends the process (stage "session") naming those it has. */
void provider_append(OrtSessionOptions *options, const SessionSpec *spec);

#endif
