// The same bits for any number of tasks in any order, for memory that starts anywhere, and for limits with room to spare.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"

// ---- what a run leaves behind
typedef struct record {
  unsigned char *bytes;
  size_t count, room;
  struct { const char *what; size_t end; } parts[128];
  int part_count;
} record;

static void keep(record *r, const char *what, const void *data, size_t bytes)
{
  while (r->count + bytes > r->room) {
    r->room = r->room ? 2 * r->room : 1 << 16;
    r->bytes = (unsigned char *)realloc(r->bytes, r->room);
    if (!r->bytes) exit(2);
  }
  memcpy(r->bytes + r->count, data, bytes);
  r->count += bytes;
  r->parts[r->part_count].what = what;
  r->parts[r->part_count++].end = r->count;
}

static void compare(const record *a, const record *b, const char *kernel, const char *variant)
{
  size_t from = 0;
  if (!a->count && !b->count) return;  // a row of kernels that this processor does not have
  if (CHECK(a->count == b->count && a->part_count == b->part_count && !memcmp(a->bytes, b->bytes, a->count)))
    return;
  for (int i = 0; i < a->part_count && i < b->part_count; from = a->parts[i++].end)
    if (a->parts[i].end != b->parts[i].end ||
        memcmp(a->bytes + from, b->bytes + from, a->parts[i].end - from)) {
      fprintf(stderr, "  %s, %s: '%s' (part %d) is the first to differ\n", kernel, variant, a->parts[i].what,
              i);
      return;
    }
}

// ---- pools that run the tasks in an order of their own
static void backwards(void *pool, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  ++*(fr_int *)pool;
  while (tasks-- > 0) task(arg, tasks);
}

static void shuffled(void *pool, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  static uint64_t state = 99;
  fr_int order[64];
  ++*(fr_int *)pool;
  for (fr_int i = 0; i < tasks; i++) order[i] = i;
  for (fr_int i = tasks - 1; i > 0; i--) {
    const fr_int j = (fr_int)((state = state * 6364136223846793005u + 1442695040888963407u) >> 33) % (i + 1),
                 swap = order[i];
    order[i] = order[j];
    order[j] = swap;
  }
  for (fr_int i = 0; i < tasks; i++) task(arg, order[i]);
}

typedef struct variant {
  const char *name;
  fr_int tasks;
  fr_run run;
  size_t shift;   // bytes from the start of each malloc'ed block
  fr_int spare;   // added to every limit
} variant;

static void *block(void *memory[], int *used, fr_int bytes, size_t shift)
{
  memory[*used] = test_alloc((size_t)bytes + shift + 1);
  // No result may hang on what was there.
  memset(memory[*used], (int)(0x80 + shift), (size_t)bytes + shift + 1);
  return (char *)memory[(*used)++] + shift;
}

#define QUESTIONS 3
#define FORKS 5

static record run(const fr_config *config, const char *kernel, const variant *v)
{
  static fr_token ids[4000];
  static const fr_int lengths[QUESTIONS][4] = { { 7, 1, 12, 5 }, { 9, 9, 9, 0 }, { 3, 0, 0, 0 } };
  static fr_span spans[6];
  static fr_target targets[700];
  static fr_token text[4][10];
  record r;
  void *memory[8];
  fr_int used_ids = 0, bytes = 0, runs = 0;
  int used = 0, has;
  fr_model model;
  fr_work work;
  fr_adamw adamw;
  fr_limits limits, more;
  fr_token fork_ids[FORKS][2];
  fr_tokens forks[FORKS], traces[QUESTIONS][4];
  fr_int fork[QUESTIONS][4];
  double cost[QUESTIONS][FORKS * 4], nll[QUESTIONS][4];
  fr_question questions[QUESTIONS];
  fr_ssft_options options;
  fr_sampling sampling;
  fr_leaf leaves[4];
  fr_tree tree;
  fr_sum sums[3];
  memset(&r, 0, sizeof r);
  memset(questions, 0, sizeof questions);
  memset(&options, 0, sizeof options);
  memset(&sampling, 0, sizeof sampling);
  memset(leaves, 0, sizeof leaves);
  memset(&tree, 0, sizeof tree);
  test_state = 1234;  // the same questions in every run
  for (int i = 0; i < 4000; i++) ids[i] = (fr_token)test_below_int(config->vocab);
  for (int i = 0; i < FORKS; i++) {
    fork_ids[i][0] = (fr_token)(i / 2);
    fork_ids[i][1] = (fr_token)i;
    forks[i].ids = fork_ids[i];
    forks[i].count = 2;
  }
  for (int n = 0; n < QUESTIONS; n++) {
    questions[n].prompt.ids = ids + used_ids;
    questions[n].prompt.count = 4 + 5 * n;
    used_ids += questions[n].prompt.count;
    questions[n].traces = traces[n];
    for (int j = 0; j < 4 && lengths[n][j]; j++) {
      traces[n][j].ids = ids + used_ids;
      traces[n][j].count = lengths[n][j];
      used_ids += lengths[n][j];
      questions[n].trace_count++;
    }
    questions[n].key = (uint64_t)n;
    questions[n].fork = fork[n];
    questions[n].cost = cost[n];
    questions[n].nll = nll[n];
  }
  options.forks = forks;
  options.fork_count = FORKS;
  options.prefix = 6;
  options.fork_weight = 0.2f;
  // Three roots' worth of rows past a block of the matrix product, and targets past a chunk of the vocabulary.
  for (int s = 0; s < 6; s++) {
    static const fr_int parent[6] = { -1, 0, 0, -1, 3, 1 }, count[6] = { 130, 33, 1, 97, 40, 5 };
    spans[s].parent = parent[s];
    spans[s].tokens.ids = ids + 700 + 150 * s;
    spans[s].tokens.count = count[s];
  }
  tree.spans = spans;
  tree.span_count = 6;
  tree.targets = targets;
  tree.target_count = 700;
  for (int t = 0; t < 700; t++) {
    targets[t].row = test_below_int(306);
    targets[t].token = (fr_token)test_below_int(config->vocab);
    targets[t].weight = (float)test_uniform(0.0, 0.01);
    targets[t].group = t % 3;
  }
  sampling.max_tokens = 10;
  sampling.temperature = 0.9f;
  sampling.top_p = 0.9f;
  sampling.seed = 4;
  for (int i = 0; i < 4; i++) {
    static const fr_int at[4] = { 1, 2, 5, 4 };
    leaves[i].span = at[i];
    leaves[i].leaf = (uint64_t)i;
    leaves[i].tokens = text[i];
  }
  CHECK(fr_tree_limits(&tree, &limits) == FR_OK);
  CHECK(fr_ssft_limits(&options, 14, 12, 4, QUESTIONS, &more) == FR_OK);
  limits = fr_limits_max(limits, more);
  CHECK(fr_generate_limits(&tree, &sampling, 4, &more) == FR_OK);
  limits = fr_limits_max(limits, more);
  limits.rows += v->spare; limits.grad_rows += v->spare; limits.spans += v->spare; limits.targets += v->spare;
  limits.leaves += v->spare; limits.depth += v->spare; limits.cache_rows += v->spare;
  limits.tasks = v->tasks;
  CHECK(fr_model_place(NULL, config, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_model_place(&model, config, block(memory, &used, bytes, v->shift), bytes, NULL) == FR_OK);
  CHECK(fr_adamw_place(NULL, &model, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_adamw_place(&adamw, &model, block(memory, &used, bytes, v->shift), bytes, NULL) == FR_OK);
  CHECK(fr_work_place(NULL, config, &limits, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_work_place(&work, config, &limits, block(memory, &used, bytes, v->shift), bytes, NULL) == FR_OK);
  has = fr_work_select(&work, kernel) == FR_OK;
  work.run = v->run;
  work.pool = &runs;
  if (has) {
    fr_model_init(&model, 8);
    for (int step = 0; step < (test_brief() ? 2 : 3); step++) {  // two have both reductions
      fr_ssft_report report;
      options.draw = (uint64_t)step;
      options.reduction = (fr_reduction)(step & 1);
      CHECK(fr_ssft_step(&model, &work, &adamw, &options, questions, QUESTIONS, 1e-2f, &report) == FR_OK);
      for (int n = 0; n < QUESTIONS; n++) {
        const size_t M = (size_t)questions[n].trace_count;
        keep(&r, "costs", cost[n], FORKS * M * sizeof(double));
        keep(&r, "matching", fork[n], M * sizeof(fr_int));
        keep(&r, "loss of each trace", nll[n], M * sizeof(double));
      }
      keep(&r, "loss", &report.loss, sizeof report.loss);
      keep(&r, "fork term", &report.fork_nll, sizeof report.fork_nll);
      keep(&r, "gradient norm", &report.norm, sizeof report.norm);
      keep(&r, "parameters", model.params, (size_t)model.count * sizeof(float));
    }
    keep(&r, "m", adamw.m, (size_t)model.count * sizeof(float));
    keep(&r, "v", adamw.v, (size_t)model.count * sizeof(float));
    CHECK(fr_backward(&model, &work, &tree, adamw.grads, sums, 3) == FR_OK);
    for (int g = 0; g < 3; g++) {
      keep(&r, "nll", &sums[g].nll, sizeof(double));
      keep(&r, "weighted", &sums[g].weighted, sizeof(double));
    }
    {
      fr_tensor t;
      for (fr_int i = 0; fr_model_tensor(&model, i, &t) == FR_OK; i++)
        keep(&r, t.name, adamw.grads + t.offset, (size_t)(t.copies * t.rows * t.cols) * sizeof(float));
    }
    CHECK(fr_generate(&model, &work, &tree, &sampling, leaves, 4) == FR_OK);
    for (int i = 0; i < 4; i++) {
      keep(&r, "text", text[i], (size_t)leaves[i].count * sizeof(fr_token));
      keep(&r, "logp", &leaves[i].logp, sizeof(double));
    }
    CHECK(v->run && v->tasks > 1 ? runs > 100 : runs == 0);  // the hook is what ran the tasks
  }
  while (used) free(memory[--used]);
  return r;
}

int main(void)
{
  static const variant variants[] = {
    { "one task", 1, NULL, 0, 0 },
    { "one task, spare limits", 1, NULL, 0, 13 },
    { "two tasks", 2, NULL, 0, 0 },
    { "two tasks backwards", 2, backwards, 0, 0 },
    { "three tasks", 3, NULL, 0, 0 },
    { "three tasks shuffled", 3, shuffled, 0, 0 },
    { "eleven tasks shuffled", 11, shuffled, 0, 0 },
    { "memory + 1", 1, NULL, 1, 0 },
    { "memory + 4", 1, NULL, 4, 0 },
    { "memory + 20, two tasks backwards, spare limits", 2, backwards, 20, 700 },
    { "memory + 63, three tasks shuffled", 3, shuffled, 63, 5 },
  };
  for (int which = 0; which < 4; which++) {
    fr_config config = fixture_config(which == 0 ? 7 : which == 1 ? 4 : which == 2 ? 3 : 1);
    if (which == 3) { config.vocab = 4000; config.dim = 33; config.ffn = 45; }  // many chunks of head rows
    for (int k = 0; k < FIXTURE_KERNELS; k++) {
      record first = run(&config, fixture_kernels[k], &variants[0]);
      for (size_t v = 1; v < sizeof variants / sizeof variants[0]; v++) {
        if (test_brief() && v != 10) continue;  // the last has something of each: tasks, their order, memory + 63, spare limits
        record again = run(&config, fixture_kernels[k], &variants[v]);
        compare(&first, &again, fixture_kernels[k], variants[v].name);
        free(again.bytes);
      }
      free(first.bytes);
    }
  }
  return test_done("bits");
}
