// Weights where they lie: a model of views in memory that cannot be written, with rows of its own for forks, against the model of
// floats made from the same values, bit for bit; frozen tensors; what is refused.
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE
#if defined(__unix__) || defined(__APPLE__)
#define HAS_MMAP 1
#include <sys/mman.h>
#include <unistd.h>
#else
#define HAS_MMAP 0
#endif
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"
#include "tiny.h"

// ---- a model of floats, and the same values as views
enum { BFLOAT, FLOATS, MIXED, TOGETHER, LAYERS_ONLY, TABLES_ONLY, SHAPES };  // TOGETHER: floats as they stand in a block

typedef struct flash {  // memory that the views point into; the last view ends where the memory does
  char  *base, *map;
  size_t used, size, map_size;
} flash;

typedef struct pair {
  fr_model full, viewed;
  void *full_memory, *viewed_memory;
  fr_int viewed_bytes;
  fr_layer_views layers[3];
  fr_views views;
  flash store;
} pair;

static float rounded(float x)  // to a bfloat16, towards zero
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0xFFFF0000u;
  memcpy(&x, &bits, sizeof bits);
  return x;
}

// `which` decides how far the rows are apart and where the first one starts.
static fr_view put(flash *f, const float *x, fr_int rows, fr_int cols, int shape, int which)
{
  const int bfloat = shape == MIXED ? which % 2 : shape != FLOATS && shape != TOGETHER;
  const size_t size = bfloat ? 2 : 4, gap = shape == TOGETHER ? 0 : size * (size_t)(which % 4), step = (size_t)cols * size + gap;
  fr_view view;
  f->used = (f->used + size - 1) / size * size;
  if (shape != TOGETHER && f->used % (2 * size) == 0) f->used += size;
  view.at = f->base ? f->base + f->used : NULL;
  view.step = (fr_int)step;
  view.rows = rows;
  view.type = bfloat ? FR_BFLOAT16 : FR_FLOAT32;
  for (fr_int r = 0; f->base && r < rows; r++) {
    char *row = f->base + f->used + (size_t)r * step;
    for (fr_int c = 0; c < cols; c++) {
      uint32_t bits;
      uint16_t half;
      memcpy(&bits, x + r * cols + c, sizeof bits);
      half = (uint16_t)(bits >> 16);
      if (bfloat) memcpy(row + 2 * c, &half, 2);
      else memcpy(row + 4 * c, &bits, 4);
    }
  }
  if (rows) f->used += (size_t)(rows - 1) * step + (size_t)cols * size + (shape == TOGETHER ? 0 : gap / 2);
  return view;
}

static void put_all(pair *p, int shape, fr_int embedding, fr_int head)
{
  const fr_config *c = &p->full.config;
  const fr_int HD = c->heads * c->head_dim, KD = c->kv_heads * c->head_dim, C = c->dim, F = c->ffn;
  const fr_tensor qkv = fixture_tensor(&p->full, "w_qkv"), out = fixture_tensor(&p->full, "w_out");
  const fr_tensor gate_up = fixture_tensor(&p->full, "w_gate_up"), down = fixture_tensor(&p->full, "w_down");
  const float *x = p->full.params;
  flash *f = &p->store;
  f->used = 0;
  memset(&p->views, 0, sizeof p->views);
  if (shape != LAYERS_ONLY) {
    p->views.embedding = put(f, x + fixture_tensor(&p->full, "tok_emb").offset, embedding, C, shape, 1);
    if (!c->tied) p->views.head = put(f, x + fixture_tensor(&p->full, "head").offset, head, C, shape, 2);
  }
  for (fr_int l = 0; shape != TABLES_ONLY && l < c->layers; l++) {
    fr_layer_views *w = &p->layers[l];
    const float *at = x + qkv.offset + l * qkv.rows * C, *pair_at = x + gate_up.offset + l * 2 * F * C;
    const int odd = (int)l;
    if (shape == TOGETHER) {  // as they stand: neighbours are one product
      w->q = put(f, at, HD, C, shape, 0);
      w->k = put(f, at + HD * C, KD, C, shape, 0);
      w->v = put(f, at + (HD + KD) * C, KD, C, shape, 0);
      w->gate = put(f, pair_at, F, C, shape, 0);
      w->up = put(f, pair_at + F * C, F, C, shape, 0);
    } else {
      w->up = put(f, pair_at + F * C, F, C, shape, odd + 6);
      w->v = put(f, at + (HD + KD) * C, KD, C, shape, odd + 1);
      w->q = put(f, at, HD, C, shape, odd + 2);
      w->gate = put(f, pair_at, F, C, shape, odd + 5);
      w->k = put(f, at + HD * C, KD, C, shape, odd + 3);
    }
    w->out = put(f, x + out.offset + l * C * HD, C, HD, shape, odd + 4);
    w->down = put(f, x + down.offset + l * C * F, C, F, shape, odd + 7);
  }
  p->views.layers = shape != TABLES_ONLY ? p->layers : NULL;
}

static void open_store(flash *f, size_t size)
{
  f->size = size = (size + 63) / 64 * 64;
#if HAS_MMAP
  {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    f->map_size = (size + page - 1) / page * page + page;
    f->map = (char *)mmap(NULL, f->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f->map == (char *)MAP_FAILED) { fprintf(stderr, "mmap failed\n"); exit(2); }
    f->base = f->map + f->map_size - page - size;
    if (mprotect(f->map + f->map_size - page, page, PROT_NONE)) exit(2);
  }
#else
  f->base = f->map = (char *)test_alloc(size);
#endif
  memset(f->base, 0xFF, size);  // what no row holds is a NaN
}

static void lock_store(flash *f)
{
#if HAS_MMAP
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  CHECK(mprotect(f->map, f->map_size - page, PROT_READ) == 0);
#else
  (void)f;
#endif
}

static void close_store(flash *f)
{
#if HAS_MMAP
  munmap(f->map, f->map_size);
#else
  free(f->map);
#endif
}

// The tensors that the viewed model holds itself, from the full one.
static void fill_own(pair *p)
{
  fr_tensor to, from;
  for (fr_int i = 0; fr_model_tensor(&p->viewed, i, &to) == FR_OK; i++) {
    fr_model_tensor(&p->full, i, &from);
    if (!to.copies) continue;
    memcpy(p->viewed.params + to.offset, p->full.params + from.offset + (from.rows - to.rows) * from.cols,
           (size_t)(to.copies * to.rows * to.cols) * sizeof(float));
  }
}

static pair pair_of(fr_model full, void *full_memory, int shape, fr_int embedding, fr_int head)
{
  static pair made;  // views.layers points into it until the model has its copy
  pair *p = &made;
  const fr_config *c = &full.config;
  fr_reason reason;
  fr_tensor t;
  fr_status status;
  memset(p, 0, sizeof *p);
  p->full = full;
  p->full_memory = full_memory;
  for (fr_int i = 0; fr_model_tensor(&full, i, &t) == FR_OK; i++)
    if (strncmp(t.name, "norm", 4) && t.name[0] != 'b' && shape != FLOATS)
      for (fr_int j = 0; j < t.copies * t.rows * t.cols; j++) full.params[t.offset + j] = rounded(full.params[t.offset + j]);
  put_all(p, shape, embedding, head);
  open_store(&p->store, p->store.used);
  {
    const size_t used = p->store.used, skipped = (p->store.size - used) / 4 * 4;
    p->store.base += skipped;  // to the end of the memory
    put_all(p, shape, embedding, head);
    CHECK(p->store.used == used);
  }
  lock_store(&p->store);
  status = fr_model_place_views(NULL, c, &p->views, NULL, 0, &p->viewed_bytes, &reason);
  if (!CHECK(status == FR_OK)) fixture_die("fr_model_place_views", status, reason.text);
  p->viewed_memory = test_alloc((size_t)p->viewed_bytes);
  status = fr_model_place_views(&p->viewed, c, &p->views, p->viewed_memory, p->viewed_bytes, NULL, &reason);
  if (!CHECK(status == FR_OK)) fixture_die("fr_model_place_views", status, reason.text);
  memset(p->layers, 0x5A, sizeof p->layers);  // the model has its own copy
  fill_own(p);
  return *p;
}

static pair make_pair(const fr_config *config, int shape, fr_int embedding, fr_int head)
{
  void *memory;
  fr_model full = fixture_model(config, &memory);
  fixture_randomise(&full);
  return pair_of(full, memory, shape, embedding, head);
}

static void free_pair(pair *p)
{
  close_store(&p->store);
  free(p->full_memory);
  free(p->viewed_memory);
}

// ---- a tree with forks, and leaves
enum { LEAVES = 5, TEXT = 6, TARGETS = 14 };
typedef struct scene {
  fr_token  ids[40];
  fr_span   spans[5];
  fr_target targets[TARGETS];
  fr_tree   tree;
  fr_sampling sampling;
  fr_leaf   leaves[LEAVES];
  fr_token  text[LEAVES][TEXT];
} scene;

static void make_scene(scene *s, fr_int vocab)
{
  static const struct { fr_int parent, count; } shape[5] = { { -1, 9 }, { 0, 2 }, { 0, 1 }, { -1, 3 }, { 1, 4 } };
  fr_int used = 0;
  memset(s, 0, sizeof *s);
  for (int i = 0; i < 40; i++) s->ids[i] = (fr_token)(i < 3 ? vocab - 1 - i : test_below_int(vocab));
  for (int i = 0; i < 5; used += shape[i++].count) {
    s->spans[i].parent = shape[i].parent;
    s->spans[i].tokens.ids = s->ids + used;
    s->spans[i].tokens.count = shape[i].count;
  }
  for (int i = 0; i < TARGETS; i++) {
    s->targets[i].row = test_below_int(used);
    s->targets[i].token = (fr_token)(i < 2 ? vocab - 1 - i : test_below_int(vocab));
    s->targets[i].weight = (float)test_uniform(0.2, 1.0);
    s->targets[i].group = i % 2;
  }
  s->tree.spans = s->spans;
  s->tree.span_count = 5;
  s->tree.targets = s->targets;
  s->tree.target_count = TARGETS;
  s->sampling.max_tokens = TEXT;
  s->sampling.seed = 9;
  for (int i = 0; i < LEAVES; i++) {
    s->leaves[i].span = i;
    s->leaves[i].leaf = (uint64_t)i;
    s->leaves[i].tokens = s->text[i];
  }
}

static fr_limits limits_of(const scene *s, fr_int tasks)
{
  fr_limits limits, decoding;
  CHECK(fr_tree_limits(&s->tree, &limits) == FR_OK);
  CHECK(fr_generate_limits(&s->tree, &s->sampling, LEAVES, &decoding) == FR_OK);
  limits = fr_limits_max(limits, decoding);
  limits.tasks = tasks;
  return limits;
}

// ---- bit for bit: loss, logits of prompts, tokens and their log p
static void compare(const fr_model *a, const fr_model *b, fr_work *work, scene *s)
{
  const fr_int V = a->config.vocab;
  const fr_int rows[] = { 0, 3, 8, 9, 10, 11, 14, 18 };
  float *logits = fixture_zeros(2 * 8 * V);
  for (int which = 0; which < 2; which++) {
    fr_sum sums[2][2];
    memset(sums, 0, sizeof sums);
    for (int m = 0; m < 2; m++) {
      CHECK(fr_forward(m ? b : a, work, &s->tree, sums[m], 2) == FR_OK);
      CHECK(fr_logits(m ? b : a, work, rows, 8, logits + m * 8 * V, NULL) == FR_OK);
    }
    CHECK(sums[0][0].nll == sums[1][0].nll && sums[0][1].nll == sums[1][1].nll && sums[0][0].nll > 0.0);
    CHECK(same_bits(logits, logits + 8 * V, 8 * V, sizeof(float)));
  }
  for (int way = 0; way < 2; way++) {
    static scene other;
    s->sampling.temperature = way ? 1.0f : 0.0f;
    memcpy(&other, s, sizeof other);
    for (int i = 0; i < LEAVES; i++) other.leaves[i].tokens = other.text[i];
    CHECK(fr_generate(a, work, &s->tree, &s->sampling, s->leaves, LEAVES) == FR_OK);
    CHECK(fr_generate(b, work, &s->tree, &s->sampling, other.leaves, LEAVES) == FR_OK);
    for (int i = 0; i < LEAVES; i++) {
      CHECK(s->leaves[i].count == TEXT && s->leaves[i].logp == other.leaves[i].logp && s->leaves[i].logp < 0.0);
      CHECK(!memcmp(s->text[i], other.text[i], sizeof s->text[i]));
    }
  }
  free(logits);
}

// What a model of views holds: gains, biases, and rows that no view has.
static fr_int own_floats(const pair *p, int shape, fr_int embedding, fr_int head)
{
  const fr_config *c = &p->full.config;
  const fr_int W = (c->heads + 2 * c->kv_heads) * c->head_dim;
  fr_int count = c->dim * (2 * c->layers + 1) + (c->qkv_bias ? c->layers * W : 0) + (c->qk_norm ? 2 * c->layers * c->head_dim : 0);
  if (shape == LAYERS_ONLY) embedding = head = 0;
  count += (c->vocab - embedding) * c->dim + (c->tied ? 0 : (c->vocab - head) * c->dim);
  if (shape == TABLES_ONLY) count += c->layers * (W * c->dim + c->dim * c->heads * c->head_dim + 3 * c->ffn * c->dim);
  return count;
}

static void bit_for_bit(void)
{
  for (int which = 0; which < FIXTURE_CONFIGS; which++)
    for (int shape = 0; shape < SHAPES; shape++) {
      if (test_brief() && (which + shape) % 3) continue;  // each model in two shapes, each shape with three models
      const fr_config config = fixture_config(which);
      const fr_int V = config.vocab, embedding = shape == FLOATS ? V : V - 3, head = shape == FLOATS ? V : V - 1 - shape % 3;
      pair p = make_pair(&config, shape, embedding, head);
      static scene s;
      make_scene(&s, V);
      CHECK(p.viewed.count == own_floats(&p, shape, embedding, head));
      CHECK(p.viewed_bytes <= p.viewed.count * (fr_int)sizeof(float) + (fr_int)sizeof(fr_views) + 3 * (fr_int)sizeof(fr_layer_views) + 4 * 64);
      for (int tasks = 1; tasks <= 3; tasks += 2) {
        void *memory;
        const fr_limits limits = limits_of(&s, tasks);
        fr_work work = fixture_work(&config, &limits, &memory);
        for (int k = 0; k < FIXTURE_KERNELS; k++)
          if (fr_work_select(&work, fixture_kernels[k]) == FR_OK) compare(&p.full, &p.viewed, &work, &s);
        free(memory);
      }
      {  // widened into a block of floats it is the full model, and grows like it
        void *memory[3];
        fr_config more = config;
        fr_model same = fixture_model(&config, &memory[0]), a, b;
        more.vocab += 4;
        a = fixture_model(&more, &memory[1]);
        b = fixture_model(&more, &memory[2]);
        CHECK(fr_model_append_rows(&same, &p.viewed) == FR_OK);
        CHECK(same_bits(same.params, p.full.params, same.count, sizeof(float)));
        CHECK(fr_model_append_rows(&a, &p.viewed) == FR_OK && fr_model_append_rows(&b, &p.full) == FR_OK);
        CHECK(same_bits(a.params, b.params, a.count, sizeof(float)));
        for (int i = 0; i < 3; i++) free(memory[i]);
      }
      free_pair(&p);
    }
#if HAS_MMAP
  printf("views: the memory could not be written\n");
#else
  printf("views: no mmap here, so that views in memory that cannot be written were LEFT OUT\n");
#endif
}

// Parameters and the table of views in memory that cannot be written either: nothing of a model is written when it is run.
static void all_of_it(void)
{
#if HAS_MMAP
  const fr_config config = fixture_config(7);
  pair p = make_pair(&config, BFLOAT, 35, 37);
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = ((size_t)p.viewed_bytes + page - 1) / page * page;
  void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *memory;
  static scene s;
  fr_limits limits;
  fr_work work;
  fr_int needed = 0;
  if (map == MAP_FAILED) exit(2);
  for (fr_int l = 0; l < config.layers; l++) p.layers[l] = p.viewed.views->layers[l];
  p.views = *p.viewed.views;
  p.views.layers = p.layers;
  CHECK(fr_model_place_views(&p.viewed, &config, &p.views, map, (fr_int)size, &needed, NULL) == FR_OK && needed == p.viewed_bytes);
  fill_own(&p);
  CHECK(mprotect(map, size, PROT_READ) == 0);
  make_scene(&s, config.vocab);
  limits = limits_of(&s, 2);
  work = fixture_work(&config, &limits, &memory);
  compare(&p.full, &p.viewed, &work, &s);
  munmap(map, size);
  free(memory);
  free_pair(&p);
#endif
}

// ---- gradients
// Of the tensor `name`, from a model that may have frozen ones; NULL: none.
static const float *gradient_of(const fr_model *model, const float *grads, const char *name, fr_int *count)
{
  fr_tensor t;
  for (fr_int i = 0; fr_model_tensor(model, i, &t) == FR_OK; i++) {
    *count = t.copies * t.rows * t.cols;
    if (!strcmp(t.name, name)) return model->frozen >> i & 1 || !*count ? NULL : grads;
    if (!(model->frozen >> i & 1)) grads += *count;
  }
  return NULL;
}

static uint32_t all_but(const fr_model *model, const char *a, const char *b)
{
  fr_tensor t;
  uint32_t frozen = 0;
  for (fr_int i = 0; fr_model_tensor(model, i, &t) == FR_OK; i++)
    if (strcmp(t.name, a) && strcmp(t.name, b)) frozen |= (uint32_t)1 << i;
  return frozen;
}

static fr_adamw adamw_of(const fr_model *model, void **memory)
{
  fr_adamw adamw;
  fr_int bytes = 0;
  CHECK(fr_adamw_place(NULL, model, NULL, 0, &bytes) == FR_OK);
  *memory = test_alloc((size_t)bytes);
  CHECK(fr_adamw_place(&adamw, model, *memory, bytes, NULL) == FR_OK);
  return adamw;
}

static void own_rows(void)
{
  for (int which = 0; which < FIXTURE_CONFIGS; which++)
    for (int shape = 0; shape < SHAPES; shape++)
      for (int alone = 0; alone < 2; alone++) {
        const fr_config config = fixture_config(which);
        const fr_int V = config.vocab, embedding = shape == LAYERS_ONLY ? 0 : V - 3, head = shape == LAYERS_ONLY ? 0 : V - 2;
        pair p = make_pair(&config, shape, embedding, head);
        void *memory, *optimiser;
        float *grads = fixture_zeros(p.full.count), *before = fixture_zeros(p.viewed.count);
        static scene s;
        fr_limits limits;
        fr_work work;
        fr_adamw adamw;
        fr_tensor t;
        fr_sum sums[2][2];
        make_scene(&s, V);
        limits = limits_of(&s, 2);
        work = fixture_work(&config, &limits, &memory);
        if (alone) p.viewed.frozen = all_but(&p.viewed, "tok_emb", "head");
        adamw = adamw_of(&p.viewed, &optimiser);
        if (alone) CHECK(adamw.count == (V - embedding) * config.dim + (config.tied ? 0 : (V - head) * config.dim));
        else CHECK(adamw.count == p.viewed.count);
        CHECK(fr_backward(&p.full, &work, &s.tree, grads, sums[0], 2) == FR_OK);
        CHECK(fr_backward(&p.viewed, &work, &s.tree, adamw.grads, sums[1], 2) == FR_OK);
        CHECK(sums[0][0].nll == sums[1][0].nll && sums[0][1].weighted == sums[1][1].weighted);
        for (fr_int i = 0; fr_model_tensor(&p.viewed, i, &t) == FR_OK; i++) {
          fr_int all, own;
          const float *whole = gradient_of(&p.full, grads, t.name, &all), *mine = gradient_of(&p.viewed, adamw.grads, t.name, &own);
          if (mine) CHECK_BELOW(relative(mine, whole + all - own, own), 2e-5);
          if (mine) CHECK(norm_of(mine, own) > 0.0);
          if (alone) CHECK((mine != NULL) == (t.copies * t.rows > 0 && (!strcmp(t.name, "tok_emb") || !strcmp(t.name, "head"))));
        }
        memcpy(before, p.viewed.params, (size_t)p.viewed.count * sizeof(float));
        for (int step = 0; step < 2; step++) {
          CHECK(fr_adamw_step(&adamw, &p.viewed, &work, 1.0, 0.01f, NULL) == FR_OK);
          CHECK(fr_backward(&p.viewed, &work, &s.tree, adamw.grads, sums[1], 2) == FR_OK);
        }
        CHECK(sums[1][0].weighted + sums[1][1].weighted < sums[0][0].weighted + sums[0][1].weighted);
        for (fr_int i = 0; fr_model_tensor(&p.viewed, i, &t) == FR_OK; i++) {
          const fr_int count = t.copies * t.rows * t.cols;
          const int same = same_bits(before + t.offset, p.viewed.params + t.offset, count, sizeof(float));
          CHECK(same == (count == 0 || (p.viewed.frozen >> i & 1)));
        }
        free(grads); free(before); free(memory); free(optimiser);
        free_pair(&p);
      }
}

// Training with frozen tensors is training all, where the learning of these is undone after each step. No clipping, which would
// scale by another norm.
static void frozen(void)
{
  for (int which = 1; which < FIXTURE_CONFIGS; which += 2)
    for (int mask = 0; mask < 14; mask++) {
      const fr_config config = fixture_config(which);
      void *memory[5];
      fr_model some = fixture_model(&config, &memory[0]), all = fixture_model(&config, &memory[1]);
      float *start = fixture_zeros(all.count);
      fr_adamw part, whole;
      static scene s;
      fr_limits limits;
      fr_work work;
      fr_tensor t;
      fr_int trained = 0;
      fixture_randomise(&all);
      memcpy(some.params, all.params, (size_t)all.count * sizeof(float));
      memcpy(start, all.params, (size_t)all.count * sizeof(float));
      some.frozen = mask < 12 ? (mask % 2 ? (uint32_t)1 << mask : ~((uint32_t)1 << mask)) : mask == 12 ? 0xA5Bu : 0xFFFFFFFFu;
      for (fr_int i = 0; fr_model_tensor(&all, i, &t) == FR_OK; i++)
        if (!(some.frozen >> i & 1)) trained += t.copies * t.rows * t.cols;
      part = adamw_of(&some, &memory[2]);
      whole = adamw_of(&all, &memory[3]);
      CHECK(part.count == trained);
      part.clip = whole.clip = 0.0f;
      make_scene(&s, config.vocab);
      limits = limits_of(&s, 3);
      work = fixture_work(&config, &limits, &memory[4]);
      for (int step = 0; step < 3; step++) {
        fr_sum sums[2][2];
        double norm[2] = { -1.0, -1.0 }, squares = 0.0;
        CHECK(fr_backward(&some, &work, &s.tree, part.grads, sums[0], 2) == FR_OK);
        CHECK(fr_backward(&all, &work, &s.tree, whole.grads, sums[1], 2) == FR_OK);
        CHECK(!memcmp(sums[0], sums[1], sizeof sums[0]));
        for (fr_int i = 0; fr_model_tensor(&all, i, &t) == FR_OK; i++) {
          fr_int count;
          const float *mine = gradient_of(&some, part.grads, t.name, &count);
          if (mine) CHECK(same_bits(mine, whole.grads + t.offset, count, sizeof(float)));
          if (mine) squares += norm_of(mine, count) * norm_of(mine, count);
        }
        CHECK(fr_adamw_step(&part, &some, &work, 1.0, 0.01f, &norm[0]) == FR_OK);
        CHECK(fr_adamw_step(&whole, &all, &work, 1.0, 0.01f, &norm[1]) == FR_OK);
        CHECK_BELOW(fabs(norm[0] - sqrt(squares)), 1e-9 * (1.0 + norm[0]));
        for (fr_int i = 0; fr_model_tensor(&all, i, &t) == FR_OK; i++)
          if (some.frozen >> i & 1)
            memcpy(all.params + t.offset, start + t.offset, (size_t)(t.copies * t.rows * t.cols) * sizeof(float));
        CHECK(same_bits(some.params, all.params, all.count, sizeof(float)));
      }
      CHECK(same_bits(some.params, start, all.count, sizeof(float)) == (trained == 0));
      // Frozen otherwise since: the optimiser is no longer that of the model. Which bit makes a difference depends on the config.
      if (trained) {
        some.frozen = 0xFFFFFFFFu;
        CHECK(fr_adamw_step(&part, &some, &work, 1.0, 0.01f, NULL) == FR_INVALID);
      }
      for (int i = 0; i < 5; i++) free(memory[i]);
      free(start);
    }
}

// ---- what is refused
static void refused(void)
{
  const fr_config config = fixture_config(1);
  static const char *const wants[] = { "q", "k", "v", "out", "gate", "up", "down" };
  pair p = make_pair(&config, BFLOAT, 34, 36);
  fr_layer_views layers[2];
  fr_views views;
  fr_model model, kept;
  char *memory = (char *)test_alloc((size_t)p.viewed_bytes), *copy = (char *)test_alloc((size_t)p.viewed_bytes);
  memset(memory, 0x77, (size_t)p.viewed_bytes);
  memset(copy, 0x77, (size_t)p.viewed_bytes);
  memset(&model, 0x11, sizeof model);
  memcpy(&kept, &model, sizeof kept);
  for (int layer = -1; layer < 2; layer++)
    for (int which = 0; which < (layer < 0 ? 2 : 7); which++)
      for (int wrong = 0; wrong < 8; wrong++) {
        fr_view *view;
        fr_reason reason;
        fr_status status, want = wrong == 1 ? FR_UNSUPPORTED : FR_INVALID;
        char name[40], place[40];
        fr_int needed = -5;
        memcpy(layers, p.viewed.views->layers, sizeof layers);
        views = *p.viewed.views;
        views.layers = layers;
        view = layer < 0 ? (which ? &views.head : &views.embedding)
             : which == 0 ? &layers[layer].q : which == 1 ? &layers[layer].k : which == 2 ? &layers[layer].v : which == 3
             ? &layers[layer].out : which == 4 ? &layers[layer].gate : which == 5 ? &layers[layer].up : &layers[layer].down;
        switch (wrong) {
          case 0: view->at = NULL; break;
          case 1: view->type = (fr_type)7; break;
          case 2: if (layer < 0) view->rows = config.vocab + 1; else view->rows++; break;
          case 3: if (layer < 0) view->rows = -1; else view->rows--; break;
          case 4: view->step = 2 * (which == 3 && layer >= 0 ? 24 : which == 6 ? 27 : 20) - 2; break;
          case 5: view->step += 1; break;
          case 6: view->at = (const char *)view->at + 1; break;
          default: view->step = PTRDIFF_MAX / 4 * 2; break;  // rows that far apart lie in no memory
        }
        memset(&reason, 0, sizeof reason);
        for (int measured = 0; measured < 2; measured++) {
          status = fr_model_place_views(&model, &config, &views, measured ? NULL : memory, p.viewed_bytes, &needed, &reason);
          if (!CHECK(status == want)) fprintf(stderr, "  layer %d, view %d, case %d: %s\n", layer, which, wrong, fr_status_text(status));
          CHECK(needed == -5);
        }
        snprintf(name, sizeof name, layer < 0 ? "%s" : "'%s'", layer < 0 ? (which ? "head" : "embedding") : wants[which]);
        snprintf(place, sizeof place, "layer %d", layer < 0 ? 0 : layer);
        if (!CHECK(strstr(reason.text, name) && (layer < 0 || strstr(reason.text, place)))) fprintf(stderr, "  %s\n", reason.text);
        CHECK(!memcmp(&model, &kept, sizeof kept) && !memcmp(memory, copy, (size_t)p.viewed_bytes));
      }
  {  // a head where it is tied; too little memory; nowhere to go
    const fr_config tied = fixture_config(2);
    pair q = make_pair(&tied, BFLOAT, 37, 0);
    views = *q.viewed.views;
    views.head = views.embedding;
    CHECK(fr_model_place_views(&model, &tied, &views, memory, p.viewed_bytes, NULL, NULL) == FR_INVALID);
    views.head.at = NULL;
    CHECK(fr_model_place_views(&model, &tied, &views, memory, p.viewed_bytes, NULL, NULL) == FR_INVALID);
    free_pair(&q);
  }
  CHECK(fr_model_place_views(&model, &config, p.viewed.views, memory, p.viewed_bytes - 1, NULL, NULL) == FR_MEMORY);
  CHECK(fr_model_place_views(NULL, &config, p.viewed.views, memory, p.viewed_bytes, NULL, NULL) == FR_INVALID);
  CHECK(!memcmp(&model, &kept, sizeof kept) && !memcmp(memory, copy, (size_t)p.viewed_bytes));
  {  // what would have to change a view; rows 34 and 35 of the embedding are its own, those of the head are not
    const size_t size = (size_t)p.viewed.count * sizeof(float);
    float *before = fixture_zeros(p.viewed.count);
    void *other_memory, *optimiser;
    fr_model other = fixture_model(&config, &other_memory);
    memcpy(before, p.viewed.params, size);
    CHECK(fr_model_set_rows(&p.viewed, 33, 2, 1, 0.02f, 1) == FR_UNSUPPORTED);
    CHECK(fr_model_set_rows(&p.viewed, 34, 3, 1, 0.02f, 1) == FR_UNSUPPORTED);
    CHECK(fr_model_set_rows(&p.viewed, 0, 1, 0, 0.02f, 1) == FR_UNSUPPORTED);
    CHECK(fr_model_append_rows(&p.viewed, &p.full) == FR_UNSUPPORTED);
    CHECK(!memcmp(before, p.viewed.params, size));
    CHECK(fr_model_set_rows(&p.viewed, 33, 0, 1, 0.02f, 1) == FR_OK && !memcmp(before, p.viewed.params, size));
    CHECK(fr_model_set_rows(&p.viewed, 36, 1, 1, 0.02f, 1) == FR_OK && fr_model_set_rows(&p.full, 36, 1, 1, 0.02f, 1) == FR_OK);
    memcpy(before, p.viewed.params, size);
    fill_own(&p);
    CHECK(!memcmp(before, p.viewed.params, size));  // around the mean of all rows, those of the view among them
    {  // a checkpoint has neither room for views nor for a part of the moments
      fr_reason reason;
      fr_int bytes = 0;
      char *file;
      fr_adamw adamw;
      reason.text[0] = 0;
      bytes = -3;
      CHECK(fr_checkpoint_write(NULL, 0, &bytes, &p.viewed, NULL, NULL, 0, &reason) == FR_UNSUPPORTED && bytes == -3);
      CHECK(strstr(reason.text, "views") != NULL);
      CHECK(fr_checkpoint_write(NULL, 0, &bytes, &p.full, NULL, NULL, 0, &reason) == FR_OK);
      file = (char *)test_alloc((size_t)bytes);
      CHECK(fr_checkpoint_write(file, bytes, NULL, &p.full, NULL, NULL, 0, &reason) == FR_OK);
      CHECK(fr_checkpoint_read(file, bytes, NULL, &p.viewed, NULL, NULL, 0, &reason) == FR_UNSUPPORTED);
      CHECK(!memcmp(before, p.viewed.params, size));
      other.frozen = 1;
      adamw = adamw_of(&other, &optimiser);
      CHECK(fr_checkpoint_write(NULL, 0, &bytes, &other, &adamw, NULL, 0, &reason) == FR_UNSUPPORTED);
      CHECK(strstr(reason.text, "frozen") != NULL);
      CHECK(fr_checkpoint_read(file, bytes, NULL, &other, NULL, NULL, 0, &reason) == FR_OK);  // the parameters alone go
      CHECK(same_bits(other.params, p.full.params, other.count, sizeof(float)));
      other.stale = 1;
      CHECK(fr_checkpoint_write(NULL, 0, &bytes, &other, NULL, NULL, 0, &reason) == FR_INVALID);
      CHECK(strstr(reason.text, "fr_work_download") != NULL);
      free(file);
    }
    free(before); free(other_memory); free(optimiser);
  }
  free(memory); free(copy);
  free_pair(&p);
}

// ---- as writer and start policy of GFPO, under a linear chooser, and in SSFT with the rows of the forks alone
static double first_is_even(void *user, fr_int question, fr_int fork, const fr_leaf *leaf)
{
  (void)user; (void)question;
  return leaf->count && (leaf->tokens[0] + (fr_token)fork) % 2 == 0 ? 1.0 : 0.0;
}

static void choosing(void)
{
  const fr_config config = tiny_config(2, 24);
  void *memory, *tuned_memory[2], *optimiser[2];
  fr_model full = fixture_model(&config, &memory), tuned[2];
  pair p;
  static tiny t;
  fr_gfpo_options o;
  fr_rollouts rollouts;
  fr_chooser chooser[2];
  fr_adamw adamw[2];
  fr_limits limits;
  fr_work work;
  fr_gfpo_report report;
  fr_model_init(&full, 3);
  p = pair_of(full, memory, BFLOAT, TINY_VOCAB - TINY_FORKS, 0);
  tiny_fill(&t, 0);
  memset(&o, 0, sizeof o);
  o.forks = t.forks;
  o.fork_count = TINY_FORKS;
  o.group = 6;
  o.sampling.max_tokens = TINY_TRACE;
  o.sampling.temperature = 1.0f;
  o.reward = first_is_even;
  o.kl = 0.1f;
  CHECK(fr_gfpo_limits(&o, TINY_PROMPT, TINY_QUESTIONS, &limits) == FR_OK);
  CHECK(fr_work_new(&work, &config, &limits) == FR_OK);
  CHECK(fr_rollouts_new(&rollouts, &o, TINY_QUESTIONS) == FR_OK);
  for (int m = 0; m < 2; m++) {
    fr_model *writer = m ? &p.viewed : &p.full;
    fr_policy policy;
    memset(&policy, 0, sizeof policy);
    tuned[m] = fixture_model(&config, &tuned_memory[m]);
    CHECK(fr_model_append_rows(&tuned[m], writer) == FR_OK);
    adamw[m] = adamw_of(&tuned[m], &optimiser[m]);
    policy.model = &tuned[m];
    policy.adamw = &adamw[m];
    policy.start = writer;
    for (o.draw = 0; o.draw < 3; o.draw++)
      CHECK(fr_gfpo_step(&policy, writer, &work, &o, t.questions, TINY_QUESTIONS, &rollouts, 0.01f, &report) == FR_OK);
    CHECK(fr_chooser_new(&chooser[m], writer, TINY_FORKS, 2) == FR_OK);
    policy.model = writer;
    policy.chooser = &chooser[m];
    policy.adamw = NULL;
    for (o.draw = 0; o.draw < 3; o.draw++)
      CHECK(fr_gfpo_step(&policy, writer, &work, &o, t.questions, TINY_QUESTIONS, &rollouts, 0.01f, &report) == FR_OK);
  }
  CHECK(same_bits(tuned[0].params, tuned[1].params, full.count, sizeof(float)));
  CHECK(!same_bits(tuned[0].params, full.params, full.count, sizeof(float)));
  CHECK(same_bits(chooser[0].params, chooser[1].params, chooser[0].adamw.count, sizeof(float)));
  CHECK(norm_of(chooser[0].params, chooser[0].adamw.count) > 0.0);
  {  // the rows of the forks learn alone
    fr_ssft_report learned;
    double first = 0.0;
    float *before = fixture_zeros(p.viewed.count);
    void *rows_memory;
    fr_adamw rows;
    fr_tensor emb;
    memcpy(before, p.viewed.params, (size_t)p.viewed.count * sizeof(float));
    fr_work_free(&work);
    limits = tiny_limits(&t, TINY_QUESTIONS, 1, 2);
    CHECK(fr_work_new(&work, &config, &limits) == FR_OK);
    p.viewed.frozen = all_but(&p.viewed, "tok_emb", "head");
    rows = adamw_of(&p.viewed, &rows_memory);
    CHECK(rows.count == TINY_FORKS * config.dim);
    for (int step = 0; step < 30; step++) {
      CHECK(fr_ssft_step(&p.viewed, &work, &rows, &t.options, t.questions, TINY_QUESTIONS, 0.01f, &learned) == FR_OK && !learned.skipped);
      if (!step) first = learned.loss;
    }
    CHECK_BELOW(learned.loss, 0.97 * first);
    CHECK(fr_model_tensor(&p.viewed, 0, &emb) == FR_OK && emb.rows == TINY_FORKS);
    CHECK(same_bits(before + rows.count, p.viewed.params + rows.count, p.viewed.count - rows.count, sizeof(float)));
    CHECK(!same_bits(before, p.viewed.params, rows.count, sizeof(float)));
    free(before); free(rows_memory);
  }
  for (int m = 0; m < 2; m++) { free(tuned_memory[m]); free(optimiser[m]); fr_chooser_free(&chooser[m]); }
  fr_rollouts_free(&rollouts);
  fr_work_free(&work);
  free_pair(&p);
}

int main(void)
{
  bit_for_bit();
  all_of_it();
  own_rows();
  frozen();
  refused();
  choosing();
  return test_done("views");
}
