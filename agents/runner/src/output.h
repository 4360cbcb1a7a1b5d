/* What the runner writes: JSON lines on stdout, files in the output folder, and the exit code. */
#ifndef RUNNER_OUTPUT_H
#define RUNNER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Which part failed: the exit code. */
typedef enum { STAGE_SPEC = 10, STAGE_RUNTIME, STAGE_SESSION, STAGE_INPUT, STAGE_RUN, STAGE_OUTPUT } Stage;

/* Keeps stdout for lines alone: whatever libraries print there goes to stderr from now on. */
void output_begin(void);

/* Opens the folder that files are written to. */
void output_folder(const char *path);

/* Lines are written whole by one thread at a time. To write several things as one, hold the lock around them. */
void output_lock(void);
void output_unlock(void);

/* A line: begin it, add members, end it; ending writes it at once. */
FILE *line_begin(const char *kind);
void line_text(FILE *line, const char *key, const char *text);
void line_integer(FILE *line, const char *key, int64_t value);
void line_seconds(FILE *line, const char *key, int64_t nanoseconds);
void line_bool(FILE *line, const char *key, bool value);
void line_string(FILE *line, const char *text); /* a JSON string alone; what is not UTF-8 becomes U+FFFD */
void line_end(FILE *line);

/* A file of the output folder under a temporary name; keeping it gives it its name. It never follows a link. */
typedef struct {
    int descriptor;
    char name[64];
} OutputFile;
OutputFile output_create(const char *name);
void output_write(const OutputFile *file, const void *data, size_t size);
void output_keep(const OutputFile *file);

/* Moves a file that a library wrote into the output folder under `name`. */
void output_adopt(const char *path, const char *name);

/* Writes the `error` line and ends the process with the stage as exit code. */
_Noreturn void fail(Stage stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes the `end` line and ends the process: 0, or 143 when it was asked to stop. */
_Noreturn void finish(bool stopped);

#endif
