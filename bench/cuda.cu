// cuda.cu - the CUDA unit on a GPU: products against cuBLAS, attention, training step, SSFT step, decoding, GFPO step.
//
//     make cuda-bench            (ONLY="products attention step ssft decode gfpo" runs a part)
//
// Best of several; products in float32, TF32 and bfloat16. cuBLAS is looked for at run time; what it reaches on 8192 x 8192 x 8192
// counts as the card's peak, and without it there is none. With BENCH_TORCH set to a python that has torch with CUDA, peer_torch.py
// does the same training and SSFT steps on the same tokens, with float32 products or TF32; beside our bfloat16 it has TF32.
#define FORKREASON_IMPLEMENTATION
#define FORKREASON_CUDA_IMPLEMENTATION
#include "forkreason.h"
#include "bench.h"
#include <dlfcn.h>

static const char *const math_names[] = { "float32", "TF32", "bfloat16" };
static fr_cuda *device;
static double peak[3];

static void open_device(int math)
{
  fr_reason reason;
  if (fr_cuda_open(&device, 0, (fr_cuda_math)math, &reason)) { printf("skipped: %s\n", reason.text); exit(77); }
}
static void wait_for_device(void)
{
  if (cudaStreamSynchronize(device->stream) != cudaSuccess) bench_fail("the device failed");
}
static float *card_floats(fr_int count)
{
  float *host = (float *)bench_memory(count, sizeof(float)), *card = NULL;
  bench_fill(host, count);
  if (cudaMalloc((void **)&card, (size_t)count * sizeof(float)) != cudaSuccess ||
      cudaMemcpy(card, host, (size_t)count * sizeof(float), cudaMemcpyHostToDevice) != cudaSuccess)
    bench_fail("no memory on the device");
  bench_free(host);
  return card;
}
static int wanted(int count, char **names, const char *name)
{
  int found = count < 2;
  for (int i = 1; i < count; i++) found |= !strcmp(names[i], name);
  return found;
}

// ---- products: Y = X W', dX = dY W, dW += dY' X, of rows X (N,in) and W (out,in)
typedef int (*blas_create)(void **handle);
typedef int (*blas_gemm)(void *handle, int op_a, int op_b, int m, int n, int k, const void *alpha, const void *a, int type_a,
                         int lda, const void *b, int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, int compute,
                         int algo);
static struct { void *handle; blas_gemm gemm; } blas;

static void find_blas(void)
{
  static const char *const names[] = { "libcublas.so", "libcublas.so.13", "libcublas.so.12", NULL };
  void *library = NULL;
  for (int i = 0; names[i] && !library && !bench_no_peers(); i++) library = dlopen(names[i], RTLD_NOW);
  if (!library) return;
  const blas_create create = (blas_create)dlsym(library, "cublasCreate_v2");
  blas.gemm = (blas_gemm)dlsym(library, "cublasGemmEx");
  if (!create || !blas.gemm || create(&blas.handle)) blas.handle = NULL;
}

typedef struct product { fr__cuda_product g; int way; } product;
enum { CALLS = 10 };  // before the host waits
static void product_ours(void *arg)
{
  const product *p = (const product *)arg;
  for (int i = 0; i < CALLS; i++) fr__cuda_multiply(device, p->g, 0);
  wait_for_device();
}
static void product_blas(void *arg)  // column by column: y' (N,M) = b a'
{
  static const int compute[] = { 68, 77, 75 };  // CUBLAS_COMPUTE_32F, _FAST_TF32, _FAST_16BF; 0: CUDA_R_32F; -1: its own choice
  const product *p = (const product *)arg;
  const float one = 1.0f, beta = p->g.from ? 1.0f : 0.0f;
  const int b_lies = p->g.b_k == 1, a_lies = p->g.a_k == 1;
  for (int i = 0; i < CALLS; i++)
    if (blas.gemm(blas.handle, b_lies, !a_lies, p->g.N, p->g.M, p->g.K, &one, p->g.b, 0, (int)(b_lies ? p->g.b_row : p->g.b_k),
                  p->g.a, 0, (int)(a_lies ? p->g.a_row : p->g.a_k), &beta, p->g.y, 0, (int)p->g.ldy, compute[device->math], -1))
      bench_fail("cuBLAS failed");
  if (cudaDeviceSynchronize() != cudaSuccess) bench_fail("the device failed");
}
static void product_row(int rows, int in, int out, int way)
{
  static const char *const ways[] = { "X W'", "dY W", "dY' X" };
  float *x = card_floats((fr_int)rows * in), *w = card_floats((fr_int)out * in), *y = card_floats((fr_int)rows * out);
  const fr__cuda_product all[] = {
    { y, NULL, x, w, out, in, 1, in, 1, rows, out, in }, { x, NULL, y, w, in, out, 1, 1, in, rows, in, out },
    { w, w, y, x, in, 1, out, 1, in, out, in, rows } };
  product p = { all[way], way };
  const double flops = 2.0 * rows * in * out * CALLS;
  const bench_pair took = bench_compare(product_ours, &p, blas.handle ? product_blas : NULL, &p, 0.5);
  char name[100];
  snprintf(name, sizeof name, "%s %s, rows %d, in %d, out %d", math_names[device->math], ways[way], rows, in, out);
  bench_row(name, "GFLOP/s", BENCH_RATE, 1e-9 * flops / took.ours, took.peer > 0.0 ? 1e-9 * flops / took.peer : 0.0,
            blas.handle ? "cuBLAS" : "skipped: no cuBLAS", 0.0);
  cudaFree(x); cudaFree(w); cudaFree(y);
}
static void measure_peak(void)
{
  enum { SIDE = 8192 };
  float *x = card_floats((fr_int)SIDE * SIDE), *w = card_floats((fr_int)SIDE * SIDE), *y = card_floats((fr_int)SIDE * SIDE);
  product p = { { y, NULL, x, w, SIDE, SIDE, 1, SIDE, 1, SIDE, SIDE, SIDE }, 0 };
  peak[device->math] = 2.0 * SIDE * SIDE * SIDE * CALLS / bench_best(product_blas, &p, 1.0);
  bench_row("peak by cuBLAS", "GFLOP/s", BENCH_RATE, 1e-9 * peak[device->math], 0.0, math_names[device->math], 0.0);
  cudaFree(x); cudaFree(w); cudaFree(y);
}
static void share_row(const char *name, double flops, double seconds)
{
  char text[120];
  snprintf(text, sizeof text, "%s: rate", name);
  bench_row(text, "GFLOP/s", BENCH_RATE, 1e-9 * flops / seconds, 1e-9 * peak[device->math],
            peak[device->math] > 0.0 ? "peak" : "", 0.0);
}

// ---- a training step over sequences; its attention alone
typedef struct training {
  fr_config config;
  fr_int sequences, length;
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_token *ids;
  fr_span *spans;
  fr_target *targets;
  fr_tree tree;
  int way;  // of attention
} training;

static void training_new(training *t, fr_config config, fr_int sequences, fr_int length)
{
  const fr_int rows = sequences * length;
  fr_limits limits = { 0, rows, sequences, rows, sequences, length, 1, 0, fr_cuda_backend(device) };
  memset(t, 0, sizeof *t);
  t->config = config;
  t->sequences = sequences;
  t->length = length;
  t->ids = (fr_token *)bench_memory(rows, sizeof *t->ids);
  t->spans = (fr_span *)bench_memory(sequences, sizeof *t->spans);
  t->targets = (fr_target *)bench_memory(rows, sizeof *t->targets);
  t->tree.spans = t->spans;
  t->tree.span_count = sequences;
  t->tree.targets = t->targets;
  bench_require(fr_model_new(&t->model, &config), NULL);
  bench_require(fr_adamw_new(&t->adamw, &t->model), NULL);
  bench_require(fr_work_new(&t->work, &config, &limits), &t->work);
  fr_model_init(&t->model, 1);
  bench_require(fr_work_attach(&t->work, &t->model, &t->adamw), &t->work);
  for (fr_int i = 0; i < rows; i++) t->ids[i] = (fr_token)(bench_hash((uint64_t)i) % (uint64_t)config.vocab);
  for (fr_int s = 0; s < sequences; s++) {
    t->spans[s].parent = -1;
    t->spans[s].tokens.ids = t->ids + s * length;
    t->spans[s].tokens.count = length;
    for (fr_int i = 0; i + 1 < length; i++) {
      fr_target *target = &t->targets[t->tree.target_count++];
      target->row = s * length + i;
      target->token = t->ids[target->row + 1];
      target->weight = 1.0f / (float)(sequences * (length - 1));
    }
  }
}
static void training_free(training *t)
{
  fr_cuda_release(device, &t->work, &t->model);
  fr_work_free(&t->work);
  fr_adamw_free(&t->adamw);
  fr_model_free(&t->model);
  bench_free(t->targets); bench_free(t->spans); bench_free(t->ids);
}
static void training_step(void *arg)
{
  training *t = (training *)arg;
  fr_sum sum;
  bench_require(fr_backward(&t->model, &t->work, &t->tree, t->adamw.grads, &sum, 1), &t->work);
  bench_require(fr_adamw_step(&t->adamw, &t->model, &t->work, sum.weighted, 1e-3f, NULL), &t->work);
  wait_for_device();
}
static void attention_alone(void *arg)
{
  training *t = (training *)arg;
  fr__pass s = fr__pass_of(&t->model, &t->work, t->adamw.grads, 1);
  fr__cuda_call w;
  bench_require(fr__cuda_begin(&w, device, &s), &t->work);
  for (int i = 0; i < CALLS; i++) fr__cuda_attend_step(&w, t->way);
  wait_for_device();
}
// Six operations a token and weight of the products (the head only where there is a target), and 12 a token, channel and key
static double step_flops(const training *t)
{
  const fr_config *c = &t->model.config;
  const double C = (double)c->dim, F = (double)c->ffn, HD = (double)(c->heads * c->head_dim), W = (double)fr__qkv(c);
  const double rows = (double)(t->sequences * t->length), keys = 0.5 * (double)(t->length + 1);
  return 6.0 * (rows * (double)c->layers * (W * C + C * HD + 3.0 * C * F + 2.0 * HD * keys) +
                (double)t->tree.target_count * C * (double)c->vocab);
}
static const fr_config big = { 12, 1024, 16, 0, 0, 2816, 32000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
static const fr_config small = { 6, 384, 6, 0, 0, 1024, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };

static void attention_rows(fr_int sequences, fr_int length)
{
  static training t;
  fr_config config = big;
  char name[100];
  config.layers = 1;
  training_new(&t, config, sequences, length);
  training_step(&t);
  for (t.way = FR__FORWARD; t.way <= FR__BACKWARD; t.way++) {  // 2 products forward, 5 backward, of which p is made twice
    const double keys = (double)(sequences * length) * 0.5 * (double)(length + 1);
    const double flops = (t.way == FR__FORWARD ? 4.0 : 10.0) * keys * (double)config.dim * CALLS;
    snprintf(name, sizeof name, "attention %s, %d x %d, 16 heads of 64", t.way == FR__FORWARD ? "forward" : "backward",
             (int)sequences, (int)length);
    share_row(name, flops, bench_best(attention_alone, &t, 0.5));
  }
  training_free(&t);
}
static void step_rows(const char *which, const fr_config *config, fr_int sequences, fr_int length)
{
  static training t;
  bench_peer torch;
  char flags[160], name[100];
  double took, peer;
  training_new(&t, *config, sequences, length);
  took = bench_best(training_step, &t, 2.0);
  snprintf(flags, sizeof flags, "peer_torch.py step %d %d %d %d %d %d %d 1", (int)config->layers, (int)config->dim,
           (int)config->heads, (int)config->ffn, (int)config->vocab, (int)sequences, (int)length);
  bench_peer_run(&torch, "BENCH_TORCH", flags);
  peer = bench_peer_value(&torch, "seconds");
  if (torch.version[0]) printf("peer: %s\n", torch.version);
  snprintf(name, sizeof name, "%s training step, %s, %d x %d tokens", math_names[device->math], which, (int)sequences, (int)length);
  bench_row(name, "ms", BENCH_TIME, 1e3 * took, 1e3 * peer, torch.version[0] ? "PyTorch" : "skipped: no torch", 0.0);
  share_row(name, step_flops(&t), took);
  training_free(&t);
}

// ---- SSFT, decoding and GFPO on the small model: 6 forks, 4 traces, 8 questions
enum { FORKS = 6, TRACES = 4, QUESTIONS = 8, PROMPT = 128, TRACE = 256, MOST = 32, GROWN = 248, GROUP = 8 };
typedef struct method {
  fr_model model, writer;
  fr_adamw adamw;
  fr_work work;
  fr_ssft_options ssft;
  fr_gfpo_options gfpo;
  fr_rollouts rollouts;
  fr_policy policy;
  fr_token *ids, fork_ids[FORKS], text[MOST][GROWN];
  fr_tokens forks[FORKS], traces[QUESTIONS][TRACES];
  fr_question questions[QUESTIONS];
  fr_int fork_of[QUESTIONS][TRACES], leaf_count;
  fr_span spans[1 + FORKS];
  fr_tree tree;
  fr_sampling sampling;
  fr_leaf leaves[MOST];
} method;

static double reward(void *, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  return (double)((question + fork + leaf->tokens[0]) % 2);
}
static void method_new(method *m)
{
  const fr_int most = QUESTIONS * (PROMPT + TRACES * TRACE);
  fr_limits limits, more;
  fr_token *at;
  memset(m, 0, sizeof *m);
  m->ids = at = (fr_token *)bench_memory(most, sizeof *m->ids);
  for (fr_int i = 0; i < most; i++) m->ids[i] = (fr_token)(bench_hash((uint64_t)i) % (uint64_t)(small.vocab - FORKS));
  for (int f = 0; f < FORKS; f++) {
    m->fork_ids[f] = (fr_token)(small.vocab - FORKS + f);
    m->forks[f].ids = &m->fork_ids[f];
    m->forks[f].count = 1;
    m->spans[1 + f].tokens = m->forks[f];
  }
  for (int q = 0; q < QUESTIONS; q++) {
    m->questions[q].prompt.ids = at;
    m->questions[q].prompt.count = PROMPT;
    at += PROMPT;
    for (int k = 0; k < TRACES; k++, at += TRACE) { m->traces[q][k].ids = at; m->traces[q][k].count = TRACE; }
    m->questions[q].traces = m->traces[q];
    m->questions[q].trace_count = TRACES;
    m->questions[q].fork = m->fork_of[q];
  }
  m->ssft.forks = m->gfpo.forks = m->forks;
  m->ssft.fork_count = m->gfpo.fork_count = FORKS;
  m->ssft.prefix = TRACE / 4;
  m->gfpo.group = GROUP;
  m->gfpo.reward = reward;
  m->gfpo.sampling.temperature = 1.0f;
  m->gfpo.sampling.max_tokens = 64;
  m->spans[0].parent = -1;
  m->spans[0].tokens.ids = m->ids;
  m->spans[0].tokens.count = 8;
  m->tree.spans = m->spans;
  m->tree.span_count = 1 + FORKS;
  m->sampling.max_tokens = GROWN;
  for (int l = 0; l < MOST; l++) {
    m->leaves[l].span = 1 + l % FORKS;
    m->leaves[l].leaf = (uint64_t)l;
    m->leaves[l].tokens = m->text[l];
  }
  bench_require(fr_ssft_limits(&m->ssft, PROMPT, TRACE, TRACES, QUESTIONS, &limits), NULL);
  bench_require(fr_gfpo_limits(&m->gfpo, PROMPT, QUESTIONS, &more), NULL);
  limits = fr_limits_max(limits, more);
  bench_require(fr_generate_limits(&m->tree, &m->sampling, MOST, &more), NULL);
  limits = fr_limits_max(limits, more);
  limits.backend = fr_cuda_backend(device);
  bench_require(fr_model_new(&m->model, &small), NULL);
  bench_require(fr_model_new(&m->writer, &small), NULL);
  bench_require(fr_adamw_new(&m->adamw, &m->model), NULL);
  bench_require(fr_work_new(&m->work, &small, &limits), &m->work);
  bench_require(fr_rollouts_new(&m->rollouts, &m->gfpo, QUESTIONS), NULL);
  fr_model_init(&m->model, 1);
  fr_model_init(&m->writer, 1);
  m->policy.model = &m->model;
  m->policy.adamw = &m->adamw;
  bench_require(fr_work_attach(&m->work, &m->model, &m->adamw), &m->work);
  bench_require(fr_work_attach(&m->work, &m->writer, NULL), &m->work);
}
static void method_free(method *m)
{
  fr_cuda_release(device, &m->work, &m->model);
  fr_cuda_release(device, NULL, &m->writer);
  fr_rollouts_free(&m->rollouts);
  fr_work_free(&m->work);
  fr_adamw_free(&m->adamw);
  fr_model_free(&m->model);
  fr_model_free(&m->writer);
  bench_free(m->ids);
}
static void ssft_step(void *arg)
{
  method *m = (method *)arg;
  fr_ssft_report report;
  bench_require(fr_ssft_step(&m->model, &m->work, &m->adamw, &m->ssft, m->questions, QUESTIONS, 1e-4f, &report), &m->work);
  wait_for_device();
}
static void gfpo_step(void *arg)
{
  method *m = (method *)arg;
  fr_gfpo_report report;
  m->gfpo.draw++;
  bench_require(fr_gfpo_step(&m->policy, &m->writer, &m->work, &m->gfpo, m->questions, QUESTIONS, &m->rollouts, 1e-4f, &report),
                &m->work);
  wait_for_device();
}
static void decode(void *arg)
{
  method *m = (method *)arg;
  bench_require(fr_generate(&m->writer, &m->work, &m->tree, &m->sampling, m->leaves, m->leaf_count), &m->work);
}

static void method_rows(int count, char **names)
{
  static method m;
  char name[100], flags[160];
  method_new(&m);
  if (wanted(count, names, "ssft")) {
    bench_peer torch;
    const double took = bench_best(ssft_step, &m, 2.0);
    int64_t before[2], after[2];
    snprintf(flags, sizeof flags, "peer_torch.py ssft %d %d %d %d %d %d %d %d %d %d %d %d 1", (int)small.layers, (int)small.dim,
             (int)small.heads, (int)small.ffn, (int)small.vocab, PROMPT, TRACE, TRACE, TRACE / 4, FORKS, TRACES, QUESTIONS);
    bench_peer_run(&torch, "BENCH_TORCH", flags);
    if (torch.version[0]) printf("peer: %s\n", torch.version);
    snprintf(name, sizeof name, "%s SSFT step, dim 384, question 128, traces 256, L 64", math_names[device->math]);
    bench_row(name, "ms", BENCH_TIME, 1e3 * took, 1e3 * bench_peer_value(&torch, "seconds"),
              torch.version[0] ? "PyTorch" : "skipped: no torch", 0.0);
    fr_cuda_traffic(device, &before[0], &before[1]);
    ssft_step(&m);
    fr_cuda_traffic(device, &after[0], &after[1]);
    bench_row("  of it over the bus, to the device", "KB", BENCH_SHARE, 1e-3 * (double)(after[0] - before[0]), 0.0, "", 0.0);
    bench_row("  of it over the bus, to the host", "KB", BENCH_SHARE, 1e-3 * (double)(after[1] - before[1]), 0.0, "", 0.0);
  }
  if (wanted(count, names, "decode")) {
    static const fr_int leaves[] = { 1, 6, MOST };
    for (int i = 0; i < 3; i++) {
      m.leaf_count = leaves[i];
      snprintf(name, sizeof name, "%s decode %d leaves, dim 384", math_names[device->math], (int)leaves[i]);
      bench_row(name, "tokens/s", BENCH_RATE, (double)(leaves[i] * GROWN) / bench_best(decode, &m, 1.0), 0.0, "", 0.0);
    }
  }
  if (wanted(count, names, "gfpo")) {
    snprintf(name, sizeof name, "%s GFPO step, dim 384, 8 questions, group 8, 64 tokens", math_names[device->math]);
    bench_row(name, "ms", BENCH_TIME, 1e3 * bench_best(gfpo_step, &m, 2.0), 0.0, "", 0.0);
  }
  method_free(&m);
}

int main(int count, char **names)
{
  static const int shapes[][3] = { { 8192, 1024, 1024 }, { 8192, 1024, 5632 }, { 8192, 384, 1152 }, { 1000, 1000, 1000 } };
  cudaDeviceProp card;
  setenv("BENCH_DEVICE", "cuda", 1);  // for peer_torch.py
  open_device(0);
  if (cudaGetDeviceProperties(&card, 0) != cudaSuccess) bench_fail("the device has no properties");
  bench_title("cuda");
  printf("device: %s, %d multiprocessors, compute capability %d.%d\n", card.name, card.multiProcessorCount, card.major, card.minor);
  find_blas();
  fr_cuda_close(device);
  for (int math = 0; math < 3; math++) {
    static const char *const precision[] = { "highest", "high", "medium" };
    setenv("BENCH_PRECISION", precision[math], 1);
    open_device(math);
    bench_section(math_names[math]);
    if (blas.handle) measure_peak();
    for (int i = 0; i < 4 && wanted(count, names, "products"); i++)
      for (int way = 0; way < 3; way++) product_row(shapes[i][0], shapes[i][1], shapes[i][2], way);
    if (wanted(count, names, "attention") && math == 0) { attention_rows(16, 512); attention_rows(4, 2048); }
    if (wanted(count, names, "step")) { step_rows("dim 384", &small, 32, 256); step_rows("dim 1024", &big, 16, 512); }
    method_rows(count, names);
    fr_cuda_close(device);
  }
  return 0;
}
