// twin.h - a second backend: every step of the model, its backward and its sums as plain loops in double.
//
// It stands for a device: it has its own copies of parameters, gradients, moments, activations and of the key/value cache, and sees
// of the library only what the block >>backend gives. It is written to be read: a step is a function, its backward and its sums
// stand beneath it, the equation above them.
//   N rows   C channels   H heads of queries, K of keys and values, D values each   F inner size of the MLP   V vocabulary
//
//   static twin device;  twin_begin(&device);  limits.backend = &device.backend;  ...  twin_end(&device);
#ifndef FR_TWIN_H
#define FR_TWIN_H

#ifndef FORKREASON_BACKEND
#define FORKREASON_BACKEND
#endif
#include "../forkreason.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- what the device holds
typedef struct twin_model {        // a copy of a model: whole tensors, [FR__AT_name]
  const float *key;                // the host's params
  fr_int size[FR__TENSORS];        // values of each tensor
  fr_int looked[FR__TENSORS];      // the first so many lie in views, and are only looked at
  int trained[FR__TENSORS];        // has gradients and moments
  double *p[FR__TENSORS], *d[FR__TENSORS], *m[FR__TENSORS], *v[FR__TENSORS];
  const float *grads;              // the host's gradients, if they and the moments are here
  struct twin_model *next;
} twin_model;

typedef struct twin_layer {        // what one layer's steps leave for each other, and for backward
  double *x;                       // (N,C) residual stream before the layer
  double *h_att;                   // (N,C) normed
  double *raw;                     // (N,(H+2K)D) q, k, v before their norm
  double *qkv;                     // (N,(H+2K)D) after it, rotated
  double *att;                     // (N,HD)
  double *x_mid;                   // (N,C) after attention
  double *h_mlp;                   // (N,C) normed
  double *gate_up, *act;           // (N,2F) (N,F)
  double *x_next;                  // (N,C) x of the next layer
} twin_layer;

typedef struct twin_room {         // a workspace, found again by its body
  const struct fr__body *key;
  twin_layer *layers;              // [L]
  fr_int L;
  double *dx, *dh, *dqkv, *datt, *dgate_up, *dact;
  double *keys, *values;           // the cache: (L,cache_rows,KD)
  struct twin_room *next;
} twin_room;

typedef struct twin {
  fr_backend backend;
  twin_model *models;
  twin_room *rooms;
  fr_int blocks;                   // of memory that are held now
  fr_int calls, fail_at;           // the call number fail_at, if positive, fails
} twin;

// ---- memory, and what can go wrong
static inline double *twin_take(twin *t, fr_int count)
{
  double *block = (double *)calloc((size_t)(count > 0 ? count : 1), sizeof(double));
  if (!block) exit(2);
  t->blocks++;
  return block;
}

static inline void twin_drop(twin *t, double *block)
{
  if (block) t->blocks--;
  free(block);
}

static inline fr_status twin_refuse(fr_work *work, fr_status status, const char *why)
{
  size_t n = strlen(why);
  if (n > sizeof work->reason.text - 1) n = sizeof work->reason.text - 1;
  memcpy(work->reason.text, why, n);
  work->reason.text[n] = 0;
  return status;
}

static inline fr_status twin_call(twin *t, fr_work *work)
{
  return ++t->calls == t->fail_at ? twin_refuse(work, FR_IO, "the device is gone") : FR_OK;
}

// ---- models: attach and download
static inline double twin_element(const fr_view *view, fr_int row, fr_int col)
{
  const char *at = (const char *)view->at + row * view->step;
  uint32_t bits;
  float x;
  if (view->type == FR_FLOAT32) return (double)((const float *)(const void *)at)[col];
  bits = (uint32_t)((const uint16_t *)(const void *)at)[col] << 16;  // a bfloat16 is the upper half of a float
  memcpy(&x, &bits, sizeof x);
  return (double)x;
}

// out (rows of the view, cols)
static inline double *twin_copy_view(double *out, const fr_view *view, fr_int cols)
{
  for (fr_int r = 0; r < view->rows; r++)
    for (fr_int c = 0; c < cols; c++) *out++ = twin_element(view, r, c);
  return out;
}

static inline void twin_copy_layers(twin_model *t, const fr_config *c, const fr_layer_views *w)
{
  double *qkv = t->p[FR__AT_w_qkv], *out = t->p[FR__AT_w_out], *gate_up = t->p[FR__AT_w_gate_up], *down = t->p[FR__AT_w_down];
  for (fr_int l = 0; l < c->layers; l++, w++) {
    qkv = twin_copy_view(twin_copy_view(twin_copy_view(qkv, &w->q, c->dim), &w->k, c->dim), &w->v, c->dim);
    out = twin_copy_view(out, &w->out, c->heads * c->head_dim);
    gate_up = twin_copy_view(twin_copy_view(gate_up, &w->gate, c->dim), &w->up, c->dim);
    down = twin_copy_view(down, &w->down, c->ffn);
  }
}

// Tensor i between the host's block, where its own values follow one another, and the device. Returns what follows in the block.
static inline const float *twin_upload(double *to, const twin_model *t, int i, const float *block)
{
  for (fr_int j = t->looked[i]; j < t->size[i]; j++) to[j] = (double)*block++;
  return block;
}
static inline float *twin_bring(float *block, const twin_model *t, int i, const double *from)
{
  for (fr_int j = t->looked[i]; j < t->size[i]; j++) *block++ = (float)from[j];
  return block;
}

static inline twin_model *twin_find(twin *t, const fr_model *model)
{
  twin_model *m = t->models;
  while (m && m->key != model->params) m = m->next;
  return m;
}

static inline void twin_forget_model(twin *t, const float *key)
{
  for (twin_model **at = &t->models; *at; at = &(*at)->next)
    if ((*at)->key == key) {
      twin_model *gone = *at;
      *at = gone->next;
      for (int i = 0; i < FR__TENSORS; i++) {
        twin_drop(t, gone->p[i]); twin_drop(t, gone->d[i]); twin_drop(t, gone->m[i]); twin_drop(t, gone->v[i]);
      }
      twin_drop(t, (double *)(void *)gone);
      return;
    }
}

static inline fr_status twin_attach(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw)
{
  twin *t = (twin *)self;
  const fr_config *c = &model->config;
  const fr_views *views = model->views;
  const float *p = model->params, *d = adamw ? adamw->grads : NULL, *m = adamw ? adamw->m : NULL, *v = adamw ? adamw->v : NULL;
  twin_model *copy;
  const fr_status status = twin_call(t, work);
  if (status) return status;
  twin_forget_model(t, model->params);
  copy = (twin_model *)(void *)twin_take(t, (fr_int)(sizeof *copy / sizeof(double)) + 1);
  copy->key = model->params;
  copy->grads = d;
  copy->next = t->models;
  t->models = copy;
#define TWIN_SIZE(name, copies, rows, cols, start, decay) copy->size[FR__AT_##name] = (copies) * (rows) * (cols);
  FR__PARAMS(TWIN_SIZE)
#undef TWIN_SIZE
  if (views) copy->looked[FR__AT_tok_emb] = views->embedding.rows * c->dim;
  if (views && !c->tied) copy->looked[FR__AT_head] = views->head.rows * c->dim;
  for (int i = 0; i < FR__TENSORS; i++) {
    const int layered = i == FR__AT_w_qkv || i == FR__AT_w_out || i == FR__AT_w_gate_up || i == FR__AT_w_down;
    if (views && views->layers && layered) copy->looked[i] = copy->size[i];
    copy->trained[i] = copy->looked[i] < copy->size[i] && !(model->frozen >> i & 1);
    copy->p[i] = twin_take(t, copy->size[i]);
    p = twin_upload(copy->p[i], copy, i, p);
    if (!adamw || !copy->trained[i]) continue;
    copy->d[i] = twin_take(t, copy->size[i]);
    copy->m[i] = twin_take(t, copy->size[i]);
    copy->v[i] = twin_take(t, copy->size[i]);
    d = twin_upload(copy->d[i], copy, i, d);
    m = twin_upload(copy->m[i], copy, i, m);
    v = twin_upload(copy->v[i], copy, i, v);
  }
  if (views) twin_copy_view(copy->p[FR__AT_tok_emb], &views->embedding, c->dim);
  if (views && !c->tied) twin_copy_view(copy->p[FR__AT_head], &views->head, c->dim);
  if (views && views->layers) twin_copy_layers(copy, c, views->layers);
  return FR_OK;
}

// The copy to work with, or NULL with the reason; `grads`: NULL, or the host's gradients, which stand for those that are here.
static inline twin_model *twin_copy_of(twin *t, fr_work *work, const fr_model *model, const float *grads)
{
  twin_model *copy = twin_find(t, model);
  if (copy && (!grads || grads == copy->grads)) return copy;
  twin_refuse(work, FR_INVALID, !copy ? "the model was not attached to this device"
              : !copy->grads ? "the model was attached without an optimiser"
              : "the gradients are not those of the optimiser that the model was attached with");
  return NULL;
}

static inline fr_status twin_download(void *self, fr_work *work, fr_model *model, fr_adamw *adamw)
{
  twin *t = (twin *)self;
  const twin_model *copy = twin_copy_of(t, work, model, adamw ? adamw->grads : NULL);
  float *p = model->params, *d = adamw ? adamw->grads : NULL, *m = adamw ? adamw->m : NULL, *v = adamw ? adamw->v : NULL;
  const fr_status status = copy ? twin_call(t, work) : FR_INVALID;
  for (int i = 0; !status && i < FR__TENSORS; i++) {
    p = twin_bring(p, copy, i, copy->p[i]);
    if (!adamw || !copy->trained[i]) continue;
    d = twin_bring(d, copy, i, copy->d[i]);
    m = twin_bring(m, copy, i, copy->m[i]);
    v = twin_bring(v, copy, i, copy->v[i]);
  }
  return status;
}

// ---- workspaces
static inline void twin_empty_room(twin *t, twin_room *r)
{
  for (fr_int l = 0; l < r->L; l++) {
    twin_layer *a = &r->layers[l];
    twin_drop(t, a->x); twin_drop(t, a->h_att); twin_drop(t, a->raw); twin_drop(t, a->qkv); twin_drop(t, a->att);
    twin_drop(t, a->x_mid); twin_drop(t, a->h_mlp); twin_drop(t, a->gate_up); twin_drop(t, a->act);
    if (l == r->L - 1) twin_drop(t, a->x_next);
    memset(a, 0, sizeof *a);
  }
  twin_drop(t, r->dx); twin_drop(t, r->dh); twin_drop(t, r->dqkv); twin_drop(t, r->datt);
  twin_drop(t, r->dgate_up); twin_drop(t, r->dact);
  r->dx = r->dh = r->dqkv = r->datt = r->dgate_up = r->dact = NULL;
}

static inline void twin_fill_room(twin *t, twin_room *r, const fr_config *c, fr_int N)
{
  const fr_int C = c->dim, W = fr__qkv(c), HD = c->heads * c->head_dim, F = c->ffn;
  twin_empty_room(t, r);
  for (fr_int l = 0; l < r->L; l++) {
    twin_layer *a = &r->layers[l];
    a->x = l ? r->layers[l - 1].x_next : twin_take(t, N * C);
    a->h_att = twin_take(t, N * C);
    a->raw = twin_take(t, N * W);
    a->qkv = twin_take(t, N * W);
    a->att = twin_take(t, N * HD);
    a->x_mid = twin_take(t, N * C);
    a->h_mlp = twin_take(t, N * C);
    a->gate_up = twin_take(t, N * 2 * F);
    a->act = twin_take(t, N * F);
    a->x_next = twin_take(t, N * C);
  }
  r->dx = twin_take(t, N * C);
  r->dh = twin_take(t, N * C);
  r->dqkv = twin_take(t, N * W);
  r->datt = twin_take(t, N * HD);
  r->dgate_up = twin_take(t, N * 2 * F);
  r->dact = twin_take(t, N * F);
}

static inline void twin_forget_room(twin *t, const struct fr__body *key)
{
  for (twin_room **at = &t->rooms; *at; at = &(*at)->next)
    if ((*at)->key == key) {
      twin_room *gone = *at;
      *at = gone->next;
      twin_empty_room(t, gone);
      twin_drop(t, gone->keys); twin_drop(t, gone->values);
      twin_drop(t, (double *)(void *)gone->layers);
      twin_drop(t, (double *)(void *)gone);
      return;
    }
}

static inline fr_status twin_place(void *self, fr_work *work)
{
  twin *t = (twin *)self;
  const fr_config *c = &work->config;
  const fr_int cache = c->layers * work->limits.cache_rows * c->kv_heads * c->head_dim;
  twin_room *room;
  const fr_status status = twin_call(t, work);
  if (status) return status;
  twin_forget_room(t, work->body);
  room = (twin_room *)(void *)twin_take(t, (fr_int)(sizeof *room / sizeof(double)) + 1);
  room->key = work->body;
  room->L = c->layers;
  room->layers = (twin_layer *)(void *)twin_take(t, c->layers * (fr_int)(sizeof(twin_layer) / sizeof(double) + 1));
  room->keys = twin_take(t, cache);
  room->values = twin_take(t, cache);
  room->next = t->rooms;
  t->rooms = room;
  return FR_OK;
}

static inline twin_room *twin_room_of(twin *t, const fr_work *work)
{
  twin_room *room = t->rooms;
  while (room && room->key != work->body) room = room->next;
  return room;
}

// ---- the arithmetic that steps share
// Y = X W'          y (N,out)  x (N,in)  w (out,in)
static inline void twin_linear(double *y, const double *x, const double *w, fr_int N, fr_int in, fr_int out)
{
  for (fr_int n = 0; n < N; n++)
    for (fr_int o = 0; o < out; o++) {
      y[n * out + o] = 0.0;
      for (fr_int i = 0; i < in; i++) y[n * out + o] += x[n * in + i] * w[o * in + i];
    }
}
// dX = dY W
static inline void twin_linear_back(double *dx, const double *dy, const double *w, fr_int N, fr_int in, fr_int out)
{
  for (fr_int n = 0; n < N; n++)
    for (fr_int i = 0; i < in; i++) {
      dx[n * in + i] = 0.0;
      for (fr_int o = 0; o < out; o++) dx[n * in + i] += dy[n * out + o] * w[o * in + i];
    }
}
// dW += dY' X       NULL: not trained
static inline void twin_linear_sums(double *dw, const double *dy, const double *x, fr_int N, fr_int in, fr_int out)
{
  for (fr_int n = 0; dw && n < N; n++)
    for (fr_int o = 0; o < out; o++)
      for (fr_int i = 0; i < in; i++) dw[o * in + i] += dy[n * out + o] * x[n * in + i];
}

// y = x r g,   r = 1 / sqrt(mean(x^2) + eps)        one row
static inline double twin_inverse(const double *x, double eps, fr_int C)
{
  double mean = 0.0;
  for (fr_int c = 0; c < C; c++) mean += x[c] * x[c] / (double)C;
  return 1.0 / sqrt(mean + eps);
}
static inline void twin_norm(double *y, const double *x, const double *g, double eps, fr_int C)
{
  const double r = twin_inverse(x, eps, C);
  for (fr_int c = 0; c < C; c++) y[c] = x[c] * r * g[c];
}
// dx += r g dy - r^3 x mean(dy g x)
static inline void twin_norm_back(double *dx, const double *dy, const double *x, const double *g, double eps, fr_int C)
{
  const double r = twin_inverse(x, eps, C);
  double mean = 0.0;
  for (fr_int c = 0; c < C; c++) mean += dy[c] * g[c] * x[c] / (double)C;
  for (fr_int c = 0; c < C; c++) dx[c] += r * g[c] * dy[c] - r * r * r * x[c] * mean;
}
// dg += dy x r
static inline void twin_norm_sums(double *dg, const double *dy, const double *x, double eps, fr_int C)
{
  const double r = twin_inverse(x, eps, C);
  for (fr_int c = 0; dg && c < C; c++) dg[c] += dy[c] * x[c] * r;
}

// ---- a layer's steps
typedef struct twin_step {         // what a step works on
  const fr__pass *s;
  const struct fr__body *b;
  twin_room *r;
  twin_layer *a;
  fr_int N, C, H, K, D, W, F;      // W = (H+2K) D
  double eps;
  // parameters of the layer, and their gradients
  const double *norm_att, *w_qkv, *b_qkv, *norm_q, *norm_k, *w_out, *norm_mlp, *w_gate_up, *w_down;
  double *d_norm_att, *d_w_qkv, *d_b_qkv, *d_norm_q, *d_norm_k, *d_w_out, *d_norm_mlp, *d_w_gate_up, *d_w_down;
} twin_step;

// h = norm(x)
static inline void twin_norm_att(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++) twin_norm(t->a->h_att + n * t->C, t->a->x + n * t->C, t->norm_att, t->eps, t->C);
}
static inline void twin_norm_att_back(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++)
    twin_norm_back(t->r->dx + n * t->C, t->r->dh + n * t->C, t->a->x + n * t->C, t->norm_att, t->eps, t->C);
}
static inline void twin_norm_att_sums(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++) twin_norm_sums(t->d_norm_att, t->r->dh + n * t->C, t->a->x + n * t->C, t->eps, t->C);
}

// q, k, v = h W'
static inline void twin_qkv(const twin_step *t) { twin_linear(t->a->qkv, t->a->h_att, t->w_qkv, t->N, t->C, t->W); }
static inline void twin_qkv_back(const twin_step *t) { twin_linear_back(t->r->dh, t->r->dqkv, t->w_qkv, t->N, t->C, t->W); }
static inline void twin_qkv_sums(const twin_step *t) { twin_linear_sums(t->d_w_qkv, t->r->dqkv, t->a->h_att, t->N, t->C, t->W); }

// q, k, v += b,   db += sum_n dqkv
static inline void twin_bias(const twin_step *t)
{
  for (fr_int i = 0; i < t->N * t->W; i++) t->a->qkv[i] += t->b_qkv[i % t->W];
}
static inline void twin_bias_sums(const twin_step *t)
{
  for (fr_int i = 0; t->d_b_qkv && i < t->N * t->W; i++) t->d_b_qkv[i % t->W] += t->r->dqkv[i];
}

// Each head of q and k normed by itself
static inline void twin_head_norm(const twin_step *t)
{
  memcpy(t->a->raw, t->a->qkv, (size_t)(t->N * t->W) * sizeof(double));
  for (fr_int n = 0; n < t->N; n++)
    for (fr_int h = 0, at = n * t->W; h < t->H + t->K; h++, at += t->D)
      twin_norm(t->a->qkv + at, t->a->raw + at, h < t->H ? t->norm_q : t->norm_k, t->eps, t->D);
}
static inline void twin_head_norm_back(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++)
    for (fr_int h = 0, at = n * t->W; h < t->H + t->K; h++, at += t->D) {
      double *d = t->r->dqkv + at, *dy = t->r->datt;  // datt has been used: room for one head
      memcpy(dy, d, (size_t)t->D * sizeof(double));
      memset(d, 0, (size_t)t->D * sizeof(double));
      twin_norm_back(d, dy, t->a->raw + at, h < t->H ? t->norm_q : t->norm_k, t->eps, t->D);
    }
}
static inline void twin_head_norm_sums(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++)
    for (fr_int h = 0, at = n * t->W; h < t->H + t->K; h++, at += t->D)
      twin_norm_sums(h < t->H ? t->d_norm_q : t->d_norm_k, t->r->dqkv + at, t->a->raw + at, t->eps, t->D);
}

// The angle of pair j at a position: position theta^(-2j/D), with llama3's scaling of long waves
static inline double twin_angle(const fr_config *c, fr_int position, fr_int j)
{
  const double rate = pow((double)c->rope_theta, -2.0 * (double)j / (double)c->head_dim), wave = 6.283185307179586 / rate;
  const double old = (double)c->rope_original, low = (double)c->rope_low, high = (double)c->rope_high;
  double slow = c->rope_factor > 0.0f ? (old / wave - low) / (high - low) : 1.0;  // 1: kept, 0: divided by the factor
  slow = slow < 0.0 ? 0.0 : slow > 1.0 ? 1.0 : slow;
  return (double)position * rate * (slow < 1.0 ? slow + (1.0 - slow) / (double)c->rope_factor : 1.0);
}
// (a, b) -> (a cos - b sin, a sin + b cos) for the halves a and b of each head of q and k; sign -1 rotates back
static inline void twin_rotate_by(const twin_step *t, double *qkv, double sign)
{
  for (fr_int n = 0; n < t->N; n++)
    for (fr_int h = 0; h < t->H + t->K; h++)
      for (fr_int j = 0; j < t->D / 2; j++) {
        const double angle = sign * twin_angle(t->s->c, t->b->position[n], j);
        double *a = qkv + n * t->W + h * t->D + j, *b = a + t->D / 2;
        const double x = *a, y = *b;
        *a = x * cos(angle) - y * sin(angle);
        *b = x * sin(angle) + y * cos(angle);
      }
}
static inline void twin_rotate(const twin_step *t)
{
  const fr_int KD = t->K * t->D;
  twin_rotate_by(t, t->a->qkv, 1.0);
  for (fr_int n = 0; t->s->cached && n < t->N; n++) {  // k and v into the cache
    const fr_int to = (t->s->layer * t->s->work->limits.cache_rows + t->b->cache_row[n]) * KD;
    memcpy(t->r->keys + to, t->a->qkv + n * t->W + t->H * t->D, (size_t)KD * sizeof(double));
    memcpy(t->r->values + to, t->a->qkv + n * t->W + t->H * t->D + KD, (size_t)KD * sizeof(double));
  }
}
static inline void twin_rotate_back(const twin_step *t) { twin_rotate_by(t, t->r->dqkv, -1.0); }

// The span that a row belongs to
static inline fr_int twin_span(const struct fr__body *b, fr_int row)
{
  fr_int i = 0;
  while (row >= b->blocks[i].row + b->blocks[i].count) i++;
  return b->blocks[i].span;
}
// Key number j of a row, from its root on: the row it lies in
static inline fr_int twin_key_row(const struct fr__body *b, fr_int span, fr_int j)
{
  while (j < b->span_depth[span]) span = b->span_parent[span];
  return b->span_row[span] + j - b->span_depth[span];
}
static inline const double *twin_key(const twin_step *t, fr_int row, fr_int kv)
{
  if (!t->s->cached) return t->a->qkv + row * t->W + (t->H + kv) * t->D;
  return t->r->keys + ((t->s->layer * t->s->work->limits.cache_rows + row) * t->K + kv) * t->D;
}
static inline const double *twin_value(const twin_step *t, fr_int row, fr_int kv)
{
  if (!t->s->cached) return t->a->qkv + row * t->W + (t->H + t->K + kv) * t->D;
  return t->r->values + ((t->s->layer * t->s->work->limits.cache_rows + row) * t->K + kv) * t->D;
}
static inline double twin_dot(const double *a, const double *b, fr_int n)
{
  double sum = 0.0;
  while (n-- > 0) sum += *a++ * *b++;
  return sum;
}

// p_j = exp(q k_j / sqrt(D)) / sum        over the keys on the path up to the query, one of each position
static inline void twin_weights(const twin_step *t, double *p, fr_int row, fr_int span, fr_int head)
{
  const fr_int keys = t->b->position[row] + 1;
  const double *q = t->a->qkv + row * t->W + head * t->D;
  double max = -HUGE_VAL, sum = 0.0;
  for (fr_int j = 0; j < keys; j++) {
    p[j] = twin_dot(q, twin_key(t, twin_key_row(t->b, span, j), head * t->K / t->H), t->D) / sqrt((double)t->D);
    if (p[j] > max) max = p[j];
  }
  for (fr_int j = 0; j < keys; j++) sum += p[j] = exp(p[j] - max);
  for (fr_int j = 0; j < keys; j++) p[j] /= sum;
}
// o = sum_j p_j v_j
static inline void twin_attend(const twin_step *t, double *p)
{
  for (fr_int n = 0; n < t->N; n++)
    for (fr_int h = 0, span = twin_span(t->b, n); h < t->H; h++) {
      double *o = t->a->att + (n * t->H + h) * t->D;
      memset(o, 0, (size_t)t->D * sizeof(double));
      twin_weights(t, p, n, span, h);
      for (fr_int j = 0; j <= t->b->position[n]; j++) {
        const double *v = twin_value(t, twin_key_row(t->b, span, j), h * t->K / t->H);
        for (fr_int i = 0; i < t->D; i++) o[i] += p[j] * v[i];
      }
    }
}
// dv_j += p_j do    dS_j = p_j (do v_j - do o)    dq += dS_j k_j / sqrt(D)    dk_j += dS_j q / sqrt(D)
static inline void twin_attend_back(const twin_step *t, double *p)
{
  const fr_int D = t->D;
  memset(t->r->dqkv, 0, (size_t)(t->N * t->W) * sizeof(double));
  for (fr_int n = 0; n < t->N; n++)
    for (fr_int h = 0, span = twin_span(t->b, n); h < t->H; h++) {
      const fr_int kv = h * t->K / t->H;
      const double *q = t->a->qkv + n * t->W + h * D, *o = t->a->att + (n * t->H + h) * D, *d_o = t->r->datt + (n * t->H + h) * D;
      double *dq = t->r->dqkv + n * t->W + h * D;
      twin_weights(t, p, n, span, h);
      for (fr_int j = 0; j <= t->b->position[n]; j++) {
        const fr_int row = twin_key_row(t->b, span, j);
        const double *k = twin_key(t, row, kv), *v = twin_value(t, row, kv);
        const double dS = p[j] * (twin_dot(d_o, v, D) - twin_dot(d_o, o, D)) / sqrt((double)D);
        double *dk = t->r->dqkv + row * t->W + (t->H + kv) * D, *dv = dk + t->K * D;
        for (fr_int i = 0; i < D; i++) {
          dv[i] += p[j] * d_o[i];
          dq[i] += dS * k[i];
          dk[i] += dS * q[i];
        }
      }
    }
}

// x_mid = x + att W'
static inline void twin_out(const twin_step *t)
{
  twin_linear(t->a->x_mid, t->a->att, t->w_out, t->N, t->H * t->D, t->C);
  for (fr_int i = 0; i < t->N * t->C; i++) t->a->x_mid[i] += t->a->x[i];
}
static inline void twin_out_back(const twin_step *t) { twin_linear_back(t->r->datt, t->r->dx, t->w_out, t->N, t->H * t->D, t->C); }
static inline void twin_out_sums(const twin_step *t) { twin_linear_sums(t->d_w_out, t->r->dx, t->a->att, t->N, t->H * t->D, t->C); }

// h = norm(x_mid)
static inline void twin_norm_mlp(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++) twin_norm(t->a->h_mlp + n * t->C, t->a->x_mid + n * t->C, t->norm_mlp, t->eps, t->C);
}
static inline void twin_norm_mlp_back(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++)
    twin_norm_back(t->r->dx + n * t->C, t->r->dh + n * t->C, t->a->x_mid + n * t->C, t->norm_mlp, t->eps, t->C);
}
static inline void twin_norm_mlp_sums(const twin_step *t)
{
  for (fr_int n = 0; n < t->N; n++) twin_norm_sums(t->d_norm_mlp, t->r->dh + n * t->C, t->a->x_mid + n * t->C, t->eps, t->C);
}

// gate, up = h W'
static inline void twin_gate_up(const twin_step *t) { twin_linear(t->a->gate_up, t->a->h_mlp, t->w_gate_up, t->N, t->C, 2 * t->F); }
static inline void twin_gate_up_back(const twin_step *t)
{
  twin_linear_back(t->r->dh, t->r->dgate_up, t->w_gate_up, t->N, t->C, 2 * t->F);
}
static inline void twin_gate_up_sums(const twin_step *t)
{
  twin_linear_sums(t->d_w_gate_up, t->r->dgate_up, t->a->h_mlp, t->N, t->C, 2 * t->F);
}

// act = gate s up,   s = 1 / (1 + exp(-gate))
static inline void twin_swiglu(const twin_step *t)
{
  for (fr_int i = 0; i < t->N * t->F; i++) {
    const double *gate = t->a->gate_up + i / t->F * 2 * t->F + i % t->F, *up = gate + t->F;
    t->a->act[i] = *gate / (1.0 + exp(-*gate)) * *up;
  }
}
// dup = dact gate s      dgate = dact up (s + gate s (1 - s))
static inline void twin_swiglu_back(const twin_step *t)
{
  for (fr_int i = 0; i < t->N * t->F; i++) {
    const fr_int at = i / t->F * 2 * t->F + i % t->F;
    const double gate = t->a->gate_up[at], up = t->a->gate_up[at + t->F], s = 1.0 / (1.0 + exp(-gate));
    t->r->dgate_up[at + t->F] = t->r->dact[i] * gate * s;
    t->r->dgate_up[at] = t->r->dact[i] * up * (s + gate * s * (1.0 - s));
  }
}

// x_next = x_mid + act W'
static inline void twin_down(const twin_step *t)
{
  twin_linear(t->a->x_next, t->a->act, t->w_down, t->N, t->F, t->C);
  for (fr_int i = 0; i < t->N * t->C; i++) t->a->x_next[i] += t->a->x_mid[i];
}
static inline void twin_down_back(const twin_step *t) { twin_linear_back(t->r->dact, t->r->dx, t->w_down, t->N, t->F, t->C); }
static inline void twin_down_sums(const twin_step *t) { twin_linear_sums(t->d_w_down, t->r->dx, t->a->act, t->N, t->F, t->C); }

static inline fr_status twin_run(const twin_step *t, fr__act act, double *p)
{
  switch (act.step * 3 + act.way) {
#define TWIN_STEP(STEP, name)                                          \
    case FR__##STEP * 3 + FR__FORWARD: twin_##name(t); break;
#define TWIN_BACK(STEP, name)                                          \
    case FR__##STEP * 3 + FR__BACKWARD: twin_##name##_back(t); break;
#define TWIN_SUMS(STEP, name)                                          \
    case FR__##STEP * 3 + FR__SUMS: twin_##name##_sums(t); break;
    TWIN_STEP(NORM_ATT, norm_att)    TWIN_BACK(NORM_ATT, norm_att)    TWIN_SUMS(NORM_ATT, norm_att)
    TWIN_STEP(QKV, qkv)              TWIN_BACK(QKV, qkv)              TWIN_SUMS(QKV, qkv)
    TWIN_STEP(BIAS, bias)                                             TWIN_SUMS(BIAS, bias)
    TWIN_STEP(HEAD_NORM, head_norm)  TWIN_BACK(HEAD_NORM, head_norm)  TWIN_SUMS(HEAD_NORM, head_norm)
    TWIN_STEP(ROTATE, rotate)        TWIN_BACK(ROTATE, rotate)
    case FR__ATTEND * 3 + FR__FORWARD: twin_attend(t, p); break;
    case FR__ATTEND * 3 + FR__BACKWARD: twin_attend_back(t, p); break;
    TWIN_STEP(OUT, out)              TWIN_BACK(OUT, out)              TWIN_SUMS(OUT, out)
    TWIN_STEP(NORM_MLP, norm_mlp)    TWIN_BACK(NORM_MLP, norm_mlp)    TWIN_SUMS(NORM_MLP, norm_mlp)
    TWIN_STEP(GATE_UP, gate_up)      TWIN_BACK(GATE_UP, gate_up)      TWIN_SUMS(GATE_UP, gate_up)
    TWIN_STEP(SWIGLU, swiglu)        TWIN_BACK(SWIGLU, swiglu)
    TWIN_STEP(DOWN, down)            TWIN_BACK(DOWN, down)            TWIN_SUMS(DOWN, down)
#undef TWIN_STEP
#undef TWIN_BACK
#undef TWIN_SUMS
    default: return FR_UNSUPPORTED;
  }
  return FR_OK;
}

static inline fr_status twin_do_step(void *self, fr__pass *s, const fr__act *list, fr_int count, fr_int *done)
{
  twin *w = (twin *)self;
  twin_model *model = twin_copy_of(w, s->work, s->model, s->grads);
  const fr_config *c = s->c;
  twin_step t;
  double *p;
  fr_status status = model && count > 0 ? twin_call(w, s->work) : FR_INVALID;
  if (status) return status;
  t.s = s;
  t.b = s->work->body;
  t.r = twin_room_of(w, s->work);
  t.a = &t.r->layers[s->layer];
  t.N = s->N; t.C = c->dim; t.H = c->heads; t.K = c->kv_heads; t.D = c->head_dim; t.W = fr__qkv(c); t.F = c->ffn;
  t.eps = (double)c->norm_eps;
#define TWIN_AT(name)                                                                                  \
  t.name = model->p[FR__AT_##name] + s->layer * (model->size[FR__AT_##name] / c->layers);              \
  t.d_##name = model->d[FR__AT_##name] ? model->d[FR__AT_##name] + s->layer * (model->size[FR__AT_##name] / c->layers) : NULL;
  TWIN_AT(norm_att) TWIN_AT(w_qkv) TWIN_AT(b_qkv) TWIN_AT(norm_q) TWIN_AT(norm_k) TWIN_AT(w_out) TWIN_AT(norm_mlp)
  TWIN_AT(w_gate_up) TWIN_AT(w_down)
#undef TWIN_AT
  p = twin_take(w, s->work->limits.depth);
  status = twin_run(&t, *list, p);
  twin_drop(w, p);
  *done = 1;
  return status;
}

// ---- embedding and head
// x = scale table[token];   dtable[token] += scale dx
static inline fr_status twin_embed(void *self, fr__pass *s, int way)
{
  twin *w = (twin *)self;
  twin_model *model = twin_copy_of(w, s->work, s->model, s->grads);
  twin_room *r = twin_room_of(w, s->work);
  const fr_int C = s->c->dim;
  const fr_status status = model ? twin_call(w, s->work) : FR_INVALID;
  if (status) return status;
  if (way == FR__FORWARD) twin_fill_room(w, r, s->c, s->N);
  for (fr_int n = 0; n < s->N; n++)
    for (fr_int c = 0; c < C; c++) {
      const fr_int at = s->work->body->token[n] * C + c;
      if (way == FR__FORWARD) r->layers[0].x[n * C + c] = (double)s->c->embed_scale * model->p[FR__AT_tok_emb][at];
      else if (model->d[FR__AT_tok_emb]) model->d[FR__AT_tok_emb][at] += (double)s->c->embed_scale * r->dx[n * C + c];
    }
  return FR_OK;
}

// hidden = norm(x),   logits = hidden W'        one row
static inline void twin_logits(const fr__pass *s, const twin_model *model, const double *x, double *hidden, double *logits)
{
  twin_norm(hidden, x, model->p[FR__AT_norm_final], (double)s->c->norm_eps, s->c->dim);
  twin_linear(logits, hidden, model->p[s->c->tied ? FR__AT_tok_emb : FR__AT_head], 1, s->c->dim, s->c->vocab);
}
// log sum_v exp(logit_v)
static inline double twin_log_sum(const double *logits, fr_int V)
{
  double max = logits[0], sum = 0.0;
  for (fr_int v = 1; v < V; v++) if (logits[v] > max) max = logits[v];
  for (fr_int v = 0; v < V; v++) sum += exp(logits[v] - max);
  return max + log(sum);
}

// nll_t = log sum exp(logits) - logits[t],   dlogits = sum_t w_t (p - onehot(t))
static inline fr_status twin_head(void *self, fr__pass *s)
{
  twin *w = (twin *)self;
  twin_model *model = twin_copy_of(w, s->work, s->model, s->grads);
  twin_room *r = twin_room_of(w, s->work);
  const struct fr__body *b = s->work->body;
  const fr_int C = s->c->dim, V = s->c->vocab, table = s->c->tied ? FR__AT_tok_emb : FR__AT_head;
  const double eps = (double)s->c->norm_eps;
  const fr_status status = model ? twin_call(w, s->work) : FR_INVALID;
  double *hidden, *dhidden, *logits, *dlogits;
  if (status) return status;
  hidden = twin_take(w, C); dhidden = twin_take(w, C); logits = twin_take(w, V); dlogits = twin_take(w, V);
  if (s->grads) memset(r->dx, 0, (size_t)(s->N * C) * sizeof(double));
  for (const fr__head_row *row = b->head_rows; row < b->head_rows + b->head_row_count; row++) {
    const double *x = r->layers[r->L - 1].x_next + row->row * C;
    double sum;
    twin_logits(s, model, x, hidden, logits);
    sum = twin_log_sum(logits, V);
    memset(dlogits, 0, (size_t)V * sizeof(double));
    for (fr__goal *goal = b->goals + row->first; goal < b->goals + row->first + row->count; goal++) {
      goal->nll = sum - logits[goal->token];
      for (fr_int v = 0; v < V; v++)
        dlogits[v] += (double)goal->weight * (exp(logits[v] - sum) - (v == goal->token ? 1.0 : 0.0));
    }
    if (!s->grads) continue;
    twin_linear_back(dhidden, dlogits, model->p[table], 1, C, V);
    twin_linear_sums(model->d[table], dlogits, hidden, 1, C, V);
    twin_norm_back(r->dx + row->row * C, dhidden, x, model->p[FR__AT_norm_final], eps, C);
    twin_norm_sums(model->d[FR__AT_norm_final], dhidden, x, eps, C);
  }
  twin_drop(w, hidden); twin_drop(w, dhidden); twin_drop(w, logits); twin_drop(w, dlogits);
  return FR_OK;
}

static inline fr_status twin_rows(void *self, fr__pass *s, const fr_int *list, fr_int count, int vocabulary, float *out)
{
  twin *w = (twin *)self;
  const twin_model *model = twin_copy_of(w, s->work, s->model, NULL);
  const twin_room *r = twin_room_of(w, s->work);
  const fr_int width = vocabulary ? s->c->vocab : s->c->dim;
  const fr_status status = model ? twin_call(w, s->work) : FR_INVALID;
  double *hidden, *logits;
  if (status) return status;
  hidden = twin_take(w, s->c->dim);
  logits = twin_take(w, s->c->vocab);
  for (fr_int i = 0; i < count; i++) {
    twin_logits(s, model, r->layers[r->L - 1].x_next + list[i] * s->c->dim, hidden, logits);
    for (fr_int j = 0; j < width; j++) out[i * width + j] = (float)(vocabulary ? logits : hidden)[j];
  }
  twin_drop(w, hidden);
  twin_drop(w, logits);
  return FR_OK;
}

// The likeliest token that was not taken yet, the lowest id among equals
static inline fr_int twin_likeliest(const double *logits, const double *taken, fr_int V)
{
  fr_int best = -1;
  for (fr_int v = 0; v < V; v++)
    if (!(taken[v] > 0.0) && (best < 0 || logits[v] > logits[best])) best = v;
  return best;
}
// odds exp(logit / temperature) of the top_k likeliest, then of the fewest of these that hold top_p of their mass, then of those that
// are at least min_p of the largest (odds, taken: set)
static inline fr_token twin_draw(const double *logits, fr_int V, const fr_sampling *o, double draw, double *odds, double *taken)
{
  const int cut_k = o->top_k > 0 && o->top_k < V, cut_p = o->top_p > 0.0f && o->top_p < 1.0f;
  fr_int order, last = 0;
  double mass = 0.0, kept = 0.0;
  memset(taken, 0, (size_t)V * sizeof(double));
  order = twin_likeliest(logits, taken, V);
  if (!(o->temperature > 0.0f)) return (fr_token)order;
  for (fr_int v = 0; v < V; v++) odds[v] = exp((logits[v] - logits[order]) / (double)o->temperature);
  for (fr_int i = 0; i < (cut_k ? o->top_k : V); i++) {
    const fr_int v = twin_likeliest(logits, taken, V);
    taken[v] = (double)(i + 1);
    mass += odds[v];
  }
  for (fr_int i = 1; cut_p && i <= V; i++)
    for (fr_int v = 0; v < V; v++)
      if (taken[v] == (double)i) {
        if (kept >= (double)o->top_p * mass) taken[v] = 0.0;
        kept += odds[v];
      }
  mass = 0.0;
  for (fr_int v = 0; v < V; v++) if (odds[v] < (double)o->min_p) taken[v] = odds[v] = 0.0;
  for (fr_int v = 0; v < V; v++) if (taken[v] > 0.0) mass += odds[v];
  draw *= mass;
  for (fr_int i = 1; i <= V; i++)  // all tokens in the order of their ids, or those that were cut out from the likeliest on
    for (fr_int v = cut_k || cut_p ? 0 : i - 1; v < (cut_k || cut_p ? V : i); v++)
      if ((cut_k || cut_p) ? taken[v] == (double)i : odds[v] > 0.0) {
        last = v;
        if ((draw -= odds[v]) < 0.0) return (fr_token)v;
      }
  return (fr_token)last;
}
static inline fr_status twin_sample(void *self, fr__pass *s, const fr_int *list, fr_int count, const fr_sampling *sampling,
                                    const float *draw, fr_token *token, double *logp)
{
  twin *w = (twin *)self;
  const twin_model *model = twin_copy_of(w, s->work, s->model, NULL);
  const twin_room *r = twin_room_of(w, s->work);
  const fr_int V = s->c->vocab;
  const fr_status status = model ? twin_call(w, s->work) : FR_INVALID;
  fr_int *path = s->work->body->path_rows;
  double *hidden, *logits, *raw, *odds, *taken;
  if (status) return status;
  hidden = twin_take(w, s->c->dim); logits = twin_take(w, V); raw = twin_take(w, V); odds = twin_take(w, V); taken = twin_take(w, V);
  for (fr_int i = 0; i < count; i++) {
    twin_logits(s, model, r->layers[r->L - 1].x_next + list[i] * s->c->dim, hidden, logits);
    memcpy(raw, logits, (size_t)V * sizeof(double));
    for (fr_int t = fr__penalises(sampling) ? fr__path_tokens(s, i, path) : 0; t-- > 0;)
      logits[path[t]] = raw[path[t]] < 0.0 ? raw[path[t]] * (double)sampling->repeat_penalty
                                           : raw[path[t]] / (double)sampling->repeat_penalty;
    token[i] = twin_draw(logits, V, sampling, (double)draw[i], odds, taken);
    logp[i] = raw[token[i]] - twin_log_sum(raw, V);
  }
  twin_drop(w, hidden); twin_drop(w, logits); twin_drop(w, raw); twin_drop(w, odds); twin_drop(w, taken);
  return FR_OK;
}

// ---- optimiser
// sqrt(sum g^2)
static inline fr_status twin_grad_norm(void *self, fr_work *work, const fr_model *model, const fr_adamw *adamw, double *norm)
{
  twin *w = (twin *)self;
  const twin_model *t = twin_copy_of(w, work, model, adamw->grads);
  const fr_status status = t ? twin_call(w, work) : FR_INVALID;
  double sum = 0.0;
  if (status) return status;
  for (int i = 0; i < FR__TENSORS; i++)
    for (fr_int j = t->looked[i]; t->d[i] && j < t->size[i]; j++) sum += t->d[i][j] * t->d[i][j];
  *norm = sqrt(sum);
  return FR_OK;
}

// m += (1 - beta1) (g - m)    v += (1 - beta2) (g^2 - v)    p = keep p - rate m / (sqrt(v) unbias2 + eps)
static inline fr_status twin_adamw(void *self, fr_work *work, fr_model *model, fr_adamw *adamw, const fr__adamw_factors *f,
                                   float keep_decayed)
{
#define TWIN_DECAY(name, copies, rows, cols, start, decay) decay,
  static const int decays[FR__TENSORS] = { FR__PARAMS(TWIN_DECAY) };
#undef TWIN_DECAY
  twin *w = (twin *)self;
  twin_model *t = twin_copy_of(w, work, model, adamw->grads);
  const fr_status status = t ? twin_call(w, work) : FR_INVALID;
  for (int i = 0; !status && i < FR__TENSORS; i++)
    for (fr_int j = t->looked[i]; t->d[i] && j < t->size[i]; j++) {
      const double g = (double)f->scale * t->d[i][j], keep = (double)(decays[i] ? keep_decayed : f->keep);
      t->m[i][j] += (1.0 - (double)f->beta1) * (g - t->m[i][j]);
      t->v[i][j] += (1.0 - (double)f->beta2) * (g * g - t->v[i][j]);
      t->p[i][j] = keep * t->p[i][j] - (double)f->rate * t->m[i][j] / (sqrt(t->v[i][j]) * (double)f->unbias2 + (double)f->eps);
    }
  return status;
}

static inline fr_status twin_zero(void *self, fr_work *work, const fr_model *model, fr_adamw *adamw)
{
  twin *w = (twin *)self;
  twin_model *t = twin_copy_of(w, work, model, adamw->grads);
  const fr_status status = t ? twin_call(w, work) : FR_INVALID;
  for (int i = 0; !status && i < FR__TENSORS; i++)
    if (t->d[i]) memset(t->d[i], 0, (size_t)t->size[i] * sizeof(double));
  return status;
}

// ---- the device
static inline void twin_begin(twin *t)
{
  const fr_backend backend = { t, "twin", twin_place, twin_attach, twin_download, twin_embed, twin_do_step, twin_head, twin_rows,
                               twin_sample, twin_grad_norm, twin_adamw, twin_zero };
  memset(t, 0, sizeof *t);
  t->backend = backend;
}

// What is still held once models and workspaces are gone: 0.
static inline fr_int twin_end(twin *t)
{
  while (t->models) twin_forget_model(t, t->models->key);
  while (t->rooms) twin_forget_room(t, t->rooms->key);
  return t->blocks;
}

#endif
