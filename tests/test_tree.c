// A tree gives what its paths give as separate sequences: losses, logits and gradients. Finite differences. Limits.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"

#define SPANS 16
#define TOKENS 400
#define TARGETS 60
#define GROUPS 5

typedef struct forest {
  fr_tree   tree;
  fr_span   spans[SPANS];
  fr_target targets[TARGETS];
  fr_token  tokens[TOKENS];
  fr_int    rows;
} forest;

// Any shape: several roots, empty spans, several targets a row, weights of any sign, targets of no group.
static void random_forest(forest *f, fr_int vocab, int wide)
{
  memset(f, 0, sizeof *f);
  f->tree.spans = f->spans;
  f->tree.targets = f->targets;
  f->tree.span_count = 1 + test_below_int(SPANS);
  for (fr_int s = 0; s < f->tree.span_count; s++) {
    const fr_int kind = test_below_int(5);
    const fr_int length = kind == 0 ? 0 : wide && kind == 1 ? 90 + test_below_int(20) : 1 + test_below_int(7);
    f->spans[s].parent = s == 0 || test_below_int(5) == 0 ? -1 : test_below_int(s);
    f->spans[s].tokens.ids = f->tokens + f->rows;
    f->spans[s].tokens.count = f->rows + length > TOKENS ? 0 : length;
    for (fr_int t = 0; t < f->spans[s].tokens.count; t++)
      f->tokens[f->rows++] = (fr_token)test_below_int(vocab);
  }
  f->tree.target_count = f->rows ? test_below_int(TARGETS + 1) : 0;
  for (fr_int t = 0; t < f->tree.target_count; t++) {
    fr_target *target = &f->targets[t];
    target->row = t && test_below_int(3) == 0 ? f->targets[t - 1].row : test_below_int(f->rows);
    target->token = (fr_token)test_below_int(vocab);
    target->weight = test_below_int(6) == 0 ? 0.0f : (float)test_uniform(-0.5, 1.5);
    target->group = test_below_int(GROUPS + 1) - 1;
  }
}

static fr_work work_for(const fr_model *model, const fr_tree *tree, const char *kernel, void **memory,
                        int *have)
{
  fr_limits limits;
  fr_work work;
  CHECK(fr_tree_limits(tree, &limits) == FR_OK);
  work = fixture_work(&model->config, &limits, memory);
  *have = fr_work_select(&work, kernel) == FR_OK;
  return work;
}

// Loss, logits and gradients of the tree on one side, of its paths one by one on the other. Tolerances: float32 sums of
// another order, 2e-6 of the size of the logits, and for gradients 1e-5 of a tensor's norm.
static void tree_against_sequences(const fr_model *model, const forest *f, const char *kernel, int exact)
{
  const fr_int V = model->config.vocab;
  fr_int count, *rows = (fr_int *)test_alloc((size_t)(f->rows + 1) * sizeof(fr_int));
  sequence *all = sequences_of(&f->tree, &count);
  float *grads = fixture_zeros(model->count), *separate = fixture_zeros(model->count);
  float *logits = fixture_zeros(f->rows * V), *other = fixture_zeros(f->rows * V);
  fr_sum sums[GROUPS], plain[GROUPS], apart[GROUPS];
  char done[TARGETS] = { 0 };
  void *memory;
  int have;
  fr_work work = work_for(model, &f->tree, kernel, &memory, &have);
  if (have) {
    for (fr_int r = 0; r < f->rows; r++) rows[r] = r;
    memset(apart, 0, sizeof apart);
    CHECK(fr_backward(model, &work, &f->tree, grads, sums, GROUPS) == FR_OK);
    CHECK(fr_logits(model, &work, rows, f->rows, other, NULL) == FR_OK);
    CHECK(fr_forward(model, &work, &f->tree, plain, GROUPS) == FR_OK);
    CHECK(fr_logits(model, &work, rows, f->rows, logits, NULL) == FR_OK);
    CHECK(same_bits(logits, other, f->rows * V, 4));  // with and without gradient is the same forward pass
    CHECK(!memcmp(plain, sums, sizeof sums));
    for (fr_int i = 0; i < count; i++) {
      fr_span span;
      fr_target targets[TARGETS];
      fr_tree tree;
      fr_sum part[GROUPS];
      memset(&tree, 0, sizeof tree);
      span.parent = -1;
      span.tokens.ids = all[i].ids;
      span.tokens.count = all[i].count;
      tree.spans = &span;
      tree.span_count = 1;
      tree.targets = targets;
      // Each target belongs to the first path that holds its row.
      for (fr_int t = 0; t < f->tree.target_count; t++)
        for (fr_int p = 0; p < all[i].count && !done[t]; p++)
          if (all[i].rows[p] == f->targets[t].row) {
            targets[tree.target_count] = f->targets[t];
            targets[tree.target_count++].row = p;
            done[t] = 1;
          }
      {
        void *own;
        int ignored;
        fr_work single = work_for(model, &tree, kernel, &own, &ignored);
        CHECK(fr_backward(model, &single, &tree, separate, part, GROUPS) == FR_OK);
        CHECK(fr_logits(model, &single, rows, all[i].count, other, NULL) == FR_OK);
        free(own);
      }
      for (int g = 0; g < GROUPS; g++) {
        apart[g].nll += part[g].nll;
        apart[g].weighted += part[g].weighted;
        apart[g].weight += part[g].weight;
        apart[g].count += part[g].count;
      }
      for (fr_int p = 0; p < all[i].count; p++)
        CHECK_BELOW(relative(logits + all[i].rows[p] * V, other + p * V, V), 3e-6);
    }
    for (int g = 0; g < GROUPS; g++) {
      CHECK(sums[g].count == apart[g].count);
      CHECK_BELOW(fabs(sums[g].weight - apart[g].weight), 1e-12);
      CHECK_BELOW(fabs(sums[g].nll - apart[g].nll), 3e-6 * (double)(1 + sums[g].count));
      CHECK_BELOW(fabs(sums[g].weighted - apart[g].weighted), 3e-6 * (double)(1 + sums[g].count));
    }
    CHECK_BELOW(relative_by_tensor(model, grads, separate), 1e-5);
    if (exact) {  // and both equal the plain decoder in double, gradients by central differences along a random direction
      reference r = reference_new(model);
      double nll[TARGETS], want[GROUPS] = { 0 };
      fr_tensor tensor;
      reference_tree(&r, &f->tree, nll);
      for (fr_int t = 0; t < f->tree.target_count; t++)
        if (f->targets[t].group >= 0) want[f->targets[t].group] += nll[t];
      for (int g = 0; g < GROUPS; g++)
        CHECK_BELOW(fabs(sums[g].nll - want[g]), 3e-6 * (double)(1 + sums[g].count));
      for (fr_int i = 0; fr_model_tensor(model, i, &tensor) == FR_OK; i++) {
        const fr_int n = tensor.copies * tensor.rows * tensor.cols;
        const double step = 1e-5;
        double *direction = (double *)test_alloc((size_t)n * sizeof(double)), slope = 0.0, length = 0.0,
               rise = 0.0;
        for (fr_int j = 0; j < n; j++) {
          direction[j] = test_normal();
          length += direction[j] * direction[j];
          slope += direction[j] * (double)grads[tensor.offset + j];
        }
        for (int side = 0; side < 2; side++) {
          for (fr_int j = 0; j < n; j++)
            r.params[tensor.offset + j] = (double)model->params[tensor.offset + j] +
                                          (side ? -step : step) * direction[j];
          rise += (side ? -0.5 : 0.5) * reference_tree(&r, &f->tree, NULL) / step;
        }
        for (fr_int j = 0; j < n; j++) r.params[tensor.offset + j] = (double)model->params[tensor.offset + j];
        if (n && !CHECK_BELOW(fabs(slope - rise),
                              1e-5 * (norm_of(grads + tensor.offset, n) + 1e-3) * sqrt(length)))
          fprintf(stderr, "  %s: slope %g, differences %g\n", tensor.name, slope, rise);
        free(direction);
      }
      free(r.params);
    }
  }
  free(memory); free(grads); free(separate); free(logits); free(other); free(rows);
  sequences_free(all, count);
}

static void random_forests(void)
{
  static forest f;
  for (int which = 0; which < FIXTURE_CONFIGS; which++) {
    const fr_config config = fixture_config(which);
    void *memory;
    fr_model model = fixture_model(&config, &memory);
    fixture_randomise(&model);
    for (int trial = 0; trial < 6; trial += test_brief() ? 5 : 1) {
      random_forest(&f, config.vocab, trial == 5);
      for (int k = 0; k < FIXTURE_KERNELS; k++)  // in brief only the first row meets doubles, which take long
        tree_against_sequences(&model, &f, fixture_kernels[k], trial < 2 && (k == 0 || !test_brief()));
      for (fr_int s = 0; s <= f.tree.span_count; s++) {
        fr_int row = 0;
        for (fr_int e = 0; e < s; e++) row += f.spans[e].tokens.count;
        CHECK(fr_tree_row(&f.tree, s) == row);
      }
    }
    free(memory);
  }
}

// ---- one path of 2,800 tokens, among others; in brief of 1,000, for the time is the square of it
static void long_path(void)
{
  enum { MOST = 1400, MOST_ROWS = 2 * MOST + 30 + 20 };
  static fr_token tokens[MOST_ROWS];
  const fr_int HALF = test_brief() ? 500 : MOST, ROWS = 2 * HALF + 30 + 20;
  fr_span spans[4];
  fr_target targets[40];
  fr_tree tree;
  fr_config config;
  fr_model model;
  reference r;
  double nll[40], *direction, rise;
  void *memory;
  memset(&config, 0, sizeof config);
  config.layers = 2; config.dim = 8; config.heads = 2; config.kv_heads = 1; config.ffn = 11; config.vocab = 13;
  model = fixture_model(&config, &memory);
  fixture_randomise(&model);
  for (int i = 0; i < ROWS; i++) tokens[i] = (fr_token)test_below_int(13);
  memset(&tree, 0, sizeof tree);
  tree.spans = spans;
  tree.span_count = 4;
  tree.targets = targets;
  tree.target_count = 40;
  spans[0].parent = -1; spans[0].tokens.ids = tokens;             spans[0].tokens.count = HALF;
  spans[1].parent = -1; spans[1].tokens.ids = tokens + HALF;      spans[1].tokens.count = 20;
  spans[2].parent = 0;  spans[2].tokens.ids = tokens + HALF + 20; spans[2].tokens.count = 30;
  spans[3].parent = 0;  spans[3].tokens.ids = tokens + HALF + 50; spans[3].tokens.count = HALF;
  for (int t = 0; t < 40; t++) {
    targets[t].row = t == 0 ? ROWS - 1 : t == 1 ? HALF - 1 : test_below_int(ROWS);
    targets[t].token = (fr_token)test_below_int(13);
    targets[t].weight = (float)test_uniform(0.5, 1.5);
    targets[t].group = t;
  }
  r = reference_new(&model);
  reference_tree(&r, &tree, nll);
  direction = (double *)test_alloc((size_t)model.count * sizeof(double));
  for (fr_int i = 0; i < model.count; i++) r.params[i] += 1e-5 * (direction[i] = test_normal());
  rise = reference_tree(&r, &tree, NULL);
  for (fr_int i = 0; i < model.count; i++) r.params[i] -= 2e-5 * direction[i];
  rise = (rise - reference_tree(&r, &tree, NULL)) / 2e-5;
  for (int k = 0; k < FIXTURE_KERNELS; k++) {
    fr_sum sums[40];
    float *grads = fixture_zeros(model.count);
    double slope = 0.0, length = 0.0;
    void *own;
    int have;
    fr_work work = work_for(&model, &tree, fixture_kernels[k], &own, &have);
    CHECK(work.limits.depth == 2 * HALF && work.limits.rows == ROWS && work.limits.leaves == 3);
    if (have) {
      CHECK(fr_backward(&model, &work, &tree, grads, sums, 40) == FR_OK);
      for (int t = 0; t < 40; t++) CHECK_BELOW(fabs(sums[t].nll - nll[t]), 1e-5);
      for (fr_int i = 0; i < model.count; i++) {
        slope += direction[i] * (double)grads[i];
        length += direction[i] * direction[i];
      }
      CHECK_BELOW(fabs(slope - rise), 1e-5 * norm_of(grads, model.count) * sqrt(length));
    }
    free(own); free(grads);
  }
  free(memory); free(direction); free(r.params);
}

// ---- gradients are added: micro-batches make up a batch, and what was there before stays
static void micro_batches(void)
{
  static forest a, b, whole;
  const fr_config config = fixture_config(7);
  fr_sum sums[GROUPS], parts[2][GROUPS];
  float *grads, *added;
  void *memory, *own;
  int have;
  fr_model model = fixture_model(&config, &memory);
  fr_work work;
  fixture_randomise(&model);
  do {
    random_forest(&a, config.vocab, 0);
    random_forest(&b, config.vocab, 0);
  } while (a.tree.span_count + b.tree.span_count > SPANS ||
           a.tree.target_count + b.tree.target_count > TARGETS || !b.tree.target_count ||
           !a.tree.target_count);
  memcpy(&whole, &a, sizeof a);
  whole.tree.spans = whole.spans;
  whole.tree.targets = whole.targets;
  for (fr_int s = 0; s < b.tree.span_count; s++) {
    fr_span *span = &whole.spans[whole.tree.span_count + s];
    *span = b.spans[s];
    if (span->parent >= 0) span->parent += a.tree.span_count;
  }
  for (fr_int t = 0; t < b.tree.target_count; t++) {
    whole.targets[whole.tree.target_count + t] = b.targets[t];
    whole.targets[whole.tree.target_count + t].row += a.rows;
  }
  whole.tree.span_count += b.tree.span_count;
  whole.tree.target_count += b.tree.target_count;
  work = work_for(&model, &whole.tree, "scalar", &own, &have);
  grads = fixture_zeros(model.count);
  added = fixture_zeros(model.count);
  for (fr_int i = 0; i < model.count; i++) added[i] = 1.0f;
  CHECK(fr_backward(&model, &work, &whole.tree, grads, sums, GROUPS) == FR_OK);
  CHECK(fr_backward(&model, &work, &a.tree, added, parts[0], GROUPS) == FR_OK);
  CHECK(fr_backward(&model, &work, &b.tree, added, parts[1], GROUPS) == FR_OK);
  for (fr_int i = 0; i < model.count; i++)
    CHECK_BELOW(fabsf(added[i] - 1.0f - grads[i]), 2e-6f * (1.0f + fabsf(grads[i])));
  for (int g = 0; g < GROUPS; g++) {
    CHECK_BELOW(fabs(parts[0][g].nll + parts[1][g].nll - sums[g].nll), 1e-5);
    CHECK(parts[0][g].count + parts[1][g].count == sums[g].count);
  }
  // A weight of 2 is two targets of weight 1.
  {
    fr_target *t = &whole.targets[0];
    memset(added, 0, (size_t)model.count * sizeof(float));
    memset(grads, 0, (size_t)model.count * sizeof(float));
    whole.tree.target_count = 2;
    t[0].weight = 1.0f;
    t[1] = t[0];
    CHECK(fr_backward(&model, &work, &whole.tree, grads, sums, GROUPS) == FR_OK);
    whole.tree.target_count = 1;
    t[0].weight = 2.0f;
    CHECK(fr_backward(&model, &work, &whole.tree, added, sums, GROUPS) == FR_OK);
    CHECK_BELOW(relative_by_tensor(&model, added, grads), 1e-6);
  }
  free(memory); free(own); free(grads); free(added);
}

// ---- every limit, one below what the tree needs
static fr_int *limit_of(fr_limits *limits, int which)
{
  switch (which) {
    case 0: return &limits->rows;
    case 1: return &limits->grad_rows;
    case 2: return &limits->spans;
    case 3: return &limits->targets;
    default: return &limits->depth;
  }
}

static void limits(void)
{
  static const char *const names[] = { "'rows'", "'grad_rows'", "'spans'", "'targets'", "'depth'" };
  static forest f;
  const fr_config config = fixture_config(4);
  fr_limits exact;
  fr_sum sums[GROUPS], kept[GROUPS];
  float *grads, *before;
  void *memory;
  fr_model model = fixture_model(&config, &memory);
  fixture_randomise(&model);
  do random_forest(&f, config.vocab, 0); while (f.tree.span_count < 5 || f.tree.target_count < 5);
  f.spans[2].parent = 1; f.spans[1].parent = 0;  // a path of three spans
  CHECK(fr_tree_limits(&f.tree, &exact) == FR_OK);
  {
    fr_int count, deepest = 0;
    sequence *all = sequences_of(&f.tree, &count);
    for (fr_int i = 0; i < count; i++) if (all[i].count > deepest) deepest = all[i].count;
    CHECK(exact.rows == f.rows && exact.grad_rows == f.rows && exact.spans == f.tree.span_count &&
          exact.targets == f.tree.target_count);
    CHECK(exact.leaves == count && exact.depth == deepest && exact.tasks == 0 && exact.cache_rows == 0);
    sequences_free(all, count);
  }
  grads = fixture_zeros(model.count);
  before = fixture_zeros(model.count);
  for (fr_int i = 0; i < model.count; i++) before[i] = grads[i] = (float)i;
  memset(sums, 0x11, sizeof sums);
  memcpy(kept, sums, sizeof sums);
  for (int which = 0; which < 5; which++)
    for (int gradient = 0; gradient < 2; gradient++) {
      fr_limits tight = exact;
      fr_work work;
      fr_status status;
      fr_tree small = f.tree;
      void *own;
      --*limit_of(&tight, which);
      work = fixture_work(&config, &tight, &own);
      status = gradient ? fr_backward(&model, &work, &f.tree, grads, sums, GROUPS)
                        : fr_forward(&model, &work, &f.tree, sums, GROUPS);
      if (which == (gradient ? 0 : 1)) {  // the other kind of rows: not needed here
        CHECK(status == FR_OK && work.reason.text[0] == 0);
        memcpy(sums, kept, sizeof sums);
        memcpy(grads, before, (size_t)model.count * sizeof(float));
      } else {
        CHECK(status == FR_LIMIT);
        if (!CHECK(strstr(work.reason.text, names[which]) != NULL))
          fprintf(stderr, "  the reason was: %s\n", work.reason.text);
        CHECK(!memcmp(sums, kept, sizeof sums) && same_bits(grads, before, model.count, 4));
      }
      small.span_count = 1;  // the workspace goes on working
      small.target_count = 0;
      CHECK(fr_forward(&model, &work, &small, NULL, 0) == FR_OK && work.reason.text[0] == 0);
      free(own);
    }
  {
    fr_limits a = exact, b = exact;
    a.rows = 5; b.rows = 9; a.depth = 100; b.depth = 3; a.tasks = 2; b.cache_rows = 4;
    a = fr_limits_max(a, b);
    CHECK(a.rows == 9 && a.depth == 100 && a.tasks == 2 && a.cache_rows == 4 && a.spans == exact.spans &&
          a.targets == exact.targets);
    CHECK(a.grad_rows == exact.grad_rows && a.leaves == exact.leaves);
  }
  free(memory); free(grads); free(before);
}

// ---- trees that are refused, nothing changed
static void refused(void)
{
  static const fr_token ids[4] = { 1, 2, 3, 4 }, low[4] = { 1, -1, 3, 4 }, high[4] = { 1, 2, 3, 37 };
  const fr_config config = fixture_config(1), another = fixture_config(2);
  fr_limits most;
  fr_model model, stranger;
  fr_work work;
  fr_sum sums[GROUPS], kept[GROUPS];
  float *grads, *before, logits[37], seen[37];
  void *memory, *own, *foreign;
  memset(&most, 0, sizeof most);
  most.rows = most.grad_rows = most.targets = most.spans = most.depth = most.leaves = 20;
  model = fixture_model(&config, &memory);
  stranger = fixture_model(&another, &foreign);
  work = fixture_work(&config, &most, &own);
  fixture_randomise(&model);
  grads = fixture_zeros(model.count);
  before = fixture_zeros(model.count);
  memset(sums, 0x22, sizeof sums);
  memcpy(kept, sums, sizeof sums);
  memset(logits, 0, sizeof logits);
  memcpy(seen, logits, sizeof logits);
  {
    const fr_int row = 0;
    CHECK(fr_logits(&model, &work, &row, 1, logits, NULL) == FR_INVALID &&
          !memcmp(logits, seen, sizeof seen));  // nothing was run yet
  }
  for (int which = 0; which < 17; which++) {
    fr_span spans[3];
    fr_target targets[2];
    fr_tree tree;
    fr_status want = FR_RANGE, status;
    fr_int groups = GROUPS;
    fr_sum *to = sums;
    memset(&tree, 0, sizeof tree);
    memset(targets, 0, sizeof targets);
    tree.spans = spans;
    tree.span_count = 3;
    tree.targets = targets;
    tree.target_count = 2;
    for (int s = 0; s < 3; s++) {
      spans[s].parent = s - 1;
      spans[s].tokens.ids = ids;
      spans[s].tokens.count = 4;
    }
    switch (which) {
      case 0: spans[1].parent = 1; break;
      case 1: spans[1].parent = 2; break;
      case 2: spans[0].parent = -2; break;
      case 3: spans[1].tokens.ids = low; break;
      case 4: spans[2].tokens.ids = high; break;
      case 5: targets[1].row = 12; break;
      case 6: targets[1].row = -1; break;
      case 7: targets[1].token = 37; break;
      case 8: targets[1].token = -1; break;
      case 9: targets[1].group = GROUPS; break;
      case 10: targets[1].group = -2; break;
      case 11: spans[1].tokens.ids = NULL; want = FR_INVALID; break;
      case 12: spans[1].tokens.count = -1; want = FR_INVALID; break;
      case 13: tree.spans = NULL; want = FR_INVALID; break;
      case 14: tree.target_count = -1; want = FR_INVALID; break;
      case 15: to = NULL; want = FR_INVALID; break;
      default: groups = -1; want = FR_INVALID; break;
    }
    for (int gradient = 0; gradient < 2; gradient++) {
      status = gradient ? fr_backward(&model, &work, &tree, grads, to, groups)
                        : fr_forward(&model, &work, &tree, to, groups);
      if (!CHECK(status == want && work.reason.text[0]))
        fprintf(stderr, "  case %d: %s (%s)\n", which, fr_status_text(status), work.reason.text);
      CHECK(!memcmp(sums, kept, sizeof sums) && same_bits(grads, before, model.count, 4));
    }
  }
  {
    fr_span span;
    fr_tree tree;
    fr_int rows[2] = { 0, 4 };
    memset(&tree, 0, sizeof tree);
    span.parent = -1;
    span.tokens.ids = ids;
    span.tokens.count = 4;
    tree.spans = &span;
    tree.span_count = 1;
    CHECK(fr_forward(&model, &work, NULL, NULL, 0) == FR_INVALID &&
          fr_backward(&model, &work, &tree, NULL, NULL, 0) == FR_INVALID);
    CHECK(fr_forward(NULL, &work, &tree, NULL, 0) == FR_INVALID &&
          fr_forward(&model, NULL, &tree, NULL, 0) == FR_INVALID);
    CHECK(fr_forward(&stranger, &work, &tree, NULL, 0) == FR_CONFIG && work.reason.text[0]);
    CHECK(fr_forward(&model, &work, &tree, NULL, 0) == FR_OK && work.reason.text[0] == 0);
    CHECK(fr_logits(&model, &work, rows, 2, logits, NULL) == FR_RANGE && !memcmp(logits, seen, sizeof seen));
    rows[0] = -1;
    CHECK(fr_logits(&model, &work, rows, 1, logits, NULL) == FR_RANGE && !memcmp(logits, seen, sizeof seen));
    // An empty forest, and one of nothing but empty spans, is legal.
    span.tokens.count = 0;
    CHECK(fr_backward(&model, &work, &tree, grads, sums, GROUPS) == FR_OK && sums[0].count == 0 &&
          sums[GROUPS - 1].nll == 0.0);
    tree.span_count = 0;
    CHECK(fr_backward(&model, &work, &tree, grads, NULL, 0) == FR_OK &&
          same_bits(grads, before, model.count, 4));
    // Numbers that went bad are reported as numbers.
    {
      fr_target target;
      memset(&target, 0, sizeof target);
      target.weight = 1.0f;
      span.tokens.count = 4;
      tree.span_count = tree.target_count = 1;
      tree.targets = &target;
      model.params[fixture_tensor(&model, "w_out").offset] = (float)NAN;
      CHECK(fr_backward(&model, &work, &tree, grads, sums, GROUPS) == FR_OK && isnan(sums[0].nll) &&
            sums[0].count == 1);
    }
  }
  free(memory); free(own); free(foreign); free(grads); free(before);
}

int main(void)
{
  random_forests();
  long_path();
  micro_batches();
  limits();
  refused();
  return test_done("tree");
}
