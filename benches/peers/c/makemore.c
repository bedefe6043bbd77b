// The notebook's network in C: loops that the compiler vectorises, and cblas_sgemm. Nothing is allocated in a step.
// Built for one HIDDEN, so that the lengths of the loops are known.
#include <cblas.h>
#include <math.h>
#include "peer.h"

enum { B = 32, CONTEXT = 3, VOCAB = 27, EMBEDDING = 10, IN = CONTEXT * EMBEDDING, H = HIDDEN, MINIBATCHES = 4096 };
static const float LR = 0.1f, EPS = 1e-5f;

static int *contexts, *labels, *minibatches;
static float *c, *w1, *bngain, *bnbias, *w2, *b2;
static float embcat[B * IN], hprebn[B * H], bnraw[B * H], h[B * H], logits[B * VOCAB], dh[B * H], dembcat[B * IN];
static float dc[VOCAB * EMBEDDING], dw1[IN * H], dbngain[H], dbnbias[H], dw2[H * VOCAB], db2[VOCAB];

static float step(long number) {
    const int *ix = minibatches + number % MINIBATCHES * B;
    int y[B];
    for (int i = 0; i < B; i++) {
        y[i] = labels[ix[i]];
        for (int j = 0; j < CONTEXT; j++)
            memcpy(embcat + i * IN + j * EMBEDDING, c + contexts[ix[i] * CONTEXT + j] * EMBEDDING, 4 * EMBEDDING);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, B, H, IN, 1, embcat, IN, w1, H, 0, hprebn, H);
    float mean[H] = {0}, inv_std[H] = {0};
    for (int i = 0; i < B; i++)
        for (int j = 0; j < H; j++) mean[j] += hprebn[i * H + j];
    for (int j = 0; j < H; j++) mean[j] *= 1.0f / B;
    for (int i = 0; i < B; i++)
        for (int j = 0; j < H; j++) {
            float d = hprebn[i * H + j] - mean[j];
            inv_std[j] += d * d;
        }
    for (int j = 0; j < H; j++) inv_std[j] = 1.0f / sqrtf(inv_std[j] * (1.0f / (B - 1)) + EPS);
    for (int i = 0; i < B; i++)
        for (int j = 0; j < H; j++) {
            bnraw[i * H + j] = (hprebn[i * H + j] - mean[j]) * inv_std[j];
            h[i * H + j] = tanhf(bngain[j] * bnraw[i * H + j] + bnbias[j]);
        }
    for (int i = 0; i < B; i++) memcpy(logits + i * VOCAB, b2, 4 * VOCAB);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, B, VOCAB, H, 1, h, H, w2, VOCAB, 1, logits, VOCAB);
    float loss = cross_entropy(logits, y, B, VOCAB);

    float *dlogits = logits;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, B, H, VOCAB, 1, dlogits, VOCAB, w2, VOCAB, 0, dh, H);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, H, VOCAB, B, 1, h, H, dlogits, VOCAB, 0, dw2, VOCAB);
    column_sums(db2, dlogits, B, VOCAB);
    memset(dbngain, 0, sizeof dbngain);
    memset(dbnbias, 0, sizeof dbnbias);
    for (int i = 0; i < B; i++)
        for (int j = 0; j < H; j++) {
            float d = (1 - h[i * H + j] * h[i * H + j]) * dh[i * H + j];
            dh[i * H + j] = d;
            dbngain[j] += bnraw[i * H + j] * d;
            dbnbias[j] += d;
        }
    for (int i = 0; i < B; i++)
        for (int j = 0; j < H; j++) {
            float inner = B * dh[i * H + j] - dbnbias[j] - (float)B / (B - 1) * bnraw[i * H + j] * dbngain[j];
            dh[i * H + j] = bngain[j] * inv_std[j] * (1.0f / B) * inner;
        }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, B, IN, H, 1, dh, H, w1, H, 0, dembcat, IN);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, IN, H, B, 1, embcat, IN, dh, H, 0, dw1, H);
    memset(dc, 0, sizeof dc);
    for (int i = 0; i < B; i++)
        for (int j = 0; j < CONTEXT; j++) {
            float *row = dc + contexts[ix[i] * CONTEXT + j] * EMBEDDING;
            for (int k = 0; k < EMBEDDING; k++) row[k] += dembcat[i * IN + j * EMBEDDING + k];
        }
    sgd(c, dc, VOCAB * EMBEDDING, LR);
    sgd(w1, dw1, IN * H, LR);
    sgd(bngain, dbngain, H, LR);
    sgd(bnbias, dbnbias, H, LR);
    sgd(w2, dw2, H * VOCAB, LR);
    sgd(b2, db2, VOCAB, LR);
    return loss;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    data_of_case = argv[1];
    size_t samples;
    labels = read_array("_labels", 0, &samples);
    contexts = read_array("_contexts", samples * CONTEXT, NULL);
    minibatches = read_array("_minibatches", MINIBATCHES * B, NULL);
    c = read_array("c", VOCAB * EMBEDDING, NULL);
    w1 = read_array("w1", IN * H, NULL);
    bngain = read_array("bngain", H, NULL);
    bnbias = read_array("bnbias", H, NULL);
    w2 = read_array("w2", H * VOCAB, NULL);
    b2 = read_array("b2", VOCAB, NULL);
    return peer_main(step, 10, openblas_get_corename());
}
