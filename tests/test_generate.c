// Decoding: with the cache as without it, alone as in a batch; sampling against plain probabilities; stops and limits; each token told
// as it comes; going on from what the last call left.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"
#include <pthread.h>

#define LEAVES 9
#define TEXT 12

typedef struct scene {
  fr_span  spans[8];
  fr_token ids[64];
  fr_tree  tree;
  fr_leaf  leaves[LEAVES];
  fr_token text[LEAVES][TEXT];
} scene;

// Two questions; the second has an empty span and forks, as a vote over forks would decode it.
static void make_scene(scene *s, fr_int vocab)
{
  static const struct { fr_int parent, count; } shape[8] = { { -1, 6 }, { -1, 1 }, { 0, 1 }, { 0, 2 }, { 1, 0 }, { 4, 3 }, { 0, 0 }, { 3, 1 } };
  static const fr_int at[LEAVES] = { 2, 3, 2, 0, 5, 4, 6, 7, 1 };
  fr_int used = 0;
  memset(s, 0, sizeof *s);
  for (int i = 0; i < 64; i++) s->ids[i] = (fr_token)test_below_int(vocab);
  for (int i = 0; i < 8; i++) {
    s->spans[i].parent = shape[i].parent;
    s->spans[i].tokens.ids = s->ids + used;
    s->spans[i].tokens.count = shape[i].count;
    used += shape[i].count;
  }
  s->tree.spans = s->spans;
  s->tree.span_count = 8;
  for (int i = 0; i < LEAVES; i++) {
    s->leaves[i].span = at[i];
    s->leaves[i].question = at[i] == 1 || at[i] == 4 || at[i] == 5 ? 200 : 100;
    s->leaves[i].leaf = (uint64_t)i;
    s->leaves[i].tokens = s->text[i];
  }
}

static fr_int path_of(const scene *s, fr_int span, fr_token *ids)
{
  fr_int count = 0;
  if (s->spans[span].parent >= 0) count = path_of(s, s->spans[span].parent, ids);
  for (fr_int t = 0; t < s->spans[span].tokens.count; t++) ids[count++] = s->spans[span].tokens.ids[t];
  return count;
}

static fr_work work_for(const fr_model *model, const fr_tree *tree, const fr_sampling *sampling,
                        fr_int leaves, void **memory)
{
  fr_limits limits;
  CHECK(fr_generate_limits(tree, sampling, leaves, &limits) == FR_OK);
  return fixture_work(&model->config, &limits, memory);
}

static double row_logp(const float *logits, fr_int vocab, fr_token token)
{
  double max = -HUGE_VAL, sum = 0.0;
  for (fr_int v = 0; v < vocab; v++) if ((double)logits[v] > max) max = (double)logits[v];
  for (fr_int v = 0; v < vocab; v++) sum += exp((double)logits[v] - max);
  return (double)logits[token] - max - log(sum);
}

// ---- the cache: prompt and text again as one sequence, without it. Logits agree to 1e-5 of their size.
static void cached(void)
{
  static scene s;
  for (int which = 0; which < FIXTURE_CONFIGS; which++) {
    const fr_config config = fixture_config(which);
    const fr_int V = config.vocab;
    void *memory;
    fr_model model = fixture_model(&config, &memory);
    fixture_randomise(&model);
    make_scene(&s, V);
    for (int k = 0; k < FIXTURE_KERNELS; k++)
      for (int greedy = 0; greedy < 2; greedy++) {
        fr_sampling sampling;
        fr_work work;
        void *own;
        memset(&sampling, 0, sizeof sampling);
        sampling.max_tokens = TEXT;
        sampling.temperature = greedy ? 0.0f : 1.0f;
        sampling.seed = 77;
        work = work_for(&model, &s.tree, &sampling, LEAVES, &own);
        if (fr_work_select(&work, fixture_kernels[k]) == FR_OK) {
          CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK &&
                work.reason.text[0] == 0);
          for (int i = 0; i < LEAVES; i++) {
            fr_token ids[64];
            fr_int rows[64], length = path_of(&s, s.leaves[i].span, ids), first = length;
            float *logits = fixture_zeros(64 * V);
            double logp = 0.0;
            fr_span span;
            fr_tree tree;
            fr_limits limits;
            fr_work plain;
            void *apart;
            CHECK(s.leaves[i].count == TEXT && s.leaves[i].stop == -1);
            for (int t = 0; t < TEXT; t++) ids[length++] = s.text[i][t];
            memset(&tree, 0, sizeof tree);
            span.parent = -1;
            span.tokens.ids = ids;
            span.tokens.count = length;
            tree.spans = &span;
            tree.span_count = 1;
            fr_tree_limits(&tree, &limits);
            plain = fixture_work(&config, &limits, &apart);
            CHECK(fr_work_select(&plain, fixture_kernels[k]) == FR_OK);
            CHECK(fr_forward(&model, &plain, &tree, NULL, 0) == FR_OK);
            for (fr_int r = 0; r < length; r++) rows[r] = r;
            CHECK(fr_logits(&model, &plain, rows, length, logits, NULL) == FR_OK);
            for (int t = 0; t < TEXT; t++) {
              const float *row = logits + (first + t - 1) * V;
              float best = row[0];
              for (fr_int v = 1; v < V; v++) if (row[v] > best) best = row[v];
              logp += row_logp(row, V, s.text[i][t]);
              if (greedy)
                CHECK_BELOW((double)best - (double)row[s.text[i][t]], 1e-5 * (1.0 + fabs((double)best)));
            }
            CHECK_BELOW(fabs(s.leaves[i].logp - logp), 2e-5 * (1.0 + fabs(logp)));
            free(logits);
            free(apart);
          }
        }
        free(own);
      }
    free(memory);
  }
}

// ---- a leaf's text and its logp to the last bit, whatever runs beside it
static void beside(void)
{
  static scene s, other;
  static const struct { float temperature, top_p, min_p, penalty; fr_int top_k; } ways[] = {
    { 0.0f, 0.0f, 0.0f, 1.3f, 0 }, { 0.9f, 0.0f, 0.0f, 0.0f, 0 }, { 1.3f, 0.8f, 0.01f, 0.0f, 0 }, { 1.0f, 0.0f, 0.0f, 1.5f, 5 },
    { 1.1f, 0.9f, 0.0f, 0.0f, 11 }, { 1.1f, 0.0f, 0.02f, 1.2f, 0 } };
  for (int which = 1; which < FIXTURE_CONFIGS; which += 2) {
    const fr_config config = fixture_config(which);
    void *memory;
    fr_model model = fixture_model(&config, &memory);
    fixture_randomise(&model);
    make_scene(&s, config.vocab);
    for (int k = 0; k < FIXTURE_KERNELS; k++)
      for (int w = 0; w < 6; w++) {
        if (test_brief() && (w + k + which / 2) % 3) continue;  // each way with some model of each row
        fr_sampling sampling;
        fr_work work;
        void *own;
        fr_int differ = 0;
        memset(&sampling, 0, sizeof sampling);
        sampling.max_tokens = TEXT;
        sampling.temperature = ways[w].temperature;
        sampling.top_p = ways[w].top_p;
        sampling.top_k = ways[w].top_k;
        sampling.min_p = ways[w].min_p;
        sampling.repeat_penalty = ways[w].penalty;
        sampling.seed = 5;
        work = work_for(&model, &s.tree, &sampling, LEAVES, &own);
        if (fr_work_select(&work, fixture_kernels[k]) == FR_OK) {
          CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
          for (int i = 0; i < LEAVES; i++) {
            fr_token text[TEXT];
            fr_leaf alone[2];
            alone[0] = s.leaves[i];
            alone[0].tokens = text;
            CHECK(fr_generate(&model, &work, &s.tree, &sampling, alone, 1) == FR_OK);
            CHECK(alone[0].logp == s.leaves[i].logp && !memcmp(text, s.text[i], sizeof text));
            // The same question without the other one, and a leaf before it.
            memcpy(&other, &s, sizeof s);
            for (int e = 0; e < 8; e++) {
              const int second = e == 1 || e == 4 || e == 5;
              if (second != (s.leaves[i].question == 200)) other.spans[e].tokens.count = 0;
            }
            other.tree.spans = other.spans;
            alone[1] = alone[0];
            alone[0].leaf = 1000;
            alone[0].tokens = other.text[0];
            CHECK(fr_generate(&model, &work, &other.tree, &sampling, alone, 2) == FR_OK);
            CHECK(alone[1].logp == s.leaves[i].logp && !memcmp(text, s.text[i], sizeof text));
          }
          // Leaves 0 and 2 continue the same span; only their streams differ.
          differ = memcmp(s.text[0], s.text[2], sizeof s.text[0]) != 0;
          CHECK(differ == (w != 0));
          s.leaves[2].leaf = 0;
          CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
          CHECK(!memcmp(s.text[0], s.text[2], sizeof s.text[0]) && s.leaves[0].logp == s.leaves[2].logp);
          s.leaves[2].leaf = 2;
        }
        free(own);
      }
    free(memory);
  }
}

// More leaves than one chunk of logits holds.
static void crowd(void)
{
  enum { CROWD = 530 };
  static fr_leaf leaves[CROWD];
  static fr_token text[CROWD][3];
  fr_config config = fixture_config(8);
  void *memory, *own;
  fr_model model = fixture_model(&config, &memory);
  fr_sampling sampling;
  fr_token prompt[2] = { 1, 4 }, one[3];
  fr_span span;
  fr_tree tree;
  fr_work work;
  fr_leaf leaf;
  fixture_randomise(&model);
  memset(&sampling, 0, sizeof sampling);
  memset(&tree, 0, sizeof tree);
  span.parent = -1;
  span.tokens.ids = prompt;
  span.tokens.count = 2;
  tree.spans = &span;
  tree.span_count = 1;
  sampling.max_tokens = 3;
  sampling.temperature = 1.0f;
  memset(leaves, 0, sizeof leaves);
  for (int i = 0; i < CROWD; i++) { leaves[i].leaf = (uint64_t)i; leaves[i].tokens = text[i]; }
  work = work_for(&model, &tree, &sampling, CROWD, &own);
  CHECK(work.body->chunk < CROWD);
  CHECK(fr_generate(&model, &work, &tree, &sampling, leaves, CROWD) == FR_OK);
  for (int i = 0; i < CROWD; i += 23) {
    leaf = leaves[i];
    leaf.tokens = one;
    CHECK(fr_generate(&model, &work, &tree, &sampling, &leaf, 1) == FR_OK);
    CHECK(leaf.logp == leaves[i].logp && !memcmp(one, text[i], sizeof one));
  }
  free(memory); free(own);
}

// ---- stop tokens
static void stops(void)
{
  static scene s, free_running;
  const fr_config config = fixture_config(3);
  void *memory, *own;
  fr_model model = fixture_model(&config, &memory);
  fr_sampling sampling;
  fr_work work;
  fr_token stop_ids[2];
  fr_int stopped = 0;
  fixture_randomise(&model);
  make_scene(&s, config.vocab);
  memset(&sampling, 0, sizeof sampling);
  sampling.max_tokens = TEXT;
  sampling.temperature = 1.0f;
  work = work_for(&model, &s.tree, &sampling, LEAVES, &own);
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
  memcpy(&free_running, &s, sizeof s);
  stop_ids[0] = s.text[0][4];
  stop_ids[1] = s.text[1][0];
  sampling.stops = stop_ids;
  sampling.stop_count = 2;
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
  for (int i = 0; i < LEAVES; i++) {
    const fr_token *before = free_running.text[i];
    fr_int end = 0;
    while (end < TEXT && before[end] != stop_ids[0] && before[end] != stop_ids[1]) end++;
    CHECK(s.leaves[i].count == end && s.leaves[i].stop == (end < TEXT ? before[end] : -1));
    CHECK(!memcmp(s.text[i], before, (size_t)end * sizeof(fr_token)));
    stopped += end < TEXT;
    if (end == TEXT) CHECK(s.leaves[i].logp == free_running.leaves[i].logp);
    if (end < TEXT) {  // logp counts the stop: it is that of a run cut one token later
      fr_sampling cut = sampling;
      fr_leaf leaf = s.leaves[i];
      fr_token text[TEXT];
      leaf.tokens = text;
      cut.stop_count = 0;
      cut.max_tokens = end + 1;
      CHECK(fr_generate(&model, &work, &s.tree, &cut, &leaf, 1) == FR_OK);
      CHECK(leaf.logp == s.leaves[i].logp);
    }
  }
  CHECK(stopped >= 2);
  CHECK(s.leaves[1].count == 0);
  sampling.max_tokens = 0;  // nothing to write
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
  for (int i = 0; i < LEAVES; i++)
    CHECK(s.leaves[i].count == 0 && s.leaves[i].stop == -1 && s.leaves[i].logp == 0.0);
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, NULL, 0) == FR_OK);
  free(memory); free(own);
}

// ---- a callback: each token once, leaves in order, on the calling thread; it may end a leaf, or the call
enum { EVENTS = LEAVES * (TEXT + 1) };
typedef struct listener {
  pthread_t thread;
  const scene *s;
  int events;
  struct { fr_int leaf, count; fr_token last, stop; } event[EVENTS];
  fr_int stop_leaf, stop_count;  // answer `answer` when this leaf has so many tokens
  int answer, at_stop;  // at_stop: where it has met a stop token instead
} listener;

static int listen(void *user, fr_int leaf, const fr_leaf *the_leaf)
{
  listener *l = (listener *)user;
  CHECK(pthread_equal(pthread_self(), l->thread));
  CHECK(the_leaf == &l->s->leaves[leaf]);
  if (!CHECK(l->events < EVENTS)) return FR_STOP_ALL;
  l->event[l->events].leaf = leaf;
  l->event[l->events].count = the_leaf->count;
  l->event[l->events].last = the_leaf->count ? the_leaf->tokens[the_leaf->count - 1] : -1;
  l->event[l->events++].stop = the_leaf->stop;
  if (l->at_stop) return the_leaf->stop >= 0 ? l->answer : FR_GO_ON;
  return leaf == l->stop_leaf && the_leaf->count == l->stop_count ? l->answer : FR_GO_ON;
}

// The thread hook: every task on a thread of its own.
typedef struct errand { void (*task)(void *, fr_int); void *arg; fr_int index; } errand;
static void *run_errand(void *arg)
{
  errand *e = (errand *)arg;
  e->task(e->arg, e->index);
  return NULL;
}
static void on_threads(void *pool, fr_int tasks, void (*task)(void *, fr_int), void *arg)
{
  pthread_t thread[8];
  errand errands[8];
  (void)pool;
  for (fr_int i = 0; i < tasks; i++) {
    errands[i].task = task;
    errands[i].arg = arg;
    errands[i].index = i;
    if (pthread_create(&thread[i], NULL, run_errand, &errands[i])) exit(2);
  }
  for (fr_int i = 0; i < tasks; i++) pthread_join(thread[i], NULL);
}

// The events that the texts of a run without a callback imply, up to event number `most`.
static void check_events(const listener *l, const scene *whole, int most)
{
  int at = 0;
  for (fr_int t = 0; t <= TEXT; t++)
    for (int i = 0; i < LEAVES; i++) {
      const fr_leaf *leaf = &whole->leaves[i];
      if (t >= leaf->count + (leaf->stop >= 0) || at >= most) continue;
      if (l->stop_leaf == i && l->answer == FR_STOP_LEAF && t >= l->stop_count) continue;
      CHECK(l->event[at].leaf == i);
      CHECK(l->event[at].count == (t < leaf->count ? t + 1 : t) && l->event[at].stop == (t < leaf->count ? -1 : leaf->stop));
      if (t < leaf->count) CHECK(l->event[at].last == whole->text[i][t]);
      at++;
    }
  CHECK(l->events == at);
}

// A leaf's first `count` tokens, and their log p, are those of the whole run.
static void check_cut(const fr_model *model, fr_work *work, const scene *s, const scene *whole, const fr_sampling *sampling, int leaf,
                      fr_int count)
{
  fr_sampling cut = *sampling;
  fr_leaf alone = whole->leaves[leaf];
  fr_token text[TEXT];
  CHECK(s->leaves[leaf].count == count);
  CHECK(!memcmp(s->text[leaf], whole->text[leaf], (size_t)count * sizeof(fr_token)));
  if (count == whole->leaves[leaf].count) return;
  alone.tokens = text;
  cut.token = NULL;
  cut.max_tokens = count;
  CHECK(fr_generate(model, work, &s->tree, &cut, &alone, 1) == FR_OK);
  CHECK(alone.logp == s->leaves[leaf].logp);
}

static void told(void)
{
  static scene s, whole;
  static listener l;
  const fr_config config = fixture_config(7);
  void *memory, *own;
  fr_model model = fixture_model(&config, &memory);
  fr_sampling sampling, silent;
  fr_limits limits;
  fr_work work;
  fr_token stop_ids[2];
  fixture_randomise(&model);
  make_scene(&s, config.vocab);
  memset(&sampling, 0, sizeof sampling);
  sampling.max_tokens = TEXT;
  sampling.temperature = 1.0f;
  sampling.stops = stop_ids;
  CHECK(fr_generate_limits(&s.tree, &sampling, LEAVES, &limits) == FR_OK);
  limits.tasks = 3;
  work = fixture_work(&config, &limits, &own);
  work.run = on_threads;
  for (int stops = 0; stops < 2; stops++) {
    sampling.stop_count = 2 * stops;
    silent = sampling;
    CHECK(fr_generate(&model, &work, &s.tree, &silent, s.leaves, LEAVES) == FR_OK);
    memcpy(&whole, &s, sizeof s);
    stop_ids[0] = s.text[1][3];
    stop_ids[1] = s.text[4][0];
    sampling.token = listen;
    sampling.user = &l;
    for (int answer = FR_GO_ON; answer <= FR_STOP_ALL; answer++)
      for (int where = 0; where < 5; where++) {
        static const struct { fr_int leaf, count; } at[5] = { { 0, 1 }, { 3, 2 }, { LEAVES - 1, 4 }, { 2, TEXT }, { 5, 3 } };
        const fr_int last = at[where].leaf, count = at[where].count;
        const int there = whole.leaves[last].count >= count;
        int events = EVENTS;
        memset(&l, 0, sizeof l);
        l.thread = pthread_self();
        l.s = &s;
        l.answer = answer;
        l.stop_leaf = last;
        l.stop_count = count;
        CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK && !work.reason.text[0]);
        if (answer == FR_STOP_ALL && there) {
          events = 0;
          for (int i = 0; i < LEAVES; i++)
            events += (int)(whole.leaves[i].count + (whole.leaves[i].stop >= 0) < count - (i > last)
                            ? whole.leaves[i].count + (whole.leaves[i].stop >= 0) : count - (i > last));
        }
        check_events(&l, &whole, events);
        for (int i = 0; i < LEAVES; i++) {
          const fr_int end = answer == FR_STOP_ALL && there ? count - (i > last) : answer == FR_STOP_LEAF && there && i == last ? count : TEXT + 1;
          const fr_leaf *leaf = &whole.leaves[i];
          fr_leaf now = s.leaves[i];
          if (leaf->count + (leaf->stop >= 0) <= end && !(there && answer && i == last)) {  // it had ended by itself
            CHECK(now.stop == (leaf->stop < 0 && leaf->count < TEXT ? FR_STOPPED : leaf->stop) && now.logp == leaf->logp);
            CHECK(now.count == leaf->count && !memcmp(s.text[i], whole.text[i], (size_t)leaf->count * sizeof(fr_token)));
          } else {
            CHECK(now.stop == FR_STOPPED);
            check_cut(&model, &work, &s, &whole, &silent, i, end);
          }
        }
      }
    if (stops) {  // to end what has ended changes nothing
      memset(&l, 0, sizeof l);
      l.thread = pthread_self();
      l.s = &s;
      l.answer = FR_STOP_LEAF;
      l.at_stop = 1;
      l.stop_leaf = -1;
      CHECK(fr_generate(&model, &work, &s.tree, &silent, s.leaves, LEAVES) == FR_OK);
      memcpy(&whole, &s, sizeof s);
      CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
      check_events(&l, &whole, EVENTS);
      CHECK(s.leaves[4].stop == stop_ids[1] && s.leaves[4].count == 0);
      for (int i = 0; i < LEAVES; i++)
        CHECK(s.leaves[i].stop == whole.leaves[i].stop && s.leaves[i].count == whole.leaves[i].count && s.leaves[i].logp == whole.leaves[i].logp);
    }
    sampling.token = NULL;
  }
  free(memory); free(own);
}

// ---- going on from the last call: the next turn of a chat, more forks, a text cut short
enum { LONG = 25, TURN = 6, SPANS = 40 };
typedef struct chat {
  fr_token ids[200];
  fr_span  spans[SPANS];
  fr_tree  tree;
  fr_int   used;
  fr_leaf  leaves[4];
  fr_token text[SPANS][TURN];
  fr_int   texts;
} chat;

static fr_int say(chat *c, fr_int parent, fr_int count, fr_int vocab)  // one more span
{
  fr_span *span = &c->spans[c->tree.span_count];
  span->parent = parent;
  span->tokens.ids = c->ids + c->used;
  span->tokens.count = count;
  for (fr_int i = 0; i < count; i++) c->ids[c->used++] = (fr_token)test_below_int(vocab);
  c->tree.spans = c->spans;
  return c->tree.span_count++;
}

static void grow(chat *c, int leaf, fr_int span)
{
  memset(&c->leaves[leaf], 0, sizeof c->leaves[leaf]);
  c->leaves[leaf].span = span;
  c->leaves[leaf].leaf = (uint64_t)c->texts;
  c->leaves[leaf].tokens = c->text[c->texts++];
}

static void keep(chat *c, int leaves)  // what the leaves wrote become spans
{
  for (int i = 0; i < leaves; i++) {
    fr_span *span = &c->spans[c->tree.span_count++];
    span->parent = c->leaves[i].span;
    span->tokens.ids = c->leaves[i].tokens;
    span->tokens.count = c->leaves[i].count;
  }
}

static void begin_chat(chat *c, fr_int vocab)
{
  memset(c, 0, sizeof *c);
  say(c, -1, LONG, vocab);
  say(c, 0, 1, vocab);
  say(c, 0, 2, vocab);
  say(c, 0, 0, vocab);
}

static fr_int rows_of(const fr_tree *tree)
{
  fr_int rows = 0;
  for (fr_int s = 0; s < tree->span_count; s++) rows += tree->spans[s].tokens.count;
  return rows;
}

// The same leaves in a workspace that has seen nothing. To the bit where what they continue is of this call, and so are or were in a
// tree all rows before it: decoding, and the last row of a block run again on its own, round otherwise.
static void check_fresh(const fr_model *model, const char *kernel, const chat *c, const fr_sampling *sampling, int leaves, int exactly)
{
  fr_sampling fresh = *sampling;
  fr_leaf other[4];
  fr_token text[4][TURN];
  void *own;
  fr_work work;
  fresh.cached_spans = 0;
  fresh.token = NULL;
  for (int i = 0; i < leaves; i++) { other[i] = c->leaves[i]; other[i].tokens = text[i]; }
  work = work_for(model, &c->tree, &fresh, leaves, &own);
  CHECK(fr_work_select(&work, kernel) == FR_OK);
  CHECK(fr_generate(model, &work, &c->tree, &fresh, other, leaves) == FR_OK);
  for (int i = 0; i < leaves; i++) {
    fr_int span = other[i].span;
    while (c->spans[span].tokens.count == 0) span = c->spans[span].parent;
    CHECK(other[i].count == c->leaves[i].count && other[i].stop == c->leaves[i].stop);
    CHECK(!memcmp(text[i], c->leaves[i].tokens, (size_t)other[i].count * sizeof(fr_token)));
    CHECK_BELOW(fabs(other[i].logp - c->leaves[i].logp), exactly && span >= sampling->cached_spans ? 0.0 : 2e-5 * (1.0 + fabs(other[i].logp)));
  }
  free(own);
}

static int ends_third(void *user, fr_int leaf, const fr_leaf *the_leaf)
{
  (void)user;
  return leaf == 3 && the_leaf->count == 3 ? FR_STOP_LEAF : FR_GO_ON;
}

static void turns(void)
{
  static chat c;
  for (int which = 0; which < FIXTURE_CONFIGS; which++) {
    const fr_config config = fixture_config(which);
    const fr_int V = config.vocab;
    void *memory, *own;
    fr_model model = fixture_model(&config, &memory);
    fixture_randomise(&model);
    for (int k = 0; k < FIXTURE_KERNELS; k++) {
      fr_sampling sampling;
      fr_limits limits;
      fr_work work;
      fr_token stop;
      memset(&sampling, 0, sizeof sampling);
      memset(&limits, 0, sizeof limits);
      sampling.max_tokens = TURN;
      sampling.token = ends_third;
      sampling.stops = &stop;
      begin_chat(&c, V);
      limits.rows = LONG + 3;  // the first tree's, and no more
      limits.spans = SPANS;
      limits.leaves = 4;
      limits.depth = 80;
      limits.cache_rows = 140;
      work = fixture_work(&config, &limits, &own);
      if (fr_work_select(&work, fixture_kernels[k]) == FR_OK) {
        fr_int before;
        // The first turn. Once more with a stop token: of the texts one then ends at a stop, one by the callback, two by max_tokens.
        for (int i = 0; i < 4; i++) grow(&c, i, i);
        CHECK(fr_generate(&model, &work, &c.tree, &sampling, c.leaves, 4) == FR_OK);
        stop = c.leaves[1].tokens[TURN - 1];
        sampling.stop_count = 1;
        CHECK(fr_generate(&model, &work, &c.tree, &sampling, c.leaves, 4) == FR_OK);
        CHECK(c.leaves[1].stop == stop && c.leaves[1].count < TURN);
        sampling.token = NULL;
        sampling.stop_count = 0;
        for (int turn = 0; turn < 3; turn++) {
          before = c.tree.span_count;
          keep(&c, 4);
          sampling.cached_spans = c.tree.span_count;
          // An answer to each of two texts; a text goes on; and one more leaf where the prompt's last row was run long ago.
          grow(&c, 0, say(&c, before, 4, V));
          grow(&c, 1, say(&c, say(&c, before + 1, 0, V), turn, V));
          grow(&c, 2, before + 2);
          grow(&c, 3, turn == 1 ? before + 3 : turn == 2 ? 3 : 0);
          CHECK(rows_of(&c.tree) > limits.rows);
          CHECK(fr_generate(&model, &work, &c.tree, &sampling, c.leaves, 4) == FR_OK);
          check_fresh(&model, fixture_kernels[k], &c, &sampling, 4, 0);
        }
        // More forks over the same prompt, as often as wanted: what is not kept is free again, and bits are those of a fresh call.
        sampling.temperature = 1.0f;
        c.tree.span_count = 4;
        for (int more = 0; more < (test_brief() ? 5 : 12); more++) {  // five have kept 1, 2, 3 and 4 spans
          sampling.cached_spans = more ? more % 4 + 1 : 4;
          c.texts = 0;
          for (int i = 0; i < 4; i++) grow(&c, i, (i + more) % 4);
          CHECK(fr_generate(&model, &work, &c.tree, &sampling, c.leaves, 4) == FR_OK);
          check_fresh(&model, fixture_kernels[k], &c, &sampling, 4, 1);
        }
        // Nothing but the prompt at first, then leaves; then nothing again.
        sampling.cached_spans = 0;
        CHECK(fr_generate(&model, &work, &c.tree, &sampling, NULL, 0) == FR_OK);
        sampling.cached_spans = 4;
        CHECK(fr_generate(&model, &work, &c.tree, &sampling, c.leaves, 4) == FR_OK);
        check_fresh(&model, fixture_kernels[k], &c, &sampling, 4, 1);
        sampling.cached_spans = 0;
        c.tree.span_count = 0;
        CHECK(fr_generate(&model, &work, &c.tree, &sampling, NULL, 0) == FR_OK);
      }
      free(own);
    }
    free(memory);
  }
}

// What is not what the last call left, or does not fit, is refused, nothing changes, and the right call still works.
static void turns_refused(void)
{
  static chat c, kept;
  static const char *const names[] = { "'rows'", "'spans'", "'leaves'", "'depth'", "'cache_rows'" };
  const fr_config config = fixture_config(3);
  void *memory, *other_memory, *own;
  fr_model model = fixture_model(&config, &memory), other = fixture_model(&config, &other_memory);
  fr_sampling sampling;
  fr_limits exact;
  fr_work work;
  fr_token changed[LONG + 1] = { 0 };
  fr_int cached;
  fixture_randomise(&model);
  fixture_randomise(&other);
  memset(&sampling, 0, sizeof sampling);
  memset(&exact, 0, sizeof exact);
  sampling.max_tokens = TURN;
  begin_chat(&c, config.vocab);
  // What both calls need: of the second the last row of 3 leaves, and 2 + 30 new ones.
  exact.rows = 3 + 32;
  exact.spans = 9 + 2;
  exact.leaves = 3;
  exact.depth = LONG + 2 + TURN + 30 + TURN;
  exact.cache_rows = LONG + 3 + 3 * TURN + 32 + 2 * TURN;
  for (int which = -1; which < 5; which++) {
    fr_limits tight = exact;
    chat d;
    switch (which) {
      case -1: break;
      case 0: tight.rows--; break;
      case 1: tight.spans--; break;
      case 2: tight.leaves--; break;
      case 3: tight.depth--; break;
      default: tight.cache_rows--; break;
    }
    work = fixture_work(&config, &tight, &own);
    memcpy(&d, &c, sizeof d);
    for (int i = 0; i < 3; i++) grow(&d, i, i + 1);
    if (which == 2) {
      CHECK(fr_generate(&model, &work, &d.tree, &sampling, d.leaves, 3) == FR_LIMIT && strstr(work.reason.text, names[which]));
      free(own);
      continue;
    }
    d.tree.spans = d.spans;
    CHECK(fr_generate(&model, &work, &d.tree, &sampling, d.leaves, 3) == FR_OK);
    keep(&d, 3);
    sampling.cached_spans = cached = d.tree.span_count;
    grow(&d, 0, say(&d, 5, 30, config.vocab));
    grow(&d, 1, say(&d, 4, 2, config.vocab));
    if (which >= 0) {
      memcpy(&kept, &d, sizeof d);
      if (!CHECK(fr_generate(&model, &work, &d.tree, &sampling, d.leaves, 2) == FR_LIMIT && strstr(work.reason.text, names[which])))
        fprintf(stderr, "  %s\n", work.reason.text);
      CHECK(!memcmp(&d, &kept, sizeof d));
      // Less of it fits.
      d.spans[cached].tokens.count--;
      CHECK(fr_generate(&model, &work, &d.tree, &sampling, d.leaves, which == 1 ? 1 : 2) == FR_OK);
      check_fresh(&model, work.kernel, &d, &sampling, which == 1 ? 1 : 2, 0);
      d.spans[cached].tokens.count++;
    }
    for (int wrong = 0; which < 0 && wrong < 14; wrong++) {
      fr_sampling odd = sampling;
      fr_status want = FR_INVALID, status;
      fr_model *by = &model;
      chat e;
      memcpy(&e, &d, sizeof e);
      e.tree.spans = e.spans;
      memcpy(changed, e.spans[0].tokens.ids, LONG * sizeof(fr_token));
      changed[LONG] = 1;
      switch (wrong) {
        case 0: odd.cached_spans = cached + 1; break;
        case 1: odd.cached_spans = -1; break;
        case 2: changed[LONG / 2] = (changed[LONG / 2] + 1) % (fr_token)config.vocab; e.spans[0].tokens.ids = changed; break;
        case 3: e.spans[0].tokens.count--; break;
        case 4: e.spans[0].tokens.ids = changed; e.spans[0].tokens.count++; break;
        case 5: e.spans[4].tokens.count--; break;
        case 6: e.spans[4].tokens.ids = changed; e.spans[4].tokens.count++; break;
        case 7: e.spans[5].parent = 1; break;
        case 8: e.spans[2].tokens.ids = NULL; break;
        case 9: by = &other; break;
        case 10: e.spans[3].tokens.ids = changed; e.spans[3].tokens.count = 1; break;  // it was empty
        case 11: changed[3] = (fr_token)config.vocab; e.spans[cached].tokens.ids = changed; e.spans[cached].tokens.count = 5; want = FR_RANGE; break;
        case 12: e.spans[cached].parent = 9; want = FR_RANGE; break;
        default: e.tree.span_count = cached - 1; break;  // fewer spans than are told
      }
      memcpy(&kept, &e, sizeof e);
      status = fr_generate(by, &work, &e.tree, &odd, e.leaves, 2);
      if (!CHECK(status == want && work.reason.text[0])) fprintf(stderr, "  case %d: %s %s\n", wrong, fr_status_text(status), work.reason.text);
      CHECK(!memcmp(&e, &kept, sizeof e));
    }
    if (which < 0) {
      fr_tree nothing;
      fr_span bad;
      memset(&nothing, 0, sizeof nothing);
      bad.parent = -1;
      bad.tokens.ids = changed;  // one of them is not below the vocabulary
      bad.tokens.count = 5;
      changed[3] = (fr_token)config.vocab;
      nothing.spans = &bad;
      nothing.span_count = 1;
      CHECK(fr_forward(&model, &work, &nothing, NULL, 0) == FR_RANGE);  // refused: the cache is as it was
      CHECK(fr_generate(&model, &work, &d.tree, &sampling, d.leaves, 2) == FR_OK);
      check_fresh(&model, work.kernel, &d, &sampling, 2, 0);
      changed[3] = 0;
      CHECK(fr_forward(&model, &work, &nothing, NULL, 0) == FR_OK);
      memcpy(&kept, &d, sizeof d);
      CHECK(fr_generate(&model, &work, &d.tree, &sampling, d.leaves, 2) == FR_INVALID);
      CHECK(!memcmp(&d, &kept, sizeof d));
      CHECK(fr_logits(&model, &work, &cached, 0, NULL, NULL) == FR_OK);  // and that run is there still
      {  // the same spans, but run without the cache
        fr_sampling four = sampling;
        fr_tree first = d.tree;
        four.cached_spans = first.span_count = 4;
        sampling.cached_spans = 0;
        CHECK(fr_generate(&model, &work, &first, &sampling, NULL, 0) == FR_OK);
        CHECK(fr_forward(&model, &work, &first, NULL, 0) == FR_OK);
        CHECK(fr_generate(&model, &work, &first, &four, NULL, 0) == FR_INVALID);
        // Leaves on spans of that call need a row each, beside the new ones.
        CHECK(fr_generate(&model, &work, &first, &sampling, NULL, 0) == FR_OK);
        d.tree.span_count = 5;
        d.spans[4].parent = 0;
        d.spans[4].tokens.ids = d.ids;
        d.spans[4].tokens.count = exact.rows - 1;
        for (int i = 0; i < 3; i++) d.leaves[i].span = i ? 0 : 4;
        CHECK(fr_generate(&model, &work, &d.tree, &four, d.leaves, 3) == FR_LIMIT && strstr(work.reason.text, names[0]));
        d.spans[4].tokens.count--;
        CHECK(fr_generate(&model, &work, &d.tree, &four, d.leaves, 3) == FR_OK);
        check_fresh(&model, work.kernel, &d, &four, 3, 1);
      }
    }
    sampling.cached_spans = 0;
    free(own);
  }
  free(memory); free(other_memory);
}

// ---- fr_sample: frequencies against probabilities worked out the long way
enum { MOST_VOCAB = 300 };

static void expected(const float *logits, fr_int V, const fr_sampling *sampling, double *p)
{
  fr_int order[MOST_VOCAB];
  double sum = 0.0, max = -HUGE_VAL, kept = 0.0;
  fr_int keep = sampling->top_k > 0 && sampling->top_k < V ? sampling->top_k : V, last;
  for (fr_int v = 0; v < V; v++) { order[v] = v; max = fmax(max, (double)logits[v]); }
  for (fr_int a = 1; a < V; a++)  // by falling logit, then by rising id
    for (fr_int b = a; b > 0 && logits[order[b]] > logits[order[b - 1]]; b--) {
      const fr_int swap = order[b];
      order[b] = order[b - 1];
      order[b - 1] = swap;
    }
  for (fr_int v = 0; v < V; v++) p[v] = 0.0;
  for (fr_int i = 0; i < keep; i++)
    sum += p[order[i]] = exp(((double)logits[order[i]] - max) / (double)sampling->temperature);
  last = keep;
  if (sampling->top_p > 0.0f && sampling->top_p < 1.0f)
    for (last = 0; last < keep && kept < (double)sampling->top_p * sum; last++) kept += p[order[last]];
  for (fr_int i = last; i < V; i++) p[order[i]] = 0.0;
  sum = 0.0;
  for (fr_int v = 0; v < V; v++) sum += p[v];
  for (fr_int v = 0; v < V; v++) p[v] /= sum;
}

static void sampling_distribution(void)
{
  const int draws = test_times(40000);
  static const struct { float temperature, top_p; fr_int top_k, V; } ways[] = {
    { 1.0f, 0.0f, 0, 11 },  { 0.7f, 1.0f, 0, 11 },  { 2.0f, 0.0f, 4, 11 },   { 1.0f, 0.6f, 0, 11 },
    { 1.0f, 0.95f, 0, 37 }, { 1.0f, 0.7f, 6, 37 },  { 1.5f, 0.0f, 100, 20 }, { 1.0f, 0.0f, 1, 11 },
    { 1.0f, 1e-6f, 0, 11 }, { 1e-4f, 0.0f, 0, 11 }, { 1.0f, 0.5f, 1, 11 },   { 1.0f, 0.0f, 0, 1 },
    { 1.0f, 0.0f, 0, 64 },  { 1.0f, 0.0f, 0, 65 },  { 1.0f, 0.0f, 0, 130 },  { 0.8f, 0.0f, 0, 300 }  // runs of 1, 2, 3, 5
  };
  const fr__kernels *row = fr__kernel_row(0);
  for (fr_int i = 0; !row->available(); i++) row = fr__kernel_row(i + 1);
  for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
    for (int kind = 0; kind < 3; kind++) {  // spread, with ties, with impossible tokens
      const fr_int V = ways[w].V;
      float logits[MOST_VOCAB], kept[MOST_VOCAB];
      double p[MOST_VOCAB], chi = 0.0;
      fr_int hits[MOST_VOCAB] = { 0 }, index[2 * MOST_VOCAB], free_cells = 0, misses = 0;
      fr_random random = fr_random_stream(w, (uint64_t)kind, 3);
      fr_sampling sampling;
      memset(&sampling, 0, sizeof sampling);
      sampling.temperature = ways[w].temperature;
      sampling.top_p = ways[w].top_p;
      sampling.top_k = ways[w].top_k;
      for (fr_int v = 0; v < V; v++) {
        logits[v] = kind == 1 ? (float)test_below_int(3) : (float)(1.5 * test_normal());
        if (kind == 2 && v % 3 == 1) logits[v] = -HUGE_VALF;
      }
      memcpy(kept, logits, (size_t)V * sizeof(float));
      expected(logits, V, &sampling, p);
      for (int i = 0; i < draws; i++) {  // fr_sample asks the processor what it has each time, which a virtual machine takes long for
        const fr_token token = i % 64 ? fr__draw(row, logits, V, &sampling, fr_random_uniform(&random), (float *)(void *)(index + V),
                                                 index)
                                      : fr_sample(logits, V, &sampling, &random, index);
        if (CHECK(token >= 0 && token < V)) hits[token]++;
      }
      CHECK(!memcmp(kept, logits, (size_t)V * sizeof(float)));
      for (fr_int v = 0; v < V; v++) {
        if (p[v] <= 0.0) misses += hits[v];
        else if (p[v] * draws >= 5.0) {
          chi += pow((double)hits[v] - p[v] * draws, 2.0) / (p[v] * draws);
          free_cells++;
        }
      }
      CHECK(misses == 0);
      CHECK_BELOW(chi, (double)free_cells + 8.0 * sqrt(2.0 * (double)free_cells) + 8.0);
    }
  {
    float logits[5] = { 1.0f, 3.0f, -2.0f, 3.0f, 0.0f };
    fr_int index[2 * 5];
    fr_random random = fr_random_stream(1, 1, 1), same = random;
    fr_sampling greedy;
    memset(&greedy, 0, sizeof greedy);
    CHECK(fr_sample(logits, 5, &greedy, &random, index) == 1);  // a tie goes to the lowest id
    CHECK(!memcmp(&random, &same, sizeof random));              // and greedy draws nothing
    greedy.temperature = 1.0f;
    fr_sample(logits, 5, &greedy, &random, index);
    fr_random_bits(&same);
    CHECK(!memcmp(&random, &same, sizeof random));              // a sample draws once
    // Next to nothing divides nothing: the likeliest, of two alike either one; and a draw depends on the numbers given alone.
    for (int way = 0; way < 8; way++) {
      static const float tiny[4] = { 1e-38f, 1e-45f, 1e-20f, 3e-39f };
      int seen[2] = { 0, 0 };
      greedy.temperature = tiny[way % 4];
      greedy.top_k = way < 4 ? 0 : 3;
      for (int i = 0; i < 64; i++) {
        const fr_token token = fr_sample(logits, 5, &greedy, &random, index);
        if (CHECK(token == 1 || token == 3)) seen[token == 3]++;
      }
      CHECK(seen[0] > 8 && seen[1] > 8);
      logits[3] = nextafterf(3.0f, 0.0f);
      if (greedy.temperature < 1e-30f) for (int i = 0; i < 64; i++) CHECK(fr_sample(logits, 5, &greedy, &random, index) == 1);
      logits[3] = 3.0f;
    }
    for (int way = 0; way < 60; way++) {
      float once[40], twice[40];
      fr_int scratch[2][80];
      greedy.temperature = 0.2f + 0.1f * (float)(way % 12);
      greedy.top_k = way % 3 ? 0 : 7;
      greedy.top_p = way % 5 ? 0.0f : 0.8f;
      for (int v = 0; v < 40; v++) once[v] = twice[v] = (float)test_normal();
      memset(scratch[0], 0xFF, sizeof scratch[0]);
      memset(scratch[1], 0x33, sizeof scratch[1]);
      same = random;
      CHECK(fr_sample(once, 40, &greedy, &random, scratch[0]) == fr_sample(twice, 40, &greedy, &same, scratch[1]));
      CHECK(!memcmp(&random, &same, sizeof random));
    }
    for (int way = 0; way < 6; way++) {  // an infinite logit wins
      float infinite[5] = { 1.0f, 3.0f, HUGE_VALF, 3.0f, HUGE_VALF };
      greedy.temperature = way % 2 ? 0.8f : 1e-39f;
      greedy.top_k = way == 2 ? 3 : 0;
      greedy.top_p = way > 3 ? 0.5f : 0.0f;
      CHECK(fr_sample(infinite, 5, &greedy, &random, index) == 2);
    }
    // A model that has gone bad: any token, but one of the vocabulary, and no hang.
    for (int bad = 0; bad < 5; bad++) {
      logits[bad] = (float)NAN;
      for (int way = 0; way < 6; way++) {
        fr_token token;
        greedy.temperature = way ? 0.8f : 0.0f;
        greedy.top_k = way == 2 || way == 4 ? 3 : 0;
        greedy.top_p = way == 3 || way == 4 ? 0.5f : 0.0f;
        token = fr_sample(logits, 5, &greedy, &random, index);
        CHECK(token >= 0 && token < 5);
      }
    }
  }
}

// ---- limits and errors
static void refused(void)
{
  static scene s, kept;
  static const char *const names[] = { "'rows'", "'spans'", "'leaves'", "'depth'", "'cache_rows'" };
  const fr_config config = fixture_config(1);
  void *memory, *own;
  fr_model model = fixture_model(&config, &memory);
  fr_sampling sampling;
  fr_limits exact;
  fr_work work;
  fixture_randomise(&model);
  make_scene(&s, config.vocab);
  memset(&sampling, 0, sizeof sampling);
  sampling.max_tokens = TEXT;
  sampling.temperature = 1.0f;
  for (int i = 0; i < LEAVES; i++) {
    s.leaves[i].count = 3;
    s.leaves[i].stop = 9;
    s.leaves[i].logp = -4.5;
    s.text[i][0] = 30;
  }
  memcpy(&kept, &s, sizeof s);
  CHECK(fr_generate_limits(&s.tree, &sampling, LEAVES, &exact) == FR_OK);
  CHECK(exact.rows == 14 && exact.leaves == LEAVES && exact.depth == 9 + TEXT &&
        exact.cache_rows == 14 + LEAVES * TEXT);
  for (int which = 0; which < 5; which++) {
    fr_limits tight = exact;
    switch (which) {
      case 0: tight.rows--; break;
      case 1: tight.spans--; break;
      case 2: tight.leaves--; break;
      case 3: tight.depth--; break;
      default: tight.cache_rows--; break;
    }
    work = fixture_work(&config, &tight, &own);
    CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_LIMIT);
    if (!CHECK(strstr(work.reason.text, names[which]) != NULL))
      fprintf(stderr, "  the reason was: %s\n", work.reason.text);
    CHECK(!memcmp(&s, &kept, sizeof s));
    free(own);
  }
  work = fixture_work(&config, &exact, &own);
  for (int which = 0; which < 14; which++) {
    fr_sampling odd = sampling;
    fr_status want = FR_INVALID;
    switch (which) {
      case 0: s.leaves[4].span = 8; want = FR_RANGE; break;
      case 1: s.leaves[4].span = -1; want = FR_RANGE; break;
      case 2: s.leaves[4].tokens = NULL; break;
      case 3: odd.temperature = -1.0f; break;
      case 4: odd.temperature = (float)NAN; break;
      case 5: odd.temperature = HUGE_VALF; break;
      case 6: odd.top_p = 1.5f; break;
      case 7: odd.top_p = (float)NAN; break;
      case 8: odd.top_k = -1; break;
      case 9: odd.max_tokens = -1; break;
      case 10: odd.stop_count = 1; break;  // at no address
      case 11: s.ids[2] = 37; want = FR_RANGE; break;
      case 12: s.spans[1].tokens.count = 0; s.spans[5].tokens.count = 0; break;  // nothing to continue
      default: s.spans[3].parent = 5; want = FR_RANGE; break;
    }
    {
      static scene before;
      fr_status status;
      memcpy(&before, &s, sizeof s);
      status = fr_generate(&model, &work, &s.tree, &odd, s.leaves, LEAVES);
      if (!CHECK(status == want && work.reason.text[0]))
        fprintf(stderr, "  case %d: %s\n", which, fr_status_text(status));
      CHECK(!memcmp(&s, &before, sizeof s));
    }
    memcpy(&s, &kept, sizeof s);
  }
  CHECK(fr_generate(&model, &work, NULL, &sampling, s.leaves, 1) == FR_INVALID);
  CHECK(fr_generate(&model, &work, &s.tree, NULL, s.leaves, 1) == FR_INVALID);
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, NULL, 1) == FR_INVALID);
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, -1) == FR_INVALID);
  CHECK(!memcmp(&s, &kept, sizeof s));
  CHECK(fr_generate(&model, &work, &s.tree, &sampling, s.leaves, LEAVES) == FR_OK);
  free(memory); free(own);
}

int main(void)
{
  cached();
  beside();
  crowd();
  stops();
  told();
  turns();
  turns_refused();
  sampling_distribution();
  refused();
  return test_done("generate");
}
