// compare_table.h - what compare.c prints: means over seeds with their standard errors, every fork before and after tuning,
// differences paired by seed, and what make ablate measured; all of it goes to build/compare.json, too.
#ifndef COMPARE_TABLE_H
#define COMPARE_TABLE_H

#include "compare_units.h"

// The measures of a table: name in the records, title.
typedef struct measure_name { const char *key, *title; } measure_name;
static const measure_name greedy_measures[] = { { "pass1", "Pass@1" }, { "best", "best fork" },
                                                { "widest", "widest fork" }, { "any", "any fork" },
                                                { "information", "I / log 4" }, { "tokens", "tokens" } };
static const measure_name sampled_measures[] = { { "pass1", "Pass@1" }, { "best", "best fork" }, { "cons6", "Cons@6" },
                                                 { "cons32", "Cons@32" }, { "pass6", "Pass@6" }, { "pass32", "Pass@32" } };
enum { GREEDY_MEASURES = 6, SAMPLED_MEASURES = 6 };

// What a run found; text and json are where it is printed, each may be NULL.
typedef struct results {
  ledger of[TASKS][MOST_SEEDS][ARMS], ablated[ABLATIONS];
  int    seeds, is_there, ablated_is_there;  // is_there: all of these arms
  FILE  *text, *json;
  int    rows;
} results;

static void say(const results *all, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  if (all->text) vfprintf(all->text, format, list);
  va_end(list);
}

static void json_row(results *all, const char *name, const char *unit, double mean, double error, const double *values,
                     int seeds)
{
  if (!all->json) return;
  fprintf(all->json, "%s\n{\"name\": \"%s\", \"unit\": \"%s\", \"ours\": %.6g, \"peer\": null, \"peer_name\": "
          "null, \"ratio\": null, \"target\": null, \"met\": null, \"error\": %.6g, \"seeds\": [",
          all->rows++ ? "," : "[", name, unit, mean, error);
  for (int s = 0; s < seeds; s++) fprintf(all->json, "%s%.6g", s ? ", " : "", values[s]);
  fprintf(all->json, "]}");
}

// Mean over seeds and its standard error (0 for a single seed).
static double mean_of(const double *values, int seeds, double *error)
{
  double mean = 0.0, square = 0.0;
  for (int s = 0; s < seeds; s++) mean += values[s] / seeds;
  for (int s = 0; s < seeds; s++) square += (values[s] - mean) * (values[s] - mean);
  *error = seeds > 1 ? sqrt(square / (seeds * (seeds - 1))) : 0.0;
  return mean;
}

static double over_seeds(const results *all, int t, int a, const char *name, double *error, double *values)
{
  for (int s = 0; s < all->seeds; s++) values[s] = ledger_get(&all->of[t][s][a], "%s", name);
  return mean_of(values, all->seeds, error);
}

// Difference of two arms, paired by seed.
static double difference(const results *all, int t, int a, const char *name, int b, const char *other, double *error,
                         double *values)
{
  for (int s = 0; s < all->seeds; s++)
    values[s] = ledger_get(&all->of[t][s][a], "%s", name) - ledger_get(&all->of[t][s][b], "%s", other);
  return mean_of(values, all->seeds, error);
}

static void print_block(results *all, int t, const char *title, const char *prefix, const measure_name *measures, int count)
{
  double values[MOST_SEEDS], error;
  say(all, "\n%-21s", title);
  for (int m = 0; m < count; m++) say(all, " %-13s", measures[m].title);
  say(all, "\n");
  for (int a = 0; a < ARMS; a++) {
    say(all, "%-21s", arms[a].name);
    for (int m = 0; m < count; m++) {
      char name[80], row[160];
      snprintf(name, sizeof name, "%s%s", prefix, measures[m].key);
      const double mean = over_seeds(all, t, a, name, &error, values);
      const int share = strcmp(measures[m].key, "tokens"), nats = !strcmp(measures[m].key, "information");
      const char *unit = nats ? "nats / log 4" : share ? "share of questions" : "tokens";
      say(all, share ? " %.3f +-%.3f" : " %.2f +-%.2f", mean, error);
      snprintf(row, sizeof row, "%s, %s, %s, %s", jobs[t]->key, arms[a].key, title, measures[m].title);
      json_row(all, row, unit, mean, error, values, all->seeds);
    }
    say(all, "\n");
  }
}

// Every fork's greedy accuracy on the test questions before and after tuning: a writer that tuning changes may be lost.
static void print_drift(results *all, int t)
{
  say(all, "\nEvery fork, greedy, before -> after tuning on rewards (with GFPO another model chooses, and the writer stays)\n");
  for (int a = 0; a < ARMS; a++) {
    if (arms[a].with == ALONE) continue;
    int before = 0;
    while (arms[before].course != arms[a].course) before++;
    for (int s = 0; s < all->seeds; s++) {
      say(all, "%-21s seed %d ", s ? "" : arms[a].name, s + 1);
      for (int f = 0; f < courses[arms[a].course].forks; f++) {
        const double from = ledger_get(&all->of[t][s][before], "fork %d", f);
        const double to = ledger_get(&all->of[t][s][a], "fork %d", f);
        char row[160];
        say(all, "  %.3f -> %.3f", from, to);
        snprintf(row, sizeof row, "%s, %s, seed %d, fork %d before tuning", jobs[t]->key, arms[a].key, s + 1, f + 1);
        json_row(all, row, "share of questions", from, 0.0, &from, 1);
        snprintf(row, sizeof row, "%s, %s, seed %d, fork %d after tuning", jobs[t]->key, arms[a].key, s + 1, f + 1);
        json_row(all, row, "share of questions", to, 0.0, &to, 1);
      }
      say(all, "\n");
    }
  }
}

static void print_differences(results *all, int only)
{
  static const struct { int task, a; const char *name; int b; const char *other, *title; } pairs[] = {
    { 1, SSFT_GFPO, "pass1",   SSFT,       "best",   "line: SSFT + GFPO, greedy Pass@1, less SSFT's best fork" },
    { 1, SSFT_GFPO, "pass1",   MIXED_GRPO, "pass1",  "line: SSFT + GFPO less SFT-mixed + GRPO, greedy Pass@1" },
    { 1, SSFT_GFPO, "pass1",   SSFT_GRPO,  "pass1",  "line: SSFT + GFPO less SSFT + GRPO, greedy Pass@1" },
    { 0, SSFT_GFPO, "0 pass1", SSFT,       "0 best", "multiply: SSFT + GFPO, Pass@1 at T = .7, less SSFT's best fork" },
    { 0, SSFT_GFPO, "1 pass1", SSFT,       "1 best", "multiply: SSFT + GFPO, Pass@1 at T = 1, less SSFT's best fork" },
  };
  double values[MOST_SEEDS], error;
  say(all, "\nDifferences, paired by seed\n");
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (only >= 0 && only != pairs[i].task) continue;
    const double mean = difference(all, pairs[i].task, pairs[i].a, pairs[i].name, pairs[i].b, pairs[i].other, &error,
                                   values);
    say(all, "%-66s %+.3f +-%.3f  (", pairs[i].title, mean, error);
    for (int s = 0; s < all->seeds; s++) say(all, "%s%+.3f", s ? ", " : "", values[s]);
    say(all, ")\n");
    json_row(all, pairs[i].title, "share of questions", mean, error, values, all->seeds);
  }
}

static const measure_name ablation_measures[] = {
  { "pass1", "mean fork" }, { "best", "best fork" }, { "any", "any fork" }, { "0 cons6", "Cons@6" },
  { "0 pass6", "Pass@6" },  { "0 cons32", "Cons@32" }, { "information", "I / log 4" }
};
enum { ABLATION_MEASURES = sizeof ablation_measures / sizeof ablation_measures[0] };

static void print_ablation_title(const results *all)
{
  say(all, "\n%-28s", "SSFT, one thing at a time");
  for (int m = 0; m < ABLATION_MEASURES; m++) say(all, " %-9s", ablation_measures[m].title);
  say(all, "  (sampled: T = .7)\n");
}

static void print_ablation(results *all, int i)
{
  say(all, "%-28s", ablations[i].name);
  for (int m = 0; m < ABLATION_MEASURES; m++) {
    char row[160];
    const double value = ledger_get(&all->ablated[i], "%s", ablation_measures[m].key);
    say(all, " %-9.3f", value);
    snprintf(row, sizeof row, "ablation, %s, %s", ablations[i].name, ablation_measures[m].title);
    json_row(all, row, m + 1 < ABLATION_MEASURES ? "share of questions" : "nats / log 4", value, 0.0, &value, 1);
  }
  say(all, "\n");
}

static void print_arms(run *r, const study *tasks, results *all)
{
  for (int t = 0; t < TASKS; t++) {
    if (r->only >= 0 && r->only != t) continue;
    say(all, "\n==== %s: %d seeds, %d test questions each, mean +- standard error over seeds\n", tasks[t].job->name,
        all->seeds, (int)tasks[t].learn.test);
    print_block(all, t, "greedy", "", greedy_measures, GREEDY_MEASURES);
    for (int k = 0; k < TEMPERATURES; k++) {
      char title[40], prefix[8];
      snprintf(title, sizeof title, "T = %.1f", (double)temperatures[k]);
      snprintf(prefix, sizeof prefix, "%d ", k);
      print_block(all, t, title, prefix, sampled_measures, SAMPLED_MEASURES);
    }
    print_drift(all, t);
  }
  print_differences(all, r->only);
}

// Reads what is there: all arms of `seeds` seeds, or none; all that make ablate tries, or none.
static void collect(run *r, const study *tasks, int seeds, results *all)
{
  char name[UNIT_NAME];
  all->seeds = seeds;
  all->is_there = all->ablated_is_there = 1;
  for (int t = 0; t < TASKS; t++)
    for (int s = 0; s < seeds; s++)
      for (int i = 0; i < ARMS; i++) {
        const choice c = choice_of(&tasks[t], &arms[i]);
        if (r->only >= 0 && r->only != t) continue;
        at(r, &tasks[t], s + 1);
        choice_name(r, &c, name);
        if (!is_there(r, name, "txt")) all->is_there = 0;
        else load_ledger(r, name, &all->of[t][s][i]);
      }
  const study wide = widest(&tasks[0]);
  at(r, &wide, 1);
  for (int i = 0; i < ABLATIONS; i++) {
    const choice c = ablation_of(&wide, i);
    choice_name(r, &c, name);
    if (!is_there(r, name, "txt")) all->ablated_is_there = 0;
    else load_ledger(r, name, &all->ablated[i]);
  }
}

#endif
