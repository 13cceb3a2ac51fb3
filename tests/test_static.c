// A model of more than 10,000 parameters trained with SSFT, and then decoded and voted on, wholly inside one static
// buffer of 1 MB: parameters, gradients, optimiser state, workspace and the questions. malloc is switched off.
#define FR_NO_MALLOC
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/test.h"
#include "tests/tiny.h"

#define BUFFER ((size_t)1000000)
static unsigned char buffer[BUFFER];
static size_t used;

// Objects start at odd addresses on purpose: place has to align by itself. `guard` bytes follow each of them.
enum { GUARD = 61, GUARD_BYTE = 0xA7 };
static void *take(fr_int bytes)
{
  if (!CHECK(bytes >= 0 && (size_t)bytes + GUARD <= BUFFER - used)) exit(1);
  unsigned char *memory = buffer + used;
  memset(memory, 0x5B, (size_t)bytes);
  memset(memory + bytes, GUARD_BYTE, GUARD);
  used += (size_t)bytes + GUARD;
  return memory;
}
static int guarded(const void *memory, fr_int bytes)
{
  const unsigned char *p = (const unsigned char *)memory + bytes;
  for (int i = 0; i < GUARD; i++)
    if (p[i] != GUARD_BYTE) return 0;
  return 1;
}
static int inside(const void *p, const void *memory, fr_int bytes)
{
  const unsigned char *c = (const unsigned char *)p, *m = (const unsigned char *)memory;
  return c >= m && c < m + bytes;
}

static const fr_leaf *voters;
static int same_answer(void *user, fr_int a, fr_int b)
{
  (void)user;
  return voters[a].count == 3 && voters[b].count == 3 && voters[a].stop == TINY_END && voters[b].stop == TINY_END &&
         !memcmp(voters[a].tokens, voters[b].tokens, 3 * sizeof(fr_token));
}

int main(void)
{
  enum { STEPS = 150, WINDOW = 10 };
  memset(buffer, GUARD_BYTE, sizeof buffer);
  const fr_config config = tiny_config(2, 32);
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_int model_bytes = 0, adamw_bytes = 0, work_bytes = 0;

  // The data too: a tiny, aligned by hand.
  unsigned char *raw = (unsigned char *)take((fr_int)(sizeof(tiny) + 64));
  tiny *t = (tiny *)(raw + (64 - (size_t)((uintptr_t)raw % 64)) % 64);
  tiny_fill(t, 0);

  CHECK(fr_model_place(NULL, &config, NULL, 0, &model_bytes) == FR_OK);
  void *model_memory = take(model_bytes);
  CHECK(fr_model_place(&model, &config, model_memory, model_bytes, NULL) == FR_OK);
  CHECK(model.count >= 10000);
  fr_model_init(&model, 1);

  CHECK(fr_adamw_place(NULL, &model, NULL, 0, &adamw_bytes) == FR_OK);
  void *adamw_memory = take(adamw_bytes);
  CHECK(fr_adamw_place(&adamw, &model, adamw_memory, adamw_bytes, NULL) == FR_OK);
  CHECK(adamw.count == model.count);

  const fr_limits limits = tiny_limits(t, 2, TINY_FORKS, 1);
  CHECK(limits.grad_rows > 0);
  CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &work_bytes) == FR_OK);
  void *work_memory = take(work_bytes);
  CHECK(fr_work_place(&work, &config, &limits, work_memory, work_bytes, NULL) == FR_OK);
  if (test_failures) return test_done("static");

  CHECK(inside(model.params, model_memory, model_bytes) &&
        inside(model.params + model.count - 1, model_memory, model_bytes));
  CHECK(inside(adamw.grads, adamw_memory, adamw_bytes) && inside(adamw.v + adamw.count - 1, adamw_memory, adamw_bytes));
  CHECK(inside(work.body, work_memory, work_bytes));
  CHECK(!model.owned && !adamw.owned && !work.owned);

  double first = 0, last = 0;
  for (int step = 0; step < STEPS; step++) {
    fr_ssft_report report;
    tiny_fill(t, (uint64_t)step);
    const float lr = 1e-2f * fr_schedule_stable(step, 5, STEPS * 6 / 10, STEPS, 0.02f);
    if (!CHECK(fr_ssft_step(&model, &work, &adamw, &t->options, t->questions, TINY_QUESTIONS, lr, &report) == FR_OK)) {
      fprintf(stderr, "%s\n", work.reason.text);
      return test_done("static");
    }
    CHECK(!report.skipped && isfinite(report.loss) && report.traces == TINY_QUESTIONS * TINY_TRACES);
    CHECK(report.tokens == TINY_QUESTIONS * TINY_TRACES * TINY_TRACE);
    for (int q = 0; q < TINY_QUESTIONS; q++)  // the matching is a map into the forks that sends no two to one
      for (int j = 0; j < TINY_TRACES; j++) {
        CHECK(t->fork[q][j] >= 0 && t->fork[q][j] < TINY_FORKS);
        for (int k = 0; k < j; k++) CHECK(t->fork[q][j] != t->fork[q][k]);
      }
    const double mean = report.nll / (double)report.tokens;
    if (step < WINDOW) first += mean / WINDOW;
    if (step >= STEPS - WINDOW) last += mean / WINDOW;
  }
  CHECK(adamw.step == STEPS && adamw.skipped == 0);
  CHECK_BELOW(last, 0.5 * first);

  // The four forks of one question, decoded together and voted on, from the same workspace.
  fr_span spans[1 + TINY_FORKS];
  fr_token texts[TINY_FORKS][TINY_TRACE];
  fr_leaf leaves[TINY_FORKS];
  const fr_token stop = TINY_END;
  fr_sampling sampling;
  memset(&sampling, 0, sizeof sampling);
  sampling.max_tokens = TINY_TRACE;
  sampling.stops = &stop;
  sampling.stop_count = 1;
  memset(leaves, 0, sizeof leaves);
  const fr_tree tree = tiny_tree(t, 0, spans);
  for (int i = 0; i < TINY_FORKS; i++) {
    leaves[i].span = 1 + i;
    leaves[i].leaf = (uint64_t)i;
    leaves[i].tokens = texts[i];
  }
  CHECK(fr_generate(&model, &work, &tree, &sampling, leaves, TINY_FORKS) == FR_OK);
  int whole = 0;
  for (int i = 0; i < TINY_FORKS; i++) {
    CHECK(leaves[i].count >= 0 && leaves[i].count <= TINY_TRACE);
    whole += leaves[i].count == 3 && leaves[i].stop == TINY_END;
  }
  CHECK(whole >= 3);
  voters = leaves;
  fr_vote_result vote;
  CHECK(fr_vote(TINY_FORKS, same_answer, NULL, NULL, &vote, NULL) == FR_OK);
  CHECK(vote.valid == whole && vote.winner >= 0);

  // Nothing was written behind an object, nor behind them all.
  CHECK(guarded(model_memory, model_bytes) && guarded(adamw_memory, adamw_bytes) && guarded(work_memory, work_bytes));
  size_t touched = 0;
  for (size_t i = used; i < BUFFER; i++) touched += buffer[i] != GUARD_BYTE;
  CHECK(touched == 0);
  printf("%ld parameters; bytes: model %ld, gradients and AdamW %ld, workspace %ld, all %ld of %ld; loss %.3f -> %.3f\n",
         (long)model.count, (long)model_bytes, (long)adamw_bytes, (long)work_bytes, (long)used, (long)BUFFER, first, last);
  return test_done("static");
}
