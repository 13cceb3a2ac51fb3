// Whole models against the float64 references: logits, loss, every gradient, greedy text; rope; the parameter table.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "hf.h"

// ---- Llama, Qwen2 and Qwen3 layouts
typedef struct batch {
  fr_tree tree;
  fr_span *spans;
  fr_target *targets;
  fr_int sequences, longest, rows, counted;
} batch;

// A batch of sequences is a forest of roots. Every token but the first is a target; only those of the mask have weight.
static batch batch_of(const store *s, const int32_t *ids)
{
  const store_entry *lengths = store_get(s, "", "lengths"), *mask = store_get(s, "", "target_mask");
  batch b;
  memset(&b, 0, sizeof b);
  b.sequences = (fr_int)store_scalar(s, "", "batch");
  b.longest = (fr_int)store_scalar(s, "", "tmax");
  b.counted = (fr_int)store_scalar(s, "", "loss_count");
  b.spans = (fr_span *)test_alloc((size_t)b.sequences * sizeof(fr_span));
  b.targets = (fr_target *)test_alloc((size_t)(b.sequences * b.longest) * sizeof(fr_target));
  for (fr_int i = 0; i < b.sequences; i++) {
    const fr_int length = (fr_int)store_at(s, lengths, i);
    b.spans[i].parent = -1;
    b.spans[i].tokens.ids = ids + i * b.longest;
    b.spans[i].tokens.count = length;
    for (fr_int t = 1; t < length; t++) {
      fr_target *target = &b.targets[b.tree.target_count++];
      target->row = b.rows + t - 1;
      target->token = ids[i * b.longest + t];
      target->weight = store_at(s, mask, i * b.longest + t) > 0.0 ? (float)(1.0 / (double)b.counted) : 0.0f;
      target->group = i * b.longest + t;
    }
    b.rows += length;
  }
  b.tree.spans = b.spans;
  b.tree.span_count = b.sequences;
  b.tree.targets = b.targets;
  return b;
}

static void check_run(const fr_model *model, const store *s, const char *kernel)
{
  int32_t *ids = store_ints(s, store_get(s, "", "ids"));
  batch b = batch_of(s, ids);
  const fr_int groups = b.sequences * b.longest, V = model->config.vocab;
  const store_entry *nll = store_get(s, "", "nll"), *want = store_get(s, "", "logits");
  const double noise = 4.0 * store_scalar(s, "", "f32noise_logits_maxabs"),
               loss = store_scalar(s, "", "loss_mean");
  const double bound = fmax(1e-5, 4.0 * store_scalar(s, "", "f32noise_grad_maxrel"));
  fr_sum *sums = (fr_sum *)test_alloc((size_t)groups * sizeof(fr_sum));
  float *logits = (float *)test_alloc((size_t)want->count * sizeof(float)),
        *grads = fixture_zeros(model->count);
  fr_int *rows = (fr_int *)test_alloc((size_t)b.rows * sizeof(fr_int)), tensors = 0;
  fr_limits limits;
  fr_work work;
  void *memory;
  CHECK(fr_tree_limits(&b.tree, &limits) == FR_OK);
  limits.tasks = 2;
  work = fixture_work(&model->config, &limits, &memory);
  if (fr_work_select(&work, kernel) == FR_OK) {
    for (int gradient = 0; gradient < 2; gradient++) {
      double total = 0.0, worst = 0.0, logit_error = 0.0;
      fr_int count = 0;
      CHECK((gradient ? fr_backward(model, &work, &b.tree, grads, sums, groups)
                      : fr_forward(model, &work, &b.tree, sums, groups)) == FR_OK);
      for (fr_int g = 0; g < groups; g++) {
        total += sums[g].weighted;
        count += sums[g].weight > 0.0;
        if (sums[g].count) worst = fmax(worst, fabs(sums[g].nll - store_at(s, nll, g)));
        else CHECK(store_at(s, nll, g) == 0.0);
      }
      CHECK(count == b.counted);
      CHECK_BELOW(worst, 2.0 * noise);
      CHECK_BELOW(fabs(total - loss), fmax(1e-6, 4.0 * store_scalar(s, "", "f32noise_loss_abs")));
      CHECK(want->dim[0] == b.rows && want->dim[1] == V);
      for (fr_int r = 0; r < b.rows; r++) rows[r] = r;
      CHECK(fr_logits(model, &work, rows, b.rows, logits, NULL) == FR_OK);
      for (fr_int i = 0; i < want->count; i++)
        logit_error = fmax(logit_error, fabs((double)logits[i] - store_at(s, want, i)));
      CHECK_BELOW(logit_error, noise);
    }
    CHECK_BELOW(hf_gradient_error(model, s, "grad/", grads, 1.0, &tensors), bound);
    CHECK(tensors >= 20);
    CHECK_BELOW(fabs(norm_of(grads, model->count) / store_scalar(s, "", "grad_norm") - 1.0), 1e-6);
  }
  free(memory); free(ids); free(b.spans); free(b.targets); free(sums); free(logits); free(grads); free(rows);
}

static void check_greedy(const fr_model *model, const store *s, const char *kernel)
{
  const store_entry *prompt = store_get(s, "", "greedy_prompt"), *next = store_get(s, "", "greedy_next"),
                    *gap = store_get(s, "", "greedy_gap");
  int32_t *ids = store_ints(s, prompt);
  fr_token *text = (fr_token *)test_alloc((size_t)next->count * sizeof(fr_token));
  fr_span span;
  fr_tree tree;
  fr_sampling sampling;
  fr_leaf leaf;
  fr_limits limits;
  fr_work work;
  void *memory;
  span.parent = -1;
  span.tokens.ids = ids;
  span.tokens.count = prompt->count;
  memset(&tree, 0, sizeof tree);
  tree.spans = &span;
  tree.span_count = 1;
  memset(&sampling, 0, sizeof sampling);
  sampling.max_tokens = next->count;
  memset(&leaf, 0, sizeof leaf);
  leaf.tokens = text;
  CHECK(fr_generate_limits(&tree, &sampling, 1, &limits) == FR_OK);
  work = fixture_work(&model->config, &limits, &memory);
  if (fr_work_select(&work, kernel) == FR_OK) {
    CHECK(fr_generate(model, &work, &tree, &sampling, &leaf, 1) == FR_OK);
    CHECK(leaf.count == next->count && leaf.stop == -1);
    for (fr_int t = 0; t < next->count; t++) {
      CHECK(store_at(s, gap, t) > 1e-3);  // the runner-up is far enough for float32 to be held to it
      CHECK(text[t] == (fr_token)store_at(s, next, t));
    }
  }
  free(memory); free(ids); free(text);
}

static void models(void)
{
  static const char *const names[] = { "llama_a", "qwen2_a", "qwen3_a" };
  for (int m = 0; m < 3; m++) {
    char path[128];
    fr_config config;
    fr_model model;
    void *memory;
    store s;
    snprintf(path, sizeof path, "tests/data/model/%s", names[m]);
    config = hf_config(path);
    model = fixture_model(&config, &memory);
    hf_load(&model, path);
    snprintf(path, sizeof path, "tests/data/model/%s/ntp", names[m]);
    s = store_open(path);
    for (int k = 0; k < FIXTURE_KERNELS; k++) {
      check_run(&model, &s, fixture_kernels[k]);
      check_greedy(&model, &s, fixture_kernels[k]);
    }
    store_close(&s);
    free(memory);
  }
}

// ---- rope against the table of tests/rope_table.py
static void rope(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/rope_llama3.txt", &size), *line = strtok(text, "\n");
  fr_config config;
  fr_work work;
  void *memory = NULL;
  fr_int pairs = 0, turns = 0;
  memset(&work, 0, sizeof work);
  for (; line; line = strtok(NULL, "\n")) {
    double theta, factor, low, high, frequency, cosine, sine;
    int dim, original, j, position;
    if (sscanf(line, "config %lf %d %lf %lf %lf %d", &theta, &dim, &factor, &low, &high, &original) == 6) {
      fr_limits limits;
      memset(&config, 0, sizeof config);
      memset(&limits, 0, sizeof limits);
      config.layers = config.dim = config.heads = config.ffn = config.vocab = 1;
      config.head_dim = dim;
      config.rope_theta = (float)theta;
      config.rope_factor = (float)factor;
      config.rope_low = (float)low;
      config.rope_high = (float)high;
      config.rope_original = original;
      limits.depth = 40001;
      free(memory);
      work = fixture_work(&config, &limits, &memory);
    } else if (sscanf(line, "pair %d %lf", &j, &frequency) == 2) {
      CHECK_BELOW(fabs(fr__rope_frequency(&work.config, j) / frequency - 1.0), 1e-14);
      pairs++;
    } else if (sscanf(line, "turn %d %d %lf %lf", &position, &j, &cosine, &sine) == 4) {
      const fr_int at = position * (work.config.head_dim / 2) + j;
      CHECK_BELOW(fabs((double)work.body->cosine[at] - cosine), 6e-8);
      CHECK_BELOW(fabs((double)work.body->sine[at] - sine), 6e-8);
      turns++;
    } else {
      store_die("bad line", line);
    }
  }
  CHECK(pairs == 64 + 32 + 8 + 4 && turns == 7 * (13 + 7 + 2 + 1));
  free(memory);
  free(text);
}

// ---- the table of parameters, and start values
static void parameters(void)
{
  for (int which = 0; which < FIXTURE_CONFIGS; which++) {
    const fr_config config = fixture_config(which);
    fr_config resolved;
    fr_model model, twin;
    fr_tensor t;
    fr_reason reason;
    fr_int end = 0, index = 0;
    void *memory, *twin_memory;
    CHECK(fr_config_check(&config, &resolved, &reason) == FR_OK && reason.text[0] == 0);
    model = fixture_model(&config, &memory);
    twin = fixture_model(&config, &twin_memory);
    CHECK(model.config.layers == config.layers && model.config.kv_heads == resolved.kv_heads &&
          resolved.kv_heads > 0);
    CHECK(model.config.head_dim == resolved.head_dim &&
          resolved.head_dim == (config.head_dim ? config.head_dim : 6));
    CHECK(resolved.norm_eps == (which == 3 ? (float)1e-6 : (float)1e-5) &&
          resolved.embed_scale == (config.embed_scale > 0.0f ? config.embed_scale : 1.0f));
    CHECK(resolved.rope_theta == (config.rope_theta > 0.0f ? config.rope_theta : 10000.0f) &&
          resolved.rope_factor == config.rope_factor);
    CHECK(resolved.rope_low == (which == 7 ? 1.5f : 1.0f) && resolved.rope_high == (which == 7 ? 3.0f : 4.0f));
    CHECK(resolved.rope_original == (config.rope_original ? config.rope_original : 8192));
    for (; fr_model_tensor(&model, index, &t) == FR_OK; index++) {
      CHECK(t.offset == end && t.copies >= 0 && t.rows > 0 && t.cols > 0);
      end += t.copies * t.rows * t.cols;
    }
    CHECK(fr_model_tensor(&model, index, &t) == FR_RANGE && fr_model_tensor(&model, -1, &t) == FR_RANGE);
    CHECK(end == model.count);
    fr_model_init(&model, 5);
    fr_model_init(&twin, 5);
    CHECK(same_bits(model.params, twin.params, model.count, 4));
    fr_model_init(&twin, 6);
    CHECK(!same_bits(model.params, twin.params, model.count, 4));
    free(memory); free(twin_memory);
  }
  // Standard deviations, on tensors that are large enough to measure them.
  {
    fr_config c;
    fr_model model;
    void *memory;
    static const struct { const char *name; double std; } want[] = {
      { "tok_emb", 0.5 / 8.0 },   { "w_qkv", 1.0 / 8.0 },           { "w_out", 1.0 / (8.0 * 2.0) },
      { "w_gate_up", 1.0 / 8.0 }, { "w_down", 1.0 / (10.0 * 2.0) }, { "head", 1.0 / 8.0 },
    };
    memset(&c, 0, sizeof c);
    c.layers = 2; c.dim = 64; c.heads = 4; c.ffn = 100; c.vocab = 500; c.qkv_bias = 1; c.qk_norm = 1;
    model = fixture_model(&c, &memory);
    fr_model_init(&model, 1);
    for (int i = 0; i < 6; i++) {
      const fr_tensor t = fixture_tensor(&model, want[i].name);
      const fr_int n = t.copies * t.rows * t.cols;
      double sum = 0.0;
      for (fr_int j = 0; j < n; j++) sum += (double)model.params[t.offset + j];
      CHECK_BELOW(fabs(sum / (double)n), 5.0 * want[i].std / sqrt((double)n));
      CHECK_BELOW(fabs(norm_of(model.params + t.offset, n) / sqrt((double)n) / want[i].std - 1.0),
                  5.0 / sqrt(2.0 * (double)n));
    }
    for (fr_int j = 0; j < 64; j++) {
      CHECK(model.params[fixture_tensor(&model, "norm_final").offset + j] == 1.0f);
      CHECK(model.params[fixture_tensor(&model, "b_qkv").offset + j] == 0.0f);
    }
    free(memory);
  }
}

// ---- reserved rows
static void rows(void)
{
  for (int tied = 0; tied < 2; tied++) {
    fr_config small = fixture_config(1), large;
    fr_model from, to;
    fr_tensor a, b;
    void *memory[2];
    small.tied = tied;
    large = small;
    large.vocab += 6;
    from = fixture_model(&small, &memory[0]);
    to = fixture_model(&large, &memory[1]);
    fixture_randomise(&from);
    fixture_randomise(&to);
    CHECK(fr_model_append_rows(&to, &from) == FR_OK);
    for (fr_int i = 0; fr_model_tensor(&from, i, &a) == FR_OK; i++) {
      const fr_int n = a.copies * a.rows * a.cols;
      CHECK(fr_model_tensor(&to, i, &b) == FR_OK);
      CHECK(same_bits(from.params + a.offset, to.params + b.offset, n, 4));
      if (b.rows == a.rows || !a.copies) continue;
      CHECK(b.rows == a.rows + 6);
      for (fr_int c = 0; c < a.cols; c++) {
        double mean = 0.0;
        for (fr_int r = 0; r < a.rows; r++)
          mean += (double)from.params[a.offset + r * a.cols + c] / (double)a.rows;
        for (fr_int r = a.rows; r < b.rows; r++)
          CHECK_BELOW(fabs((double)to.params[b.offset + r * b.cols + c] - mean), 1e-7);
      }
    }
    // Noise around zero or around the mean, in the chosen rows and nowhere else; the head gets noise of its own.
    for (int around = 0; around < 2; around++) {
      float *before = (float *)test_alloc((size_t)to.count * sizeof(float));
      memcpy(before, to.params, (size_t)to.count * sizeof(float));
      CHECK(fr_model_set_rows(&to, 37, 5, around, 0.02f, 9) == FR_OK);
      for (fr_int i = 0; fr_model_tensor(&to, i, &b) == FR_OK; i++) {
        const int table = b.copies && (!strcmp(b.name, "tok_emb") || !strcmp(b.name, "head"));
        double square = 0.0;
        for (fr_int j = 0; j < b.copies * b.rows * b.cols; j++) {
          const fr_int row = j / b.cols, at = b.offset + j;
          if (table && row >= 37 && row < 42) {
            double mean = 0.0;
            for (fr_int r = 0; around && r < b.rows; r++)
              if (r < 37 || r >= 42)
                mean += (double)before[b.offset + r * b.cols + j % b.cols] / (double)(b.rows - 5);
            square += pow((double)to.params[at] - mean, 2.0);
          } else {
            CHECK(to.params[at] == before[at]);
          }
        }
        if (table)
          CHECK(sqrt(square / 100.0) > 0.014 &&
                sqrt(square / 100.0) < 0.026);  // 100 draws: .02 within four sigma
      }
      free(before);
    }
    if (!tied)
      CHECK(to.params[fixture_tensor(&to, "tok_emb").offset + 37 * 20] !=
            to.params[fixture_tensor(&to, "head").offset + 37 * 20]);
    {
      float *before = (float *)test_alloc((size_t)to.count * sizeof(float));
      memcpy(before, to.params, (size_t)to.count * sizeof(float));
      CHECK(fr_model_set_rows(&to, -1, 2, 0, 0.02f, 9) == FR_RANGE &&
            fr_model_set_rows(&to, 42, 2, 0, 0.02f, 9) == FR_RANGE);
      CHECK(fr_model_set_rows(&to, 40, -1, 0, 0.02f, 9) == FR_RANGE &&
            fr_model_set_rows(&to, 40, 1, 0, NAN, 9) == FR_INVALID);
      CHECK(fr_model_append_rows(&from, &to) == FR_CONFIG);
      CHECK(same_bits(before, to.params, to.count, 4));
      free(before);
    }
    free(memory[0]); free(memory[1]);
  }
}

// ---- configs that are refused: the status, a reason that names the field, and nothing written
static void refused(void)
{
  for (int which = 0; which < 16; which++) {
    fr_config c = fixture_config(1), resolved;
    fr_reason reason;
    fr_int bytes = 77;
    const char *word = "";
    fr_status want = FR_CONFIG;
    memset(&resolved, 0x33, sizeof resolved);
    switch (which) {
      case 0: c.layers = 0; word = "layers"; break;
      case 1: c.dim = -4; word = "dim"; break;
      case 2: c.heads = 0; word = "heads"; break;
      case 3: c.ffn = -1; word = "ffn"; break;
      case 4: c.vocab = 0; word = "vocab"; break;
      case 5: c.kv_heads = 3; word = "kv_heads"; break;
      case 6: c.kv_heads = -2; word = "kv_heads"; break;
      case 7: c.head_dim = 7; word = "head_dim"; break;
      case 8: c.head_dim = 0; c.dim = 22; word = "head_dim"; break;
      case 9: c.norm_eps = -1.0f; word = "norm_eps"; break;
      case 10: c.rope_theta = (float)NAN; word = "rope_theta"; break;
      case 11: c.embed_scale = HUGE_VALF; word = "embed_scale"; break;
      case 12: c.rope_factor = -2.0f; word = "rope_factor"; break;
      case 13: c.rope_factor = 8.0f; c.rope_low = 4.0f; c.rope_high = 2.0f; word = "rope"; break;
      case 14: c.dim = PTRDIFF_MAX / 2; want = FR_OVERFLOW; break;
      default: c.layers = PTRDIFF_MAX / 100; want = FR_OVERFLOW; break;
    }
    if (!CHECK(fr_config_check(&c, &resolved, &reason) == want && strstr(reason.text, word)))
      fprintf(stderr, "  case %d: %s\n", which, reason.text);
    CHECK(reason.text[0] != 0);
    CHECK(((unsigned char *)&resolved)[0] == 0x33 && ((unsigned char *)&resolved)[sizeof resolved - 1] == 0x33);
    CHECK(fr_model_place(NULL, &c, NULL, 0, &bytes) == want && bytes == 77);
  }
  CHECK(fr_config_check(NULL, NULL, NULL) == FR_INVALID);
}

int main(void)
{
  models();
  rope();
  parameters();
  rows();
  refused();
  return test_done("model");
}
