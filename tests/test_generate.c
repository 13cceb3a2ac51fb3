// Decoding: with the cache as without it, alone as in a batch; sampling against plain probabilities; stops and limits.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "fixture.h"

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
            CHECK(fr_logits(&model, &plain, rows, length, logits) == FR_OK);
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
  static const struct { float temperature, top_p; fr_int top_k; } ways[] = {
    { 0.0f, 0.0f, 0 }, { 0.9f, 0.0f, 0 }, { 1.3f, 0.8f, 0 }, { 1.0f, 0.0f, 5 }, { 1.1f, 0.9f, 11 } };
  for (int which = 1; which < FIXTURE_CONFIGS; which += 2) {
    const fr_config config = fixture_config(which);
    void *memory;
    fr_model model = fixture_model(&config, &memory);
    fixture_randomise(&model);
    make_scene(&s, config.vocab);
    for (int k = 0; k < FIXTURE_KERNELS; k++)
      for (int w = 0; w < 5; w++) {
        fr_sampling sampling;
        fr_work work;
        void *own;
        fr_int differ = 0;
        memset(&sampling, 0, sizeof sampling);
        sampling.max_tokens = TEXT;
        sampling.temperature = ways[w].temperature;
        sampling.top_p = ways[w].top_p;
        sampling.top_k = ways[w].top_k;
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
  enum { DRAWS = 40000 };
  static const struct { float temperature, top_p; fr_int top_k, V; } ways[] = {
    { 1.0f, 0.0f, 0, 11 },  { 0.7f, 1.0f, 0, 11 },  { 2.0f, 0.0f, 4, 11 },   { 1.0f, 0.6f, 0, 11 },
    { 1.0f, 0.95f, 0, 37 }, { 1.0f, 0.7f, 6, 37 },  { 1.5f, 0.0f, 100, 20 }, { 1.0f, 0.0f, 1, 11 },
    { 1.0f, 1e-6f, 0, 11 }, { 1e-4f, 0.0f, 0, 11 }, { 1.0f, 0.5f, 1, 11 },   { 1.0f, 0.0f, 0, 1 },
    { 1.0f, 0.0f, 0, 64 },  { 1.0f, 0.0f, 0, 65 },  { 1.0f, 0.0f, 0, 130 },  { 0.8f, 0.0f, 0, 300 }  // runs of 1, 2, 3, 5
  };
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
      for (int i = 0; i < DRAWS; i++) {
        const fr_token token = fr_sample(logits, V, &sampling, &random, index);
        if (CHECK(token >= 0 && token < V)) hits[token]++;
      }
      CHECK(!memcmp(kept, logits, (size_t)V * sizeof(float)));
      for (fr_int v = 0; v < V; v++) {
        if (p[v] <= 0.0) misses += hits[v];
        else if (p[v] * DRAWS >= 5.0) {
          chi += pow((double)hits[v] - p[v] * DRAWS, 2.0) / (p[v] * DRAWS);
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
  sampling_distribution();
  refused();
  return test_done("generate");
}
