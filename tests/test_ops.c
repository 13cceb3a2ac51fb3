// Single operations of every kernel row: against the float64 references, against double loops, and at their edges.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"
#include "store.h"

#include <float.h>

// C += A B, and C = A B, of floats
static void gemm_add(const fr__kernels *k, float *pack, float *C, fr_int ldc, const float *A, fr_int ar, fr_int ac, const float *B,
                     fr_int br, fr_int bc, fr_int M, fr_int N, fr_int K)
{
  fr__product(k, pack, C, ldc, A, ar, ac, B, br, bc, FR_FLOAT32, M, N, K, 1);
}
static void gemm_set(const fr__kernels *k, float *pack, float *C, fr_int ldc, const float *A, fr_int ar, fr_int ac, const float *B,
                         fr_int br, fr_int bc, fr_int M, fr_int N, fr_int K)
{
  fr__product(k, pack, C, ldc, A, ar, ac, B, br, bc, FR_FLOAT32, M, N, K, 0);
}

static const fr__kernels *next_kernel(const fr__kernels *k)
{
  fr_int i = 0;
  while (fr__kernel_row(i) != k) i++;
  return fr__kernel_row(i + 1);
}
#define EACH_KERNEL(k) \
  for (const fr__kernels *k = fr__kernel_row(0); k; k = next_kernel(k)) if (k->available())

static store refs;

// |got - want| <= tolerance * (the largest |want| of the array, or `floor` if that is less).
static void compare(const char *what, const char *name, const float *got, const store_entry *want,
                    double tolerance, double floor)
{
  double scale = floor, worst = 0.0;
  for (fr_int i = 0; i < want->count; i++) scale = fmax(scale, fabs(store_at(&refs, want, i)));
  for (fr_int i = 0; i < want->count; i++) {
    const double error = fabs((double)got[i] - store_at(&refs, want, i));
    if (!(error <= worst)) worst = error == error ? error : HUGE_VAL;
  }
  if (!CHECK_BELOW(worst, tolerance * scale)) fprintf(stderr, "  %s of %s\n", what, name);
}

// Calls run(k, CASE) for every CASE whose name starts with `prefix`.
static void each_case(const char *prefix, fr_int expected, void (*run)(const fr__kernels *k, const char *name))
{
  EACH_KERNEL(k) {
    fr_int count = 0;
    for (fr_int i = 0; i < refs.count; i++) {
      const char *slash = strchr(refs.entries[i].name, '/');
      char name[STORE_NAME];
      if (strncmp(refs.entries[i].name, prefix, strlen(prefix)) || !slash || strcmp(slash, "/y")) continue;
      snprintf(name, sizeof name, "%.*s/", (int)(slash - refs.entries[i].name), refs.entries[i].name);
      run(k, name);
      count++;
    }
    CHECK(count == expected);
  }
}

// ---- softmax: max and exp_sum are its two halves
static void run_softmax(const fr__kernels *k, const char *name)
{
  const store_entry *in = store_get(&refs, name, "in/x");
  const fr_int rows = in->dim[0], n = in->dim[1];
  float *x = store_floats(&refs, in);
  for (fr_int r = 0; r < rows; r++) {
    const float max = k->peak(x + r * n, n);
    const double sum = k->exp_sum(x + r * n, x + r * n, max, n);
    for (fr_int i = 0; i < n; i++) x[r * n + i] = (float)((double)x[r * n + i] / sum);
  }
  compare("softmax", name, x, store_get(&refs, name, "y"), 5e-7, 0.0);
  free(x);
}

static void run_cross_entropy(const fr__kernels *k, const char *name)
{
  const store_entry *in = store_get(&refs, name, "in/x");
  const fr_int rows = in->dim[0], n = in->dim[1];
  float *x = store_floats(&refs, in), *dy = store_floats(&refs, store_get(&refs, name, "dy"));
  float *nll = fixture_zeros(rows), *exps = fixture_zeros(n), *alone = fixture_zeros(n);
  int32_t *target = store_ints(&refs, store_get(&refs, name, "targets"));
  for (fr_int r = 0; r < rows; r++) {
    fr__goal goal, split[3];
    memset(&goal, 0, sizeof goal);
    goal.token = target[r];
    goal.weight = dy[r];
    memcpy(alone, x + r * n, (size_t)n * sizeof(float));
    fr__cross_entropy(k, alone, n, &goal, 1, exps, 0);
    CHECK(same_bits(alone, x + r * n, n, 4));  // logits are kept where no gradient is wanted
    nll[r] = (float)goal.nll;
    // The weight in three parts, one of them negative, is the same weight.
    for (int i = 0; i < 3; i++) split[i] = goal;
    split[0].weight = 0.75f * dy[r];
    split[1].weight = -0.5f * dy[r];
    split[2].weight = 0.75f * dy[r];
    fr__cross_entropy(k, alone, n, split, 3, exps, 1);
    fr__cross_entropy(k, x + r * n, n, &goal, 1, exps, 1);
    CHECK((float)goal.nll == nll[r] && split[2].nll == goal.nll);
    for (fr_int i = 0; i < n; i++) CHECK_BELOW(fabsf(alone[i] - x[r * n + i]), 1e-6f * fabsf(dy[r]));
  }
  compare("loss", name, nll, store_get(&refs, name, "y"), 5e-7, 1.0);
  compare("gradient", name, x, store_get(&refs, name, "grad/x"), 5e-7, 0.0);
  free(x); free(dy); free(nll); free(exps); free(alone); free(target);
}

// Three logits alike cost log 3 each, however large they are.
static void large_logits(void)
{
  for (fr_int row = 0; fr__kernel_row(row); row++) {
    float logits[3] = { 3e38f, 3e38f, 3e38f }, exps[3];
    fr__goal goal;
    if (!fr__kernel_row(row)->available()) continue;
    memset(&goal, 0, sizeof goal);
    fr__cross_entropy(fr__kernel_row(row), logits, 3, &goal, 1, exps, 0);
    CHECK_BELOW(fabs((double)goal.nll - log(3.0)), 1e-6);
  }
}

static void run_rmsnorm(const fr__kernels *k, const char *name)
{
  const store_entry *in = store_get(&refs, name, "in/x");
  const fr_int N = in->dim[0], C = in->dim[1];
  float *x = store_floats(&refs, in), *g = store_floats(&refs, store_get(&refs, name, "in/w"));
  float *dy = store_floats(&refs, store_get(&refs, name, "dy"));
  float *y = fixture_zeros(N * C), *r = fixture_zeros(N), *dx = fixture_zeros(N * C), *dg = fixture_zeros(C),
        *t = fixture_zeros(C);
  fr__rmsnorm(k, y, r, x, g, (float)store_scalar(&refs, name, "eps"), N, C);
  compare("y", name, y, store_get(&refs, name, "y"), 1e-6, 0.0);
  for (fr_int i = 0; i < N * C; i++) dx[i] = 1.0f;  // added to, not set
  fr__rmsnorm_back(k, dx, dy, x, g, r, N, C, t);
  {
    const store_entry *want = store_get(&refs, name, "grad/x");
    double scale = 1.0;
    for (fr_int i = 0; i < N * C; i++) scale = fmax(scale, fabs(store_at(&refs, want, i)));
    for (fr_int i = 0; i < N * C; i++)
      CHECK_BELOW(fabs((double)dx[i] - 1.0 - store_at(&refs, want, i)), 1e-6 * scale);
  }
  memset(dx, 0, (size_t)(N * C) * sizeof(float));
  fr__rmsnorm_back(k, dx, dy, x, g, r, N, C, t);
  compare("dx", name, dx, store_get(&refs, name, "grad/x"), 2e-6,
          strstr(name, "dim1") ? 1.0 : 1e-4);  // one channel: the two terms cancel
  for (fr_int c = 0; c < C; c += 5) fr__rmsnorm_back_gain(k, dg, dy, x, r, N, C, c, c + 5 < C ? c + 5 : C);
  compare("dg", name, dg, store_get(&refs, name, "grad/w"), 1e-6, 1e-6);
  free(x); free(g); free(dy); free(y); free(r); free(dx); free(dg); free(t);
}

static void run_rope(const fr__kernels *k, const char *name)
{
  const store_entry *in = store_get(&refs, name, "in/x"), *position = store_get(&refs, name, "positions");
  const fr_int N = in->dim[0], D = in->dim[1];
  fr_config config;
  memset(&config, 0, sizeof config);
  config.head_dim = D;
  config.rope_theta = (float)store_scalar(&refs, name, "theta");
  for (int back = 0; back < 2; back++)
    for (int scaled = 0; scaled < 2; scaled++) {
      float *x = store_floats(&refs, back ? store_get(&refs, name, "dy") : in), cosine[16], sine[16];
      for (fr_int n = 0; n < N; n++) {
        for (fr_int j = 0; j < D / 2; j++) {
          const double angle = store_at(&refs, position, n) * fr__rope_frequency(&config, j);
          cosine[j] = (float)cos(angle);
          sine[j] = (float)sin(angle);
        }
        (back ? fr__rope_back : fr__rope)(k, x + n * D, cosine, sine, scaled ? 0.25f : 1.0f, 1, D);
        for (fr_int j = 0; scaled && j < D; j++) x[n * D + j] *= 4.0f;
      }
      compare(back ? "dx" : "y", name, x, store_get(&refs, name, back ? "grad/x" : "y"), 2e-7, 0.0);
      free(x);
    }
}

static void run_swiglu(const fr__kernels *k, const char *name)
{
  const store_entry *in = store_get(&refs, name, "in/g");
  const fr_int n = in->count;
  float *g = store_floats(&refs, in), *u = store_floats(&refs, store_get(&refs, name, "in/u")),
        *dy = store_floats(&refs, store_get(&refs, name, "dy"));
  float *y = fixture_zeros(n), *again = fixture_zeros(n), *dg = fixture_zeros(n), *du = fixture_zeros(n);
  k->swiglu(y, g, u, n);
  compare("y", name, y, store_get(&refs, name, "y"), 3e-7, 0.0);
  k->swiglu_back(dg, du, again, dy, g, u, n);
  compare("y again", name, again, store_get(&refs, name, "y"), 3e-7, 0.0);
  compare("dgate", name, dg, store_get(&refs, name, "grad/g"), 5e-7, 0.0);
  compare("dup", name, du, store_get(&refs, name, "grad/u"), 5e-7, 0.0);
  free(g); free(u); free(dy); free(y); free(again); free(dg); free(du);
}

// ---- attention. Rows are laid out apart and out of order; `cut` queries stand in one block.
static void attention(const fr__kernels *k, float *y, float *dq, float *dk, float *dv, const float *q,
                      const float *key, const float *value, const float *dy, fr_int T, fr_int H, fr_int K,
                      fr_int D, fr_int cut)
{
  const fr_int qs = H * D + 3, kvs = 2 * K * D + 5, os = H * D + 1, floats = fr__attention_layout(D, T, H / K, NULL, NULL);
  float *Q = fixture_zeros(T * qs), *KV = fixture_zeros(T * kvs), *O = fixture_zeros(T * os),
        *dO = fixture_zeros(T * os);
  float *DQ = fixture_zeros(T * qs), *DKV = fixture_zeros(T * kvs), *lse = fixture_zeros(T * H),
        *scratch = fixture_zeros(floats + 64);
  fr_int *rows = (fr_int *)test_alloc((size_t)T * sizeof(fr_int));
  const float scale = 1.0f / sqrtf((float)D);
  fr__attention t;
  for (fr_int i = 0; i < floats + 64; i++)
    scratch[i] = i < floats ? NAN : 3.0f;  // nothing of it may be read before it is written
  for (fr_int n = 0; n < T; n++) {
    rows[n] = T - 1 - n;
    for (fr_int i = 0; i < H * D; i++) {
      Q[n * qs + i] = scale * q[n * H * D + i];
      dO[n * os + i] = dy[n * H * D + i];
    }
    memcpy(KV + rows[n] * kvs, key + n * K * D, (size_t)(K * D) * sizeof(float));
    memcpy(KV + rows[n] * kvs + K * D, value + n * K * D, (size_t)(K * D) * sizeof(float));
  }
  memset(&t, 0, sizeof t);
  t.kernels = k; t.o = O; t.lse = lse; t.q = Q; t.k = KV; t.v = KV + K * D;
  t.q_stride = qs; t.kv_stride = kvs; t.kv_head = D; t.o_stride = os; t.group = H / K; t.D = D; t.H = H;
  t.key_rows = rows; t.scratch = scratch;
  for (int back = 0; back < 2; back++)
    for (t.row = 0; t.row < T; t.row += cut) {
      t.count = fr__min(cut, T - t.row);
      t.before = t.row;
      for (fr_int kv = 0; kv < K; kv++) {
        if (back) fr__attend_back(&t, kv, DQ, DKV, DKV + K * D, dO); else fr__attend(&t, kv);
      }
    }
  for (int i = 0; i < 64; i++) CHECK(scratch[floats + i] == 3.0f);
  for (fr_int n = 0; n < T; n++) {
    for (fr_int i = 0; i < H * D; i++) {
      y[n * H * D + i] = O[n * os + i];
      dq[n * H * D + i] = scale * DQ[n * qs + i];
    }
    memcpy(dk + n * K * D, DKV + rows[n] * kvs, (size_t)(K * D) * sizeof(float));
    memcpy(dv + n * K * D, DKV + rows[n] * kvs + K * D, (size_t)(K * D) * sizeof(float));
  }
  free(Q); free(KV); free(O); free(dO); free(DQ); free(DKV); free(lse); free(scratch); free(rows);
}

static void run_attention(const fr__kernels *k, const char *name)
{
  const store_entry *in = store_get(&refs, name, "in/q"), *kv = store_get(&refs, name, "in/k");
  const fr_int T = in->dim[0], H = in->dim[1], K = kv->dim[1], D = in->dim[2];
  float *q = store_floats(&refs, in), *key = store_floats(&refs, kv),
        *value = store_floats(&refs, store_get(&refs, name, "in/v"));
  float *dy = store_floats(&refs, store_get(&refs, name, "dy"));
  float *y = fixture_zeros(T * H * D), *dq = fixture_zeros(T * H * D), *dk = fixture_zeros(T * K * D),
        *dv = fixture_zeros(T * K * D);
  // Where the gradient of q and k is 0, what is left is the rounding of dp - delta, times keys of up to 1e4 in "sharp".
  const double least = strstr(name, "sharp") ? 1e3 : strstr(name, "len1") ? 1.0 : 0.0;
  for (fr_int cut = 1; cut <= T; cut++) {  // 1 to FR__FEW-1 go row by row, more go tile by tile
    attention(k, y, dq, dk, dv, q, key, value, dy, T, H, K, D, cut);
    compare("y", name, y, store_get(&refs, name, "y"), 1e-6, 0.0);
    compare("dq", name, dq, store_get(&refs, name, "grad/q"), 2e-6, least);
    compare("dk", name, dk, store_get(&refs, name, "grad/k"), 2e-6, least);
    compare("dv", name, dv, store_get(&refs, name, "grad/v"), 2e-6, 0.0);
  }
  free(q); free(key); free(value); free(dy); free(y); free(dq); free(dk); free(dv);
}

// Longer than a tile of keys and a block of queries: against the formulas in double.
static void long_attention(void)
{
  enum { T = 230, H = 4, K = 2, D = 6 };
  static float q[T * H * D], key[T * K * D], value[T * K * D], dy[T * H * D], y[T * H * D], dq[T * H * D],
      dk[T * K * D], dv[T * K * D];
  static double wy[T * H * D], wdq[T * H * D], wdk[T * K * D], wdv[T * K * D], p[T], dp[T];
  for (int i = 0; i < T * H * D; i++) { q[i] = (float)(2.0 * test_normal()); dy[i] = (float)test_normal(); }
  for (int i = 0; i < T * K * D; i++) {
    key[i] = (float)(2.0 * test_normal());
    value[i] = (float)test_normal();
  }
  for (int n = 0; n < T; n++)
    for (int h = 0; h < H; h++) {
      const int g = h / (H / K), at = (n * H + h) * D;
      double max = -HUGE_VAL, sum = 0.0, mean = 0.0;
      for (int m = 0; m <= n; m++) {
        p[m] = dp[m] = 0.0;
        for (int d = 0; d < D; d++) {
          p[m] += (double)q[at + d] * (double)key[(m * K + g) * D + d] / sqrt((double)D);
          dp[m] += (double)dy[at + d] * (double)value[(m * K + g) * D + d];
        }
        max = fmax(max, p[m]);
      }
      for (int m = 0; m <= n; m++) sum += p[m] = exp(p[m] - max);
      for (int m = 0; m <= n; m++) mean += (p[m] /= sum) * dp[m];
      for (int m = 0; m <= n; m++)
        for (int d = 0; d < D; d++) {
          const double ds = p[m] * (dp[m] - mean) / sqrt((double)D);
          wy[at + d] += p[m] * (double)value[(m * K + g) * D + d];
          wdv[(m * K + g) * D + d] += p[m] * (double)dy[at + d];
          wdq[at + d] += ds * (double)key[(m * K + g) * D + d];
          wdk[(m * K + g) * D + d] += ds * (double)q[at + d];
        }
    }
  EACH_KERNEL(k) {
    static const fr_int cuts[] = { 1, 3, FR__FEW, 60, FR__QUERIES };
    for (int c = 0; c < 5; c++) {
      double worst[4] = { 0.0, 0.0, 0.0, 0.0 };
      attention(k, y, dq, dk, dv, q, key, value, dy, T, H, K, D, cuts[c]);
      for (int i = 0; i < T * H * D; i++) {
        worst[0] = fmax(worst[0], fabs((double)y[i] - wy[i]));
        worst[1] = fmax(worst[1], fabs((double)dq[i] - wdq[i]));
      }
      for (int i = 0; i < T * K * D; i++) {
        worst[2] = fmax(worst[2], fabs((double)dk[i] - wdk[i]));
        worst[3] = fmax(worst[3], fabs((double)dv[i] - wdv[i]));
      }
      CHECK_BELOW(worst[0], 5e-6);
      CHECK_BELOW(worst[1], 5e-5);
      CHECK_BELOW(worst[2], 2e-4);  // a sum over all later queries
      CHECK_BELOW(worst[3], 2e-5);
    }
  }
}

// ---- exp over its whole range
static void exponential(void)
{
  enum { BATCH = 1009 };
  static float x[BATCH], y[BATCH];
  EACH_KERNEL(k) {
    double worst = 0.0, sum_error = 0.0;
    float at = -106.0f;
    while (at < 90.0f) {
      double sum = 0.0, returned;
      for (int i = 0; i < BATCH; i++) {
        x[i] = at;
        at += 1e-4f + 2e-5f * (float)test_uniform(0.0, 1.0);
      }
      returned = k->exp_sum(y, x, 0.0f, BATCH);
      for (int i = 0; i < BATCH; i++) {
        const double want = exp((double)x[i]);
        sum += (double)y[i];
        if (want > (double)FLT_MAX) CHECK(y[i] >= FLT_MAX);
        else if (want >= (double)FLT_MIN) worst = fmax(worst, fabs((double)y[i] / want - 1.0));
        else CHECK(fabs((double)y[i] - want) <= 1.5e-45 + 2e-7 * want);
        if (x[i] < -104.0f) CHECK(y[i] == 0.0f);
        if (x[i] > 89.0f) CHECK(y[i] > FLT_MAX);
      }
      if (sum < 1e38) sum_error = fmax(sum_error, fabs(returned / sum - 1.0));
    }
    CHECK_BELOW(worst, 2e-7);
    CHECK_BELOW(sum_error, 1e-13);
    for (fr_int n = 1; n <= 40; n++)  // special values in every lane and tail
      for (fr_int i = 0; i < n; i++) {
        for (fr_int j = 0; j < n; j++) x[j] = 1.0f;
        y[n] = 7.0f;
        x[i] = NAN;
        CHECK(isnan(k->exp_sum(y, x, 0.0f, n)) && isnan(y[i]) && y[n] == 7.0f);
        x[i] = -HUGE_VALF;
        CHECK(fabs(k->exp_sum(y, x, 1.0f, n) - (double)(n - 1)) < 1e-6 * (double)n && y[i] == 0.0f &&
              y[n] == 7.0f);
        x[i] = HUGE_VALF;
        CHECK(k->exp_sum(y, x, 0.0f, n) > DBL_MAX && y[i] > FLT_MAX && y[n] == 7.0f);
        x[i] = 0.0f;
        k->exp_sum(y, x, 0.0f, n);
        CHECK(y[i] == 1.0f);
      }
  }
}

// ---- the other primitives, every length and tail; what lies behind the end must not be touched
static void primitives(void)
{
  enum { MOST = 75, ROW = MOST + 2 };
  float a[MOST + 1], b[MOST + 1], c[MOST + 1], y[MOST + 1], z[MOST + 1], w[MOST + 1], p[MOST + 1],
      m[MOST + 1], v[MOST + 1], many[5 * ROW];
  for (fr_int i = 0; i < 5 * ROW; i++) many[i] = (float)test_normal();
  EACH_KERNEL(k)
    for (fr_int n = 0; n <= MOST; n++) {
      double dot = 0.0, size = 0.0, max = -HUGE_VAL;
      const float s = (float)test_normal();
      for (fr_int i = 0; i <= MOST; i++) {
        a[i] = (float)test_normal();
        b[i] = (float)test_normal();
        c[i] = (float)test_normal();
        m[i] = (float)test_normal();
        if (i < n) {
          dot += (double)a[i] * (double)b[i];
          size += fabs((double)a[i] * (double)b[i]);
          max = fmax(max, (double)a[i] - 5.0);
        }
      }
      CHECK_BELOW(fabs((double)k->dot(a, b, n) - dot), 1e-6 * size);
      for (fr_int i = 0; i <= MOST; i++)
        y[i] = i < n ? a[i] - 5.0f : 100.0f;  // all below zero: no lane of zeros may win
      if (n) {
        CHECK(fabs((double)k->peak(y, n) - max) < 1e-6);
        y[n / 2] = 3.0f;
        CHECK(k->peak(y, n) == 3.0f);
        for (fr_int i = 0; i < n; i++) y[i] = -HUGE_VALF;
        CHECK(k->peak(y, n) < -FLT_MAX);
        y[n - 1] = -FLT_MAX;
        CHECK(k->peak(y, n) == -FLT_MAX);
      }
      memcpy(y, c, sizeof y);
      k->axpy(y, s, a, n);
      memcpy(z, c, sizeof z);
      k->mul(z, s, a, b, n);
      memcpy(w, c, sizeof w);
      k->mul_add(w, s, a, b, n);
      for (fr_int i = 0; i <= MOST; i++) {
        const double sa = (double)s * (double)a[i], sab = sa * (double)b[i];
        if (i >= n) { CHECK(y[i] == c[i] && z[i] == c[i] && w[i] == c[i]); continue; }
        CHECK_BELOW(fabs((double)y[i] - (double)c[i] - sa), 2e-7 * (fabs(sa) + fabs((double)c[i])));
        CHECK_BELOW(fabs((double)z[i] - sab), 2e-7 * fabs(sab));
        CHECK_BELOW(fabs((double)w[i] - (double)c[i] - sab), 3e-7 * (fabs(sab) + fabs((double)c[i])));
      }
      memcpy(y, c, sizeof y);
      memcpy(z, c, sizeof z);
      k->combine(y, a, many, ROW, 5, n);
      memcpy(w, c, sizeof w);
      k->combine(w, a, many, ROW, 0, n);  // nothing to add
      CHECK(memcmp(w, c, sizeof w) == 0);
      for (fr_int j = 0; j < 5; j++) k->axpy(z, a[j], many + j * ROW, n);
      CHECK(memcmp(y, z, sizeof y) == 0);  // the same bits
      memcpy(y, a, sizeof y);
      memcpy(z, b, sizeof z);
      memcpy(w, a, sizeof w);
      k->rotate(y, z, s, c, m, -1.0f, n);
      k->scale(w, s, n);
      for (fr_int i = 0; i <= MOST; i++) {
        const double x1 = (double)s * (double)a[i], x2 = (double)s * (double)b[i], c1 = (double)c[i], c2 = -(double)m[i];
        if (i >= n) { CHECK(y[i] == a[i] && z[i] == b[i] && w[i] == a[i]); continue; }
        CHECK_BELOW(fabs((double)y[i] - (x1 * c1 - x2 * c2)), 3e-7 * (fabs(x1 * c1) + fabs(x2 * c2)));
        CHECK_BELOW(fabs((double)z[i] - (x1 * c2 + x2 * c1)), 3e-7 * (fabs(x1 * c2) + fabs(x2 * c1)));
        CHECK_BELOW(fabs((double)w[i] - x1), 1e-7 * fabs(x1));
      }
      memcpy(y, c, sizeof y);
      k->swiglu(y, a, b, n);
      for (fr_int i = 0; i <= MOST; i++) {
        const double want = (double)a[i] / (1.0 + exp(-(double)a[i])) * (double)b[i];
        if (i < n) CHECK_BELOW(fabs((double)y[i] - want), 5e-7 * fabs(want)); else CHECK(y[i] == c[i]);
      }
      memcpy(y, c, sizeof y);
      memcpy(z, c, sizeof z);
      memcpy(w, c, sizeof w);
      k->swiglu_back(y, z, w, c, a, b, n);
      for (fr_int i = 0; i <= MOST; i++) {
        const double g = (double)a[i], u = (double)b[i], d = (double)c[i], sigmoid = 1.0 / (1.0 + exp(-g));
        if (i >= n) { CHECK(y[i] == c[i] && z[i] == c[i] && w[i] == c[i]); continue; }
        CHECK_BELOW(fabs((double)y[i] - d * u * sigmoid * (1.0 + g * (1.0 - sigmoid))), 1e-6 * fabs(d * u));
        CHECK_BELOW(fabs((double)z[i] - d * g * sigmoid), 1e-6 * fabs(d * g));
        CHECK_BELOW(fabs((double)w[i] - g * sigmoid * u), 1e-6 * fabs(g * u));
      }
      {
        fr__adamw_factors f;
        memset(&f, 0, sizeof f);
        f.scale = 0.5f;
        f.keep = 0.999f;
        f.rate = 0.01f;
        f.beta1 = 0.9f;
        f.beta2 = 0.98f;
        f.unbias2 = 3.0f;
        f.eps = 1e-8f;
        memcpy(p, a, sizeof p);
        memcpy(m, b, sizeof m);
        for (fr_int i = 0; i <= MOST; i++) v[i] = c[i] * c[i];
        k->adamw(p, a, m, v, n, &f);
        for (fr_int i = 0; i <= MOST; i++) {
          const double g = 0.5 * (double)a[i], m1 = 0.9 * (double)b[i] + 0.1 * g,
                       v1 = 0.98 * (double)(c[i] * c[i]) + 0.02 * g * g;
          const double update = 0.01 * m1 / (3.0 * sqrt(v1) + 1e-8);
          if (i >= n) { CHECK(p[i] == a[i] && m[i] == b[i] && v[i] == (float)(c[i] * c[i])); continue; }
          CHECK_BELOW(fabs((double)m[i] - m1), 3e-7 * (fabs((double)b[i]) + fabs(g)));
          CHECK_BELOW(fabs((double)v[i] - v1), 2e-6 * v1);  // 1 - .98f is off by 7e-7
          CHECK_BELOW(fabs((double)p[i] - (0.999 * (double)a[i] - update)),
                      1e-6 * (fabs((double)a[i]) + fabs(update)));
        }
      }
    }
}

// ---- the matrix product
// A is (M,K), B (K,N): each plain or transposed, tight or with gaps. Gaps hold NaN, so reading one would show.
// Bit 5 of `how`: C is set, not added to. Bit 6: rows of A and B lie a multiple of 4 KB apart.
static void product(const fr__kernels *k, fr_int M, fr_int N, fr_int K, int how)
{
  const int sets = (how & 32) != 0;
  void (*run)(const fr__kernels *, float *, float *, fr_int, const float *, fr_int, fr_int, const float *,
              fr_int, fr_int, fr_int, fr_int, fr_int) = sets ? gemm_set : gemm_add;
  const fr_int a_gap = how & 4 ? 3 : 0, b_gap = how & 8 ? 5 : 0, ldc = N + (how & 16 ? 2 : 0), far = how & 64 ? 1024 : 1;
  const fr_int a_row = fr__round_up((how & 1 ? M : K) + a_gap, far), b_row = fr__round_up((how & 2 ? K : N) + b_gap, far);
  const fr_int ar = how & 1 ? 1 : a_row, ac = how & 1 ? a_row : 1, br = how & 2 ? 1 : b_row, bc = how & 2 ? b_row : 1;
  const fr_int a_floats = (how & 1 ? K : M) * (how & 1 ? ac : ar),
               b_floats = (how & 2 ? N : K) * (how & 2 ? bc : br);
  const fr_int pack_floats = fr__pack_floats(N, K);
  float *A = fixture_zeros(a_floats), *B = fixture_zeros(b_floats), *C = fixture_zeros(M * ldc),
        *start = fixture_zeros(M * ldc);
  float *pack = fixture_zeros(pack_floats + 64), *row = fixture_zeros(N);
  double worst = 0.0;
  for (fr_int i = 0; i < a_floats; i++) A[i] = NAN;
  for (fr_int i = 0; i < b_floats; i++) B[i] = NAN;
  for (fr_int i = 0; i < M; i++)
    for (fr_int p = 0; p < K; p++) A[i * ar + p * ac] = (float)test_uniform(-1.0, 1.0);
  for (fr_int p = 0; p < K; p++)
    for (fr_int j = 0; j < N; j++) B[p * br + j * bc] = (float)test_uniform(-1.0, 1.0);
  for (fr_int i = 0; i < M * ldc; i++) start[i] = C[i] = (float)test_uniform(-1.0, 1.0);
  for (fr_int i = 0; i < pack_floats + 64; i++) pack[i] = i < pack_floats ? NAN : 5.0f;
  // Setting does not look at what C held, gaps aside.
  if (sets)
    for (fr_int i = 0; i < M; i++)
      for (fr_int j = 0; j < N; j++) {
        start[i * ldc + j] = 0.0f;
        C[i * ldc + j] = NAN;
      }
  run(k, pack, C, ldc, A, ar, ac, B, br, bc, M, N, K);
  for (int i = 0; i < 64; i++) CHECK(pack[pack_floats + i] == 5.0f);
  for (fr_int i = 0; i < M; i++)
    for (fr_int j = 0; j < ldc; j++) {
      double sum = (double)start[i * ldc + j], size = fabs(sum), error;
      if (j >= N) { CHECK(C[i * ldc + j] == start[i * ldc + j]); continue; }
      for (fr_int p = 0; p < K; p++) {
        const double term = (double)A[i * ar + p * ac] * (double)B[p * br + j * bc];
        sum += term;
        size += fabs(term);
      }
      error = size > 0.0 ? fabs((double)C[i * ldc + j] - sum) / size : fabs((double)C[i * ldc + j]);
      if (!(error <= worst)) worst = error == error ? error : HUGE_VAL;
    }
  if (!CHECK_BELOW(worst, 1e-6))
    fprintf(stderr, "  %s: M %ld N %ld K %ld, variant %d\n", k->name, (long)M, (long)N, (long)K, how);
  // The order of the sum depends on k alone: a row, or a column, computed by itself has the same bits.
  if (M && N) {
    const fr_int i = test_below_int(M), j = test_below_int(N);
    float one = start[i * ldc + j];
    memcpy(row, start + i * ldc, (size_t)N * sizeof(float));
    run(k, pack, row, N, A + i * ar, ar, ac, B, br, bc, 1, N, K);
    CHECK(same_bits(row, C + i * ldc, N, 4));
    run(k, pack, &one, 1, A + i * ar, ar, ac, B + j * bc, br, bc, 1, 1, K);
    CHECK(one == C[i * ldc + j]);
  }
  free(A); free(B); free(C); free(start); free(pack); free(row);
}

static void products(void)
{
  EACH_KERNEL(k) {
    for (int how = 0; how < 64; how++) {
      for (int trial = 0; trial < (test_brief() ? 2 : 6); trial++)
        product(k, 1 + test_below_int(40), 1 + test_below_int(70), 1 + test_below_int(60), how);
      if (test_brief() && (how >> 2 & 7) != 2 * (how & 3) + (how >> 5)) continue;  // of the large ones 8: each way around, each gap
      product(k, FR__MC + 1, 33, FR__KC + 3, how);  // one past each block
      product(k, 5, FR__NC + 7, 2 * FR__KC + 1, how);
    }
    for (fr_int m = 1; m <= 2 * k->mr + 1; m++)
      for (fr_int n = 1; n <= 2 * k->nr + 1; n += 1 + (n > 4 && n < k->nr - 2 ? 3 : 0))
        product(k, m, n, 3, 32 * (int)(m & 1));
    for (int how = 64; how < 68; how++) product(k, 2 * k->mr + 5, 2 * k->nr + 3, 37, how);
    product(k, 0, 5, 5, 0);
    product(k, 5, 0, 5, 32);
    product(k, 5, 5, 0, 0);  // adds nothing
  }
}

// Y (+)= X W' for few rows. Gaps hold NaN. A row computed by itself, or a column, has the same bits.
static void streams(void)
{
  enum { ROWS = 15, COLS = 11, MOST = 70 };
  EACH_KERNEL(k)
    for (fr_int m = 0; m <= ROWS; m++)
      for (fr_int length = 1; length <= MOST; length += length < 20 ? 1 : 7) {
        const fr_int n = 1 + test_below_int(COLS), ldx = length + 3, ldw = length + 2, ldy = n + 1;
        const int add = (int)(length & 1);
        float x[ROWS * (MOST + 3)], w[COLS * (MOST + 2)], y[ROWS * (COLS + 1)], start[ROWS * (COLS + 1)], one[COLS];
        for (fr_int i = 0; i < ROWS * ldx; i++) x[i] = i % ldx < length ? (float)test_normal() : NAN;
        for (fr_int i = 0; i < COLS * ldw; i++) w[i] = i % ldw < length ? (float)test_normal() : NAN;
        for (fr_int i = 0; i < ROWS * ldy; i++) start[i] = y[i] = add || i % ldy == n ? (float)test_normal() : NAN;
        k->stream(y, ldy, x, ldx, w, 4 * ldw, FR_FLOAT32, m, n, length, add);
        for (fr_int i = 0; i < ROWS; i++)
          for (fr_int j = 0; j < ldy; j++) {
            double sum = add ? (double)start[i * ldy + j] : 0.0, size = fabs(sum);
            if (i >= m || j == n) { CHECK(!memcmp(&y[i * ldy + j], &start[i * ldy + j], sizeof(float))); continue; }
            for (fr_int p = 0; p < length; p++) {
              sum += (double)x[i * ldx + p] * (double)w[j * ldw + p];
              size += fabs((double)x[i * ldx + p] * (double)w[j * ldw + p]);
            }
            CHECK_BELOW(fabs((double)y[i * ldy + j] - sum), 1e-6 * size);
          }
        for (fr_int i = 0; i < m; i++) {
          const fr_int j = test_below_int(n);
          memcpy(one, start + i * ldy, sizeof one);
          k->stream(one, n, x + i * ldx, ldx, w, 4 * ldw, FR_FLOAT32, 1, n, length, add);
          CHECK(same_bits(one, y + i * ldy, n, 4));
          one[0] = start[i * ldy + j];
          k->stream(one, 1, x + i * ldx, ldx, w + j * ldw, 4 * ldw, FR_FLOAT32, 1, 1, length, add);
          CHECK(one[0] == y[i * ldy + j]);
        }
      }
}

// ---- bfloat16: everything equals, bit for bit, what the floats of the same values give
static float float_of(uint16_t half)  // 1 sign, 8 exponent, 7 mantissa
{
  const int exponent = half >> 7 & 255, mantissa = half & 127;
  const double size = exponent ? ldexp(128 + mantissa, exponent - 134) : ldexp(mantissa, -133);
  return (float)(half >> 15 ? -size : size);
}

// Values as weights have them, or (kind 1) subnormals and the ends of the range, or (2) every pattern, infinity and NaN too.
static uint16_t some_half(int kind)
{
  const fr_int sign = test_below_int(2) << 15;
  if (kind == 0) return (uint16_t)(sign | (120 + test_below_int(8)) << 7 | test_below_int(128));
  if (kind == 1) return (uint16_t)(sign | (test_below_int(3) ? 0 : 127 + test_below_int(120)) << 7 | test_below_int(128));
  return (uint16_t)test_below_int(65536);
}

// A NaN may come out with other bits where two met.
static int same_values(const float *a, const float *b, fr_int count)
{
  for (fr_int i = 0; i < count; i++)
    if (memcmp(a + i, b + i, sizeof *a) && (a[i] == a[i] || b[i] == b[i])) return 0;
  return 1;
}

static void widening(void)
{
  enum { ALL = 65536 };
  uint16_t *half = (uint16_t *)malloc(ALL * sizeof *half), *end;
  float *wide = fixture_zeros(ALL + 1);
  for (int i = 0; i < ALL; i++) half[i] = (uint16_t)i;
  EACH_KERNEL(k) {
    k->widen(wide, half, ALL);
    for (int i = 0; i < ALL; i++) {
      uint32_t bits;
      memcpy(&bits, wide + i, sizeof bits);
      CHECK(bits == (uint32_t)i * 65536u);  // subnormals, infinities and every NaN as well
      if ((i & 0x7f80) != 0x7f80) CHECK(wide[i] == float_of((uint16_t)i));
    }
    for (fr_int n = 0; n <= 40; n++) {  // nothing behind the last value is read or written
      end = (uint16_t *)malloc((size_t)n * sizeof *end + 1);
      for (fr_int i = 0; i < n; i++) end[i] = some_half(0);
      for (fr_int i = 0; i <= n; i++) wide[i] = 5.0f;
      k->widen(wide, end, n);
      for (fr_int i = 0; i < n; i++) CHECK(wide[i] == float_of(end[i]));
      CHECK(wide[n] == 5.0f);
      free(end);
    }
  }
  free(half); free(wide);
}

static void wide_stream(const fr__kernels *k, fr_int m, fr_int n, fr_int length, int kind)
{
  const fr_int ldx = length + 1, ldy = n + 1, gap = test_below_int(4), ldw = length + gap;
  const int add = (int)test_below_int(2);
  float *x = fixture_zeros(m * ldx), *w = fixture_zeros(n * ldw), *y = fixture_zeros(m * ldy), *want = fixture_zeros(m * ldy);
  uint16_t *half = (uint16_t *)malloc((size_t)(n * ldw) * sizeof *half);  // it ends where the last row's gap does
  for (fr_int i = 0; i < m * ldx; i++) x[i] = i % ldx < length ? (float)test_normal() : NAN;
  for (fr_int i = 0; i < n * ldw; i++) half[i] = i % ldw < length ? some_half(kind) : 0x7fff;
  fr__widen_scalar(w, half, n * ldw);
  for (fr_int i = 0; i < m * ldy; i++) want[i] = y[i] = add || i % ldy == n ? (float)test_normal() : NAN;
  k->stream(want, ldy, x, ldx, w, 4 * ldw, FR_FLOAT32, m, n, length, add);
  k->stream(y, ldy, x, ldx, half, 2 * ldw, FR_BFLOAT16, m, n, length, add);
  if (!CHECK(same_values(y, want, m * ldy)))
    fprintf(stderr, "  %s: stream of %ld rows, W %ld x %ld, kind %d\n", k->name, (long)m, (long)n, (long)length, kind);
  free(x); free(w); free(y); free(want); free(half);
}

// across: 1 for Y = X W', where B is W read across, and 0 for dX = dY W
static void wide_product(const fr__kernels *k, fr_int M, fr_int N, fr_int K, int across, int kind)
{
  const fr_int row = (across ? K : N) + test_below_int(4), rows = across ? N : K, ldc = N + 1;
  const fr_int br = across ? 1 : row, bc = across ? row : 1, pack_floats = fr__pack_floats(N, K);
  const int add = (int)test_below_int(2);
  float *A = fixture_zeros(M * K), *B = fixture_zeros(rows * row), *C = fixture_zeros(M * ldc), *want = fixture_zeros(M * ldc);
  float *pack = fixture_zeros(pack_floats + 64);
  uint16_t *half = (uint16_t *)malloc((size_t)(rows * row) * sizeof *half);
  for (fr_int i = 0; i < M * K; i++) A[i] = (float)test_normal();
  for (fr_int i = 0; i < rows * row; i++) half[i] = i % row < (across ? K : N) ? some_half(kind) : 0x7fff;
  fr__widen_scalar(B, half, rows * row);
  for (fr_int i = 0; i < M * ldc; i++) want[i] = C[i] = add || i % ldc == N ? (float)test_normal() : NAN;
  for (fr_int i = 0; i < pack_floats + 64; i++) pack[i] = i < pack_floats ? NAN : 5.0f;
  fr__product(k, pack, want, ldc, A, K, 1, B, br, bc, FR_FLOAT32, M, N, K, add);
  for (fr_int i = 0; i < pack_floats; i++) pack[i] = NAN;
  fr__product(k, pack, C, ldc, A, K, 1, half, br, bc, FR_BFLOAT16, M, N, K, add);
  for (int i = 0; i < 64; i++) CHECK(pack[pack_floats + i] == 5.0f);
  if (!CHECK(same_values(C, want, M * ldc)))
    fprintf(stderr, "  %s: M %ld N %ld K %ld, across %d, kind %d\n", k->name, (long)M, (long)N, (long)K, across, kind);
  free(A); free(B); free(C); free(want); free(pack); free(half);
}

static void wide_weights(void)
{
  widening();
  EACH_KERNEL(k)
    for (int kind = 0; kind < 3; kind++) {
      for (fr_int m = 1; m <= 13; m++)
        for (fr_int length = 1; length <= 70; length += length < 35 ? 1 : 7)
          for (fr_int n = 1 + (m + length) % 3; n <= 9; n += 3) wide_stream(k, m, n, length, kind);
      for (fr_int m = 1; m <= 13; m += 3) wide_stream(k, m, 5, 252 + m, kind);
      for (int across = 0; across < 2; across++) {
        for (fr_int m = 1; m <= 13; m++)
          for (fr_int n = 1; n <= 2 * k->nr + 1; n += 1 + (n > 9 && n < k->nr - 2 ? 3 : 0))
            wide_product(k, m, n, 1 + test_below_int(40), across, kind);
        for (fr_int K = 1; K <= 35; K++) wide_product(k, 1 + test_below_int(13), 1 + test_below_int(70), K, across, kind);
        if (kind == 0 || !test_brief()) {  // in brief only small ones have odd values
          wide_product(k, FR__MC + 1, 33, FR__KC + 3, across, kind);  // one past each block
          wide_product(k, 5, FR__NC + 7, 2 * FR__KC + 1, across, kind);
          wide_product(k, 3, FR__NC, 1024, across, kind);
        }
        wide_product(k, 0, 5, 5, across, kind);
        wide_product(k, 5, 0, 5, across, kind);
      }
    }
}

static void transposes(void)
{
  float from[8 * 11], to[8 * 13];
  EACH_KERNEL(k) {
    for (int i = 0; i < 8 * 11; i++) from[i] = (float)i;
    for (int i = 0; i < 8 * 13; i++) to[i] = -1.0f;
    k->transpose(to, 13, from, 11);
    for (int p = 0; p < 8; p++)
      for (int i = 0; i < 13; i++) CHECK(to[p * 13 + i] == (i < 8 ? (float)(i * 11 + p) : -1.0f));
  }
}

static void embedding(void)
{
  enum { V = 9, C = 21, N = 6 };
  static const fr_token ids[N] = { 3, 8, 3, 0, 3, 1 };
  float table[V * C], x[N * C], dx[N * C], dtable[V * C], scratch[C];
  fr_view view;
  view.at = table;
  view.step = C * 4;
  view.rows = V;
  view.type = FR_FLOAT32;
  EACH_KERNEL(k) {
    for (int i = 0; i < V * C; i++) { table[i] = (float)test_normal(); dtable[i] = 1.0f; }
    for (int i = 0; i < N * C; i++) { x[i] = NAN; dx[i] = (float)test_normal(); }
    for (int n = 0; n < N; n++) fr__embed(k, x + n * C, &view, ids[n], 1.5f, C, scratch);
    for (int n = 0; n < N; n++)
      for (int c = 0; c < C; c++) CHECK(x[n * C + c] == (float)(1.5f * table[ids[n] * C + c]));
    for (fr_int c = 0; c < C; c += 8) fr__embed_back(k, dtable, dx, ids, 0, 1.5f, N, C, c, c + 8 < C ? c + 8 : C);
    for (int v = 0; v < V; v++)
      for (int c = 0; c < C; c++) {
        double want = 1.0;
        for (int n = 0; n < N; n++) if (ids[n] == v) want += 1.5 * (double)dx[n * C + c];
        CHECK_BELOW(fabs((double)dtable[v * C + c] - want), 2e-6);
      }
  }
}

// What the header reads out of cpuid is what the compiler's own runtime says.
static void availability(void)
{
#if defined(__GNUC__) && defined(__x86_64__) && !defined(FR_NO_SIMD)
  CHECK(fr__available_avx2() == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")));
  CHECK(fr__available_avx512() == (__builtin_cpu_supports("avx512f") && fr__available_avx2()));
#endif
}

int main(void)
{
  availability();
  refs = store_open("tests/data/numerics/numerics");
  each_case("softmax_", 9, run_softmax);
  each_case("cross_entropy_", 9, run_cross_entropy);
  large_logits();
  each_case("rmsnorm_", 14, run_rmsnorm);
  each_case("rope_", 4, run_rope);
  each_case("swiglu_", 3, run_swiglu);
  each_case("causal_attention_", 5, run_attention);
  long_attention();
  exponential();
  primitives();
  products();
  streams();
  wide_weights();
  transposes();
  embedding();
  store_close(&refs);
  return test_done("ops");
}
