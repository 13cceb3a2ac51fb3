// report.h - results as one HTML page: figures in inline SVG with their numbers beside them, no script, light and dark,
// readable on a phone and in print. Plain C99 with libc and libm.
//
//     report r;
//     report_open(&r, "build/run.html", "Four ways", "What is asked, in a sentence or two.", "make demo, seed 1");
//     report_bars bars;
//     memset(&bars, 0, sizeof bars);                 // every field is optional: 0 or NULL leaves it out
//     bars.title = "Accuracy"; bars.arms = names; ...
//     report_add_bars(&r, &bars);                    // figures in any order and number; report_section between them
//     if (!report_close(&r)) fprintf(stderr, "%s\n", r.error);
//
// The page is written to PATH.tmp and takes its name in report_close, so it is there whole or not at all. The first
// error sticks: later calls do nothing, report_close returns 0 and r.error says what and where. Nothing is allocated;
// strings and arrays stay the caller's and are read during the call only. Text is UTF-8 and escaped here. A number that
// is NaN or infinite is drawn as a gap and listed as a dash; a figure without a number is a sentence that says so.
#ifndef REPORT_H
#define REPORT_H

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct report {
  FILE *file;
  char path[1024], error[1200];
  char source[400];  // how to make these figures again; under each of them
  int  figures;      // numbered so far
} report;

// Lines over steps: one panel for each, the others in grey behind it; smoothed, with the raw values in a lighter shade.
typedef struct report_line {
  const char *name;
  const double *values;
  int count;
  double first, every;       // value i belongs to step first + i * every [0, 1]
} report_line;

typedef struct report_lines {
  const char *title, *caption;
  const report_line *lines;
  int count;
  const char *x, *y;         // what the axes show ["step", none]
  int logarithmic;           // y on a log scale
  double low, high;          // of y [both 0: from the numbers, in linear scale from 0 if that wastes little]
} report_lines;

// The matching over time: a panel for each fork, in it a row for each way and a column for each window of steps.
typedef struct report_matching {
  const char *title, *caption;
  const char *const *way_names;    // [ways]
  const char *const *fork_names;   // [forks] ["fork 1", ...]
  int windows, forks, ways;
  const double *share;             // [windows][forks][ways] share of the window's questions in which fork takes way, 0 .. 1
  double first, every;             // window i covers steps first + i * every and the following [0, 1]
} report_matching;

// Fork x way: a panel for each arm, the share printed in each cell. Rows of NaN: that arm has no such fork.
typedef struct report_matrix {
  const char *title, *caption;
  const char *const *arm_names;    // [arms]
  const char *const *way_names;    // [ways]
  const char *const *fork_names;   // [forks] ["fork 1", ...]
  int arms, forks, ways;
  const double *share;             // [arms][forks][ways], 0 .. 1
} report_matrix;

// Accuracies: a panel for each measure, a bar for each arm. Several seeds: the bar is their mean, each is a dot, the
// whisker is one standard error of the mean to either side; the list of numbers has the extremes as well.
typedef struct report_bars {
  const char *title, *caption;
  const char *const *arm_names;      // [arms]
  const char *const *measure_names;  // [measures]
  int arms, measures, seeds;
  const double *values;              // [arms][measures][seeds]
  const double *errors;              // [arms][measures] standard errors, instead of those over seeds
  const int *strong;                 // [arms] 1: in colour, 0: in grey [all in colour]
  double high;                       // end of the axis [1]
} report_bars;

// How long the traces are: a histogram for each sample (a fork), that of all together behind it.
typedef struct report_sample {
  const char *name;
  const int *values;
  int count;
} report_sample;

typedef struct report_lengths {
  const char *title, *caption;
  const report_sample *samples;
  int count;
  const char *x;             // what is counted ["tokens"]
  int limit;                 // a mark at this length, such as a deadline
} report_lengths;

// One question as every fork solves it, side by side, then the vote.
typedef struct report_reply {
  const char *name;          // the fork
  const char *way, *text, *answer;
  int right;                 // 1 right, 0 wrong, -1 not judged
} report_reply;

typedef struct report_question {
  const char *title, *caption;
  const char *question, *truth;
  const report_reply *replies;
  int count;
  const double *policy;      // [count] the policy's probability of each fork, 0 .. 1
  const char *vote;          // the answer that won [no vote shown]; "" for a vote without winner
  int votes, vote_right;     // how many gave it; 1 right, 0 wrong, -1 not judged
} report_question;

// A table alone, for what needs no picture.
typedef struct report_table {
  const char *title, *caption;
  const char *corner;              // over the row names
  const char *const *row_names;    // [rows]
  const char *const *column_names; // [columns]
  int rows, columns, digits;       // digits behind the point
  const double *values;            // [rows][columns]
} report_table;

static inline void report_open(report *r, const char *path, const char *title, const char *lede, const char *source);
static inline void report_section(report *r, const char *title, const char *text);  // a heading, a paragraph; either may be NULL
static inline void report_facts(report *r, const char *const *pairs, int count);    // [count][2] name, value: a list of settings
static inline void report_add_lines(report *r, const report_lines *f);
static inline void report_add_matching(report *r, const report_matching *f);
static inline void report_add_matrix(report *r, const report_matrix *f);
static inline void report_add_bars(report *r, const report_bars *f);
static inline void report_add_lengths(report *r, const report_lengths *f);
static inline void report_add_question(report *r, const report_question *f);
static inline void report_add_table(report *r, const report_table *f);
static inline int  report_close(report *r);                                         // 1: the page is there
static inline void report_drop(report *r);                                          // no page after all

#endif
