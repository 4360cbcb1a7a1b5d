#include "providers.h"

#include <string.h>

#define CPU "CPUExecutionProvider"
#define NNAPI "NnapiExecutionProvider"

/* SessionOptionsAppendExecutionProvider has short names of its own; any other provider is asked for by its full name. */
static const char *short_name(const char *provider) {
    static const char *const names[][2] = {
        {"XnnpackExecutionProvider", "XNNPACK"}, {"QNNExecutionProvider", "QNN"},       {"SNPEExecutionProvider", "SNPE"},
        {"CoreMLExecutionProvider", "CoreML"},   {"AzureExecutionProvider", "AZURE"},   {"OpenVINOExecutionProvider", "OpenVINO"},
        {"WebGpuExecutionProvider", "WebGPU"},   {"VitisAIExecutionProvider", "VitisAI"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i][0], provider) == 0) return names[i][1];
    return provider;
}

static void check_available(const char *provider) {
    char **names;
    int count;
    char known[1024] = "";
    ort_check(ort.GetAvailableProviders(&names, &count), STAGE_SESSION, "list the execution providers");
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], provider) == 0) return;
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", names[i]);
    }
    fail(STAGE_SESSION, "this ONNX Runtime (%s) has no `%s`; it has %s", ort.version, provider, known);
}

/* NNAPI has a function of its own that takes flags (nnapi_provider_factory.h). */
static void append_nnapi(OrtSessionOptions *options, const Pairs *pairs) {
    static const struct {
        const char *name;
        uint32_t bit;
    } flags[] = {{"use_fp16", 1}, {"use_nchw", 2}, {"cpu_disabled", 4}, {"cpu_only", 8}};
    uint32_t bits = 0;
    for (size_t i = 0; i < pairs->count; i++) {
        size_t k = 0;
        while (k < 4 && strcmp(flags[k].name, pairs->keys[i]) != 0) k++;
        if (k == 4) fail(STAGE_SESSION, NNAPI " has no option `%s`; it has use_fp16, use_nchw, cpu_disabled, cpu_only", pairs->keys[i]);
        if (strcmp(pairs->values[i], "1") == 0) bits |= flags[k].bit;
        else if (strcmp(pairs->values[i], "0") != 0) fail(STAGE_SESSION, NNAPI " option `%s` must be 0 or 1", pairs->keys[i]);
    }
    void *symbol = ort.symbol("OrtSessionOptionsAppendExecutionProvider_Nnapi");
    if (!symbol) fail(STAGE_SESSION, "this ONNX Runtime (%s) does not export " NNAPI, ort.version);
    OrtStatus *(*append)(OrtSessionOptions *, uint32_t);
    memcpy(&append, &symbol, sizeof append);
    ort_check(append(options, bits), STAGE_SESSION, "use " NNAPI);
}

void provider_append(OrtSessionOptions *options, const SessionSpec *spec) {
    const Pairs *pairs = &spec->provider_options;
    if (strcmp(spec->provider, CPU) == 0) {
        if (pairs->count) fail(STAGE_SESSION, CPU " takes no options, and `%s` was given", pairs->keys[0]);
        return;
    }
    check_available(spec->provider);
    if (strcmp(spec->provider, NNAPI) == 0) {
        append_nnapi(options, pairs);
        return;
    }
    ort_check(ort.SessionOptionsAppendExecutionProvider(options, short_name(spec->provider), pairs->keys, pairs->values, pairs->count),
              STAGE_SESSION, "use the execution provider");
}
