// test_report.c - examples/report.h: pages are well-formed whatever they are given, say what they were told, and are written
// whole or not at all.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "../examples/report.h"
#include "test.h"

#include <limits.h>
#include <locale.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[100];
static char *html;  // the page read last
static size_t html_size;

static int load(const char *name)
{
  FILE *file = fopen(name, "rb");
  free(html);
  html = NULL;
  if (!file) return 0;
  fseek(file, 0, SEEK_END);
  html_size = (size_t)ftell(file);
  rewind(file);
  html = (char *)test_alloc(html_size + 1);
  html_size = fread(html, 1, html_size, file);
  html[html_size] = '\0';
  fclose(file);
  return 1;
}

static int has(const char *text) { return html && strstr(html, text) != NULL; }

static int count_of(const char *text)
{
  int count = 0;
  for (const char *s = html; s && (s = strstr(s, text)) != NULL; s++) count++;
  return count;
}

static int is_void(const char *tag, size_t length)
{
  static const char *const voids[] = { "meta", "!DOCTYPE" };
  for (int i = 0; i < 2; i++)
    if (strlen(voids[i]) == length && !memcmp(tag, voids[i], length)) return 1;
  return 0;
}

// A small reader of its own: tags nest, attributes are quoted, ids are unique and what refers to them is there, text is
// UTF-8 without control characters, & begins one of five entities, numbers are numbers, nothing is fetched from elsewhere.
static void well_formed(const char *what)
{
  static char stack[64][24];
  int depth = 0, bad = 0, images = 0, titles = 0;
  if (!CHECK(html != NULL)) return;
  for (size_t i = 0; i < html_size; i++) {
    const unsigned char c = (unsigned char)html[i];
    bad += (c < 32 && c != '\n' && c != '\t') || c == 127;
    if (c >= 0x80) {
      const int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
      const unsigned char next = (unsigned char)html[i + 1];  // no surrogates, no long forms, no C1 controls
      bad += c < 0xC2 || c > 0xF4 || (c == 0xED && next >= 0xA0) || (c == 0xE0 && next < 0xA0) || (c == 0xC2 && next < 0xA0);
      for (int j = 1; j <= more; j++) bad += (html[++i] & 0xC0) != 0x80;
    }
  }
  CHECK(bad == 0);
  const char *s = strstr(html, "</style>");
  CHECK(s && !memcmp(html, "<!DOCTYPE html>\n", 16));
  for (s = html; *s && !bad; s++) {
    if (*s == '&')
      bad += strncmp(s, "&amp;", 5) && strncmp(s, "&lt;", 4) && strncmp(s, "&gt;", 4) && strncmp(s, "&quot;", 6) &&
             strncmp(s, "&#39;", 5);
    if (*s == '>') bad = 1;  // outside of a tag it is written &gt;
    if (*s != '<') continue;
    const int closes = s[1] == '/';
    const char *tag = s + 1 + closes, *end = tag;
    while (*end && !strchr(" />\n", *end)) end++;
    const size_t length = (size_t)(end - tag);
    if (length == 0 || length > 20) { bad = 1; break; }
    for (s = end; *s && *s != '>' && *s != '/'; s++)
      if (*s == '"') {
        const char *quote = strchr(s + 1, '"');
        if (!quote || s[-1] != '=' || !strchr(" />\n", quote[1]) || memchr(s, '<', (size_t)(quote - s))) { bad = 1; break; }
        s = quote;
      }
    const int single = *s == '/';
    if (single) s++;
    bad |= *s != '>';
    if (closes)
      bad |= depth == 0 || strlen(stack[depth - 1]) != length || memcmp(stack[depth - 1], tag, length) || depth-- < 1;
    else if (!single && !is_void(tag, length)) {
      if (depth == 64) { bad = 1; break; }
      snprintf(stack[depth++], sizeof stack[0], "%.*s", (int)length, tag);
      if (!strcmp(stack[depth - 1], "style") && (s = strstr(s, "</style>")) != NULL) s--;
    }
    if (!s) break;
  }
  if (!CHECK(bad == 0 && depth == 0)) fprintf(stderr, "%s: not well-formed near: %.80s\n", what, s ? s : "the end");
  for (s = html; (s = strstr(s, " id=\"")) != NULL; s++) {
    char id[60];
    const char *end = strchr(s + 5, '"');
    snprintf(id, sizeof id, "%.*s", end && end - s < 50 ? (int)(end - s + 1) : 0, s);
    bad += count_of(id) != 1;
  }
  for (s = html; (s = strstr(s, "href=\"")) != NULL; s++) {
    char id[60];
    const char *end = strchr(s + 6, '"');
    snprintf(id, sizeof id, " id=\"%.*s", end && end - s < 40 ? (int)(end - s - 6) : 0, s + 7);
    bad += s[6] != '#' || count_of(id) < 1;
  }
  CHECK(bad == 0);
  for (s = html; (s = strstr(s, "role=\"img\"")) != NULL; s++) {
    const char *end = strchr(s, '>');
    images++;
    titles += end && !strncmp(end + 1, "<title>", 7) && strstr(end, "</title><desc>");
  }
  CHECK(titles == images);
  CHECK(!has("<script") && !has("http:") && !has("https:") && !has("url(") && !has("src="));
  for (s = html; (s = strpbrk(s, "nNiI")) != NULL; s++)
    if (s > html && strchr("\"- LM%", s[-1]) && (!strncmp(s, "nan", 3) || !strncmp(s, "inf\"", 4) || !strncmp(s, "NAN", 3) ||
                                                !strncmp(s, "inf ", 4) || !strncmp(s, "inf%", 4))) bad++;
  CHECK(bad == 0);
}

static const char *const arm_names[8] = {
  "SFT-mixed", "<SFT> & GRPO", "SSFT-random", "SSFT-random + GFPO", "fixed labels", "SSFT", "SSFT + GRPO",
  "an arm with a very long name, longer than any label has room for: SSFT + GFPO at T = 0.7"
};
static const char *const way_names[8] = {
  "split b", "split a", "round b up", "\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", "f<b>&", "a way whose name is long",
  "g", "none"
};
static const char hostile[] =
  "<script>alert('1')</script> & \"x\" \xFF\xC0\xAF \xED\xA0\x80 \x01\x7F \xC2\x85 \xE2\x80\xAE \xF0\x9F\x98\x80 \xE2\x82";

enum { POINTS = 10000, WINDOWS = 100, FORKS = 12, WAYS = 8, ARMS = 8, MEASURES = 6, SEEDS = 3, LENGTHS = 300 };
static double curves[ARMS][POINTS], matched[WINDOWS][FORKS][WAYS], gone[ARMS][FORKS][WAYS], accuracy[ARMS][MEASURES][SEEDS];
static int lengths[FORKS][LENGTHS];

static double now_and_then_none(double value)
{
  return test_below_int(12) ? value : test_below_int(2) ? (double)NAN : (double)INFINITY;
}

static void fill(void)
{
  for (int k = 0; k < ARMS; k++)
    for (int i = 0; i < POINTS; i++)
      curves[k][i] = now_and_then_none(3.0 * exp(-i / 900.0) * test_uniform(0.7, 1.3) + 0.001 * k);
  for (int i = 0; i < WINDOWS * FORKS * WAYS; i++) (&matched[0][0][0])[i] = now_and_then_none(test_uniform(0.0, 1.0));
  for (int i = 0; i < ARMS * FORKS * WAYS; i++) (&gone[0][0][0])[i] = now_and_then_none(test_uniform(-0.1, 1.1));
  for (int i = 0; i < ARMS * MEASURES * SEEDS; i++) (&accuracy[0][0][0])[i] = now_and_then_none(test_uniform(0.0, 1.0));
  for (int i = 0; i < FORKS * LENGTHS; i++) (&lengths[0][0])[i] = 20 + (int)test_below_int(40);
}

// Every kind of figure, of so many arms, forks, ways, seeds and points.
static void whole_page(int arms, int forks, int ways, int seeds, int points, int windows)
{
  static report_page r;
  report_line lines[ARMS];
  report_lines l;
  report_matching m;
  report_matrix x;
  report_bars b;
  report_sample samples[FORKS];
  report_lengths n;
  report_reply replies[FORKS];
  report_question q;
  report_table t;
  double policy[FORKS];
  memset(lines, 0, sizeof lines), memset(&l, 0, sizeof l), memset(&m, 0, sizeof m), memset(&x, 0, sizeof x);
  memset(&b, 0, sizeof b), memset(samples, 0, sizeof samples), memset(&n, 0, sizeof n), memset(replies, 0, sizeof replies);
  memset(&q, 0, sizeof q), memset(&t, 0, sizeof t);
  report_open(&r, path, hostile, hostile, hostile);
  const char *const facts[4] = { "seed", "1", hostile, hostile };
  report_facts(&r, facts, 2);
  report_section(&r, hostile, hostile);
  for (int k = 0; k < arms; k++) {
    lines[k].name = arm_names[k];
    lines[k].values = curves[k];
    lines[k].count = k == 1 ? points / 3 : points;
    lines[k].first = 1.0;
  }
  l.title = m.title = x.title = b.title = n.title = q.title = t.title = hostile;
  l.caption = m.caption = x.caption = b.caption = n.caption = q.caption = t.caption = hostile;
  l.lines = lines;
  l.count = arms;
  l.y = "loss";
  report_add_lines(&r, &l);
  l.logarithmic = 1;
  report_add_lines(&r, &l);
  m.way_names = x.way_names = way_names;
  m.windows = windows;
  m.forks = x.forks = forks;
  m.ways = x.ways = ways;
  m.share = &matched[0][0][0];
  report_add_matching(&r, &m);
  x.arm_names = b.arm_names = t.row_names = arm_names;
  x.arms = b.arms = t.rows = arms;
  x.share = &gone[0][0][0];
  report_add_matrix(&r, &x);
  b.measures = MEASURES;
  b.seeds = seeds;
  b.values = &accuracy[0][0][0];
  report_add_bars(&r, &b);
  b.errors = &gone[0][0][0];
  report_add_bars(&r, &b);
  for (int k = 0; k < forks; k++) {
    samples[k].values = lengths[k];
    samples[k].count = k == 1 ? 0 : LENGTHS;
    policy[k] = k == 2 ? (double)NAN : 1.0 / forks;
    replies[k].text = k % 2 ? hostile : "50*34=1700; 7*34=238";
    replies[k].answer = k % 3 == 0 ? "1938" : k % 3 == 1 ? hostile : NULL;
    replies[k].right = k % 3 == 0 ? 1 : k % 3 == 1 ? 0 : -1;
    replies[k].way = way_names[k % WAYS];
  }
  n.samples = samples;
  n.count = forks;
  n.limit = 48;
  report_add_lengths(&r, &n);
  q.question = q.truth = hostile;
  q.replies = replies;
  q.count = forks;
  q.policy = policy;
  q.vote = "1938";
  q.vote_right = 1;
  report_add_question(&r, &q);
  t.columns = MEASURES;
  t.values = &accuracy[0][0][0];
  t.digits = 3;
  report_add_table(&r, &t);
  CHECK(report_close(&r));
  CHECK(load(path));
  well_formed("a whole page");
  CHECK(count_of("<figure ") == 9 && count_of("</figcaption>") == 9);
  CHECK(!has("Nothing was measured") && has("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot; "));
  CHECK(has("\xF0\x9F\x98\x80") && !has("\xE2\x80\xAE"));
}

// A validator, where there is one; it must not find an error (tidy knows no nested SVG and warns of it).
static void validators(void)
{
  char command[700];
  snprintf(command, sizeof command, "command -v tidy >/dev/null || exit 0; tidy -q -e '%s' >'%s.tidy' 2>&1; [ $? -lt 2 ] && "
           "! grep -v 'svg> proprietary attribute' '%s.tidy' | grep -q Warning", path, path, path);
  CHECK(system(command) == 0);
  snprintf(command, sizeof command, "command -v vnu >/dev/null || exit 0; vnu --errors-only '%s'", path);
  CHECK(system(command) == 0);
}

// Nothing given: a sentence each time, never a broken figure. Also figures whose arrays are there but hold no number.
static void empty(void)
{
  static report_page r;
  double none[8] = { NAN, NAN, INFINITY, NAN, NAN, NAN, NAN, -INFINITY };
  report_line line = { "none", none, 8, 0.0, 1.0 };
  report_lines l;
  report_matching m;
  report_matrix x;
  report_bars b;
  report_lengths n;
  report_question q;
  report_table t;
  memset(&l, 0, sizeof l), memset(&m, 0, sizeof m), memset(&x, 0, sizeof x), memset(&b, 0, sizeof b);
  memset(&n, 0, sizeof n), memset(&q, 0, sizeof q), memset(&t, 0, sizeof t);
  report_open(&r, path, NULL, NULL, NULL);
  report_facts(&r, NULL, 3);
  report_section(&r, NULL, NULL);
  for (int pass = 0; pass < 3; pass++) {
    report_add_lines(&r, &l);
    report_add_matching(&r, &m);
    report_add_matrix(&r, &x);
    report_add_bars(&r, &b);
    report_add_lengths(&r, &n);
    report_add_question(&r, &q);
    report_add_table(&r, &t);
    if (pass == 0) {
      l.lines = &line;
      m.share = x.share = b.values = none;
      l.count = m.windows = x.arms = b.arms = 1;
      m.forks = x.forks = b.measures = 2;
      m.ways = x.ways = b.seeds = 4;
    } else l.count = m.windows = x.arms = b.arms = n.count = q.count = t.rows = -5;
  }
  CHECK(report_close(&r) && load(path));
  well_formed("an empty page");
  CHECK(count_of("Nothing was measured here.") == 21 && count_of("<figure ") == 21);
  CHECK(count_of("role=\"img\"") == 0 && count_of("<table") == 0);
}

// What stands in the page is what was said.
static void numbers(void)
{
  static report_page r;
  static const char *const arms[2] = { "A", "B" }, *const measures[1] = { "Pass@1" };
  const double values[2][1][3] = { { { 0.25, 0.35, 0.30 } }, { { 0.5, NAN, NAN } } };
  double flat[100];
  const int strong[2] = { 0, 1 };
  report_bars b;
  memset(&b, 0, sizeof b);
  b.arm_names = arms;
  b.measure_names = measures;
  b.arms = 2;
  b.measures = 1;
  b.seeds = 3;
  b.values = &values[0][0][0];
  b.strong = strong;
  report_open(&r, path, "Numbers", NULL, "make demo");
  report_add_bars(&r, &b);
  CHECK(report_close(&r) && load(path));
  CHECK(has("<rect class=\"g\" x=\"0%\" y=\"6\" width=\"30%\"") && has("<rect class=\"f\" x=\"0%\" y=\"30\" width=\"50%\""));
  CHECK(has("cx=\"25%\"") && has("cx=\"35%\""));
  CHECK(has("x1=\"27.11%\" x2=\"32.89%\"") && count_of("<circle") == 3 && count_of("\"err\"") == 1);
  CHECK(has("<td>0.3000 \xC2\xB1 0.0289</td>") && has("<td>0.5000</td>"));
  CHECK(has("<td>0.3500</td>") && has("<td>\xE2\x80\x93</td>"));
  CHECK(has("Source: <span class=\"source\">make demo.</span>") && has("mean over 3 seeds"));

  // A line of 100 points at 2 with a hole in the middle: two strokes at the same height, from 0 to 1000.
  for (int i = 0; i < 100; i++) flat[i] = i == 50 ? (double)NAN : 2.0;
  report_line line = { "flat", flat, 100, 0.0, 1.0 };
  report_lines l;
  memset(&l, 0, sizeof l);
  l.lines = &line;
  l.count = 1;
  l.low = 0.0;
  l.high = 4.0;
  report_open(&r, path, "Line", NULL, NULL);
  report_add_lines(&r, &l);
  CHECK(report_close(&r) && load(path));
  CHECK(has("d=\"M0 0M0 500L10.1 500L") && has("L494.95 500M515.15 500L") && has("L1000 500\"/>") && has("<td>2.0000</td>"));
  CHECK(has(">2.000</span>") && !has("Source"));

  // Lengths 1 1 2 and 3 3 3 3: shares, median, together.
  const int one[3] = { 1, 1, 2 }, two[4] = { 3, 3, 3, 3 };
  const report_sample samples[2] = { { "one", one, 3 }, { "two", two, 4 } };
  report_lengths n;
  memset(&n, 0, sizeof n);
  n.samples = samples;
  n.count = 2;
  report_open(&r, path, "Lengths", NULL, NULL);
  report_add_lengths(&r, &n);
  CHECK(report_close(&r) && load(path));
  CHECK(has(">median 1</span>") && has(">median 3</span>") && count_of("<rect class=\"f\"") == 3);
  CHECK(has("<tr><th scope=\"row\">1</th><td>2</td><td>0</td></tr>"));
  CHECK(has("<tr><th scope=\"row\">3</th><td>0</td><td>4</td></tr>"));
  CHECK(has("y=\"30.67\" width=\"28%\" height=\"61.33\"") && has("y=\"0\" width=\"28%\" height=\"92\""));
  CHECK(count_of("x1=\"0%\" x2=\"33.33%\" y1=\"65.71\" y2=\"65.71\"") == 2);  // two of all seven are ones

  // Two forks and ways; the second fork of the second arm is not there.
  const double share[2][2][2] = { { { 1.0, 0.0 }, { 0.125, 0.875 } }, { { 0.5, 0.5 }, { NAN, NAN } } };
  report_matrix x;
  memset(&x, 0, sizeof x);
  x.arm_names = arms;
  x.arms = x.forks = x.ways = 2;
  x.share = &share[0][0][0];
  report_open(&r, path, "Matrix", NULL, NULL);
  report_add_matrix(&r, &x);
  CHECK(report_close(&r) && load(path));
  CHECK(count_of("class=\"cell f\"") == 5 && count_of("class=\"cell z\"") == 6);
  CHECK(count_of("fill-opacity=\"0.5\"") == 2 && has(">88</text>") && count_of(">fork 2</text>") == 1);
  CHECK(has("<td>0.8750</td>") && count_of("<td>fork 2</td>") == 1);

  // Windows: 120 of them share 60 columns, and all are listed.
  double windows[120];
  for (int i = 0; i < 120; i++) windows[i] = i % 2 ? 1.0 : 0.5;
  report_matching m;
  memset(&m, 0, sizeof m);
  m.windows = 120;
  m.forks = m.ways = 1;
  m.share = windows;
  report_open(&r, path, "Matching", NULL, NULL);
  report_add_matching(&r, &m);
  CHECK(report_close(&r) && load(path));
  CHECK(count_of("class=\"cell f\"") == 60 + 4 && count_of("fill-opacity=\"0.75\"") == 60 + 1 && count_of("<tr>") == 121);

  // The vote counts answers, and names the winner alone.
  report_reply replies[4];
  report_question q;
  memset(replies, 0, sizeof replies);
  memset(&q, 0, sizeof q);
  replies[0].answer = replies[2].answer = "7";
  replies[1].answer = "8";
  replies[0].right = replies[2].right = 1;
  q.replies = replies;
  q.count = 4;
  q.vote = "7";
  q.vote_right = 1;
  report_open(&r, path, "Vote", NULL, NULL);
  report_add_question(&r, &q);
  CHECK(report_close(&r) && load(path));
  CHECK(has("<td>2 of 4, the vote</td>") && has("<td>1 of 4</td>") && strstr(html, "2 of 4") < strstr(html, "1 of 4"));
  CHECK(count_of("no answer") == 1 && count_of("<tr>") == 2 && count_of("wrong</span>") == 2);
}

static void axes(void)
{
  for (int trial = 0; trial < 20000; trial++) {
    const double size = pow(10.0, test_uniform(-6.0, 6.0)), low = test_uniform(-1.0, 1.0) * size;
    const double high = low + test_uniform(0.0, 1.0) * size;
    const int most = 2 + (int)test_below_int(4), ends = (int)test_below_int(2);
    const report__axis a = report__axis_new(low, high, most, ends);
    const double lead = a.step / pow(10.0, floor(log10(a.step) + 1e-9));
    double value = 0.0, last = 0.0;
    int count = 0, bad = 0;
    for (; report__tick(&a, count, &value); count++) {
      bad += count && fabs(value - last - a.step) > 1e-6 * a.step;
      bad += report__at(&a, value) < -1e-6 || report__at(&a, value) > 1.0 + 1e-6;
      last = value;
    }
    CHECK(!bad && (ends ? count >= 1 && count <= most + 3 : count >= 2 && count <= (most < 5 ? 6 : most + 1)));
    CHECK(a.low <= low + 1e-9 * size && a.high >= high - 1e-9 * size);
    CHECK(fabs(lead - 1.0) < 1e-6 || fabs(lead - 2.0) < 1e-6 || fabs(lead - 5.0) < 1e-6);
    const report__axis g = report__axis_log(size, size * pow(10.0, test_uniform(0.0, 9.0)), 4);
    for (count = bad = 0; report__tick(&g, count, &value); count++)
      bad += report__at(&g, value) < -1e-6 || report__at(&g, value) > 1.0 + 1e-6;
    CHECK(!bad && count <= 8);
  }
  // Numbers under a plot of 105 pixels do not touch: each is 6.5 a digit wide, around its tick.
  for (int steps = 2; steps < 90000; steps += 1 + steps / 50) {
    const report__axis a = report__axis_new(1.0, steps, 2 + steps % 2, 0);
    const int every = report__labelled(&a);
    double value, right = -1e9;
    int apart = 1, shown = 0;
    for (int i = 0; report__tick(&a, i, &value); i++) {
      const double half = 0.5 * 6.5 * snprintf(NULL, 0, "%.*f", a.digits, value), at = 105.0 * report__at(&a, value);
      if (i % every) continue;
      apart &= at - half > right;
      right = at + half;
      shown++;
    }
    CHECK(apart && shown >= 1);
  }
  // The bold line: means over a twentieth of the run that begin at the first value itself; holes do not count.
  report_line line = { "", curves[0], 400, 0.0, 1.0 };
  for (int i = 0; i < 400; i++) {
    const int before = i < 10 ? i : 10;
    double sum = 0.0, count = 0.0;
    for (int j = i - before; j <= i + before && j < 400; j++)
      if (isfinite(curves[0][j])) sum += curves[0][j], count++;
    if (isfinite(curves[0][i])) CHECK_BELOW(fabs(report__smooth(&line, i) - sum / count), 1e-12);
    else CHECK(isnan(report__smooth(&line, i)));
  }
  const int values[5] = { INT_MIN, -3, 4, 4, INT_MAX };
  const report_sample sample = { "", values, 5 };
  CHECK(report__median(&sample, INT_MIN, INT_MAX) == 4);
}

static int there(const char *name) { return access(name, F_OK) == 0; }

static void writing(const char *build)
{
  static report_page r, s;
  char other[200], temporary[220], text[8000];
  snprintf(temporary, sizeof temporary, "%s.tmp", path);
  // Until it is closed a page changes nothing; dropped, it never does.
  report_open(&r, path, "old", NULL, NULL);
  CHECK(report_close(&r));
  report_open(&s, path, "new", NULL, NULL);
  CHECK(there(temporary) && load(path) && has("<h1>old</h1>"));
  report_drop(&s);
  CHECK(!there(temporary) && load(path) && has("<h1>old</h1>") && !report_close(&s));
  report_open(&s, path, "new", NULL, NULL);
  CHECK(report_close(&s) && !there(temporary) && load(path) && has("<h1>new</h1>") && !has("old"));
  CHECK(!report_close(&s));

  // Errors say what and where, stick, and leave nothing behind.
  snprintf(other, sizeof other, "%.80s/no such folder/page.html", build);
  report_open(&r, other, "x", NULL, NULL);
  report_section(&r, "x", "x");
  CHECK(!report_close(&r) && strstr(r.error, other) && strstr(r.error, "cannot write"));
  CHECK(!report_check(&r, other) && strstr(r.error, other) && report_check(&r, path) && !there(temporary));
  report_open(&r, NULL, "x", NULL, NULL);
  CHECK(!report_close(&r) && strstr(r.error, "empty"));
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  report_open(&r, text, "x", NULL, NULL);
  CHECK(!report_close(&r) && strstr(r.error, "path is too long"));
  snprintf(other, sizeof other, "%.80s/report_folder", build);  // a folder cannot be replaced by a page
#ifdef _WIN32
  mkdir(other);
#else
  mkdir(other, 0777);
#endif
  report_open(&r, other, "x", NULL, NULL);
  CHECK(!report_close(&r) && strstr(r.error, other));
  snprintf(temporary, sizeof temporary, "%s.tmp", other);
  CHECK(!there(temporary) && rmdir(other) == 0);
  report_open(&r, path, text, text, text);  // long texts; the source is cut
  CHECK(report_close(&r) && load(path));
  well_formed("long texts");
}

int main(void)
{
  const char *build = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  snprintf(path, sizeof path, "%.80s/report.html", build);
  fill();
  numbers();
  axes();
  empty();
  validators();
  whole_page(1, 1, 1, 0, 1, 1);
  whole_page(1, 4, 2, 1, 50, 3);
  whole_page(5, 6, 5, 1, 400, 40);
  validators();
  whole_page(8, 12, 8, 3, POINTS, WINDOWS);
  validators();
  const size_t size = html_size;
  char *const first = (char *)test_alloc(size);
  memcpy(first, html, size);
  const char *const locales[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "C" };  // a decimal comma, where there is one
  for (int i = 0; i < 4 && !setlocale(LC_ALL, locales[i]); i++) continue;
  whole_page(8, 12, 8, 3, POINTS, WINDOWS);
  CHECK(html_size == size && !memcmp(first, html, size));
  setlocale(LC_ALL, "C");
  free(first);
  writing(build);
  free(html);
  return test_done("test_report");
}
