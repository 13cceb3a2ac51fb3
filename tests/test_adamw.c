// AdamW against PyTorch's trajectories; steps that must be skipped; the schedules.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"
#include "store.h"

static fr_config small_config(void)
{
  fr_config c;
  memset(&c, 0, sizeof c);
  c.layers = 1; c.dim = 6; c.heads = 1; c.ffn = 7; c.vocab = 9;
  return c;
}

typedef struct setup {
  fr_model model;
  fr_work work;
  fr_adamw adamw;
  void *memory[3];
} setup;

static void make(setup *s, fr_int tasks)
{
  const fr_config config = small_config();
  fr_limits limits;
  fr_int bytes = 0;
  memset(&limits, 0, sizeof limits);
  limits.tasks = tasks;
  s->model = fixture_model(&config, &s->memory[0]);
  s->work = fixture_work(&config, &limits, &s->memory[1]);
  CHECK(fr_adamw_place(NULL, &s->model, NULL, 0, &bytes) == FR_OK && bytes >= 3 * 4 * s->model.count);
  s->memory[2] = test_alloc((size_t)bytes);
  memset(s->memory[2], 0x5a, (size_t)bytes);
  memset(&s->adamw, 0x5a, sizeof s->adamw);
  CHECK(fr_adamw_place(&s->adamw, &s->model, s->memory[2], bytes - 1, NULL) == FR_MEMORY);
  CHECK(fr_adamw_place(&s->adamw, &s->model, s->memory[2], bytes, NULL) == FR_OK);
}

static void unmake(setup *s) { for (int i = 0; i < 3; i++) free(s->memory[i]); }

// The references' w (7,5; decayed), b (5) and n (3) are put into a decayed matrix, the embedding and a gain.
static const char *const parts[3] = { "w", "b", "n" };
static const char *const homes[3] = { "w_gate_up", "tok_emb", "norm_final" };

static void trajectory(const store *s, const char *name, const char *kernel, fr_int tasks)
{
  setup t;
  float *start, decayed = 1.0f;
  char prefix[64], entry[64];
  make(&t, tasks);
  if (fr_work_select(&t.work, kernel) != FR_OK) { unmake(&t); return; }
  snprintf(prefix, sizeof prefix, "%s/", name);
  t.adamw.beta1 = (float)store_scalar(s, prefix, "beta1");
  t.adamw.beta2 = (float)store_scalar(s, prefix, "beta2");
  t.adamw.eps = (float)store_scalar(s, prefix, "eps");
  t.adamw.decay = (float)store_scalar(s, prefix, "weight_decay/w");
  t.adamw.clip = (float)store_scalar(s, prefix, "clip");
  fixture_randomise(&t.model);
  for (int p = 0; p < 3; p++) {
    const store_entry *e;
    snprintf(entry, sizeof entry, "param0/%s", parts[p]);
    e = store_get(s, prefix, entry);
    for (fr_int i = 0; i < e->count; i++)
      t.model.params[fixture_tensor(&t.model, homes[p]).offset + i] = (float)store_at(s, e, i);
  }
  start = (float *)test_alloc((size_t)t.model.count * sizeof(float));
  memcpy(start, t.model.params, (size_t)t.model.count * sizeof(float));
  for (int step = 1; step <= 10; step++) {
    const float lr = (float)store_at(s, store_get(s, prefix, "lr"), step - 1);
    double norm = 0.0, want_norm;
    for (fr_int i = 0; i < t.adamw.count; i++)
      CHECK(t.adamw.grads[i] == 0.0f);  // cleared by place and by every step
    for (int p = 0; p < 3; p++) {
      const store_entry *e;
      snprintf(entry, sizeof entry, "grad%d/%s", step, parts[p]);
      e = store_get(s, prefix, entry);
      for (fr_int i = 0; i < e->count; i++)
        t.adamw.grads[fixture_tensor(&t.model, homes[p]).offset + i] = (float)store_at(s, e, i);
    }
    CHECK(fr_adamw_step(&t.adamw, &t.model, &t.work, 1.0, lr, &norm) == FR_OK);
    snprintf(entry, sizeof entry, "gradnorm%d", step);
    want_norm = store_scalar(s, prefix, entry);
    CHECK_BELOW(fabs(norm - want_norm), 1e-12 * want_norm);
    decayed *= 1.0f - lr * t.adamw.decay;
    for (int p = 0; p < 3; p++) {
      const store_entry *e;
      const fr_tensor home = fixture_tensor(&t.model, homes[p]);
      snprintf(entry, sizeof entry, "param%d/%s", step, parts[p]);
      e = store_get(s, prefix, entry);
      for (fr_int i = 0; i < e->count; i++) {
        const double want = store_at(s, e, i);
        CHECK_BELOW(fabs((double)t.model.params[home.offset + i] - want), 1e-6 * (fabs(want) + 0.1));
      }
      // What had no gradient decays if it is marked so, and otherwise stays as it was to the last bit.
      for (fr_int i = e->count; i < home.rows * home.cols; i++) {
        const double now = (double)t.model.params[home.offset + i], was = (double)start[home.offset + i];
        if (p == 0) CHECK_BELOW(fabs(now - was * (double)decayed), 2e-6 * fabs(was)); else CHECK(now == was);
      }
    }
  }
  CHECK(t.adamw.step == 10 && t.adamw.skipped == 0);
  for (int p = 0; p < 3; p++)
    for (int moment = 0; moment < 2; moment++) {
      // Relative to 1 - beta2 = .001, beta2 as a float is off by 1.3e-5, and so is every v; the update divides it out.
      const double tolerance = moment ? 3e-5 : 2e-6;
      const store_entry *e;
      snprintf(entry, sizeof entry, "%c_final/%s", moment ? 'v' : 'm', parts[p]);
      e = store_get(s, prefix, entry);
      for (fr_int i = 0; i < e->count; i++) {
        const double want = store_at(s, e, i);
        const float *ours = moment ? t.adamw.v : t.adamw.m;
        CHECK_BELOW(fabs((double)ours[fixture_tensor(&t.model, homes[p]).offset + i] - want),
                    tolerance * (fabs(want) + (moment ? 1e-3 : 1e-2)));
      }
    }
  free(start);
  unmake(&t);
}

// ---- which tensors decay: matrices, but not the embedding, gains and biases
static void flags(void)
{
  fr_config config = small_config();
  fr_model model;
  fr_tensor t;
  void *memory;
  config.qkv_bias = config.qk_norm = 1;
  model = fixture_model(&config, &memory);
  for (fr_int i = 0; fr_model_tensor(&model, i, &t) == FR_OK; i++)
    CHECK(t.decays == (t.name[0] == 'w' || !strcmp(t.name, "head")));
  free(memory);
}

// ---- skipped steps
static void skips(void)
{
  setup t;
  float *params, *m, *v;
  double norm;
  size_t bytes;
  make(&t, 1);
  // Casts, because a constant may be kept in more precision than a float.
  CHECK(t.adamw.beta1 == (float).9 && t.adamw.beta2 == (float).98 && t.adamw.eps == (float)1e-8);
  CHECK(t.adamw.decay == (float).01 && t.adamw.clip == 1.0f);
  CHECK(t.adamw.count == t.model.count && t.adamw.step == 0 && t.adamw.skipped == 0);
  fixture_randomise(&t.model);
  bytes = (size_t)t.model.count * sizeof(float);
  params = (float *)test_alloc(bytes);
  m = (float *)test_alloc(bytes);
  v = (float *)test_alloc(bytes);
  for (fr_int i = 0; i < t.adamw.count; i++) t.adamw.grads[i] = (float)test_normal();
  CHECK(fr_adamw_step(&t.adamw, &t.model, &t.work, 1.0, 0.01f, NULL) == FR_OK);
  memcpy(params, t.model.params, bytes);
  memcpy(m, t.adamw.m, bytes);
  memcpy(v, t.adamw.v, bytes);
  for (int kind = 0; kind < 6; kind++) {
    static const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF };
    double loss = 1.0;
    for (fr_int i = 0; i < t.adamw.count; i++) t.adamw.grads[i] = (float)test_normal();
    if (kind < 3) loss = (double)bad[kind];
    else t.adamw.grads[kind == 3 ? 0 : kind == 4 ? t.adamw.count - 1 : 17] = bad[kind - 3];
    CHECK(fr_adamw_step(&t.adamw, &t.model, &t.work, loss, 0.01f, &norm) == FR_NONFINITE);
    CHECK(t.adamw.step == 1 && t.adamw.skipped == kind + 1);
    CHECK(!memcmp(params, t.model.params, bytes) && !memcmp(m, t.adamw.m, bytes) &&
          !memcmp(v, t.adamw.v, bytes));
    for (fr_int i = 0; i < t.adamw.count; i++) CHECK(t.adamw.grads[i] == 0.0f);
  }
  // Norms are summed in double: these squares would overflow a float, but the step is a good one and is clipped.
  for (fr_int i = 0; i < t.adamw.count; i++) t.adamw.grads[i] = 1e25f;
  CHECK(fr_adamw_step(&t.adamw, &t.model, &t.work, 1.0, 0.01f, &norm) == FR_OK);
  CHECK_BELOW(fabs(norm / (1e25 * sqrt((double)t.adamw.count)) - 1.0), 1e-6);
  CHECK(t.adamw.step == 2);
  for (fr_int i = 0; i < t.adamw.count; i++) {
    const double expected = 0.9 * (double)m[i] +
                            0.1 / sqrt((double)t.adamw.count);  // each clipped gradient is 1/sqrt(n)
    CHECK_BELOW(fabs((double)t.adamw.m[i] - expected), 1e-6);
    CHECK(isfinite(t.model.params[i]));
  }
  // A zero gradient moves nothing but the decayed tensors, also at the very first step.
  free(params); free(m); free(v);
  unmake(&t);
  make(&t, 1);
  fixture_randomise(&t.model);
  params = (float *)test_alloc(bytes);
  memcpy(params, t.model.params, bytes);
  CHECK(fr_adamw_step(&t.adamw, &t.model, &t.work, 0.0, 0.5f, &norm) == FR_OK && norm == 0.0);
  {
    fr_tensor tensor;
    for (fr_int i = 0; fr_model_tensor(&t.model, i, &tensor) == FR_OK; i++)
      for (fr_int j = tensor.offset; j < tensor.offset + tensor.copies * tensor.rows * tensor.cols; j++)
        CHECK_BELOW(fabsf(t.model.params[j] - params[j] * (tensor.decays ? 0.995f : 1.0f)),
                    tensor.decays ? 2e-7f * fabsf(params[j]) : 0.0f);
  }
  free(params);
  unmake(&t);
}

// ---- schedules
static void schedules(void)
{
  const double pi = 3.14159265358979323846;
  float step_up = fr_schedule_cosine(1, 20, 200, 0.1f) - fr_schedule_cosine(0, 20, 200, 0.1f);
  CHECK(fr_schedule_cosine(0, 20, 200, 0.1f) > 0.0f);  // a first step of nothing would be a wasted one
  CHECK(fr_schedule_cosine(20, 20, 200, 0.1f) == 1.0f && fr_schedule_stable(20, 20, 100, 200, 0.1f) == 1.0f);
  for (int64_t s = 0; s < 19; s++) {
    CHECK_BELOW(
        fabsf(fr_schedule_cosine(s + 1, 20, 200, 0.1f) - fr_schedule_cosine(s, 20, 200, 0.1f) - step_up),
        1e-6f);
    CHECK(fr_schedule_cosine(s, 20, 200, 0.1f) < 1.0f);
    CHECK(fr_schedule_stable(s, 20, 100, 200, 0.1f) == fr_schedule_cosine(s, 20, 200, 0.1f));
  }
  for (int64_t s = 20; s < 200; s++) {
    const double part = (double)(s - 20) / 179.0;
    CHECK_BELOW(
        fabs((double)fr_schedule_cosine(s, 20, 200, 0.1f) - (0.1 + 0.9 * 0.5 * (1.0 + cos(pi * part)))),
        0.01);
    CHECK(s == 20 || fr_schedule_cosine(s, 20, 200, 0.1f) <= fr_schedule_cosine(s - 1, 20, 200, 0.1f));
    if (s < 100) CHECK(fr_schedule_stable(s, 20, 100, 200, 0.1f) == 1.0f);
    else CHECK(fr_schedule_stable(s, 20, 100, 200, 0.1f) <= fr_schedule_stable(s - 1, 20, 100, 200, 0.1f));
    if (s > 102 && s < 199)
      CHECK_BELOW(fabsf(2.0f * fr_schedule_stable(s, 20, 100, 200, 0.1f) -
                        fr_schedule_stable(s - 1, 20, 100, 200, 0.1f) -
                        fr_schedule_stable(s + 1, 20, 100, 200, 0.1f)),
                  1e-6f);
  }
  CHECK_BELOW(fabsf(fr_schedule_cosine(199, 20, 200, 0.1f) - 0.1f), 1e-6f);
  CHECK_BELOW(fabsf(fr_schedule_stable(199, 20, 100, 200, 0.1f) - 0.1f), 1e-6f);
  CHECK(fr_schedule_cosine(0, 0, 200, 0.1f) == 1.0f && fr_schedule_stable(0, 0, 100, 200, 0.1f) == 1.0f);
  for (int64_t total = 0; total < 4; total++)  // edges: finite and within 0 .. 1
    for (int64_t s = 0; s < 6; s++)
      for (int64_t warmup = 0; warmup < 4; warmup++) {
        const float a = fr_schedule_cosine(s, warmup, total, 0.1f),
                    b = fr_schedule_stable(s, warmup, 2, total, 0.1f);
        CHECK(a >= 0.0f && a <= 1.0f && b >= 0.0f && b <= 1.0f);
      }
}

int main(void)
{
  static const char *const runs[] = { "main", "small_grads_no_clip_active", "mixed_clip_lr_schedule",
                                      "no_clip" };
  store s = store_open("tests/data/model/adamw/adamw");
  for (int r = 0; r < 4; r++)
    for (int k = 0; k < FIXTURE_KERNELS; k++)
      for (fr_int tasks = 1; tasks <= 3; tasks += 2) trajectory(&s, runs[r], fixture_kernels[k], tasks);
  store_close(&s);
  flags();
  skips();
  schedules();
  return test_done("adamw");
}
