// fixture.h - models, workspaces and trees for tests, and a plain float64 decoder to compare them with.
//
// Include after forkreason.h. The decoder below computes one sequence, token by token, straight from the
// formulas; it knows neither trees nor blocks nor tiles, and shares no code with the library.
#ifndef FR_TEST_FIXTURE_H
#define FR_TEST_FIXTURE_H

#include "test.h"

static const char *const fixture_kernels[] = { "scalar", "avx2", "avx512", "neon" };
#define FIXTURE_KERNELS 4

static inline void fixture_die(const char *what, fr_status status, const char *reason)
{
  fprintf(stderr, "%s: %s: %s\n", what, fr_status_text(status), reason);
  exit(2);
}

// ---- a model with its gradients
static inline fr_model fixture_model(const fr_config *config, void **memory)
{
  fr_model model;
  fr_int bytes = 0;
  fr_status status = fr_model_place(NULL, config, NULL, 0, &bytes);
  if (status) fixture_die("fr_model_size", status, "");
  *memory = test_alloc((size_t)bytes);
  status = fr_model_place(&model, config, *memory, bytes, NULL);
  if (status) fixture_die("fr_model_place", status, "");
  return model;
}

static inline fr_tensor fixture_tensor(const fr_model *model, const char *name)
{
  fr_tensor tensor;
  for (fr_int i = 0; fr_model_tensor(model, i, &tensor) == FR_OK; i++)
    if (!strcmp(tensor.name, name)) return tensor;
  fprintf(stderr, "the model has no tensor %s\n", name);
  exit(2);
}

// Gains near 1, biases near 0, weights large enough for attention to have a say.
static inline void fixture_randomise(fr_model *model)
{
  fr_tensor t;
  for (fr_int i = 0; fr_model_tensor(model, i, &t) == FR_OK; i++) {
    const int gain = !strncmp(t.name, "norm", 4), bias = t.name[0] == 'b';
    for (fr_int j = 0; j < t.copies * t.rows * t.cols; j++)
      model->params[t.offset + j] = (float)(gain   ? 1.0 + 0.2 * test_normal()
                                            : bias ? 0.3 * test_normal()
                                                   : 1.3 * test_normal() / sqrt((double)t.cols));
  }
}

static inline fr_work fixture_work(const fr_config *config, const fr_limits *limits, void **memory)
{
  fr_work work;
  fr_int bytes = 0;
  fr_status status = fr_work_place(NULL, config, limits, NULL, 0, &bytes);
  if (status) fixture_die("fr_work_size", status, "");
  *memory = test_alloc((size_t)bytes);
  status = fr_work_place(&work, config, limits, *memory, bytes, NULL);
  if (status) fixture_die("fr_work_place", status, work.reason.text);
  return work;
}

static inline float *fixture_zeros(fr_int count)
{
  float *zeros = (float *)test_alloc((size_t)count * sizeof(float));
  memset(zeros, 0, (size_t)count * sizeof(float));
  return zeros;
}

// Every option of the config, alone and together. Sizes are odd on purpose: no multiple of a SIMD width.
#define FIXTURE_CONFIGS 9
static inline fr_config fixture_config(int which)
{
  fr_config c;
  memset(&c, 0, sizeof c);
  c.layers = 2; c.dim = 20; c.heads = 4; c.ffn = 27; c.vocab = 37;
  c.head_dim = 6;
  switch (which) {
    case 0: c.head_dim = 0; c.dim = 24; c.layers = 1; break;
    case 1: c.kv_heads = 2; break;
    case 2: c.kv_heads = 1; c.tied = 1; break;
    case 3: c.kv_heads = 2; c.qkv_bias = 1; c.tied = 1; c.norm_eps = 1e-6f; c.rope_theta = 1e6f; break;
    case 4: c.kv_heads = 2; c.qk_norm = 1; c.head_dim = 10; break;
    case 5: c.tied = 1; c.embed_scale = 4.4721f; break;
    case 6: c.rope_factor = 8.0f; c.rope_original = 16; c.rope_theta = 500.0f; c.head_dim = 16; break;
    case 7:
      c.kv_heads = 2;
      c.qkv_bias = 1;
      c.qk_norm = 1;
      c.embed_scale = 0.5f;
      c.rope_factor = 4.0f;
      c.rope_low = 1.5f;
      c.rope_high = 3.0f;
      c.rope_original = 12;
      c.rope_theta = 100.0f;
      c.head_dim = 16;
      c.layers = 3;
      break;
    default: c.heads = 1; c.kv_heads = 1; c.head_dim = 2; c.dim = 7; c.ffn = 1; c.vocab = 5; break;
  }
  return c;
}

// ---- a plain decoder in double
typedef struct reference {
  const fr_model *model;
  double *params;  // (count) a copy of the model's, to be changed at will
} reference;

static inline reference reference_new(const fr_model *model)
{
  reference r;
  r.model = model;
  r.params = (double *)test_alloc((size_t)model->count * sizeof(double));
  for (fr_int i = 0; i < model->count; i++) r.params[i] = (double)model->params[i];
  return r;
}

static inline const double *reference_tensor(const reference *r, const char *name, fr_int copy)
{
  const fr_tensor t = fixture_tensor(r->model, name);
  return r->params + t.offset + copy * t.rows * t.cols;
}

static inline void reference_norm(double *y, const double *x, const double *gain, fr_int n, double eps)
{
  double sum = 0.0;
  for (fr_int i = 0; i < n; i++) sum += x[i] * x[i];
  for (fr_int i = 0; i < n; i++) y[i] = x[i] / sqrt(sum / (double)n + eps) * gain[i];
}

static inline void reference_linear(double *y, const double *w, const double *x, fr_int out, fr_int in)
{
  for (fr_int o = 0; o < out; o++) {
    y[o] = 0.0;
    for (fr_int i = 0; i < in; i++) y[o] += w[o * in + i] * x[i];
  }
}

// The angle of pair j at a position; llama3 scaling as published with Llama 3.1.
static inline double reference_angle(const fr_config *c, fr_int position, fr_int j)
{
  double frequency = 1.0 / pow((double)c->rope_theta, 2.0 * (double)j / (double)c->head_dim);
  if (c->rope_factor > 0.0f) {
    const double length = 6.283185307179586476925 / frequency, old = (double)c->rope_original;
    if (length > old / (double)c->rope_low) {
      frequency /= (double)c->rope_factor;
    } else if (length >= old / (double)c->rope_high) {
      const double smooth = (old / length - (double)c->rope_low) / ((double)c->rope_high - (double)c->rope_low);
      frequency = (1.0 - smooth) * frequency / (double)c->rope_factor + smooth * frequency;
    }
  }
  return frequency * (double)position;
}

static inline void reference_turn(double *x, const fr_config *c, fr_int position)
{
  const fr_int half = c->head_dim / 2;
  for (fr_int j = 0; j < half; j++) {
    const double angle = reference_angle(c, position, j), a = x[j], b = x[j + half];
    x[j] = a * cos(angle) - b * sin(angle);
    x[j + half] = b * cos(angle) + a * sin(angle);
  }
}

// logits (count,V) of one sequence.
static inline void reference_logits(const reference *r, const fr_token *ids, fr_int count, double *logits)
{
  const fr_config *c = &r->model->config;
  const fr_int C = c->dim, H = c->heads, K = c->kv_heads, D = c->head_dim, F = c->ffn, W = (H + 2 * K) * D;
  double *x = (double *)test_alloc((size_t)(count * C) * sizeof(double));
  double *qkv = (double *)test_alloc((size_t)(count * W) * sizeof(double));
  double *score = (double *)test_alloc((size_t)(count + 1) * sizeof(double));
  double *h = (double *)test_alloc((size_t)C * sizeof(double)),
         *add = (double *)test_alloc((size_t)C * sizeof(double));
  double *att = (double *)test_alloc((size_t)(H * D) * sizeof(double));
  double *gate = (double *)test_alloc((size_t)(2 * F) * sizeof(double));
  for (fr_int n = 0; n < count; n++)
    for (fr_int i = 0; i < C; i++)
      x[n * C + i] = (double)c->embed_scale * reference_tensor(r, "tok_emb", 0)[ids[n] * C + i];
  for (fr_int l = 0; l < c->layers; l++) {
    const double *w_qkv = reference_tensor(r, "w_qkv", l), *w_out = reference_tensor(r, "w_out", l);
    const double *w_gate = reference_tensor(r, "w_gate_up", l), *w_down = reference_tensor(r, "w_down", l);
    const double *norm_att = reference_tensor(r, "norm_att", l), *norm_mlp = reference_tensor(r, "norm_mlp", l);
    for (fr_int n = 0; n < count; n++) {
      double *q = qkv + n * W;
      reference_norm(h, x + n * C, norm_att, C, (double)c->norm_eps);
      reference_linear(q, w_qkv, h, W, C);
      if (c->qkv_bias) for (fr_int i = 0; i < W; i++) q[i] += reference_tensor(r, "b_qkv", l)[i];
      for (fr_int i = 0; i < H + K; i++) {
        if (c->qk_norm)
          reference_norm(q + i * D, q + i * D, reference_tensor(r, i < H ? "norm_q" : "norm_k", l), D,
                         (double)c->norm_eps);
        reference_turn(q + i * D, c, n);
      }
    }
    for (fr_int n = 0; n < count; n++) {
      for (fr_int i = 0; i < H; i++) {
        const fr_int kv = i / (H / K);
        double max = -HUGE_VAL, sum = 0.0;
        for (fr_int m = 0; m <= n; m++) {
          score[m] = 0.0;
          for (fr_int d = 0; d < D; d++) score[m] += qkv[n * W + i * D + d] * qkv[m * W + (H + kv) * D + d];
          score[m] /= sqrt((double)D);
          if (score[m] > max) max = score[m];
        }
        for (fr_int m = 0; m <= n; m++) sum += score[m] = exp(score[m] - max);
        for (fr_int d = 0; d < D; d++) att[i * D + d] = 0.0;
        for (fr_int m = 0; m <= n; m++)
          for (fr_int d = 0; d < D; d++) att[i * D + d] += score[m] / sum * qkv[m * W + (H + K + kv) * D + d];
      }
      reference_linear(add, w_out, att, C, H * D);
      for (fr_int i = 0; i < C; i++) x[n * C + i] += add[i];
      reference_norm(h, x + n * C, norm_mlp, C, (double)c->norm_eps);
      reference_linear(gate, w_gate, h, 2 * F, C);
      for (fr_int i = 0; i < F; i++) gate[i] = gate[i] / (1.0 + exp(-gate[i])) * gate[F + i];
      reference_linear(add, w_down, gate, C, F);
      for (fr_int i = 0; i < C; i++) x[n * C + i] += add[i];
    }
  }
  for (fr_int n = 0; n < count; n++) {
    reference_norm(h, x + n * C, reference_tensor(r, "norm_final", 0), C, (double)c->norm_eps);
    reference_linear(logits + n * c->vocab, reference_tensor(r, c->tied ? "tok_emb" : "head", 0), h, c->vocab,
                     C);
  }
  free(x); free(qkv); free(score); free(h); free(add); free(att); free(gate);
}

static inline double reference_nll(const double *logits, fr_int vocab, fr_token token)
{
  double max = -HUGE_VAL, sum = 0.0;
  for (fr_int v = 0; v < vocab; v++) if (logits[v] > max) max = logits[v];
  for (fr_int v = 0; v < vocab; v++) sum += exp(logits[v] - max);
  return max + log(sum) - logits[token];
}

// ---- the sequences of a tree: one for each childless span, from the root down
typedef struct sequence {
  fr_int    leaf, count;
  fr_token *ids;   // (count)
  fr_int   *rows;  // (count) packed row of each token
} sequence;

static inline sequence *sequences_of(const fr_tree *tree, fr_int *count)
{
  sequence *all = (sequence *)test_alloc((size_t)(tree->span_count + 1) * sizeof(sequence));
  *count = 0;
  for (fr_int s = 0; s < tree->span_count; s++) {
    fr_int parent = 0, length = 0, at;
    sequence *q;
    for (fr_int t = s + 1; t < tree->span_count; t++) parent |= tree->spans[t].parent == s;
    if (parent) continue;
    for (fr_int a = s; a >= 0; a = tree->spans[a].parent) length += tree->spans[a].tokens.count;
    q = &all[(*count)++];
    q->leaf = s;
    q->count = at = length;
    q->ids = (fr_token *)test_alloc((size_t)length * sizeof(fr_token));
    q->rows = (fr_int *)test_alloc((size_t)length * sizeof(fr_int));
    for (fr_int a = s; a >= 0; a = tree->spans[a].parent) {
      fr_int row = 0;
      for (fr_int e = 0; e < a; e++) row += tree->spans[e].tokens.count;
      for (fr_int i = tree->spans[a].tokens.count; i-- > 0;) {
        q->ids[--at] = tree->spans[a].tokens.ids[i];
        q->rows[at] = row + i;
      }
    }
  }
  return all;
}

static inline void sequences_free(sequence *all, fr_int count)
{
  for (fr_int i = 0; i < count; i++) { free(all[i].ids); free(all[i].rows); }
  free(all);
}

// nll[target_count] (may be NULL) of every target, and the sum of weight * nll, each path as a sequence of its own.
static inline double reference_tree(const reference *r, const fr_tree *tree, double *nll)
{
  const fr_int V = r->model->config.vocab;
  fr_int count;
  sequence *all = sequences_of(tree, &count);
  char *done = (char *)test_alloc((size_t)tree->target_count);
  double loss = 0.0;
  memset(done, 0, (size_t)tree->target_count);
  for (fr_int i = 0; i < count; i++) {
    double *logits = (double *)test_alloc((size_t)(all[i].count * V) * sizeof(double));
    reference_logits(r, all[i].ids, all[i].count, logits);
    for (fr_int p = 0; p < all[i].count; p++)
      for (fr_int t = 0; t < tree->target_count; t++)
        if (!done[t] && tree->targets[t].row == all[i].rows[p]) {
          const double value = reference_nll(logits + p * V, V, tree->targets[t].token);
          done[t] = 1;
          loss += (double)tree->targets[t].weight * value;
          if (nll) nll[t] = value;
        }
    free(logits);
  }
  free(done);
  sequences_free(all, count);
  return loss;
}

// ---- comparing blocks of floats
static inline double norm_of(const float *x, fr_int count)
{
  double sum = 0.0;
  for (fr_int i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
  return sqrt(sum);
}

// |x - y| / |y|, and 0 where both are all zero.
static inline double relative(const float *x, const float *y, fr_int count)
{
  double difference = 0.0;
  const double norm = norm_of(y, count);
  for (fr_int i = 0; i < count; i++)
    difference += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
  if (difference > 0.0 && !(norm > 0.0)) return HUGE_VAL;
  return difference > 0.0 ? sqrt(difference) / norm : difference;
}

// The largest `relative` over the tensors of the model.
static inline double relative_by_tensor(const fr_model *model, const float *x, const float *y)
{
  fr_tensor t;
  double worst = 0.0;
  for (fr_int i = 0; fr_model_tensor(model, i, &t) == FR_OK; i++) {
    const double r = relative(x + t.offset, y + t.offset, t.copies * t.rows * t.cols);
    if (!(r <= worst)) worst = r == r ? r : HUGE_VAL;
  }
  return worst;
}

static inline int same_bits(const void *a, const void *b, fr_int count, fr_int size)
{
  return memcmp(a, b, (size_t)(count * size)) == 0;
}

#endif
