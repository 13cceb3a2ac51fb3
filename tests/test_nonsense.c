// Nonsense from the caller: a clear status, a reason in words where one is promised, and nothing changed. Everything
// that a call could change lies in one struct, `w`, and in the blocks it points to; both are compared byte by byte
// around every refused call. At the end the abused objects train on, and give the same bits as objects nobody abused.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/test.h"
#include "tests/tiny.h"
#include <float.h>

enum { LEAVES = 4, GROUPS = 8, SPANS = 1 + TINY_FORKS, ROWS = TINY_PROMPT + TINY_FORKS, GUARD = 64, ANY = -1 };
#define HUGE_INT ((fr_int)(((size_t)-1) >> 1))

// ---- all that could change
typedef struct world {
  fr_model model, other;
  fr_adamw adamw;
  tiny t;
  fr_span spans[SPANS];
  fr_target targets[2];
  fr_tree tree;
  fr_sampling sampling;
  fr_token stop;
  fr_token texts[LEAVES][TINY_TRACE];
  fr_leaf leaves[LEAVES];
  // outputs, filled with a pattern
  fr_sum sums[GROUPS];
  float logits[ROWS * TINY_VOCAB];
  fr_ssft_report report;
  fr_ssft_total total;
  fr_limits limits;
  fr_config resolved;
  fr_tensor tensor;
  fr_vote_result vote;
  fr_int bytes, columns[4];
  double norm, sum;
  float *grads;  // room for model.count floats, with guards
} world;
static world w, good, before_call;
static fr_work work;
static unsigned char *block[4], *block_before[4];  // model, optimiser, gradients, the other model
static size_t block_bytes[4];

static const float nan_float = (float)NAN, infinity = (float)INFINITY;
static const double nan_double = (double)NAN;

static void before(void)
{
  before_call = w;
  for (int i = 0; i < 4; i++) memcpy(block_before[i], block[i], block_bytes[i]);
  work.reason.text[0] = 0;
}

static void after(fr_status got, int want, int with_reason, const char *call, int line)
{
  char text[400];
  int same = !memcmp(&before_call, &w, sizeof w);
  snprintf(text, sizeof text, "%.200s: got \"%.80s\"", call, fr_status_text(got));
  test_check(want == ANY ? got != FR_OK : (int)got == want, text, __FILE__, line);
  for (int i = 0; i < 4; i++) same &= !memcmp(block_before[i], block[i], block_bytes[i]);
  snprintf(text, sizeof text, "%.200s: something changed", call);
  test_check(same, text, __FILE__, line);
  snprintf(text, sizeof text, "%.200s: no reason given", call);
  if (with_reason)
    test_check(work.reason.text[0] && memchr(work.reason.text, 0, sizeof work.reason.text), text, __FILE__, line);
  if (!same) {  // one failure is enough
    w = before_call;
    for (int i = 0; i < 4; i++) memcpy(block[i], block_before[i], block_bytes[i]);
  }
}

#define REFUSE(want, call) do { before(); const fr_status got_ = (call); after(got_, want, 1, #call, __LINE__); } while (0)
#define REFUSE_QUIETLY(want, call) do { before(); const fr_status got_ = (call); after(got_, want, 0, #call, __LINE__); } while (0)
// Breaks one field, makes the call, and puts everything back.
#define BROKEN(breakage, want, call) do { breakage; REFUSE(want, call); w = good; } while (0)
#define BROKEN_QUIETLY(breakage, want, call) do { breakage; REFUSE_QUIETLY(want, call); w = good; } while (0)

// Untied, so that a bad row of the embedding is met only by those who read it.
static fr_config small(void)
{
  fr_config config = tiny_config(1, 24);
  config.tied = 0;
  return config;
}

static void *block_of(int i, fr_int bytes)
{
  block_bytes[i] = (size_t)bytes + GUARD;
  block[i] = (unsigned char *)test_alloc(block_bytes[i]);
  block_before[i] = (unsigned char *)test_alloc(block_bytes[i]);
  memset(block[i], 0xC3, block_bytes[i]);
  return block[i];
}

static void build(void)
{
  const fr_config config = small();
  fr_config other = config;
  fr_int bytes = 0;
  memset(&w, 0, sizeof w);
  other.vocab += 3;
  tiny_fill(&w.t, 1);
  CHECK(fr_model_place(NULL, &config, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_model_place(&w.model, &config, block_of(0, bytes), bytes, NULL) == FR_OK);
  fr_model_init(&w.model, 11);
  CHECK(fr_adamw_place(NULL, &w.model, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_adamw_place(&w.adamw, &w.model, block_of(1, bytes), bytes, NULL) == FR_OK);
  memset((char *)&w.adamw.clip + sizeof(float), 0, offsetof(fr_adamw, count) - offsetof(fr_adamw, clip) - sizeof(float));  // padding
  w.grads = (float *)block_of(2, w.model.count * (fr_int)sizeof(float));
  CHECK(fr_model_place(NULL, &other, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_model_place(&w.other, &other, block_of(3, bytes), bytes, NULL) == FR_OK);
  const fr_limits limits = tiny_limits(&w.t, 2, LEAVES, 1);
  CHECK(fr_work_place(NULL, &config, &limits, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_work_place(&work, &config, &limits, test_alloc((size_t)bytes), bytes, NULL) == FR_OK);

  w.tree = tiny_tree(&w.t, 0, w.spans);
  for (int i = 0; i < 2; i++) {
    w.targets[i].row = i;
    w.targets[i].token = 3 + i;
    w.targets[i].weight = 1.0f;
    w.targets[i].group = i;
  }
  w.tree.targets = w.targets;
  w.tree.target_count = 2;
  w.stop = TINY_END;
  w.sampling.max_tokens = TINY_TRACE;
  w.sampling.stops = &w.stop;
  w.sampling.stop_count = 1;
  for (int i = 0; i < LEAVES; i++) {
    w.leaves[i].span = 1 + i;
    w.leaves[i].leaf = (uint64_t)i;
    w.leaves[i].tokens = w.texts[i];
    w.leaves[i].count = 77;
    w.leaves[i].logp = 77.0;
  }
  memset(w.texts, 0x2B, sizeof w.texts);
  memset(w.sums, 0x2B, sizeof w.sums);
  memset(w.logits, 0x2B, sizeof w.logits);
  memset(&w.report, 0x2B, sizeof w.report);
  memset(&w.total, 0x2B, sizeof w.total);
  w.bytes = 77;
  w.norm = w.sum = 77.0;
  for (int q = 0; q < TINY_QUESTIONS; q++)
    for (int j = 0; j < TINY_TRACES; j++) w.t.fork[q][j] = (j + q) % TINY_FORKS;
  good = w;
}

// ---- configurations
static void configs(void)
{
  const fr_config fine = small();
  fr_config c;
  fr_reason reason;
  CHECK(fr_config_check(&fine, NULL, NULL) == FR_OK);
  strcpy(reason.text, "old");
  CHECK(fr_config_check(&fine, &c, &reason) == FR_OK && !reason.text[0]);
  CHECK(c.head_dim == 6 && c.kv_heads == 2 && c.rope_original == 8192);
#define BAD(change, want)                                                           \
  do {                                                                              \
    c = fine;                                                                       \
    change;                                                                         \
    reason.text[0] = 0;                                                             \
    REFUSE_QUIETLY(want, fr_config_check(&c, &w.resolved, &reason));                \
    CHECK(reason.text[0]);                                                          \
    REFUSE_QUIETLY(want, fr_config_check(&c, &w.resolved, NULL));                   \
    REFUSE_QUIETLY(want, fr_model_place(NULL, &c, NULL, 0, &w.bytes));                              \
    REFUSE_QUIETLY(want, fr_model_place(&w.model, &c, block[0], w.bytes, NULL));          \
    REFUSE_QUIETLY(want, fr_work_place(NULL, &c, &work.limits, NULL, 0, &w.bytes));                 \
  } while (0)
  BAD(c.layers = 0, FR_CONFIG);
  BAD(c.layers = -1, FR_CONFIG);
  BAD(c.dim = 0, FR_CONFIG);
  BAD(c.dim = -24, FR_CONFIG);
  BAD(c.dim = 25, FR_CONFIG);  // not divided by heads, and no head_dim
  BAD(c.heads = 0, FR_CONFIG);
  BAD(c.heads = -4, FR_CONFIG);
  BAD(c.kv_heads = 3, FR_CONFIG);
  BAD(c.kv_heads = 8, FR_CONFIG);
  BAD(c.kv_heads = -2, FR_CONFIG);
  BAD(c.head_dim = 7, FR_CONFIG);
  BAD(c.head_dim = -6, FR_CONFIG);
  BAD(c.dim = 12, FR_CONFIG);  // head_dim 3 is odd
  BAD(c.ffn = 0, FR_CONFIG);
  BAD(c.ffn = -1, FR_CONFIG);
  BAD(c.vocab = 0, FR_CONFIG);
  BAD(c.vocab = -16, FR_CONFIG);
  BAD(c.norm_eps = -1e-5f, FR_CONFIG);
  BAD(c.norm_eps = nan_float, FR_CONFIG);
  BAD(c.norm_eps = infinity, FR_CONFIG);
  BAD(c.rope_theta = -1.0f, FR_CONFIG);
  BAD(c.rope_theta = nan_float, FR_CONFIG);
  BAD(c.embed_scale = infinity, FR_CONFIG);
  BAD(c.embed_scale = nan_float, FR_CONFIG);
  BAD(c.rope_factor = -8.0f, FR_CONFIG);
  BAD(c.rope_factor = nan_float, FR_CONFIG);
  BAD(c.rope_factor = infinity, FR_CONFIG);
  BAD((c.rope_factor = 8.0f, c.rope_low = 4.0f, c.rope_high = 1.0f), FR_CONFIG);
  BAD((c.rope_factor = 8.0f, c.rope_low = nan_float), FR_CONFIG);
  BAD((c.rope_factor = 8.0f, c.rope_original = -1), FR_CONFIG);
  BAD(c.layers = HUGE_INT, FR_OVERFLOW);
  BAD(c.layers = HUGE_INT / 1000, FR_OVERFLOW);
  BAD(c.dim = HUGE_INT / 16 * 8, FR_OVERFLOW);
  BAD((c.heads = HUGE_INT, c.kv_heads = 0, c.head_dim = 2), ANY);
  BAD(c.head_dim = HUGE_INT - 1, FR_OVERFLOW);
  BAD(c.ffn = HUGE_INT, FR_OVERFLOW);
  BAD(c.vocab = HUGE_INT, ANY);
#undef BAD
  REFUSE_QUIETLY(ANY, fr_config_check(NULL, &w.resolved, NULL));
  REFUSE_QUIETLY(ANY, fr_model_place(NULL, NULL, NULL, 0, &w.bytes));
  REFUSE_QUIETLY(ANY, fr_model_place(NULL, &fine, NULL, 0, NULL));
}

static void models(void)
{
  const fr_config fine = small();
  fr_int needed = 0;
  CHECK(fr_model_place(NULL, &fine, NULL, 0, &needed) == FR_OK);
  REFUSE_QUIETLY(FR_MEMORY, fr_model_place(&w.model, &fine, block[0], needed - 1, NULL));
  REFUSE_QUIETLY(FR_MEMORY, fr_model_place(&w.model, &fine, block[0], 0, NULL));
  REFUSE_QUIETLY(FR_MEMORY, fr_model_place(&w.model, &fine, block[0], -1, NULL));
  REFUSE_QUIETLY(ANY, fr_model_place(&w.model, &fine, NULL, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_model_place(NULL, &fine, block[0], needed, NULL));
  REFUSE_QUIETLY(FR_RANGE, fr_model_tensor(&w.model, -1, &w.tensor));
  REFUSE_QUIETLY(FR_RANGE, fr_model_tensor(&w.model, 1000, &w.tensor));
  REFUSE_QUIETLY(FR_RANGE, fr_model_tensor(&w.model, HUGE_INT, &w.tensor));
  REFUSE_QUIETLY(FR_RANGE, fr_model_set_rows(&w.model, -1, 1, 0, 0.02f, 1));
  REFUSE_QUIETLY(FR_RANGE, fr_model_set_rows(&w.model, TINY_VOCAB, 1, 0, 0.02f, 1));
  REFUSE_QUIETLY(FR_RANGE, fr_model_set_rows(&w.model, 1, TINY_VOCAB, 0, 0.02f, 1));
  REFUSE_QUIETLY(FR_RANGE, fr_model_set_rows(&w.model, 1, HUGE_INT, 0, 0.02f, 1));
  REFUSE_QUIETLY(FR_RANGE, fr_model_set_rows(&w.model, 1, -1, 0, 0.02f, 1));
  REFUSE_QUIETLY(ANY, fr_model_set_rows(&w.model, 12, 4, 0, nan_float, 1));
  REFUSE_QUIETLY(ANY, fr_model_set_rows(&w.model, 12, 4, 0, -1.0f, 1));
  REFUSE_QUIETLY(ANY, fr_model_set_rows(&w.model, 12, 4, 0, infinity, 1));
  REFUSE_QUIETLY(ANY, fr_model_append_rows(&w.model, &w.other));  // would have to lose rows
  REFUSE_QUIETLY(ANY, fr_model_append_rows(&w.model, &w.model));
  REFUSE_QUIETLY(ANY, fr_model_append_rows(NULL, &w.model));
  REFUSE_QUIETLY(ANY, fr_model_append_rows(&w.other, NULL));
  BROKEN_QUIETLY(w.other.config.ffn++, ANY, fr_model_append_rows(&w.other, &w.model));
  BROKEN_QUIETLY(w.other.config.tied = 1, ANY, fr_model_append_rows(&w.other, &w.model));
}

// ---- workspaces: sizes are checked against an estimate in double, so that a wrapped size is seen
static void workspaces(void)
{
  const fr_config fine = small();
  const fr_limits limits = work.limits;
  fr_limits l;
  fr_int needed = 0;
  unsigned char *memory;
  fr_work probe;
  CHECK(fr_work_place(NULL, &fine, &limits, NULL, 0, &needed) == FR_OK);
  memory = (unsigned char *)test_alloc((size_t)needed);
  memset(memory, 0x3C, (size_t)needed);
#define PLACE(want, config, limit, where, bytes)                                      \
  do {                                                                                \
    const fr_work was = work;                                                         \
    REFUSE(want, fr_work_place(&work, config, limit, where, bytes, NULL));                  \
    work.reason = was.reason;                                                         \
    CHECK(!memcmp(&was, &work, sizeof work));                                         \
  } while (0)
  PLACE(FR_MEMORY, &fine, &limits, memory, needed - 1);
  PLACE(FR_MEMORY, &fine, &limits, memory, 0);
  PLACE(FR_MEMORY, &fine, &limits, memory, -1);
  PLACE(ANY, &fine, &limits, NULL, needed);
  PLACE(ANY, NULL, &limits, memory, needed);
  PLACE(ANY, &fine, NULL, memory, needed);
  for (fr_int i = 0; i < needed; i++)
    if (!CHECK(memory[i] == 0x3C)) break;
  memset(&probe, 0, sizeof probe);
  CHECK(fr_work_place(&probe, &fine, &limits, memory, needed, NULL) == FR_OK);
  REFUSE_QUIETLY(ANY, fr_work_place(NULL, &fine, &limits, memory, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_work_place(NULL, &fine, NULL, NULL, 0, &w.bytes));
  REFUSE_QUIETLY(ANY, fr_work_place(NULL, NULL, &limits, NULL, 0, &w.bytes));
  REFUSE_QUIETLY(ANY, fr_work_place(NULL, &fine, &limits, NULL, 0, NULL));
  fr_int *const fields[8] = { &l.rows, &l.grad_rows, &l.spans, &l.targets, &l.leaves, &l.depth, &l.tasks, &l.cache_rows };
  for (int i = 0; i < 8; i++) {
    l = limits; *fields[i] = -1;
    REFUSE_QUIETLY(ANY, fr_work_place(NULL, &fine, &l, NULL, 0, &w.bytes));
    PLACE(ANY, &fine, &l, memory, needed);
    l = limits; *fields[i] = -HUGE_INT - 1;
    REFUSE_QUIETLY(ANY, fr_work_place(NULL, &fine, &l, NULL, 0, &w.bytes));
    l = limits; *fields[i] = HUGE_INT;
    REFUSE_QUIETLY(FR_OVERFLOW, fr_work_place(NULL, &fine, &l, NULL, 0, &w.bytes));
    PLACE(FR_OVERFLOW, &fine, &l, memory, needed);
    l = limits; *fields[i] = HUGE_INT / 64;
    REFUSE_QUIETLY(FR_OVERFLOW, fr_work_place(NULL, &fine, &l, NULL, 0, &w.bytes));
    PLACE(FR_OVERFLOW, &fine, &l, memory, needed);
    l = limits; *fields[i] = HUGE_INT / 8192;
    if (fr_work_place(NULL, &fine, &l, NULL, 0, &w.bytes) != FR_OK) PLACE(FR_OVERFLOW, &fine, &l, memory, HUGE_INT);
    w = good;
  }
#undef PLACE
  const char *kernel = work.kernel;
  REFUSE(FR_UNSUPPORTED, fr_work_select(&work, "abacus"));
  REFUSE(FR_UNSUPPORTED, fr_work_select(&work, ""));
  REFUSE(ANY, fr_work_select(&work, NULL));
  CHECK(work.kernel == kernel);
  free(memory);

  // Random sizes out of this world. The sanitizers watch the arithmetic; a size that is given covers what it must.
  const fr_int spread[] = { 0, 1, 2, 3, 4, 6, 64, 1000, 4096, 65536, 1 << 20, 1 << 30,
                            HUGE_INT / 4096, HUGE_INT / 1000, HUGE_INT / 3, HUGE_INT - 1, HUGE_INT, -1 };
  const fr_int kinds = (fr_int)(sizeof spread / sizeof *spread);
  long accepted = 0;
  for (int round = 0; round < 20000; round++) {
    fr_config c = fine;
    fr_int *const sizes[] = { &c.layers, &c.dim, &c.heads, &c.kv_heads, &c.head_dim, &c.ffn, &c.vocab,
                              &l.rows, &l.grad_rows, &l.spans, &l.targets, &l.leaves, &l.depth, &l.tasks, &l.cache_rows };
    l = limits;
    c.head_dim = 6;
    c.tied = (int)test_below_int(2);
    c.qk_norm = (int)test_below_int(2);
    for (int changes = 1 + (int)test_below_int(3); changes; changes--) *sizes[test_below_int(15)] = spread[test_below_int(kinds)];
    fr_int bytes = -5;
    const fr_status status = fr_work_place(NULL, &c, &l, NULL, 0, &bytes);
    fr_config r;
    if (status != FR_OK) { CHECK(bytes == -5); continue; }
    accepted++;
    CHECK(fr_config_check(&c, &r, NULL) == FR_OK);
    const double tasks = l.tasks > 1 ? (double)l.tasks : 1.0, head = (double)r.head_dim;
    const double least = 8.0 * (double)r.layers * (double)l.cache_rows * (double)r.kv_heads * head +
                         4.0 * (double)l.grad_rows * (double)r.layers *
                           ((double)r.dim + (double)r.heads * head + 2.0 * (double)r.ffn) +
                         4.0 * (double)l.depth * head + (double)l.spans * 16.0 + (double)l.targets * 8.0 +
                         tasks * (double)l.depth * 4.0;
    CHECK(bytes > 0 && (double)bytes >= 0.999 * least);
    CHECK(fr_model_place(NULL, &c, NULL, 0, &bytes) == FR_OK);
    const double floats = (double)r.vocab * (double)r.dim * (r.tied ? 1.0 : 2.0) +
                          (double)r.layers * (double)r.dim * (2.0 * (double)(r.heads + r.kv_heads) * head + 3.0 * (double)r.ffn);
    CHECK((double)bytes >= 0.999 * 4.0 * floats);
  }
  CHECK(accepted > 1000 && accepted < 19000);
}

// ---- trees
static void trees(void)
{
  fr_int all_rows = ROWS;
  CHECK(fr_tree_row(&w.tree, w.tree.span_count) == all_rows);
  CHECK(fr_tree_limits(&w.tree, &w.limits) == FR_OK && w.limits.rows == ROWS && w.limits.leaves == TINY_FORKS);
  w = good;
  REFUSE_QUIETLY(ANY, fr_tree_limits(NULL, &w.limits));
  REFUSE_QUIETLY(ANY, fr_tree_limits(&w.tree, NULL));
  BROKEN_QUIETLY(w.spans[1].parent = 3, FR_RANGE, fr_tree_limits(&w.tree, &w.limits));
  BROKEN_QUIETLY(w.spans[1].parent = 1, FR_RANGE, fr_tree_limits(&w.tree, &w.limits));
  BROKEN_QUIETLY(w.spans[1].parent = -2, FR_RANGE, fr_tree_limits(&w.tree, &w.limits));
  BROKEN_QUIETLY(w.spans[2].tokens.count = -1, ANY, fr_tree_limits(&w.tree, &w.limits));
  BROKEN_QUIETLY((w.spans[2].tokens.count = HUGE_INT, w.spans[3].tokens.count = HUGE_INT), FR_OVERFLOW,
                 fr_tree_limits(&w.tree, &w.limits));
  BROKEN_QUIETLY(w.tree.span_count = -1, ANY, fr_tree_limits(&w.tree, &w.limits));
  BROKEN_QUIETLY(w.tree.spans = NULL, ANY, fr_tree_limits(&w.tree, &w.limits));
}

// The same nonsense for fr_forward and fr_backward.
static fr_status run(int gradient)
{
  return gradient ? fr_backward(&w.model, &work, &w.tree, w.grads, w.sums, GROUPS)
                  : fr_forward(&w.model, &work, &w.tree, w.sums, GROUPS);
}

static void passes(void)
{
  static float logits[ROWS * TINY_VOCAB], again[ROWS * TINY_VOCAB];
  fr_int rows[ROWS];
  for (int i = 0; i < ROWS; i++) rows[i] = i;
  CHECK(fr_forward(&w.model, &work, &w.tree, w.sums, GROUPS) == FR_OK);
  w = good;
  CHECK(fr_logits(&w.model, &work, rows, ROWS, logits, NULL) == FR_OK);

  fr_token long_path[200], bad_ids[TINY_PROMPT];
  for (int i = 0; i < 200; i++) long_path[i] = 1;
  for (int gradient = 0; gradient < 2; gradient++) {
    const fr_limits *limits = &work.limits;
    BROKEN(w.spans[1].parent = 3, FR_RANGE, run(gradient));
    BROKEN(w.spans[1].parent = 1, FR_RANGE, run(gradient));
    BROKEN(w.spans[0].parent = 0, FR_RANGE, run(gradient));
    BROKEN(w.spans[4].parent = -2, FR_RANGE, run(gradient));
    BROKEN(w.spans[4].parent = HUGE_INT, FR_RANGE, run(gradient));
    for (int i = 0; i < TINY_PROMPT; i++) {
      const fr_token bad[4] = { TINY_VOCAB, -1, INT32_MAX, INT32_MIN };
      for (int k = 0; k < 4; k++) {
        memcpy(bad_ids, w.t.prompt[0], sizeof bad_ids);
        bad_ids[i] = bad[k];
        BROKEN(w.spans[0].tokens.ids = bad_ids, FR_RANGE, run(gradient));
      }
    }
    BROKEN(w.spans[2].tokens.count = -1, ANY, run(gradient));
    BROKEN(w.spans[2].tokens.ids = NULL, ANY, run(gradient));
    BROKEN(w.tree.span_count = -1, ANY, run(gradient));
    BROKEN(w.tree.target_count = -1, ANY, run(gradient));
    BROKEN(w.tree.spans = NULL, ANY, run(gradient));
    BROKEN(w.tree.targets = NULL, ANY, run(gradient));
    BROKEN(w.targets[1].row = ROWS, FR_RANGE, run(gradient));
    BROKEN(w.targets[1].row = -1, FR_RANGE, run(gradient));
    BROKEN(w.targets[1].row = HUGE_INT, FR_RANGE, run(gradient));
    BROKEN(w.targets[1].token = TINY_VOCAB, FR_RANGE, run(gradient));
    BROKEN(w.targets[1].token = -1, FR_RANGE, run(gradient));
    BROKEN(w.targets[1].group = GROUPS, FR_RANGE, run(gradient));
    BROKEN(w.targets[1].group = -2, FR_RANGE, run(gradient));
    // Larger than the limits, one limit at a time; the reason names it.
    BROKEN((w.spans[0].tokens.ids = long_path, w.spans[0].tokens.count = limits->depth), FR_LIMIT, run(gradient));
    BROKEN((w.spans[0].tokens.ids = long_path, w.spans[0].tokens.count = limits->depth + 1, w.tree.span_count = 1), FR_LIMIT,
           run(gradient));
    CHECK(strstr(work.reason.text, "depth") != NULL);
    BROKEN((w.spans[0].tokens.ids = long_path, w.spans[0].tokens.count = (gradient ? limits->grad_rows : limits->rows) + 1),
           FR_LIMIT, run(gradient));
    CHECK(strstr(work.reason.text, gradient ? "grad_rows" : "rows") != NULL);
    BROKEN(w.spans[0].tokens.count = HUGE_INT, FR_LIMIT, run(gradient));
    BROKEN(w.tree.span_count = limits->spans + 1, FR_LIMIT, run(gradient));
    CHECK(strstr(work.reason.text, "spans") != NULL);
    BROKEN(w.tree.target_count = limits->targets + 1, FR_LIMIT, run(gradient));
    CHECK(strstr(work.reason.text, "targets") != NULL);
  }
  REFUSE(ANY, fr_forward(NULL, &work, &w.tree, w.sums, GROUPS));
  REFUSE(ANY, fr_forward(&w.model, &work, NULL, w.sums, GROUPS));
  REFUSE(ANY, fr_forward(&w.model, &work, &w.tree, NULL, GROUPS));
  REFUSE(ANY, fr_forward(&w.model, &work, &w.tree, w.sums, -1));
  REFUSE(FR_RANGE, fr_forward(&w.model, &work, &w.tree, w.sums, 1));
  REFUSE(FR_RANGE, fr_forward(&w.model, &work, &w.tree, NULL, 0));
  REFUSE(FR_CONFIG, fr_forward(&w.other, &work, &w.tree, w.sums, GROUPS));  // a model that the workspace was not made for
  REFUSE_QUIETLY(ANY, fr_forward(&w.model, NULL, &w.tree, w.sums, GROUPS));
  REFUSE(ANY, fr_backward(NULL, &work, &w.tree, w.grads, w.sums, GROUPS));
  REFUSE(ANY, fr_backward(&w.model, &work, &w.tree, NULL, w.sums, GROUPS));
  REFUSE(ANY, fr_backward(&w.model, &work, NULL, w.grads, w.sums, GROUPS));
  REFUSE(FR_CONFIG, fr_backward(&w.other, &work, &w.tree, w.grads, w.sums, GROUPS));
  REFUSE_QUIETLY(ANY, fr_backward(&w.model, NULL, &w.tree, w.grads, w.sums, GROUPS));
  // The run before all of these can still be read.
  CHECK(fr_logits(&w.model, &work, rows, ROWS, again, NULL) == FR_OK);
  CHECK(!memcmp(logits, again, sizeof logits));

  rows[3] = ROWS;
  REFUSE(FR_RANGE, fr_logits(&w.model, &work, rows, ROWS, w.logits, NULL));
  rows[3] = -1;
  REFUSE(FR_RANGE, fr_logits(&w.model, &work, rows, ROWS, w.logits, NULL));
  rows[3] = 3;
  REFUSE(ANY, fr_logits(&w.model, &work, rows, -1, w.logits, NULL));
  REFUSE(ANY, fr_logits(&w.model, &work, NULL, ROWS, w.logits, NULL));
  REFUSE(ANY, fr_logits(&w.model, &work, rows, ROWS, NULL, NULL));
  REFUSE(ANY, fr_logits(NULL, &work, rows, ROWS, w.logits, NULL));
  REFUSE_QUIETLY(ANY, fr_logits(&w.model, NULL, rows, ROWS, w.logits, NULL));
  {  // a fresh workspace has nothing to read
    fr_work fresh;
    fr_int bytes = 0;
    memset(&fresh, 0, sizeof fresh);
    CHECK(fr_work_place(NULL, &w.model.config, &work.limits, NULL, 0, &bytes) == FR_OK);
    void *memory = test_alloc((size_t)bytes);
    CHECK(fr_work_place(&fresh, &w.model.config, &work.limits, memory, bytes, NULL) == FR_OK);
    REFUSE_QUIETLY(ANY, fr_logits(&w.model, &fresh, rows, ROWS, w.logits, NULL));
    CHECK(fresh.reason.text[0]);
    free(memory);
  }

  // Not nonsense: an empty forest, empty spans, a tree without targets.
  w.tree.span_count = w.tree.target_count = 0;
  CHECK(fr_forward(&w.model, &work, &w.tree, NULL, 0) == FR_OK);
  CHECK(fr_backward(&w.model, &work, &w.tree, w.grads, w.sums, 1) == FR_OK && w.sums[0].count == 0);
  w = good;
  w.spans[0].tokens.count = 0;
  w.targets[0].row = w.targets[1].row = 0;
  CHECK(fr_forward(&w.model, &work, &w.tree, w.sums, GROUPS) == FR_OK);
  w = good;
  memset(w.grads, 0xC3, (size_t)w.model.count * sizeof(float));
}

// ---- the optimiser
static void optimiser(void)
{
  fr_int needed = 0;
  CHECK(fr_adamw_place(NULL, &w.model, NULL, 0, &needed) == FR_OK);
  REFUSE_QUIETLY(FR_MEMORY, fr_adamw_place(&w.adamw, &w.model, block[1], needed - 1, NULL));
  REFUSE_QUIETLY(ANY, fr_adamw_place(&w.adamw, &w.model, NULL, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_adamw_place(&w.adamw, NULL, block[1], needed, NULL));
  REFUSE_QUIETLY(ANY, fr_adamw_place(NULL, &w.model, block[1], needed, NULL));
  REFUSE_QUIETLY(ANY, fr_adamw_place(NULL, NULL, NULL, 0, &w.bytes));
  REFUSE_QUIETLY(ANY, fr_adamw_place(NULL, &w.model, NULL, 0, NULL));
  w.adamw.grads[5] = 1.0f;
  const float rates[4] = { nan_float, infinity, -infinity, -1e-3f };
  for (int i = 0; i < 4; i++) REFUSE(ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, rates[i], &w.norm));
  REFUSE(ANY, fr_adamw_step(&w.adamw, &w.other, &work, 1.0, 1e-3f, &w.norm));
  REFUSE(ANY, fr_adamw_step(&w.adamw, NULL, &work, 1.0, 1e-3f, &w.norm));
  REFUSE(ANY, fr_adamw_step(NULL, &w.model, &work, 1.0, 1e-3f, &w.norm));
  REFUSE_QUIETLY(ANY, fr_adamw_step(&w.adamw, &w.model, NULL, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.count--, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.grads = NULL, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.beta1 = nan_float, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.beta2 = 1.0f, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.beta1 = -0.5f, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.eps = nan_float, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.eps = 0.0f, FR_INVALID, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));  // 0/0 without a gradient
  REFUSE(FR_INVALID, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 3e38f, &w.norm));  // the first rate is lr / (1 - beta1)
  BROKEN(w.adamw.decay = infinity, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
  BROKEN(w.adamw.clip = nan_float, ANY, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));

  {  // never initialised: as fr_model_new leaves it
    fr_ssft_report report;
    memset(w.model.params, 0, (size_t)w.model.count * sizeof(float));
    REFUSE(FR_INVALID, fr_adamw_step(&w.adamw, &w.model, &work, 1.0, 1e-3f, &w.norm));
    CHECK(strstr(work.reason.text, "fr_model_init") != NULL);
    REFUSE(FR_INVALID, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, w.t.questions, 2, 1e-3f, &report));
    fr_model_init(&w.model, 11);
  }

  // A loss or gradient that is not finite is no nonsense of the caller: the step is counted and its gradient dropped.
  float *state = (float *)test_alloc(3 * (size_t)w.model.count * sizeof(float));
  for (int i = 0; i < 4; i++) {
    w.adamw.grads[7] = i < 2 ? 1.0f : i == 2 ? nan_float : infinity;
    memcpy(state, w.model.params, (size_t)w.model.count * sizeof(float));
    memcpy(state + w.model.count, w.adamw.m, (size_t)w.model.count * sizeof(float));
    memcpy(state + 2 * w.model.count, w.adamw.v, (size_t)w.model.count * sizeof(float));
    const double loss = i == 0 ? nan_double : i == 1 ? (double)INFINITY : 1.0;
    CHECK(fr_adamw_step(&w.adamw, &w.model, &work, loss, 1e-3f, NULL) == FR_NONFINITE);
    CHECK(work.reason.text[0] && w.adamw.skipped == i + 1 && w.adamw.step == 0);
    CHECK(!memcmp(state, w.model.params, (size_t)w.model.count * sizeof(float)));
    CHECK(!memcmp(state + w.model.count, w.adamw.m, (size_t)w.model.count * sizeof(float)));
    CHECK(!memcmp(state + 2 * w.model.count, w.adamw.v, (size_t)w.model.count * sizeof(float)));
    fr_int left = 0;
    for (fr_int j = 0; j < w.adamw.count; j++) left += w.adamw.grads[j] != 0.0f;
    CHECK(left == 0);
  }
  free(state);
  w = good;
}

// ---- assignment
static void assignment(void)
{
  double cost[12], nasty[36];
  unsigned char scratch[2000];
  fr_int needed = 0;
  for (int i = 0; i < 12; i++) cost[i] = (double)(i * 7 % 5);
  CHECK(fr_assign(NULL, 0, 0, 3, 4, NULL, NULL, NULL, 0, &needed) == FR_OK && needed <= (fr_int)sizeof scratch);
  CHECK(fr_assign(cost, 4, 1, 3, 4, w.columns, &w.sum, scratch, needed, NULL) == FR_OK);
  w = good;
  for (int i = 0; i < 12; i++) {
    const double bad[3] = { nan_double, (double)INFINITY, -(double)INFINITY };
    for (int k = 0; k < 3; k++) {
      const double was = cost[i];
      cost[i] = bad[k];
      REFUSE_QUIETLY(FR_NONFINITE, fr_assign(cost, 4, 1, 3, 4, w.columns, &w.sum, scratch, needed, NULL));
      cost[i] = was;
    }
  }
  REFUSE_QUIETLY(FR_MEMORY, fr_assign(cost, 4, 1, 3, 4, w.columns, &w.sum, scratch, needed - 1, NULL));
  REFUSE_QUIETLY(ANY, fr_assign(cost, 4, 1, 3, 4, w.columns, &w.sum, NULL, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_assign(NULL, 4, 1, 3, 4, w.columns, &w.sum, scratch, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_assign(cost, 4, 1, 3, 4, NULL, &w.sum, scratch, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_assign(cost, 4, 1, -3, 4, w.columns, &w.sum, scratch, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_assign(cost, 4, 1, 3, -4, w.columns, &w.sum, scratch, needed, NULL));
  REFUSE_QUIETLY(ANY, fr_assign(NULL, 0, 0, -1, 4, NULL, NULL, NULL, 0, &w.bytes));
  REFUSE_QUIETLY(ANY, fr_assign(NULL, 0, 0, 3, 4, NULL, NULL, NULL, 0, NULL));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_assign(NULL, 0, 0, HUGE_INT, HUGE_INT, NULL, NULL, NULL, 0, &w.bytes));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_assign(NULL, 0, 0, 2, HUGE_INT / 8, NULL, NULL, NULL, 0, &w.bytes));
  CHECK(fr_assign(NULL, 0, 0, 0, 0, NULL, NULL, scratch, (fr_int)sizeof scratch, NULL) == FR_OK);

  // Finite, but their differences are not: a matching, or a status.
  CHECK(fr_assign(NULL, 0, 0, 6, 6, NULL, NULL, NULL, 0, &needed) == FR_OK && needed <= (fr_int)sizeof scratch);
  for (int round = 0; round < 3000; round++) {
    const double kinds[] = { DBL_MAX, -DBL_MAX, 1e308, -1e308, 0.0, 1.0, -1.0, DBL_MIN, 5e307 };
    const fr_int rows = 1 + test_below_int(6), cols = 1 + test_below_int(6);
    fr_int columns[6], seen[6] = { 0, 0, 0, 0, 0, 0 }, matched = 0;
    for (int i = 0; i < 36; i++) nasty[i] = kinds[test_below_int(9)];
    for (int i = 0; i < 6; i++) columns[i] = -7;
    memset(scratch, 0x7F, sizeof scratch);
    const fr_status status = fr_assign(nasty, cols, 1, rows, cols, columns, NULL, scratch, needed, NULL);
    for (fr_int r = 0; r < rows; r++) {
      if (status != FR_OK) { CHECK(columns[r] == -7); continue; }
      CHECK(columns[r] >= -1 && columns[r] < cols);
      if (columns[r] >= 0 && columns[r] < cols) { CHECK(!seen[columns[r]]++); matched++; }
    }
    CHECK(status != FR_OK || matched == (rows < cols ? rows : cols));
  }
}

// ---- the set loss: match, loss, backward and step with the same nonsense
static fr_status set_loss(int which)
{
  const fr_ssft_total total = { 10.0, 2.0 };
  switch (which) {
    case 0:  return fr_ssft_match(&w.model, &work, &w.t.options, w.t.questions, TINY_QUESTIONS);
    case 1:  return fr_ssft_backward(&w.model, &work, &w.t.options, w.t.questions, TINY_QUESTIONS, total, NULL, &w.report);
    case 2:  return fr_ssft_backward(&w.model, &work, &w.t.options, w.t.questions, TINY_QUESTIONS, total, w.grads, &w.report);
    default: return fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, w.t.questions, TINY_QUESTIONS, 1e-3f, &w.report);
  }
}

static void set_losses(void)
{
  const fr_method methods[4] = { FR_SSFT, FR_SSFT_RANDOM, FR_FIXED_LABELS, FR_SFT_MIXED };
  const int last = TINY_QUESTIONS - 1;  // the first questions are fine, so nothing may be run before all is checked
  fr_tokens traces[TINY_FORKS + 1];
  fr_token ids[40];
  fr_int forks[TINY_FORKS + 1];
  for (int i = 0; i < 40; i++) ids[i] = 1;
  for (int m = 0; m < 4; m++)
    for (int which = 0; which < 4; which++) {
      good.t.options.method = methods[m];
      w = good;
      if (methods[m] != FR_SFT_MIXED) {  // more traces than forks
        for (int j = 0; j <= TINY_FORKS; j++) { traces[j] = w.t.traces[0][0]; forks[j] = j; }
        BROKEN((w.t.questions[last].traces = traces, w.t.questions[last].trace_count = TINY_FORKS + 1,
                w.t.questions[last].fork = forks, w.t.questions[last].cost = NULL, w.t.questions[last].nll = NULL), FR_INVALID, set_loss(which));
        BROKEN(w.t.options.fork_count = 2, FR_INVALID, set_loss(which));
      }
      BROKEN(w.t.questions[last].trace_count = 0, FR_INVALID, set_loss(which));
      BROKEN(w.t.questions[last].trace_count = -1, FR_INVALID, set_loss(which));
      BROKEN(w.t.questions[last].traces = NULL, ANY, set_loss(which));
      BROKEN(w.t.questions[last].fork = NULL, ANY, set_loss(which));
      BROKEN(w.t.traces[last][1].count = 0, FR_INVALID, set_loss(which));  // empty trace
      BROKEN(w.t.traces[last][1].count = -1, FR_INVALID, set_loss(which));
      BROKEN(w.t.traces[last][1].ids = NULL, ANY, set_loss(which));
      BROKEN(w.t.questions[last].prompt.count = 0, FR_INVALID, set_loss(which));  // question of no tokens
      BROKEN(w.t.questions[last].prompt.count = -3, FR_INVALID, set_loss(which));
      BROKEN(w.t.questions[last].prompt.ids = NULL, ANY, set_loss(which));
      BROKEN(w.t.prompt[last][1] = TINY_VOCAB, FR_RANGE, set_loss(which));
      BROKEN(w.t.prompt[last][1] = -1, FR_RANGE, set_loss(which));
      BROKEN(w.t.ids[last][2][0] = TINY_VOCAB, FR_RANGE, set_loss(which));
      BROKEN(w.t.ids[last][2][TINY_TRACE - 1] = TINY_VOCAB, FR_RANGE, set_loss(which));  // not an input
      BROKEN(w.t.ids[last][2][0] = INT32_MIN, FR_RANGE, set_loss(which));
      BROKEN((w.t.questions[last].prompt.ids = ids, w.t.questions[last].prompt.count = 40), FR_LIMIT, set_loss(which));
      BROKEN((w.t.traces[last][0].ids = ids, w.t.traces[last][0].count = 40, w.t.options.prefix = 0), FR_LIMIT, set_loss(which));
      BROKEN(w.t.options.forks = NULL, ANY, set_loss(which));
      BROKEN(w.t.options.fork_count = 0, ANY, set_loss(which));
      BROKEN(w.t.options.fork_count = -1, ANY, set_loss(which));
      BROKEN(w.t.forks[2].count = 0, ANY, set_loss(which));
      BROKEN(w.t.forks[2].ids = NULL, ANY, set_loss(which));
      BROKEN(w.t.fork_ids[2] = TINY_VOCAB, FR_RANGE, set_loss(which));
      BROKEN(w.t.fork_ids[2] = w.t.fork_ids[1], FR_INVALID, set_loss(which));  // two forks that are the same
      BROKEN(w.t.options.method = (fr_method)7, FR_INVALID, set_loss(which));
      BROKEN(w.t.options.reduction = (fr_reduction)7, FR_INVALID, set_loss(which));
      BROKEN(w.t.options.fork_target = (fr_fork_target)7, FR_INVALID, set_loss(which));
      BROKEN(w.t.options.prefix = -1, FR_INVALID, set_loss(which));
      BROKEN(w.t.options.fork_weight = nan_float, ANY, set_loss(which));
      BROKEN(w.t.options.fork_weight = infinity, ANY, set_loss(which));
      BROKEN(w.t.options.fork_weight = -1.0f, ANY, set_loss(which));
    }
  good.t.options.method = FR_SSFT;
  w = good;
  const fr_ssft_total total = { 10.0, 2.0 };
  fr_question *const q = w.t.questions;
  // A matching that is none, for the calls that take one.
  for (int which = 1; which < 3; which++) {
    BROKEN(w.t.fork[last][1] = TINY_FORKS, FR_RANGE, set_loss(which));
    BROKEN(w.t.fork[last][1] = -1, FR_RANGE, set_loss(which));
    BROKEN(w.t.fork[last][1] = w.t.fork[last][0], FR_INVALID, set_loss(which));
  }
  const double bad_total[4] = { 0.0, -1.0, nan_double, (double)INFINITY };
  for (int i = 0; i < 4; i++) {
    fr_ssft_total bad = total;
    bad.traces = bad_total[i];
    REFUSE(ANY, fr_ssft_backward(&w.model, &work, &w.t.options, q, 2, bad, w.grads, &w.report));
    REFUSE(ANY, fr_ssft_backward(&w.model, &work, &w.t.options, q, 2, bad, NULL, &w.report));
    bad = total;
    bad.questions = bad_total[i];
    REFUSE(ANY, fr_ssft_backward(&w.model, &work, &w.t.options, q, 2, bad, w.grads, &w.report));
  }
  const float rates[4] = { nan_float, infinity, -infinity, -1e-3f };
  for (int i = 0; i < 4; i++)
    REFUSE(ANY, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, q, 2, rates[i], &w.report));
  REFUSE(ANY, fr_ssft_step(&w.model, &work, NULL, &w.t.options, q, 2, 1e-3f, &w.report));
  BROKEN(w.adamw.count--, ANY, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, q, 2, 1e-3f, &w.report));
  BROKEN(w.adamw.beta2 = nan_float, ANY, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, q, 2, 1e-3f, &w.report));
  REFUSE(ANY, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, q, 0, 1e-3f, &w.report));
  CHECK(strstr(work.reason.text, "at least one question") != NULL);
  REFUSE(ANY, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, q, -1, 1e-3f, &w.report));
  REFUSE(ANY, fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, NULL, 2, 1e-3f, &w.report));
  REFUSE(ANY, fr_ssft_step(&w.model, &work, &w.adamw, NULL, q, 2, 1e-3f, &w.report));
  REFUSE(ANY, fr_ssft_step(NULL, &work, &w.adamw, &w.t.options, q, 2, 1e-3f, &w.report));
  REFUSE(FR_CONFIG, fr_ssft_step(&w.other, &work, &w.adamw, &w.t.options, q, 2, 1e-3f, &w.report));
  REFUSE_QUIETLY(ANY, fr_ssft_step(&w.model, NULL, &w.adamw, &w.t.options, q, 2, 1e-3f, &w.report));
  REFUSE(ANY, fr_ssft_match(NULL, &work, &w.t.options, q, 2));
  REFUSE(ANY, fr_ssft_match(&w.model, &work, NULL, q, 2));
  REFUSE(ANY, fr_ssft_match(&w.model, &work, &w.t.options, NULL, 2));
  REFUSE(ANY, fr_ssft_match(&w.model, &work, &w.t.options, q, -1));
  REFUSE_QUIETLY(ANY, fr_ssft_match(&w.model, NULL, &w.t.options, q, 2));
  REFUSE(ANY, fr_ssft_backward(NULL, &work, &w.t.options, q, 2, total, w.grads, &w.report));
  REFUSE(ANY, fr_ssft_backward(&w.model, &work, NULL, q, 2, total, w.grads, &w.report));
  REFUSE(ANY, fr_ssft_backward(&w.model, &work, &w.t.options, NULL, 2, total, w.grads, &w.report));
  REFUSE_QUIETLY(ANY, fr_ssft_backward(&w.model, NULL, &w.t.options, q, 2, total, w.grads, &w.report));
  REFUSE_QUIETLY(ANY, fr_ssft_count(NULL, q, 2, &w.total));
  REFUSE_QUIETLY(ANY, fr_ssft_count(&w.t.options, NULL, 2, &w.total));
  REFUSE_QUIETLY(ANY, fr_ssft_count(&w.t.options, q, -1, &w.total));
  REFUSE_QUIETLY(ANY, fr_ssft_count(&w.t.options, q, 2, NULL));
  BROKEN_QUIETLY(w.t.questions[1].traces = NULL, ANY, fr_ssft_count(&w.t.options, w.t.questions, 2, &w.total));
  REFUSE_QUIETLY(ANY, fr_ssft_limits(NULL, 3, 4, 3, 1, &w.limits));
  REFUSE_QUIETLY(ANY, fr_ssft_limits(&w.t.options, 3, 4, 3, 1, NULL));
  REFUSE_QUIETLY(ANY, fr_ssft_limits(&w.t.options, 0, 4, 3, 1, &w.limits));
  REFUSE_QUIETLY(ANY, fr_ssft_limits(&w.t.options, 3, 0, 3, 1, &w.limits));
  REFUSE_QUIETLY(ANY, fr_ssft_limits(&w.t.options, 3, 4, -1, 1, &w.limits));
  REFUSE_QUIETLY(ANY, fr_ssft_limits(&w.t.options, 3, 4, 3, 0, &w.limits));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_ssft_limits(&w.t.options, HUGE_INT, 4, 3, 2, &w.limits));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_ssft_limits(&w.t.options, 3, HUGE_INT, 3, 1, &w.limits));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_ssft_limits(&w.t.options, 3, 4, HUGE_INT, 1, &w.limits));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_ssft_limits(&w.t.options, 3, 4, 3, HUGE_INT, &w.limits));
  BROKEN_QUIETLY(w.t.forks[1].count = HUGE_INT, FR_OVERFLOW, fr_ssft_limits(&w.t.options, 3, 4, 3, 1, &w.limits));

  // A model that has gone bad on the fifth question only, so that passes before it went well: the status names it, the
  // questions before it have a new matching, it and those behind it are as they were. A step on it is skipped.
  {
    const int bad = last - 1;
    const fr_token lonely = TINY_FORK + TINY_FORKS - 1;  // a row of the embedding that the other questions do not meet
    float *const weight = w.model.params + lonely * w.model.config.dim;
    const float was = weight[0];
    w.t.options.fork_count = TINY_FORKS - 1;
    w.t.prompt[bad][0] = lonely;
    weight[0] = nan_float;
    before();
    CHECK(fr_ssft_match(&w.model, &work, &w.t.options, w.t.questions, TINY_QUESTIONS) == FR_NONFINITE);
    CHECK(strstr(work.reason.text, "question 4") != NULL);
    for (int i = 0; i < TINY_QUESTIONS; i++) {
      const int same = !memcmp(w.t.cost[i], before_call.t.cost[i], sizeof w.t.cost[i]);
      CHECK(same == (i >= bad));
      if (i >= bad) CHECK(!memcmp(w.t.fork[i], before_call.t.fork[i], sizeof w.t.fork[i]));
    }
    memcpy(w.t.cost, before_call.t.cost, sizeof w.t.cost);
    memcpy(w.t.fork, before_call.t.fork, sizeof w.t.fork);
    after(FR_NONFINITE, FR_NONFINITE, 1, "fr_ssft_match", __LINE__);  // and nothing else has changed
    memset(w.adamw.grads, 0, (size_t)w.adamw.count * sizeof(float));
    before();
    CHECK(set_loss(3) == FR_OK);
    CHECK(w.report.skipped && w.adamw.skipped == before_call.adamw.skipped + 1 && w.adamw.step == before_call.adamw.step);
    for (int i = 0; i < 2; i++) CHECK(!memcmp(block_before[i], block[i], block_bytes[i]));
    weight[0] = was;
    w = good;
  }
}

// ---- decoding, voting and the rest
static int never(void *user, fr_int a, fr_int b) { (void)user; (void)a; (void)b; return 0; }

static void decoding(void)
{
#define GENERATE fr_generate(&w.model, &work, &w.tree, &w.sampling, w.leaves, LEAVES)
  BROKEN(w.leaves[3].span = SPANS, FR_RANGE, GENERATE);
  BROKEN(w.leaves[3].span = -1, FR_RANGE, GENERATE);
  BROKEN(w.leaves[3].span = HUGE_INT, FR_RANGE, GENERATE);
  BROKEN(w.leaves[3].tokens = NULL, ANY, GENERATE);
  BROKEN(w.sampling.temperature = nan_float, ANY, GENERATE);
  BROKEN(w.sampling.temperature = -1.0f, ANY, GENERATE);
  BROKEN(w.sampling.temperature = infinity, ANY, GENERATE);
  BROKEN(w.sampling.top_p = nan_float, ANY, GENERATE);
  BROKEN(w.sampling.top_p = -0.1f, ANY, GENERATE);
  BROKEN(w.sampling.top_p = 1.5f, ANY, GENERATE);
  BROKEN(w.sampling.min_p = nan_float, ANY, GENERATE);
  BROKEN(w.sampling.min_p = -0.1f, ANY, GENERATE);
  BROKEN(w.sampling.min_p = 1.5f, ANY, GENERATE);
  BROKEN(w.sampling.repeat_penalty = nan_float, ANY, GENERATE);
  BROKEN(w.sampling.repeat_penalty = -1.0f, ANY, GENERATE);
  BROKEN(w.sampling.repeat_penalty = infinity, ANY, GENERATE);
  BROKEN(w.sampling.top_k = -1, ANY, GENERATE);
  BROKEN(w.sampling.max_tokens = -1, ANY, GENERATE);
  BROKEN(w.sampling.max_tokens = HUGE_INT, ANY, GENERATE);
  BROKEN(w.sampling.max_tokens = TINY_TRACE + 1, FR_LIMIT, GENERATE);
  BROKEN(w.sampling.stop_count = -1, ANY, GENERATE);
  BROKEN(w.sampling.stops = NULL, ANY, GENERATE);
  BROKEN(w.spans[2].parent = 4, FR_RANGE, GENERATE);
  BROKEN(w.t.prompt[0][0] = TINY_VOCAB, FR_RANGE, GENERATE);
  BROKEN((w.spans[0].tokens.count = 0, w.spans[1].tokens.count = 0), ANY, GENERATE);  // nothing to continue
  BROKEN(w.tree.span_count = -1, ANY, GENERATE);
  BROKEN(w.tree.spans = NULL, ANY, GENERATE);
#undef GENERATE
  {  // each field of the sampling is told by name
    static const char *const names[] = { "max_tokens", "stop", "top_k", "temperature", "top_p", "min_p", "repeat_penalty" };
    for (int i = 0; i < 7; i++) {
      fr_sampling bad = w.sampling;
      if (i == 0) bad.max_tokens = -1;
      if (i == 1) bad.stop_count = -1;
      if (i == 2) bad.top_k = -1;
      if (i == 3) bad.temperature = infinity;
      if (i == 4) bad.top_p = 1.5f;
      if (i == 5) bad.min_p = -0.5f;
      if (i == 6) bad.repeat_penalty = -1.0f;
      REFUSE(FR_INVALID, fr_generate(&w.model, &work, &w.tree, &bad, w.leaves, LEAVES));
      for (int k = 0; k < 7; k++) CHECK((strstr(work.reason.text, names[k]) != NULL) == (k == i));
    }
  }
  REFUSE(ANY, fr_generate(&w.model, &work, &w.tree, &w.sampling, NULL, LEAVES));
  REFUSE(ANY, fr_generate(&w.model, &work, &w.tree, &w.sampling, w.leaves, -1));
  REFUSE(FR_LIMIT, fr_generate(&w.model, &work, &w.tree, &w.sampling, w.leaves, HUGE_INT / 4096));
  REFUSE(ANY, fr_generate(&w.model, &work, &w.tree, NULL, w.leaves, LEAVES));
  REFUSE(ANY, fr_generate(&w.model, &work, NULL, &w.sampling, w.leaves, LEAVES));
  REFUSE(ANY, fr_generate(NULL, &work, &w.tree, &w.sampling, w.leaves, LEAVES));
  REFUSE(FR_CONFIG, fr_generate(&w.other, &work, &w.tree, &w.sampling, w.leaves, LEAVES));
  REFUSE_QUIETLY(ANY, fr_generate(&w.model, NULL, &w.tree, &w.sampling, w.leaves, LEAVES));
  REFUSE_QUIETLY(ANY, fr_generate_limits(NULL, &w.sampling, LEAVES, &w.limits));
  REFUSE_QUIETLY(ANY, fr_generate_limits(&w.tree, NULL, LEAVES, &w.limits));
  REFUSE_QUIETLY(ANY, fr_generate_limits(&w.tree, &w.sampling, LEAVES, NULL));
  REFUSE_QUIETLY(ANY, fr_generate_limits(&w.tree, &w.sampling, -1, &w.limits));
  REFUSE_QUIETLY(FR_OVERFLOW, fr_generate_limits(&w.tree, &w.sampling, HUGE_INT, &w.limits));
  {  // a model full of NaN still decodes to tokens of the vocabulary, however it is sampled
    const size_t bytes = (size_t)w.model.count * sizeof(float);
    memcpy(block_before[0], block[0], block_bytes[0]);
    for (int round = 0; round < 12; round++) {
      for (fr_int i = 0; i < w.model.count; i++) w.model.params[i] = nan_float;
      w.sampling.temperature = round % 4 ? 1.0f : 0.0f;
      w.sampling.top_k = round % 4 == 2 ? 5 : 0;
      w.sampling.top_p = round % 4 == 3 ? 0.9f : 0.0f;
      w.sampling.min_p = round > 3 ? 1.0f : 0.0f;
      w.sampling.repeat_penalty = round > 7 ? 1e-38f : 0.0f;
      CHECK(fr_generate(&w.model, &work, &w.tree, &w.sampling, w.leaves, LEAVES) == FR_OK);
      for (int i = 0; i < LEAVES; i++) {
        CHECK(w.leaves[i].count >= 0 && w.leaves[i].count <= TINY_TRACE);
        for (fr_int t = 0; t < w.leaves[i].count; t++) CHECK(w.texts[i][t] >= 0 && w.texts[i][t] < TINY_VOCAB);
      }
      w = good;
    }
    memcpy(block[0], block_before[0], block_bytes[0]);
    CHECK(bytes <= block_bytes[0]);
  }

  REFUSE_QUIETLY(ANY, fr_vote(3, NULL, NULL, NULL, &w.vote, NULL));
  REFUSE_QUIETLY(ANY, fr_vote(-1, never, NULL, NULL, &w.vote, NULL));
  REFUSE_QUIETLY(ANY, fr_vote(3, never, NULL, NULL, NULL, NULL));
  CHECK(fr_vote(5, never, NULL, NULL, &w.vote, NULL) == FR_OK && w.vote.winner == -1 && w.vote.valid == 0);
  CHECK(fr_vote(0, never, NULL, NULL, &w.vote, NULL) == FR_OK && w.vote.winner == -1);
  w = good;
  CHECK(isnan(fr_pass_at_k(0, 0, 1)) && isnan(fr_pass_at_k(5, 6, 1)) && isnan(fr_pass_at_k(5, -1, 1)));
  CHECK(isnan(fr_pass_at_k(5, 3, 0)) && isnan(fr_pass_at_k(5, 3, 6)) && isnan(fr_pass_at_k(-5, -3, -1)));
  for (int i = -3; i < 50; i++) {
    const char *text = fr_status_text((fr_status)i);
    CHECK(text && text[0]);
  }
}

// ---- afterwards everything still works, with the bits of objects that were left in peace
static void still_the_same(void)
{
  const fr_config config = small();
  fr_model model;
  fr_adamw adamw;
  fr_work fresh;
  fr_int bytes = 0;
  tiny t;
  void *memory[3];
  CHECK(fr_model_place(NULL, &config, NULL, 0, &bytes) == FR_OK);
  memory[0] = test_alloc((size_t)bytes);
  CHECK(fr_model_place(&model, &config, memory[0], bytes, NULL) == FR_OK);
  fr_model_init(&model, 11);
  CHECK(fr_adamw_place(NULL, &model, NULL, 0, &bytes) == FR_OK);
  memory[1] = test_alloc((size_t)bytes);
  CHECK(fr_adamw_place(&adamw, &model, memory[1], bytes, NULL) == FR_OK);
  CHECK(fr_work_place(NULL, &config, &work.limits, NULL, 0, &bytes) == FR_OK);
  memory[2] = test_alloc((size_t)bytes);
  CHECK(fr_work_place(&fresh, &config, &work.limits, memory[2], bytes, NULL) == FR_OK);
  memset(w.adamw.grads, 0, (size_t)w.adamw.count * sizeof(float));
  for (int step = 0; step < 3; step++) {
    fr_ssft_report a, b;
    tiny_fill(&t, (uint64_t)step);
    tiny_fill(&w.t, (uint64_t)step);
    CHECK(fr_ssft_step(&model, &fresh, &adamw, &t.options, t.questions, TINY_QUESTIONS, 1e-2f, &a) == FR_OK);
    CHECK(fr_ssft_step(&w.model, &work, &w.adamw, &w.t.options, w.t.questions, TINY_QUESTIONS, 1e-2f, &b) == FR_OK);
    CHECK(a.loss == b.loss && a.norm == b.norm);
    CHECK(!memcmp(t.fork, w.t.fork, sizeof t.fork) && !memcmp(t.cost, w.t.cost, sizeof t.cost));
    CHECK(!memcmp(model.params, w.model.params, (size_t)model.count * sizeof(float)));
  }
  for (int i = 0; i < 3; i++) free(memory[i]);
}

// ---- functions without a status do nothing, or say so with what they return
static void without_status(void)
{
  static const fr_model no_model;
  const float logits[3] = { 0.0f, 2.0f, 1.0f };
  fr_random random = fr_random_stream(1, 2, 3);
  fr_sampling greedy, warm;
  fr_model empty = no_model;
  fr_int index[2 * 3];
  before();
  fr_model_init(NULL, 1);
  fr_model_init(&empty, 1);
  memset(&greedy, 0, sizeof greedy);
  warm = greedy;
  warm.temperature = 1.0f;
  CHECK(fr_sample(NULL, 3, &greedy, &random, index) == -1 && fr_sample(logits, 0, &greedy, &random, index) == -1);
  CHECK(fr_sample(logits, -3, &greedy, &random, index) == -1 && fr_sample(logits, 3, NULL, &random, index) == -1);
  CHECK(fr_sample(logits, 3, &warm, NULL, index) == -1 && fr_sample(logits, 3, &warm, &random, NULL) == -1);
  CHECK(fr_sample(logits, 3, &greedy, NULL, NULL) == 1 && fr_sample(logits, 3, &warm, &random, index) >= 0);
  fr_model_free(NULL);
  fr_adamw_free(NULL);
  fr_work_free(NULL);
  fr_dataset_free(NULL);
  fr_tokenizer_free(NULL);
  fr_encoder_free(NULL);
  fr_corpus_free(NULL);
  fr_bundle_free(NULL);
  CHECK(fr_tokenizer_token(NULL, 0).bytes == NULL && fr_tokenizer_find(NULL, fr_tokenizer_token(NULL, 0)) == -1);
  after(FR_OK, FR_OK, 0, "functions without status", __LINE__);

  // A schedule outside of its steps stays at its ends.
  for (int64_t far = 1; far < INT64_MAX / 16; far *= 9) {
    CHECK(fr_schedule_cosine(-far, 5, 20, 0.1f) == fr_schedule_cosine(0, 5, 20, 0.1f));
    CHECK(fr_schedule_stable(-far, 5, 9, 20, 0.1f) == fr_schedule_stable(0, 5, 9, 20, 0.1f));
    CHECK(fr_schedule_cosine(19 + far, 5, 20, 0.1f) == fr_schedule_cosine(19, 5, 20, 0.1f));
    CHECK(fr_schedule_stable(19 + far, 5, 9, 20, 0.1f) == fr_schedule_stable(19, 5, 9, 20, 0.1f));
    CHECK(fr_schedule_cosine(19 + far, 50, 20, 0.1f) == fr_schedule_cosine(19, 50, 20, 0.1f));
  }
  CHECK(isfinite(fr_schedule_cosine(3, 5, INT64_MIN, 0.1f)) && isfinite(fr_schedule_stable(3, 1, 2, 0, 0.1f)));
}

int main(void)
{
  build();
  if (test_failures) return test_done("nonsense");
  configs();
  models();
  workspaces();
  trees();
  passes();
  optimiser();
  assignment();
  set_losses();
  decoding();
  without_status();
  still_the_same();
  return test_done("nonsense");
}
