// The CUDA unit on a device, if there is one: what tests/backend.h checks of every backend, in all kinds of math, and the same bits
// from run to run. Where there is none, open has to say so, and this ends as skipped. `make cuda-test`
#define FORKREASON_CUDA
#define FORKREASON_IMPLEMENTATION
#include "../../forkreason.h"
#include "../backend.h"

static fr_cuda *device;
static fr_cuda_math math;
static fr_reason reason;

static void open_device(void)
{
  if (fr_cuda_open(&device, 0, math, &reason) != FR_OK) { fprintf(stderr, "%s\n", reason.text); exit(2); }
  checked.backend = fr_cuda_backend(device);
}
static fr_int device_end(void)
{
  fr_cuda_close(device);
  open_device();
  return 0;
}

// Two runs of the same steps from the same parameters
static void repeats(void)
{
  static tiny t;
  const fr_config config = tiny_config(2, 64);
  void *memory;
  float *trained[2];
  fr_model like = fixture_model(&config, &memory);
  fr_model_init(&like, 3);
  tiny_fill(&t, 1);
  for (int run = 0; run < 2; run++) {
    fr_ssft_report report;
    side s = side_of(&config, tiny_limits(&t, TINY_QUESTIONS, 4, 1), 1, &like, 0);
    for (int step = 0; step < 5; step++)
      CHECK(fr_ssft_step(&s.model, &s.work, &s.adamw, &t.options, t.questions, TINY_QUESTIONS, 1e-2f, &report) == FR_OK);
    CHECK(fr_work_download(&s.work, &s.model, &s.adamw) == FR_OK);
    trained[run] = (float *)test_alloc((size_t)s.model.count * sizeof(float));
    memcpy(trained[run], s.model.params, (size_t)s.model.count * sizeof(float));
    side_end(&s);
    device_end();
  }
  CHECK(same_bits(trained[0], trained[1], like.count, 4) && relative(trained[0], like.params, like.count) > 1e-3);
  free(trained[0]); free(trained[1]); free(memory);
}

int main(void)
{
  static const char *const plain[] = { "llama_a", "qwen2_a", "qwen3_a" };
  static const char *const names[] = { "float32", "TF32", "bfloat16", "plain float32" };
  static const double factors[] = { 0.0, 4.8828125e-4, 3.90625e-3, 0.0 };  // 2^-11, 2^-8
  if (fr_cuda_open(&device, 0, FR_CUDA_FLOAT32, &reason) == FR_UNSUPPORTED) {
    printf("skipped: %s\n", reason.text);
    return 77;
  }
  fr_cuda_close(device);
  checked.end = device_end;
  checked.floats = 1;
  for (int k = 0; k < 4; k++) {
    math = (fr_cuda_math)k;
    checked.factors = factors[k];
    open_device();
    for (int i = 0; i < 3; i++) {
      whole_model(plain[i]);
      device_end();
    }
    set_loss_and_choice("llama_ssft");
    device_end();
    set_loss_and_choice("qwen3_ssft");
    device_end();
    for (int which = 0; which < FIXTURE_CONFIGS && !(factors[k] > 0.0); which++) against_cpu(which);
    if (!(factors[k] > 0.0)) training();
    repeats();
    fr_cuda_close(device);
    printf("%s: %ld checks so far\n", names[k], test_checks);
  }
  return test_done("cuda device");
}
