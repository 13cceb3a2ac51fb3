// The convenience layer when memory runs out: the n-th allocation fails, for every n; then all from the n-th on. Each
// call says FR_MEMORY, its object is zeroed and may be freed, others live on, nothing leaks, and no block is overrun.
#include <stddef.h>
static void *counted_malloc(size_t bytes);
static void counted_free(void *memory);
#define FR_MALLOC(bytes) counted_malloc(bytes)
#define FR_FREE(memory) counted_free(memory)
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/test.h"
#include "tests/tiny.h"

// ---- an allocator that counts, fails on demand and puts a guard zone on both sides
enum { GUARD = 64, GUARD_BYTE = 0xD1, LIVE = 64 };
static long calls, fail_first, fail_last, refusals, live_count;
static struct { unsigned char *start; size_t bytes; } live[LIVE];

static void *counted_malloc(size_t bytes)
{
  const long number = calls++;
  if (number >= fail_first && number <= fail_last) { refusals++; return NULL; }
  unsigned char *start = (unsigned char *)test_alloc(bytes + 2 * GUARD);
  memset(start, GUARD_BYTE, GUARD);
  memset(start + GUARD, 0x66, bytes);
  memset(start + GUARD + bytes, GUARD_BYTE, GUARD);
  for (int i = 0; i < LIVE; i++)
    if (!live[i].start) {
      live[i].start = start;
      live[i].bytes = bytes;
      live_count++;
      return start + GUARD;
    }
  test_check(0, "more blocks at once than this test knows", __FILE__, __LINE__);
  return NULL;
}

static void counted_free(void *memory)
{
  for (int i = 0; i < LIVE; i++)
    if (live[i].start && live[i].start + GUARD == memory) {
      int whole = 1;
      for (size_t g = 0; g < GUARD; g++)
        whole &= live[i].start[g] == GUARD_BYTE && live[i].start[GUARD + live[i].bytes + g] == GUARD_BYTE;
      CHECK(whole);
      free(live[i].start);
      live[i].start = NULL;
      live_count--;
      return;
    }
  test_check(0, "freed what was never given, or twice", __FILE__, __LINE__);
}

static int zeroed(const void *object, size_t bytes)
{
  const unsigned char *p = (const unsigned char *)object;
  for (size_t i = 0; i < bytes; i++)
    if (p[i]) return 0;
  return 1;
}

// FR_MEMORY if and only if the allocator refused during the call.
static fr_status expect(fr_status got, long refused_before, int line)
{
  char text[120];
  snprintf(text, sizeof text, "line %d: \"%.60s\" with %ld refusals", line, fr_status_text(got), refusals - refused_before);
  test_check(got == (refusals > refused_before ? FR_MEMORY : FR_OK), text, __FILE__, line);
  return got;
}
#define EXPECT(call) (refused = refusals, expect((call), refused, __LINE__))

static const char rows[] =
  "{\"question\": \"1+1\", \"answer\": \"2\", \"traces\": [{\"text\": \"two\", \"answer\": \"2\", \"source\": \"A\"}, \"2\"]}\n"
  "{\"question\": \"1+2\", \"traces\": [\"three\"]}\n";

static double reward(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user; (void)leaf;
  return (double)((question + fork) % 2);
}

// ---- a life that uses every allocating function, and goes on as far as it can
static long life(void)
{
  const fr_config config = tiny_config(1, 24);
  fr_config bigger = config;
  fr_model model, grown;
  fr_adamw adamw;
  fr_work work;
  fr_dataset written, loaded;
  fr_diagnosis diagnosis;
  const fr_diagnosis_options seen = { TINY_FORKS, TINY_TRACES, 0, 0, 0 };
  fr_chooser chooser;
  fr_rollouts rollouts;
  fr_policy policy;
  fr_gfpo_options choice;
  fr_reason reason;
  tiny t;
  long refused = 0, steps = 0;
  bigger.vocab += 5;
  tiny_fill(&t, 0);
  fr_limits limits = tiny_limits(&t, 3, 4, 2), choosing;
  memset(&choice, 0, sizeof choice);
  choice.forks = t.forks;
  choice.fork_count = TINY_FORKS;
  choice.group = 4;
  choice.sampling.max_tokens = 2;
  choice.reward = reward;
  CHECK(fr_gfpo_limits(&choice, TINY_PROMPT, 2, &choosing) == FR_OK);
  limits = fr_limits_max(limits, choosing);
  memset(&chooser, 0x66, sizeof chooser);
  memset(&rollouts, 0x66, sizeof rollouts);
  memset(&model, 0x66, sizeof model);
  memset(&grown, 0x66, sizeof grown);
  memset(&adamw, 0x66, sizeof adamw);
  memset(&work, 0x66, sizeof work);
  memset(&written, 0x66, sizeof written);
  memset(&loaded, 0x66, sizeof loaded);
  memset(&diagnosis, 0x66, sizeof diagnosis);

  const int has_model = EXPECT(fr_model_new(&model, &config)) == FR_OK;
  if (!has_model) CHECK(zeroed(&model, sizeof model));
  else fr_model_init(&model, 1);
  const int has_grown = EXPECT(fr_model_new(&grown, &bigger)) == FR_OK;
  if (!has_grown) CHECK(zeroed(&grown, sizeof grown));
  if (has_model && has_grown) CHECK(fr_model_append_rows(&grown, &model) == FR_OK);
  int has_adamw = 0;
  if (has_model) {
    has_adamw = EXPECT(fr_adamw_new(&adamw, &model)) == FR_OK;
    if (!has_adamw) CHECK(zeroed(&adamw, sizeof adamw));
  } else {  // an optimiser for a model that is not there
    CHECK(fr_adamw_new(&adamw, &model) != FR_OK && zeroed(&adamw, sizeof adamw));
  }
  int has_chooser = 0;
  if (has_model) has_chooser = EXPECT(fr_chooser_new(&chooser, &model, TINY_FORKS, 2)) == FR_OK;
  else CHECK(fr_chooser_new(&chooser, &model, TINY_FORKS, 2) != FR_OK);
  if (!has_chooser) CHECK(zeroed(&chooser, sizeof chooser));
  const int has_rollouts = EXPECT(fr_rollouts_new(&rollouts, &choice, 2)) == FR_OK;
  if (!has_rollouts) CHECK(zeroed(&rollouts, sizeof rollouts));
  const int has_work = EXPECT(fr_work_new(&work, &config, &limits)) == FR_OK;
  if (!has_work) {
    CHECK(work.reason.text[0] && memchr(work.reason.text, 0, sizeof work.reason.text));
    memset(&work.reason, 0, sizeof work.reason);
    CHECK(zeroed(&work, sizeof work));
  }

  reason.text[0] = 0;
  if (EXPECT(fr_diagnosis_new(&diagnosis, &seen, &reason)) == FR_OK) CHECK(fr_diagnosis_note(&diagnosis, 1, 2, 3, NULL) == FR_OK);
  else CHECK(zeroed(&diagnosis, sizeof diagnosis) && reason.text[0]);
  reason.text[0] = 0;
  if (EXPECT(fr_dataset_new(&written, rows, (fr_int)sizeof rows - 1, &reason)) == FR_OK)
    CHECK(written.problem_count == 2 && written.trace_count == 3);
  else CHECK(zeroed(&written, sizeof written) && reason.text[0]);
  reason.text[0] = 0;
  if (EXPECT(fr_dataset_load(&loaded, "tests/data/jsonl/ok.jsonl", &reason)) == FR_OK) CHECK(loaded.problem_count > 0);
  else CHECK(zeroed(&loaded, sizeof loaded) && reason.text[0]);

  // What is missing is refused by the calls that need it; with everything there, it trains.
  for (int step = 0; step < 2; step++) {
    fr_ssft_report report;
    const long before = calls;
    const fr_status status = fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, TINY_QUESTIONS, 1e-3f, &report);
    CHECK((status == FR_OK) == (has_model && has_adamw && has_work));
    policy.model = &model;
    policy.chooser = step ? &chooser : NULL;
    policy.adamw = &adamw;
    policy.start = NULL;
    CHECK((fr_gfpo_step(&policy, &model, &work, &choice, t.questions, 2, &rollouts, 1e-3f, NULL) == FR_OK) ==
          (has_model && has_work && has_rollouts && (step ? has_chooser : has_adamw)));
    CHECK(calls == before);  // nothing allocates while it works
    steps += status == FR_OK;
  }

  for (int twice = 0; twice < 2; twice++) {
    fr_rollouts_free(&rollouts);
    fr_diagnosis_free(&diagnosis);
    fr_chooser_free(&chooser);
    fr_dataset_free(&loaded);
    fr_dataset_free(&written);
    fr_work_free(&work);
    fr_adamw_free(&adamw);
    fr_model_free(&grown);
    fr_model_free(&model);
  }
  CHECK(zeroed(&model, sizeof model) && zeroed(&adamw, sizeof adamw) && zeroed(&work, sizeof work));
  CHECK(live_count == 0);
  return steps;
}

static void sweep(long first, long last)
{
  calls = refusals = 0;
  fail_first = first;
  fail_last = last;
  life();
}

int main(void)
{
  fail_first = fail_last = -1;
  CHECK(life() == 2);
  const long all = calls;
  CHECK(all >= 7 && refusals == 0);
  for (long n = 0; n < all; n++) {
    sweep(n, n);
    CHECK(refusals == 1);
    sweep(n, all * 100);
    CHECK(refusals >= 1);
  }

  // Configs that are refused, and sizes that no machine has, never reach the allocator or get nothing from it.
  fr_model model;
  fr_work work;
  fr_config config = tiny_config(1, 24);
  fr_limits limits;
  memset(&limits, 0, sizeof limits);
  fail_first = fail_last = -1;
  const long before = calls;
  config.heads = 0;
  CHECK(fr_model_new(&model, &config) == FR_CONFIG && zeroed(&model, sizeof model));
  CHECK(fr_work_new(&work, &config, &limits) == FR_CONFIG && work.reason.text[0]);
  CHECK(fr_model_new(NULL, &config) != FR_OK && fr_adamw_new(NULL, &model) != FR_OK);
  CHECK(fr_work_new(NULL, &config, &limits) != FR_OK);
  fr_work_free(&work);
  config = tiny_config(1, 24);
  limits.rows = PTRDIFF_MAX / 64;
  limits.grad_rows = PTRDIFF_MAX / 64;
  CHECK(fr_work_new(&work, &config, &limits) == FR_OVERFLOW && work.reason.text[0]);
  CHECK(calls == before);
  fr_work_free(&work);
  fr_model_free(&model);
  fr_model_free(NULL);
  fr_adamw_free(NULL);
  fr_work_free(NULL);
  fr_dataset_free(NULL);

  // A placed object owns nothing: free releases nothing.
  fr_int bytes = 0;
  CHECK(fr_model_place(NULL, &config, NULL, 0, &bytes) == FR_OK);
  void *memory = test_alloc((size_t)bytes);
  CHECK(fr_model_place(&model, &config, memory, bytes, NULL) == FR_OK);
  fr_model_free(&model);
  free(memory);
  CHECK(live_count == 0);
  printf("%ld allocations in one life, each failed in turn\n", all);
  return test_done("alloc");
}
