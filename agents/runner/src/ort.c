#include "ort.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Slot)(void);
typedef struct {
    const Slot *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} ApiBase;

Ort ort;
static void *library;

static void *find_symbol(const char *name) {
    return dlsym(library, name);
}

/* The highest version that the library has: the minor number of its own version, as long as that rule holds.
   GetApi complains on stderr when asked for too much, hence not simply from the top. */
static uint32_t first_guess(const char *version) {
    const char *dot = strchr(version, '.');
    long minor = dot && strncmp(version, "1.", 2) == 0 ? strtol(dot + 1, NULL, 10) : 0;
    return minor >= ORT_MIN_API && minor <= ORT_MAX_API ? (uint32_t)minor : 64;
}

static const Slot *find_table(const ApiBase *base, uint32_t *version) {
    for (*version = first_guess(ort.version); *version >= ORT_MIN_API; (*version)--) {
        const Slot *table = base->GetApi(*version);
        if (table) return table;
    }
    return NULL;
}

static const ApiBase *open_base(const char *path) {
    setenv("ORT_DISABLE_TELEMETRY", "1", 1); /* 1.32 collects usage data on Linux too: files, threads, perhaps the network */
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(STAGE_RUNTIME, "cannot load ONNX Runtime: %s", dlerror());
    void *symbol = find_symbol("OrtGetApiBase");
    if (!symbol) fail(STAGE_RUNTIME, "`%s` is not ONNX Runtime: it has no OrtGetApiBase", path);
    const ApiBase *(*get_base)(void);
    memcpy(&get_base, &symbol, sizeof get_base);
    const ApiBase *base = get_base();
    if (!base) fail(STAGE_RUNTIME, "`%s` gives no API", path);
    return base;
}

void ort_open(const char *path) {
    const ApiBase *base = open_base(path);
    uint32_t version;
    const char *text = base->GetVersionString();
    ort.version = text ? text : "";
    ort.symbol = find_symbol;
    const Slot *table = find_table(base, &version);
    if (!table) fail(STAGE_RUNTIME, "ONNX Runtime %s is too old: the runner needs 1.%d or newer", ort.version, ORT_MIN_API);
#define ORT_LOAD(slot, result, name, arguments) ort.name = (result(*) arguments)table[slot];
    ORT_SLOTS(ORT_LOAD)
#undef ORT_LOAD
    if (version >= ORT_API_WITH_HAS_SHAPE) ort.TensorHasShape = (bool (*)(const OrtTensorInfo *))table[390];
    ort_check(ort.CreateEnv(ORT_LOG_ERROR, "thresher", &ort.env), STAGE_RUNTIME, "start ONNX Runtime");
    ort_check(ort.GetAllocatorWithDefaultOptions(&ort.allocator), STAGE_RUNTIME, "start ONNX Runtime");
}

void ort_check(OrtStatus *status, Stage stage, const char *doing) {
    if (status) fail(stage, "cannot %s: %s", doing, ort.GetErrorMessage(status));
}
