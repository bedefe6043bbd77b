// 784-512-512-10 with relu in C: loops that the compiler vectorises, and cblas_sgemm. Nothing is allocated in a step.
#include <cblas.h>
#include "peer.h"

enum { LAYERS = 3 };
static const int SIZES[LAYERS + 1] = {784, 512, 512, 10};
static const float LR = 0.01f;

static int batch, batches;
static float *x, *w[LAYERS], *b[LAYERS], *z[LAYERS], *d[LAYERS], *dw[LAYERS], *db[LAYERS];
static int *y;

static void relu(float *restrict z, int count) {
    for (int i = 0; i < count; i++) z[i] = z[i] > 0 ? z[i] : 0;
}

static void relu_backward(float *restrict d, const float *restrict z, int count) {
    for (int i = 0; i < count; i++) d[i] = z[i] > 0 ? d[i] : 0;
}

static float step(long number) {
    size_t first = (size_t)(number % batches * batch);
    const float *input = x + first * (size_t)SIZES[0], *in = input;
    for (int k = 0; k < LAYERS; k++) {
        int m = SIZES[k], n = SIZES[k + 1];
        for (int i = 0; i < batch; i++) memcpy(z[k] + i * n, b[k], 4 * (size_t)n);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, batch, n, m, 1, in, m, w[k], n, 1, z[k], n);
        if (k < LAYERS - 1) relu(z[k], batch * n);
        in = z[k];
    }
    float loss = cross_entropy(z[LAYERS - 1], y + first, batch, SIZES[LAYERS]);
    const float *dz = z[LAYERS - 1];
    for (int k = LAYERS - 1; k >= 0; k--) {
        int m = SIZES[k], n = SIZES[k + 1];
        in = k ? z[k - 1] : input;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, batch, 1, in, m, dz, n, 0, dw[k], n);
        column_sums(db[k], dz, batch, n);
        if (k) {
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, batch, m, n, 1, dz, n, w[k], n, 0, d[k - 1], m);
            relu_backward(d[k - 1], z[k - 1], batch * m);
            dz = d[k - 1];
        }
        sgd(w[k], dw[k], m * n, LR);
        sgd(b[k], db[k], n, LR);
    }
    return loss;
}

int main(int argc, char **argv) {
    if (argc != 2 || sscanf(argv[1], "mnist_b%d", &batch) != 1) return 2;
    data_of_case = argv[1];
    size_t samples;
    y = read_array("_y", 0, &samples);
    batches = (int)samples / batch;
    x = read_array("_x", samples * (size_t)SIZES[0], NULL);
    for (int k = 0; k < LAYERS; k++) {
        size_t m = (size_t)SIZES[k], n = (size_t)SIZES[k + 1];
        char name[16];
        snprintf(name, sizeof name, "w%d", k);
        w[k] = read_array(name, m * n, NULL);
        snprintf(name, sizeof name, "b%d", k);
        b[k] = read_array(name, n, NULL);
        z[k] = zeros((size_t)batch * n);
        d[k] = zeros((size_t)batch * n);
        dw[k] = zeros(m * n);
        db[k] = zeros(n);
    }
    return peer_main(step, 10, openblas_get_corename());
}
