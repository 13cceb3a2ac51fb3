// cuda.cu - the CUDA backend on the GPU of this machine: products beside cuBLAS, the steps of a training step, SSFT, decoding, GFPO.
//
//     make cuda-bench            or: make cuda-bench ONLY="products train"
//
// Shares are of what this card was measured to do: multiply-adds with all operands in registers, by kind of product, and copying.
// cuBLAS is looked for at run time (libcublas.so); where it is not there its columns are empty. Times are the best of several.
#define FORKREASON_IMPLEMENTATION
#define FORKREASON_CUDA_IMPLEMENTATION
#include "../forkreason.h"
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <functional>
#include <time.h>
#include <vector>
#ifdef __CUDACC__
#define FR__LAUNCH(kernel, grid, threads, shared, stream, arguments) kernel<<<grid, threads, shared, stream>>> arguments
enum { SMALL = 0 };
#else
enum { SMALL = 1 };  // under tests/cuda_host/emulation.h, to see that it runs: what it prints then are no figures
#endif

enum { KINDS = 3, FORKS = 6, TRACES = 4 };
static const fr_cuda_math kinds[KINDS] = { FR_CUDA_FLOAT32, FR_CUDA_TF32, FR_CUDA_BFLOAT16 };
static const char *const kind_names[KINDS] = { "float32", "TF32", "bfloat16" };
static fr_cuda *cuda[KINDS];
static double peak[KINDS], bandwidth;  // FLOP/s, bytes/s

static void fail(const char *what)
{
  fprintf(stderr, "bench: %s\n", what);
  exit(1);
}
static void need(fr_status status, const fr_work *work) { if (status) fail(work ? work->reason.text : fr_status_text(status)); }
static void need(cudaError_t error) { if (error != cudaSuccess) fail(cudaGetErrorString(error)); }
static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
// Seconds of one call, best of five times `each`, after one to warm up; the device has finished when a time is taken.
static double best(cudaStream_t stream, int each, const std::function<void()> &work)
{
  double least = 1e30;
  if (SMALL) each = 1;
  work();
  for (int i = 0; i < (SMALL ? 1 : 5); i++) {
    need(cudaStreamSynchronize(stream));
    const double began = now();
    for (int j = 0; j < each; j++) work();
    need(cudaStreamSynchronize(stream));
    least = fmin(least, (now() - began) / each);
  }
  return least;
}
static uint64_t hash(uint64_t i)
{
  uint64_t z = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}
static float *numbers(fr_int count, cudaStream_t stream)
{
  std::vector<float> host((size_t)count);
  float *device = NULL;
  for (fr_int i = 0; i < count; i++) host[(size_t)i] = (float)((double)(hash((uint64_t)i) >> 11) / 4503599627370496.0 - 1.0);
  need(cudaMalloc(&device, (size_t)count * sizeof(float)));
  need(cudaMemcpyAsync(device, host.data(), (size_t)count * sizeof(float), cudaMemcpyHostToDevice, stream));
  need(cudaStreamSynchronize(stream));
  return device;
}

// ---- what the card can do
template <int KIND> __global__ static void __launch_bounds__(256) peak_kernel(float *out, int rounds)
{
  float d[8][4] = { { 0.0f } };
  const uint32_t word = KIND == 2 ? fr__to_bf16x2(1.0f, 1.0f + (float)threadIdx.x) : fr__to_tf32(1.0f + (float)threadIdx.x);
  const uint32_t a[4] = { word, word, word, word }, b[2] = { word, word };
  const float x = (float)threadIdx.x;
  for (int i = 0; i < rounds; i++)
    for (int j = 0; j < 8; j++) {
      if (KIND == 0) for (int e = 0; e < 4; e++) d[j][e] = fmaf(d[j][e], x, 1.0f);
      else if (KIND == 1) fr__mma_tf32(d[j], a, b);
      else fr__mma_bf16(d[j], a, b);
    }
  float sum = 0.0f;
  for (int j = 0; j < 8; j++) for (int e = 0; e < 4; e++) sum += d[j][e];
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
static void limits_of_the_card(int device)
{
  const cudaStream_t stream = cuda[0]->stream;
  const int rounds = SMALL ? 2 : 4096;
  int multiprocessors = 0, major = 0, minor = 0;
  need(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  need(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  need(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  const int blocks = multiprocessors * (SMALL ? 1 : 8);
  const fr_int floats = SMALL ? 4096 : (fr_int)1 << 26;
  float *out = numbers(SMALL ? 4096 : blocks * 256, stream), *from = NULL, *to = NULL;
  const double warps = blocks * 8.0, per_warp[KINDS] = { 8 * 4 * 32 * 2, 8 * 16 * 8 * 8 * 2, 8 * 16 * 8 * 16 * 2 };
  const double seconds[KINDS] = {
    best(stream, 3, [&] { FR__LAUNCH(peak_kernel<0>, dim3((unsigned)blocks), 256, 0, stream, (out, rounds)); }),
    best(stream, 3, [&] { FR__LAUNCH(peak_kernel<1>, dim3((unsigned)blocks), 256, 0, stream, (out, rounds)); }),
    best(stream, 3, [&] { FR__LAUNCH(peak_kernel<2>, dim3((unsigned)blocks), 256, 0, stream, (out, rounds)); })
  };
  need(cudaMalloc(&from, (size_t)floats * sizeof(float)));
  need(cudaMalloc(&to, (size_t)floats * sizeof(float)));
  need(cudaMemsetAsync(from, 0, (size_t)floats * sizeof(float), stream));
  bandwidth = 2.0 * (double)floats * sizeof(float) / best(stream, 3, [&] {
    need(cudaMemcpyAsync(to, from, (size_t)floats * sizeof(float), cudaMemcpyDeviceToDevice, stream)); });
  printf("compute capability %d.%d, %d multiprocessors; measured: copying %.0f GB/s", major, minor, multiprocessors, 1e-9 * bandwidth);
  for (int k = 0; k < KINDS; k++) {
    peak[k] = warps * per_warp[k] * rounds / seconds[k];
    printf(", %s %.1f TFLOP/s", kind_names[k], 1e-12 * peak[k]);
  }
  printf("\n");
  need(cudaFree(out));
  need(cudaFree(from));
  need(cudaFree(to));
}

// ---- products, as training has them: Y = X W', dX = dY W, dW += dY' X
// cuBLAS by its C interface, with float32 in and out; the kind tells it how it may compute.
typedef int (*blas_create)(void **);
typedef int (*blas_stream)(void *, cudaStream_t);
typedef int (*blas_product)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int, const void *,
                            void *, int, int, int, int);
static void products(void)
{
  static const int shapes[][3] = { { 4096, 4096, 4096 }, { 4096, 1152, 384 }, { 4096, 2048, 384 }, { 4096, 384, 1024 }, { 2048, 4096, 1024 } };
  static const int compute[KINDS] = { 68, 77, 75 };  // CUBLAS_COMPUTE_32F, _32F_FAST_TF32, _32F_FAST_16BF
  static const char *const names[] = { "libcublas.so", "libcublas.so.13", "libcublas.so.12" };
  const char *const ways[] = { "Y = X W'", "dX = dY W", "dW += dY' X" };
  void *library = NULL, *handle = NULL;
  blas_product blas = NULL;
  for (int i = 0; i < 3 && !library && !SMALL; i++) library = dlopen(names[i], RTLD_NOW);
  if (library && !((blas_create)dlsym(library, "cublasCreate_v2"))(&handle)) blas = (blas_product)dlsym(library, "cublasGemmEx");
  printf("\nproducts (rows, out, in)                          ours TFLOP/s  of peak      cuBLAS%s\n", blas ? "" : " (is not there)");
  for (int k = 0; k < KINDS; k++)
    for (const int *s : shapes)
      for (int way = 0; way < 3; way++) {
        const int rows = SMALL ? 33 : s[0], out = SMALL ? 40 : s[1], in = SMALL ? 24 : s[2];
        const int M = way == 2 ? out : rows, N = way == 0 ? out : in, K = way == 0 ? in : way == 1 ? out : rows;
        const cudaStream_t stream = cuda[k]->stream;
        const double flop = 2.0 * M * N * K;
        float *a = numbers((fr_int)M * K, stream), *b = numbers((fr_int)N * K, stream), *y = numbers((fr_int)M * N, stream), *part = NULL;
        fr__cuda_product g = fr__cuda_product();
        g.y = y; g.from = way == 2 ? y : NULL; g.a = a; g.b = b;
        g.ldy = N;
        g.a_row = way == 2 ? 1 : K; g.a_k = way == 2 ? M : 1;
        g.b_row = way == 0 ? K : 1; g.b_k = way == 0 ? 1 : N;
        g.M = M; g.N = N; g.K = K;
        if (way == 2 && M * N <= FR__FEW_OUTPUTS) need(cudaMalloc(&part, (size_t)((K + FR__LONG - 1) / FR__LONG) * (size_t)M * (size_t)N * sizeof(float)));
        g.part = part;
        const double ours = best(stream, 10, [&] { fr__cuda_multiply(cuda[k], g, 0); });
        printf("%-9s %-12s %5d x %4d x %4d  %14.2f %8.0f %%", kind_names[k], ways[way], rows, out, in, 1e-12 * flop / ours, 100.0 * flop / ours / peak[k]);
        if (blas) {  // column by column: y' = b a'
          const float one = 1.0f, add = way == 2 ? 1.0f : 0.0f;
          int failed = ((blas_stream)dlsym(library, "cublasSetStream_v2"))(handle, stream);
          const double theirs = best(stream, 10, [&] {
            failed |= blas(handle, way == 0, way == 2, N, M, K, &one, b, 0, way == 0 ? K : N, a, 0, way == 2 ? M : K, &add, y, 0, N, compute[k], -1); });
          if (failed) printf("   refused");
          else printf(" %10.2f TFLOP/s: %.2f of it", 1e-12 * flop / theirs, theirs / ours);
        }
        printf("\n");
        need(cudaFree(a));
        need(cudaFree(b));
        need(cudaFree(y));
        if (part) need(cudaFree(part));
      }
}

// ---- a training step, and where its time goes: a backend in front of the backend that waits after each step
static double spent[FR__STEPS][3], spent_head;
static int watches, watched;  // watched: the kind
static fr_status watch_step(void *self, fr__pass *pass, const fr__act *list, fr_int count, fr_int *done)
{
  const fr_backend *real = &cuda[watched]->backend;
  if (!watches) return real->step(self, pass, list, count, done);
  need(cudaStreamSynchronize(cuda[watched]->stream));
  const double began = now();
  const fr_status status = real->step(self, pass, list, 1, done);
  need(cudaStreamSynchronize(cuda[watched]->stream));
  spent[list->step][list->way] += now() - began;
  return status;
}
static fr_status watch_head(void *self, fr__pass *pass)
{
  const double began = now();
  const fr_status status = cuda[watched]->backend.head(self, pass);
  need(cudaStreamSynchronize(cuda[watched]->stream));
  spent_head += now() - began;
  return status;
}

typedef struct shape { const char *name; fr_config config; fr_int sequences, length; } shape;
static const shape shapes[] = {
  { "dim 384, 6 layers, 16 x 256 tokens", { 6, 384, 6, 0, 0, 1024, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 16, 256 },
  { "dim 1024, 12 layers, 8 x 1024 tokens", { 12, 1024, 16, 0, 0, 2816, 32000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 8, 1024 }
};
static fr_config config_of(const shape *s)
{
  fr_config c = s->config;
  if (SMALL) { c.layers = 1; c.dim = 32; c.heads = 2; c.ffn = 32; c.vocab = 40; }
  return c;
}
static double weights(const fr_config *c)
{
  return (double)c->layers * (4.0 * (double)c->dim * (double)c->dim + 3.0 * (double)c->dim * (double)c->ffn) + (double)c->dim * (double)c->vocab;
}
static void training(void)
{
  static const char *const names[FR__STEPS] = { "norm", "q k v", "bias", "head norm", "turn", "attention", "out", "norm", "gate, up", "swiglu", "down" };
  printf("\ntraining step (forward, backward, AdamW)                ms    TFLOP/s  of peak   tokens/s\n");
  for (const shape &s : shapes)
    for (int k = 0; k < KINDS; k++) {
      const fr_config c = config_of(&s);
      const fr_int sequences = SMALL ? 2 : s.sequences, length = SMALL ? 9 : s.length, rows = sequences * length;
      fr_backend watch = *fr_cuda_backend(cuda[k]);
      fr_limits limits;
      fr_model model;
      fr_adamw adamw;
      fr_work work;
      fr_tree tree;
      std::vector<fr_token> ids((size_t)rows);
      std::vector<fr_span> spans((size_t)sequences);
      std::vector<fr_target> targets;
      memset(&limits, 0, sizeof limits);
      memset(&tree, 0, sizeof tree);
      watch.step = watch_step;
      watch.head = watch_head;
      watched = k;
      limits.grad_rows = limits.targets = limits.rows = rows;
      limits.spans = limits.leaves = sequences;
      limits.depth = length;
      limits.backend = &watch;
      for (fr_int i = 0; i < rows; i++) ids[(size_t)i] = (fr_token)(hash((uint64_t)i) % (uint64_t)c.vocab);
      for (fr_int q = 0; q < sequences; q++) {
        spans[(size_t)q].parent = -1;
        spans[(size_t)q].tokens.ids = &ids[(size_t)(q * length)];
        spans[(size_t)q].tokens.count = length;
        for (fr_int t = 1; t < length; t++) {
          fr_target target;
          memset(&target, 0, sizeof target);
          target.row = q * length + t - 1;
          target.token = ids[(size_t)(q * length + t)];
          target.weight = 1.0f / (float)(rows - sequences);
          targets.push_back(target);
        }
      }
      tree.spans = spans.data();
      tree.span_count = sequences;
      tree.targets = targets.data();
      tree.target_count = (fr_int)targets.size();
      need(fr_model_new(&model, &c), NULL);
      need(fr_adamw_new(&adamw, &model), NULL);
      need(fr_work_new(&work, &c, &limits), &work);
      fr_model_init(&model, 1);
      need(fr_work_attach(&work, &model, &adamw), &work);
      const auto step = [&] {
        fr_sum sum;
        need(fr_backward(&model, &work, &tree, adamw.grads, &sum, 1), &work);
        need(fr_adamw_step(&adamw, &model, &work, sum.weighted, 1e-4f, NULL), &work);
      };
      const double seconds = best(cuda[k]->stream, 3, step);
      const double flop = (double)rows * (6.0 * weights(&c) + 12.0 * (double)(c.layers * c.dim) * ((double)length + 1.0) / 2.0);
      printf("%-38s %-9s %9.2f %10.2f %6.0f %% %10.0f\n", s.name, kind_names[k], 1e3 * seconds, 1e-12 * flop / seconds,
             100.0 * flop / seconds / peak[k], (double)rows / seconds);
      memset(spent, 0, sizeof spent);
      spent_head = 0.0;
      watches = 1;
      step();
      watches = 0;
      printf("  of it, each waited for, ms (forward, backward, sums):");
      for (int i = 0; i < FR__STEPS; i++)
        if (spent[i][0] > 0.0) printf(" %s %.2f %.2f %.2f;", names[i], 1e3 * spent[i][0], 1e3 * spent[i][1], 1e3 * spent[i][2]);
      printf(" head %.2f\n", 1e3 * spent_head);
      const double pairs = (double)rows * ((double)length + 1.0) / 2.0 * (double)(c.layers * c.dim);
      printf("  attention alone: forward %.2f, backward %.2f TFLOP/s\n", 1e-12 * 4.0 * pairs / spent[FR__ATTEND][0], 1e-12 * 8.0 * pairs / spent[FR__ATTEND][1]);
      fr_work_free(&work);
      fr_cuda_release(cuda[k], NULL, &model);
      fr_adamw_free(&adamw);
      fr_model_free(&model);
    }
}

// ---- SSFT, decoding, GFPO on one problem: 8 questions, 6 forks, 4 traces
static double reward(void *, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  return (double)((question + fork + (leaf->count ? leaf->tokens[0] : 0)) % 2);
}
static void tuning(int ssft, int decode, int gfpo)
{
  for (int which = 0; which < 2; which++)
    for (int k = 0; k < KINDS; k++) {
      const fr_config c = config_of(&shapes[which]);
      const fr_int questions = SMALL ? 1 : 8, prompt = SMALL ? 3 : 128, trace = SMALL ? 4 : 256, most = SMALL ? 2 : 32;
      const int groups[] = { 1, 6, 32 };
      std::vector<fr_token> ids((size_t)(questions * (prompt + TRACES * trace)));
      std::vector<fr_tokens> traces((size_t)(questions * TRACES));
      std::vector<fr_question> q((size_t)questions);
      std::vector<fr_int> fork((size_t)(questions * TRACES));
      std::vector<fr_span> spans(1 + FORKS);
      std::vector<fr_token> text((size_t)(32 * most));
      std::vector<fr_leaf> leaves(32);
      fr_token fork_ids[FORKS];
      fr_tokens forks[FORKS];
      fr_ssft_options o;
      fr_gfpo_options g;
      fr_sampling sampling;
      fr_limits limits, more;
      fr_tree tree;
      fr_model model, writer;
      fr_adamw adamw;
      fr_work work;
      memset(&o, 0, sizeof o);
      memset(&g, 0, sizeof g);
      memset(&sampling, 0, sizeof sampling);
      memset(&tree, 0, sizeof tree);
      memset(q.data(), 0, q.size() * sizeof q[0]);
      for (size_t i = 0; i < ids.size(); i++) ids[i] = (fr_token)(hash(i) % (uint64_t)(c.vocab - FORKS));
      for (int f = 0; f < FORKS; f++) {
        fork_ids[f] = (fr_token)(c.vocab - FORKS + f);
        forks[f].ids = &fork_ids[f];
        forks[f].count = 1;
        spans[(size_t)(1 + f)].parent = 0;
        spans[(size_t)(1 + f)].tokens = forks[f];
      }
      const fr_token *at = ids.data();
      for (fr_int i = 0; i < questions; i++) {
        fr_question *one = &q[(size_t)i];
        one->prompt.ids = at;
        one->prompt.count = prompt;
        at += prompt;
        one->traces = &traces[(size_t)(i * TRACES)];
        one->trace_count = TRACES;
        one->fork = &fork[(size_t)(i * TRACES)];
        one->key = (uint64_t)i;
        for (int j = 0; j < TRACES; j++, at += trace) {
          traces[(size_t)(i * TRACES + j)].ids = at;
          traces[(size_t)(i * TRACES + j)].count = trace;
        }
      }
      spans[0].parent = -1;
      spans[0].tokens = q[0].prompt;
      tree.spans = spans.data();
      tree.span_count = 1 + FORKS;
      sampling.temperature = 1.0f;
      sampling.max_tokens = most;
      o.forks = g.forks = forks;
      o.fork_count = g.fork_count = FORKS;
      o.prefix = SMALL ? 2 : 64;
      g.group = 8;
      g.sampling = sampling;
      g.reward = reward;
      need(fr_ssft_limits(&o, prompt, trace, TRACES, 2, &limits), NULL);
      need(fr_generate_limits(&tree, &sampling, 32, &more), NULL);
      limits = fr_limits_max(limits, more);
      need(fr_gfpo_limits(&g, prompt, questions, &more), NULL);
      limits = fr_limits_max(limits, more);
      limits.backend = fr_cuda_backend(cuda[k]);
      need(fr_model_new(&model, &c), NULL);
      need(fr_model_new(&writer, &c), NULL);
      need(fr_adamw_new(&adamw, &model), NULL);
      need(fr_work_new(&work, &c, &limits), &work);
      fr_model_init(&model, 1);
      fr_model_init(&writer, 2);
      need(fr_work_attach(&work, &model, &adamw), &work);
      need(fr_work_attach(&work, &writer, NULL), &work);
      if (ssft) {
        fr_ssft_report report;
        const double step = best(cuda[k]->stream, 1, [&] {
          need(fr_ssft_step(&model, &work, &adamw, &o, q.data(), questions, 1e-4f, &report), &work); });
        const double match = best(cuda[k]->stream, 1, [&] { need(fr_ssft_match(&model, &work, &o, q.data(), questions), &work); });
        printf("SSFT step, %-38s %-9s %9.2f ms, of it matching %.2f; %.0f tokens/s\n", shapes[which].name, kind_names[k], 1e3 * step,
               1e3 * match, (double)ids.size() / step);
      }
      for (int n = 0; decode && n < 3; n++) {
        for (int i = 0; i < groups[n]; i++) {
          memset(&leaves[(size_t)i], 0, sizeof leaves[0]);
          leaves[(size_t)i].span = 1 + i % FORKS;
          leaves[(size_t)i].leaf = (uint64_t)i;
          leaves[(size_t)i].tokens = &text[(size_t)(i * most)];
        }
        fr_sampling short_one = sampling;
        short_one.max_tokens = 1;  // the prompt, and the first token
        const double whole = best(cuda[k]->stream, 1, [&] { need(fr_generate(&model, &work, &tree, &sampling, leaves.data(), groups[n]), &work); });
        const double begin = best(cuda[k]->stream, 1, [&] { need(fr_generate(&model, &work, &tree, &short_one, leaves.data(), groups[n]), &work); });
        const double token = (whole - begin) / (double)(most - 1);
        printf("decoding %2d leaves, %-31s %-9s %9.3f ms a token each, %.0f tokens/s; weights read at %.0f %% of copying\n", groups[n],
               shapes[which].name, kind_names[k], 1e3 * token, groups[n] / token, 100.0 * 4.0 * weights(&c) / token / (bandwidth / 2.0));
      }
      if (gfpo) {
        fr_rollouts rollouts;
        fr_gfpo_report report;
        fr_policy policy;
        memset(&policy, 0, sizeof policy);
        policy.model = &model;
        policy.adamw = &adamw;
        policy.start = &writer;
        need(fr_rollouts_new(&rollouts, &g, questions), NULL);
        const double step = best(cuda[k]->stream, 1, [&] {
          need(fr_gfpo_step(&policy, &writer, &work, &g, q.data(), questions, &rollouts, 1e-4f, &report), &work); });
        printf("GFPO step, %-38s %-9s %9.2f ms: %d x 8 rollouts of %d tokens\n", shapes[which].name, kind_names[k], 1e3 * step,
               (int)questions, (int)most);
        fr_rollouts_free(&rollouts);
      }
      fr_work_free(&work);
      fr_cuda_release(cuda[k], NULL, &model);
      fr_cuda_release(cuda[k], NULL, &writer);
      fr_adamw_free(&adamw);
      fr_model_free(&model);
      fr_model_free(&writer);
    }
}

int main(int count, char **names)
{
  const auto wanted = [&](const char *name) {
    for (int i = 1; i < count; i++) if (!strcmp(names[i], name)) return 1;
    return count == 1 ? 1 : 0;
  };
  for (int k = 0; k < KINDS; k++) {
    fr_reason reason;
    if (fr_cuda_open(&cuda[k], 0, kinds[k], &reason) == FR_OK) continue;
    printf("nothing was measured: %s\n", reason.text);
    return 77;
  }
  limits_of_the_card(0);
  if (wanted("products")) products();
  if (wanted("train")) training();
  printf("\n");
  if (wanted("ssft") || wanted("decode") || wanted("gfpo")) tuning(wanted("ssft"), wanted("decode"), wanted("gfpo"));
  for (int k = 0; k < KINDS; k++) fr_cuda_close(cuda[k]);
  return 0;
}
