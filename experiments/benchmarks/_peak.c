/* Gaussian peaks by Levenberg-Marquardt, 16 fits to a vector: what one model costs written by hand.

   Every fit takes `steps` steps. y is (fits, points); p is (fits, 4): the starts, and then what is
   found, as amplitude, mu, sigma, offset. The number of fits must be a multiple of 16. */

#include <stddef.h>

#define LANES 16
#define SIZE 4
#define MOST 512
#define PLACE(i, j) ((i) * ((i) + 1) / 2 + (j))

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int whole __attribute__((vector_size(4 * LANES)));

typedef struct {
    lanes cost, slope[SIZE], square[10]; /* J^T r, and J^T J by rows of its lower triangle */
} sums;

static inline lanes chosen(whole where, lanes a, lanes b) {
    return (lanes)(((whole)a & where) | ((whole)b & ~where));
}

/* e^x for x <= 0, to 2e-7: 2^k times Taylor's polynomial of what is left. */
static inline lanes exponential(lanes x) {
    const float round = 12582912.0f; /* 1.5 * 2^23 leaves an integer in the lowest bits */
    x = chosen(x < -87.0f, x * 0 - 87.0f, x);
    lanes shifted = x * 1.44269504f + round, k = shifted - round;
    lanes r = x - k * 0.693359375f + k * 2.12194440e-4f;
    lanes p = 1 + r * (1 + r * (0.5f + r * (1.6666667e-1f + r * (4.1666667e-2f
        + r * (8.3333333e-3f + r * 1.3888889e-3f)))));
    return (lanes)((whole)p + ((whole)shifted << 23));
}

static inline sums evaluated(const float *x, const lanes *y, int points, const lanes *p) {
    lanes zero = p[0] * 0, inverse = 1 / p[2];
    lanes c = zero, g0 = zero, g1 = zero, g2 = zero, g3 = zero, n = zero;
    lanes a00 = zero, a10 = zero, a11 = zero, a20 = zero, a21 = zero, a22 = zero;
    lanes a30 = zero, a31 = zero, a32 = zero;
    for (int i = 0; i < points; i++) {
        lanes u = (x[i] - p[1]) * inverse, e = exponential(-0.5f * u * u);
        lanes r = p[0] * e + p[3] - y[i], m = p[0] * e * u * inverse, s = m * u;
        c += r * r;
        g0 += e * r, g1 += m * r, g2 += s * r, g3 += r;
        a00 += e * e, a10 += m * e, a11 += m * m, a20 += s * e, a21 += s * m, a22 += s * s;
        a30 += e, a31 += m, a32 += s, n += 1;
    }
    return (sums){c, {g0, g1, g2, g3}, {a00, a10, a11, a20, a21, a22, a30, a31, a32, n}};
}

static inline lanes root(lanes x) {
    for (int k = 0; k < LANES; k++) x[k] = __builtin_sqrtf(x[k]);
    return x;
}

/* d with (A + damping diag A) d = -g, by Cholesky. */
static inline void solved(const sums *now, lanes damping, lanes *d) {
    lanes L[10], z[SIZE];
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j <= i; j++) {
            lanes v = now->square[PLACE(i, j)];
            if (i == j) v *= 1 + damping;
            for (int m = 0; m < j; m++) v -= L[PLACE(i, m)] * L[PLACE(j, m)];
            L[PLACE(i, j)] = i == j ? root(v) : v / L[PLACE(j, j)];
        }
    for (int i = 0; i < SIZE; i++) {
        lanes v = -now->slope[i];
        for (int m = 0; m < i; m++) v -= L[PLACE(i, m)] * z[m];
        z[i] = v / L[PLACE(i, i)];
    }
    for (int i = SIZE - 1; i >= 0; i--) {
        lanes v = z[i];
        for (int m = i + 1; m < SIZE; m++) v -= L[PLACE(m, i)] * d[m];
        d[i] = v / L[PLACE(i, i)];
    }
}

int fit_peaks(const float *x, const float *y, int points, size_t fits, int steps, float *p) {
    lanes data[MOST], at[SIZE], trial[SIZE], d[SIZE];
    if (points > MOST || fits % LANES) return 1;
    for (size_t first = 0; first < fits; first += LANES) {
        for (int k = 0; k < LANES; k++)
            for (int i = 0; i < points; i++) data[i][k] = y[(first + k) * points + i];
        for (int j = 0; j < SIZE; j++)
            for (int k = 0; k < LANES; k++) at[j][k] = p[(first + k) * SIZE + j];
        lanes damping = at[0] * 0 + 1e-2f;
        sums now = evaluated(x, data, points, at);
        for (int step = 0; step < steps; step++) {
            solved(&now, damping, d);
            for (int j = 0; j < SIZE; j++) trial[j] = at[j] + d[j];
            sums there = evaluated(x, data, points, trial);
            whole better = there.cost < now.cost;
            for (int j = 0; j < SIZE; j++) at[j] = chosen(better, trial[j], at[j]);
            for (int j = 0; j < SIZE; j++) now.slope[j] = chosen(better, there.slope[j], now.slope[j]);
            for (int s = 0; s < 10; s++) now.square[s] = chosen(better, there.square[s], now.square[s]);
            now.cost = chosen(better, there.cost, now.cost);
            damping = chosen(better, damping * 0.1f, damping * 10.0f);
        }
        for (int j = 0; j < SIZE; j++)
            for (int k = 0; k < LANES; k++) p[(first + k) * SIZE + j] = at[j][k];
    }
    return 0;
}
