/* ONNX Runtime's C API, opened from a path and called through its table.

   The table only ever grows at its end (the rules in onnxruntime_c_api.cc), so a slot's number holds for every version that
   has it. The last one used here came with version 12, hence the minimum. No header of ONNX Runtime is needed to build. */
#ifndef RUNNER_ORT_H
#define RUNNER_ORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "output.h"

typedef struct OrtStatus OrtStatus;
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtAllocator OrtAllocator;
typedef struct OrtTypeInfo OrtTypeInfo;
typedef struct OrtTensorInfo OrtTensorInfo; /* OrtTensorTypeAndShapeInfo */

enum { ORT_MIN_API = 12, ORT_MAX_API = 1000, ORT_API_WITH_HAS_SHAPE = 24 };
enum { ORT_KIND_TENSOR = 1 };
enum { ORT_LOG_ERROR = 3 };

/* slot, result, name, arguments */
#define ORT_SLOTS(SLOT)                                                                                                           \
    SLOT(2, const char *, GetErrorMessage, (const OrtStatus *))                                                                   \
    SLOT(3, OrtStatus *, CreateEnv, (int, const char *, OrtEnv **))                                                               \
    SLOT(7, OrtStatus *, CreateSession, (const OrtEnv *, const char *, const OrtSessionOptions *, OrtSession **))                 \
    SLOT(9, OrtStatus *, Run,                                                                                                     \
         (OrtSession *, const OrtRunOptions *, const char *const *, const OrtValue *const *, size_t, const char *const *, size_t, \
          OrtValue **))                                                                                                           \
    SLOT(10, OrtStatus *, CreateSessionOptions, (OrtSessionOptions **))                                                           \
    SLOT(13, OrtStatus *, SetSessionExecutionMode, (OrtSessionOptions *, int))                                                    \
    SLOT(14, OrtStatus *, EnableProfiling, (OrtSessionOptions *, const char *))                                                   \
    SLOT(17, OrtStatus *, DisableMemPattern, (OrtSessionOptions *))                                                               \
    SLOT(19, OrtStatus *, DisableCpuMemArena, (OrtSessionOptions *))                                                              \
    SLOT(22, OrtStatus *, SetSessionLogSeverityLevel, (OrtSessionOptions *, int))                                                 \
    SLOT(23, OrtStatus *, SetSessionGraphOptimizationLevel, (OrtSessionOptions *, int))                                           \
    SLOT(24, OrtStatus *, SetIntraOpNumThreads, (OrtSessionOptions *, int))                                                       \
    SLOT(25, OrtStatus *, SetInterOpNumThreads, (OrtSessionOptions *, int))                                                       \
    SLOT(30, OrtStatus *, SessionGetInputCount, (const OrtSession *, size_t *))                                                   \
    SLOT(31, OrtStatus *, SessionGetOutputCount, (const OrtSession *, size_t *))                                                  \
    SLOT(33, OrtStatus *, SessionGetInputTypeInfo, (const OrtSession *, size_t, OrtTypeInfo **))                                  \
    SLOT(34, OrtStatus *, SessionGetOutputTypeInfo, (const OrtSession *, size_t, OrtTypeInfo **))                                 \
    SLOT(36, OrtStatus *, SessionGetInputName, (const OrtSession *, size_t, OrtAllocator *, char **))                             \
    SLOT(37, OrtStatus *, SessionGetOutputName, (const OrtSession *, size_t, OrtAllocator *, char **))                            \
    SLOT(39, OrtStatus *, CreateRunOptions, (OrtRunOptions **))                                                                   \
    SLOT(46, OrtStatus *, RunOptionsSetTerminate, (OrtRunOptions *))                                                              \
    SLOT(49, OrtStatus *, CreateTensorWithDataAsOrtValue,                                                                         \
         (const OrtMemoryInfo *, void *, size_t, const int64_t *, size_t, int, OrtValue **))                                      \
    SLOT(51, OrtStatus *, GetTensorMutableData, (OrtValue *, void **))                                                            \
    SLOT(55, OrtStatus *, CastTypeInfoToTensorInfo, (const OrtTypeInfo *, const OrtTensorInfo **))                                \
    SLOT(56, OrtStatus *, GetOnnxTypeFromTypeInfo, (const OrtTypeInfo *, int *))                                                  \
    SLOT(60, OrtStatus *, GetTensorElementType, (const OrtTensorInfo *, int *))                                                   \
    SLOT(61, OrtStatus *, GetDimensionsCount, (const OrtTensorInfo *, size_t *))                                                  \
    SLOT(62, OrtStatus *, GetDimensions, (const OrtTensorInfo *, int64_t *, size_t))                                              \
    SLOT(65, OrtStatus *, GetTensorTypeAndShape, (const OrtValue *, OrtTensorInfo **))                                            \
    SLOT(69, OrtStatus *, CreateCpuMemoryInfo, (int, int, OrtMemoryInfo **))                                                      \
    SLOT(78, OrtStatus *, GetAllocatorWithDefaultOptions, (OrtAllocator **))                                                      \
    SLOT(93, void, ReleaseStatus, (OrtStatus *))                                                                                  \
    SLOT(95, void, ReleaseSession, (OrtSession *))                                                                                \
    SLOT(96, void, ReleaseValue, (OrtValue *))                                                                                    \
    SLOT(98, void, ReleaseTypeInfo, (OrtTypeInfo *))                                                                              \
    SLOT(99, void, ReleaseTensorTypeAndShapeInfo, (OrtTensorInfo *))                                                              \
    SLOT(100, void, ReleaseSessionOptions, (OrtSessionOptions *))                                                                 \
    SLOT(110, OrtStatus *, SessionEndProfiling, (OrtSession *, OrtAllocator *, char **))                                          \
    SLOT(125, OrtStatus *, GetAvailableProviders, (char ***, int *))                                                              \
    SLOT(130, OrtStatus *, AddSessionConfigEntry, (OrtSessionOptions *, const char *, const char *))                              \
    SLOT(216, OrtStatus *, SessionOptionsAppendExecutionProvider,                                                                 \
         (OrtSessionOptions *, const char *, const char *const *, const char *const *, size_t))

#define ORT_FIELD(slot, result, name, arguments) result(*name) arguments;
typedef struct {
    ORT_SLOTS(ORT_FIELD)
    bool (*TensorHasShape)(const OrtTensorInfo *); /* slot 390, version 24; NULL before */
    void *(*symbol)(const char *name);             /* a function that the library exports by name, or NULL */
    const char *version;
    OrtEnv *env;
    OrtAllocator *allocator;
} Ort;
#undef ORT_FIELD

/* The one runtime of this process; its calls are there after ort_open. */
extern Ort ort;

/* Opens the library; ends the process when it is not an ONNX Runtime that the runner can use (stage "runtime"). */
void ort_open(const char *path);

/* Ends the process with the runtime's message, bounded, if `status` is an error. */
void ort_check(OrtStatus *status, Stage stage, const char *doing);

#endif
