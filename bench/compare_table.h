// compare_table.h - what compare.c prints: means over seeds with their standard errors, every fork before and after tuning,
// differences paired by seed; all of it goes to build/compare.json, too.
#ifndef COMPARE_TABLE_H
#define COMPARE_TABLE_H

#include "compare_units.h"

// The measures of a table: name in the records, title.
typedef struct measure_name { const char *key, *title; } measure_name;
static const measure_name greedy_measures[] = { { "pass1", "Pass@1" }, { "best", "best fork" }, { "any", "any fork" },
                                                { "information", "I / log 4" }, { "tokens", "tokens" } };
static const measure_name sampled_measures[] = { { "pass1", "Pass@1" }, { "best", "best fork" }, { "cons6", "Cons@6" },
                                                 { "cons32", "Cons@32" }, { "pass6", "Pass@6" }, { "pass32", "Pass@32" } };
enum { GREEDY_MEASURES = 5, SAMPLED_MEASURES = 6 };

typedef struct results { ledger of[TASKS][MOST_SEEDS][ARMS]; } results;

// Mean over seeds and its standard error (0 for a single seed).
static double over_seeds(const results *all, int seeds, int t, int a, const char *name, double *error, double *values)
{
  double mean = 0.0, square = 0.0;
  for (int s = 0; s < seeds; s++) {
    values[s] = ledger_get(&all->of[t][s][a], "%s", name);
    mean += values[s] / seeds;
  }
  for (int s = 0; s < seeds; s++) square += (values[s] - mean) * (values[s] - mean);
  *error = seeds > 1 ? sqrt(square / (seeds * (seeds - 1))) : 0.0;
  return mean;
}

static void json_row(FILE *json, int *rows, const char *name, const char *unit, double mean, double error,
                     const double *values, int seeds)
{
  fprintf(json, "%s\n{\"name\": \"%s\", \"unit\": \"%s\", \"ours\": %.6g, \"peer\": null, \"peer_name\": "
          "null, \"ratio\": null, \"target\": null, \"met\": null, \"error\": %.6g, \"seeds\": [", (*rows)++ ? "," : "[",
          name, unit, mean, error);
  for (int s = 0; s < seeds; s++) fprintf(json, "%s%.6g", s ? ", " : "", values[s]);
  fprintf(json, "]}");
}

static void print_block(const results *all, int seeds, int t, const char *title, const char *prefix,
                        const measure_name *measures, int count, FILE *json, int *rows)
{
  double values[MOST_SEEDS], error;
  printf("\n%-20s", title);
  for (int m = 0; m < count; m++) printf(" %-12s", measures[m].title);
  printf("\n");
  for (int a = 0; a < ARMS; a++) {
    printf("%-20s", arms[a].name);
    for (int m = 0; m < count; m++) {
      char name[80], row[160];
      snprintf(name, sizeof name, "%s%s", prefix, measures[m].key);
      const double mean = over_seeds(all, seeds, t, a, name, &error, values);
      const int share = strcmp(measures[m].key, "tokens"), nats = !strcmp(measures[m].key, "information");
      const char *unit = nats ? "nats / log 4" : share ? "share of questions" : "tokens";
      printf(share ? " %.3f +-%.3f" : " %.2f +-%.2f", mean, error);
      snprintf(row, sizeof row, "%s, %s, %s, %s", jobs[t]->key, arms[a].key, title, measures[m].title);
      json_row(json, rows, row, unit, mean, error, values, seeds);
    }
    printf("\n");
  }
}

// Every fork's greedy accuracy on the test questions before and after tuning: a writer that tuning changes may be lost.
static void print_drift(const results *all, int seeds, int t, FILE *json, int *rows)
{
  printf("\nEvery fork, greedy, before -> after tuning on rewards (with GFPO another model chooses, and the writer stays)\n");
  for (int a = 0; a < ARMS; a++) {
    if (arms[a].with == ALONE) continue;
    int before = 0;
    while (arms[before].course != arms[a].course) before++;
    for (int s = 0; s < seeds; s++) {
      printf("%-20s seed %d ", s ? "" : arms[a].name, s + 1);
      for (int f = 0; f < courses[arms[a].course].forks; f++) {
        const double from = ledger_get(&all->of[t][s][before], "fork %d", f);
        const double to = ledger_get(&all->of[t][s][a], "fork %d", f);
        char row[160];
        printf("  %.3f -> %.3f", from, to);
        snprintf(row, sizeof row, "%s, %s, seed %d, fork %d after tuning", jobs[t]->key, arms[a].key, s + 1, f + 1);
        json_row(json, rows, row, "share of questions", to, 0.0, &from, 1);
      }
      printf("\n");
    }
  }
}

// Difference of two arms, paired by seed, and its standard error.
static double difference(const results *all, int seeds, int t, int a, const char *name, int b, const char *other,
                         double *error, double *values)
{
  double mean = 0.0, square = 0.0;
  for (int s = 0; s < seeds; s++) {
    values[s] = ledger_get(&all->of[t][s][a], "%s", name) - ledger_get(&all->of[t][s][b], "%s", other);
    mean += values[s] / seeds;
  }
  for (int s = 0; s < seeds; s++) square += (values[s] - mean) * (values[s] - mean);
  *error = seeds > 1 ? sqrt(square / (seeds * (seeds - 1))) : 0.0;
  return mean;
}

static void print_differences(const results *all, int seeds, int only, FILE *json, int *rows)
{
  static const struct { int task, a; const char *name; int b; const char *other, *title; } pairs[] = {
    { 1, SSFT_GFPO, "pass1",   SSFT,       "best",   "line: SSFT + GFPO, greedy Pass@1, less SSFT's best fork" },
    { 1, SSFT_GFPO, "pass1",   MIXED_GRPO, "pass1",  "line: SSFT + GFPO less SFT-mixed + GRPO, greedy Pass@1" },
    { 1, SSFT_GFPO, "pass1",   SSFT_GRPO,  "pass1",  "line: SSFT + GFPO less SSFT + GRPO, greedy Pass@1" },
    { 0, SSFT_GFPO, "0 pass1", SSFT,       "0 best", "multiply: SSFT + GFPO, Pass@1 at T = .7, less SSFT's best fork" },
    { 0, SSFT_GFPO, "1 pass1", SSFT,       "1 best", "multiply: SSFT + GFPO, Pass@1 at T = 1, less SSFT's best fork" },
  };
  double values[MOST_SEEDS], error;
  printf("\nDifferences, paired by seed\n");
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    if (only >= 0 && only != pairs[i].task) continue;
    const double mean = difference(all, seeds, pairs[i].task, pairs[i].a, pairs[i].name, pairs[i].b, pairs[i].other,
                                   &error, values);
    printf("%-66s %+.3f +-%.3f  (", pairs[i].title, mean, error);
    for (int s = 0; s < seeds; s++) printf("%s%+.3f", s ? ", " : "", values[s]);
    printf(")\n");
    json_row(json, rows, pairs[i].title, "share of questions", mean, error, values, seeds);
  }
}

static void print_all(run *r, const study *tasks, const results *all, FILE *json)
{
  int rows = 0;
  for (int t = 0; t < TASKS; t++) {
    if (r->only >= 0 && r->only != t) continue;
    printf("\n==== %s: %d seeds, %d test questions each, mean +- standard error over seeds\n", tasks[t].job->name,
           r->seeds, (int)tasks[t].learn.test);
    print_block(all, r->seeds, t, "greedy", "", greedy_measures, GREEDY_MEASURES, json, &rows);
    for (int k = 0; k < TEMPERATURES; k++) {
      char title[40], prefix[8];
      snprintf(title, sizeof title, "T = %.1f", (double)temperatures[k]);
      snprintf(prefix, sizeof prefix, "%d ", k);
      print_block(all, r->seeds, t, title, prefix, sampled_measures, SAMPLED_MEASURES, json, &rows);
    }
    print_drift(all, r->seeds, t, json, &rows);
  }
  print_differences(all, r->seeds, r->only, json, &rows);
  fprintf(json, "%s\n]\n", rows ? "" : "[");
}

static void collect(run *r, const study *tasks, results *all)
{
  for (int t = 0; t < TASKS; t++)
    for (int s = 0; s < r->seeds; s++)
      for (int i = 0; i < ARMS; i++) {
        char name[UNIT_NAME];
        const choice c = choice_of(&tasks[t], &arms[i]);
        if (r->only >= 0 && r->only != t) continue;
        at(r, &tasks[t], s + 1);
        choice_name(r, &c, name);
        load_ledger(r, name, &all->of[t][s][i]);
      }
}

#endif
