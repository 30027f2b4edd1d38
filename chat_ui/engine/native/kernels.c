/* Decoding on a CPU: a decoder layer for a few rows, and the product of a matrix with a few rows.

   Written for one thing: reading each weight once, at the speed of the memory. Weights stay as
   torch holds them, row-major, in float32, bfloat16, or int8 with one scale per output row;
   activations are float32 in here. GCC's and Clang's vector types compile to whatever the machine
   has (AVX-512, AVX2, NEON). How a row is summed does not depend on how many rows come with it, so
   that an answer does not change with its company.

   `compiled.py` mirrors the structs and constants. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2 };
enum { LANES = 16, BLOCK = 32, AHEAD = 8, MAX_ROWS = 8 };

typedef float floats __attribute__((vector_size(64)));
typedef float eights __attribute__((vector_size(32)));
typedef float fours __attribute__((vector_size(16)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef uint32_t words __attribute__((vector_size(64)));
typedef uint16_t halves __attribute__((vector_size(32)));
typedef int8_t bytes __attribute__((vector_size(16)));

typedef struct {
    const void *weight;  /* (outputs, inputs) */
    const float *scale;  /* (outputs,), of an int8 weight */
    const float *bias;   /* (outputs,), or null */
    int64_t outputs, inputs;
    int32_t type;
} Matrix;

typedef struct {
    Matrix query, key, value, output, gate, up, down;
    const float *norm_before, *norm_between;    /* (hidden,) */
    const float *norm_query, *norm_key;         /* (head size,), or null */
    int64_t hidden, heads, key_heads, head_size;
    float epsilon, scaling;
    int32_t type;                               /* of hidden states and cache */
} Layer;

typedef struct {
    int64_t rows;
    const float *cosine, *sine;                 /* (rows, head size) */
    const int64_t *write;                       /* (rows,): where each row's key goes */
    const int64_t *read;                        /* slots of all rows' keys, end to end */
    const int64_t *begin, *length;              /* (rows,): which of them a row attends to */
    int32_t threads;
    float *scratch;
} Step;

static inline floats load(const float *p) { floats v; memcpy(&v, p, sizeof v); return v; }
static inline void store(float *p, floats v) { memcpy(p, &v, sizeof v); }

static inline floats load_bfloat16(const uint16_t *p) {
    halves h;
    memcpy(&h, p, sizeof h);
    return (floats)(__builtin_convertvector(h, words) << 16);
}

#ifdef __AVX512F__
#include <immintrin.h>
static inline floats load_int8(const int8_t *p) { /* GCC 12 would go from byte to byte */
    return (floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}
#else
static inline floats load_int8(const int8_t *p) {
    bytes b;
    memcpy(&b, p, sizeof b);
    return __builtin_convertvector(__builtin_convertvector(b, ints), floats);
}
#endif

static inline float from_bfloat16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint16_t to_bfloat16(float f) { /* to nearest, ties to even, as torch */
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (f != f) return 0x7fc0;
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

static inline float same(float f) { return f; }
static inline float from_int8(int8_t b) { return b; }

/* By halves: one lane after the other took longer than the products of a short row. */
static inline float sum(floats v) {
    eights low, high;
    memcpy(&low, &v, sizeof low);
    memcpy(&high, (const char *)&v + sizeof low, sizeof high);
    low += high;
    fours front, back;
    memcpy(&front, &low, sizeof front);
    memcpy(&back, (const char *)&low + sizeof front, sizeof back);
    front += back;
    return (front[0] + front[2]) + (front[1] + front[3]);
}

/* Two weight rows at a time with M rows of x: four independent sums for each keep the
   multipliers busy, and two streams through the memory keep its prefetcher so. */
#define DEFINE_PRODUCT(NAME, T, LOAD, ONE, M)                                                     \
    static inline void NAME(const T *a, const T *b, const float *x, int64_t inputs, float *ya,    \
                            float *yb) {                                                          \
        floats s[M][4];                                                                           \
        memset(s, 0, sizeof s);                                                                   \
        int64_t j = 0;                                                                            \
        for (; j + 2 * LANES <= inputs; j += 2 * LANES) {                                         \
            __builtin_prefetch((const char *)(a + j) + 1536);                                     \
            __builtin_prefetch((const char *)(b + j) + 1536);                                     \
            floats a0 = LOAD(a + j), a1 = LOAD(a + j + LANES);                                    \
            floats b0 = LOAD(b + j), b1 = LOAD(b + j + LANES);                                    \
            for (int r = 0; r < M; r++) {                                                         \
                floats u = load(x + r * inputs + j), v = load(x + r * inputs + j + LANES);        \
                s[r][0] += a0 * u;                                                                \
                s[r][1] += a1 * v;                                                                \
                s[r][2] += b0 * u;                                                                \
                s[r][3] += b1 * v;                                                                \
            }                                                                                     \
        }                                                                                         \
        for (int r = 0; r < M; r++) {                                                             \
            ya[r] = sum(s[r][0] + s[r][1]);                                                       \
            yb[r] = sum(s[r][2] + s[r][3]);                                                       \
            for (int64_t t = j; t < inputs; t++) {                                                \
                ya[r] = fmaf(ONE(a[t]), x[r * inputs + t], ya[r]);                                \
                yb[r] = fmaf(ONE(b[t]), x[r * inputs + t], yb[r]);                                \
            }                                                                                     \
        }                                                                                         \
    }

#define DEFINE_ROWS(NAME, T, LOAD, ONE)                                                           \
    DEFINE_PRODUCT(NAME##_1, T, LOAD, ONE, 1)                                                     \
    DEFINE_PRODUCT(NAME##_2, T, LOAD, ONE, 2)                                                     \
    DEFINE_PRODUCT(NAME##_4, T, LOAD, ONE, 4)                                                     \
    static void NAME(const Matrix *m, const float *x, int64_t rows, int64_t begin, int64_t end,   \
                     float *y, int64_t stride) {                                                  \
        const T *w = m->weight;                                                                   \
        int64_t half = (end - begin + 1) / 2;                                                     \
        for (int64_t i = begin; i < begin + half; i++) {                                          \
            int64_t k = i + half < end ? i + half : i; /* an odd last row is its own partner */   \
            float ya[MAX_ROWS], yb[MAX_ROWS];                                                     \
            const T *a = w + i * m->inputs, *b = w + k * m->inputs;                               \
            int64_t r = 0;                                                                        \
            const int64_t n = m->inputs;                                                          \
            for (; r + 4 <= rows; r += 4) NAME##_4(a, b, x + r * n, n, ya + r, yb + r);           \
            for (; r + 2 <= rows; r += 2) NAME##_2(a, b, x + r * n, n, ya + r, yb + r);           \
            for (; r < rows; r++) NAME##_1(a, b, x + r * n, n, ya + r, yb + r);                   \
            float sa = m->scale ? m->scale[i] : 1.0f, sb = m->scale ? m->scale[k] : 1.0f;         \
            float ca = m->bias ? m->bias[i] : 0.0f, cb = m->bias ? m->bias[k] : 0.0f;             \
            for (r = 0; r < rows; r++) {                                                          \
                y[r * stride + i] = ya[r] * sa + ca;                                              \
                y[r * stride + k] = yb[r] * sb + cb;                                              \
            }                                                                                     \
        }                                                                                         \
    }

DEFINE_ROWS(rows_float32, float, load, same)
DEFINE_ROWS(rows_bfloat16, uint16_t, load_bfloat16, from_bfloat16)
DEFINE_ROWS(rows_int8, int8_t, load_int8, from_int8)

/* y[r, i] for the outputs i of one thread's share. */
static void product(const Matrix *m, const float *x, int64_t rows, int64_t begin, int64_t end,
                    float *y, int64_t stride) {
    if (m->type == FLOAT32) rows_float32(m, x, rows, begin, end, y, stride);
    else if (m->type == BFLOAT16) rows_bfloat16(m, x, rows, begin, end, y, stride);
    else rows_int8(m, x, rows, begin, end, y, stride);
}

typedef struct { int64_t begin, end; } Range;

static inline Range share(int64_t count, int thread, int threads) {
    Range r = {count * thread / threads, count * (thread + 1) / threads};
    return r;
}

static inline floats bounded(floats x) { /* to where e^x is a normal float32; NaN stays NaN */
    ints low = x < -87.0f, high = x > 88.0f;
    floats lowest = (floats){0} - 87.0f, highest = (floats){0} + 88.0f;
    ints kept = ~(low | high) & (ints)x;
    return (floats)(kept | (low & (ints)lowest) | (high & (ints)highest));
}

static inline floats exponential(floats x) { /* 2^(x log2 e), relative error below 2e-7 */
    x = bounded(x);
    floats t = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: rounds to a whole number */
    ints n = (ints)t - 0x4b400000;
    floats whole = t - 12582912.0f;
    floats f = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    floats p = f * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * f * f + f + 1.0f;
    return (floats)((ints)p + (n << 23));
}

static inline float exponential_of(float x) {
    floats v = {0};
    v += x;
    return exponential(v)[0];
}

/* y = x / rms(x) * weight; in place where y is x. */
static void normalize(const float *x, const float *weight, int64_t size, float epsilon, float *y) {
    floats squares = {0};
    int64_t j = 0;
    for (; j + LANES <= size; j += LANES) squares += load(x + j) * load(x + j);
    float total = sum(squares);
    for (; j < size; j++) total += x[j] * x[j];
    float factor = 1.0f / sqrtf(total / size + epsilon);
    for (j = 0; j < size; j++) y[j] = x[j] * factor * weight[j];
}

/* Pairs (j, j + size / 2) are turned, as transformers' rotate_half does. */
static void rotate(float *x, const float *cosine, const float *sine, int64_t size) {
    int64_t half = size / 2;
    for (int64_t j = 0; j < half; j++) {
        float low = x[j], high = x[j + half];
        x[j] = low * cosine[j] - high * sine[j];
        x[j + half] = high * cosine[j + half] + low * sine[j + half];
    }
}

/* A conversation's rows lie far apart, where no prefetcher of the hardware follows. */
static inline void fetch(const void *p, size_t count) {
    for (size_t at = 0; at < count; at += 64) __builtin_prefetch((const char *)p + at);
}

#define DEFINE_ATTEND(NAME, T, LOAD, ONE)                                                         \
    static void NAME(const Step *s, int64_t row, const float *q, const T *keys, const T *values,  \
                     int64_t stride, int64_t size, float scaling, float *y) {                     \
        const int64_t *slots = s->read + s->begin[row];                                           \
        int64_t length = s->length[row];                                                          \
        float highest = -INFINITY, total = 0;                                                     \
        memset(y, 0, size * sizeof *y);                                                           \
        for (int64_t first = 0; first < length; first += BLOCK) {                                 \
            int64_t count = length - first < BLOCK ? length - first : BLOCK;                      \
            float scores[BLOCK], top = highest;                                                   \
            for (int64_t t = 0; t < count; t++) {                                                 \
                const T *k = keys + slots[first + t] * stride;                                    \
                int64_t ahead = first + t + AHEAD < length ? first + t + AHEAD : first + t;       \
                fetch(keys + slots[ahead] * stride, size * sizeof(T));                            \
                fetch(values + slots[first + t] * stride, size * sizeof(T));                      \
                floats v = {0};                                                                   \
                int64_t j = 0;                                                                    \
                for (; j + LANES <= size; j += LANES) v += LOAD(k + j) * load(q + j);             \
                float score = sum(v);                                                             \
                for (; j < size; j++) score += ONE(k[j]) * q[j];                                  \
                scores[t] = score * scaling;                                                      \
                if (!(scores[t] <= top)) top = scores[t]; /* NaN goes on, to be noticed */        \
            }                                                                                     \
            for (int64_t t = count; t < BLOCK; t++) scores[t] = -INFINITY;                        \
            float shrink = highest == -INFINITY ? 0.0f : exponential_of(highest - top);           \
            highest = top;                                                                        \
            for (int64_t t = 0; t < BLOCK; t += LANES)                                            \
                store(scores + t, exponential(load(scores + t) - top));                           \
            total *= shrink;                                                                      \
            for (int64_t t = 0; t < count; t++) total += scores[t];                               \
            for (int64_t j = 0; j < size; j++) y[j] *= shrink;                                    \
            int64_t t = 0;                                                                        \
            for (; t + 4 <= count; t += 4) { /* four at a time: y is read and written less often */ \
                const T *v[4];                                                                    \
                for (int c = 0; c < 4; c++) v[c] = values + slots[first + t + c] * stride;        \
                int64_t j = 0;                                                                    \
                for (; j + LANES <= size; j += LANES)                                             \
                    store(y + j, load(y + j)                                                      \
                                     + ((LOAD(v[0] + j) * scores[t] + LOAD(v[1] + j) * scores[t + 1]) \
                                        + (LOAD(v[2] + j) * scores[t + 2] + LOAD(v[3] + j) * scores[t + 3]))); \
                for (; j < size; j++)                                                             \
                    for (int c = 0; c < 4; c++) y[j] += ONE(v[c][j]) * scores[t + c];             \
            }                                                                                     \
            for (; t < count; t++) {                                                              \
                const T *v = values + slots[first + t] * stride;                                  \
                for (int64_t j = 0; j < size; j++) y[j] += ONE(v[j]) * scores[t];                 \
            }                                                                                     \
        }                                                                                         \
        for (int64_t j = 0; j < size; j++) y[j] /= total;                                         \
    }

DEFINE_ATTEND(attend_float32, float, load, same)
DEFINE_ATTEND(attend_bfloat16, uint16_t, load_bfloat16, from_bfloat16)

static void put(void *to, int32_t type, int64_t at, const float *from, int64_t count) {
    if (type == FLOAT32) {
        memcpy((float *)to + at, from, count * sizeof *from);
        return;
    }
    for (int64_t j = 0; j < count; j++) ((uint16_t *)to)[at + j] = to_bfloat16(from[j]);
}

static void get(float *to, const void *from, int32_t type, int64_t count) {
    if (type == FLOAT32) memcpy(to, from, count * sizeof *to);
    else for (int64_t j = 0; j < count; j++) to[j] = from_bfloat16(((const uint16_t *)from)[j]);
}

/* Floats of scratch memory that `decoder_layer` wants. */
int64_t scratch_floats(const Layer *l, int64_t rows, int64_t threads) {
    int64_t queries = l->heads * l->head_size, keys = l->key_heads * l->head_size;
    return rows * (2 * l->hidden + 2 * queries + 2 * keys + 2 * l->gate.outputs
                   + threads * l->hidden);
}

/* One decoder layer for the rows of a step, at most MAX_ROWS: in and out (rows, hidden). Keys and
   values: this layer's view of the paged cache, slots of (key heads, head size). */
void decoder_layer(const Layer *l, const Step *s, const void *in, void *out, void *keys,
                   void *values) {
    int64_t rows = s->rows, hidden = l->hidden, size = l->head_size;
    int64_t wide = l->heads * size, narrow = l->key_heads * size, inner = l->gate.outputs;
    float *x = s->scratch, *between = x + rows * hidden, *q = between + rows * hidden;
    float *k = q + rows * wide, *v = k + rows * narrow, *attended = v + rows * narrow;
    float *gate = attended + rows * wide, *up = gate + rows * inner, *normed = up + rows * inner;
    int64_t group = l->heads / l->key_heads;
    get(x, in, l->type, rows * hidden);

#pragma omp parallel num_threads(s->threads)
    {
        int thread = 0, threads = 1;
#ifdef _OPENMP
        extern int omp_get_thread_num(void), omp_get_num_threads(void);
        thread = omp_get_thread_num();
        threads = omp_get_num_threads();
#endif
        /* Every thread normalizes for itself: cheaper than waiting for one that does. */
        float *own = normed + thread * rows * hidden;
        for (int64_t r = 0; r < rows; r++)
            normalize(x + r * hidden, l->norm_before, hidden, l->epsilon, own + r * hidden);
        Range part = share(wide, thread, threads);
        product(&l->query, own, rows, part.begin, part.end, q, wide);
        part = share(narrow, thread, threads);
        product(&l->key, own, rows, part.begin, part.end, k, narrow);
        product(&l->value, own, rows, part.begin, part.end, v, narrow);
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t item = 0; item < rows * (l->heads + l->key_heads); item++) {
            int64_t row = item / (l->heads + l->key_heads), head = item % (l->heads + l->key_heads);
            const float *cosine = s->cosine + row * size, *sine = s->sine + row * size;
            int is_key = head >= l->heads;
            float *part = is_key ? k + row * narrow + (head - l->heads) * size
                                 : q + row * wide + head * size;
            const float *norm = is_key ? l->norm_key : l->norm_query;
            if (norm) normalize(part, norm, size, l->epsilon, part);
            rotate(part, cosine, sine, size);
            if (is_key) {
                int64_t at = s->write[row] * narrow + (head - l->heads) * size;
                put(keys, l->type, at, part, size);
                put(values, l->type, at, v + row * narrow + (head - l->heads) * size, size);
            }
        }
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < rows * l->heads; item++) {
            int64_t row = item / l->heads, head = item % l->heads, at = head / group * size;
            float *to = attended + row * wide + head * size, *from = q + row * wide + head * size;
            if (l->type == FLOAT32)
                attend_float32(s, row, from, (float *)keys + at, (float *)values + at, narrow, size,
                               l->scaling, to);
            else
                attend_bfloat16(s, row, from, (uint16_t *)keys + at, (uint16_t *)values + at,
                                narrow, size, l->scaling, to);
        }
        part = share(hidden, thread, threads);
        product(&l->output, attended, rows, part.begin, part.end, between, hidden);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = part.begin; j < part.end; j++)
                between[r * hidden + j] += x[r * hidden + j];
#pragma omp barrier
        for (int64_t r = 0; r < rows; r++)
            normalize(between + r * hidden, l->norm_between, hidden, l->epsilon, own + r * hidden);
        part = share(inner, thread, threads);
        product(&l->gate, own, rows, part.begin, part.end, gate, inner);
        product(&l->up, own, rows, part.begin, part.end, up, inner);
        for (int64_t r = 0; r < rows; r++) {
            float *g = gate + r * inner, *u = up + r * inner;
            int64_t j = part.begin;
            for (; j + LANES <= part.end; j += LANES) {
                floats a = load(g + j);
                store(g + j, a / (1.0f + exponential(-a)) * load(u + j));
            }
            for (; j < part.end; j++) g[j] = g[j] / (1.0f + exponential_of(-g[j])) * u[j];
        }
#pragma omp barrier
        part = share(hidden, thread, threads);
        product(&l->down, gate, rows, part.begin, part.end, x, hidden);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = part.begin; j < part.end; j++)
                x[r * hidden + j] += between[r * hidden + j];
        for (int64_t r = 0; r < rows; r++)
            put(out, l->type, r * hidden + part.begin, x + r * hidden + part.begin,
                part.end - part.begin);
    }
}

/* y = x w^T + bias for at most MAX_ROWS rows; x and y of `type`, converted through `scratch`:
   rows x (inputs + outputs) floats. */
void linear(const Matrix *m, const void *x, void *y, int32_t type, int64_t rows, int32_t threads,
            float *scratch) {
    float *from = scratch, *to = scratch + rows * m->inputs;
    get(from, x, type, rows * m->inputs);
#pragma omp parallel num_threads(threads)
    {
        int thread = 0, count = 1;
#ifdef _OPENMP
        extern int omp_get_thread_num(void), omp_get_num_threads(void);
        thread = omp_get_thread_num();
        count = omp_get_num_threads();
#endif
        Range part = share(m->outputs, thread, count);
        product(m, from, rows, part.begin, part.end, to, m->outputs);
        for (int64_t r = 0; r < rows; r++)
            put(y, type, r * m->outputs + part.begin, to + r * m->outputs + part.begin,
                part.end - part.begin);
    }
}
