// Sampling: every uniform number against sets written down from their definitions; whole paths with a repetition penalty; and what
// transformers keeps and generates (tests/sampling_hf.py; other cases of it: test_sampling FILE).
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "hf.h"

enum { MOST = 70, GRID = 1 << 24 };  // uniform numbers are multiples of 2^-24

// p of each token. It is kept if fewer than top_k are ahead of it, by logit and then by the lower id; of those, if what is ahead weighs
// less than top_p of them all; of those, if it weighs at least min_p times what the heaviest does.
static void by_definition(const double *logits, int V, const fr_sampling *o, double *p)
{
  double mass = 0.0, most = 0.0, peak = -HUGE_VAL;
  int kept[MOST];
  double ahead[MOST];
  for (int v = 0; v < V; v++) peak = fmax(peak, logits[v]);
  for (int v = 0; v < V; v++) {
    int before = 0;
    for (int u = 0; u < V; u++) before += logits[u] > logits[v] || (logits[u] == logits[v] && u < v);
    kept[v] = o->top_k == 0 || before < o->top_k;
    p[v] = exp((logits[v] - peak) / (double)o->temperature);
    if (kept[v]) mass += p[v];
  }
  for (int v = 0; v < V; v++) {
    ahead[v] = 0.0;
    for (int u = 0; u < V; u++) if (kept[u] && (logits[u] > logits[v] || (logits[u] == logits[v] && u < v))) ahead[v] += p[u];
  }
  for (int v = 0; v < V; v++) if (o->top_p > 0.0f && o->top_p < 1.0f && ahead[v] >= (double)o->top_p * mass) kept[v] = 0;
  for (int v = 0; v < V; v++) if (kept[v]) most = fmax(most, p[v]);
  for (int v = 0; v < V; v++) if (p[v] < (double)o->min_p * most) kept[v] = 0;
  mass = 0.0;
  for (int v = 0; v < V; v++) if (kept[v]) mass += p[v];
  for (int v = 0; v < V; v++) p[v] = kept[v] ? p[v] / mass : 0.0;
}

// The token that p gives for a uniform number: along the ids, or from the likeliest on if top_k or top_p cut. -1: too close to a border.
static int by_order(const double *p, const double *logits, int V, const fr_sampling *o, double uniform)
{
  const int sorted = (o->top_k > 0 && o->top_k < V) || (o->top_p > 0.0f && o->top_p < 1.0f);
  for (int v = 0; v < V; v++) {
    double before = 0.0;
    for (int u = 0; u < V; u++)
      if (sorted ? logits[u] > logits[v] || (logits[u] == logits[v] && u < v) : u < v) before += p[u];
    if (p[v] > 0.0 && uniform > before + 1e-5 && uniform < before + p[v] - 1e-5) return v;
  }
  return -1;
}

// ---- all uniform numbers: how many draw each token. Tokens come in one order, so between two equal ones lie no others.
typedef struct drawer { const fr__kernels *row; const float *logits; fr_int V; const fr_sampling *o; int *hits; } drawer;

static int drawn(const drawer *d, int at)
{
  static float odds[MOST];
  static fr_int index[MOST];
  return (int)fr__draw(d->row, d->logits, d->V, d->o, (float)at / (float)GRID, odds, index);
}

static void count_draws(const drawer *d, int from, int to, int first, int last)
{
  if (first == last) d->hits[first] += to - from + 1;
  else if (to - from == 1) { d->hits[first]++; d->hits[last]++; }
  else {
    const int middle = from + (to - from) / 2, token = drawn(d, middle);
    count_draws(d, from, middle, first, token);
    d->hits[token]--;
    count_draws(d, middle, to, token, last);
  }
}

static void all_uniforms(void)
{
  int cut = 0;
  for (fr_int row = 0; fr__kernel_row(row); row++)
    for (int round = 0; round < test_times(1500); round++) {
      static const int sizes[6] = { 1, 2, 5, 16, 40, MOST };
      const int V = sizes[round % 6], kind = round / 6 % 4;
      float logits[MOST];
      double wide[MOST], p[MOST];
      int hits[MOST] = { 0 };
      fr_sampling o;
      drawer d = { fr__kernel_row(row), logits, V, &o, hits };
      if (!d.row->available()) break;
      memset(&o, 0, sizeof o);
      o.temperature = round % 5 ? 1.0f : (float)test_uniform(0.2, 2.0);
      if (round % 3 == 1) o.top_k = test_below_int(V + 2);
      if (round % 7 > 3) o.top_p = (float)test_uniform(0.05, 1.0);
      o.min_p = kind == 0 ? 0.0f : kind == 1 ? 1.0f : (float)test_uniform(0.0, kind == 2 ? 0.1 : 1.0);
      for (int v = 0; v < V; v++) {
        const double x = 1.5 * test_normal();
        logits[v] = (float)(round % 2 ? floor(2.0 * x) / 2.0 : x);  // many are equal
        if (round % 11 == 10 && v % 3 == 1) logits[v] = -HUGE_VALF;
        wide[v] = (double)logits[v];
      }
      by_definition(wide, V, &o, p);
      count_draws(&d, 0, GRID - 1, drawn(&d, 0), drawn(&d, GRID - 1));
      for (int v = 0; v < V; v++) {
        CHECK(p[v] > 0.0 ? hits[v] > 0 || p[v] < 2.0 / GRID : hits[v] == 0);  // p below the grid may meet none of its numbers
        CHECK_BELOW(fabs((double)hits[v] / GRID - p[v]), 2e-6);
        cut += p[v] <= 0.0 && kind > 0 && o.top_k == 0 && !(o.top_p > 0.0f);
      }
    }
  CHECK(cut > 500);
}

// ---- transformers' cases: a model whose logits are the case's whatever came before, and leaves that draw from them
static double read_number(char **at)
{
  char *from = *at;
  const double value = strtod(from, at);
  if (*at == from) { fprintf(stderr, "tests/data/sampling: the file ends too early\n"); exit(2); }
  return value;
}

static void cases(const char *path)
{
  enum { DRAWS = 64 };
  ptrdiff_t size;
  char *text = (char *)store_file(path, &size), *at = text;
  long count = 0, checked = 0, narrowed = 0;
  for (; at[strspn(at, " \n")]; count++) {
    static fr_leaf leaf[DRAWS];
    static fr_token token[DRAWS];
    const fr_int V = (fr_int)read_number(&at);
    fr_config c;
    fr_model model;
    fr_work work;
    fr_limits limits;
    fr_sampling o;
    fr_span spans[3];
    fr_tree tree = { spans, 3, NULL, 0 };
    fr_token ids[MOST];
    double logits[MOST], now[MOST], p[MOST] = { 0.0 }, sum = 0.0;
    int P, kept, seen[MOST] = { 0 };
    void *memory, *own;
    if (!CHECK(V > 1 && V <= MOST)) break;
    memset(&o, 0, sizeof o);
    memset(&c, 0, sizeof c);
    o.temperature = (float)read_number(&at);
    o.top_k = (fr_int)read_number(&at);
    o.top_p = (float)read_number(&at);
    o.min_p = (float)read_number(&at);
    o.repeat_penalty = (float)read_number(&at);
    P = (int)read_number(&at);
    kept = (int)read_number(&at);
    o.max_tokens = 1;
    o.seed = (uint64_t)count;
    for (int v = 0; v < V; v++) sum += exp(logits[v] = read_number(&at) / 64.0);
    for (int t = 0; t < P; t++) { ids[t] = (fr_token)read_number(&at); seen[ids[t]] = 1; }
    for (int i = 0; i < kept; i++) { const int v = (int)read_number(&at); p[v] = read_number(&at); }
    for (int v = 0; v < V; v++)
      now[v] = !seen[v] ? logits[v] : logits[v] < 0.0 ? logits[v] * (double)o.repeat_penalty : logits[v] / (double)o.repeat_penalty;
    narrowed += kept < V && !(o.top_p < 1.0f) && o.top_k == 0;
    c.layers = c.heads = c.kv_heads = 1;
    c.dim = c.head_dim = c.ffn = 8;
    c.vocab = V;
    c.norm_eps = 1e-6f;
    model = fixture_model(&c, &memory);
    memset(model.params, 0, (size_t)model.count * sizeof(float));
    for (fr_int v = 0; v < V; v++) {  // the residual stream is 1, 0, 0 ..; its norm makes it sqrt(8), 0, 0 ..
      model.params[fixture_tensor(&model, "tok_emb").offset + v * c.dim] = 1.0f;
      model.params[fixture_tensor(&model, "head").offset + v * c.dim] = (float)(logits[v] * sqrt(1.0 / 8.0 + 1e-6));
    }
    model.params[fixture_tensor(&model, "norm_final").offset] = 1.0f;
    for (int s = 0; s < 3; s++) {  // the path in two spans and an empty one
      spans[s].parent = s - 1;
      spans[s].tokens.ids = ids + (s ? P / 2 : 0);
      spans[s].tokens.count = s == 0 ? P / 2 : s == 1 ? P - P / 2 : 0;
    }
    memset(leaf, 0, sizeof leaf);
    for (int i = 0; i < DRAWS; i++) { leaf[i].span = 2; leaf[i].leaf = (uint64_t)i; leaf[i].tokens = &token[i]; }
    CHECK(fr_generate_limits(&tree, &o, DRAWS, &limits) == FR_OK);
    limits.tasks = 1 + count % 3;
    work = fixture_work(&c, &limits, &own);
    CHECK(fr_generate(&model, &work, &tree, &o, leaf, DRAWS) == FR_OK);
    for (int i = 0; i < DRAWS; i++) {
      fr_random random = fr_random_stream(o.seed, 0, (uint64_t)i);
      const int want = by_order(p, now, (int)V, &o, (double)fr_random_uniform(&random));
      CHECK(p[token[i]] > 0.0 && (want < 0 || token[i] == want));
      CHECK_BELOW(fabs(leaf[i].logp - (logits[token[i]] - log(sum))), 1e-5);  // of the raw logits
      checked += want >= 0;
    }
    free(memory); free(own);
  }
  free(text);
  printf("%s: %ld cases\n", path, count);
  CHECK(count >= 20 && checked > count * DRAWS * 9 / 10 && narrowed > count / 10);
}

// ---- transformers' greedy texts
static void greedy(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/sampling/greedy.txt", &size), *at = text, name[40], path[100];
  int lines = 0, used;
  for (; sscanf(at, "%39s%n", name, &used) == 1; lines++) {
    void *memory, *own;
    fr_config config;
    fr_model model;
    fr_work work;
    fr_limits limits;
    fr_sampling o;
    fr_span span = { -1, { NULL, 0 } };
    fr_tree tree = { &span, 1, NULL, 0 };
    fr_token ids[MOST], token[MOST];
    fr_leaf leaf;
    snprintf(path, sizeof path, "tests/data/model/%s", name);
    config = hf_config(path);
    model = fixture_model(&config, &memory);
    hf_load(&model, path);
    memset(&o, 0, sizeof o);
    memset(&leaf, 0, sizeof leaf);
    at += used;
    o.repeat_penalty = (float)read_number(&at);
    span.tokens.count = (fr_int)read_number(&at);
    span.tokens.ids = ids;
    for (fr_int t = 0; t < span.tokens.count; t++) ids[t] = (fr_token)read_number(&at);
    o.max_tokens = (fr_int)read_number(&at);
    leaf.tokens = token;
    CHECK(fr_generate_limits(&tree, &o, 1, &limits) == FR_OK);
    work = fixture_work(&config, &limits, &own);
    CHECK(fr_generate(&model, &work, &tree, &o, &leaf, 1) == FR_OK && leaf.count == o.max_tokens);
    for (fr_int t = 0; t < leaf.count; t++) CHECK(token[t] == (fr_token)read_number(&at));
    free(memory); free(own);
  }
  free(text);
  CHECK(lines == 3);
}

// ---- whole paths: each token of each leaf from the logits of its path run anew, whatever tasks, batch and cached spans there are
static void paths(void)
{
  enum { LEAVES = 5, TEXT = 9, SPANS = 6 };
  static const fr_int parent[SPANS] = { -1, 0, 0, 1, -1, 2 }, count[SPANS] = { 5, 0, 3, 4, 2, 1 }, at[LEAVES] = { 3, 5, 1, 4, 3 };
  long known = 0, turned = 0;
  for (int which = 0; which < FIXTURE_CONFIGS; which++)
    for (int round = 0; round < 4; round++) {
      const fr_config config = fixture_config(which);
      const int V = (int)config.vocab;
      fr_token ids[20], text[2][LEAVES][TEXT];
      fr_span spans[SPANS + LEAVES];
      fr_tree tree = { spans, SPANS, NULL, 0 };
      fr_leaf leaf[LEAVES];
      fr_limits limits, whole;
      fr_sampling o;
      fr_work work, plain;
      void *memory, *own, *apart;
      fr_model model = fixture_model(&config, &memory);
      int used = 0;
      if (!CHECK(V <= MOST)) return;
      fixture_randomise(&model);
      for (int i = 0; i < 20; i++) ids[i] = (fr_token)test_below_int(V);
      for (int s = 0; s < SPANS; s++) {
        spans[s].parent = parent[s];
        spans[s].tokens.ids = ids + used;
        used += (int)(spans[s].tokens.count = count[s]);
      }
      memset(&o, 0, sizeof o);
      o.repeat_penalty = round == 3 ? 0.6f : 1.6f;
      o.temperature = round ? 0.8f : 0.0f;
      o.top_k = round == 2 ? 7 : 0;
      o.min_p = round > 1 ? 0.05f : 0.0f;
      o.max_tokens = TEXT;
      o.seed = (uint64_t)round;
      CHECK(fr_generate_limits(&tree, &o, LEAVES, &limits) == FR_OK);
      limits.cache_rows *= 3;
      limits.depth += TEXT;
      limits.spans += LEAVES;
      limits.tasks = 1 + (which + round) % 3;
      memset(&whole, 0, sizeof whole);
      whole.rows = whole.depth = limits.depth;
      whole.spans = 1;
      work = fixture_work(&config, &limits, &own);
      plain = fixture_work(&config, &whole, &apart);
      for (int turn = 0; turn < 2; turn++) {
        memset(leaf, 0, sizeof leaf);
        for (int i = 0; i < LEAVES; i++) {
          if (turn) {  // each leaf of before is a span now
            spans[SPANS + i].parent = at[i];
            spans[SPANS + i].tokens.ids = text[0][i];
            spans[SPANS + i].tokens.count = TEXT;
          }
          leaf[i].span = turn ? SPANS + i : at[i];
          leaf[i].leaf = (uint64_t)(i + 10 * turn);
          leaf[i].tokens = text[turn][i];
        }
        tree.span_count = o.cached_spans = turn ? SPANS + LEAVES : 0;
        if (!turn) tree.span_count = SPANS;
        CHECK(fr_generate(&model, &work, &tree, &o, leaf, LEAVES) == FR_OK);
        for (int i = 0; i < LEAVES; i++) {
          fr_token path[60];
          fr_int rows[60], length = 0, first;
          fr_span one = { -1, { path, 0 } };
          fr_tree line = { &one, 1, NULL, 0 };
          fr_random random = fr_random_stream(o.seed, 0, leaf[i].leaf);
          float *logits = fixture_zeros(60 * V);
          double logp = 0.0;
          fr_int chain[SPANS + LEAVES], links = 0;
          for (fr_int s = leaf[i].span; s >= 0; s = spans[s].parent) chain[links++] = s;
          while (links--)
            for (fr_int t = 0; t < spans[chain[links]].tokens.count; t++) path[length++] = spans[chain[links]].tokens.ids[t];
          first = length;
          for (int t = 0; t < TEXT; t++) path[length++] = text[turn][i][t];
          for (fr_int r = 0; r < length; r++) rows[r] = r;
          one.tokens.count = length;
          CHECK(fr_forward(&model, &plain, &line, NULL, 0) == FR_OK && fr_logits(&model, &plain, rows, length, logits, NULL) == FR_OK);
          for (int t = 0; t < TEXT; t++) {
            const float *row = logits + (first + t - 1) * V;
            double now[MOST], p[MOST], sum = 0.0, best = -HUGE_VAL;
            int want = -1, tops = 0, raw = 0;
            for (int v = 0; v < V; v++) {
              int seen = 0;
              for (fr_int k = 0; k < first + t; k++) seen |= path[k] == v;
              now[v] = (double)row[v];
              if (seen) now[v] = now[v] < 0.0 ? now[v] * (double)o.repeat_penalty : now[v] / (double)o.repeat_penalty;
              sum += exp((double)row[v]);
              best = fmax(best, now[v]);
              if (row[v] > row[raw]) raw = v;
            }
            if (round == 0) {
              for (int v = 0; v < V; v++) if (now[v] > best - 1e-4) { tops++; want = v; }
              if (tops > 1) want = -1;
              turned += want >= 0 && want != raw;
            } else {
              by_definition(now, V, &o, p);
              want = by_order(p, now, V, &o, (double)fr_random_uniform(&random));
            }
            known += want >= 0;
            CHECK(want < 0 || text[turn][i][t] == want);
            logp += (double)row[text[turn][i][t]] - log(sum);
          }
          CHECK_BELOW(fabs(leaf[i].logp - logp), 2e-5 * (1.0 + fabs(logp)));
          free(logits);
        }
      }
      o.cached_spans = 0;  // alone it is the same text, to the bit
      for (int i = 0; i < LEAVES; i++) {
        fr_token again[TEXT];
        fr_leaf alone = leaf[i];
        tree.span_count = SPANS;
        alone.span = at[i];
        alone.leaf = (uint64_t)i;
        alone.tokens = again;
        CHECK(fr_generate(&model, &work, &tree, &o, &alone, 1) == FR_OK && !memcmp(again, text[0][i], sizeof again));
      }
      free(memory); free(own); free(apart);
    }
  CHECK(known > 3000 && turned > 100);
}

int main(int argc, char **argv)
{
  if (argc > 1) { cases(argv[1]); return test_done("sampling"); }
  all_uniforms();
  cases("tests/data/sampling/cases.txt");
  greedy();
  paths();
  return test_done("sampling");
}
