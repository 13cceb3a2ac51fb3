// compare_page.h - the results of compare.c as one page of figures (examples/report.h).
#ifndef COMPARE_PAGE_H
#define COMPARE_PAGE_H

#include "../examples/report.h"
#include "compare_table.h"

static void page_bars(report_page *page, const results *all, int t)
{
  static const measure_name shown[] = {
    { "pass1", "Pass@1, greedy" }, { "best", "best fork, greedy" }, { "0 pass1", "Pass@1, T = 0.7" },
    { "0 cons6", "Cons@6, T = 0.7" }, { "0 cons32", "Cons@32, T = 0.7" }, { "0 pass6", "Pass@6, T = 0.7" }
  };
  enum { SHOWN = sizeof shown / sizeof shown[0] };
  static double values[ARMS * SHOWN * MOST_SEEDS];
  const char *names[ARMS], *measures[SHOWN];
  int strong[ARMS];
  double error;
  report_bars f;
  memset(&f, 0, sizeof f);
  for (int a = 0; a < ARMS; a++) {
    names[a] = arms[a].name;
    strong[a] = a == SSFT || a == SSFT_GFPO;
    for (int m = 0; m < SHOWN; m++) {
      measures[m] = shown[m].title;
      over_seeds(all, t, a, shown[m].key, &error, values + (a * SHOWN + m) * all->seeds);
    }
  }
  f.title = "Accuracy on test questions";
  f.caption = "Pass@1 is told no fork: an arm with a policy takes the fork that it finds likeliest, or draws one; one without "
              "shows the mean over its forks. The best fork was chosen on validation questions. A dot is a seed, base and "
              "split included.";
  f.arm_names = names;
  f.measure_names = measures;
  f.arms = ARMS;
  f.measures = SHOWN;
  f.seeds = all->seeds;
  f.values = values;
  f.strong = strong;
  report_add_bars(page, &f);
}

// Validation accuracy while tuning, in the mean over seeds.
static void page_tuning(report_page *page, run *r, const study *p, int seeds)
{
  enum { MOST_POINTS = 64 };
  static double values[ARMS][MOST_POINTS];
  static ledger log;
  report_line lines[ARMS];
  report_lines f;
  memset(&f, 0, sizeof f);
  memset(lines, 0, sizeof lines);
  memset(values, 0, sizeof values);
  const int points = (int)(p->choosing / p->check) + 1;
  for (int a = 0; a < ARMS && points <= MOST_POINTS; a++) {
    if (arms[a].with == ALONE) continue;
    for (int s = 1; s <= seeds; s++) {
      char name[UNIT_NAME], unit[UNIT_NAME + 4];
      const choice c = choice_of(p, &arms[a]);
      at(r, p, s);
      choice_name(r, &c, name);
      snprintf(unit, sizeof unit, "log_%s", name);
      load_ledger(r, unit, &log);
      for (int i = 0; i < points; i++) values[a][i] += ledger_get(&log, "%d validation", i * (int)p->check) / seeds;
    }
    lines[f.count].name = arms[a].name;
    lines[f.count].values = values[a];
    lines[f.count].count = points;
    lines[f.count++].every = (double)p->check;
  }
  f.title = "Tuning on rewards";
  f.caption = "Validation questions, mean over seeds: greedy texts, half under the policy\xE2\x80\x99s likeliest fork and half "
              "under forks drawn from it. All arms make the same number of rollouts; the best point of each seed is kept.";
  f.lines = lines;
  f.y = "share of questions";
  f.high = 1.0;
  report_add_lines(page, &f);
}

// What each fork of SSFT is worth, what is left of it when GRPO has trained the writer, and which fork each policy takes.
static void page_forks(report_page *page, const results *all, int t)
{
  static const struct { int arm; const char *key, *name; } kinds[] = {
    { SSFT, "fork", "SSFT" }, { SSFT_GRPO, "fork", "after GRPO" },
    { SSFT_GRPO, "taken", "GRPO takes it" }, { SSFT_GFPO, "taken", "GFPO takes it" }
  };
  enum { KINDS = sizeof kinds / sizeof kinds[0] };
  static char names[MOST_SEEDS * KINDS][64];
  static double values[MOST_SEEDS * KINDS * FORKS];
  const char *rows[MOST_SEEDS * KINDS], *const columns[FORKS] = { "fork 1", "fork 2", "fork 3", "fork 4", "fork 5", "fork 6" };
  report_table f;
  memset(&f, 0, sizeof f);
  for (int s = 0; s < all->seeds; s++)
    for (int k = 0; k < KINDS; k++, f.rows++) {
      snprintf(names[f.rows], sizeof names[0], "seed %d: %s", s + 1, kinds[k].name);
      rows[f.rows] = names[f.rows];
      for (int i = 0; i < FORKS; i++)
        values[f.rows * FORKS + i] = ledger_get(&all->of[t][s][kinds[k].arm], "%s %d", kinds[k].key, i);
    }
  f.title = "What every fork is worth, and which is taken";
  f.caption = "Greedy accuracy of each fork on the test questions, and the share of these questions for which it is the "
              "policy\xE2\x80\x99s likeliest. GRPO changes the model that writes; with GFPO the writer stays SSFT\xE2\x80\x99s, and "
              "a copy of it chooses.";
  f.row_names = rows;
  f.column_names = columns;
  f.columns = FORKS;
  f.digits = 3;
  f.values = values;
  report_add_table(page, &f);
}

// What only one seed can show: how the forks part, what they write.
static void page_seed(report_page *page, run *r, const study *p, const results *all, int t)
{
  static record records[COURSES];
  static reply replies[MOST_TEST * FORKS];
  static double logp[FORKS];
  const choice gfpo = choice_of(p, &arms[SSFT_GFPO]);
  begin(r, p, 1);
  for (int c = 0; c < COURSES; c++) {
    int a = 0;
    char name[UNIT_NAME];
    const training one = training_of(p, c);
    while (arms[a].course != c) a++;
    training_name(r, &one, name);
    load_model(r, name, &r->l.model, &records[c]);
    records[c].name = courses[c].name;
    records[c].way_names = p->job->way_names;
    records[c].limit = (int)p->job->deadline;
    for (int f = 0; f < records[c].forks; f++)
      for (int w = 0; w <= WAYS; w++) records[c].ways[f][w] = ledger_get(&all->of[t][0][a], "way %d %d", f, w);
  }
  load_choice(r, &gfpo);
  progress_start(&r->l.bar, answer_work(&r->l, r->l.data.test_count * FORKS));
  progress_phase(&r->l.bar, "answers for the page", r->l.bar.all);
  answer(&r->l, &r->l.model, r->l.data.test, r->l.data.test_count, FORKS, FORKS, NULL, 0.0f, FOR_GREEDY, replies);
  progress_done(&r->l.bar);
  see_answers(&r->l, &records[SET], replies, r->l.data.test_count, FORKS);
  policy_of(r, &r->tuned, FORKS, r->l.data.test, 1, logp);
  for (int f = 0; f < FORKS; f++) records[SET].policy[f] = exp(logp[f]);
  const pair first = r->l.data.test[0];
  record_page_lines(page, records, COURSES);
  record_page_matching(page, &records[SET]);
  record_page_matrix(page, records, COURSES);
  record_page_lengths(page, &records[SET]);
  record_page_question(page, &records[SET], first);
  end(r);
}

static void page_ablations(report_page *page, const results *all)
{
  static const measure_name shown[] = { { "pass1", "mean fork, greedy" }, { "0 cons6", "Cons@6, T = 0.7" },
                                        { "information", "I(fork; way) / log 4" } };
  enum { SHOWN = sizeof shown / sizeof shown[0] };
  static double values[ABLATIONS * SHOWN];
  const char *names[ABLATIONS], *measures[SHOWN];
  int strong[ABLATIONS] = { 1 };
  report_bars f;
  memset(&f, 0, sizeof f);
  for (int i = 0; i < ABLATIONS; i++) {
    names[i] = i ? ablations[i].name : "as it was";
    for (int m = 0; m < SHOWN; m++) {
      measures[m] = shown[m].title;
      values[i * SHOWN + m] = ledger_get(&all->ablated[i], "%s", shown[m].key);
    }
  }
  f.title = "SSFT, one thing at a time";
  f.caption = "N forks, M traces a question, the first L tokens of a trace in the matching (all: the whole trace), a matching "
              "every so many steps; as it was: N 6, M 4, L 16, at every step. One seed: two bars that are a few hundredths "
              "apart do not differ. Forks that write no known way count as one more way, so that I can be above log 4.";
  f.arm_names = names;
  f.measure_names = measures;
  f.arms = ABLATIONS;
  f.measures = SHOWN;
  f.seeds = 1;
  f.values = values;
  f.strong = strong;
  f.high = 1.1;
  report_add_bars(page, &f);
}

static void write_page(run *r, const study *tasks, const results *all, const char *path, const char *source)
{
  static report_page page;
  report_open(&page, path, "Forks that part, and choosing among them",
              "Nine arms start from the same pretrained base and learn the same questions, each with four correct traces. "
              "Does a set loss make forks differ, what does a vote gain, and does it pay to learn which fork to take?",
              source);
  for (int t = 0; t < TASKS && all->is_there; t++) {
    if (r->only >= 0 && r->only != t) continue;
    report_section(&page, jobs[t]->name,
                   t == 0 ? "Every way of working works on every question, so that a chooser can at best find the best fork."
                          : "The right way depends on the question: answers of more than 56 tokens are cut off. Only rewards "
                            "tell which way is short enough.");
    page_bars(&page, all, t);
    page_tuning(&page, r, &tasks[t], all->seeds);
    page_forks(&page, all, t);
    page_seed(&page, r, &tasks[t], all, t);
  }
  if (all->ablated_is_there) {
    report_section(&page, "What matters", "Mental multiplication, seed 1.");
    page_ablations(&page, all);
  }
  if (!report_close(&page)) stop(r, path, page.error);
}

#endif
