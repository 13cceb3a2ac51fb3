// A second backend, tests/twin.h, through the public interface: what tests/backend.h checks of every backend, what is refused while
// parameters are on the device, and failures of the device.
#include "twin.h"
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "backend.h"

static twin device;
static fr_int device_end(void) { return twin_end(&device); }

// ---- the device fails at its n-th call: the status comes through, and nothing is held that is not a model's or a workspace's
static void failures(void)
{
  static tiny t;
  const fr_config config = tiny_config(1, 8);
  fr_int passed = 0;
  void *memory;
  fr_model like = fixture_model(&config, &memory);
  fr_model_init(&like, 4);
  tiny_fill(&t, 1);
  for (fr_int n = 1; !passed && n < 200; n++) {
    fr_adamw adamw;
    fr_work work;
    fr_limits limits = tiny_limits(&t, 2, 4, 1);
    fr_ssft_report report;
    fr_status status;
    limits.backend = &device.backend;
    twin_begin(&device);
    device.fail_at = n;
    status = fr_work_new(&work, &config, &limits);
    CHECK(status == (n == 1 ? FR_IO : FR_OK) && (n > 1 || (!work.body && !work.owned)));
    if (n == 1) { CHECK(twin_end(&device) == 0); continue; }
    CHECK(fr_adamw_new(&adamw, &like) == FR_OK);
    status = fr_work_attach(&work, &like, &adamw);
    CHECK(status == (n == 2 ? FR_IO : FR_OK));
    if (!status) {
      t.options.prefix = 1;
      status = fr_ssft_step(&like, &work, &adamw, &t.options, t.questions, 2, 1e-2f, &report);
      if (!status) status = fr_work_download(&work, &like, &adamw);
      passed = !status;
      CHECK(passed ? device.calls < n : status == FR_IO && strstr(work.reason.text, "gone"));
    }
    fr_adamw_free(&adamw);
    fr_work_free(&work);
    like.stale = 0;
    CHECK(twin_end(&device) == 0);
  }
  CHECK(passed);
  free(memory);
}

// ---- a step that the device fails is not counted; gradients that are not those of the attached optimiser are refused
static void refusals(void)
{
  static tiny t;
  const fr_config config = tiny_config(1, 8);
  fr_adamw adamw, other;
  fr_ssft_total total;
  void *memory, *own;
  fr_model model = fixture_model(&config, &memory);
  tiny_fill(&t, 1);
  twin_begin(&device);
  fr_work work = on_device(&config, tiny_limits(&t, 2, 4, 1), &own);
  fr_model_init(&model, 4);
  CHECK(fr_adamw_new(&adamw, &model) == FR_OK && fr_adamw_new(&other, &model) == FR_OK);
  CHECK(fr_work_attach(&work, &model, &adamw) == FR_OK);
  device.fail_at = device.calls + 2;  // the norm, then the update
  CHECK(fr_adamw_step(&adamw, &model, &work, 1.0, 1e-2f, NULL) == FR_IO && strstr(work.reason.text, "gone"));
  CHECK(adamw.step == 0 && !model.stale);
  CHECK(fr_adamw_step(&adamw, &model, &work, 1.0, 1e-2f, NULL) == FR_OK && adamw.step == 1 && model.stale);
  CHECK(fr_work_attach(&work, &model, &adamw) == FR_INVALID && strstr(work.reason.text, "newer parameters") && model.stale);
  device.fail_at = device.calls + 2;
  CHECK(fr_adamw_step(&adamw, &model, &work, 1.0, 1e-2f, NULL) == FR_IO && adamw.step == 1 && model.stale);
  CHECK(fr_adamw_step(&other, &model, &work, 1.0, 1e-2f, NULL) == FR_INVALID && strstr(work.reason.text, "are not those of"));
  CHECK(other.step == 0 && fr_work_download(&work, &model, &other) == FR_INVALID && model.stale);
  CHECK(fr_ssft_match(&model, &work, &t.options, t.questions, 2) == FR_OK);
  CHECK(fr_ssft_count(&t.options, t.questions, 2, &total) == FR_OK);
  for (int mine = 0; mine < 2; mine++) {
    const fr_status status = fr_ssft_backward(&model, &work, &t.options, t.questions, 2, total, (mine ? adamw : other).grads, NULL);
    CHECK(status == (mine ? FR_OK : FR_INVALID) && (mine || strstr(work.reason.text, "are not those of")));
    CHECK(fr_work_download(&work, &model, &adamw) == FR_OK && (norm_of(adamw.grads, adamw.count) > 0.0) == mine);
  }
  fr_adamw_free(&adamw);
  fr_adamw_free(&other);
  free(memory); free(own);
  CHECK(twin_end(&device) == 0);
}

int main(void)
{
  static const char *const plain[] = { "llama_a", "qwen2_a", "qwen3_a" };
  twin_begin(&device);
  checked.backend = &device.backend;
  checked.end = device_end;
  for (int i = 0; i < 3; i++) {
    whole_model(plain[i]);
    CHECK(twin_end(&device) == 0);  // what comes next may lie at the same address
  }
  set_loss_and_choice("llama_ssft");
  CHECK(twin_end(&device) == 0);
  set_loss_and_choice("qwen3_ssft");
  CHECK(twin_end(&device) == 0);
  for (int which = 0; which < FIXTURE_CONFIGS; which++) against_cpu(which);
  training();
  failures();
  refusals();
  return test_done("backend");
}
