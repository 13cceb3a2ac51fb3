// record.h - what four_ways.c and bench/compare.c keep of a training run, and how it shows it: as text, and as a page (report.h).
#ifndef RECORD_H
#define RECORD_H

#include "multiply.h"
#include "report.h"

enum { RECORD_FORKS = 12, RECORD_WINDOWS = 40, RECORD_POINTS = 800, RECORD_TESTS = 300, RECORD_MEASURES = 8 };

typedef struct record {
  const char *name;
  int steps, points, windows;                                   // points of the loss, windows of the matching
  double loss[RECORD_POINTS];                                   // mean over the steps of a point
  double share[RECORD_WINDOWS][RECORD_FORKS * WAYS];            // [forks][ways]: of its questions, those matched so
  int forks, widest;                                            // how many it answers with; the fork of widest coverage
  int tests, length[RECORD_FORKS][ROOM];                        // greedy answers of a fork; how many took so many tokens
  double ways[RECORD_FORKS][WAYS + 1];                          // ... the share that went which way
  struct { int way, answer; char text[ROOM]; } first[RECORD_FORKS];
  double measures[RECORD_MEASURES];                             // as record_measures has them
  const char *const *way_names;                                 // NULL: those of multiply.h
  double policy[RECORD_FORKS];                                  // of the first test question; all 0: there is none
  int limit;                                                    // tokens that an answer may take; 0: any number
} record;

static const char *const record_measures[RECORD_MEASURES] = {
  "Pass@1, best fork", "Pass@1, mean of forks", "Cons@6, greedy", "Cons@6, T = 0.7", "Cons@32, T = 0.7", "Pass@6, T = 0.7",
  "ways among six, of 4", "I(fork; way) / log 4"
};

// A record may be NULL: then nothing is written down.
static inline void record_start(record *r, const char *name, int forks, int steps)
{
  if (!r) return;
  memset(r, 0, sizeof *r);
  r->name = name;
  r->forks = forks;
  r->steps = steps;
  r->points = steps < RECORD_POINTS ? steps : RECORD_POINTS;
  r->windows = steps < RECORD_WINDOWS ? steps : RECORD_WINDOWS;
}

static inline void record_loss(record *r, fr_int step, double loss)
{
  if (!r) return;
  const fr_int point = step * r->points / r->steps, first = (point * r->steps + r->points - 1) / r->points;
  r->loss[point] += (loss - r->loss[point]) / (double)(step - first + 1);
}

static inline fr_int record_window(const record *r, fr_int step) { return step * r->windows / r->steps; }

// d: what the diagnosis counted in this window.
static inline void record_matchings(record *r, fr_int window, const fr_diagnosis *d)
{
  if (!r) return;
  for (fr_int k = 0; k < r->forks * WAYS; k++)
    r->share[window][k] = (double)d->matrix[k / WAYS * d->options.sources + k % WAYS] / (double)d->questions;
}

// d: what the diagnosis counted of the greedy answers.
static inline void record_answers(record *r, const fr_diagnosis *d)
{
  if (!r) return;
  r->tests = (int)d->coverage[0];
  for (fr_int f = 0; f < r->forks; f++) {
    for (int w = 0; w <= WAYS; w++) r->ways[f][w] = (double)d->matrix[f * d->options.sources + w] / (double)d->coverage[f];
    for (int n = 0; n < ROOM; n++) r->length[f][n] = (int)d->length[f * d->options.bins + n];
  }
}

// What a fork answered to the first question.
static inline void record_first(record *r, fr_int fork, const char *text, int way, int answer)
{
  if (!r) return;
  snprintf(r->first[fork].text, ROOM, "%s", text);
  r->first[fork].way = way;
  r->first[fork].answer = answer;
}

static inline int record_same(void *user, fr_int a, fr_int b)
{
  const record *r = (const record *)user;
  return r->first[a].answer >= 0 && r->first[a].answer == r->first[b].answer;
}

static inline const char *const *record_way_names(const record *r) { return r->way_names ? r->way_names : way_names; }

// ---- as text

// One line for a window of training, one tenth after another: for every fork a bar for each way, as high as its share of the
// window's questions.
static inline void record_print_matching(const record *r, fr_int window)
{
  static const char *const bars[9] = { " ", "\xE2\x96\x81", "\xE2\x96\x82", "\xE2\x96\x83", "\xE2\x96\x84", "\xE2\x96\x85",
                                       "\xE2\x96\x86", "\xE2\x96\x87", "\xE2\x96\x88" };
  const int tenth = (int)((window + 1) * 10 / r->windows);
  if (tenth == (int)(window * 10 / r->windows)) return;
  if (tenth == 1) {
    printf("\n%s: what the matching gives each fork while it trains; in a fork four bars:", r->name);
    for (int w = 0; w < WAYS; w++) printf("%s %s", w ? "," : "", record_way_names(r)[w]);
    printf("\n       ");
    for (int f = 0; f < r->forks; f++) printf("  fork %-2d", f + 1);
    printf("\n");
  }
  printf("  %3d %%", 10 * tenth);
  for (int f = 0; f < r->forks; f++) {
    printf("  |");
    for (int w = 0; w < WAYS; w++) printf("%s", bars[(int)(r->share[window][f * WAYS + w] * 8.0 + 0.5)]);
    printf("| ");
  }
  printf("\n");
  fflush(stdout);
}

static inline void record_print_ways(const record *r)
{
  printf("\n%s: the way each fork goes (share of questions, greedy)\n          ", r->name);
  for (int w = 0; w <= WAYS; w++) printf("%-14s", way_names[w]);
  for (int f = 0; f < r->forks; f++) {
    printf("\n  fork %d  ", f + 1);
    for (int w = 0; w <= WAYS; w++) {
      const double share = r->ways[f][w];
      for (int i = 0; i < 8; i++) putchar(share * 8.0 >= i + 0.5 ? '#' : '.');
      printf(" %3.0f%% ", 100.0 * share);
    }
  }
  printf("\n");
}

static inline void record_print_question(record *r, pair q)
{
  fr_vote_result vote;
  printf("\nA held-out question, %d * %d, under all %d forks of %s (greedy, numbers in reading order):\n", q.a, q.b,
         r->forks, r->name);
  for (int f = 0; f < r->forks; f++) {
    printf("  fork %d  %-11s ", f + 1, way_names[r->first[f].way]);
    for (const char *c = r->first[f].text; *c; c++) {
      if (*c == ';' || *c == '#') printf("%s", *c == ';' ? "  " : "  -> ");
      else putchar(*c);
    }
    printf("  %s\n", r->first[f].answer < 0 ? "no answer" : r->first[f].answer == q.a * q.b ? "right" : "wrong");
  }
  fr_vote(r->forks, record_same, r, NULL, &vote, NULL);
  if (vote.winner < 0) printf("  vote    no answer; %d is right\n", q.a * q.b);
  else printf("  vote    %d, by %d of %d; %d is right\n", r->first[vote.winner].answer, (int)vote.votes, r->forks,
              q.a * q.b);
}

// ---- as a page

static inline void record_page_lines(report_page *page, const record *records, int count)
{
  report_line lines[8];
  report_lines f;
  memset(&f, 0, sizeof f);
  memset(lines, 0, sizeof lines);
  for (int i = 0; i < count && i < 8; i++) {
    lines[i].name = records[i].name;
    lines[i].values = records[i].loss;
    lines[i].count = records[i].points;
    lines[i].every = (double)records[i].steps / records[i].points;
    lines[f.count++].first = 1.0;
  }
  f.title = "Loss while fine-tuning";
  f.caption = "Mean loss of the trace tokens of each step\xE2\x80\x99s questions. All start from the same base and see "
              "the same questions in the same order.";
  f.y = "nats per token";
  f.logarithmic = 1;
  f.lines = lines;
  report_add_lines(page, &f);
}

static inline void record_page_matching(report_page *page, const record *r)
{
  static double share[RECORD_WINDOWS * RECORD_FORKS * WAYS];
  report_matching f;
  memset(&f, 0, sizeof f);
  for (int i = 0; i < r->windows; i++)
    memcpy(share + i * r->forks * WAYS, r->share[i], (size_t)(r->forks * WAYS) * sizeof(double));
  f.title = "The forks part";
  f.caption = "How SSFT matched forks and traces while it learned. No trace came with the name of its way, and their order "
              "was shuffled.";
  f.way_names = record_way_names(r);
  f.windows = r->windows;
  f.forks = r->forks;
  f.ways = WAYS;
  f.share = share;
  f.every = (double)r->steps / r->windows;
  report_add_matching(page, &f);
}

static inline void record_page_matrix(report_page *page, const record *records, int count)
{
  static double share[8 * RECORD_FORKS * (WAYS + 1)];
  const char *names[8];
  double *next = share;
  report_matrix f;
  memset(&f, 0, sizeof f);
  for (int i = 0; i < count && i < 8; i++)
    if (records[i].forks > f.forks) f.forks = records[i].forks;
  for (int i = 0; i < count && i < 8; i++) {
    if (records[i].forks < 2) continue;
    names[f.arms++] = records[i].name;
    for (int k = 0; k < f.forks; k++)
      for (int w = 0; w <= WAYS; w++) *next++ = k < records[i].forks ? records[i].ways[k][w] : (double)NAN;
  }
  f.title = "The way each fork goes";
  f.caption = "Greedy answers to the test questions; \xE2\x80\x9Cnone\xE2\x80\x9D is a trace that follows no way to "
              "its end.";
  f.arm_names = names;
  f.way_names = record_way_names(records);
  f.ways = WAYS + 1;
  f.share = share;
  report_add_matrix(page, &f);
}

// Accuracies with the standard error of a share of so many questions, then what the forks differ by.
static inline void record_page_bars(report_page *page, const record *records, int count)
{
  enum { ACCURACIES = 6, OTHERS = RECORD_MEASURES - ACCURACIES };
  double values[8 * ACCURACIES], errors[8 * ACCURACIES], others[8 * OTHERS];
  const char *names[8];
  int strong[8];
  report_bars f;
  memset(&f, 0, sizeof f);
  for (int i = 0; i < count && i < 8; i++, f.arms++) {
    names[i] = records[i].name;
    strong[i] = !strcmp(names[i], "SSFT");
    for (int m = 0; m < ACCURACIES; m++) {
      const double p = values[i * ACCURACIES + m] = records[i].measures[m];
      errors[i * ACCURACIES + m] = m == 1 && records[i].forks > 1 ? (double)NAN : sqrt(p * (1.0 - p) / records[i].tests);
    }
    others[i * OTHERS] = records[i].measures[ACCURACIES] / (double)WAYS;
    others[i * OTHERS + 1] = records[i].measures[ACCURACIES + 1];
  }
  f.title = "Accuracy on held-out questions";
  f.caption = "Share of the test questions answered right: by one fork, by a vote (Cons), by any of six (Pass@6). "
              "The best fork was chosen on other questions. One training run: the spread between runs is not in the lines.";
  f.arm_names = names;
  f.measure_names = record_measures;
  f.measures = ACCURACIES;
  f.values = values;
  f.errors = errors;
  f.strong = strong;
  report_add_bars(page, &f);
  static const char *const other_names[OTHERS] = { "share of the four ways among six answers", "I(fork; way) / log 4" };
  f.title = "Do the answers differ?";
  f.caption = "Left: six answers at T = 0.7, one under each fork where there are several. Right: what the fork says about "
              "the way of its greedy answer, 0 nothing and 1 all.";
  f.measure_names = other_names;
  f.measures = OTHERS;
  f.values = others;
  f.errors = NULL;
  report_add_bars(page, &f);
}

static inline void record_page_lengths(report_page *page, const record *r)
{
  static int lengths[RECORD_FORKS][RECORD_TESTS];
  report_sample samples[RECORD_FORKS];
  char names[RECORD_FORKS][16];
  report_lengths f;
  memset(&f, 0, sizeof f);
  for (int k = 0; k < r->forks; k++) {
    snprintf(names[k], sizeof names[k], "fork %d", k + 1);
    samples[k].name = names[k];
    samples[k].values = lengths[k];
    samples[k].count = 0;
    for (int n = 0; n < ROOM; n++)
      for (int i = 0; i < r->length[k][n] && samples[k].count < RECORD_TESTS; i++) lengths[k][samples[k].count++] = n;
  }
  f.title = "How long the forks write";
  f.caption = "Greedy answers of SSFT to the test questions.";
  f.samples = samples;
  f.count = r->forks;
  f.limit = r->limit;
  report_add_lengths(page, &f);
}

static inline void record_page_question(report_page *page, record *r, pair q)
{
  report_reply replies[RECORD_FORKS];
  char names[RECORD_FORKS][16], answers[RECORD_FORKS][16], texts[RECORD_FORKS][3 * ROOM], question[24], truth[16];
  fr_vote_result vote;
  report_question f;
  memset(&f, 0, sizeof f);
  for (int k = 0; k < r->forks; k++) {
    char *out = texts[k];
    for (const char *c = r->first[k].text; *c && *c != '#'; c++) {
      *out++ = *c;
      if (*c == ';') *out++ = '\n';
    }
    *out = '\0';
    snprintf(names[k], sizeof names[k], "fork %d", k + 1);
    snprintf(answers[k], sizeof answers[k], "%d", r->first[k].answer);
    replies[k].name = names[k];
    replies[k].way = r->first[k].way == NONE ? "no known way" : record_way_names(r)[r->first[k].way];
    replies[k].text = texts[k];
    replies[k].answer = r->first[k].answer < 0 ? "" : answers[k];
    replies[k].right = r->first[k].answer == q.a * q.b;
  }
  snprintf(question, sizeof question, "%d \xC3\x97 %d = ?", q.a, q.b);
  snprintf(truth, sizeof truth, "%d", q.a * q.b);
  fr_vote(r->forks, record_same, r, NULL, &vote, NULL);
  f.title = "One question under every fork";
  f.caption = "The first test question, greedy, SSFT. The model reads and writes its numbers units first; they are "
              "reversed here.";
  f.question = question;
  f.truth = truth;
  f.replies = replies;
  f.count = r->forks;
  if (r->policy[0] > 0.0) f.policy = r->policy;
  f.vote = vote.winner < 0 ? "" : answers[vote.winner];
  f.vote_right = vote.winner >= 0 && r->first[vote.winner].answer == q.a * q.b;
  report_add_question(page, &f);
}

// The page of a run whose arm number `shown` is SSFT. facts[count][2]. Returns 0 with the reason in page->error.
static inline int record_page(report_page *page, const char *path, const char *source, record *records, int count,
                              int shown, pair q, const char *const *facts, int fact_count)
{
  report_open(page, path, "Six forks, four ways to multiply",
              "Every training question comes with four correct traces in shuffled order and without a name, each another "
              "way to multiply two numbers in one\xE2\x80\x99s head. Does each way find a fork of its own, and what does "
              "a vote over the forks gain?",
              source);
  report_facts(page, facts, fact_count);
  record_page_bars(page, records, count);
  record_page_matching(page, &records[shown]);
  record_page_matrix(page, records, count);
  record_page_question(page, &records[shown], q);
  record_page_lines(page, records, count);
  record_page_lengths(page, &records[shown]);
  return report_close(page);
}

#endif
