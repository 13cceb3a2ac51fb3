// The CUDA unit under emulation: what tests/backend.h checks of every backend, against the CPU and the float64 references, in
// float32, TF32 and bfloat16; every product, every head size and group, trees of many shapes, sampling, the order of threads; and
// what happens without a device, without memory, and when a call fails.
#ifdef __CUDACC__
#include "device.h"
#else
#include "emulation.h"
#endif
#define FORKREASON_CUDA
#include "../twin.h"
#define FORKREASON_IMPLEMENTATION
#define FORKREASON_CUDA_IMPLEMENTATION
#include "../../forkreason.h"
#include "../backend.h"
#ifdef __CUDACC__
#define FR__LAUNCH(kernel, grid, threads, shared, stream, arguments) kernel<<<grid, threads, shared, stream>>> arguments
#endif

static fr_cuda *device;
static twin exact;

static fr_int device_end(void)
{
  while (device->models) fr__cuda_forget_model(device, device->models->key);
  while (device->rooms) fr__cuda_forget_room(device, device->rooms->key);
  return (fr_int)emu.live + (fr_int)emu.pinned;
}

static void begin(fr_cuda_math math)
{
  fr_reason reason;
  emu_reset();
  if (!CHECK(fr_cuda_open(&device, 0, math, &reason) == FR_OK)) exit(2);
  checked.backend = fr_cuda_backend(device);
  checked.end = device_end;
  checked.floats = 1;
  checked.factors = math == FR_CUDA_TF32 ? ldexp(1.0, -11) : math == FR_CUDA_BFLOAT16 ? ldexp(1.0, -8) : 0.0;
}

static void end(void)
{
  fr_cuda_close(device);
  CHECK(emu.live == 0 && emu.pinned == 0 && emu.streams == 0);
  CHECK(emu_errors() == 0);
}


// ---- products, each way that backward needs them, at ragged sizes
// A sum of K products is off by at most K roundings of the sum of their sizes, to which rounded factors add 2 u (1 + u) of it.
template <class T> static T *on_card(const T *from, fr_int count)
{
  T *p = NULL;
  CHECK(cudaMalloc((void **)&p, (size_t)count * sizeof(T)) == cudaSuccess);
  if (from) CHECK(cudaMemcpyAsync(p, from, (size_t)count * sizeof(T), cudaMemcpyHostToDevice, device->stream) == cudaSuccess);
  return p;
}
template <class T> static void from_card(T *to, const T *from, fr_int count)
{
  CHECK(cudaMemcpyAsync(to, from, (size_t)count * sizeof(T), cudaMemcpyDeviceToHost, device->stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(device->stream) == cudaSuccess);
}

static void product(int M, int N, int K, int way, int decodes, int adds, int in_pieces)
{
  const double u = decodes ? 0.0 : checked.factors;
  const fr_int a_row = way == 2 ? 1 : K + 1, a_k = way == 2 ? M + 2 : 1, b_row = way == 0 ? K + 3 : 1, b_k = way == 0 ? 1 : N + 1;
  const fr_int ldy = N + 5;
  const fr_int sizes[3] = { M * ldy, way == 2 ? K * a_k : M * a_row, way == 0 ? N * b_row : K * b_k };
  float *host[3], *card[3], *got = fixture_zeros(sizes[0]);
  double worst = 0.0;
  for (int i = 0; i < 3; i++) {
    host[i] = fixture_zeros(sizes[i]);
    for (fr_int j = 0; j < sizes[i]; j++) host[i][j] = (float)test_normal();
    card[i] = on_card(host[i], sizes[i]);
  }
  fr__cuda_product g = { card[0], adds ? card[0] : NULL, card[1], card[2], ldy, a_row, a_k, b_row, b_k, M, N, K };
  if (in_pieces) g.part = on_card((const float *)NULL, (K + FR__LONG - 1) / FR__LONG * M * N);
  fr__cuda_multiply(device, g, decodes);
  from_card(got, card[0], sizes[0]);
  for (fr_int i = 0; i < M; i++)
    for (fr_int j = 0; j < ldy; j++) {
      const double from = (double)host[0][i * ldy + j], have = (double)got[i * ldy + j];
      double sum = 0.0, size = 0.0;
      if (j >= N) { CHECK(from == have); continue; }  // what lies between the rows is not touched
      for (fr_int k = 0; k < K; k++) {
        const double x = (double)host[1][i * a_row + k * a_k] * (double)host[2][j * b_row + k * b_k];
        sum += x;
        size += fabs(x);
      }
      if (adds) { sum += from; size += fabs(from); }
      worst = fmax(worst, fabs(have - sum) / ((ldexp((double)K + 2.0, -23) + 2.0 * u * (1.0 + u)) * size));
    }
  CHECK_BELOW(worst, 1.0);
  for (int i = 0; i < 3; i++) { CHECK(cudaFree(card[i]) == cudaSuccess); free(host[i]); }
  if (in_pieces) CHECK(cudaFree(g.part) == cudaSuccess);
  free(got);
}
static void products(void)
{
  static const int sizes[][3] = { { 1, 1, 1 }, { 1, 65, 33 }, { 129, 1, 17 }, { 64, 64, 16 }, { 130, 67, 47 }, { 9, 200, 5 },
                                  { 70, 3, 100 } };
  for (int i = 0; i < 7; i++)
    for (int way = 0; way < 3; way++) product(sizes[i][0], sizes[i][1], sizes[i][2], way, 0, (i + way) % 2, 0);
  for (int i = 0; i < 7; i++) product(sizes[i][0], sizes[i][1], sizes[i][2], 0, 1, i % 2, 0);
  for (int way = 0; way < 3; way++) {
    product(35, 9, 2 * FR__LONG + 21, way, 0, way % 2, 1);
    product(3, 70, FR__LONG, way, 0, 1, 1);
  }
}

// ---- sampling: the token that the CPU draws
static void sampling(void)
{
  enum { MOST = 1000, ROWS = 8 };
  static float logits[ROWS * MOST], draw[ROWS];
  static float odds[MOST], penalised[MOST];
  static uint32_t path[ROWS * ((MOST + 31) / 32)];
  static char seen[ROWS * MOST];
  static fr_int index[MOST];
  static const int sizes[] = { 1, 2, 5, 37, 256, 257, MOST };
  int token[ROWS], last = -1, differ = 0;
  double logp[ROWS];
  const fr__kernels *kernels = fr__kernel_row(0);
  for (fr_int row = 1; !kernels->available(); row++) kernels = fr__kernel_row(row);
  for (int round = 0; round < 210; round++) {
    const int V = sizes[round % 7];
    fr_sampling o;
    memset(&o, 0, sizeof o);
    o.temperature = round % 5 == 4 ? 0.0f : (float)test_uniform(0.05, 2.0);
    if (round % 3 == 1) o.top_k = 1 + test_below_int(round % 2 ? V + 1 : 12);
    if (round % 4 > 1) o.top_p = (float)test_uniform(0.01, 1.0);
    if (round % 5 > 1) o.min_p = round % 2 ? 1.0f : (float)test_uniform(0.0, 0.5);
    if (round % 7 > 2 && round % 3) o.repeat_penalty = (float)test_uniform(0.2, 3.0);
    for (int i = 0; i < ROWS * V; i++) {
      const double x = 3.0 * test_normal();
      logits[i] = (float)(round % 2 ? floor(2.0 * x) / 2.0 : x);  // many are equal
      if (round % 11 == 10 && i % 7 == 3) logits[i] = -HUGE_VALF;
    }
    for (int i = 0; i < ROWS; i++) draw[i] = (float)(floor(test_uniform(0.0, 1.0) * 16777216.0) / 16777216.0);
    draw[0] = 0.0f;
    draw[1] = 16777215.0f / 16777216.0f;
    float *x = on_card(logits, ROWS * V), *d = on_card(draw, ROWS);
    const int words = (V + 31) / 32;
    memset(path, 0, sizeof path);
    for (int i = 0; i < ROWS * V; i++) {
      seen[i] = o.repeat_penalty > 0.0f && test_below_int(3) == 0;
      if (seen[i]) path[i / V * words + i % V / 32] |= (uint32_t)1 << i % V % 32;
    }
    int *t = on_card((const int *)NULL, ROWS);
    double *l = on_card((const double *)NULL, ROWS);
    uint32_t *p = on_card(path, ROWS * words);
    FR__LAUNCH(fr__sample_kernel, dim3(ROWS), 256, 0, device->stream, (x, V, d, o, o.repeat_penalty > 0.0f ? p : NULL, t, l));
    from_card(token, t, ROWS);
    from_card(logp, l, ROWS);
    for (int i = 0; i < ROWS; i++) {
      double sum = 0.0, peak = -HUGE_VAL;
      for (int v = 0; v < V; v++) {
        const float raw = logits[i * V + v];
        penalised[v] = !seen[i * V + v] ? raw : raw < 0.0f ? raw * o.repeat_penalty : raw / o.repeat_penalty;
      }
      const fr_token want = fr__draw(kernels, penalised, V, &o, draw[i], odds, index);
      for (int v = 0; v < V; v++) peak = fmax(peak, (double)logits[i * V + v]);
      for (int v = 0; v < V; v++) sum += exp((double)logits[i * V + v] - peak);
      CHECK(token[i] == want);
      differ += want != last;
      last = want;
      if (peak > -HUGE_VAL)
        CHECK_BELOW(fabs(logp[i] - ((double)logits[i * V + token[i]] - peak - log(sum))), 1e-6);  // exps are floats
    }
    CHECK(cudaFree(x) == cudaSuccess && cudaFree(d) == cudaSuccess && cudaFree(t) == cudaSuccess && cudaFree(l) == cudaSuccess);
    CHECK(cudaFree(p) == cudaSuccess);
  }
  CHECK(differ > 100);
}

// ---- forests: every head size and group, spans longer than a tile, levels, empty spans, rows with many targets
typedef struct forest { fr_token ids[1700]; fr_span spans[24]; fr_target targets[300]; fr_tree tree; fr_int rows; } forest;

static void forest_fill(forest *f, const fr_config *c, int spans, int longest, int targets)
{
  memset(f, 0, sizeof *f);
  f->tree.spans = f->spans; f->tree.span_count = spans; f->tree.targets = f->targets; f->tree.target_count = targets;
  for (int s = 0; s < spans; s++) {
    const fr_int count = s && test_below_int(4) == 0 ? test_below_int(2) : 1 + test_below_int(longest);
    f->spans[s].parent = s == 0 || test_below_int(5) == 0 ? -1 : test_below_int(s);
    f->spans[s].tokens.ids = f->ids + f->rows;
    f->spans[s].tokens.count = count;
    f->rows += count;
  }
  for (fr_int i = 0; i < f->rows; i++) f->ids[i] = (fr_token)test_below_int(i % 3 ? c->vocab : 3);  // some often
  for (int i = 0; i < targets; i++) {
    f->targets[i].row = test_below_int(i % 4 ? f->rows : 1 + f->rows / 8);
    f->targets[i].token = (fr_token)test_below_int(c->vocab);
    f->targets[i].weight = (float)test_uniform(-0.2, 1.0);
    f->targets[i].group = i % 5 - 1;
  }
}

// As relative_by_tensor. But terms may cancel: where a query sees one key, the gradients of its norms are 0, and what is left are
// roundings of terms as large as the whole. So a tensor is measured by a hundredth of the whole, too: 1e-5 of that are two roundings.
static double farthest_tensor(const fr_model *model, const float *x, const float *y)
{
  const double all = norm_of(y, model->count);
  fr_tensor t;
  double worst = 0.0;
  for (fr_int i = 0; fr_model_tensor(model, i, &t) == FR_OK; i++) {
    const float *a = x + t.offset, *b = y + t.offset;
    const fr_int n = t.copies * t.rows * t.cols;
    double square = 0.0;
    for (fr_int j = 0; j < n; j++) square += ((double)a[j] - (double)b[j]) * ((double)a[j] - (double)b[j]);
    square = sqrt(square) / (norm_of(b, n) + 1e-2 * all);
    worst = square <= worst ? worst : square == square ? square : HUGE_VAL;
  }
  return worst;
}

static void forest_compare(const fr_config *config, int spans, int longest, int targets)
{
  static forest f;
  fr_limits limits;
  fr_sum sums[2][4];
  fr_int *rows;
  void *memory;
  fr_model like = fixture_model(config, &memory);
  side s[3];  // the CPU, the device, and the same in double
  float *out[2], *again;
  double off;
  fixture_randomise(&like);
  forest_fill(&f, &like.config, spans, longest, targets);
  CHECK(fr_tree_limits(&f.tree, &limits) == FR_OK);
  rows = (fr_int *)test_alloc((size_t)f.rows * sizeof *rows);
  for (fr_int i = 0; i < f.rows; i++) rows[i] = i;
  for (int t = 0; t < 2; t++) {
    s[t] = side_of(config, limits, t, &like, 0);
    out[t] = fixture_zeros(f.rows * config->vocab);
    CHECK(fr_backward(&s[t].model, &s[t].work, &f.tree, s[t].adamw.grads, sums[t], 4) == FR_OK);
    CHECK(fr_logits(&s[t].model, &s[t].work, rows, f.rows, out[t], NULL) == FR_OK);
    CHECK(fr_work_download(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK);
  }
  // Both are off by what floats may be off from doubles; nll sums over up to targets.
  for (int g = 0; g < 4; g++) CHECK_BELOW(fabs(sums[0][g].nll - sums[1][g].nll), 4e-5 * (1.0 + sums[0][g].nll));
  CHECK_BELOW(farthest(out[0], out[1], f.rows * config->vocab), 4e-5);
  // Some of these models are ill-conditioned (norms of heads of two values): as with the references' own software, four times what
  // the CPU's floats are off from doubles is allowed, and 1e-5 at least.
  checked.backend = &exact.backend;
  twin_begin(&exact);
  s[2] = side_of(config, limits, 1, &like, 0);
  CHECK(fr_backward(&s[2].model, &s[2].work, &f.tree, s[2].adamw.grads, sums[0], 4) == FR_OK);
  CHECK(fr_work_download(&s[2].work, &s[2].model, &s[2].adamw) == FR_OK);
  checked.backend = fr_cuda_backend(device);
  off = farthest_tensor(&s[0].model, s[0].adamw.grads, s[2].adamw.grads);
  CHECK_BELOW(off, 1e-4);
  CHECK_BELOW(farthest_tensor(&s[0].model, s[1].adamw.grads, s[2].adamw.grads), fmax(1e-5, 4.0 * off));
  side_end(&s[2]);
  CHECK(twin_end(&exact) == 0);
  CHECK(norm_of(s[1].adamw.grads, s[1].adamw.count) > 0.0);
  CHECK(spans < 24 || f.rows > FR__LONG);
  // The same once more, threads and blocks in another order: the same bits.
  again = fixture_zeros(s[1].adamw.count);
  memcpy(again, s[1].adamw.grads, (size_t)s[1].adamw.count * sizeof(float));
  memset(s[1].adamw.grads, 0, (size_t)s[1].adamw.count * sizeof(float));
  emu.seed = 7;
  CHECK(fr_work_attach(&s[1].work, &s[1].model, &s[1].adamw) == FR_OK);
  CHECK(fr_backward(&s[1].model, &s[1].work, &f.tree, s[1].adamw.grads, sums[0], 4) == FR_OK);
  CHECK(fr_work_download(&s[1].work, &s[1].model, &s[1].adamw) == FR_OK);
  emu.seed = 0;
  CHECK(same_bits(again, s[1].adamw.grads, s[1].adamw.count, 4));
  for (int g = 0; g < 4; g++) CHECK(same_bits(&sums[0][g].nll, &sums[1][g].nll, 1, 8));
  side_end(&s[0]); side_end(&s[1]);
  free(out[0]); free(out[1]); free(again); free(rows); free(memory);
  CHECK(device_end() == 0);
}

static void forests(void)
{
  static const struct { fr_int heads, kv, D; } shapes[] = {
    { 1, 1, 2 }, { 2, 2, 30 }, { 4, 2, 32 }, { 3, 1, 34 }, { 6, 1, 16 }, { 2, 1, 64 }, { 16, 1, 4 }, { 17, 1, 2 }, { 20, 2, 8 },
    { 2, 2, 66 }, { 1, 1, 128 }, { 2, 1, 130 }, { 1, 1, 256 }, { 1, 1, 258 }, { 1, 1, 512 } };
  for (int i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); i++) {
    fr_config c;
    if (fr__cuda_shared(shapes[i].D, 1) > device->shared_most) continue;  // place refuses it
    memset(&c, 0, sizeof c);
    c.layers = 1 + i % 2; c.dim = 10 + 7 * i; c.heads = shapes[i].heads; c.kv_heads = shapes[i].kv; c.head_dim = shapes[i].D;
    c.ffn = 9 + i; c.vocab = i == 4 ? 700 : 41; c.tied = i % 2; c.qkv_bias = i % 3 == 0; c.qk_norm = i % 3 == 1;
    forest_compare(&c, 1 + i, i < 8 ? 50 : 9, i == 3 ? 1 : 60);
  }
  {  // one row; and more rows than a piece of a sum
    fr_config c = fixture_config(7);
    forest_compare(&c, 1, 1, 2);
    c = fixture_config(3);
    forest_compare(&c, 24, 70, 300);
  }
}

// ---- decoding: a leaf's text and log p are the same bits alone and among others, whatever the order of threads
static void leaves_alone(void)
{
  enum { LEAVES = 5, MAX = 5 };
  static forest f;
  fr_token text[2][LEAVES][MAX];
  fr_leaf leaf[2][LEAVES];
  fr_limits limits;
  fr_sampling o;
  void *memory, *own;
  const fr_config config = fixture_config(3);
  fr_model model = fixture_model(&config, &memory);
  fixture_randomise(&model);
  forest_fill(&f, &model.config, 6, 40, 0);
  memset(&o, 0, sizeof o);
  o.temperature = 1.3f;
  o.top_p = 0.95f;
  o.min_p = 0.02f;
  o.repeat_penalty = 4.0f;
  o.max_tokens = MAX;
  CHECK(fr_generate_limits(&f.tree, &o, LEAVES, &limits) == FR_OK);
  fr_work work = on_device(&config, limits, &own);
  CHECK(fr_work_attach(&work, &model, NULL) == FR_OK);
  memset(leaf, 0, sizeof leaf);
  for (int t = 0; t < 2; t++)
    for (int i = 0; i < LEAVES; i++) {
      leaf[t][i].leaf = (uint64_t)i;
      leaf[t][i].span = i == 1 ? 0 : 5;
      leaf[t][i].tokens = text[t][i];
    }
  CHECK(fr_generate(&model, &work, &f.tree, &o, leaf[0], LEAVES) == FR_OK);
  emu.seed = 3;
  for (int i = LEAVES - 1; i >= 0; i--) CHECK(fr_generate(&model, &work, &f.tree, &o, leaf[1] + i, 1) == FR_OK);
  emu.seed = 0;
  for (int i = 0; i < LEAVES; i++)
    CHECK(same_bits(text[0][i], text[1][i], MAX, 4) && same_bits(&leaf[0][i].logp, &leaf[1][i].logp, 1, 8));
  CHECK(!same_bits(text[0][0], text[0][2], MAX, 4) || !same_bits(text[0][0], text[0][3], MAX, 4));
  free(memory); free(own);
  CHECK(device_end() == 0);
}

// ---- decoding, as on the CPU: head sizes and groups, paths of several tiles
static void decode_compare(const fr_config *config)
{
  enum { LEAVES = 4, MAX = 6 };
  static forest f;
  fr_token text[2][LEAVES][MAX];
  fr_leaf leaf[2][LEAVES];
  fr_limits limits;
  fr_sampling o;
  void *memory;
  fr_model like = fixture_model(config, &memory);
  side s[2];
  fixture_randomise(&like);
  forest_fill(&f, &like.config, 5, 90, 0);
  memset(&o, 0, sizeof o);
  o.temperature = 0.8f;
  o.top_k = 9;
  o.repeat_penalty = config->dim % 3 ? 1.4f : 0.7f;
  o.max_tokens = MAX;
  memset(leaf, 0, sizeof leaf);
  CHECK(fr_generate_limits(&f.tree, &o, LEAVES, &limits) == FR_OK);
  for (int t = 0; t < 2; t++) {
    s[t] = side_of(config, limits, t, &like, 0);
    for (int i = 0; i < LEAVES; i++) {
      leaf[t][i].leaf = (uint64_t)i;
      leaf[t][i].span = i % 5;
      leaf[t][i].tokens = text[t][i];
      while (!f.spans[leaf[t][i].span].tokens.count) leaf[t][i].span--;
    }
    CHECK(fr_generate(&s[t].model, &s[t].work, &f.tree, &o, leaf[t], LEAVES) == FR_OK);
  }
  for (int i = 0; i < LEAVES; i++) {
    CHECK(same_bits(text[0][i], text[1][i], MAX, 4) && leaf[1][i].count == MAX);
    CHECK_BELOW(fabs(leaf[0][i].logp - leaf[1][i].logp), MAX * 4e-5);  // as logits of forests, for each token
  }
  side_end(&s[0]); side_end(&s[1]);
  free(memory);
  CHECK(device_end() == 0);
}
static void decodes(void)
{
  static const struct { fr_int heads, kv, D; } shapes[] = {
    { 5, 1, 32 }, { 4, 4, 34 }, { 6, 1, 66 }, { 2, 1, 130 }, { 1, 1, 258 }, { 20, 2, 4 } };
  for (int i = 0; i < 6; i++) {
    fr_config c;
    memset(&c, 0, sizeof c);
    c.layers = 2; c.dim = 24; c.heads = shapes[i].heads; c.kv_heads = shapes[i].kv; c.head_dim = shapes[i].D;
    c.ffn = 31; c.vocab = 40;
    c.qk_norm = i % 2;
    decode_compare(&c);
  }
}

// ---- what goes over the bus in a step: numbers a token, spans and targets; parameters never
static void traffic(void)
{
  static tiny t;
  int64_t before[2], after[2];
  fr_ssft_report report;
  void *memory;
  const fr_config config = tiny_config(2, 32);
  fr_model like = fixture_model(&config, &memory);
  fr_model_init(&like, 4);
  tiny_fill(&t, 1);
  side s = side_of(&config, tiny_limits(&t, 2, 4, 1), 1, &like, 0);
  fr_cuda_traffic(device, &before[0], &before[1]);
  CHECK(fr_ssft_step(&s.model, &s.work, &s.adamw, &t.options, t.questions, 2, 1e-2f, &report) == FR_OK);
  fr_cuda_traffic(device, &after[0], &after[1]);
  CHECK(after[0] > before[0] && after[1] > before[1]);
  // two passes of at most grad_rows rows and spans: 4 + 3 ints a row, 4 a tile of keys, 5 a target; 8 bytes come back a target
  CHECK_BELOW(after[0] - before[0], 2 * 4 * (7 * s.work.limits.rows + 1 + 4 * (s.work.limits.spans + s.work.limits.rows / 32 + 1) +
                                              5 * s.work.limits.targets));
  CHECK_BELOW(after[1] - before[1], 2 * 8 * s.work.limits.targets + 8 * FR__SQUARES);
  CHECK((after[0] - before[0]) + (after[1] - before[1]) < 4 * s.model.count / 2);
  // what is given back is not there any more
  CHECK(fr_work_download(&s.work, &s.model, &s.adamw) == FR_OK);
  fr_cuda_release(device, NULL, &s.model);
  CHECK(fr_ssft_match(&s.model, &s.work, &t.options, t.questions, 2) == FR_INVALID && strstr(s.work.reason.text, "attached"));
  CHECK(fr_work_attach(&s.work, &s.model, &s.adamw) == FR_OK);
  CHECK(fr_ssft_match(&s.model, &s.work, &t.options, t.questions, 2) == FR_OK);
  fr_cuda_release(device, &s.work, &s.model);
  CHECK(emu.live == 0 && emu.pinned == 0);
  side_end(&s);
  free(memory);
  CHECK(device_end() == 0);
}

// ---- an update from equal gradients and moments
static void updates(void)
{
  const fr_config config = fixture_config(7);
  void *memory;
  fr_model like = fixture_model(&config, &memory);
  fr_limits limits;
  side s[2];
  double norm[2];
  memset(&limits, 0, sizeof limits);
  fixture_randomise(&like);
  for (int t = 0; t < 2; t++) {
    s[t] = side_of(&config, limits, t, &like, 1u << FR__AT_w_out);
    test_state = 99;
    for (fr_int i = 0; i < s[t].adamw.count; i++) {
      s[t].adamw.grads[i] = (float)test_normal();
      s[t].adamw.m[i] = (float)test_normal();
      s[t].adamw.v[i] = (float)test_uniform(0.0, 1.0);
    }
    s[t].adamw.step = 5;
    CHECK(fr_work_attach(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK);
    CHECK(fr_adamw_step(&s[t].adamw, &s[t].model, &s[t].work, 1.0, 1e-2f, &norm[t]) == FR_OK);
    CHECK(fr_work_download(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK);
  }
  CHECK_BELOW(fabs(norm[0] / norm[1] - 1.0), 1e-12);  // sums of doubles
  for (fr_int i = 0; i < s[0].adamw.count; i++) {     // five roundings, with or without fused products
    CHECK_BELOW(fabs((double)s[0].adamw.m[i] - (double)s[1].adamw.m[i]), 5.0 * ldexp(1.0 + fabs((double)s[0].adamw.m[i]), -24));
    CHECK_BELOW(fabs((double)s[0].adamw.v[i] - (double)s[1].adamw.v[i]), 5.0 * ldexp(1.0 + fabs((double)s[0].adamw.v[i]), -24));
    CHECK(s[1].adamw.grads[i] == 0.0f);
  }
  for (fr_int i = 0; i < like.count; i++)
    CHECK_BELOW(fabs((double)s[0].model.params[i] - (double)s[1].model.params[i]),
                5.0 * ldexp(1.0 + fabs((double)like.params[i]), -24));
  CHECK(relative(s[1].model.params, like.params, like.count) > 1e-3);
  side_end(&s[0]); side_end(&s[1]);
  free(memory);
  CHECK(device_end() == 0);
}

// ---- mistakes and coincidences
// A pass with targets, then one without, whose lists of tokens must not overtake each other on their way to the device
static void passes_in_a_row(void)
{
  static forest f[2];
  const fr_config config = fixture_config(0);
  fr_limits limits[2];
  fr_sum sum;
  void *memory;
  fr_model like = fixture_model(&config, &memory);
  side s[2];
  fixture_randomise(&like);
  for (int i = 0; i < 2; i++) {
    forest_fill(&f[i], &like.config, 4, 10, i ? 0 : 8);
    for (int t = 0; t < f[i].tree.target_count; t++) f[i].targets[t].group = 0;
    CHECK(fr_tree_limits(&f[i].tree, &limits[i]) == FR_OK);
  }
  for (int t = 0; t < 2; t++) {
    s[t] = side_of(&config, fr_limits_max(limits[0], limits[1]), t, &like, 0);
    for (int i = 0; i < 2; i++) CHECK(fr_backward(&s[t].model, &s[t].work, &f[i].tree, s[t].adamw.grads, &sum, 1) == FR_OK);
    CHECK(fr_work_download(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK);
  }
  CHECK_BELOW(farthest_tensor(&s[0].model, s[1].adamw.grads, s[0].adamw.grads), 2e-5);  // as forests
  side_end(&s[0]); side_end(&s[1]);
  free(memory);
  CHECK(device_end() == 0);
}
// Two workspaces whose heads differ in size, but not in the kernels that they use
static void two_widths(void)
{
  static const fr_int D[2] = { 256, 192 };
  static forest f[2];
  side s[2];
  void *memory[2];
  fr_sum sum;
  for (int t = 0; t < 2; t++) {
    fr_config c;
    fr_limits limits;
    memset(&c, 0, sizeof c);
    c.layers = 1; c.dim = 8; c.heads = 1; c.head_dim = D[t]; c.ffn = 8; c.vocab = 11;
    fr_model like = fixture_model(&c, &memory[t]);
    fixture_randomise(&like);
    forest_fill(&f[t], &like.config, 2, 9, 3);
    for (int i = 0; i < 3; i++) f[t].targets[i].group = 0;
    CHECK(fr_tree_limits(&f[t].tree, &limits) == FR_OK);
    s[t] = side_of(&c, limits, 1, &like, 0);
    for (int u = 0; u <= t; u++)
      CHECK(fr_backward(&s[u].model, &s[u].work, &f[u].tree, s[u].adamw.grads, &sum, 1) == FR_OK);
  }
  for (int t = 0; t < 2; t++) { side_end(&s[t]); free(memory[t]); }
  CHECK(device_end() == 0);
}
// Another optimiser, and another model where one was before
static void strangers(void)
{
  static forest f;
  const fr_config small = tiny_config(1, 8), large = tiny_config(1, 64);
  fr_limits limits;
  fr_sum sum;
  fr_model model, next;
  fr_adamw adamw, none;
  fr_work work, wide;
  fr_int bytes = 0;
  void *memory;
  memset(&none, 0, sizeof none);
  forest_fill(&f, &small, 2, 6, 4);
  for (int i = 0; i < 4; i++) f.targets[i].group = 0;
  CHECK(fr_tree_limits(&f.tree, &limits) == FR_OK);
  limits.backend = checked.backend;
  CHECK(fr_model_place(NULL, &large, NULL, 0, &bytes) == FR_OK);
  memory = test_alloc((size_t)bytes);
  CHECK(fr_model_place(&model, &small, memory, bytes, NULL) == FR_OK && fr_adamw_new(&adamw, &model) == FR_OK);
  fr_model_init(&model, 1);
  CHECK(fr_work_new(&work, &small, &limits) == FR_OK && fr_work_new(&wide, &large, &limits) == FR_OK);
  CHECK(fr_work_attach(&work, &model, &none) == FR_INVALID && strstr(work.reason.text, "another model"));
  CHECK(fr_work_attach(&work, &model, &adamw) == FR_OK && fr_forward(&model, &work, &f.tree, &sum, 1) == FR_OK);
  CHECK(fr_work_download(&work, &model, &none) == FR_INVALID);
  CHECK(fr_model_place(&next, &large, memory, bytes, NULL) == FR_OK);
  fr_model_init(&next, 2);
  CHECK(fr_work_attach(&wide, &next, &adamw) == FR_INVALID && strstr(wide.reason.text, "another model"));
  CHECK(fr_forward(&next, &wide, &f.tree, &sum, 1) == FR_INVALID && strstr(wide.reason.text, "at this address"));
  CHECK(fr_work_download(&wide, &next, NULL) == FR_INVALID);
  CHECK(fr_work_attach(&wide, &next, NULL) == FR_OK && fr_forward(&next, &wide, &f.tree, &sum, 1) == FR_OK);
  fr_cuda_release(NULL, &work, &model);
  CHECK(fr_cuda_backend(NULL) == NULL);
  fr_adamw_free(&adamw);
  fr_work_free(&work); fr_work_free(&wide);
  free(memory);
  CHECK(device_end() == 0);
}
// A value of infinity in one question of a pass leaves the others as they are
static void infinite_neighbour(void)
{
  fr_token ids[2][6] = { { 1, 2, 3, 4, 5, 6 }, { 7, 2, 3, 4, 5, 6 } };
  fr_span spans[2] = { { -1, { ids[0], 6 } }, { -1, { ids[1], 6 } } };
  fr_config c = tiny_config(1, 16);
  fr_limits limits;
  fr_tree tree;
  fr_int rows[6] = { 6, 7, 8, 9, 10, 11 };
  float out[2][6 * TINY_VOCAB];
  void *memory;
  memset(&tree, 0, sizeof tree);
  c.tied = 0;
  fr_model like = fixture_model(&c, &memory);
  fixture_randomise(&like);
  tree.spans = spans;
  tree.span_count = 2;
  CHECK(fr_tree_limits(&tree, &limits) == FR_OK);
  for (int t = 0; t < 2; t++) {
    if (t) like.params[fixture_tensor(&like, "tok_emb").offset + 1 * 16] = 3e38f;  // token 1, of the first question alone
    side s = side_of(&c, limits, 1, &like, 0);
    CHECK(fr_forward(&s.model, &s.work, &tree, NULL, 0) == FR_OK && fr_logits(&s.model, &s.work, rows, 6, out[t], NULL) == FR_OK);
    side_end(&s);
    CHECK(device_end() == 0);
  }
  CHECK(out[0][0] == out[0][0] && same_bits(out[0], out[1], 6 * TINY_VOCAB, 4));
  free(memory);
}

#ifdef FR__CUDA_EMULATED
// ---- without a device the program goes on with the CPU
static void absent(void)
{
  static tiny t;
  const fr_config config = tiny_config(1, 8);
  fr_limits limits;
  fr_cuda *cuda = device;
  fr_reason reason;
  fr_ssft_report report;
  void *memory, *own;
  fr_adamw adamw;
  emu_reset();
  emu.devices = 0;
  CHECK(fr_cuda_open(&cuda, 0, FR_CUDA_FLOAT32, &reason) == FR_UNSUPPORTED && strstr(reason.text, "no CUDA device"));
  emu_reset();
  CHECK(fr_cuda_open(&cuda, 1, FR_CUDA_FLOAT32, &reason) == FR_UNSUPPORTED && strstr(reason.text, "device 1 of 1"));
  CHECK(fr_cuda_open(&cuda, -1, FR_CUDA_FLOAT32, &reason) == FR_INVALID);
  CHECK(fr_cuda_open(NULL, 0, FR_CUDA_FLOAT32, NULL) == FR_INVALID);
  emu.major = 7;
  CHECK(fr_cuda_open(&cuda, 0, FR_CUDA_FLOAT32, &reason) == FR_UNSUPPORTED && strstr(reason.text, "capability 7"));
  CHECK(cuda == device);
  emu.major = 9;
  emu.devices = 1;
  CHECK(emu.live == 0 && emu.streams == 0);
  fr_model model = fixture_model(&config, &memory);
  fr_model_init(&model, 4);
  tiny_fill(&t, 1);
  limits = tiny_limits(&t, 2, 4, 1);
  fr_work work = fixture_work(&config, &limits, &own);
  CHECK(fr_adamw_new(&adamw, &model) == FR_OK && fr_work_attach(&work, &model, &adamw) == FR_OK);
  CHECK(fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, 2, 1e-2f, &report) == FR_OK && report.norm > 0.0);
  fr_adamw_free(&adamw);
  free(memory); free(own);
  emu_reset();
}

// ---- each allocation and each call fails once: a status and a reason, and nothing is left behind. Returns how many there were.
static long failures(int allocations)
{
  static tiny t;
  const fr_config config = tiny_config(1, 8);
  long n = 0, told = 0;
  void *memory;
  fr_model model = fixture_model(&config, &memory);
  tiny_fill(&t, 1);
  emu.show = 0;
  for (int passed = 0; !passed && n < 2000;) {
    fr_adamw adamw;
    fr_work work;
    fr_ssft_report report;
    fr_cuda *cuda = NULL;
    fr_limits limits = tiny_limits(&t, 1, 4, 1);
    fr_reason reason;
    fr_status status;
    emu_reset();
    emu.show = 0;
    if (allocations) emu.fail_malloc = ++n; else emu.fail_call = ++n;
    fr_model_init(&model, 4);
    memset(&work, 0, sizeof work);
    CHECK(fr_adamw_new(&adamw, &model) == FR_OK);
    status = fr_cuda_open(&cuda, 0, FR_CUDA_FLOAT32, &reason);
    CHECK(!status == (cuda != NULL));
    if (status) work.reason = reason;
    if (!status) {
      limits.backend = fr_cuda_backend(cuda);
      status = fr_work_new(&work, &config, &limits);
      CHECK(!status == (work.body != NULL));
    }
    if (!status) status = fr_work_attach(&work, &model, &adamw);
    if (!status) status = fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, 1, 1e-2f, &report);
    if (!status) status = fr_work_download(&work, &model, &adamw);
    passed = !status && (allocations ? emu.mallocs : emu.calls) < n;
    told += status != FR_OK;
    CHECK(!status || (work.reason.text[0] && (status == FR_IO || status == FR_MEMORY || status == FR_UNSUPPORTED)));
    CHECK(!allocations || passed || status == FR_MEMORY);
    model.stale = 0;
    emu.fail_call = emu.fail_malloc = 0;  // closing works again
    fr_adamw_free(&adamw);
    fr_work_free(&work);
    fr_cuda_close(cuda);
    CHECK(emu.live == 0 && emu.pinned == 0 && emu.streams == 0);
    emu_errors();
  }
  emu_reset();
  CHECK(told >= n - 1);  // none of them goes unnoticed
  free(memory);
  return n - 1;
}
#endif

// Every part by its name on the command line, or all
static int part_count;
static char **parts;
static int part(const char *name)
{
  int found = part_count == 0;
  for (int i = 0; i < part_count; i++) found |= !strcmp(parts[i], name);
  return found;
}

static void models(void)
{
  static const char *const plain[] = { "llama_a", "qwen2_a", "qwen3_a" };
  for (int i = 0; i < 3; i++) {
    whole_model(plain[i]);
    CHECK(device_end() == 0);  // what comes next may lie at the same address
  }
  set_loss_and_choice("llama_ssft");
  CHECK(device_end() == 0);
  set_loss_and_choice("qwen3_ssft");
  CHECK(device_end() == 0);
}

int main(int count, char **names)
{
  static const fr_cuda_math kinds[] = { FR_CUDA_FLOAT32, FR_CUDA_TF32, FR_CUDA_BFLOAT16, FR_CUDA_PLAIN };
#ifdef __CUDACC__
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || !devices) { puts("skipped: no CUDA device"); return 77; }
#endif
  part_count = count - 1;
  parts = names + 1;
  for (int k = 0; k < 4; k++) {
    begin(kinds[k]);
    if (part("products")) products();
    if (part("models") && kinds[k] != FR_CUDA_PLAIN) models();
    end();
  }
  begin(FR_CUDA_FLOAT32);
  for (int which = 0; which < FIXTURE_CONFIGS && part("configs"); which++) against_cpu(which);
  if (part("training")) training();
  if (part("forests")) forests();
  if (part("decodes")) decodes();
  if (part("leaves")) leaves_alone();
  if (part("sampling")) sampling();
  if (part("traffic")) traffic();
  if (part("updates")) updates();
  if (part("mistakes")) { passes_in_a_row(); two_widths(); strangers(); infinite_neighbour(); }
  end();
#ifdef FR__CUDA_EMULATED
  if (part("absent")) absent();
  if (part("failures")) {
    CHECK(failures(1) >= 3);
    CHECK(failures(0) >= 100);
  }
#endif
  return test_done("cuda");
}
