// Every kernel of the CUDA unit at work on a small problem - a set loss step, an update, decoding with each kind of sampling - for the
// race finders of emulation.h and, in the plain build, in other orders of threads and blocks: all of them must give the same bits.
#include "emulation.h"
#define FORKREASON_IMPLEMENTATION
#define FORKREASON_CUDA_IMPLEMENTATION
#include "../../forkreason.h"
#include "../test.h"
#include "../tiny.h"

// Under the thread sanitizer each meeting of a warp takes a quarter of a millisecond: one question, two forks and two traces, and what
// every run would do alike is done by one of them.
#ifdef EMU_PTHREADS
enum { QUESTIONS = 1, FORKS = 2, TRACES = 2, STEPS = 1, ALL = 0 };
#else
enum { QUESTIONS = 2, FORKS = TINY_FORKS, TRACES = TINY_TRACES, STEPS = 2, ALL = 1 };
#endif

static void keep(std::string *bits, const void *at, size_t bytes) { bits->append((const char *)at, bytes); }

// All that comes of it. Head sizes choose among the kernels of attention: D / 32 channels a lane, rounded up to a power of two.
static std::string everything(fr_cuda_math math, fr_int head_dim, int decodes, uint64_t seed)
{
  static tiny t;
  std::string bits;
  fr_config config = tiny_config(1, 24);
  fr_reason reason;
  fr_cuda *cuda = NULL;
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_span spans[1 + TINY_FORKS];
  fr_token text[TINY_FORKS][TINY_TRACE];
  fr_leaf leaves[TINY_FORKS];
  fr_sampling sampling;
  emu_reset();
  emu.seed = seed;
  config.head_dim = head_dim;
  config.heads = QUESTIONS;       // 1 or 2, which share keys and values
  config.kv_heads = 1;
  config.qkv_bias = config.qk_norm = 1;
  if (!CHECK(fr_cuda_open(&cuda, 0, math, &reason) == FR_OK)) return bits;
  tiny_fill(&t, 0);
  t.options.fork_count = FORKS;
  for (int q = 0; q < TINY_QUESTIONS; q++) t.questions[q].trace_count = TRACES;
  fr_limits limits = tiny_limits(&t, QUESTIONS, FORKS, 1);
  limits.backend = fr_cuda_backend(cuda);
  CHECK(fr_model_new(&model, &config) == FR_OK && fr_adamw_new(&adamw, &model) == FR_OK);
  CHECK(fr_work_new(&work, &config, &limits) == FR_OK);
  fr_model_init(&model, 3);
  CHECK(fr_work_attach(&work, &model, &adamw) == FR_OK);
  for (int step = 0; step < STEPS; step++) {
    fr_ssft_report report;
    memset(&report, 0, sizeof report);
    CHECK(fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, QUESTIONS, 1e-2f, &report) == FR_OK && report.skipped == 0);
    CHECK(report.norm > 0.0 && report.loss > 0.0);
    keep(&bits, &report.loss, sizeof report.loss);
    keep(&bits, &report.norm, sizeof report.norm);
    keep(&bits, t.cost, sizeof t.cost);
    keep(&bits, t.fork, sizeof t.fork);
    keep(&bits, t.nll, sizeof t.nll);
  }
  const fr_tree tree = tiny_tree(&t, 0, spans);
  for (int way = 0; decodes && way < 3; way++) {  // greedy, the whole vocabulary, the upper part of it
    memset(&sampling, 0, sizeof sampling);
    memset(leaves, 0, sizeof leaves);
    sampling.max_tokens = ALL ? 4 : 2;  // the second is of a pass over few rows
    sampling.temperature = way ? 0.9f : 0.0f;
    sampling.top_k = way == 2 ? 9 : 0;
    sampling.top_p = way == 2 ? 0.8f : 0.0f;
    sampling.min_p = way == 1 ? 0.05f : 0.0f;
    sampling.repeat_penalty = way ? 1.3f : 0.0f;
    for (int i = 0; i < FORKS; i++) {
      leaves[i].span = 1 + i;
      leaves[i].leaf = (uint64_t)i;
      leaves[i].tokens = text[i];
    }
    if (!CHECK(fr_generate(&model, &work, &tree, &sampling, leaves, FORKS) == FR_OK)) fprintf(stderr, "%s\n", work.reason.text);
    for (int i = 0; i < FORKS; i++) {
      keep(&bits, text[i], (size_t)leaves[i].count * sizeof text[i][0]);
      keep(&bits, &leaves[i].logp, sizeof leaves[i].logp);
    }
  }
  CHECK(fr_work_download(&work, &model, &adamw) == FR_OK);
  keep(&bits, model.params, (size_t)model.count * sizeof(float));
  keep(&bits, adamw.m, (size_t)adamw.count * sizeof(float));
  keep(&bits, adamw.v, (size_t)adamw.count * sizeof(float));
  for (fr_int i = 0; i < model.count; i++) if (!CHECK(std::isfinite(model.params[i]))) break;
  fr_work_free(&work);
  fr_adamw_free(&adamw);
  fr_model_free(&model);
  fr_cuda_close(cuda);
  CHECK(emu.live == 0 && emu.pinned == 0 && emu.streams == 0);
  CHECK(emu_errors() == 0);
  return bits;
}

// A gradient of few weights is summed over many rows in pieces.
static std::string long_sum(fr_cuda_math math, uint64_t seed)
{
  enum { M = 5, N = 3, K = 2 * FR__LONG + 7 };
  std::vector<float> a(K * M), b(K * N), y(M * N);
  fr__cuda_product g = fr__cuda_product();
  fr_cuda *cuda = NULL;
  fr_reason reason;
  float *from = NULL, *with = NULL;
  emu_reset();
  emu.seed = seed;
  test_state = 1;
  for (float &x : a) x = (float)test_normal();
  for (float &x : b) x = (float)test_normal();
  if (!CHECK(fr_cuda_open(&cuda, 0, math, &reason) == FR_OK)) return "";
  CHECK(!cudaMalloc(&from, sizeof(float) * K * M) && !cudaMalloc(&with, sizeof(float) * K * N));
  CHECK(!cudaMalloc(&g.y, sizeof(float) * M * N) && !cudaMalloc(&g.part, sizeof(float) * M * N * 3));
  CHECK(!cudaMemcpyAsync(from, a.data(), sizeof(float) * K * M, cudaMemcpyHostToDevice, cuda->stream));
  CHECK(!cudaMemcpyAsync(with, b.data(), sizeof(float) * K * N, cudaMemcpyHostToDevice, cuda->stream));
  CHECK(!cudaMemsetAsync(g.y, 0, sizeof(float) * M * N, cuda->stream));
  g.from = g.y; g.a = from; g.b = with;
  g.ldy = N; g.a_row = 1; g.a_k = M; g.b_row = 1; g.b_k = N; g.M = M; g.N = N; g.K = K;
  fr__cuda_multiply(cuda, g, 0);
  CHECK(!cudaMemcpyAsync(y.data(), g.y, sizeof(float) * M * N, cudaMemcpyDeviceToHost, cuda->stream));
  CHECK(!cudaFree(from) && !cudaFree(with) && !cudaFree(g.y) && !cudaFree(g.part));
  fr_cuda_close(cuda);
  CHECK(emu_errors() == 0);
  for (float x : y) CHECK(std::isfinite(x));
  return std::string((const char *)y.data(), sizeof(float) * M * N);
}

// The kernels of the unit: what stands behind `__global__ static void`, but for bounds.
static std::vector<std::string> kernels()
{
  std::vector<std::string> names;
  std::string file;
  char piece[4096];
  FILE *header = fopen("forkreason.h", "rb");
  for (size_t n; header && (n = fread(piece, 1, sizeof piece, header)) > 0;) file.append(piece, n);
  if (header) fclose(header);
  for (size_t at = 0; (at = file.find("\n__global__ ", at)) != std::string::npos; at++) {
    const size_t end = file.find('\n', at + 1), name = file.find("fr__", at);
    if (name < end) names.push_back(file.substr(name, file.find('(', name) - name));
  }
  return names;
}

int main(void)
{
  static const fr_cuda_math kinds[] = { FR_CUDA_BFLOAT16, FR_CUDA_TF32, FR_CUDA_FLOAT32, FR_CUDA_PLAIN };
  static const fr_int sizes[] = { 6, 40, 72, 136, 260 };
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < 5; i++) {
      if (k > 0 && i > 0) continue;  // attention does not know of the kinds of products
      if (!ALL && i > 1) continue;
      const std::string first = everything(kinds[k], sizes[i], ALL || k + i == 0, 0);
#if !defined(EMU_PTHREADS) && !defined(EMU_TRACK)
      for (uint64_t seed = 1; seed < 4; seed++) CHECK(everything(kinds[k], sizes[i], 1, seed) == first);
#endif
    }
  for (int k = 0; k < 3; k++) {
    const std::string first = long_sum(kinds[k], 0);
#if !defined(EMU_PTHREADS) && !defined(EMU_TRACK)
    for (uint64_t seed = 1; seed < 4; seed++) CHECK(long_sum(kinds[k], seed) == first);
#endif
  }
  const std::vector<std::string> all = kernels();
  CHECK(all.size() > 20);
  for (const std::string &name : all) {
    int ran = 0;
    for (const emu_kernel *k : emu.kernels) ran |= !k->name.compare(0, name.size(), name);
    if (!CHECK(ran)) fprintf(stderr, "%s was not run\n", name.c_str());
  }
  printf("%zu kernels\n", all.size());
  return test_done("test_races");
}
