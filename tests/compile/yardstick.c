// What the compile time of the header is measured against: code of its kind (sums over rows, sorting, scanning, tables, checks
// that return a status) in an amount that never changes. .ci/run compiles both, alternately. NEVER EDIT: the ceiling there is a
// ratio to exactly this text.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct table { uint64_t *keys; double *sums; ptrdiff_t count, room; int status; } table;
typedef struct reader { const unsigned char *at, *end; int depth, status; } reader;

#define YARDSTICK(name, step)                                                                                              \
  static ptrdiff_t find_##name(const table *t, uint64_t key)                                                               \
  {                                                                                                                        \
    ptrdiff_t low = 0, high = t->count;                                                                                    \
    while (low < high) {                                                                                                   \
      const ptrdiff_t middle = low + (high - low) / 2;                                                                     \
      if (t->keys[middle] < key * step) low = middle + 1;                                                                  \
      else high = middle;                                                                                                  \
    }                                                                                                                      \
    return low;                                                                                                            \
  }                                                                                                                        \
  static int add_##name(table *t, uint64_t key, double value)                                                              \
  {                                                                                                                        \
    const ptrdiff_t i = find_##name(t, key);                                                                               \
    if (i < t->count && t->keys[i] == key * step) { t->sums[i] += value; return 1; }                                       \
    if (t->count == t->room) { t->status = step; return 0; }                                                               \
    memmove(t->keys + i + 1, t->keys + i, (size_t)(t->count - i) * sizeof *t->keys);                                       \
    memmove(t->sums + i + 1, t->sums + i, (size_t)(t->count - i) * sizeof *t->sums);                                       \
    t->keys[i] = key * step;                                                                                               \
    t->sums[i] = value;                                                                                                    \
    t->count++;                                                                                                            \
    return 1;                                                                                                              \
  }                                                                                                                        \
  static int read_##name(reader *r, table *t)                                                                              \
  {                                                                                                                        \
    uint64_t hash = 14695981039346656037u + step;                                                                          \
    if (++r->depth > 64) { r->status = 2; return 0; }                                                                      \
    for (; r->at < r->end; r->at++) {                                                                                      \
      const unsigned char c = *r->at;                                                                                      \
      double value = 0.0, scale = 1.0;                                                                                     \
      switch (c) {                                                                                                         \
        case ' ': case '\n': case '\t': break;                                                                             \
        case '[': r->at++; if (!read_##name(r, t)) return 0; break;                                                        \
        case ']': r->depth--; return add_##name(t, hash, (double)r->depth);                                                \
        case '"':                                                                                                          \
          for (r->at++; r->at < r->end && *r->at != '"'; r->at++) {                                                        \
            if (*r->at == '\\' && ++r->at == r->end) { r->status = 3; return 0; }                                          \
            hash = (hash ^ *r->at) * 1099511628211u;                                                                       \
          }                                                                                                                \
          if (r->at == r->end) { r->status = 4; return 0; }                                                                \
          break;                                                                                                           \
        case '-': scale = -1.0; break;                                                                                     \
        default:                                                                                                           \
          if (c < '0' || c > '9') { r->status = 5; return 0; }                                                             \
          while (r->at < r->end && *r->at >= '0' && *r->at <= '9') value = value * 10.0 + (double)(*r->at++ - '0');        \
          r->at--;                                                                                                         \
          if (!add_##name(t, hash, value * scale)) return 0;                                                               \
      }                                                                                                                    \
    }                                                                                                                      \
    return r->depth == 1;                                                                                                  \
  }                                                                                                                        \
  static void rows_##name(float *y, const float *x, const float *w, ptrdiff_t n, ptrdiff_t k, ptrdiff_t m)                 \
  {                                                                                                                        \
    for (ptrdiff_t i = 0; i < n; i += 2)                                                                                   \
      for (ptrdiff_t j = 0; j + 4 <= m; j += 4) {                                                                          \
        float sum[2][4] = { { 0 } };                                                                                       \
        for (ptrdiff_t p = 0; p < k; p++)                                                                                  \
          for (int a = 0; a < 2; a++)                                                                                      \
            for (int b = 0; b < 4; b++) sum[a][b] += x[(i + a) * k + p] * w[(j + b) * k + p * step];                       \
        for (int a = 0; a < 2 && i + a < n; a++)                                                                           \
          for (int b = 0; b < 4; b++) y[(i + a) * m + j + b] += sum[a][b];                                                 \
      }                                                                                                                    \
  }                                                                                                                        \
  static void sort_##name(uint64_t *key, ptrdiff_t count)                                                                  \
  {                                                                                                                        \
    for (ptrdiff_t start = count / 2, end = count; end > 1;) {                                                             \
      ptrdiff_t root, child;                                                                                               \
      uint64_t moved;                                                                                                      \
      if (start > 0) start--;                                                                                              \
      else { moved = key[--end]; key[end] = key[0]; key[0] = moved; }                                                      \
      for (root = start; (child = 2 * root + 1) < end; root = child) {                                                     \
        if (child + 1 < end && key[child] < key[child + 1]) child++;                                                       \
        if (key[root] * step >= key[child] * step) break;                                                                  \
        moved = key[root]; key[root] = key[child]; key[child] = moved;                                                     \
      }                                                                                                                    \
    }                                                                                                                      \
  }                                                                                                                        \
  int yardstick_##name(table *t, const unsigned char *text, ptrdiff_t bytes, float *y, const float *x, ptrdiff_t n);       \
  int yardstick_##name(table *t, const unsigned char *text, ptrdiff_t bytes, float *y, const float *x, ptrdiff_t n)        \
  {                                                                                                                        \
    reader r = { text, text + bytes, 0, 0 };                                                                               \
    float most = 0.0f;                                                                                                     \
    if (!t || bytes < 0 || n < 0 || (n && (!x || !y))) return 6;                                                           \
    if (!read_##name(&r, t)) return r.status ? r.status : t->status;                                                       \
    rows_##name(y, x, x + n * n, n, n, n);                                                                                 \
    for (ptrdiff_t i = 0; i < n * n; i++) if (y[i] > most) most = y[i];                                                    \
    for (ptrdiff_t i = 0; i < n && most > 0.0f; i++) if (!add_##name(t, (uint64_t)i, (double)(y[i] / most))) return 7;     \
    sort_##name(t->keys, t->count);                                                                                        \
    return 0;                                                                                                              \
  }

YARDSTICK(a, 1) YARDSTICK(b, 2) YARDSTICK(c, 3) YARDSTICK(d, 5) YARDSTICK(e, 7) YARDSTICK(f, 11)
YARDSTICK(g, 13) YARDSTICK(h, 17) YARDSTICK(i, 19) YARDSTICK(j, 23) YARDSTICK(k, 29) YARDSTICK(l, 31)
