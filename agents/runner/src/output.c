#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "utf8.h"

enum { MAX_MESSAGE = 2000, EXIT_STOPPED = 143 };

static pthread_mutex_t lock;
static int lines = STDOUT_FILENO;
static int folder = -1;
static char *line_buffer;
static size_t line_size;

void output_begin(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attributes);
    lines = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    if (lines < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) _exit(STAGE_OUTPUT);
}

void output_lock(void) {
    pthread_mutex_lock(&lock);
}

void output_unlock(void) {
    pthread_mutex_unlock(&lock);
}

static bool write_all(int descriptor, const char *data, size_t size) {
    while (size > 0) {
        ssize_t written = write(descriptor, data, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        data += written;
        size -= (size_t)written;
    }
    return true;
}

FILE *line_begin(const char *kind) {
    output_lock();
    FILE *line = open_memstream(&line_buffer, &line_size);
    if (!line) _exit(STAGE_OUTPUT);
    fprintf(line, "{\"kind\":\"%s\"", kind);
    return line;
}

void line_string(FILE *line, const char *text) {
    fputc('"', line);
    for (size_t left = strlen(text); left > 0;) {
        size_t length = utf8_sequence(text, left);
        if (length == 0) fputs("\\ufffd", line);
        else if (*text == '"' || *text == '\\') fprintf(line, "\\%c", *text);
        else if ((unsigned char)*text < 0x20 || *text == 0x7F) fprintf(line, "\\u%04x", (unsigned)*text);
        else fwrite(text, 1, length, line);
        text += length ? length : 1;
        left -= length ? length : 1;
    }
    fputc('"', line);
}

void line_text(FILE *line, const char *key, const char *text) {
    fprintf(line, ",\"%s\":", key);
    line_string(line, text);
}

void line_integer(FILE *line, const char *key, int64_t value) {
    fprintf(line, ",\"%s\":%lld", key, (long long)value);
}

/* By integers alone, so that no locale's decimal comma can get in. */
void line_seconds(FILE *line, const char *key, int64_t nanoseconds) {
    if (nanoseconds < 0) nanoseconds = 0;
    fprintf(line, ",\"%s\":%lld.%09lld", key, (long long)(nanoseconds / 1000000000), (long long)(nanoseconds % 1000000000));
}

void line_bool(FILE *line, const char *key, bool value) {
    fprintf(line, ",\"%s\":%s", key, value ? "true" : "false");
}

void line_end(FILE *line) {
    fputs("}\n", line);
    if (fclose(line) != 0 || !write_all(lines, line_buffer, line_size)) _exit(STAGE_OUTPUT);
    free(line_buffer);
    output_unlock();
}

void output_folder(const char *path) {
    folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) fail(STAGE_OUTPUT, "cannot open the output folder `%s`: %s", path, strerror(errno));
    if (faccessat(folder, ".", W_OK, 0) != 0) fail(STAGE_OUTPUT, "cannot write to the output folder `%s`: %s", path, strerror(errno));
}

static void temporary_name(const char *name, char *out, size_t size) {
    snprintf(out, size, "%s.part", name);
}

OutputFile output_create(const char *name) {
    OutputFile file;
    char temporary[80];
    snprintf(file.name, sizeof file.name, "%s", name);
    temporary_name(name, temporary, sizeof temporary);
    unlinkat(folder, temporary, 0); /* of a launch that was killed; if something stays, opening says what */
    file.descriptor = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file.descriptor < 0) fail(STAGE_OUTPUT, "cannot create `%s` in the output folder: %s", temporary, strerror(errno));
    return file;
}

void output_write(const OutputFile *file, const void *data, size_t size) {
    if (!write_all(file->descriptor, data, size)) fail(STAGE_OUTPUT, "cannot write `%s`: %s", file->name, strerror(errno));
}

void output_keep(const OutputFile *file) {
    char temporary[80];
    temporary_name(file->name, temporary, sizeof temporary);
    if (close(file->descriptor) != 0 || renameat(folder, temporary, folder, file->name) != 0)
        fail(STAGE_OUTPUT, "cannot write `%s`: %s", file->name, strerror(errno));
}

void output_adopt(const char *path, const char *name) {
    if (renameat(AT_FDCWD, path, folder, name) != 0) fail(STAGE_OUTPUT, "cannot move `%s` to `%s`: %s", path, name, strerror(errno));
}

/* The stages by name, in the order of their numbers. */
static const char *stage_name(Stage stage) {
    static const char *const names[] = {"spec", "runtime", "session", "input", "run", "output"};
    return names[stage - STAGE_SPEC];
}

_Noreturn void fail(Stage stage, const char *format, ...) {
    char message[MAX_MESSAGE + 4];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, MAX_MESSAGE + 1, format, arguments);
    va_end(arguments);
    if (length > MAX_MESSAGE) {
        size_t end = MAX_MESSAGE; /* then leave out the last character, of which a part may be cut off */
        while (((unsigned char)message[end - 1] & 0xC0) == 0x80 && end > 1) end--;
        strcpy(message + end - 1, "…");
    }
    output_lock();
    FILE *line = line_begin("error");
    line_text(line, "stage", stage_name(stage));
    line_text(line, "message", length < 0 ? format : message);
    line_end(line);
    _exit((int)stage);
}

/* VmHWM belongs to this program alone; getrusage also counts what ran in the process before exec. */
static int64_t peak_rss_bytes(void) {
    char text[256];
    long long kilobytes = -1;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && kilobytes < 0 && fgets(text, sizeof text, status))
        if (sscanf(text, "VmHWM: %lld kB", &kilobytes) != 1) kilobytes = -1;
    if (status) fclose(status);
    if (kilobytes >= 0) return kilobytes * 1024;
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}

_Noreturn void finish(bool stopped) {
    output_lock();
    FILE *line = line_begin("end");
    line_text(line, "reason", stopped ? "sigterm" : "complete");
    line_integer(line, "peak_rss_bytes", peak_rss_bytes());
    line_end(line);
    _exit(stopped ? EXIT_STOPPED : 0);
}
