// What the peers in C share: the data, the clock, the line of JSON. See python/common.py.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *data_of_case;

// The numbers of an array, each of four bytes; aborts unless there are `count`, or any number for 0.
static void *read_array(const char *name, size_t count, size_t *found) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", getenv("PEERS_DATA"), data_of_case, name);
    FILE *file = fopen(path, "rb");
    if (!file) { perror(path); exit(1); }
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    void *array = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if ((count && bytes != 4 * count) || !array || fread(array, 1, bytes, file) != bytes) {
        fprintf(stderr, "%s: %zu bytes, wanted %zu numbers\n", path, bytes, count);
        exit(1);
    }
    fclose(file);
    if (found) *found = bytes / 4;
    return array;
}

static float *zeros(size_t count) {
    float *array = aligned_alloc(64, (4 * count + 63) / 64 * 64);
    if (!array) exit(1);
    memset(array, 0, 4 * count);
    return array;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile float sink;

static double run(float (*step)(long), long *number, long calls) {
    double start = now();
    for (long i = 0; i < calls; i++) sink = step((*number)++);
    return now() - start;
}

// Runs the steps whose losses are compared, then measures.
static int peer_main(float (*step)(long), long checked, const char *about) {
    long number = 0, repeats = atol(getenv("PEERS_REPEATS"));
    double seconds = atof(getenv("PEERS_SECONDS"));
    printf("{\"values\": [");
    for (long i = 0; i < checked; i++) printf("%s%.9g", i ? ", " : "", (double)step(number++));
    run(step, &number, 1);
    double once = run(step, &number, 3) / 3;
    if (once < 1e-3) once = run(step, &number, 200) / 200;
    long calls = (long)(seconds / once) + 1;
    printf("], \"us\": [");
    for (long i = 0; i < repeats; i++)
        printf("%s%.6g", i ? ", " : "", run(step, &number, calls) / (double)calls * 1e6);
    printf("], \"about\": \"%s\"}\n", about);
    return 0;
}

// Turns `rows` of logits into the gradient of their mean cross-entropy, which it returns.
static float cross_entropy(float *restrict logits, const int *restrict labels, int rows, int classes) {
    float loss = 0;
    for (int i = 0; i < rows; i++) {
        float *row = logits + (size_t)i * (size_t)classes, most = row[0], sum = 0;
        for (int j = 1; j < classes; j++) most = row[j] > most ? row[j] : most;
        float own = row[labels[i]] - most;
        for (int j = 0; j < classes; j++) { row[j] = __builtin_expf(row[j] - most); sum += row[j]; }
        loss += __builtin_logf(sum) - own;
        float share = 1.0f / (sum * (float)rows);
        for (int j = 0; j < classes; j++) row[j] *= share;
        row[labels[i]] -= 1.0f / (float)rows;
    }
    return loss / (float)rows;
}

static void column_sums(float *restrict sums, const float *restrict d, int rows, int columns) {
    memset(sums, 0, 4 * (size_t)columns);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) sums[j] += d[(size_t)i * (size_t)columns + (size_t)j];
}

static void sgd(float *restrict p, const float *restrict d, int count, float lr) {
    for (int i = 0; i < count; i++) p[i] -= lr * d[i];
}
