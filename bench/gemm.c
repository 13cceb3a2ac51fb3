// gemm.c - matrix products: what each idea buys, how near they come to the processor's peak, and OpenBLAS beside them.
//
//     cc -O2 -I. bench/gemm.c -o gemm -lm -ldl && ./gemm            (or: make bench ONLY=gemm)
//
// One thread. OpenBLAS is looked for at run time; without it the rows are printed without a peer. X (rows, in) are
// activations, W (out, in) weights, dY (rows, out) gradients: Y = X W', dX = dY W, dW += dY' X are all that a linear
// layer ever needs.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

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

// ---- OpenBLAS

enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };  // of cblas.h

typedef void (*sgemm_function)(int order, int transpose_a, int transpose_b, int M, int N, int K, float alpha,
                               const float *A, int lda, const float *B, int ldb, float beta, float *C, int ldc);
typedef void (*sgemv_function)(int order, int transpose, int M, int N, float alpha, const float *A, int lda,
                               const float *x, int step_x, float beta, float *y, int step_y);

typedef struct openblas {
  sgemm_function sgemm;  // NULL: there is none
  sgemv_function sgemv;
  char name[40], why[40];
} openblas;

#ifdef _WIN32
static openblas openblas_load(void)
{
  openblas none;
  memset(&none, 0, sizeof none);
  snprintf(none.name, sizeof none.name, "OpenBLAS");
  snprintf(none.why, sizeof none.why, "skipped: not looked for here");
  return none;
}
#else
// Copies the address of a symbol into a pointer to a function, which ISO C does not let us cast.
static int find(void *library, const char *name, void *function)
{
  void *symbol = dlsym(library, name);
  if (symbol) memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

// The first library that has all we need.
static openblas openblas_load(void)
{
  const char *const names[] = { getenv("BENCH_OPENBLAS"), "libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0",
                                "libopenblaso.so.0", "libopenblas.dylib" };
  openblas blas;
  memset(&blas, 0, sizeof blas);
  snprintf(blas.name, sizeof blas.name, "OpenBLAS");
  snprintf(blas.why, sizeof blas.why, "skipped: no OpenBLAS");
  if (bench_no_peers()) return blas;
  bench_clear_openblas();
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    void *library = names[i] ? dlopen(names[i], RTLD_NOW | RTLD_LOCAL) : NULL;
    void (*threads)(int);
    char *(*text)(void);
    if (!library || !find(library, "openblas_set_num_threads", &threads) || !find(library, "cblas_sgemv", &blas.sgemv) ||
        !find(library, "cblas_sgemm", &blas.sgemm))
      continue;
    threads(1);
    if (find(library, "openblas_get_config", &text)) printf("peer: %s", text());
    if (find(library, "openblas_get_corename", &text)) printf(", uses the kernels for %s", text());
    printf(", one thread\n");
    return blas;
  }
  printf("no OpenBLAS: the rows against it are skipped\n");
  return blas;
}
#endif

// ---- one product, ours and theirs

typedef enum kind { FORWARD, BACK, WEIGHTS, KINDS } kind;
static const char *const kind_names[KINDS] = { "X W'", "dY W", "dY' X" };

typedef struct product {
  const fr__kernels *kernels;
  const openblas *blas;
  kind which;
  fr_int rows, out, in;
  float *x, *y, *w, *pack;
} product;

static product product_new(const openblas *blas, fr_int rows, fr_int out, fr_int in)
{
  product p;
  p.kernels = bench_best_row();
  p.blas = blas;
  p.which = FORWARD;
  p.rows = rows;
  p.out = out;
  p.in = in;
  p.x = (float *)bench_memory(rows * in, sizeof(float));
  p.y = (float *)bench_memory(rows * out, sizeof(float));
  p.w = (float *)bench_memory(out * in, sizeof(float));
  p.pack = (float *)bench_memory(fr__pack_floats(fr__max(out, in), fr__max(rows, fr__max(out, in))), sizeof(float));
  bench_fill(p.x, rows * in);
  bench_fill(p.y, rows * out);
  bench_fill(p.w, out * in);
  return p;
}

static void product_free(product *p)
{
  bench_free(p->x);
  bench_free(p->y);
  bench_free(p->w);
  bench_free(p->pack);
}

static double product_flops(const product *p) { return 2.0 * (double)p->rows * (double)p->out * (double)p->in; }

// As fr__linear, fr__linear_back and fr__linear_sums call it.
static void run_ours(void *arg)
{
  const product *p = (const product *)arg;
  const fr_int rows = p->rows, out = p->out, in = p->in;
  if (p->which == FORWARD)
    gemm_set(p->kernels, p->pack, p->y, out, p->x, in, 1, p->w, 1, in, rows, out, in);
  else if (p->which == BACK)
    gemm_set(p->kernels, p->pack, p->x, in, p->y, out, 1, p->w, in, 1, rows, in, out);
  else
    gemm_add(p->kernels, p->pack, p->w, in, p->y, 1, out, p->x, in, 1, out, in, rows);
}

static void run_sgemm(void *arg)
{
  const product *p = (const product *)arg;
  const int rows = (int)p->rows, out = (int)p->out, in = (int)p->in;
  if (p->which == FORWARD)
    p->blas->sgemm(ROW_MAJOR, PLAIN, TRANSPOSED, rows, out, in, 1.0f, p->x, in, p->w, in, 0.0f, p->y, out);
  else if (p->which == BACK)
    p->blas->sgemm(ROW_MAJOR, PLAIN, PLAIN, rows, in, out, 1.0f, p->y, out, p->w, in, 0.0f, p->x, in);
  else
    p->blas->sgemm(ROW_MAJOR, TRANSPOSED, PLAIN, out, in, rows, 1.0f, p->y, out, p->x, in, 1.0f, p->w, in);
}

static void run_sgemv(void *arg)
{
  const product *p = (const product *)arg;
  p->blas->sgemv(ROW_MAJOR, PLAIN, (int)p->out, (int)p->in, 1.0f, p->w, (int)p->in, p->x, 1, 0.0f, p->y, 1);
}

// ---- the machine

static void machine(void)
{
  bench_stream stream = bench_stream_new();
  bench_section("limits of one core, measured");
  for (int i = 0; i < BENCH_ISAS; i++) {
    char name[80];
    if (!bench_isas[i].there()) continue;
    snprintf(name, sizeof name, "multiply-add peak, %s", bench_isas[i].name);
    bench_row(name, "GFLOP/s", BENCH_RATE, 1e-9 * bench_peak(&bench_isas[i]), 0.0, "", 0.0);
  }
  bench_row("read bandwidth, 256 MB", "GB/s", BENCH_RATE,
            1e-9 * bench_read_bytes() / bench_best(bench_read, &stream, 0.3), 0.0, "", 0.0);
  bench_free(stream.x);
}

// ---- the ladder: C (n,n) = A B, naive to packed to SIMD

typedef struct ladder { fr_int n; float *a, *b, *c, *pack; const fr__kernels *kernels; } ladder;

// Each sum walks down a column of B: a new cache line for every product.
static void run_naive(void *arg)
{
  const ladder *l = (const ladder *)arg;
  for (fr_int i = 0; i < l->n; i++)
    for (fr_int j = 0; j < l->n; j++) {
      float sum = 0.0f;
      for (fr_int k = 0; k < l->n; k++) sum += l->a[i * l->n + k] * l->b[k * l->n + j];
      l->c[i * l->n + j] = sum;
    }
}

// The same sums in blocks whose operands stay in the first-level cache, with all three arrays read along their rows.
static void run_blocked(void *arg)
{
  const ladder *l = (const ladder *)arg;
  const fr_int n = l->n, block = 64;
  memset(l->c, 0, (size_t)(n * n) * sizeof(float));
  for (fr_int k0 = 0; k0 < n; k0 += block)
    for (fr_int j0 = 0; j0 < n; j0 += block)
      for (fr_int i = 0; i < n; i++)
        for (fr_int k = k0; k < fr__min(k0 + block, n); k++) {
          const float a = l->a[i * n + k];
          for (fr_int j = j0; j < fr__min(j0 + block, n); j++) l->c[i * n + j] += a * l->b[k * n + j];
        }
}

// Panels in the order in which a register tile reads them; the kernel row decides how wide the registers are.
static void run_packed(void *arg)
{
  const ladder *l = (const ladder *)arg;
  gemm_set(l->kernels, l->pack, l->c, l->n, l->a, l->n, 1, l->b, l->n, 1, l->n, l->n, l->n);
}

static void climb(ladder *l, const char *what, bench_work work, float *truth)
{
  const bench_isa *isa = bench_best_isa();
  bench_isa peer = *isa;
  const bench_pair time = bench_compare(work, l, bench_fma, &peer, 0.3);
  const double flops = 2.0 * (double)l->n * (double)l->n * (double)l->n;
  if (work == run_naive) memcpy(truth, l->c, (size_t)(l->n * l->n) * sizeof(float));
  for (fr_int i = 0; i < l->n * l->n; i++)
    if (!(fabsf(truth[i] - l->c[i]) < 1e-3f)) bench_fail("two rungs of the ladder disagree");
  bench_row(what, "GFLOP/s", BENCH_RATE, 1e-9 * flops / time.ours, 1e-9 * bench_fma_flops(isa) / time.peer,
            "measured peak", 0.0);
}

static void ladders(void)
{
  ladder l;
  float *truth;
  l.n = 512;
  l.a = (float *)bench_memory(l.n * l.n, sizeof(float));
  l.b = (float *)bench_memory(l.n * l.n, sizeof(float));
  l.c = (float *)bench_memory(l.n * l.n, sizeof(float));
  truth = (float *)bench_memory(l.n * l.n, sizeof(float));
  l.pack = (float *)bench_memory(fr__pack_floats(l.n, l.n), sizeof(float));
  bench_fill(l.a, l.n * l.n);
  bench_fill(l.b, l.n * l.n);
  bench_section("ladder at 512 x 512 x 512: what each idea buys");
  climb(&l, "ladder: naive triple loop", run_naive, truth);
  climb(&l, "ladder: blocked for the cache", run_blocked, truth);
  fr_int rows = 0;
  while (fr__kernel_row(rows)) rows++;
  for (fr_int i = rows - 1; i >= 0; i--) {
    char name[80];
    if (!fr__kernel_row(i)->available()) continue;
    l.kernels = fr__kernel_row(i);
    snprintf(name, sizeof name, "ladder: packed, %s tile %d x %d", l.kernels->name, (int)l.kernels->mr,
             (int)l.kernels->nr);
    climb(&l, name, run_packed, truth);
  }
  bench_free(l.a);
  bench_free(l.b);
  bench_free(l.c);
  bench_free(l.pack);
  bench_free(truth);
}

// ---- squares, against the peak

static void squares(const openblas *blas, const fr_int *sizes, int count, int targets)
{
  const bench_isa *isa = bench_best_isa();
  for (int s = 0; s < count; s++)
    for (int which = 0; which < KINDS; which++) {
      const fr_int n = sizes[s];
      product p = product_new(blas, n, n, n);
      bench_isa peer = *isa;
      bench_pair time;
      char name[80];
      p.which = (kind)which;
      time = bench_compare(run_ours, &p, bench_fma, &peer, 0.25);
      snprintf(name, sizeof name, "gemm %s, %d", kind_names[which], (int)n);
      bench_row(name, "GFLOP/s", BENCH_RATE, 1e-9 * product_flops(&p) / time.ours,
                1e-9 * bench_fma_flops(isa) / time.peer, "measured peak",
                !targets ? 0.0 : n >= 512 ? 0.90 : n >= 256 ? 0.85 : 0.75);
      product_free(&p);
    }
}

// ---- the layers of the two models that step.c trains, against OpenBLAS

static void shapes(const openblas *blas)
{
  static const struct { const char *name; fr_int out, in; } layers[] = {
    { "dim 384 qkv", 1152, 384 },  { "dim 384 out", 384, 384 },  { "dim 384 gate_up", 2048, 384 },
    { "dim 384 down", 384, 1024 }, { "dim 384 head", 4096, 384 }, { "dim 128 qkv", 384, 128 },
    { "dim 128 out", 128, 128 },   { "dim 128 gate_up", 768, 128 }, { "dim 128 down", 128, 384 },
    { "dim 128 head", 512, 128 }
  };
  const int count = (int)(sizeof layers / sizeof layers[0]);
  double logs = 0.0;
  int compared = 0;
  bench_section("shape list: layers of both models, 32 and 1024 rows");
  for (int l = 0; l < count; l++)
    for (fr_int rows = 32; rows <= 1024; rows += 992)
      for (int which = 0; which < KINDS; which++) {
        product p = product_new(blas, rows, layers[l].out, layers[l].in);
        bench_pair time;
        char name[80];
        p.which = (kind)which;
        time = bench_compare(run_ours, &p, blas->sgemm ? run_sgemm : NULL, &p, 0.2);
        snprintf(name, sizeof name, "gemm %s, %s, %d rows", kind_names[which], layers[l].name, (int)rows);
        bench_row(name, "GFLOP/s", BENCH_RATE, 1e-9 * product_flops(&p) / time.ours,
                  time.peer > 0.0 ? 1e-9 * product_flops(&p) / time.peer : 0.0, blas->sgemm ? blas->name : blas->why,
                  0.0);
        if (time.peer > 0.0) {
          logs += log(time.peer / time.ours);
          compared++;
        }
        product_free(&p);
      }
  bench_row("gemm shape list, geometric mean of the ratios", "x", BENCH_RATE, compared ? exp(logs / compared) : 0.0,
            compared ? 1.0 : 0.0, blas->sgemm ? blas->name : blas->why, 1.0);
}

// ---- few rows: what decoding multiplies, as fr__linear calls it

static void run_stream(void *arg)
{
  const product *p = (const product *)arg;
  p->kernels->stream(p->y, p->out, p->x, p->in, p->w, p->in * 4, FR_FLOAT32, p->rows, p->out, p->in, 0);
}

static void few_rows(const openblas *blas, fr_int out, fr_int in, const char *where, int targets)
{
  for (fr_int rows = 1; rows <= 32; rows *= 2) {
    product p;
    bench_pair time;
    char name[80];
    const char *peer_name = !blas->sgemm ? blas->why : rows == 1 ? "OpenBLAS sgemv" : "OpenBLAS sgemm";
    if (rows == 16) continue;
    p = product_new(blas, rows, out, in);
    time = bench_compare(run_stream, &p, !blas->sgemm ? NULL : rows == 1 ? run_sgemv : run_sgemm, &p, 0.8);
    snprintf(name, sizeof name, "X W', %d row%s, W %d x %d %s", (int)rows, rows == 1 ? "" : "s", (int)out, (int)in,
             where);
    bench_row(name, "us", BENCH_TIME, 1e6 * time.ours, 1e6 * time.peer, peer_name,
              !targets || rows > 8 ? 0.0 : rows == 1 ? 1.0 : 3.0);
    product_free(&p);
  }
}

int main(void)
{
  static const fr_int even[] = { 128, 256, 384, 512, 768, 1024 }, ragged[] = { 97, 131, 255, 389, 509, 1021 };
  openblas blas;
  bench_title("gemm: matrix products, float32, one thread");
  blas = openblas_load();
  machine();
  ladders();
  bench_section("squares: share of the measured peak");
  squares(&blas, even, 6, 1);
  bench_section("ragged squares: the edges, no target");
  squares(&blas, ragged, 6, 0);
  shapes(&blas);
  bench_section("few rows, weights NOT in cache: W is 100 MB and is streamed from memory; the targets are for this case");
  few_rows(&blas, 12288, 2048, "streamed", 1);
  bench_section("few rows, weights in the second-level cache: W is 0.6 MB; no target");
  few_rows(&blas, 384, 384, "in cache", 0);
  return 0;
}
