// backend.h - any backend through the public interface: the reference models, SSFT, GFPO, decoding and updates against the float64
// references and against the CPU. Used by test_backend.c for the double twin and by cuda_host/ for CUDA.
// Include after the implementation.
#ifndef FR_TEST_BACKEND_H
#define FR_TEST_BACKEND_H

#include "hf.h"
#include "tiny.h"

// What is tested, and how far it may be off.
typedef struct checked_backend {
  const fr_backend *backend;
  fr_int (*end)(void);  // drops all models and workspaces; returns what the device still holds: 0
  // 0: computes in double; references were rounded to floats. 1: in float32, and float32 runs of the references' own software were
  // a known distance off, of which four times is allowed, as the CPU is.
  int floats;
  // Unit roundoff of the factors of products, where they are rounded; else 0. A product of rounded factors is off by about u of its
  // size (sums of K errors of random sign, as their sizes are sums of K terms); gradients lie behind 2 (4 L + 1) products, whose
  // errors add up as squares: u sqrt(2 (4 L + 1)), and four times that is allowed.
  double factors;
} checked_backend;
static checked_backend checked;

static double rounded(const fr_config *c) { return 4.0 * checked.factors * sqrt(2.0 * (4.0 * (double)c->layers + 1.0)); }
// What is allowed: `exact` of doubles; of floats at least `least`, and four times the noise on file, if there is any
static double allowed(double exact, double least, const store *s, const char *noise)
{
  return !checked.floats ? exact : noise ? fmax(least, 4.0 * store_scalar(s, "", noise)) : least;
}
static double largest(const float *x, fr_int count)
{
  double worst = 0.0;
  for (fr_int i = 0; i < count; i++) worst = fmax(worst, fabs((double)x[i]));
  return worst;
}

static double farthest(const float *x, const float *y, fr_int count)
{
  double worst = 0.0;
  for (fr_int i = 0; i < count; i++) worst = fmax(worst, x[i] == x[i] ? fabs((double)x[i] - (double)y[i]) : HUGE_VAL);
  return worst;
}

static fr_work on_device(const fr_config *config, fr_limits limits, void **memory)
{
  limits.backend = checked.backend;
  return fixture_work(config, &limits, memory);
}

// A model whose matrices are bfloat16 views of `model`, rounded here, in `bits` (floats of the block); and the floats of the same.
static fr_model half_size(fr_model *model, uint16_t *bits, fr_int table_rows, void **memory)
{
  const fr_config *c = &model->config;
  const fr_int C = c->dim, HD = c->heads * c->head_dim, KD = c->kv_heads * c->head_dim, F = c->ffn;
  fr_layer_views *layers = (fr_layer_views *)test_alloc((size_t)c->layers * sizeof *layers);
  const fr_int at[] = { fixture_tensor(model, "w_qkv").offset, fixture_tensor(model, "w_out").offset,
                        fixture_tensor(model, "w_gate_up").offset, fixture_tensor(model, "w_down").offset,
                        fixture_tensor(model, "tok_emb").offset, c->tied ? 0 : fixture_tensor(model, "head").offset };
  const fr_int size[] = { (HD + 2 * KD) * C * c->layers, C * HD * c->layers, 2 * F * C * c->layers, C * F * c->layers,
                          table_rows * C, c->tied ? 0 : table_rows * C };
  fr_model half;
  fr_views views;
  fr_int bytes;
  memset(&views, 0, sizeof views);
  for (int i = 0; i < 6; i++)
    for (fr_int j = 0; j < size[i]; j++) {
      uint32_t word;
      memcpy(&word, model->params + at[i] + j, 4);
      bits[at[i] + j] = (uint16_t)(word >> 16);
      word &= 0xffff0000u;
      memcpy(model->params + at[i] + j, &word, 4);
    }
#define VIEW(view, offset, count, cols)                                                                      \
  (view).at = bits + (offset); (view).rows = (count); (view).step = 2 * (cols); (view).type = FR_BFLOAT16;
  for (fr_int l = 0; l < c->layers; l++) {
    VIEW(layers[l].q, at[0] + l * (HD + 2 * KD) * C, HD, C)
    VIEW(layers[l].k, at[0] + (l * (HD + 2 * KD) + HD) * C, KD, C)
    VIEW(layers[l].v, at[0] + (l * (HD + 2 * KD) + HD + KD) * C, KD, C)
    VIEW(layers[l].out, at[1] + l * C * HD, C, HD)
    VIEW(layers[l].gate, at[2] + l * 2 * F * C, F, C)
    VIEW(layers[l].up, at[2] + (l * 2 + 1) * F * C, F, C)
    VIEW(layers[l].down, at[3] + l * C * F, C, F)
  }
  VIEW(views.embedding, at[4], table_rows, C)
  if (!c->tied) { VIEW(views.head, at[5], table_rows, C) }
  views.layers = layers;
  CHECK(fr_model_place_views(NULL, c, &views, NULL, 0, &bytes, NULL) == FR_OK);
  *memory = test_alloc((size_t)bytes);
  CHECK(fr_model_place_views(&half, c, &views, *memory, bytes, NULL, NULL) == FR_OK);
  for (int i = 0; i < FR__TENSORS; i++) {  // what is the model's own: gains, biases, the rows behind the views
    fr_tensor from, own;
    CHECK(fr_model_tensor(model, i, &from) == FR_OK && fr_model_tensor(&half, i, &own) == FR_OK);
    memcpy(half.params + own.offset, model->params + from.offset + (own.copies ? (from.rows - own.rows) * from.cols : 0),
           (size_t)(own.copies * own.rows * own.cols) * sizeof(float));
  }
  free(layers);
  return half;
}

// ---- the reference models
static void whole_model(const char *name)
{
  char path[128];
  fr_span spans[8];
  fr_target targets[200];
  fr_int rows[200], N = 0, tensors;
  fr_sum *sums;
  fr_tree tree;
  fr_limits limits;
  fr_adamw adamw;
  void *memory, *own, *half_memory;
  store s;
  snprintf(path, sizeof path, "tests/data/model/%s", name);
  const fr_config config = hf_config(path);
  fr_model model = fixture_model(&config, &memory);
  hf_load(&model, path);
  snprintf(path, sizeof path, "tests/data/model/%s/ntp", name);
  s = store_open(path);
  const fr_int B = (fr_int)store_scalar(&s, "", "batch"), T = (fr_int)store_scalar(&s, "", "tmax"), V = config.vocab;
  const double counted = store_scalar(&s, "", "loss_count");
  const store_entry *nll = store_get(&s, "", "nll"), *logits = store_get(&s, "", "logits"), *mask = store_get(&s, "", "target_mask");
  int32_t *ids = store_ints(&s, store_get(&s, "", "ids"));
  memset(&tree, 0, sizeof tree);
  for (fr_int i = 0; i < B; i++) {
    spans[i].parent = -1;
    spans[i].tokens.ids = ids + i * T;
    spans[i].tokens.count = (fr_int)store_at(&s, store_get(&s, "", "lengths"), i);
    for (fr_int t = 1; t < spans[i].tokens.count; t++) {
      fr_target *target = &targets[tree.target_count++];
      target->row = N + t - 1;
      target->token = ids[i * T + t];
      target->weight = store_at(&s, mask, i * T + t) > 0.0 ? (float)(1.0 / counted) : 0.0f;
      target->group = i * T + t;
    }
    N += spans[i].tokens.count;
  }
  if (!CHECK(B <= 8 && N <= 200)) return;
  tree.spans = spans;
  tree.span_count = B;
  tree.targets = targets;
  for (fr_int r = 0; r < N; r++) rows[r] = r;
  CHECK(fr_tree_limits(&tree, &limits) == FR_OK);
  limits.cache_rows = limits.leaves = 64;
  limits.depth = 64;
  fr_work work = on_device(&config, limits, &own);
  CHECK(fr_adamw_new(&adamw, &model) == FR_OK);
  sums = (fr_sum *)test_alloc((size_t)(B * T) * sizeof(fr_sum));
  float *got = fixture_zeros(N * V), *want = store_floats(&s, logits), *others = fixture_zeros(N * V);
  CHECK(fr_forward(&model, &work, &tree, sums, B * T) == FR_INVALID && strstr(work.reason.text, "attached"));
  CHECK(fr_work_attach(&work, &model, &adamw) == FR_OK);
  for (int gradient = 0; gradient < 2; gradient++) {
    double loss = 0.0, worst = 0.0;
    CHECK((gradient ? fr_backward(&model, &work, &tree, adamw.grads, sums, B * T)
                    : fr_forward(&model, &work, &tree, sums, B * T)) == FR_OK);
    for (fr_int g = 0; g < B * T; g++) {
      loss += sums[g].weighted;
      worst = fmax(worst, fabs(sums[g].nll - store_at(&s, nll, g)));
    }
    const double off = rounded(&config) * largest(want, N * V);
    const double sides = checked.floats ? 2.0 : 1.0;  // -log p is a logit less the log of a sum of all
    CHECK_BELOW(worst, 2.0 * off + sides * allowed(6e-7, 0.0, &s, "f32noise_logits_maxabs"));  // they are floats on file
    CHECK_BELOW(fabs(loss - store_scalar(&s, "", "loss_mean")),
                2.0 * off + allowed(5e-7, 1e-6, &s, "f32noise_loss_abs"));  // weights are floats
    CHECK(fr_logits(&model, &work, rows, N, got, NULL) == FR_OK);
    CHECK_BELOW(farthest(got, want, N * V), off + allowed(1e-6, 0.0, &s, "f32noise_logits_maxabs"));
  }
  CHECK(norm_of(adamw.grads, adamw.count) <= 0.0);  // it is on the device
  CHECK(fr_work_download(&work, &model, &adamw) == FR_OK);
  CHECK_BELOW(hf_gradient_error(&model, &s, "grad/", adamw.grads, 1.0, &tensors),
              rounded(&config) + allowed(2e-7, 1e-5, &s, "f32noise_grad_maxrel"));
  CHECK(tensors >= 20);
  if (!(checked.factors > 0.0)) {  // greedy text
    const store_entry *next = store_get(&s, "", "greedy_next"), *prompt = store_get(&s, "", "greedy_prompt");
    int32_t *asked = store_ints(&s, prompt);
    fr_token text[64];
    fr_sampling sampling;
    fr_leaf leaf;
    memset(&sampling, 0, sizeof sampling);
    memset(&leaf, 0, sizeof leaf);
    sampling.max_tokens = next->count;
    leaf.tokens = text;
    spans[0].tokens.ids = asked;
    spans[0].tokens.count = prompt->count;
    tree.span_count = 1;
    CHECK(fr_generate(&model, &work, &tree, &sampling, &leaf, 1) == FR_OK && leaf.count == next->count);
    for (fr_int t = 0; t < leaf.count; t++) CHECK(text[t] == (fr_token)store_at(&s, next, t));
    free(asked);
    spans[0].tokens.ids = ids;
    spans[0].tokens.count = (fr_int)store_at(&s, store_get(&s, "", "lengths"), 0);
    tree.span_count = B;
  }
  {  // bfloat16 views, and floats of the same values
    uint16_t *bits = (uint16_t *)test_alloc((size_t)model.count * sizeof *bits);
    fr_model half = half_size(&model, bits, V - 5, &half_memory);
    CHECK(fr_work_attach(&work, &half, NULL) == FR_OK && fr_work_attach(&work, &model, NULL) == FR_OK);
    CHECK(fr_forward(&half, &work, &tree, sums, B * T) == FR_OK && fr_logits(&half, &work, rows, N, got, NULL) == FR_OK);
    CHECK(fr_forward(&model, &work, &tree, sums, B * T) == FR_OK && fr_logits(&model, &work, rows, N, others, NULL) == FR_OK);
    CHECK(same_bits(got, others, N * V, 4) && farthest(got, want, N * V) > 1e-4);
    CHECK(fr_backward(&half, &work, &tree, adamw.grads, sums, B * T) == FR_INVALID && strstr(work.reason.text, "optimiser"));
    free(bits);
    free(half_memory);
  }
  store_close(&s);
  fr_adamw_free(&adamw);
  free(memory); free(own); free(ids); free(sums); free(got); free(want); free(others);
}

static double judge(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user;
  return (double)((question * 3 + fork * 5 + leaf->count + (leaf->count ? leaf->tokens[0] : 0)) % 3);
}

static void set_loss_and_choice(const char *name)
{
  char path[128];
  fr_token prompt[32], trace_ids[64], fork_ids[8];
  fr_tokens forks[8], traces[8];
  fr_int fork[8], tensors, longest = 0, at = 0;
  double cost[64], nll[8], tokens = 0.0, off, margin = 0.0;
  fr_int room = 0;
  void *scratch;
  fr_question q;
  fr_ssft_options o;
  fr_ssft_total total;
  fr_ssft_report report;
  fr_limits limits, more;
  fr_gfpo_options g;
  fr_gfpo_report choice;
  fr_rollouts r;
  fr_policy policy;
  fr_adamw adamw;
  void *memory, *own;
  store s;
  snprintf(path, sizeof path, "tests/data/model/%s", name);
  const fr_config config = hf_config(path);
  fr_model model = fixture_model(&config, &memory);
  hf_load(&model, path);
  snprintf(path, sizeof path, "tests/data/model/%s/ssft", name);
  s = store_open(path);
  memset(&q, 0, sizeof q); memset(&o, 0, sizeof o); memset(&g, 0, sizeof g); memset(&policy, 0, sizeof policy);
  const store_entry *x = store_get(&s, "", "x"), *text = store_get(&s, "", "traces");
  for (fr_int i = 0; i < x->count; i++) prompt[i] = (fr_token)store_at(&s, x, i);
  for (fr_int i = 0; i < text->count; i++) trace_ids[i] = (fr_token)store_at(&s, text, i);
  o.fork_count = (fr_int)store_scalar(&s, "", "n_forks");
  q.trace_count = (fr_int)store_scalar(&s, "", "m_traces");
  for (fr_int i = 0; i < o.fork_count; i++) {
    fork_ids[i] = (fr_token)store_at(&s, store_get(&s, "", "fork_ids"), i);
    forks[i].ids = fork_ids + i;
    forks[i].count = 1;
  }
  for (fr_int j = 0; j < q.trace_count; at += traces[j++].count) {
    traces[j].ids = trace_ids + at;
    traces[j].count = (fr_int)store_at(&s, store_get(&s, "", "trace_lengths"), j);
    tokens += (double)traces[j].count;
    if (traces[j].count > longest) longest = traces[j].count;
  }
  q.prompt.ids = prompt;
  q.prompt.count = x->count;
  q.traces = traces; q.fork = fork; q.cost = cost; q.nll = nll;
  o.forks = g.forks = forks;
  g.fork_count = o.fork_count;
  g.group = store_get(&s, "gfpo/", "actions")->count;
  g.sampling.max_tokens = 1;
  g.reward = judge;
  memset(&more, 0, sizeof more);
  CHECK(fr_ssft_limits(&o, x->count, longest, q.trace_count, 1, &limits) == FR_OK);
  CHECK(fr_gfpo_limits(&g, x->count, 1, &more) == FR_OK);
  fr_work work = on_device(&config, fr_limits_max(limits, more), &own);
  CHECK(fr_adamw_new(&adamw, &model) == FR_OK && fr_work_attach(&work, &model, &adamw) == FR_OK);
  CHECK(fr_ssft_match(&model, &work, &o, &q, 1) == FR_OK && fr_ssft_count(&o, &q, 1, &total) == FR_OK);
  // A cost is a mean of -log p; in float32 as far off as the CPU's may be.
  off = allowed(1e-10, 1e-5, NULL, NULL) + 2.0 * rounded(&config) * fabs(store_at(&s, store_get(&s, "", "cost_all"), 0));
  for (fr_int i = 0; i < o.fork_count * q.trace_count; i++)
    CHECK_BELOW(fabs(cost[i] - store_at(&s, store_get(&s, "", "cost_all"), i)), off);
  CHECK(fr_assign_margin(cost, 1, q.trace_count, q.trace_count, o.fork_count, &margin, NULL, 0, &room) == FR_OK);
  scratch = test_alloc((size_t)room);
  CHECK(fr_assign_margin(cost, 1, q.trace_count, q.trace_count, o.fork_count, &margin, scratch, room, NULL) == FR_OK);
  free(scratch);
  CHECK(checked.factors > 0.0 || margin > 2.0 * (double)q.trace_count * off);
  for (fr_int j = 0; j < q.trace_count; j++) {
    const fr_int want = (fr_int)store_at(&s, store_get(&s, "", "match_all"), j);
    CHECK(fork[j] == want || margin <= 2.0 * (double)q.trace_count * off);
    fork[j] = want;
  }
  CHECK(fr_ssft_backward(&model, &work, &o, &q, 1, total, adamw.grads, &report) == FR_OK);
  CHECK_BELOW(fabs(report.nll - store_scalar(&s, "match_all/", "loss_sum_of_sums")),
              (allowed(1e-9, 1e-6, NULL, NULL) + rounded(&config)) * report.nll);
  CHECK(fr_work_download(&work, &model, &adamw) == FR_OK);
  CHECK_BELOW(hf_gradient_error(&model, &s, "match_all/grad_sum_of_sums/", adamw.grads, tokens, &tensors),
              rounded(&config) + allowed(3e-7, 1e-5, &s, "match_all/f32noise_grad_maxrel"));
  CHECK(tensors >= 20);
  memset(adamw.grads, 0, (size_t)adamw.count * sizeof(float));
  CHECK(fr_work_attach(&work, &model, &adamw) == FR_OK && fr_rollouts_new(&r, &g, 1) == FR_OK);
  policy.model = &model;
  policy.adamw = &adamw;
  CHECK(fr_gfpo_rollout(&policy, &model, &work, &g, &q, 1, &r, &choice) == FR_OK);
  for (fr_int i = 0; i < g.group; i++) {
    r.fork[i] = (fr_int)store_at(&s, store_get(&s, "gfpo/", "actions"), i);
    r.reward[i] = store_at(&s, store_get(&s, "gfpo/", "rewards"), i);
    r.logp_old[i] = r.logp[r.fork[i]];
  }
  CHECK(fr_advantages(r.reward, g.group, FR_STD_POPULATION, 1e-6, r.advantage, NULL) == FR_OK);
  CHECK(fr_gfpo_backward(&policy, &work, &g, &q, &r, &choice) == FR_OK);
  CHECK(fr_work_download(&work, &model, &adamw) == FR_OK);
  CHECK_BELOW(hf_gradient_error(&model, &s, "gfpo/grad_params_restricted_softmax/", adamw.grads, 1.0, &tensors),
              rounded(&config) + allowed(3e-6, 1e-5, NULL, NULL));
  fr_rollouts_free(&r);
  fr_adamw_free(&adamw);
  store_close(&s);
  free(memory); free(own);
}

// ---- against the CPU: every option of the config, frozen tensors, views, going on from the cache, updates
typedef struct side { fr_model model; fr_work work; fr_adamw adamw; void *memory, *own; } side;

static side side_of(const fr_config *config, fr_limits limits, int twinned, const fr_model *like, uint32_t frozen)
{
  side s;
  s.model = fixture_model(config, &s.memory);
  memcpy(s.model.params, like->params, (size_t)like->count * sizeof(float));
  s.model.frozen = frozen;
  s.work = twinned ? on_device(config, limits, &s.own) : fixture_work(config, &limits, &s.own);
  CHECK(fr_adamw_new(&s.adamw, &s.model) == FR_OK && fr_work_attach(&s.work, &s.model, &s.adamw) == FR_OK);
  return s;
}

static void side_end(side *s)
{
  fr_adamw_free(&s->adamw);
  free(s->memory);
  free(s->own);
}

// Each side of a comparison of floats with floats may be off by what floats may be off from doubles.
static void against_cpu(int which)
{
  const double sides = checked.floats ? 2.0 : 1.0;
  const fr_config config = fixture_config(which);
  const uint32_t frozen = which % 3 == 1 ? 1u << FR__AT_w_qkv | 1u << FR__AT_norm_mlp | 1u << FR__AT_tok_emb : 0;
  enum { MAX = 4, LEAVES = 3 };
  fr_token ids[40], text[2][LEAVES][MAX], again[2][LEAVES][MAX];
  fr_span spans[6 + LEAVES];
  fr_target targets[12];
  fr_leaf leaf[2][LEAVES];
  fr_sum sums[2][2];
  fr_sampling o;
  fr_tree tree;
  fr_limits limits, decode;
  fr_int rows[40], N = 0;
  void *memory;
  fr_model like = fixture_model(&config, &memory);
  fixture_randomise(&like);
  for (int i = 0; i < 40; i++) { ids[i] = (fr_token)test_below_int(config.vocab); rows[i] = i; }
  for (int i = 0; i < 6; i++) {  // two roots; a chain with an empty span; two branches
    static const fr_int parent[] = { -1, 0, 1, 1, -1, 2 }, count[] = { 5, 0, 6, 4, 3, 7 };
    spans[i].parent = parent[i];
    spans[i].tokens.ids = ids + N;
    spans[i].tokens.count = count[i];
    N += count[i];
  }
  for (int i = 0; i < 12; i++) {
    targets[i].row = test_below_int(N);
    targets[i].token = (fr_token)test_below_int(config.vocab);
    targets[i].weight = (float)test_uniform(-0.5, 1.0);
    targets[i].group = i % 3 - 1;
  }
  memset(&tree, 0, sizeof tree);
  tree.spans = spans; tree.span_count = 6; tree.targets = targets; tree.target_count = 12;
  memset(&o, 0, sizeof o);
  o.temperature = 0.9f;
  o.top_k = which % 2 ? 4 : 0;
  o.top_p = which % 3 ? 0.8f : 0.0f;
  o.min_p = which % 4 < 2 ? 0.1f : 0.0f;
  o.repeat_penalty = which % 5 ? 1.5f : 0.0f;
  o.max_tokens = MAX;
  memset(&decode, 0, sizeof decode);
  CHECK(fr_tree_limits(&tree, &limits) == FR_OK);
  CHECK(fr_generate_limits(&tree, &o, 2 * LEAVES, &decode) == FR_OK);
  limits = fr_limits_max(limits, decode);
  limits.depth += MAX;
  side s[2];
  float *out[2] = { fixture_zeros(N * config.vocab), fixture_zeros(N * config.vocab) };
  for (int t = 0; t < 2; t++) {
    fr_sampling going = o;
    s[t] = side_of(&config, limits, t, &like, frozen);
    memset(leaf[t], 0, sizeof leaf[t]);
    CHECK(fr_backward(&s[t].model, &s[t].work, &tree, s[t].adamw.grads, sums[t], 2) == FR_OK);
    CHECK(fr_work_download(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK);
    CHECK(fr_logits(&s[t].model, &s[t].work, rows, N, out[t], NULL) == FR_OK);
    for (int i = 0; i < LEAVES; i++) {
      leaf[t][i].span = i == 0 ? 3 : i == 1 ? 5 : 1;
      leaf[t][i].leaf = (uint64_t)i;
      leaf[t][i].tokens = text[t][i];
    }
    CHECK(fr_generate(&s[t].model, &s[t].work, &tree, &o, leaf[t], LEAVES) == FR_OK);
    for (int i = 0; i < LEAVES; i++) {  // each goes on, from the cache
      spans[6 + i].parent = leaf[t][i].span;
      spans[6 + i].tokens.ids = text[t][i];
      spans[6 + i].tokens.count = leaf[t][i].count;
    }
    for (int i = 0; i < LEAVES; i++) { leaf[t][i].span = 6 + i; leaf[t][i].tokens = again[t][i]; }
    tree.span_count = 6 + LEAVES;
    going.cached_spans = 6 + LEAVES;
    CHECK(fr_generate(&s[t].model, &s[t].work, &tree, &going, leaf[t], LEAVES) == FR_OK);
    tree.span_count = 6;
  }
  for (int g = 0; g < 2; g++) CHECK_BELOW(fabs(sums[0][g].nll - sums[1][g].nll), sides * 2e-5);
  CHECK_BELOW(farthest(out[0], out[1], N * config.vocab), sides * 2e-5);
  CHECK_BELOW(relative(s[0].adamw.grads, s[1].adamw.grads, s[0].adamw.count), sides * 5e-6);
  CHECK(norm_of(s[1].adamw.grads, s[1].adamw.count) > 0.0);
  for (int i = 0; i < LEAVES; i++) {
    CHECK(same_bits(text[0][i], text[1][i], MAX, 4) && same_bits(again[0][i], again[1][i], MAX, 4));
    CHECK_BELOW(fabs(leaf[0][i].logp - leaf[1][i].logp), sides * 2e-5);
  }
  for (int t = 0; t < 2; t++) {
    double norm;
    CHECK(fr_adamw_step(&s[t].adamw, &s[t].model, &s[t].work, 1.0, 1e-2f, &norm) == FR_OK && norm > 0.0);
    CHECK(fr_work_download(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK);
  }
  CHECK_BELOW(relative(s[0].adamw.m, s[1].adamw.m, s[0].adamw.count), sides * 5e-6);
  CHECK_BELOW(relative(s[0].adamw.v, s[1].adamw.v, s[0].adamw.count), sides * 1e-5);
  CHECK_BELOW(relative(s[0].model.params, s[1].model.params, like.count), sides * 1e-5);
  // The second step from the same parameters: where a gradient is nearly 0, the first divides its rounding by its own size.
  memcpy(s[0].model.params, s[1].model.params, (size_t)like.count * sizeof(float));
  for (int t = 0; t < 2; t++) {
    fr_tensor tensor;
    double norm;
    CHECK(fr_backward(&s[t].model, &s[t].work, &tree, s[t].adamw.grads, sums[t], 2) == FR_OK);
    CHECK(fr_adamw_step(&s[t].adamw, &s[t].model, &s[t].work, 1.0, 1e-2f, &norm) == FR_OK);
    CHECK(fr_model_tensor(&s[t].model, 0, &tensor) == (t ? FR_INVALID : FR_OK));
    CHECK(fr_work_download(&s[t].work, &s[t].model, &s[t].adamw) == FR_OK && fr_model_tensor(&s[t].model, 0, &tensor) == FR_OK);
    CHECK(norm_of(s[t].adamw.grads, s[t].adamw.count) <= 0.0);
  }
  CHECK_BELOW(relative(s[0].adamw.m, s[1].adamw.m, s[0].adamw.count), sides * 5e-6);
  CHECK_BELOW(relative(s[0].adamw.v, s[1].adamw.v, s[0].adamw.count), sides * 1e-5);
  CHECK_BELOW(relative(s[0].model.params, s[1].model.params, like.count), sides * 1e-5);
  CHECK(relative(like.params, s[1].model.params, like.count) > 1e-4);
  side_end(&s[0]); side_end(&s[1]);
  free(out[0]); free(out[1]); free(memory);
  CHECK(checked.end() == 0);
}

// ---- training and choosing with a policy, a start, a writer and a chooser: two steps each, on both
static void training(void)
{
  static tiny t;
  fr_ssft_report report[2];
  fr_gfpo_report choice[2], linear[2];
  float *trained[2];
  fr_int count = 0;
  for (int twinned = 0; twinned < 2; twinned++) {
    const fr_config config = tiny_config(2, 16);
    fr_gfpo_options g;
    fr_limits limits, more;
    fr_policy policy;
    fr_chooser chooser;
    fr_rollouts r;
    fr_model tensorless;
    fr_reason reason;
    fr_int bytes;
    void *room, *memory;
    fr_model like = fixture_model(&config, &memory);
    tiny_fill(&t, 1);
    fr_model_init(&like, 4);
    memset(&g, 0, sizeof g);
    g.forks = t.forks; g.fork_count = TINY_FORKS; g.group = 4; g.reward = judge; g.kl = 0.1f;
    g.sampling.max_tokens = 3; g.sampling.temperature = 1.0f; g.sampling.seed = 8;
    CHECK(fr_gfpo_limits(&g, TINY_PROMPT, 2, &more) == FR_OK);
    limits = fr_limits_max(tiny_limits(&t, 2, 4, 1), more);
    side s = side_of(&config, limits, twinned, &like, 0), start = side_of(&config, limits, twinned, &like, 0);
    fr_model_init(&like, 6);
    side writer = side_of(&config, limits, twinned, &like, 0);
    fr_model_init(&like, 4);
    for (int step = 0; step < 2; step++)
      CHECK(fr_ssft_step(&s.model, &s.work, &s.adamw, &t.options, t.questions, TINY_QUESTIONS, 1e-2f, &report[twinned]) == FR_OK);
    CHECK(fr_rollouts_new(&r, &g, 2) == FR_OK);
    memset(&policy, 0, sizeof policy);
    policy.model = &s.model;
    policy.adamw = &s.adamw;
    policy.start = &start.model;
    for (g.draw = 0; g.draw < 2; g.draw++)
      CHECK(fr_gfpo_step(&policy, &writer.model, &s.work, &g, t.questions, 2, &r, 1e-2f, &choice[twinned]) == FR_OK);
    CHECK(fr_chooser_place(NULL, &like, TINY_FORKS, 2, NULL, 0, &bytes) == FR_OK);
    room = test_alloc((size_t)bytes);
    CHECK(fr_chooser_place(&chooser, &like, TINY_FORKS, 2, room, bytes, NULL) == FR_OK);
    policy.model = &start.model;
    policy.adamw = NULL;
    policy.chooser = &chooser;
    for (g.draw = 0; g.draw < 2; g.draw++)
      CHECK(fr_gfpo_step(&policy, &start.model, &s.work, &g, t.questions, 2, &r, 1e-1f, &linear[twinned]) == FR_OK);
    if (twinned) {  // the host's copy is old
      CHECK(fr_checkpoint_save("/nowhere/at/all", &s.model, NULL, NULL, 0, &reason) == FR_INVALID && strstr(reason.text, "download"));
      tensorless = like;
      CHECK(fr_model_append_rows(&tensorless, &s.model) == FR_INVALID && fr_model_set_rows(&s.model, 0, 1, 0, 0.1f, 1) == FR_INVALID);
    }
    CHECK(fr_work_download(&s.work, &s.model, NULL) == FR_OK && !s.model.stale);
    count = s.model.count;
    trained[twinned] = (float *)test_alloc((size_t)count * sizeof(float));
    memcpy(trained[twinned], s.model.params, (size_t)count * sizeof(float));
    CHECK(relative(trained[twinned], like.params, count) > 1e-3);
    fr_rollouts_free(&r);
    side_end(&s); side_end(&start); side_end(&writer);
    free(room); free(memory);
  }
  CHECK_BELOW(fabs(report[0].loss - report[1].loss), 1e-5);
  CHECK_BELOW(fabs(report[0].norm - report[1].norm), 1e-4);
  CHECK_BELOW(fabs(choice[0].loss - choice[1].loss), 1e-5);
  CHECK_BELOW(fabs(choice[0].kl - choice[1].kl), 1e-5);
  CHECK_BELOW(fabs(linear[0].loss - linear[1].loss), 1e-5);
  CHECK_BELOW(relative(trained[0], trained[1], count), 1e-3);  // Adam's first steps take the sign of what is nearly nothing
  free(trained[0]); free(trained[1]);
  CHECK(checked.end() == 0);
}

#endif
