// report.h - results as one HTML page: figures in inline SVG with their numbers beside them, no script, light and dark,
// readable on a phone and in print. Plain C99, after the implementation of forkreason.h, which replaces the file.
//
//     report_page r;
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

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct report_page {
  FILE *file;
  char path[1024], error[1200];
  char source[400];  // how to make these figures again; under each of them
  int  figures;      // numbered so far
} report_page;

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
  const double *share;             // [windows][forks][ways] share of the window's questions, 0 .. 1
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
  const double *values;            // the same: what is printed in the cells, with so many digits behind the point, where it is
  int digits;                      // something else than the share, which is then their shade alone [the share, in percent]
  const int *marked;               // [arms][ways] the fork whose cell has a frame in this column, -1: none [no frames]
  const char *what;                // in words what the numbers are, with `values`
} report_matrix;

// Accuracies: a panel for each measure, a bar for each arm. Several seeds: the bar is their mean, each is a dot, the
// whisker is one standard error of the mean to either side; the list of numbers has every seed.
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
  int vote_right;            // 1 right, 0 wrong, -1 not judged
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

// ---- writing -------------------------------------------------------------------------------------------

// The next character of *text, as *bytes that may stand in HTML, or NULL at its end: itself, or what stands for it. Replaced
// are markup, broken UTF-8, control characters and what turns the direction of writing. Moves *text on.
static inline const char *report__character(const char **text, int *bytes)
{
  static const char unknown[] = "\xEF\xBF\xBD";
  const unsigned char *s = (const unsigned char *)*text;
  const int more = s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : s[0] < 0xF5 ? 3 : 0;
  int i = 1;
  if (!s[0]) return NULL;
  while (i <= more && (s[i] & 0xC0) == 0x80) i++;
  *text += i;
  *bytes = i;
  if (s[0] < 0x80) {
    const char *const entity = s[0] == '&' ? "&amp;" : s[0] == '<' ? "&lt;" : s[0] == '>' ? "&gt;" :
                               s[0] == '"' ? "&quot;" : s[0] == '\'' ? "&#39;" : NULL;
    if (entity) return *bytes = (int)strlen(entity), entity;
    if ((s[0] >= ' ' && s[0] < 127) || s[0] == '\n' || s[0] == '\t') return (const char *)s;
  } else if (more && i == more + 1 && !(s[0] == 0xC2 && s[1] < 0xA0) && !(s[0] == 0xE0 && s[1] < 0xA0) &&
             !(s[0] == 0xED && s[1] >= 0xA0) && !(s[0] == 0xF0 && s[1] < 0x90) && !(s[0] == 0xF4 && s[1] >= 0x90) &&
             !(s[0] == 0xEF && s[1] == 0xBF && s[2] >= 0xBE) &&
             !(s[0] == 0xE2 && s[1] == 0x80 && s[2] >= 0xAA && s[2] <= 0xAE) &&
             !(s[0] == 0xE2 && s[1] == 0x81 && s[2] >= 0xA6 && s[2] <= 0xA9))
    return (const char *)s;
  return *bytes = 3, unknown;
}

// The places that a text takes on a line, in widths of a digit.
static inline int report__width(const char *text)
{
  int width = 0, bytes;
  for (const char *s = text; *s;) {
    width += (unsigned char)*s >= 0xE1 ? 2 : 1;
    report__character(&s, &bytes);
  }
  return width;
}

static inline void report__point_of(char *number)  // whatever the locale
{
  for (; *number; number++)
    if (*number == ',') *number = '.';
}

static inline void report__short(char out[40], double value)
{
  snprintf(out, 40, "%.6g", value);
  report__point_of(out);
}

static inline void report__value(char out[40], double value, int digits)
{
  if (!isfinite(value)) strcpy(out, "\xE2\x80\x93");
  else if (value != 0.0 && digits > 3 && (fabs(value) >= 1e7 || fabs(value) < 0.5 * pow(10.0, -digits)))
    snprintf(out, 40, "%.3g", value);
  else snprintf(out, 40, fabs(value) < 1e15 ? "%.*f" : "%.*g", digits, value);
  report__point_of(out);
}

// %s markup, %t text, %c so many columns of a text at most (int, text), %d int, %n a coordinate, %v a number and its digits
static inline void report__put(report_page *r, const char *format, ...)
{
  va_list list;
  char number[40];
  if (!r->file) return;
  va_start(list, format);
  for (; *format; format++) {
    if (*format != '%') { putc(*format, r->file); continue; }
    const char what = *++format;
    if (what == '%') putc('%', r->file);
    else if (what == 's') fputs(va_arg(list, const char *), r->file);
    else if (what == 'd') fprintf(r->file, "%d", va_arg(list, int));
    else if (what == 'v' || what == 'n') {
      const double value = va_arg(list, double);
      report__value(number, value, what == 'v' ? va_arg(list, int) : 2);
      char *end = number + strlen(number);
      if (what == 'n' && strchr(number, '.')) {
        while (end[-1] == '0') *--end = '\0';
        if (end[-1] == '.') *--end = '\0';
      }
      fputs(number, r->file);
    } else {
      int room = what == 'c' ? va_arg(list, int) : -1, bytes;
      const char *text = va_arg(list, const char *), *c;
      if (!text) text = "";
      if (room >= 0 && report__width(text) <= room) room = -1;
      while ((c = report__character(&text, &bytes)) != NULL) {
        if (room >= 0 && (room -= (unsigned char)*c >= 0xE1 ? 2 : 1) < 1) { fputs("\xE2\x80\xA6", r->file); break; }
        fwrite(c, 1, (size_t)bytes, r->file);
      }
    }
  }
  va_end(list);
}

// ---- the page ------------------------------------------------------------------------------------------

// Plots are as wide as their column and of fixed height: x in percent, y and type in pixels, so that no type shrinks on a
// phone. --g is the gutter for labels on the left, --e on the right, --n the columns of panels, --m their least width.
static const char *const report__style[] = {
  ":root{color-scheme:light dark;--paper:#fff;--ink:#1c1c1e;--soft:#5c6066;--rule:#dcdee1;--zero:#f1f2f4;--back:#c3c7cd;",
  "--grey:#a3a9b1;--main:#0b62a4;--raw:#9cc3e0;--bad:#b23c00}\n",
  "@media (prefers-color-scheme:dark){:root{--paper:#131517;--ink:#e7e8ea;--soft:#a2a8af;--rule:#30353a;--zero:#1e2226;",
  "--back:#4b525a;--grey:#737b85;--main:#6bb5f2;--raw:#33597a;--bad:#f2935c}}\n",
  "@media print{:root{color-scheme:light}}\n",
  "*{box-sizing:border-box}\n",
  "html{-webkit-text-size-adjust:100%;text-size-adjust:100%}\n",
  "body{margin:0 auto;max-width:68rem;padding:3rem 1.25rem 5rem;background:var(--paper);color:var(--ink);",
  "font:1rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;",
  "font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n",
  "h1{font-size:1.9rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 .6rem;font-weight:650}\n",
  "h2{font-size:1.3rem;line-height:1.3;margin:4.5rem 0 .5rem;padding-top:1rem;border-top:1px solid var(--rule);",
  "font-weight:650}\n",
  "p{margin:0 0 1rem}.lede,.text,figcaption{max-width:42rem}.lede{font-size:1.1rem}\n",
  "ul{list-style:none;padding:0;display:grid;",
  "grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.7rem 1.5rem;margin:1.5rem 0;",
  "font-size:.875rem;line-height:1.4}li span{display:block;color:var(--soft)}\n",
  "figure{margin:3.25rem 0 0}\n",
  ".title{font-weight:600;font-size:1.05rem;margin:0 0 .9rem}",
  ".title span{color:var(--soft);font-weight:400;margin-right:.4em}\n",
  "figcaption{font-size:.875rem;line-height:1.5;color:var(--soft);margin-top:.9rem}\n",
  ".y{font-size:.75rem;color:var(--soft);margin:0 0 .5rem}\n",
  ".grid{display:grid;gap:1.5rem 1.4rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,max(var(--m),",
  "(100% - (var(--n) - 1)*1.4rem)/var(--n))),1fr))}.one{max-width:40rem}\n",
  ".name{font-size:.8125rem;line-height:1.35;font-weight:600;margin:0 0 .45rem;display:flex;justify-content:space-between;",
  "gap:.6em;align-items:flex-end}.name span{font-weight:400;color:var(--soft);white-space:nowrap}\n",
  ".panel{display:flex;flex-direction:column;justify-content:flex-end;min-width:0}\n",
  ".plot{display:block;overflow:visible;width:calc(100% - var(--g) - var(--e));margin-left:var(--g)}\n",
  "svg text{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}svg .l{fill:var(--ink)}\n",
  ".s{text-anchor:start}.m{text-anchor:middle}.e{text-anchor:end}\n",
  ".rule{stroke:var(--rule);stroke-width:1;shape-rendering:crispEdges}.base{stroke:var(--grey)}\n",
  ".back,.raw,.line{fill:none;stroke-linejoin:round;stroke-linecap:round}",
  ".v{vector-effect:non-scaling-stroke}.once{position:absolute}\n",
  ".back{stroke:var(--back);stroke-width:1}.raw{stroke:var(--raw);stroke-width:1}",
  ".line{stroke:var(--main);stroke-width:2}\n",
  ".f{fill:var(--main)}.g{fill:var(--grey)}.z{fill:var(--zero)}.b{fill:var(--bad)}.cell{shape-rendering:crispEdges}\n",
  ".err{stroke:var(--ink);stroke-width:1.25}.dot{fill:var(--paper);stroke:var(--ink);stroke-width:1}\n",
  ".limit{stroke:var(--bad);stroke-width:1.25;stroke-dasharray:4 3}\n",
  "svg .hi,svg .mid{fill:var(--paper)}svg .lo{fill:var(--ink)}\n",
  "@media (prefers-color-scheme:light){svg .mid{fill:var(--ink)}}@media print{svg .mid{fill:var(--ink)}}\n",
  ".ask{font-size:1.25rem;margin:0 0 1rem}.ask span{color:var(--soft);font-size:.875rem;margin-left:.6em}\n",
  ".reply{border-top:2px solid var(--rule);padding-top:.6rem;font-size:.875rem;line-height:1.45;min-width:0}\n",
  ".reply .name{margin:0 0 .3rem}.way{color:var(--soft);margin:0 0 .5rem;font-size:.8125rem}\n",
  ".trace{font:.8125rem/1.6 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;margin:0 0 .5rem;",
  "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}\n",
  ".right{color:var(--main)}.wrong{color:var(--bad)}.answer{font-weight:600;margin:0}\n",
  ".p{display:block;width:100%;margin:.1rem 0 .6rem}.vote{margin-top:1.6rem;font-size:.875rem}\n",
  ".vote td,.vote th{border:0;padding:.1rem 1.2rem .1rem 0;text-align:left;vertical-align:middle}",
  ".vote svg{display:block}\n",
  ".source{display:inline-block}.key{vertical-align:-2px}\n",
  "details{margin:.6rem 0 0;font-size:.8125rem;color:var(--soft)}summary{cursor:pointer;width:max-content}\n",
  ".scroll{overflow-x:auto;margin-top:.6rem}table{border-collapse:collapse;color:var(--ink);font-size:.8125rem;",
  "line-height:1.4;overflow-wrap:normal}\n",
  "th,td{text-align:right;padding:.22rem .9rem .22rem 0;border-bottom:1px solid var(--rule);font-weight:400;",
  "vertical-align:bottom}td{white-space:nowrap}th{max-width:16em;overflow-wrap:break-word}",
  "thead th{color:var(--soft);max-width:9em}th:first-child{text-align:left;min-width:7em}.vote th{min-width:0}\n",
  ".seed th,.seed td{color:var(--soft);border-bottom:0;padding-top:0}.seed th{padding-left:1em}\n",
  "@media print{body{padding:0;max-width:none;font-size:10.5pt}figure,.panel,tr{break-inside:avoid}h2{break-after:avoid}",
  ".long,summary{display:none}.scroll{overflow:visible}table{font-size:7.5pt}",
  "details::details-content{content-visibility:visible;block-size:auto}}\n",
};

static inline void report_open(report_page *r, const char *path, const char *title, const char *lede, const char *source)
{
  memset(r, 0, sizeof *r);
  if (!path || !*path || strlen(path) + 5 > sizeof r->path) {
    snprintf(r->error, sizeof r->error, "the report's path is %s", path && *path ? "too long" : "empty");
    return;
  }
  char temporary[sizeof r->path];
  snprintf(r->path, sizeof r->path, "%s", path);
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  snprintf(r->source, sizeof r->source, "%s", source ? source : "");
  r->file = fopen(temporary, "w");
  if (!r->file) {
    snprintf(r->error, sizeof r->error, "cannot write %s: %s", temporary, strerror(errno));
    return;
  }
  report__put(r, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
              "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>%t</title>\n<style>\n",
              title && *title ? title : "Report");
  for (size_t i = 0; i < sizeof report__style / sizeof report__style[0]; i++) fputs(report__style[i], r->file);
  report__put(r, "</style>\n</head>\n<body>\n<main>\n<h1>%t</h1>\n", title && *title ? title : "Report");
  if (lede && *lede) report__put(r, "<p class=\"lede\">%t</p>\n", lede);
}

static inline void report_drop(report_page *r)
{
  char temporary[sizeof r->path + 4];
  if (!r->file) return;
  fclose(r->file);
  r->file = NULL;
  snprintf(temporary, sizeof temporary, "%s.tmp", r->path);
  remove(temporary);
}

// Before a long run: can a page be written to this path? If not, 0 and r->error says why.
static inline int report_check(report_page *r, const char *path)
{
  report_open(r, path, NULL, NULL, NULL);
  const int possible = r->file != NULL;
  report_drop(r);
  return possible;
}

// 1: the page is there.
static inline int report_close(report_page *r)
{
  char temporary[sizeof r->path + 4];
  if (!r->file) return 0;
  report__put(r, "</main>\n</body>\n</html>\n");
  snprintf(temporary, sizeof temporary, "%s.tmp", r->path);
  errno = 0;
  const int written = fflush(r->file) == 0 && !ferror(r->file), closed = fclose(r->file) == 0;
  r->file = NULL;
  if (written && closed && fr__replace(temporary, r->path)) return 1;
  snprintf(r->error, sizeof r->error, "cannot write %s: %s", r->path, errno ? strerror(errno) : "output error");
  remove(temporary);
  return 0;
}

// A heading and a paragraph; either may be NULL.
static inline void report_section(report_page *r, const char *title, const char *text)
{
  if (title && *title) report__put(r, "<h2>%t</h2>\n", title);
  if (text && *text) report__put(r, "<p class=\"text\">%t</p>\n", text);
}

// [count][2] name and value: the settings of a run.
static inline void report_facts(report_page *r, const char *const *pairs, int count)
{
  if (!pairs || count < 1) return;
  report__put(r, "<ul>\n");
  for (int i = 0; i < count; i++) report__put(r, "<li><span>%t</span> %t</li>\n", pairs[2 * i], pairs[2 * i + 1]);
  report__put(r, "</ul>\n");
}

static inline int report__begin(report_page *r, const char *title, int any)
{
  r->figures++;
  report__put(r, "<figure id=\"figure%d\">\n<p class=\"title\"><span>Figure %d</span> %t</p>\n", r->figures, r->figures,
              title);
  if (!any) report__put(r, "<p class=\"y\">Nothing was measured here.</p>\n");
  return any;
}

static inline void report__end(report_page *r, const char *caption, const char *reading)
{
  if ((caption && *caption) || (reading && *reading) || r->source[0]) {
    report__put(r, "<figcaption>%t %s", caption, reading ? reading : "");
    if (r->source[0]) report__put(r, " Source: <span class=\"source\">%t.</span>", r->source);
    report__put(r, "</figcaption>\n");
  }
  report__put(r, "</figure>\n");
}

static inline const char *report__name(char room[40], const char *const *names, int i, const char *otherwise)
{
  if (names && names[i]) return names[i];
  snprintf(room, 40, "%s %d", otherwise, i + 1);
  return room;
}

// The table under a figure; a long one is not printed on paper.
static inline void report__numbers(report_page *r, const char *corner, int long_one)
{
  report__put(r, "<details%s><summary>The numbers of figure %d</summary>\n<div class=\"scroll\">\n<table>\n"
              "<thead><tr><th scope=\"col\">%t</th>", long_one ? " class=\"long\"" : "", r->figures, corner);
}

// The names over the columns of a table, and the end of its head.
static inline void report__columns(report_page *r, const char *const *names, int count, const char *otherwise)
{
  char room[40];
  for (int i = 0; i < count; i++) report__put(r, "<th scope=\"col\">%t</th>", report__name(room, names, i, otherwise));
  report__put(r, "</tr></thead>\n<tbody>\n");
}

static inline void report__numbers_end(report_page *r) { report__put(r, "</tbody>\n</table>\n</div>\n</details>\n"); }

// values[i][j][k] of [][nj][nk]
static inline double report__cell(const double *values, int i, int nj, int j, int nk, int k)
{
  return values[((size_t)i * (size_t)nj + (size_t)j) * (size_t)nk + (size_t)k];
}

static inline int report__any(const double *values, double count)
{
  for (double i = 0; values && i < count; i++)
    if (isfinite(values[(size_t)i])) return 1;
  return 0;
}

// Panels: n side by side where the page is wide enough, none narrower than `least` pixels.
static inline void report__grid(report_page *r, int panels, int most, int least, int gutter, int edge)
{
  const int rows = (panels + most - 1) / most, n = (panels + rows - 1) / rows;
  report__put(r, "<div class=\"grid%s\" style=\"--n:%d;--m:%dpx;--g:%dpx;--e:%dpx\">\n", panels == 1 ? " one" : "", n,
              least, gutter, edge);
}

// A panel's name, with a number on its right, and its plot, which says in words what it shows.
static inline void report__panel(report_page *r, const char *name, const char *aside, int height, const char *shows)
{
  report__put(r, "<div class=\"panel\"><p class=\"name\">%t", name);
  if (aside) report__put(r, "<span>%t</span>", aside);
  report__put(r, "</p>\n<svg class=\"plot\" role=\"img\" height=\"%d\"><title>%t</title><desc>%t</desc>\n", height, name,
              shows);
}

static const char report__panel_end[] = "</svg></div>\n";

// ---- axes ----------------------------------------------------------------------------------------------

typedef struct report__axis { double low, high, step; int digits, logarithmic; } report__axis;

// The least of 1, 2, 5 times a power of ten of which `most` cover the range.
static inline double report__step(double range, int most)
{
  const double least = range / most * (1.0 - 1e-9), ten = pow(10.0, floor(log10(least)));
  return least <= ten ? ten : least <= 2.0 * ten ? 2.0 * ten : least <= 5.0 * ten ? 5.0 * ten : 10.0 * ten;
}

// An axis from low to high; `ends` widens it to round numbers.
static inline report__axis report__axis_new(double low, double high, int most, int ends)
{
  report__axis a;
  memset(&a, 0, sizeof a);
  if (!(high > low)) {
    const double half = low != 0.0 ? fabs(low) * 0.5 : 0.5;
    if (ends) low -= half;
    high = low + 2.0 * half;
  }
  a.step = report__step(high - low, most);
  for (int more = 1; !ends && more <= 3 && floor(high / a.step + 1e-9) - ceil(low / a.step - 1e-9) < 1.0; more++)
    a.step = report__step(high - low, most + more);  // a single tick is no scale
  a.low = ends ? floor(low / a.step + 1e-9) * a.step : low;
  a.high = ends ? ceil(high / a.step - 1e-9) * a.step : high;
  for (double s = a.step; a.digits < 6 && fabs(s - floor(s + 0.5)) > 1e-6; s *= 10.0) a.digits++;
  return a;
}

// On a log scale: low, high > 0.
static inline report__axis report__axis_log(double low, double high, int most)
{
  report__axis a = report__axis_new(low, high, most, 0);
  if (!(high > low)) a.high = 2.0 * (a.low = 0.5 * low) * 2.0;
  a.logarithmic = a.high / a.low >= 5.0 ? 2 : 1;  // 1: ticks of even step, 2: 1, 2, 5, 10 ... or powers of ten only
  return a;
}

static inline double report__at(const report__axis *a, double value)  // 0 at the low end, 1 at the high one
{
  return a->logarithmic ? value > 0.0 ? log(value / a->low) / log(a->high / a->low) : (double)NAN
                        : (value - a->low) / (a->high - a->low);
}

// The i-th round number on the axis; 0 behind the last.
static inline int report__tick(const report__axis *a, int i, double *value)
{
  if (a->logarithmic < 2) *value = (ceil(a->low / a->step - 1e-9) + i) * a->step;
  else {
    const double decades = log10(a->high / a->low), from = ceil(log10(a->low) - 1e-9);
    static const double mantissa[3] = { 1.0, 2.0, 5.0 };
    const double skip = ceil(decades / 4.0);
    if (decades > 2.0) *value = pow(10.0, from + i * skip);
    else {
      int k = 0;  // ticks of 1, 2, 5 below `low` are passed over
      while (mantissa[k % 3] * pow(10.0, from - 1.0 + k / 3) < a->low * (1.0 - 1e-9)) k++;
      *value = mantissa[(k + i) % 3] * pow(10.0, from - 1.0 + (k + i) / 3);
    }
  }
  if (fabs(*value) < a->step * 1e-9) *value = 0.0;
  return i < 100 && *value <= a->high + (a->logarithmic ? a->high : a->step) * 1e-9;
}

static inline void report__tick_text(report_page *r, const report__axis *a, double value)
{
  char text[40];
  if (a->logarithmic < 2 && a->high < 1e6 && a->digits < 6) report__put(r, "%v", value, a->digits);
  else if (value > 0.0 && value < 5e-4) {  // 1e-4: what the left gutter has room for
    const double ten = floor(log10(value) + 1e-9);
    snprintf(text, sizeof text, "%.0fe%.0f", value / pow(10.0, ten), ten);
    report__put(r, "%s", text);
  } else {
    report__short(text, value);
    report__put(r, "%s", text);
  }
}

// ---- drawing: x and widths in percent of the plot, y and heights in pixels ------------------------------

static inline void report__rect(report_page *r, const char *kind, double x, double y, double width, double height)
{
  report__put(r, "<rect class=\"%s\" x=\"%n%%\" y=\"%n\" width=\"%n%%\" height=\"%n\"/>", kind, x, y, width, height);
}

static inline void report__line(report_page *r, const char *kind, double x1, double x2, double y1, double y2)
{
  report__put(r, "<line class=\"%s\" x1=\"%n%%\" x2=\"%n%%\" y1=\"%n\" y2=\"%n\"/>", kind, x1, x2, y1, y2);
}

static inline void report__label(report_page *r, const char *kind, int y, int room, const char *text)  // in the left gutter
{
  report__put(r, "<text class=\"e%s\" x=\"-6\" y=\"%d\">%c</text>", kind, y, room, text);
}

static inline double report__clamp(double share) { return share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share; }

// A cell that a share from 0 to 1 shades.
static inline void report__shade(report_page *r, double x, int y, double width, int height, double share)
{
  report__rect(r, "cell z", x, y, width, height);
  if (share >= 0.005)
    report__put(r, "<rect class=\"cell f\" x=\"%n%%\" y=\"%d\" width=\"%n%%\" height=\"%d\" fill-opacity=\"%n\"/>", x, y,
                width, height, report__clamp(share));
}

// Every tick has a mark, and every how many a number, so that numbers stay apart where a panel is narrow: on paper a plot may be
// 105 pixels wide, a digit is 6.5.
static inline int report__labelled(const report__axis *a)
{
  double first, second, value;
  int length = 0;
  for (int i = 0; report__tick(a, i, &value); i++) {
    const int digits = snprintf(NULL, 0, "%.*f", a->digits, value);
    if (digits > length) length = digits;
  }
  if (a->logarithmic || !report__tick(a, 0, &first) || !report__tick(a, 1, &second)) return 1;
  return (int)ceil((6.5 * (length < 7 ? length : 7) + 6.0) / (105.0 * (report__at(a, second) - report__at(a, first))));
}

// Lines and labels of both axes of a plot `height` pixels high; y may be NULL.
static inline void report__axes(report_page *r, const report__axis *x, const report__axis *y, int height, const char *x_name)
{
  double value;
  for (int i = 0; y && report__tick(y, i, &value); i++) {
    const double at = height * (1.0 - report__at(y, value));
    report__line(r, "rule", 0.0, 100.0, at, at);
    report__put(r, "<text class=\"e\" x=\"-6\" y=\"%n\">", at + 4.0);
    report__tick_text(r, y, value);
    report__put(r, "</text>\n");
  }
  report__line(r, "rule base", 0.0, 100.0, height, height);
  const int every = report__labelled(x);
  for (int i = 0; report__tick(x, i, &value); i++) {
    const double at = 100.0 * report__at(x, value);
    report__line(r, "rule base", at, at, height, height + 4);
    if (i % every) continue;
    report__put(r, "<text class=\"%s\" x=\"%n%%\" y=\"%d\">", at > 95.0 ? "e" : at < 5.0 ? "s" : "m", at, height + 17);
    report__tick_text(r, x, value);
    report__put(r, "</text>\n");
  }
  report__put(r, "<text class=\"e\" x=\"100%%\" y=\"%d\">%t \xE2\x86\x92</text>\n", height + 32, x_name);
}

// ---- lines ---------------------------------------------------------------------------------------------

enum { REPORT__POINTS = 160, REPORT__STRETCHES = 300, REPORT__ROWS = 20 };

static inline int report__length(const report_line *line) { return line->values && line->count > 0 ? line->count : 0; }

static inline double report__every(double every) { return every != 0.0 ? every : 1.0; }

static inline double report__x(const report_line *line, int i) { return line->first + i * report__every(line->every); }

// The mean of the 1/20 of the line around i; less towards its beginning, where a loss falls fast.
static inline double report__smooth(const report_line *line, int i)
{
  const int half = line->count / 40, before = half < i ? half : i;
  double sum = 0.0;
  int count = 0;
  for (int j = i - before; j <= i + before && j < line->count; j++)
    if (isfinite(line->values[j])) sum += line->values[j], count++;
  return count && isfinite(line->values[i]) ? sum / count : (double)NAN;
}

// The bold line is drawn through this many points of even distance; the i-th of them.
static inline int report__points(const report_line *line)
{
  const int length = report__length(line);
  return length < REPORT__POINTS ? length : REPORT__POINTS;
}

static inline int report__pick(const report_line *line, int i)
{
  const int points = report__points(line);
  return points < 2 ? 0 : (int)((double)i * (line->count - 1) / (points - 1) + 0.5);
}

// Adds a point to a path in a box of 1000 x 1000; *pen: is it down? What is far outside stays just outside.
static inline void report__point(report_page *r, const report__axis *x, const report__axis *y, double at, double value,
                                 int *pen)
{
  double up = isfinite(value) ? report__at(y, value) : (double)NAN;
  if (!isfinite(up)) { *pen = 0; return; }
  up = up > 9.0 ? 9.0 : up < -9.0 ? -9.0 : up;
  report__put(r, "%s%n %n", *pen ? "L" : "M", 1000.0 * report__at(x, at), 1000.0 * (1.0 - up));
  *pen = 1;
}

// Raw values: every one, or the extremes of each of 300 stretches. Adds 1 to *drawn if there are stretches, 2 if a value
// lies outside.
static inline void report__raw(report_page *r, const report_line *line, const report__axis *x, const report__axis *y,
                               int *drawn)
{
  const int parts = line->count < REPORT__STRETCHES ? line->count : REPORT__STRETCHES;
  int pen = 0;
  for (int b = 0; b < parts; b++) {
    const int begin = (int)((double)b * line->count / parts), end = (int)((b + 1.0) * line->count / parts);
    double least = (double)NAN, most = (double)NAN;
    for (int i = begin; i < end; i++) {
      const double value = line->values[i];
      if (!isfinite(value)) continue;
      if (!(value >= least)) least = value;
      if (!(value <= most)) most = value;
      if (value < y->low || value > y->high) *drawn |= 2;
    }
    report__point(r, x, y, report__x(line, begin), b % 2 ? most : least, &pen);
    if (end - begin < 2) continue;
    *drawn |= 1;
    report__point(r, x, y, report__x(line, begin), b % 2 ? least : most, &pen);
  }
}

static inline const char *report__line_name(char room[40], const report_lines *f, int k)
{
  return f->lines[k].name ? f->lines[k].name : report__name(room, NULL, k, "line");
}

static inline void report__lines_numbers(report_page *r, const report_lines *f, double first, double last, const char *x)
{
  const double step = last > first ? report__step(last - first, REPORT__ROWS) : 1.0;
  char name[40];
  report__numbers(r, x, 1);
  for (int k = 0; k < f->count; k++) report__put(r, "<th scope=\"col\">%t</th>", report__line_name(name, f, k));
  report__put(r, "</tr></thead>\n<tbody>\n");
  for (double at = first, next; at <= last; at = at < last && next > last ? last : next) {  // round steps between both ends
    next = (floor(at / step + 1e-9) + 1.0) * step;
    report__put(r, "<tr><th scope=\"row\">%n</th>", at);
    for (int k = 0; k < f->count; k++) {
      const double i = floor((at - f->lines[k].first) / report__every(f->lines[k].every) + 0.5);
      const int there = i >= 0.0 && i < report__length(&f->lines[k]);
      report__put(r, "<td>%v</td>", there ? report__smooth(&f->lines[k], (int)i) : (double)NAN, 4);
    }
    report__put(r, "</tr>\n");
  }
  report__numbers_end(r);
}

static inline void report_add_lines(report_page *r, const report_lines *f)
{
  enum { HEIGHT = 132 };
  const char *const x_name = f->x ? f->x : "step";
  double low = HUGE_VAL, high = -HUGE_VAL, first = HUGE_VAL, last = -HUGE_VAL;
  int any = 0, drawn = 0, pen;
  char name[40], from[40], to[40], begin[40], end[40], says[400];
  for (int k = 0; f->lines && k < f->count; k++) {
    const report_line *line = &f->lines[k];
    const int length = report__length(line);
    for (int i = 0; i < report__points(line); i++) {
      const double value = report__smooth(line, report__pick(line, i));
      if (!isfinite(value) || (f->logarithmic && value <= 0.0)) continue;
      low = value < low ? value : low;
      high = value > high ? value : high;
      any = 1;
    }
    if (length && report__x(line, 0) < first) first = report__x(line, 0);
    if (length && report__x(line, length - 1) > last) last = report__x(line, length - 1);
  }
  if (!report__begin(r, f->title, any)) { report__end(r, f->caption, NULL); return; }
  if (f->low < f->high) low = f->low, high = f->high;
  else if (!f->logarithmic) {
    if (low > 0.0 && low < 0.5 * high) low = 0.0;
    high += 0.04 * (high - low);
    if (low != 0.0) low -= 0.04 * (high - low);
  }
  const int logarithmic = f->logarithmic && low > 0.0;
  const report__axis x = report__axis_new(first, last, f->count > 1 ? 3 : 4, 0);
  const report__axis y = logarithmic ? report__axis_log(low, high, 4) : report__axis_new(low, high, 4, 0);

  // A bold line's path is written once; its own panel shows it in colour, the others in grey.
  report__put(r, "<svg width=\"0\" height=\"0\" class=\"once\" aria-hidden=\"true\"><defs>\n");
  for (int k = 0; k < f->count; k++) {
    const report_line *line = &f->lines[k];
    report__put(r, "<path class=\"v\" id=\"f%dl%d\" d=\"M0 0", r->figures, k);
    for (int i = pen = 0; i < report__points(line); i++) {
      const int j = report__pick(line, i);
      report__point(r, &x, &y, report__x(line, j), report__smooth(line, j), &pen);
    }
    report__put(r, "\"/>\n");
  }
  report__put(r, "</defs></svg>\n");
  if (f->y) report__put(r, "<p class=\"y\">\xE2\x86\x91 %t%s</p>\n", f->y, logarithmic ? ", log scale" : "");
  report__grid(r, f->count, 5, 150, 38, 0);
  for (int k = 0; k < f->count; k++) {
    const report_line *line = &f->lines[k];
    const int there = report__any(line->values, line->count);
    snprintf(to, sizeof to, "no numbers");
    snprintf(says, sizeof says, "No numbers.");
    if (there) {
      report__value(from, report__smooth(line, 0), 3);
      report__value(to, report__smooth(line, line->count - 1), 3);
      report__short(begin, report__x(line, 0));
      report__short(end, report__x(line, line->count - 1));
      snprintf(says, sizeof says, "A line from %s to %s over %.80s %s to %s.", from, to, x_name, begin, end);
    }
    report__panel(r, report__line_name(name, f, k), to, HEIGHT + 36, says);
    report__axes(r, &x, &y, HEIGHT, x_name);
    report__put(r, "<svg width=\"100%%\" height=\"%d\" viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">\n", HEIGHT);
    for (int j = 0; j < f->count; j++)
      if (j != k) report__put(r, "<use class=\"back\" href=\"#f%dl%d\"/>", r->figures, j);
    report__put(r, "\n<path class=\"raw v\" d=\"M0 0");
    if (there) report__raw(r, line, &x, &y, &drawn);
    report__put(r, "\"/>\n<use class=\"line\" href=\"#f%dl%d\"/></svg>\n%s", r->figures, k, report__panel_end);
  }
  report__put(r, "</div>\n");
  snprintf(says, sizeof says, "Bold: mean over a twentieth of the run; light: every value%s%s%s. "
           "The number is where the bold line ends.", drawn & 1 ? " (by the extremes of short stretches)" : "",
           drawn & 2 ? ", cut off at the axis" : "", f->count > 1 ? "; grey: the other panels\xE2\x80\x99 means" : "");
  report__end(r, f->caption, says);
  report__lines_numbers(r, f, first, last, x_name);
}

// ---- matching and matrix -------------------------------------------------------------------------------

static inline int report__pixels(int columns) { return 8 + columns * 67 / 10; }  // of 12 px type, generously

// The width of the widest name, `most` if that is less.
static inline int report__widest(const char *const *names, int count, const char *otherwise, int most)
{
  char room[40];
  int widest = 0;
  for (int i = 0; i < count && widest < most; i++) {
    const int width = report__width(report__name(room, names, i, otherwise));
    if (width > widest) widest = width < most ? width : most;
  }
  return widest;
}

static inline void report_add_matching(report_page *r, const report_matching *f)
{
  enum { ROW = 17, MOST = 60 };
  const int forks = f->forks, ways = f->ways, windows = f->windows;
  const double cells = windows > 0 && forks > 0 && ways > 0 ? (double)windows * forks * ways : 0.0;
  char name[40], other[40], says[400];
  if (!report__begin(r, f->title, report__any(f->share, cells))) { report__end(r, f->caption, NULL); return; }
  const int each = (windows + MOST - 1) / MOST;  // windows to a column
  const int labels = report__widest(f->way_names, ways, "way", 15), gutter = report__pixels(labels);
  const report__axis x = report__axis_new(f->first, f->first + windows * report__every(f->every), 3, 0);
  report__put(r, "<p class=\"y\">\xE2\x86\x93 way; share of the questions: 0 <svg class=\"key\" width=\"60\" height=\"12\" "
              "aria-hidden=\"true\">");
  for (int i = 0; i < 5; i++) report__shade(r, 20.0 * i, 0, 20.0, 12, 0.25 * i);
  report__put(r, "</svg> 1</p>\n");
  report__grid(r, forks, forks % 4 == 0 || forks > 9 ? 4 : 3, 150 + gutter, gutter, 0);
  for (int k = 0; k < forks; k++) {
    int first = 0, last = 0;
    const int end = windows - 1;
    for (int w = 1; w < ways; w++) {
      if (report__cell(f->share, 0, forks, k, ways, w) > report__cell(f->share, 0, forks, k, ways, first)) first = w;
      if (report__cell(f->share, end, forks, k, ways, w) > report__cell(f->share, end, forks, k, ways, last)) last = w;
    }
    snprintf(says, sizeof says, "Most often %.100s at first and %.100s at last.",
             report__name(name, f->way_names, first, "way"), report__name(other, f->way_names, last, "way"));
    report__panel(r, report__name(name, f->fork_names, k, "fork"), NULL, ways * ROW + 36, says);
    for (int w = 0; w < ways; w++) {
      report__label(r, " l", w * ROW + 13, labels, report__name(name, f->way_names, w, "way"));
      for (int begin = 0; begin < windows; begin += each) {
        const int stop = begin + each < windows ? begin + each : windows;
        double sum = 0.0;
        int count = 0;
        for (int i = begin; i < stop; i++) {
          const double share = report__cell(f->share, i, forks, k, ways, w);
          if (isfinite(share)) sum += share, count++;
        }
        if (count)
          report__shade(r, 100.0 * begin / windows, w * ROW, 100.0 * (stop - begin) / windows, ROW - 1, sum / count);
      }
      report__put(r, "\n");
    }
    report__axes(r, &x, NULL, ways * ROW, "step");
    report__put(r, "%s", report__panel_end);
  }
  report__put(r, "</div>\n");
  report__end(r, f->caption, "A panel is a fork, a row a way, a column a stretch of steps; the stronger the colour, the "
              "larger the share of the questions whose trace of that way was matched to the fork.");

  report__numbers(r, "from step", 1);
  report__put(r, "<th scope=\"col\">fork</th>");
  report__columns(r, f->way_names, ways, "way");
  for (int i = 0; i < windows; i++)
    for (int k = 0; k < forks; k++) {
      report__put(r, "<tr><th scope=\"row\">%n</th>", f->first + i * report__every(f->every));
      report__put(r, "<td>%t</td>", report__name(name, f->fork_names, k, "fork"));
      for (int w = 0; w < ways; w++) report__put(r, "<td>%v</td>", report__cell(f->share, i, forks, k, ways, w), 3);
      report__put(r, "</tr>\n");
    }
  report__numbers_end(r);
}

// Where a long name is broken in two: at the blank nearest to its middle; 0 for a short one, or one without blank.
static inline int report__break(const char *name)
{
  const int length = (int)strlen(name);
  int best = 0;
  for (int i = 1; report__width(name) > 8 && i + 1 < length; i++)
    if (name[i] == ' ' && (!best || abs(2 * i - length) < abs(2 * best - length))) best = i;
  return best;
}

// The ways over the columns of a matrix. Returns the height this takes, in pixels; draws if r is not NULL. Names stand on
// one line, on two, or upright where many long ones would not fit on a phone. *least: width of a column.
static inline int report__heads(report_page *r, const report_matrix *f, int *least)
{
  char name[40], part[200];
  int word = 3, lines = 1;
  for (int w = 0; w < f->ways; w++) {
    const char *const way = report__name(name, f->way_names, w, "way");
    const int at = report__break(way), rest = report__width(way + at + (at > 0));
    snprintf(part, sizeof part, "%.*s", at, way);
    if (at) lines = 2;
    if (report__width(part) > word) word = report__width(part);
    if (rest > word) word = rest;
  }
  const int upright = f->ways * report__pixels(word) > 270, room = report__widest(f->way_names, f->ways, "way", 18);
  const int height = upright ? report__pixels(room) : 15 * lines + 5;
  *least = upright ? 30 : report__pixels(word);
  for (int w = 0; r && w < f->ways; w++) {
    const char *const way = report__name(name, f->way_names, w, "way");
    const double middle = 100.0 * (w + 0.5) / f->ways;
    const int at = report__break(way);
    snprintf(part, sizeof part, "%.*s", at, way);
    if (upright)
      report__put(r, "<svg x=\"%n%%\" y=\"%d\" overflow=\"visible\"><text transform=\"rotate(-90)\" y=\"4\">%c</text>"
                  "</svg>\n", middle, height - 6, room, way);
    else {
      if (at) report__put(r, "<text class=\"m\" x=\"%n%%\" y=\"%d\">%t</text>", middle, height - 22, part);
      report__put(r, "<text class=\"m\" x=\"%n%%\" y=\"%d\">%t</text>\n", middle, height - 7, way + at + (at > 0));
    }
  }
  return height;
}

static inline void report_add_matrix(report_page *r, const report_matrix *f)
{
  enum { ROW = 25 };
  const int arms = f->arms, forks = f->forks, ways = f->ways;
  const double cells = arms > 0 && forks > 0 && ways > 0 ? (double)arms * forks * ways : 0.0;
  char name[40];
  int least;
  if (!report__begin(r, f->title, report__any(f->share, cells))) { report__end(r, f->caption, NULL); return; }
  const int labels = report__widest(f->fork_names, forks, "fork", 15), gutter = report__pixels(labels);
  const int top = report__heads(NULL, f, &least);
  report__grid(r, arms, 4, gutter + (ways * least < 290 ? ways * least : 290), gutter, 0);
  for (int a = 0; a < arms; a++) {
    report__panel(r, report__name(name, f->arm_names, a, "arm"), NULL, top + forks * ROW,
                  f->values ? f->what : "Shares of the ways, in percent, a row for each fork.");
    report__heads(r, f, &least);
    for (int k = 0; k < forks; k++) {
      const int y = top + k * ROW;
      if (!report__any(&f->share[((size_t)a * (size_t)forks + (size_t)k) * (size_t)ways], ways)) continue;
      report__label(r, " l", y + 16, labels, report__name(name, f->fork_names, k, "fork"));
      for (int w = 0; w < ways; w++) {
        const double share = report__cell(f->share, a, forks, k, ways, w);
        if (!isfinite(share)) continue;
        report__shade(r, 100.0 * w / ways, y, 100.0 / ways, ROW - 1, share);
        if (f->marked && f->marked[a * ways + w] == k)
          report__put(r, "<rect x=\"%n%%\" y=\"%d\" width=\"%n%%\" height=\"%d\" fill=\"none\" stroke=\"var(--ink)\" stroke-width=\"2.5\"/>",
                      100.0 * w / ways, y + 1, 100.0 / ways, ROW - 3);
        if (share != 0.0 || f->values)
          report__put(r, "<text class=\"m %s\" x=\"%n%%\" y=\"%d\">%v</text>", share > 0.78 ? "hi" : share > 0.55 ? "mid" : "lo",
                      100.0 * (w + 0.5) / ways, y + 16, f->values ? report__cell(f->values, a, forks, k, ways, w) : 100.0 * share,
                      f->values ? f->digits : 0);
      }
      report__put(r, "\n");
    }
    report__put(r, "%s", report__panel_end);
  }
  report__put(r, "</div>\n");
  report__end(r, f->caption, f->values ? f->what : "A row is a fork, a column a way; the number is the share of the questions in percent, blank "
              "for none.");

  report__numbers(r, "arm", 0);
  report__put(r, "<th scope=\"col\">fork</th>");
  report__columns(r, f->way_names, ways, "way");
  for (int a = 0; a < arms; a++)
    for (int k = 0; k < forks; k++) {
      if (!report__any(&f->share[((size_t)a * (size_t)forks + (size_t)k) * (size_t)ways], ways)) continue;
      report__put(r, "<tr><th scope=\"row\">%t</th>", report__name(name, f->arm_names, a, "arm"));
      report__put(r, "<td>%t</td>", report__name(name, f->fork_names, k, "fork"));
      for (int w = 0; w < ways; w++) report__put(r, "<td>%v</td>", report__cell(f->values ? f->values : f->share, a, forks, k, ways, w), 4);
      report__put(r, "</tr>\n");
    }
  report__numbers_end(r);
}

// ---- bars ----------------------------------------------------------------------------------------------

typedef struct report__spread { double mean, error; int count; } report__spread;  // error NaN: unknown

static inline report__spread report__spread_of(const report_bars *f, int arm, int measure)
{
  const int seeds = f->seeds > 0 ? f->seeds : 1;
  report__spread s = { 0.0, 0.0, 0 };
  for (int i = 0; i < seeds; i++) {
    const double value = report__cell(f->values, arm, f->measures, measure, seeds, i);
    if (isfinite(value)) s.mean += value, s.count++;
  }
  s.mean = s.count ? s.mean / s.count : (double)NAN;
  for (int i = 0; i < seeds; i++) {
    const double off = report__cell(f->values, arm, f->measures, measure, seeds, i) - s.mean;
    if (isfinite(off)) s.error += off * off;
  }
  if (f->errors) s.error = report__cell(f->errors, 0, 1, arm, f->measures, measure);
  else s.error = s.count > 1 ? sqrt(s.error / (s.count - 1) / s.count) : (double)NAN;
  return s;
}

static inline void report__bars_numbers(report_page *r, const report_bars *f)
{
  char name[40];
  report__numbers(r, "arm", 0);
  report__columns(r, f->measure_names, f->measures, "measure");
  for (int a = 0; a < f->arms; a++) {
    report__put(r, "<tr><th scope=\"row\">%t</th>", report__name(name, f->arm_names, a, "arm"));
    for (int m = 0; m < f->measures; m++) {
      const report__spread s = report__spread_of(f, a, m);
      report__put(r, "<td>%v", s.mean, 4);
      if (isfinite(s.error)) report__put(r, " \xC2\xB1 %v", s.error < 5e-5 ? 0.0 : s.error, 4);  // not 3.6e-09
      report__put(r, "</td>");
    }
    report__put(r, "</tr>\n");
    for (int i = 0; f->seeds > 1 && i < f->seeds; i++) {
      report__put(r, "<tr class=\"seed\"><th scope=\"row\">seed %d</th>", i + 1);
      for (int m = 0; m < f->measures; m++)
        report__put(r, "<td>%v</td>", report__cell(f->values, a, f->measures, m, f->seeds, i), 4);
      report__put(r, "</tr>\n");
    }
  }
  report__numbers_end(r);
}

static inline void report_add_bars(report_page *r, const report_bars *f)
{
  enum { ROW = 24 };
  const int arms = f->arms, measures = f->measures, seeds = f->seeds > 0 ? f->seeds : 1;
  const double cells = arms > 0 && measures > 0 ? (double)arms * measures * seeds : 0.0;
  char name[40], says[200];
  double tick;
  int whiskers = 0;
  if (!report__begin(r, f->title, report__any(f->values, cells))) { report__end(r, f->caption, NULL); return; }
  const int labels = report__widest(f->arm_names, arms, "arm", 23), gutter = report__pixels(labels);
  const report__axis x = report__axis_new(0.0, f->high > 0.0 ? f->high : 1.0, 2, 0);
  report__grid(r, measures, 3, 120 + gutter, gutter, 44);
  for (int m = 0; m < measures; m++) {
    report__panel(r, report__name(name, f->measure_names, m, "measure"), NULL, arms * ROW + 20,
                  "A bar for each arm; the numbers stand at their ends and in the table below.");
    for (int i = 0; report__tick(&x, i, &tick); i++) {
      const double at = 100.0 * report__at(&x, tick);
      report__line(r, i ? "rule" : "rule base", at, at, 0.0, arms * ROW);
      report__put(r, "<text class=\"m\" x=\"%n%%\" y=\"%d\">", at, arms * ROW + 16);
      report__tick_text(r, &x, tick);
      report__put(r, "</text>\n");
    }
    for (int a = 0; a < arms; a++) {
      const report__spread s = report__spread_of(f, a, m);
      const int strong = !f->strong || f->strong[a], y = a * ROW;
      report__label(r, strong ? " l" : "", y + 16, labels, report__name(name, f->arm_names, a, "arm"));
      report__put(r, "<text class=\"%s\" x=\"100%%\" dx=\"8\" y=\"%d\">%v</text>", strong ? "l" : "s", y + 16, s.mean, 3);
      if (s.count)
        report__rect(r, strong ? "f" : "g", 0.0, y + 6, 100.0 * report__clamp(report__at(&x, s.mean)), 12.0);
      if (s.count && isfinite(s.error)) {
        report__line(r, "err", 100.0 * report__clamp(report__at(&x, s.mean - s.error)),
                     100.0 * report__clamp(report__at(&x, s.mean + s.error)), y + 12, y + 12);
        whiskers = 1;
      }
      for (int i = 0; s.count > 1 && i < seeds; i++) {
        const double at = 100.0 * report__clamp(report__at(&x, report__cell(f->values, a, measures, m, seeds, i)));
        if (isfinite(at)) report__put(r, "<circle class=\"dot\" cx=\"%n%%\" cy=\"%d\" r=\"2\"/>", at, y + 12);
      }
      report__put(r, "\n");
    }
    report__put(r, "%s", report__panel_end);
  }
  report__put(r, "</div>\n");
  says[0] = '\0';
  if (seeds > 1) snprintf(says, sizeof says, "Bar and number: mean over %d seeds, each of them a dot. ", seeds);
  if (whiskers) strcat(says, "Line: one standard error to either side.");
  report__end(r, f->caption, says);
  report__bars_numbers(r, f);
}

// ---- lengths -------------------------------------------------------------------------------------------

static inline int report__between(const report_sample *s, double low, double high)  // how many lie there, both included
{
  int count = 0;
  for (int i = 0; s->values && i < s->count; i++) count += s->values[i] >= low && s->values[i] <= high;
  return count;
}

static inline int report__median(const report_sample *s, int low, int high)  // the lower one of an even count
{
  while (low < high) {
    const int middle = (int)floor(((double)low + high) / 2.0);
    if (2.0 * report__between(s, -HUGE_VAL, middle) >= s->count) high = middle;
    else low = middle + 1;
  }
  return low;
}

static inline const char *report__sample_name(char room[40], const report_lengths *f, int k)
{
  return f->samples[k].name ? f->samples[k].name : report__name(room, NULL, k, "fork");
}

static inline void report_add_lengths(report_page *r, const report_lengths *f)
{
  enum { HEIGHT = 92, BINS = 24 };
  const char *const x_name = f->x ? f->x : "tokens";
  char name[40], aside[40], says[200];
  int low = 0, high = 0;
  double all = 0.0, most = 0.0, together[BINS] = { 0.0 };
  for (int k = 0; f->samples && k < f->count; k++)
    for (int i = 0; f->samples[k].values && i < f->samples[k].count; i++, all++) {
      const int value = f->samples[k].values[i];
      low = all < 1.0 || value < low ? value : low;
      high = all < 1.0 || value > high ? value : high;
    }
  if (!report__begin(r, f->title, all > 0.0)) { report__end(r, f->caption, NULL); return; }
  if (f->limit > high) high = f->limit;
  const double range = (double)high - low, width = range < (double)BINS ? 1.0 : report__step(range + 1.0, BINS - 1);
  const double start = floor(low / width) * width;
  const int bins = (int)floor((high - start) / width) + 1;
  for (int b = 0; b < bins; b++)
    for (int k = 0; k < f->count; k++) {
      const report_sample *s = &f->samples[k];
      const double here = report__between(s, start + b * width, start + (b + 1) * width - 1.0);
      together[b] += here / all;
      if (here > most * s->count) most = here / s->count;
    }
  const report__axis x = report__axis_new(start - 0.5, start + bins * width - 0.5, 3, 0);
  const report__axis y = report__axis_new(0.0, 100.0 * most, 3, 1);
  const double height = (double)HEIGHT, up = height * 100.0 / y.high;
  report__put(r, "<p class=\"y\">\xE2\x86\x91 %% of the traces</p>\n");
  report__grid(r, f->count, f->count % 4 == 0 || f->count > 9 ? 4 : 3, 150, 34, 0);
  for (int k = 0; k < f->count; k++) {
    const report_sample *s = &f->samples[k];
    const int count = s->values && s->count > 0 ? s->count : 0;
    if (count) snprintf(aside, sizeof aside, "median %d", report__median(s, low, high));
    else snprintf(aside, sizeof aside, "no traces");
    snprintf(says, sizeof says, "Histogram of %d lengths; %s.", count, aside);
    report__panel(r, report__sample_name(name, f, k), aside, HEIGHT + 36, says);
    report__axes(r, &x, &y, HEIGHT, x_name);
    for (int b = 0; b < bins; b++) {
      const double here = report__between(s, start + b * width, start + (b + 1) * width - 1.0);
      const double tall = count ? up * here / count : 0.0, at = height - up * together[b];
      if (here > 0.0) report__rect(r, "f", 100.0 * (b + 0.08) / bins, height - tall, 84.0 / bins, tall);
      if (f->count > 1) report__line(r, "rule base", 100.0 * b / bins, 100.0 * (b + 1) / bins, at, at);
    }
    const double limit = 100.0 * report__at(&x, f->limit + 0.5);
    if (f->limit > 0) report__line(r, "limit", limit, limit, 0.0, HEIGHT);
    report__put(r, "\n%s", report__panel_end);
  }
  report__put(r, "</div>\n");
  says[0] = '\0';
  if (width > 1.0) snprintf(says, sizeof says, "Bins of %.0f. ", width);
  if (f->count > 1) strcat(says, "Grey: all panels together. ");
  if (f->limit > 0) snprintf(says + strlen(says), sizeof says - strlen(says), "Dashed: the limit, %d.", f->limit);
  report__end(r, f->caption, says);

  report__numbers(r, x_name, 1);
  for (int k = 0; k < f->count; k++) report__put(r, "<th scope=\"col\">%t</th>", report__sample_name(name, f, k));
  report__put(r, "</tr></thead>\n<tbody>\n");
  for (int b = 0; b < bins; b++) {
    const double from = start + b * width, to = from + width - 1.0;
    report__put(r, "<tr><th scope=\"row\">%v", from, 0);
    if (to > from) report__put(r, " \xE2\x80\x93 %v", to, 0);
    report__put(r, "</th>");
    for (int k = 0; k < f->count; k++) report__put(r, "<td>%d</td>", report__between(&f->samples[k], from, to));
    report__put(r, "</tr>\n");
  }
  report__numbers_end(r);
}

// ---- one question --------------------------------------------------------------------------------------

static inline const char *report__verdict(int right)
{
  if (right < 0) return "";
  return right ? "<span class=\"right\">\xE2\x9C\x93 right</span>" : "<span class=\"wrong\">\xE2\x9C\x97 wrong</span>";
}

static inline const char *report__answer(const report_reply *reply) { return reply->answer ? reply->answer : ""; }

// A row for each different answer, where it first appears, with a square for each reply that gives it.
static inline void report__vote(report_page *r, const report_question *f)
{
  report__put(r, "<div class=\"scroll\">\n<table class=\"vote\"><tbody>\n");
  for (int k = 0; k < f->count; k++) {
    const char *const answer = report__answer(&f->replies[k]);
    const int won = !strcmp(answer, f->vote);
    int votes = 0, seen = 0;
    for (int j = 0; j < f->count; j++)
      if (!strcmp(report__answer(&f->replies[j]), answer)) votes++, seen |= j < k;
    if (seen || !*answer) continue;
    report__put(r, "<tr><th scope=\"row\">%t</th><td><svg width=\"%d\" height=\"11\" aria-hidden=\"true\">", answer,
                votes * 14);
    for (int i = 0; i < votes; i++)
      report__put(r, "<rect class=\"%s\" x=\"%d\" width=\"11\" height=\"11\"/>", won ? "f" : "g", i * 14);
    report__put(r, "</svg></td><td>%d of %d%s</td><td>%s</td></tr>\n", votes, f->count, won ? ", the vote" : "",
                won ? report__verdict(f->vote_right) : "");
  }
  if (!*f->vote) report__put(r, "<tr><th scope=\"row\">no answer</th><td></td><td></td><td></td></tr>\n");
  report__put(r, "</tbody></table>\n</div>\n");
}

static inline void report_add_question(report_page *r, const report_question *f)
{
  char name[40];
  const int count = f->replies && f->count > 0 ? f->count : 0;
  if (!report__begin(r, f->title, count)) { report__end(r, f->caption, NULL); return; }
  report__put(r, "<p class=\"ask\">%t", f->question);
  if (f->truth) report__put(r, "<span>the answer is %t</span>", f->truth);
  report__put(r, "</p>\n");
  report__grid(r, count, count % 4 == 0 || count > 9 ? 4 : 3, 210, 0, 0);
  for (int k = 0; k < count; k++) {
    const report_reply *const reply = &f->replies[k];
    const char *const answer = report__answer(reply), *const fork = report__name(name, NULL, k, "fork");
    report__put(r, "<div class=\"reply\"><p class=\"name\">%t", reply->name ? reply->name : fork);
    if (f->policy) report__put(r, "<span>p = %v</span>", f->policy[k], 2);
    report__put(r, "</p>\n");
    if (f->policy && isfinite(f->policy[k])) {
      report__put(r, "<svg class=\"p\" height=\"5\" aria-hidden=\"true\">");
      report__rect(r, "z", 0.0, 0.0, 100.0, 5.0);
      report__rect(r, "f", 0.0, 0.0, 100.0 * report__clamp(f->policy[k]), 5.0);
      report__put(r, "</svg>\n");
    }
    if (reply->way) report__put(r, "<p class=\"way\">%t</p>\n", reply->way);
    report__put(r, "<p class=\"trace\">%t</p>\n", reply->text);
    report__put(r, "<p class=\"answer\">%t %s</p></div>\n", *answer ? answer : "no answer", report__verdict(reply->right));
  }
  report__put(r, "</div>\n");
  if (f->vote) report__vote(r, f);
  report__end(r, f->caption, f->policy ? "Bar and p: the probability that the policy gives the fork." : NULL);
}

// ---- a table -------------------------------------------------------------------------------------------

static inline void report_add_table(report_page *r, const report_table *f)
{
  char name[40];
  const int any = f->rows > 0 && f->columns > 0 && f->values;
  if (!report__begin(r, f->title, any)) { report__end(r, f->caption, NULL); return; }
  report__put(r, "<div class=\"scroll\">\n<table>\n<thead><tr><th scope=\"col\">%t</th>", f->corner);
  report__columns(r, f->column_names, f->columns, "column");
  for (int i = 0; i < f->rows; i++) {
    report__put(r, "<tr><th scope=\"row\">%t</th>", report__name(name, f->row_names, i, "row"));
    for (int c = 0; c < f->columns; c++)
      report__put(r, "<td>%v</td>", report__cell(f->values, 0, 1, i, f->columns, c), f->digits > 0 ? f->digits : 0);
    report__put(r, "</tr>\n");
  }
  report__put(r, "</tbody>\n</table>\n</div>\n");
  report__end(r, f->caption, NULL);
}

#endif
