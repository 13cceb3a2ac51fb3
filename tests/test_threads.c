// Same bits whoever does the work: two models in two threads as one after the other; 1, 2 and 3 pool threads as none;
// any number of tasks, in any order. Built a second time with the thread sanitizer by .ci/run.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "examples/pool.h"
#include "tests/test.h"
#include "tests/tiny.h"
#include <pthread.h>

// ---- one whole life of a model: made, trained, decoded. All that comes out is in `life`.
enum { LEAVES = 8 };
typedef struct life {
  // in
  fr_int layers, dim, tasks;
  uint64_t seed;
  fr_run run;
  void *pool;
  // out
  fr_status status;
  fr_int count;
  float *params;
  unsigned char *outputs;  // losses, norms, costs, matchings, texts: everything that is not a parameter
  size_t output_bytes, output_room;
} life;

static void put(life *l, const void *bytes, size_t size)
{
  if (l->output_bytes + size > l->output_room) {
    l->output_room = 2 * l->output_room + size;
    unsigned char *more = (unsigned char *)test_alloc(l->output_room);
    if (l->output_bytes) memcpy(more, l->outputs, l->output_bytes);
    free(l->outputs);
    l->outputs = more;
  }
  memcpy(l->outputs + l->output_bytes, bytes, size);
  l->output_bytes += size;
}

#define TRY(call) do { if (l->status == FR_OK) l->status = (call); } while (0)

static void live(life *l)
{
  fr_config config = tiny_config(l->layers, l->dim);
  config.qk_norm = l->seed % 2 == 0;
  config.qkv_bias = l->seed % 2 == 1;
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_int bytes = 0;
  void *memory[3] = { NULL, NULL, NULL };
  tiny t;
  l->status = FR_OK;
  tiny_fill(&t, 0);
  const fr_limits limits = tiny_limits(&t, 3, LEAVES, l->tasks);

  TRY(fr_model_place(NULL, &config, NULL, 0, &bytes));
  memory[0] = test_alloc((size_t)bytes);
  TRY(fr_model_place(&model, &config, memory[0], bytes, NULL));
  if (l->status == FR_OK) fr_model_init(&model, l->seed);
  TRY(fr_adamw_place(NULL, &model, NULL, 0, &bytes));
  memory[1] = test_alloc((size_t)bytes);
  TRY(fr_adamw_place(&adamw, &model, memory[1], bytes, NULL));
  TRY(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes));
  memory[2] = test_alloc((size_t)bytes);
  TRY(fr_work_place(&work, &config, &limits, memory[2], bytes, NULL));
  if (l->status == FR_OK) { work.run = l->run; work.pool = l->pool; }

  const int steps = test_brief() ? 4 : 12;  // four have each method and reduction
  for (int step = 0; step < steps && l->status == FR_OK; step++) {
    fr_ssft_report report;
    tiny_fill(&t, (uint64_t)step + l->seed * 1000);
    t.options.method = step % 4 == 3 ? FR_SSFT_RANDOM : FR_SSFT;
    t.options.reduction = step % 2 ? FR_MEAN_TRACES : FR_MEAN_TOKENS;
    TRY(fr_ssft_step(&model, &work, &adamw, &t.options, t.questions, TINY_QUESTIONS, 5e-3f, &report));
    if (l->status != FR_OK) break;
    put(l, &report.loss, sizeof report.loss);
    put(l, &report.norm, sizeof report.norm);
    put(l, t.fork, sizeof t.fork);
    put(l, t.cost, sizeof t.cost);
    put(l, t.nll, sizeof t.nll);
  }
  if (l->status == FR_OK) {
    fr_span spans[1 + TINY_FORKS];
    fr_token texts[LEAVES][TINY_TRACE];
    fr_leaf leaves[LEAVES];
    const fr_token stop = TINY_END;
    fr_sampling sampling;
    memset(&sampling, 0, sizeof sampling);
    memset(leaves, 0, sizeof leaves);
    memset(texts, 0, sizeof texts);
    sampling.temperature = 1.0f;
    sampling.top_p = 0.95f;
    sampling.max_tokens = TINY_TRACE;
    sampling.stops = &stop;
    sampling.stop_count = 1;
    sampling.seed = l->seed;
    const fr_tree tree = tiny_tree(&t, 0, spans);
    for (int i = 0; i < LEAVES; i++) {
      leaves[i].span = 1 + i % TINY_FORKS;
      leaves[i].leaf = (uint64_t)i;
      leaves[i].tokens = texts[i];
    }
    TRY(fr_generate(&model, &work, &tree, &sampling, leaves, LEAVES));
    for (int i = 0; i < LEAVES; i++) {
      put(l, &leaves[i].count, sizeof leaves[i].count);
      put(l, &leaves[i].stop, sizeof leaves[i].stop);
      put(l, &leaves[i].logp, sizeof leaves[i].logp);
    }
    put(l, texts, sizeof texts);
  }
  if (l->status == FR_OK) {
    l->count = model.count;
    l->params = (float *)test_alloc((size_t)model.count * sizeof(float));
    memcpy(l->params, model.params, (size_t)model.count * sizeof(float));
    put(l, adamw.m, (size_t)model.count * sizeof(float));
    put(l, adamw.v, (size_t)model.count * sizeof(float));
  } else {
    fprintf(stderr, "%s: %s\n", fr_status_text(l->status), work.reason.text);
  }
  for (int i = 0; i < 3; i++) free(memory[i]);
}
static void *live_in_thread(void *l) { live((life *)l); return NULL; }

static life life_of(int which, fr_int tasks, fr_run run, void *user)
{
  life l;
  memset(&l, 0, sizeof l);
  l.layers = which ? 1 : 2;
  l.dim = which ? 40 : 24;
  l.seed = (uint64_t)(7 + which);
  l.tasks = tasks;
  l.run = run;
  l.pool = user;
  return l;
}
static void forget(life *l) { free(l->params); free(l->outputs); }

static int same_life(const life *a, const life *b)
{
  return a->status == FR_OK && b->status == FR_OK && a->count == b->count && a->output_bytes == b->output_bytes &&
         !memcmp(a->params, b->params, (size_t)a->count * sizeof(float)) &&
         !memcmp(a->outputs, b->outputs, a->output_bytes);
}

// ---- hooks that are legal and unkind: last task first; odd ones after the even ones
static long hook_calls, hook_tasks, hook_most;
static void count_hook(fr_int tasks)
{
  hook_calls++;
  hook_tasks += (long)tasks;
  if ((long)tasks > hook_most) hook_most = (long)tasks;
}
static void run_backwards(void *user, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  (void)user;
  count_hook(tasks);
  for (fr_int i = tasks - 1; i >= 0; i--) task(arg, i);
}
static void run_odd_last(void *user, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  (void)user;
  count_hook(tasks);
  for (fr_int i = 0; i < tasks; i += 2) task(arg, i);
  for (fr_int i = 1; i < tasks; i += 2) task(arg, i);
}
// A fresh thread for every task: no thread can rely on what it saw before.
typedef struct piece { void (*task)(void *, fr_int); void *arg; fr_int index; } piece;
static void *run_piece(void *p) { const piece *q = (const piece *)p; q->task(q->arg, q->index); return NULL; }
static void run_fresh_threads(void *user, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  enum { MOST = 16 };
  pthread_t threads[MOST];
  piece pieces[MOST];
  (void)user;
  for (fr_int begin = 0; begin < tasks; begin += MOST) {
    const fr_int end = begin + MOST < tasks ? begin + MOST : tasks;
    for (fr_int i = begin; i < end; i++) {
      pieces[i - begin].task = task;
      pieces[i - begin].arg = arg;
      pieces[i - begin].index = i;
      if (pthread_create(&threads[i - begin], NULL, run_piece, &pieces[i - begin])) exit(2);
    }
    for (fr_int i = begin; i < end; i++) pthread_join(threads[i - begin], NULL);
  }
}

// ---- one model that is only run, by several threads with a workspace each
typedef struct reader { const fr_model *model; fr_leaf leaf; fr_token text[40]; fr_status status; } reader;
static void *read_model(void *user)
{
  static const fr_token prompt[3] = { 1, 2, 3 };
  reader *r = (reader *)user;
  fr_span span = { -1, { prompt, 3 } };
  fr_tree tree = { NULL, 1, NULL, 0 };
  fr_sampling sampling;
  fr_limits limits;
  fr_work work;
  tree.spans = &span;
  memset(&sampling, 0, sizeof sampling);
  sampling.temperature = 1.0f;
  sampling.max_tokens = 40;
  r->leaf.tokens = r->text;
  r->status = fr_generate_limits(&tree, &sampling, 1, &limits);
  if (!r->status) r->status = fr_work_new(&work, &r->model->config, &limits);
  if (r->status) return NULL;
  r->status = fr_generate(r->model, &work, &tree, &sampling, &r->leaf, 1);
  fr_work_free(&work);
  return NULL;
}
static void one_model(void)
{
  enum { READERS = 4 };
  const fr_config config = tiny_config(2, 32);
  fr_model model;
  reader alone[READERS], both[READERS];
  pthread_t threads[READERS];
  memset(alone, 0, sizeof alone);
  if (!CHECK(fr_model_new(&model, &config) == FR_OK)) return;
  fr_model_init(&model, 5);
  for (int i = 0; i < READERS; i++) { alone[i].model = &model; alone[i].leaf.question = (uint64_t)i; }
  memcpy(both, alone, sizeof both);
  for (int i = 0; i < READERS; i++) if (pthread_create(&threads[i], NULL, read_model, &both[i])) exit(2);
  for (int i = 0; i < READERS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < READERS; i++) {
    read_model(&alone[i]);
    CHECK(alone[i].status == FR_OK && both[i].status == FR_OK && both[i].leaf.count == 40 && both[i].leaf.logp == alone[i].leaf.logp);
    CHECK(!memcmp(both[i].text, alone[i].text, sizeof both[i].text) && (!i || memcmp(both[i].text, both[0].text, sizeof both[i].text)));
  }
  fr_model_free(&model);
}

int main(void)
{
  life alone[2];
  for (int i = 0; i < 2; i++) {
    alone[i] = life_of(i, 1, NULL, NULL);
    live(&alone[i]);
    CHECK(alone[i].status == FR_OK);
  }
  if (test_failures) return test_done("threads");

  one_model();

  // Two models in two threads, at the same time, several times.
  for (int round = 0; round < (test_brief() ? 1 : 3); round++) {
    life both[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) both[i] = life_of(i, 1, NULL, NULL);
    for (int i = 0; i < 2; i++)
      if (pthread_create(&threads[i], NULL, live_in_thread, &both[i])) exit(2);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) { CHECK(same_life(&both[i], &alone[i])); forget(&both[i]); }
  }

  // 1, 2 and 3 pool threads, with as many tasks, fewer and more.
  for (int threads = 1; threads <= 3; threads++) {
    pool p;
    if (!CHECK(pool_start(&p, threads) == threads)) return test_done("threads");
    for (fr_int tasks = 1; tasks <= 5; tasks++)
      for (int i = 0; i < 2; i++) {
        life l = life_of(i, tasks, pool_run, &p);
        live(&l);
        CHECK(same_life(&l, &alone[i]));
        forget(&l);
      }
    pool_stop(&p);
  }

  // Each of two threads with a pool of its own.
  {
    life both[2];
    pthread_t threads[2];
    pool pools[2];
    for (int i = 0; i < 2; i++) {
      if (!CHECK(pool_start(&pools[i], 2) == 2)) return test_done("threads");
      both[i] = life_of(i, 3, pool_run, &pools[i]);
    }
    for (int i = 0; i < 2; i++)
      if (pthread_create(&threads[i], NULL, live_in_thread, &both[i])) exit(2);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) { CHECK(same_life(&both[i], &alone[i])); forget(&both[i]); pool_stop(&pools[i]); }
  }

  // Other orders. The hook is really used, and never asked for more tasks than the limits say.
  const fr_run runs[3] = { run_backwards, run_odd_last, run_fresh_threads };
  for (int r = 0; r < 3; r++)
    for (int i = 0; i < 2; i++) {
      hook_calls = hook_tasks = hook_most = 0;
      life l = life_of(i, 4, runs[r], NULL);
      live(&l);
      CHECK(same_life(&l, &alone[i]));
      if (r < 2) { CHECK(hook_calls > 0 && hook_tasks > hook_calls); CHECK(hook_most <= 4); }
      forget(&l);
    }

  // What is compared here is not empty, and differs where it should.
  CHECK(!same_life(&alone[0], &alone[1]));
  CHECK(alone[0].output_bytes > 1000);
  for (int i = 0; i < 2; i++) forget(&alone[i]);
  return test_done("threads");
}
