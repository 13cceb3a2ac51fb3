// Every block in exactly the measured size, between guard zones: nothing outside of it is written, and a byte less is refused.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"

#define ZONE 256
#define BLOCKS 128

static struct { unsigned char *zone; size_t bytes, shift; } blocks[BLOCKS];
static int block_count;

static unsigned char mark(size_t i) { return (unsigned char)(0xA5 ^ (i * 29)); }

// Room for `bytes`, at any alignment that `align` divides, between two zones.
static void *guarded(fr_int bytes, size_t align)
{
  const size_t room = (size_t)bytes, whole = room + 2 * ZONE + 64,
               shift = (size_t)test_below_int(64) / align * align;
  unsigned char *zone = (unsigned char *)test_alloc(whole);
  for (size_t i = 0; i < whole; i++) zone[i] = mark(i);
  if (block_count == BLOCKS) { fprintf(stderr, "too many blocks\n"); exit(2); }
  blocks[block_count].zone = zone;
  blocks[block_count].bytes = room;
  blocks[block_count++].shift = shift;
  memset(zone + ZONE + shift, 0xEE, room);
  return zone + ZONE + shift;
}

static int untouched(void)
{
  for (int b = 0; b < block_count; b++) {
    const size_t begin = ZONE + blocks[b].shift, end = begin + blocks[b].bytes,
                 whole = blocks[b].bytes + 2 * ZONE + 64;
    for (size_t i = 0; i < begin; i++) if (blocks[b].zone[i] != mark(i)) return 0;
    for (size_t i = end; i < whole; i++) if (blocks[b].zone[i] != mark(i)) return 0;
  }
  return 1;
}

static void release(void)
{
  CHECK(untouched());
  while (block_count) free(blocks[--block_count].zone);
}

#define GUARDED(type, count) ((type *)guarded((fr_int)((size_t)(count) * sizeof(type)), sizeof(type)))

static fr_model place_model(const fr_config *config)
{
  fr_model model, kept;
  fr_int bytes = 0;
  void *memory;
  CHECK(fr_model_place(NULL, config, NULL, 0, &bytes) == FR_OK);
  memory = guarded(bytes, 1);
  memset(&model, 0x77, sizeof model);
  memcpy(&kept, &model, sizeof model);
  CHECK(fr_model_place(&model, config, memory, bytes - 1, NULL) == FR_MEMORY &&
        fr_model_place(&model, config, NULL, bytes, NULL) == FR_INVALID);
  CHECK(!memcmp(&model, &kept, sizeof model));
  CHECK(fr_model_place(&model, config, memory, bytes, NULL) == FR_OK);
  fixture_randomise(&model);
  return model;
}

static fr_work place_work(const fr_config *config, const fr_limits *limits)
{
  fr_work work;
  fr_int bytes = 0;
  void *memory;
  CHECK(fr_work_place(NULL, config, limits, NULL, 0, &bytes) == FR_OK);
  memory = guarded(bytes, 1);
  memset(&work, 0, sizeof work);
  CHECK(fr_work_place(&work, config, limits, memory, bytes - 1, NULL) == FR_MEMORY && work.body == NULL &&
        work.reason.text[0]);
  CHECK(fr_work_place(&work, config, limits, NULL, bytes, NULL) == FR_INVALID && work.body == NULL);
  CHECK(fr_work_place(&work, config, limits, memory, bytes, NULL) == FR_OK);
  return work;
}

// The arrays inside of a workspace have no zones between them; but one that ran over its end would spoil its neighbour,
// and the results would not be those of a workspace with room to spare.
static fr_limits spare(fr_limits limits)
{
  limits.rows += 100; limits.grad_rows += 100; limits.spans += 100; limits.targets += 100;
  limits.leaves += 100; limits.depth += 100; limits.cache_rows += 100;
  return limits;
}

static fr_adamw place_adamw(const fr_model *model)
{
  fr_adamw adamw;
  fr_int bytes = 0;
  void *memory;
  CHECK(fr_adamw_place(NULL, model, NULL, 0, &bytes) == FR_OK);
  memory = guarded(bytes, 1);
  CHECK(fr_adamw_place(&adamw, model, memory, bytes - 1, NULL) == FR_MEMORY);
  CHECK(fr_adamw_place(&adamw, model, memory, bytes, NULL) == FR_OK);
  return adamw;
}

static const fr_token *random_ids(fr_int count, fr_int vocab)
{
  fr_token *ids = GUARDED(fr_token, count);
  for (fr_int i = 0; i < count; i++) ids[i] = (fr_token)test_below_int(vocab);
  return ids;
}

// A random tree through forward, backward and logits, in a workspace of exactly its limits.
static void tree_run(const fr_config *config, const char *kernel, fr_int tasks)
{
  fr_model model = place_model(config);
  const fr_int span_count = 1 + test_below_int(8), group_count = 1 + test_below_int(4);
  fr_span *spans = GUARDED(fr_span, span_count);
  fr_target *targets;
  fr_sum *sums = GUARDED(fr_sum, group_count);
  float *grads = GUARDED(float, model.count), *params = GUARDED(float, model.count), *logits;
  fr_int row_count, *rows;
  fr_tree tree;
  fr_limits limits;
  fr_work work;
  memset(&tree, 0, sizeof tree);
  for (fr_int s = 0; s < span_count; s++) {
    spans[s].parent = s && test_below_int(4) ? test_below_int(s) : -1;
    spans[s].tokens.count = test_below_int(6) == 0 ? 90 + test_below_int(80) : test_below_int(9);
    spans[s].tokens.ids = random_ids(spans[s].tokens.count, config->vocab);
  }
  tree.spans = spans;
  tree.span_count = span_count;
  row_count = fr_tree_row(&tree, span_count);
  rows = GUARDED(fr_int, row_count);
  logits = GUARDED(float, row_count * config->vocab);
  tree.target_count = row_count ? test_below_int(50) : 0;
  targets = GUARDED(fr_target, tree.target_count);
  for (fr_int t = 0; t < tree.target_count; t++) {
    targets[t].row = test_below_int(row_count);
    targets[t].token = (fr_token)test_below_int(config->vocab);
    targets[t].weight = 1.0f;
    targets[t].group = test_below_int(group_count);
  }
  for (fr_int r = 0; r < row_count; r++) rows[r] = r;
  tree.targets = targets;
  memset(grads, 0, (size_t)model.count * sizeof(float));
  memcpy(params, model.params, (size_t)model.count * sizeof(float));
  CHECK(fr_tree_limits(&tree, &limits) == FR_OK);
  limits.tasks = tasks;
  if (test_below_int(2)) limits.leaves = 0;  // not needed here
  work = place_work(config, &limits);
  if (fr_work_select(&work, kernel) == FR_OK) {
    CHECK(fr_forward(&model, &work, &tree, sums, group_count) == FR_OK);
    CHECK(fr_logits(&model, &work, rows, row_count, logits, NULL) == FR_OK);
    CHECK(fr_backward(&model, &work, &tree, grads, sums, group_count) == FR_OK);
    CHECK(fr_logits(&model, &work, rows, row_count, logits, NULL) == FR_OK);
    CHECK(same_bits(params, model.params, model.count, 4));
    {
      const fr_limits roomy = spare(limits);
      float *more_grads = GUARDED(float, model.count), *more_logits = GUARDED(float, row_count * config->vocab);
      fr_sum *more_sums = GUARDED(fr_sum, group_count);
      memset(more_grads, 0, (size_t)model.count * sizeof(float));
      work = place_work(config, &roomy);
      CHECK(fr_work_select(&work, kernel) == FR_OK);
      CHECK(fr_backward(&model, &work, &tree, more_grads, more_sums, group_count) == FR_OK);
      CHECK(fr_logits(&model, &work, rows, row_count, more_logits, NULL) == FR_OK);
      CHECK(same_bits(grads, more_grads, model.count, 4) &&
            same_bits(logits, more_logits, row_count * config->vocab, 4));
      CHECK(same_bits(sums, more_sums, group_count, (fr_int)sizeof(fr_sum)));
    }
    limits.grad_rows = 0;  // a workspace without room for gradients
    work = place_work(config, &limits);
    CHECK(fr_work_select(&work, kernel) == FR_OK &&
          fr_forward(&model, &work, &tree, sums, group_count) == FR_OK);
    CHECK(fr_logits(&model, &work, rows, row_count, logits, NULL) == FR_OK);
  }
  release();
}

// Training steps in exactly fr_ssft_limits, for the largest questions they allow and for smaller ones.
static void training_run(const fr_config *config, const char *kernel, fr_int tasks)
{
  const fr_int N = 1 + test_below_int(6), M = 1 + test_below_int(N), count = 1 + test_below_int(3),
               prompt = 1 + test_below_int(8);
  const fr_int trace = 1 + test_below_int(9), in_one = 1 + test_below_int(count);
  fr_model model = place_model(config);
  fr_adamw adamw = place_adamw(&model);
  fr_tokens *forks = GUARDED(fr_tokens, N);
  fr_question *questions = GUARDED(fr_question, count);
  fr_ssft_options options;
  fr_ssft_report report;
  fr_limits limits;
  fr_work work;
  memset(&options, 0, sizeof options);
  for (fr_int i = 0; i < N; i++) {
    fr_token *ids = GUARDED(fr_token, 2);
    ids[0] = (fr_token)(i / 3);
    ids[1] = (fr_token)(i % 3);
    forks[i].ids = ids;
    forks[i].count = 2;
  }
  for (fr_int n = 0; n < count; n++) {
    fr_question *q = &questions[n];
    fr_tokens *traces = GUARDED(fr_tokens, M);
    memset(q, 0, sizeof *q);
    q->prompt.count = n ? 1 + test_below_int(prompt) : prompt;
    q->prompt.ids = random_ids(q->prompt.count, config->vocab);
    q->traces = traces;
    q->trace_count = M;
    for (fr_int j = 0; j < M; j++) {
      traces[j].count = n ? 1 + test_below_int(trace) : trace;
      traces[j].ids = random_ids(traces[j].count, config->vocab);
    }
    q->fork = GUARDED(fr_int, M);
    if (test_below_int(2)) q->cost = GUARDED(double, N * M);
    if (test_below_int(2)) q->nll = GUARDED(double, M);
  }
  options.forks = forks;
  options.fork_count = N;
  options.prefix = test_below_int(6);
  options.method = (fr_method)test_below_int(4);
  options.reduction = (fr_reduction)test_below_int(2);
  options.fork_weight = test_below_int(2) ? 0.5f : 0.0f;
  options.fork_target = (fr_fork_target)test_below_int(2);
  CHECK(fr_ssft_limits(&options, prompt, trace, M, in_one, &limits) == FR_OK);
  limits.tasks = tasks;
  work = place_work(config, &limits);
  if (fr_work_select(&work, kernel) == FR_OK)
    for (int step = 0; step < 2; step++) {
      fr_ssft_total total;
      CHECK(fr_ssft_step(&model, &work, &adamw, &options, questions, count, 1e-3f, &report) == FR_OK &&
            !report.skipped);
      CHECK(fr_ssft_count(&options, questions, count, &total) == FR_OK);
      CHECK(fr_ssft_backward(&model, &work, &options, questions, count, total, NULL, &report) == FR_OK);
      if (in_one == count) {  // all in one pass, with and without room to spare
        const fr_limits roomy = spare(limits);
        float *grads[2];
        fr_work other = place_work(config, &roomy);
        CHECK(fr_work_select(&other, kernel) == FR_OK);
        for (int i = 0; i < 2; i++) {
          grads[i] = GUARDED(float, model.count);
          memset(grads[i], 0, (size_t)model.count * sizeof(float));
          CHECK(fr_ssft_match(&model, i ? &other : &work, &options, questions, count) == FR_OK);
          CHECK(fr_ssft_backward(&model, i ? &other : &work, &options, questions, count, total, grads[i],
                                 &report) == FR_OK);
        }
        CHECK(same_bits(grads[0], grads[1], model.count, 4));
      }
    }
  release();
}

static void generate_run(const fr_config *config, const char *kernel, fr_int tasks)
{
  fr_model model = place_model(config);
  const fr_int leaf_count = 1 + test_below_int(7);
  fr_span *spans = GUARDED(fr_span, 3);
  fr_leaf *leaves = GUARDED(fr_leaf, leaf_count);
  fr_sampling sampling;
  fr_tree tree;
  fr_limits limits;
  fr_work work;
  memset(&tree, 0, sizeof tree);
  memset(&sampling, 0, sizeof sampling);
  sampling.max_tokens = test_below_int(9);
  sampling.temperature = (float)test_below_int(2);
  sampling.top_k = test_below_int(3);
  sampling.top_p = test_below_int(2) ? 0.8f : 0.0f;
  sampling.seed = test_bits();
  sampling.stop_count = test_below_int(2);
  sampling.stops = random_ids(sampling.stop_count, config->vocab);
  for (int s = 0; s < 3; s++) {
    spans[s].parent = s - 1;
    spans[s].tokens.count = s == 0 ? 1 + test_below_int(120) : test_below_int(4);
    spans[s].tokens.ids = random_ids(spans[s].tokens.count, config->vocab);
  }
  tree.spans = spans;
  tree.span_count = 3;
  memset(leaves, 0, (size_t)leaf_count * sizeof *leaves);
  for (fr_int i = 0; i < leaf_count; i++) {
    leaves[i].span = test_below_int(3);
    leaves[i].leaf = (uint64_t)i;
    leaves[i].tokens = GUARDED(fr_token, sampling.max_tokens);
  }
  CHECK(fr_generate_limits(&tree, &sampling, leaf_count, &limits) == FR_OK);
  limits.tasks = tasks;
  work = place_work(config, &limits);
  if (fr_work_select(&work, kernel) == FR_OK)
    for (int again = 0; again < 2; again++) {
      fr_token *texts = GUARDED(fr_token, leaf_count * sampling.max_tokens);
      double *logps = GUARDED(double, leaf_count);
      const fr_limits roomy = spare(limits);
      CHECK(fr_generate(&model, &work, &tree, &sampling, leaves, leaf_count) == FR_OK);
      for (fr_int i = 0; i < leaf_count; i++) {
        memcpy(texts + i * sampling.max_tokens, leaves[i].tokens, (size_t)leaves[i].count * sizeof(fr_token));
        logps[i] = leaves[i].logp;
      }
      work = place_work(config, &roomy);
      CHECK(fr_work_select(&work, kernel) == FR_OK &&
            fr_generate(&model, &work, &tree, &sampling, leaves, leaf_count) == FR_OK);
      for (fr_int i = 0; i < leaf_count; i++)
        CHECK(logps[i] == leaves[i].logp && same_bits(texts + i * sampling.max_tokens, leaves[i].tokens,
                                                      leaves[i].count, sizeof(fr_token)));
    }
  release();
}

static void assign_run(void)
{
  const fr_int rows = test_below_int(9), cols = test_below_int(9);
  double *cost = GUARDED(double, rows * cols);
  fr_int *found = GUARDED(fr_int, rows), bytes = 0;
  void *memory;
  for (fr_int i = 0; i < rows * cols; i++) cost[i] = test_normal();
  CHECK(fr_assign(NULL, 0, 0, rows, cols, NULL, NULL, NULL, 0, &bytes) == FR_OK);
  memory = guarded(bytes, 1);
  CHECK(fr_assign(cost, cols, 1, rows, cols, found, NULL, memory, bytes - 1, NULL) == FR_MEMORY);
  CHECK(fr_assign(cost, cols, 1, rows, cols, found, NULL, memory, bytes, NULL) == FR_OK);
  release();
}

// Sizes that do not fit, and limits that make no sense.
static void sizes(void)
{
  const fr_config config = fixture_config(1);
  for (int which = 0; which < 8; which++) {
    fr_limits limits;
    fr_int *field[8], bytes = 123;
    fr_work work;
    memset(&limits, 0, sizeof limits);
    memset(&work, 0, sizeof work);
    field[0] = &limits.rows; field[1] = &limits.grad_rows; field[2] = &limits.spans; field[3] = &limits.targets;
    field[4] = &limits.leaves;
    field[5] = &limits.depth;
    field[6] = &limits.tasks;
    field[7] = &limits.cache_rows;
    CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes) == FR_OK && bytes > 0);  // nothing of anything is legal
    bytes = 123;
    *field[which] = -1;
    CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes) == FR_INVALID && bytes == 123);
    *field[which] = PTRDIFF_MAX;
    CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes) == FR_OVERFLOW && bytes == 123);
    *field[which] = PTRDIFF_MAX / 16;
    CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes) == FR_OVERFLOW && bytes == 123);
    CHECK(fr_work_place(&work, &config, &limits, &bytes, 123, NULL) == FR_OVERFLOW && work.body == NULL &&
          bytes == 123);
    // More of anything never needs less.
    {
      fr_int before = 0;
      *field[which] = 0;
      for (fr_int n = 1; n < 3000; n = 2 * n + 1) {
        *field[which] = n;
        CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes) == FR_OK && bytes >= before);
        before = bytes;
      }
    }
  }
}

int main(void)
{
  for (int trial = 0; trial < (test_brief() ? 4 : 12); trial++)  // of all shapes, other sizes and another row each time
    for (int which = 0; which < FIXTURE_CONFIGS; which++) {
      const fr_config config = fixture_config(which);
      const char *kernel = fixture_kernels[test_below_int(FIXTURE_KERNELS)];
      const fr_int tasks = test_below_int(4);
      tree_run(&config, kernel, tasks);
      training_run(&config, kernel, tasks);
      generate_run(&config, kernel, tasks);
      assign_run();
    }
  sizes();
  return test_done("guard");
}
