// Diagnosis: margins against all assignments, information against tables worked by hand and against all deals, and the counts
// against a second bookkeeping.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "test.h"
#include "tiny.h"
#include <float.h>

// ---- margins
// All assignments of the shorter side; the least total and the least but one, which may be equal.
typedef struct two { double least, second; } two;

static void all_totals(const double *cost, fr_int rs, fr_int cs, fr_int rows, fr_int cols, fr_int row, unsigned taken, double sum, two *t)
{
  if (row == rows) {
    if (sum < t->least) { t->second = t->least; t->least = sum; }
    else if (sum < t->second) t->second = sum;
    return;
  }
  for (fr_int c = 0; c < cols; c++)
    if (!(taken >> c & 1)) all_totals(cost, rs, cs, rows, cols, row + 1, taken | 1u << c, sum + cost[row * rs + c * cs], t);
}

static fr_status margin_of(const double *cost, fr_int rs, fr_int cs, fr_int rows, fr_int cols, double *margin)
{
  fr_int bytes = 0;
  fr_status status = fr_assign_margin(NULL, 0, 0, rows, cols, NULL, NULL, 0, &bytes);
  char *memory;
  if (status) return status;
  memory = (char *)test_alloc((size_t)bytes + 1);
  status = fr_assign_margin(cost, rs, cs, rows, cols, margin, memory + 1, bytes, NULL);
  free(memory);
  return status;
}

static void margins(void)
{
  static const double simple[6] = { 0, 5, 5, 5, 0, 3 };  // 0 + 0; next best: row 1 to column 2
  int ties = 0;
  double margin = -1.0;
  CHECK(margin_of(simple, 3, 1, 2, 3, &margin) == FR_OK && margin == 3.0);
  for (int trial = 0; trial < 3000; trial++) {
    const fr_int rows = 1 + test_below_int(5), cols = 1 + test_below_int(6);
    const int turned = (int)test_below_int(2);
    const fr_int rs = turned ? 1 : cols + 1, cs = turned ? rows + 1 : 1;
    double cost[64];
    two t = { HUGE_VAL, HUGE_VAL };
    for (int i = 0; i < 64; i++)
      cost[i] = trial % 3 == 0 ? (double)test_below_int(6) : trial % 3 == 1 ? test_normal() : 1e6 + test_uniform(-1e-3, 1e-3);
    if (rows <= cols) all_totals(cost, rs, cs, rows, cols, 0, 0, 0.0, &t);
    else all_totals(cost, cs, rs, cols, rows, 0, 0, 0.0, &t);
    CHECK(margin_of(cost, rs, cs, rows, cols, &margin) == FR_OK);
    if (rows * cols == 1) CHECK(margin == HUGE_VAL);
    else CHECK(fabs(margin - (t.second - t.least)) <= (trial % 3 == 2 ? 1e-8 : 1e-12) && margin >= 0.0);
    ties += margin == 0.0;
  }
  CHECK(ties > 100);
  {
    double cost[4] = { 0, 1, 1, 0 }, memory[512];
    fr_int bytes = 0;
    margin = 42.0;
    CHECK(fr_assign_margin(NULL, 0, 0, 2, 2, NULL, NULL, 0, &bytes) == FR_OK && bytes <= (fr_int)sizeof memory);
    CHECK(fr_assign_margin(cost, 2, 1, 2, 2, &margin, memory, bytes - 1, NULL) == FR_MEMORY);
    CHECK(fr_assign_margin(cost, 2, 1, 2, 2, &margin, NULL, bytes, NULL) == FR_INVALID);
    CHECK(fr_assign_margin(NULL, 2, 1, 2, 2, &margin, memory, bytes, NULL) == FR_INVALID);
    CHECK(fr_assign_margin(cost, 2, 1, 2, 2, NULL, memory, bytes, NULL) == FR_INVALID);
    CHECK(fr_assign_margin(cost, 2, 1, -1, 2, &margin, memory, bytes, NULL) == FR_INVALID);
    cost[3] = NAN;
    CHECK(fr_assign_margin(cost, 2, 1, 2, 2, &margin, memory, bytes, NULL) == FR_NONFINITE);
    cost[3] = 1.7e308;
    CHECK(fr_assign_margin(cost, 2, 1, 2, 2, &margin, memory, bytes, NULL) == FR_NONFINITE);
    CHECK(margin == 42.0 && fr_assign_margin(NULL, 0, 0, 2, 2, NULL, NULL, 0, NULL) == FR_INVALID);
    CHECK(fr_assign_margin(NULL, 0, 0, PTRDIFF_MAX / 2, 4, NULL, NULL, 0, &bytes) == FR_OVERFLOW);
    CHECK(fr_assign_margin(cost, 2, 1, 0, 2, &margin, memory, bytes, NULL) == FR_OK && margin == HUGE_VAL);
  }
}

// ---- information
static fr_information information_of(const fr_int *count, fr_int rows, fr_int cols)
{
  fr_information i = { -1.0, -1.0, -1.0 };
  CHECK(fr_information_of(count, rows, cols, &i) == FR_OK);
  return i;
}

// The mean of I over all deals of the labels to the traces: row[0..n) stays, col[] is permuted, all n! orders.
static void all_deals(const int *row, int *col, int n, int fixed, double *sum, double *deals)
{
  if (fixed == n) {
    fr_int table[3][3] = { { 0 } };
    for (int t = 0; t < n; t++) table[row[t]][col[t]]++;
    *sum += information_of(table[0], 3, 3).value;
    *deals += 1.0;
    return;
  }
  for (int t = fixed; t < n; t++) {
    const int kept = col[fixed];
    col[fixed] = col[t]; col[t] = kept;
    all_deals(row, col, n, fixed + 1, sum, deals);
    col[t] = col[fixed]; col[fixed] = kept;
  }
}

static void informations(void)
{
  static const fr_int parted[9] = { 5, 0, 0, 0, 0, 5, 0, 5, 0 }, alike[6] = { 2, 4, 6, 1, 2, 3 }, nothing[4] = { 0 };
  static const fr_int half[16] = { 3, 3, 0, 0, 3, 3, 0, 0, 0, 0, 3, 3, 0, 0, 3, 3 };
  // Python, exact binomials (math.comb), sums by fsum.
  static const fr_int forks[24] = { 270, 10, 15, 5, 12, 280, 3, 5, 8, 6, 281, 5, 10, 4, 1, 285, 150, 0, 150, 0, 75, 75, 75, 75 };
  static const fr_int small[6] = { 3, 0, 1, 0, 2, 2 }, even[4] = { 1200, 800, 799, 1201 };
  fr_information i = information_of(parted, 3, 3);
  CHECK_BELOW(fabs(i.value - log(3.0)), 1e-15);
  CHECK_BELOW(fabs(i.maximum - log(3.0)), 1e-15);
  i = information_of(alike, 2, 3);
  CHECK_BELOW(i.value, 1e-15);
  CHECK_BELOW(fabs(i.maximum + 2.0 / 3.0 * log(2.0 / 3.0) + 1.0 / 3.0 * log(1.0 / 3.0)), 1e-15);  // rows 12 : 6
  i = information_of(half, 4, 4);  // which two of four: one bit of two
  CHECK_BELOW(fabs(i.value - log(2.0)), 1e-15);
  CHECK_BELOW(fabs(i.maximum - log(4.0)), 1e-15);
  i = information_of(nothing, 2, 2);
  CHECK(i.value == 0.0 && i.maximum == 0.0 && i.chance == 0.0);
  i = information_of(NULL, 0, 5);
  CHECK(i.value == 0.0 && i.maximum == 0.0 && i.chance == 0.0);
  i = information_of(forks, 6, 4);
  CHECK_BELOW(fabs(i.value - 0.8129741526651263), 1e-14);
  CHECK_BELOW(fabs(i.chance - 0.004180720920621576), 1e-14);
  i = information_of(small, 2, 3);
  CHECK_BELOW(fabs(i.value - 0.45445436744939044), 1e-15);
  CHECK_BELOW(fabs(i.chance - 0.1849384751475734), 1e-15);
  i = information_of(even, 2, 2);
  CHECK_BELOW(fabs(i.value - 0.020237015280599145), 1e-14);
  CHECK_BELOW(fabs(i.chance - 0.00012504689586250578), 1e-14);
  for (int trial = 0; trial < 40; trial++) {
    const int n = 1 + (int)test_below_int(7);
    int row[7], col[7];
    fr_int table[9] = { 0 };
    double sum = 0.0, deals = 0.0;
    for (int t = 0; t < n; t++) {
      row[t] = (int)test_below_int(3);
      col[t] = (int)test_below_int(3);
      table[row[t] * 3 + col[t]]++;
    }
    all_deals(row, col, n, 0, &sum, &deals);
    CHECK_BELOW(fabs(information_of(table, 3, 3).chance - sum / deals), 1e-13);
  }
  {  // a billion traces: neither slow nor lost
    static const fr_int huge[4] = { 300000000, 200000000, 100000000, 400000000 };
    i = information_of(huge, 2, 2);
    CHECK_BELOW(fabs(i.chance * 2e9 - 1.0), 1e-6);  // (2-1)(2-1) / 2T, to first order
  }
  {
    static const fr_int negative[4] = { 1, 2, -1, 4 };
    fr_information kept = i;
    CHECK(fr_information_of(negative, 2, 2, &kept) == FR_INVALID && fr_information_of(NULL, 2, 2, &kept) == FR_INVALID);
    CHECK(fr_information_of(negative, -2, 2, &kept) == FR_INVALID && fr_information_of(small, 2, 3, NULL) == FR_INVALID);
    CHECK(kept.value == i.value && kept.maximum == i.maximum && kept.chance == i.chance);
  }
}

// ---- the counts
enum { N = 4, S = 3, MAPS = 6, BINS = 4, WIDTH = 10, QUESTIONS = 60 };

static fr_diagnosis_options options_of(fr_int maps)
{
  fr_diagnosis_options o;
  memset(&o, 0, sizeof o);
  o.forks = N;
  o.sources = S;
  o.maps = maps;
  o.bins = BINS;
  o.bin_width = WIDTH;
  return o;
}

// Memory of just the size that is asked for, at an odd address.
static void *place(fr_diagnosis *d, const fr_diagnosis_options *o)
{
  fr_int bytes = 0;
  char *memory;
  CHECK(fr_diagnosis_place(NULL, o, NULL, 0, &bytes, NULL) == FR_OK);
  memory = (char *)test_alloc((size_t)bytes + 1);
  memset(memory, 0x5a, (size_t)bytes + 1);
  CHECK(fr_diagnosis_place(d, o, memory + 1, bytes, NULL, NULL) == FR_OK);
  return memory;
}

static fr_question question_of(fr_int M, fr_tokens *traces, fr_int *fork, double *cost)
{
  fr_question q;
  memset(&q, 0, sizeof q);
  q.traces = traces;
  q.trace_count = M;
  q.fork = fork;
  q.cost = cost;
  return q;
}

// Three questions worked by hand.
static void by_hand(void)
{
  fr_diagnosis_options o = options_of(MAPS);
  fr_diagnosis d;
  fr_diagnosis_reading r;
  void *memory = place(&d, &o);
  fr_tokens traces[2] = { { NULL, 5 }, { NULL, 39 } };
  fr_int first[2] = { 2, 0 }, second[2] = { 0, 2 }, third[2] = { 0, 1 }, turned[2] = { 2, 1 };
  static const fr_int a_b[2] = { 0, 1 }, b_a[2] = { 1, 0 };
  double cost[8] = { 9, 1, 9, 9, 2, 9, 9, 4 };  // c[i*2 + j]: best 0 -> fork 2, 1 -> fork 0: 3; next 1 -> fork 3: 6
  fr_question q = question_of(2, traces, first, cost);
  CHECK(fr_diagnosis_read(&d, &r) == FR_OK);
  CHECK(r.dead == N && r.starved == N && r.widest == -1 && r.entropy == 0.0 && r.entropy_most == 0.0 && r.share == 0.0 &&
        r.share_of_four == 0.0 && r.margin == 0.0 && r.agreement == 0.0 && r.source.value == 0.0);
  CHECK(fr_diagnosis_add(&d, &q, a_b, NULL) == FR_OK);
  q = question_of(2, traces, second, NULL);  // the same matching of sources, the traces in another order
  CHECK(fr_diagnosis_add(&d, &q, b_a, NULL) == FR_OK);
  q = question_of(2, traces, third, NULL);
  CHECK(fr_diagnosis_add(&d, &q, NULL, NULL) == FR_OK);  // trace j is source j
  CHECK(d.questions == 3 && d.traces == 6 && d.largest == 2 && d.margins == 1 && d.margin_sum == 3.0 && d.margin_least == 3.0);
  CHECK(d.coverage[0] == 3 && d.coverage[1] == 1 && d.coverage[2] == 2 && d.coverage[3] == 0);
  CHECK(d.matrix[0 * S + 0] == 1 && d.matrix[0 * S + 1] == 2 && d.matrix[1 * S + 1] == 1 && d.matrix[2 * S + 0] == 2);
  CHECK(d.length[0 * BINS + 0] == 2 && d.length[0 * BINS + 3] == 1 && d.length[1 * BINS + 3] == 1 &&
        d.length[2 * BINS + 0] == 1 && d.length[2 * BINS + 3] == 1 && d.tokens[0] == 49.0 && d.tokens[2] == 44.0);
  CHECK(d.map_count == 2 && d.map_questions[0] == 2 && d.map_questions[1] == 1 && d.other_questions == 0);
  CHECK(d.map[0] == 1 && d.map[1] == -1 && d.map[2] == 0 && d.map[3] == -1);
  CHECK(d.map[N] == 0 && d.map[N + 1] == 1 && d.map[N + 2] == -1 && d.map[N + 3] == -1);
  q = question_of(2, traces, first, cost);
  CHECK(fr_diagnosis_compare(&d, &q, turned, NULL) == FR_OK);  // 1 -> fork 1, where it costs 9 and not 1
  CHECK(d.compared == 2 && d.agreeing == 1 && d.regret == 8.0);
  CHECK(fr_diagnosis_read(&d, &r) == FR_OK);
  CHECK(r.dead == 1 && r.starved == 1 && r.widest == 0 && r.margin == 3.0 && r.agreement == .5);
  CHECK_BELOW(fabs(r.share - 2.0 / 3.0), 1e-15);
  CHECK_BELOW(fabs(r.entropy - (log(3.0) - 2.0 / 3.0 * log(2.0))), 1e-15);
  CHECK_BELOW(fabs(r.entropy_most - log(3.0)), 1e-15);  // three questions; twelve maps
  // Rows 3 1 2, columns 3 3, cells (1,2) (0,1) (2,0): I = H(source) - H(source | fork) = log 2 - 3/6 H(1/3).
  CHECK_BELOW(fabs(r.source.value - (log(2.0) - 0.5 * (log(3.0) - 2.0 / 3.0 * log(2.0)))), 1e-15);
  CHECK(r.share_of_four == 1.0);  // there are two
  // A fork below a tenth of an equal share is starved: of 4 forks and 41 traces, one with 1.
  fr_diagnosis_clear(&d);
  CHECK(d.questions == 0 && d.traces == 0 && d.map_count == 0 && d.margins == 0 && d.compared == 0 && d.regret == 0.0);
  for (int t = 0; t < 41; t++) CHECK(fr_diagnosis_note(&d, t == 0 ? 1 : t % 2 * 2, 0, 0, NULL) == FR_OK);
  CHECK(fr_diagnosis_read(&d, &r) == FR_OK && r.dead == 1 && r.starved == 2 && d.questions == 0 && r.share == 0.0 &&
        r.share_of_four == 0.0);
  CHECK(d.tokens[0] == 0.0 && d.coverage[0] == 20 && d.length[0] == 20);
  free(memory);
  // All 24 matchings of three traces to four forks once: as even as can be.
  o = options_of(24);
  memory = place(&d, &o);
  for (int code = 0; code < N * N * N; code++) {
    fr_int fork[3] = { code % N, code / N % N, code / N / N };
    fr_tokens three[3] = { { NULL, 1 }, { NULL, 1 }, { NULL, 1 } };
    q = question_of(3, three, fork, NULL);
    if (fork[0] != fork[1] && fork[0] != fork[2] && fork[1] != fork[2]) CHECK(fr_diagnosis_add(&d, &q, NULL, NULL) == FR_OK);
  }
  CHECK(fr_diagnosis_read(&d, &r) == FR_OK && d.map_count == 24 && d.other_questions == 0);
  CHECK_BELOW(fabs(r.entropy - log(24.0)), 1e-14);
  CHECK_BELOW(fabs(r.entropy_most - log(24.0)), 1e-14);
  {
    const double one = 1.0 / 24.0, four = 4.0 / 24.0;  // stored, for in an expression -m32 keeps more digits
    CHECK(r.share == one && r.share_of_four == four);
  }
  CHECK_BELOW(r.source.value, 1e-15);
  free(memory);
}

// The widest fork: the first of equals.
static void widest(void)
{
  static const fr_int coverage[6] = { 3, 9, 4, 9, 0, 8 };
  static const struct { int first, forks, traces; fr_int widest; } cases[] = {
    { 0, 6, 1, 1 }, { 2, 4, 1, 1 }, { 0, 1, 1, 0 }, { 0, 2, 0, -1 }, { 4, 1, 1, -1 }, { 4, 2, 1, 1 }
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fr_diagnosis_options o = options_of(0);
    fr_diagnosis d;
    fr_diagnosis_reading r;
    void *memory;
    o.forks = cases[i].forks;
    memory = place(&d, &o);
    for (int f = 0; f < cases[i].forks; f++)
      for (fr_int n = 0; cases[i].traces && n < coverage[cases[i].first + f]; n++)
        CHECK(fr_diagnosis_note(&d, f, 0, 1, NULL) == FR_OK);
    CHECK(fr_diagnosis_read(&d, &r) == FR_OK && r.widest == cases[i].widest);
    free(memory);
  }
}

// Random questions against a second bookkeeping; windows by clear.
static void by_counting(void)
{
  for (int trial = 0; trial < 60; trial++) {
    const fr_int maps = trial % 3 == 0 ? 3 : 64;
    fr_diagnosis_options o = options_of(maps);
    fr_diagnosis d;
    fr_diagnosis_reading r;
    void *memory = place(&d, &o);
    for (int window = 0; window < 2; window++) {
      fr_int map[QUESTIONS][N], matrix[N][S] = { { 0 } }, length[N][BINS] = { { 0 } }, traces_seen = 0, largest = 0, agreeing = 0;
      double margin = 0.0, least = HUGE_VAL, regret = 0.0, tokens[N] = { 0.0 };
      fr_int with_cost = 0;
      for (int n = 0; n < QUESTIONS; n++) {
        const fr_int M = 1 + test_below_int(N);
        fr_int fork[N], source[N], other[N], free_forks[N] = { 0, 1, 2, 3 };
        fr_tokens traces[N];
        double cost[N * N];
        fr_question q = question_of(M, traces, fork, test_below_int(2) ? cost : NULL);
        two t = { HUGE_VAL, HUGE_VAL };
        for (int i = 0; i < N; i++) map[n][i] = -1;
        for (fr_int j = 0; j < M; j++) {
          const fr_int k = test_below_int(trial % 2 ? N - j : fr__min(2, N - j));
          fork[j] = free_forks[k];
          free_forks[k] = free_forks[N - 1 - j];
          source[j] = test_below_int(S);
          other[j] = test_below_int(N);
          traces[j].ids = NULL;
          traces[j].count = test_below_int(60);
          map[n][fork[j]] = source[j];
          matrix[fork[j]][source[j]]++;
          length[fork[j]][traces[j].count / WIDTH < BINS ? traces[j].count / WIDTH : BINS - 1]++;
          tokens[fork[j]] += (double)traces[j].count;
          agreeing += fork[j] == other[j];
        }
        for (fr_int i = 0; i < N * M; i++) cost[i] = test_uniform(0.0, 1.0);
        for (fr_int j = 0; q.cost && j < M; j++) regret += cost[other[j] * M + j] - cost[fork[j] * M + j];
        all_totals(cost, 1, M, M, N, 0, 0, 0.0, &t);
        if (q.cost) { margin += t.second - t.least; least = fmin(least, t.second - t.least); with_cost++; }
        traces_seen += M;
        largest = fr__max(largest, M);
        CHECK(fr_diagnosis_add(&d, &q, source, NULL) == FR_OK);
        CHECK(fr_diagnosis_compare(&d, &q, other, NULL) == FR_OK);
      }
      CHECK(d.questions == QUESTIONS && d.traces == traces_seen && d.largest == largest);
      CHECK(!memcmp(d.matrix, matrix, sizeof matrix) && !memcmp(d.length, length, sizeof length));
      for (int i = 0; i < N; i++) {
        fr_int all = 0;
        for (int s = 0; s < S; s++) all += matrix[i][s];
        CHECK(d.coverage[i] == all && d.tokens[i] == tokens[i]);
      }
      CHECK(d.margins == with_cost && fabs(d.margin_sum - margin) < 1e-11 && fabs(d.margin_least - least) < 1e-12);
      CHECK(d.compared == traces_seen && d.agreeing == agreeing && fabs(d.regret - regret) < 1e-11);
      {  // each row of the histogram against all questions
        fr_int counted = d.other_questions;
        double entropy = d.other_questions ? -(double)d.other_questions / QUESTIONS * log((double)d.other_questions / QUESTIONS) : 0.0;
        for (fr_int m = 0; m < d.map_count; m++) {
          fr_int equal = 0;
          for (int n = 0; n < QUESTIONS; n++) equal += !memcmp(map[n], d.map + m * N, sizeof map[n]);
          CHECK(equal == d.map_questions[m] && (m == 0 || d.map_questions[m - 1] >= equal));
          counted += equal;
          entropy -= (double)equal / QUESTIONS * log((double)equal / QUESTIONS);
        }
        CHECK(counted == QUESTIONS && d.map_count <= maps && (d.other_questions > 0) == (maps == 3));
        CHECK(fr_diagnosis_read(&d, &r) == FR_OK);
        CHECK_BELOW(fabs(r.entropy - entropy), 1e-13);
        CHECK_BELOW(fabs(r.entropy_most - fmin(log((double)QUESTIONS), largest < 3 ? log(12.0) : log(24.0))), 1e-13);
        CHECK_BELOW(fabs(r.share - (double)d.map_questions[0] / QUESTIONS), 1e-15);
        counted = 0;
        for (fr_int m = 0; m < fr__min(4, d.map_count); m++) counted += d.map_questions[m];
        CHECK_BELOW(fabs(r.share_of_four - (double)counted / QUESTIONS), 1e-15);
      }
      fr_diagnosis_clear(&d);
    }
    free(memory);
  }
}

// Out of a real step: what the library matched has a margin that is not negative, and costs no regret against itself.
static void out_of_a_step(void)
{
  static const fr_config config = { 1, 8, 2, 2, 4, 16, TINY_VOCAB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
  fr_model model;
  fr_work work;
  fr_limits limits;
  fr_diagnosis d;
  fr_diagnosis_reading r;
  fr_diagnosis_options o = options_of(0);
  void *memory = place(&d, &o);
  tiny t;
  fr_int least[TINY_FORKS] = { 0 };
  tiny_fill(&t, 1);
  CHECK(fr_model_new(&model, &config) == FR_OK);
  fr_model_init(&model, 3);
  CHECK(fr_ssft_limits(&t.options, TINY_PROMPT, TINY_TRACE, TINY_TRACES, TINY_QUESTIONS, &limits) == FR_OK);
  CHECK(fr_work_new(&work, &config, &limits) == FR_OK);
  for (int n = 0; n < TINY_QUESTIONS; n++) t.questions[n].cost = t.cost[n];
  CHECK(fr_ssft_match(&model, &work, &t.options, t.questions, TINY_QUESTIONS) == FR_OK);
  for (int n = 0; n < TINY_QUESTIONS; n++) {
    two totals = { HUGE_VAL, HUGE_VAL };
    all_totals(t.cost[n], 1, TINY_TRACES, TINY_TRACES, TINY_FORKS, 0, 0, 0.0, &totals);
    CHECK(fr_diagnosis_add(&d, &t.questions[n], NULL, NULL) == FR_OK);
    CHECK(fr_diagnosis_compare(&d, &t.questions[n], t.questions[n].fork, NULL) == FR_OK);
    least[0] += d.margin_least <= totals.second - totals.least + 1e-12;
  }
  CHECK(d.margins == TINY_QUESTIONS && d.margin_least >= 0.0 && least[0] == TINY_QUESTIONS && d.options.maps == 256);
  CHECK(fr_diagnosis_read(&d, &r) == FR_OK && r.agreement == 1.0 && d.regret == 0.0);
  fr_work_free(&work);
  fr_model_free(&model);
  free(memory);
}

// ---- errors: a reason each, nothing changed
static void refused(fr_diagnosis *d, fr_status got, fr_status want, const fr_reason *reason, const char *word,
                    const fr_diagnosis *kept, const fr_int *counts, size_t bytes)
{
  CHECK(got == want);
  if (!CHECK(strstr(reason->text, word) != NULL)) fprintf(stderr, "  \"%s\" does not say \"%s\"\n", reason->text, word);
  CHECK(!memcmp(d, kept, sizeof *d) && !memcmp(d->coverage, counts, bytes));
}

static void errors(void)
{
  fr_diagnosis_options o = options_of(MAPS);
  fr_diagnosis d, kept;
  fr_diagnosis_reading r;
  fr_reason reason;
  void *memory = place(&d, &o);
  fr_tokens traces[N + 1] = { { NULL, 5 }, { NULL, 6 }, { NULL, 7 }, { NULL, 8 }, { NULL, 9 } };
  fr_int fork[N + 1] = { 0, 1, 2, 3, 0 }, source[N + 1] = { 0, 1, 2, 0, 1 }, bytes = 0, counts[64];
  double cost[N * 2] = { 0, 1, 2, 3, 4, 5, 6, 7 };
  fr_question q = question_of(2, traces, fork, cost);
  const size_t until = (size_t)((char *)d.row - (char *)d.coverage);  // all that is counted
  CHECK(until <= sizeof counts * 8);
  {
    static fr_int big[512];
    CHECK(until <= sizeof big);
    CHECK(fr_diagnosis_add(&d, &q, source, &reason) == FR_OK && !reason.text[0]);
    memcpy(big, d.coverage, until);
    kept = d;
#define REFUSED(call, status, word) refused(&d, call, status, &reason, word, &kept, big, until)
    fork[1] = 0;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_INVALID, "trace 1");
    fork[1] = N;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_RANGE, "fork 4");
    fork[1] = -1;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_RANGE, "fork -1");
    fork[1] = 1;
    source[1] = S;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_RANGE, "source 3");
    source[1] = -2;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_RANGE, "source -2");
    source[1] = 1;
    cost[3] = NAN;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_NONFINITE, "cost");
    REFUSED(fr_diagnosis_compare(&d, &q, fork, &reason), FR_NONFINITE, "cost");
    cost[3] = 3.0;
    traces[1].count = -1;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_INVALID, "-1 tokens");
    traces[1].count = 6;
    q.trace_count = N + 1;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_INVALID, "5 traces");
    q.trace_count = 0;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_INVALID, "0 traces");
    REFUSED(fr_diagnosis_compare(&d, &q, fork, &reason), FR_INVALID, "0 traces");
    q.trace_count = 2;
    {
      fr_int beyond[2] = { 0, N };
      REFUSED(fr_diagnosis_compare(&d, &q, beyond, &reason), FR_RANGE, "fork 4");
    }
    REFUSED(fr_diagnosis_compare(&d, &q, NULL, &reason), FR_INVALID, "NULL");
    REFUSED(fr_diagnosis_compare(&d, NULL, fork, &reason), FR_INVALID, "NULL");
    REFUSED(fr_diagnosis_add(&d, NULL, source, &reason), FR_INVALID, "NULL");
    q.fork = NULL;
    REFUSED(fr_diagnosis_add(&d, &q, source, &reason), FR_INVALID, "NULL");
    REFUSED(fr_diagnosis_note(&d, N, 0, 1, &reason), FR_RANGE, "fork 4");
    REFUSED(fr_diagnosis_note(&d, 0, S, 1, &reason), FR_RANGE, "source 3");
    REFUSED(fr_diagnosis_note(&d, 0, 0, -1, &reason), FR_INVALID, "tokens");
#undef REFUSED
  }
  {  // a trace without a source is counted apart, in all but the matrix, and its fork is still taken
    fr_int in_matrix = 0, taken[2] = { 1, 1 };
    q.fork = fork;
    source[1] = -1;
    fr_diagnosis_clear(&d);
    CHECK(fr_diagnosis_add(&d, &q, source, &reason) == FR_OK && d.unlabelled == 1 && d.traces == 2 && d.coverage[1] == 1);
    for (fr_int i = 0; i < N * S; i++) in_matrix += d.matrix[i];
    CHECK(in_matrix == 1 && d.map[0] == source[0] && d.map[1] == -2 && d.map[2] == -1);
    source[0] = -1;
    q.fork = taken;
    CHECK(fr_diagnosis_add(&d, &q, source, &reason) == FR_INVALID);
    fr_diagnosis_clear(&d);
    CHECK(d.unlabelled == 0);
  }
  {  // margins and regrets that are finite, and whose sums are not: the one too many is refused, and nothing has changed
    double far[N] = { 0.0, 2e306, 2e306, 2e306 };
    fr_int first = 0, second = 1;
    fr_question one = q;
    fr_diagnosis before;
    one.trace_count = 1;
    one.cost = far;
    one.fork = &first;
    for (int way = 0; way < 2; way++) {
      fr_diagnosis_clear(&d);
      for (int i = 0; i < 90; i++) {
        before = d;
        CHECK((way ? fr_diagnosis_compare(&d, &one, &second, &reason) : fr_diagnosis_add(&d, &one, NULL, &reason)) ==
              (i < 89 ? FR_OK : FR_NONFINITE));
      }
      CHECK(!memcmp(&d, &before, sizeof d) && (way ? d.compared : d.margins) == 89 && reason.text[0]);
      CHECK(fr_diagnosis_read(&d, &r) == FR_OK && (way ? d.regret : r.margin) < DBL_MAX);
    }
    fr_diagnosis_clear(&d);
  }
  CHECK(fr_diagnosis_add(NULL, &q, source, &reason) == FR_INVALID && fr_diagnosis_note(NULL, 0, 0, 0, NULL) == FR_INVALID &&
        fr_diagnosis_compare(NULL, &q, fork, NULL) == FR_INVALID && fr_diagnosis_read(NULL, &r) == FR_INVALID &&
        fr_diagnosis_read(&d, NULL) == FR_INVALID);
  fr_diagnosis_clear(NULL);
  memset(&kept, 0, sizeof kept);
  fr_diagnosis_clear(&kept);  // never placed
  CHECK(fr_diagnosis_add(&kept, &q, source, NULL) == FR_INVALID && fr_diagnosis_read(&kept, &r) == FR_INVALID);
  // Sizes.
  CHECK(fr_diagnosis_place(NULL, NULL, NULL, 0, &bytes, &reason) == FR_INVALID && fr_diagnosis_place(NULL, &o, NULL, 0, NULL, &reason) == FR_INVALID);
  o.forks = 0;
  CHECK(fr_diagnosis_place(NULL, &o, NULL, 0, &bytes, &reason) == FR_INVALID && strstr(reason.text, "forks is 0"));
  o = options_of(MAPS);
  o.sources = -1;
  CHECK(fr_diagnosis_place(NULL, &o, NULL, 0, &bytes, &reason) == FR_INVALID && strstr(reason.text, "sources is -1"));
  o = options_of(-1);
  CHECK(fr_diagnosis_place(NULL, &o, NULL, 0, &bytes, &reason) == FR_INVALID && reason.text[0]);
  o = options_of(PTRDIFF_MAX / 2);
  CHECK(fr_diagnosis_place(NULL, &o, NULL, 0, &bytes, &reason) == FR_OVERFLOW && reason.text[0]);
  o = options_of(MAPS);
  o.forks = PTRDIFF_MAX / 16;
  CHECK(fr_diagnosis_place(NULL, &o, NULL, 0, &bytes, &reason) == FR_OVERFLOW && bytes == 0);
  o = options_of(MAPS);
  CHECK(fr_diagnosis_place(NULL, &o, NULL, 0, &bytes, NULL) == FR_OK);
  kept = d;
  CHECK(fr_diagnosis_place(&d, &o, memory, bytes - 1, NULL, &reason) == FR_MEMORY && reason.text[0]);
  CHECK(fr_diagnosis_place(&d, &o, NULL, bytes, NULL, &reason) == FR_INVALID && fr_diagnosis_place(NULL, &o, memory, bytes, NULL, NULL) == FR_INVALID);
  CHECK(!memcmp(&d, &kept, sizeof d));
  free(memory);
}

int main(void)
{
  margins();
  informations();
  by_hand();
  widest();
  by_counting();
  out_of_a_step();
  errors();
  return test_done("diagnose");
}
