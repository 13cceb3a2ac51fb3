// forkreason eval, match, generate, chat and train: the numbers and texts that they print are those that the texts themselves give, or
// the header for the same model; every flag does what it says, and what is wrong is told with status and name.
#ifdef _WIN32
#include <stdio.h>
int main(void)
{
  printf("skipped: it drives the tool through a POSIX shell\n");
  return 77;
}
#else
#define _XOPEN_SOURCE 700
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "examples/map.h"
#include "tool.h"
#include <stdarg.h>

enum { FORKS = 6, REPLIES = 40000 };
static char place[300], out[400000], err[20000], input[400] = "/dev/null";

static void slurp(const char *path, char *to, size_t room)
{
  FILE *f = fopen(path, "rb");
  const size_t bytes = f ? fread(to, 1, room - 1, f) : 0;
  to[bytes] = 0;
  if (f) fclose(f);
}

// Runs the tool; what it says is in out and err. In the words a % stands for our folder.
static int run(const char *format, ...)
{
  char words[3000], command[5000], path[400];
  size_t used = 0;
  va_list list;
  va_start(list, format);
  vsnprintf(words, sizeof words, format, list);
  va_end(list);
  used += (size_t)snprintf(command, sizeof command, "%s/forkreason ", folder);
  for (const char *c = words; *c && used < 4000; c++)
    if (*c == '@') used += (size_t)snprintf(command + used, sizeof command - used, "%s", place);
    else command[used++] = *c;
  snprintf(command + used, sizeof command - used, " >%s/out 2>%s/err <%s", place, place, input);
  const int status = tool_status(command);
  snprintf(path, sizeof path, "%s/out", place);
  slurp(path, out, sizeof out);
  snprintf(path, sizeof path, "%s/err", place);
  slurp(path, err, sizeof err);
  return status;
}
static int fine(const char *words)  // said if not
{
  const int status = run("%s", words);
  if (status || err[0]) fprintf(stderr, "  forkreason %s\n  status %d: %s\n", words, status, err);
  return status == 0 && err[0] == 0;
}
static void expect(const char *words, int status, const char *message)
{
  const int got = run("%s", words);
  if (!CHECK(got == status && strstr(err, message))) fprintf(stderr, "  forkreason %s\n  status %d: %s\n", words, got, err);
}

static double number_of(const char *text, const char *key)  // behind the key; NaN: it is not there
{
  const char *at = strstr(text, key);
  return at ? strtod(at + strlen(key), NULL) : NAN;
}
static void write_text(const char *name, const char *text)
{
  char path[500];
  snprintf(path, sizeof path, "%s/%s", place, name);
  FILE *f = fopen(path, "wb");
  if (!f || fputs(text, f) < 0 || fclose(f)) { fprintf(stderr, "%s cannot be written\n", path); exit(2); }
}

// ---- the task: sums of two digits, of which the traces tell in three ways
static int left_of(int q) { return q * 37 % 100 / 10; }
static int right_of(int q) { return q * 37 % 100 % 10; }
static void asked(int q, char text[40]) { snprintf(text, 40, "%d+%d=", left_of(q), right_of(q)); }
static void told(int q, int way, char text[60])
{
  const int a = left_of(q), b = right_of(q);
  if (way == 0) snprintf(text, 60, "#### %d", a + b);
  else if (way == 1) snprintf(text, 60, "%d and %d #### %d", b, a, a + b);
  else snprintf(text, 60, "it is #### %d", a + b);
}
static void write_rows(const char *name, int from, int to)
{
  char path[500], question[40], trace[3][60];
  snprintf(path, sizeof path, "%s/%s", place, name);
  FILE *f = fopen(path, "wb");
  if (!f) exit(2);
  for (int q = from; q < to; q++) {
    asked(q, question);
    for (int way = 0; way < 3; way++) told(q, way, trace[way]);
    fprintf(f, "{\"question\":\"%s\",\"answer\":\"%d\",\"traces\":[{\"text\":\"%s\",\"source\":\"A\"},{\"text\":\"%s\",\"source\":\"B\"},{\"text\":\"%s\",\"source\":\"C\"}]}\n",
            question, left_of(q) + right_of(q), trace[0], trace[1], trace[2]);
  }
  if (fclose(f)) exit(2);
}
enum { TEST_FROM = 60, TEST_TO = 100, VALID_FROM = 50, VALIDS = 14 };  // rows to train on are 0 .. 79

#define SMALL "--layers 1 --dim 32 --heads 2 --ffn 48 --traces 3 --threads 1 "
static void make_models(void)
{
  char command[1500];
  write_rows("rows.jsonl", 0, 80);
  snprintf(command, sizeof command, "mkdir -p %s/data", place);
  CHECK(tool_status(command) == 0);
  write_rows("data/test.jsonl", TEST_FROM, TEST_TO);
  write_rows("data/valid.jsonl", VALID_FROM, VALID_FROM + VALIDS);
  write_rows("held.jsonl", 80, 94);
  CHECK(fine("train --data @/rows.jsonl --held-out 0 --layers 2 --dim 32 --heads 2 --ffn 64 --traces 3 --iters 300 --batch 4 --threads 1 --out @/m"));
  CHECK(fine("train --data @/rows.jsonl --held-out 0 --method sft --iters 250 --batch 4 --threads 1 --layers 1 --dim 32 --heads 2 --ffn 48 --out @/sft"));
  // one that has no fork: another name for its token
  snprintf(command, sizeof command, "cp -r %s/sft %s/base && sed 's/<think1>/<thonk1>/g' %s/sft/tokenizer.json >%s/base/tokenizer.json", place, place, place, place);
  CHECK(tool_status(command) == 0);
}

// ---- eval
typedef struct reply { char model[300], text[600]; int part, question, fork, right, finished; } reply;  // part 0: validation, 1: greedy, 2: samples
static reply *replies;
static int reply_count;

static void read_log(void)
{
  static const char *const parts[] = { "\"part\":\"greedy, to choose a fork\"", "\"part\":\"greedy\"", "\"part\":\"samples\"" };
  char path[400];
  size_t bytes;
  snprintf(path, sizeof path, "%s/log", place);
  char *all = contents(path, &bytes);
  reply_count = 0;
  for (char *line = strtok(all, "\n"); line && reply_count < REPLIES; line = strtok(NULL, "\n")) {
    reply *r = &replies[reply_count++];
    size_t used = 0;
    memset(r, 0, sizeof *r);
    r->part = -1;
    if (!CHECK(sscanf(line, "{\"model\":\"%299[^\"]", r->model) == 1)) break;
    for (int p = 0; p < 3; p++) if (strstr(line, parts[p])) r->part = p;
    r->question = (int)number_of(line, "\"question\":") - 1;
    r->fork = (int)number_of(line, "\"fork\":") - 1;
    r->right = strstr(line, "\"right\":true") != NULL;
    r->finished = strstr(line, "\"finished\":true") != NULL;
    const char *at = strstr(line, ",\"text\":\"");
    for (at = at ? at + 9 : ""; *at && *at != '"' && used + 1 < sizeof r->text; at++) {
      if (at[0] == '\\' && at[1] == 'u') { r->text[used++] = (char)strtol((char[5]){ at[2], at[3], at[4], at[5], 0 }, NULL, 16); at += 5; continue; }
      at += *at == '\\';
      r->text[used++] = *at;
    }
  }
  free(all);
}

// The answer of a text, behind its last #### to the end of the line, without blanks.
static fr_text answer_of(const char *text)
{
  fr_text answer = { NULL, 0 };
  const char *at = NULL;
  for (const char *c = text; (c = strstr(c, "####")) != NULL; c++) at = c + 4;
  if (!at) return answer;
  at += strspn(at, " \t\r");
  answer.count = (fr_int)strcspn(at, "\n");
  while (answer.count && strchr(" \t\r", at[answer.count - 1])) answer.count--;
  if (answer.count) answer.bytes = at;
  return answer;
}
// Do they agree? Plain digits are compared here; what samples say beside is left to the header.
static int agree(fr_text a, fr_text b)
{
  int digits = a.count > 0 && b.count > 0;
  long value[2] = { 0, 0 };
  for (int i = 0; i < 2 && digits; i++)
    for (fr_int k = 0; k < (i ? b : a).count; k++) {
      const char c = (i ? b : a).bytes[k];
      digits = digits && c >= '0' && c <= '9' && k < 9;
      value[i] = value[i] * 10 + (c - '0');
    }
  return digits ? value[0] == value[1] : fr_answer_same(a, b);
}
// The first answer of the largest class, the first class in a tie; -1: none.
static int voted(const reply *r, int count)
{
  int winner = -1, most = 0;
  for (int a = 0; a < count; a++) {
    int votes = 0, seen = 0;
    for (int b = 0; b < count; b++)
      if (agree(answer_of(r[a].text), answer_of(r[b].text))) { votes++; seen |= b < a; }
    if (votes > most && !seen) { most = votes; winner = a; }
  }
  return winner;
}

typedef struct values { double v[400]; int count; } values;
static void add(values *s, double v) { if (s->count < 400) s->v[s->count++] = v; }
static double mean_of(const values *s)
{
  double sum = 0;
  for (int i = 0; i < s->count; i++) sum += s->v[i];
  return s->count ? sum / s->count : 0;
}
static double error_of(const values *s)
{
  const double mean = mean_of(s);
  double squares = 0;
  for (int i = 0; i < s->count; i++) squares += (s->v[i] - mean) * (s->v[i] - mean);
  return s->count > 1 ? sqrt(squares / (s->count - 1) / s->count) : 0;
}
static double choose(int n, int k)
{
  double c = 1;
  if (k > n) return 0;
  for (int i = 0; i < k; i++) c = c * (n - i) / (i + 1);
  return c;
}

enum { FIRST, BEST, WIDEST, POLICY, MEAN_FORK, CONS_GREEDY, CONS, CONS_ALL, PASS, FIGURES };
static const char *const figure_keys[] = { "pass1_first", "pass1_best", "pass1_widest", "pass1_policy", "pass1_mean", "cons_greedy", "cons_native", "cons_all", "pass_k" };
typedef struct figures { values of[FIGURES], fork[FORKS]; int best, widest, forks; } figures;

// The fork to which most traces of the validation questions fall, of matchings that `match` prints; the first in a tie.
static int widest_fork(const char *file, int questions)
{
  int fallen[FORKS] = { 0 }, widest = 0;
  for (int q = 1; q <= questions; q++) {
    CHECK(run("match --model @/m --data @/%s --match-tokens 0 --json --question %d --threads 1", file, q) == 0);
    const char *at = strstr(out, "\"fork\":[");
    for (int j = 0; at && j < 3; j++) { at = strpbrk(at + 1, "[,") + 1; fallen[(strtol(at, NULL, 10) + FORKS - 1) % FORKS]++; at--; }
  }
  for (int f = 1; f < FORKS; f++) if (fallen[f] > fallen[widest]) widest = f;
  return widest;
}

// All figures of a model, from the texts of the log. `valid`: questions to validate on; `policy`: the fork of each question, or NULL.
static void recompute(const char *model, int questions, int samples, int k, int valid, int widest, const int *policy, figures *f)
{
  static reply part[3][REPLIES];
  int count[3] = { 0, 0, 0 }, hits[FORKS] = { 0 };
  memset(f, 0, sizeof *f);
  for (int i = 0; i < reply_count; i++) {
    reply *r = &replies[i];
    if (strcmp(r->model, model) || r->part < 0) continue;
    const int q = r->question + (r->part ? TEST_FROM : VALID_FROM);
    char right[20];
    snprintf(right, sizeof right, "%d", left_of(q) + right_of(q));
    const fr_text want = { right, (fr_int)strlen(right) };
    if (!CHECK(r->right == (r->finished && agree(answer_of(r->text), want)))) fprintf(stderr, "  question %d, right %d: %s\n", q, r->right, r->text);
    if (r->fork >= 0 && r->fork >= f->forks) f->forks = r->fork + 1;
    part[r->part][count[r->part]++] = *r;
  }
  const int leaves = f->forks ? f->forks : 1, group = f->forks > 1 ? f->forks : k;
  CHECK(count[1] == questions * leaves && count[2] == questions * samples);
  CHECK(count[0] == (f->forks ? valid * leaves : 0));
  for (int i = 0; i < count[0]; i++) { CHECK(part[0][i].question == i / leaves && part[0][i].fork == i % leaves); hits[part[0][i].fork] += part[0][i].right; }
  f->best = count[0] ? 0 : -1;
  for (int i = 1; i < f->forks && count[0]; i++) if (hits[i] > hits[f->best]) f->best = i;
  f->widest = count[0] ? f->forks > 1 ? widest : 0 : -1;
  for (int q = 0; q < questions; q++) {
    const reply *g = &part[1][q * leaves], *s = &part[2][q * samples];
    double sum = 0, groups = 0, won = 0;
    int good = 0;
    for (int i = 0; i < leaves; i++) {
      CHECK(g[i].question == q && g[i].fork == (f->forks ? i : -1));
      sum += g[i].right;
      if (f->forks) add(&f->fork[i], g[i].right);
    }
    add(&f->of[FIRST], g[0].right);
    if (f->best >= 0) add(&f->of[BEST], g[f->best].right);
    if (f->widest >= 0) add(&f->of[WIDEST], g[f->widest].right);
    if (policy) add(&f->of[POLICY], g[policy[q]].right);
    if (f->forks > 1) {
      const int w = voted(g, leaves);
      add(&f->of[MEAN_FORK], sum / leaves);
      add(&f->of[CONS_GREEDY], w >= 0 && g[w].right);
    }
    if (!samples) continue;
    for (int i = 0; i < samples; i++) { CHECK(s[i].question == q && s[i].fork == (f->forks ? i % f->forks : -1)); good += s[i].right; }
    for (int i = 0; i + group <= samples; i += group, groups++) { const int w = voted(s + i, group); won += w >= 0 && s[i + w].right; }
    if (groups > 0) add(&f->of[CONS], won / groups);
    const int w = voted(s, samples), most = k < samples ? k : samples;
    add(&f->of[CONS_ALL], w >= 0 && s[w].right);
    add(&f->of[PASS], 1 - choose(samples - good, most) / choose(samples, most));
  }
}

static void same_json(const char *json, const figures *f)  // of the object that begins here
{
  const char *end = strchr(json, '}'), *at = strstr(json, "\"forks\":[");
  char object[3000];
  if (!CHECK(end && at && end - json < 2999)) return;
  snprintf(object, sizeof object, "%.*s", (int)(end - json), json);
  at = strstr(object, "\"forks\":[") + 9;
  for (int i = 0; i < f->forks; i++) { CHECK_BELOW(fabs(strtod(at, NULL) - mean_of(&f->fork[i])), 1e-6); at += strcspn(at, ",]") + 1; }
  CHECK(at[-1] == ']' || (at[-1] == '[' && *at == ']'));
  CHECK((int)number_of(object, "\"best\":") == f->best + 1 && (int)number_of(object, "\"widest\":") == f->widest + 1);
  for (int i = 0; i < FIGURES; i++) {
    char key[40];
    snprintf(key, sizeof key, "\"%s\":[", figure_keys[i]);
    at = strstr(object, key);
    if (!CHECK((at != NULL) == (f->of[i].count > 0))) { fprintf(stderr, "  %s\n", key); continue; }
    if (!at) continue;
    char *second;
    const double mean = strtod(at + strlen(key), &second), error = strtod(second + 1, NULL);
    if (!CHECK(fabs(mean - mean_of(&f->of[i])) < 2e-6 && fabs(error - error_of(&f->of[i])) < 2e-6))
      fprintf(stderr, "  %s %g +- %g, but it is %g +- %g\n", key, mean, error, mean_of(&f->of[i]), error_of(&f->of[i]));
  }
}

// A cell of the table: the row that begins with the label, a column for each model.
static void same_cell(const char *label, int column, const values *s, int chosen)
{
  char begin[80], *row, want[80], *at;
  snprintf(begin, sizeof begin, "\n%-34s", label);
  row = strstr(out, begin);
  if (!s->count && column == 0 && !row) return;
  if (!CHECK(row != NULL)) { fprintf(stderr, "  there is no row %s\n", label); return; }
  row += 35 + 24 * column;
  if (s->count) snprintf(want, sizeof want, "%.3f +- %.3f", mean_of(s), error_of(s));
  else snprintf(want, sizeof want, "-");
  if (s->count && chosen >= 0) snprintf(want + strlen(want), 20, " (%d)", chosen + 1);
  at = want + strlen(want);
  *at++ = ' ';
  *at = 0;
  // Halves may be printed either way: the last digit of each number may be one off.
  double m = 0, e = 0;
  const int same = !strncmp(row, want, strlen(want)), numbers = sscanf(row, "%lf +- %lf", &m, &e) == 2;
  if (!CHECK(same || (s->count && numbers && fabs(m - mean_of(s)) < 5.001e-4 && fabs(e - error_of(s)) < 5.001e-4 && (chosen < 0 || (int)number_of(row, "(") == chosen + 1))))
    fprintf(stderr, "  %s: %.24s, not %s\n", label, row, want);
}
static void same_table(int column, const figures *f, int forks, int samples, int k)
{
  char label[60];
  same_cell("Pass@1, first fork", column, &f->of[FIRST], -1);
  same_cell("Pass@1, best fork on validation", column, &f->of[BEST], f->best);
  same_cell("Pass@1, widest fork", column, &f->of[WIDEST], f->widest);
  same_cell("Pass@1, mean over forks", column, &f->of[MEAN_FORK], -1);
  snprintf(label, sizeof label, "Cons@%d, greedy", forks);
  same_cell(label, column, &f->of[CONS_GREEDY], -1);
  if (!samples) { CHECK(!strstr(out, "native") && !strstr(out, "Pass@0") && !strstr(out, "Cons@0")); return; }
  snprintf(label, sizeof label, "native Cons@%d", forks);
  same_cell(label, column, &f->of[CONS], -1);
  snprintf(label, sizeof label, "Cons@%d", samples);
  same_cell(label, column, &f->of[CONS_ALL], -1);
  snprintf(label, sizeof label, "Pass@%d", k < samples ? k : samples);
  same_cell(label, column, &f->of[PASS], -1);
}

static void evaluated(void)
{
  static figures f, g;
  char m[400], base[400], line[200], *at;
  const int widest = widest_fork("data/valid.jsonl", VALIDS);
  int first = 0;
  snprintf(m, sizeof m, "%s/m", place);
  snprintf(base, sizeof base, "%s/base", place);
  // samples: three groups and two beside; k below, at and above their number
  static const int samples[] = { 20, 5, 12, 0 }, ks[] = { 4, 9, 12, 6 };
  for (int i = 0; i < 4; i++) {
    CHECK(run("eval --model @/m --data @/data --samples %d --k %d --temp .8 --max-tokens 20 --threads 1 --log-samples @/log --json", samples[i], ks[i]) == 0 && !err[0]);
    read_log();
    recompute(m, TEST_TO - TEST_FROM, samples[i], ks[i], VALIDS, widest, NULL, &f);
    CHECK((int)number_of(out, "\"questions\":") == 40 && (int)number_of(out, "\"samples\":") == samples[i] && f.forks == FORKS);
    same_json(out, &f);
    if (i == 0) {
      CHECK(mean_of(&f.of[MEAN_FORK]) > .02 && mean_of(&f.of[PASS]) < .98 && mean_of(&f.of[PASS]) > mean_of(&f.of[FIRST]));  // there is something to see
    }
    if (i == 2) continue;
    CHECK(run("eval --model @/m --data @/data --samples %d --k %d --temp .8 --max-tokens 20 --threads 2", samples[i], ks[i]) == 0);
    snprintf(line, sizeof line, "40 questions; %d samples of each at temperature 0.8\n", samples[i]);
    CHECK(!strncmp(out, line, strlen(line)));
    same_table(0, &f, FORKS, samples[i], ks[i]);
    at = strstr(out, "greedy, fork by fork: ");
    for (int k = 0; k < FORKS && CHECK(at != NULL); k++) {
      snprintf(line, sizeof line, "<think%d> %.3f", k + 1, mean_of(&f.fork[k]));
      CHECK(strstr(at, line) != NULL);
    }
  }
  // cut where the answer is there but the end is not: not right
  CHECK(run("eval --model @/m --data @/data/test.jsonl --samples 12 --max-tokens 7 --threads 1 --log-samples @/log --json") == 0);
  read_log();
  recompute(m, TEST_TO - TEST_FROM, 12, 6, 0, widest, NULL, &f);
  same_json(out, &f);
  {
    int cut = 0;
    for (int i = 0; i < reply_count; i++) {
      snprintf(line, sizeof line, "%d", left_of(TEST_FROM + replies[i].question) + right_of(TEST_FROM + replies[i].question));
      cut += !replies[i].finished && agree(answer_of(replies[i].text), (fr_text){ line, (fr_int)strlen(line) });
    }
    CHECK(cut > 0);
  }
  // beside another one; the first questions alone; no fork in it, then one
  for (int one = 0; one < 2; one++) {
    if (one) snprintf(base, sizeof base, "%s/sft", place);
    CHECK(run("eval --base %s --model @/m --data @/data --limit 17 --samples 12 --temp .8 --max-tokens 20 --threads 1 --log-samples @/log --json", base) == 0 && !err[0]);
    read_log();
    recompute(base, 17, 12, 6, VALIDS, widest, NULL, &f);
    recompute(m, 17, 12, 6, VALIDS, widest, NULL, &g);
    CHECK(f.forks == one && g.forks == FORKS);
    at = strstr(out, "},\n");
    same_json(out, &f);
    if (CHECK(at != NULL)) same_json(at + 3, &g);
    CHECK(run("eval --base %s --model @/m --data @/data --limit 17 --samples 12 --temp .8 --max-tokens 20 --threads 1", base) == 0);
    same_table(0, &f, FORKS, 12, 6);
    same_table(1, &g, FORKS, 12, 6);
    snprintf(line, sizeof line, "<think1> %.3f  <think2> %.3f  ", mean_of(&g.fork[0]), mean_of(&g.fork[1]));
    at = strstr(out, "greedy, fork by fork, ");
    CHECK(at && strstr(at, line) && (strstr(at, "/sft: <think1> ") != NULL) == one && strstr(at, "/m: <think1> "));
  }
  // groups of another size beside it
  snprintf(base, sizeof base, "%s/base", place);
  CHECK(run("eval --base @/base --model @/m --data @/data/test.jsonl --limit 17 --samples 12 --k 4 --max-tokens 20 --threads 1 --log-samples @/log") == 0);
  read_log();
  recompute(base, 17, 12, 4, 0, widest, NULL, &f);
  recompute(m, 17, 12, 4, 0, widest, NULL, &g);
  same_cell("native Cons@4, @6", 0, &f.of[CONS], -1);
  same_cell("native Cons@4, @6", 1, &g.of[CONS], -1);
  same_cell("Cons@6, greedy", 1, &g.of[CONS_GREEDY], -1);
  // a file without validation
  CHECK(run("eval --model @/m --data @/data/test.jsonl --limit 3 --samples 0 --max-tokens 20 --threads 1 --log-samples @/log --json") == 0);
  read_log();
  recompute(m, 3, 0, 6, 0, widest, NULL, &f);
  same_json(out, &f);
  CHECK(run("eval --model @/m --data @/data/test.jsonl --valid @/data/valid.jsonl --limit 3 --samples 0 --max-tokens 20 --threads 1 --log-samples @/log --json") == 0);
  read_log();
  recompute(m, 3, 0, 6, VALIDS, widest, NULL, &f);
  same_json(out, &f);
  // so few questions to validate on that forks tie: the first of them
  for (int few = 1; few < 4 && !first; few++) {
    int most = 0, hits[FORKS] = { 0 };
    write_rows("few.jsonl", VALID_FROM, VALID_FROM + few);
    const int wide = widest_fork("few.jsonl", few);
    CHECK(run("eval --model @/m --data @/data/test.jsonl --valid @/few.jsonl --samples 0 --max-tokens 20 --threads 1 --log-samples @/log --json") == 0);
    read_log();
    recompute(m, TEST_TO - TEST_FROM, 0, 6, few, wide, NULL, &f);
    same_json(out, &f);
    for (int i = 0; i < reply_count; i++) if (replies[i].part == 0) hits[replies[i].fork] += replies[i].right;
    for (int i = 0; i < FORKS; i++) if (hits[i] > most) most = hits[i];
    for (int i = 0, ties = 0; i < FORKS; i++) first |= hits[i] == most && ++ties > 1;
  }
  CHECK(first);
}

// ---- the same model through the header
typedef struct loaded {
  map_folder folder;
  fr_pretrained from;
  fr_tokenizer tokenizer;
  fr_encoder encoder;
  fr_model model;
  fr_framing framing;
  fr_text texts[FORKS];
  char names[FORKS][20];
  fr_token fork_ids[FORKS];
  fr_tokens forks[FORKS];
} loaded;

static void load(loaded *l, const char *name, const char *before, const char *after)
{
  fr_pretrained_source source;
  fr_pretrained_options options;
  fr_tokenizer_source text;
  fr_reason reason;
  char path[400];
  memset(l, 0, sizeof *l);
  memset(&source, 0, sizeof source);
  memset(&options, 0, sizeof options);
  memset(&text, 0, sizeof text);
  snprintf(l->folder.path, sizeof l->folder.path, "%s/%s", place, name);
  snprintf(path, sizeof path, "%s/%s/tokenizer.json", place, name);
  source.open = map_folder_open;
  source.user = &l->folder;
  if (fr_pretrained_new(&l->from, &source, &reason) || fr_pretrained_model_new(&l->from, &options, &l->model, &reason) ||
      fr_tokenizer_load(&l->tokenizer, path, NULL, &text, &reason) || fr_encoder_new(&l->encoder, &l->tokenizer, 1 << 12, 1 << 10)) {
    fprintf(stderr, "%s: %s\n", name, reason.text);
    exit(2);
  }
  l->framing.before.bytes = before;
  l->framing.before.count = (fr_int)strlen(before);
  l->framing.after.bytes = after;
  l->framing.after.count = (fr_int)strlen(after);
  l->framing.forks = l->texts;
  l->framing.end = l->from.ends[0];
  for (int f = 0; f < FORKS; f++) {
    l->texts[f].bytes = l->names[f];
    l->texts[f].count = snprintf(l->names[f], sizeof l->names[f], "<think%d>", f + 1);
    l->fork_ids[f] = fr_tokenizer_find(&l->tokenizer, l->texts[f]);
    l->forks[f].ids = &l->fork_ids[f];
    l->forks[f].count = 1;
    if (l->fork_ids[f] < 0) break;
    l->framing.fork_count++;
  }
}
static void unload(loaded *l)
{
  fr_encoder_free(&l->encoder);
  fr_tokenizer_free(&l->tokenizer);
  fr_model_free(&l->model);
  fr_pretrained_free(&l->from);
  map_folder_close(&l->folder);
}
static fr_question placed(loaded *l, const char *text, const fr_text *traces, int count, void **memory)
{
  const fr_text prompt = { text, (fr_int)strlen(text) };
  fr_question q;
  fr_int bytes = 0;
  CHECK(fr_question_place(NULL, &l->encoder, &l->framing, prompt, traces, count, NULL, 0, &bytes) == FR_OK);
  *memory = test_alloc((size_t)bytes);
  if (fr_question_place(&q, &l->encoder, &l->framing, prompt, traces, count, *memory, bytes, NULL)) { fprintf(stderr, "%s\n", l->encoder.reason.text); exit(2); }
  return q;
}

// Greedy behind a sequence of parts, in a tree of its own; the tokens, and their text.
typedef struct grown { fr_token tokens[300]; fr_int count; fr_token stop; double logp; char text[3000]; } grown;
static void grow(loaded *l, const fr_tokens *parts, int count, fr_int most, grown *g)
{
  fr_span spans[40];
  fr_tree tree;
  fr_sampling greedy;
  fr_limits limits;
  fr_work work;
  fr_leaf leaf;
  fr_int bytes = 0;
  memset(spans, 0, sizeof spans);
  memset(&tree, 0, sizeof tree);
  memset(&greedy, 0, sizeof greedy);
  memset(&work, 0, sizeof work);
  memset(&leaf, 0, sizeof leaf);
  for (int i = 0; i < count; i++) { spans[i].parent = i - 1; spans[i].tokens = parts[i]; }
  tree.spans = spans;
  tree.span_count = count;
  greedy.max_tokens = most;
  greedy.stops = l->from.ends;
  greedy.stop_count = l->from.end_count;
  leaf.span = count - 1;
  leaf.tokens = g->tokens;
  CHECK(fr_generate_limits(&tree, &greedy, 1, &limits) == FR_OK && fr_work_new(&work, &l->model.config, &limits) == FR_OK);
  CHECK(fr_generate(&l->model, &work, &tree, &greedy, &leaf, 1) == FR_OK);
  g->count = leaf.count;
  g->stop = leaf.stop;
  g->logp = leaf.logp;
  CHECK(fr_tokenizer_decode(&l->tokenizer, g->tokens, g->count, g->text, sizeof g->text - 1, &bytes, NULL) == FR_OK);
  g->text[bytes] = 0;
  fr_work_free(&work);
}

// ---- match
// Cost matrix through the header, and the least sum over all ways to give traces forks of their own.
static void costs_of(loaded *l, const fr_question *given, int prefix, double cost[FORKS * FORKS])
{
  fr_ssft_options o;
  fr_limits limits;
  fr_work work;
  fr_int fork[FORKS], longest = 0;
  fr_question q = *given;
  memset(&o, 0, sizeof o);
  memset(&work, 0, sizeof work);
  o.forks = l->forks;
  o.fork_count = l->framing.fork_count;
  o.prefix = prefix;
  q.fork = fork;
  q.cost = cost;
  for (fr_int j = 0; j < q.trace_count; j++) if (q.traces[j].count > longest) longest = q.traces[j].count;
  CHECK(fr_ssft_limits(&o, q.prompt.count, longest, q.trace_count, 1, &limits) == FR_OK && fr_work_new(&work, &l->model.config, &limits) == FR_OK);
  CHECK(fr_ssft_match(&l->model, &work, &o, &q, 1) == FR_OK);
  fr_work_free(&work);
}
static void least_of(const double *cost, int n, int m, int j, unsigned taken, double sum, int *now, double best[2], int *fork)
{
  if (j == m) {
    if (sum < best[0]) { best[1] = best[0]; best[0] = sum; memcpy(fork, now, (size_t)m * sizeof *now); }
    else if (sum < best[1]) best[1] = sum;
    return;
  }
  for (int i = 0; i < n; i++)
    if (!(taken >> i & 1)) { now[j] = i; least_of(cost, n, m, j + 1, taken | 1u << i, sum + cost[i * m + j], now, best, fork); }
}

static void matched(void)
{
  static loaded l;
  static const int prefixes[] = { 64, 0, 3, 1 };
  char question[40], trace[8][60], line[600];
  fr_text traces[8];
  load(&l, "m", "", "<|asked|>");
  CHECK(l.framing.fork_count == FORKS);
  // a question with more traces than forks: the first ones are matched
  write_text("many.jsonl", "{\"question\":\"3+4=\",\"traces\":[\"#### 7\",\"4 and 3 #### 7\",\"it is #### 7\",\"7\",\"seven it is #### 7\",\"3 4 7\",\"no more\",\"nor this\"]}\n");
  for (int k = 0; k < 14; k++) {
    const int many = k == 12, prefix = prefixes[k % 4], m = many ? FORKS : 3;
    double cost[FORKS * FORKS], best[2] = { 1e9, 1e9 }, sum = 0;
    int fork[FORKS], now[FORKS];
    void *memory;
    if (many) {
      static const char *const texts[] = { "#### 7", "4 and 3 #### 7", "it is #### 7", "7", "seven it is #### 7", "3 4 7" };
      snprintf(question, sizeof question, "3+4=");
      for (int j = 0; j < m; j++) snprintf(trace[j], sizeof trace[j], "%s", texts[j]);
    } else {
      asked(k * 5, question);
      for (int j = 0; j < m; j++) told(k * 5, j, trace[j]);
    }
    for (int j = 0; j < m; j++) { traces[j].bytes = trace[j]; traces[j].count = (fr_int)strlen(trace[j]); }
    const fr_question q = placed(&l, question, traces, m, &memory);
    costs_of(&l, &q, prefix, cost);
    least_of(cost, FORKS, m, 0, 0, 0, now, best, fork);
    for (int json = 0; json < 2; json++) {
      CHECK(run("match --model @/m --data @/%s --question %d --match-tokens %d --threads 1%s", many ? "many.jsonl" : "rows.jsonl", many ? 1 : k * 5 + 1, prefix, json ? " --json" : "") == 0 && !err[0]);
      if (json) {
        const char *at = strstr(out, "\"cost\":[");
        CHECK((int)number_of(out, "\"forks\":") == FORKS && (int)number_of(out, "\"traces\":") == m);
        for (int i = 0; at && i < FORKS * m; i++) { at = strpbrk(at + 1, "0123456789"); CHECK_BELOW(fabs(strtod(at, NULL) - cost[i]), 1e-5 * (1 + cost[i])); at = strpbrk(at, ",]"); }
        at = strstr(out, "\"fork\":[");
        for (int j = 0; at && j < m; j++) { at = strpbrk(at + 1, "0123456789"); CHECK((int)strtol(at, NULL, 10) == fork[j] + 1); }
        CHECK_BELOW(fabs(number_of(out, "\"total\":") - best[0]), 1e-5 * (1 + best[0]));
        CHECK_BELOW(fabs(number_of(out, "\"margin\":") - (best[1] - best[0])), 2e-5 * (1 + best[0]));
        continue;
      }
      CHECK(!strncmp(out, question, strlen(question)));
      for (int i = 0; i < FORKS; i++) {
        snprintf(line, sizeof line, "\n<think%d>", i + 1);
        const char *at = strstr(out, line);
        at = at ? at + strlen(line) : "";
        for (int j = 0; j < m; j++) {
          at += strspn(at, " ");
          const int bracket = *at == '[';
          at += bracket;
          if (!CHECK(fabs(strtod(at, NULL) - cost[i * m + j]) < 7e-5 && bracket == (fork[j] == i))) fprintf(stderr, "  question %d, fork %d, trace %d: %.8s, not %g\n", k, i + 1, j + 1, at, cost[i * m + j]);
          at += strspn(at, "0123456789.");
          CHECK((*at == ']') == bracket);
          at += bracket;
        }
        CHECK(at[strspn(at, " ")] == '\n');
      }
      for (int j = 0; j < m; j++) {
        if (many) snprintf(line, sizeof line, "trace %d under <think%d>: %s\n", j + 1, fork[j] + 1, trace[j]);
        else snprintf(line, sizeof line, "trace %d under <think%d>, %c: %s\n", j + 1, fork[j] + 1, 'A' + j, trace[j]);
        CHECK(strstr(out, line) != NULL);
        sum += cost[fork[j] * m + j];
      }
      CHECK_BELOW(fabs(number_of(out, "\ncost ") - sum), 7e-5);
      CHECK_BELOW(fabs(number_of(out, "next matching costs ") - (best[1] - best[0])), 7e-5);
      snprintf(line, sizeof line, prefix ? "nats a token of the first %d;" : "nats a token;", prefix);
      CHECK(strstr(out, line) != NULL);
    }
    free(memory);
  }
  unload(&l);
}

// ---- generate
static void number_vote(const char texts[][3000], int count, char want[200])
{
  int winner = -1, most = 0;
  fr_text a[FORKS];
  for (int i = 0; i < count; i++) { const fr_text t = { texts[i], (fr_int)strlen(texts[i]) }; a[i] = fr_answer_find(FR_ANSWER_NUMBER, t); }
  for (int i = 0; i < count; i++) {
    int votes = 0, seen = 0;
    for (int j = 0; j < count; j++) if (agree(a[i], a[j])) { votes++; seen |= j < i; }
    if (votes > most && !seen) { most = votes; winner = i; }
  }
  if (winner < 0) snprintf(want, 200, "\nvote: no text has an answer\n");
  else snprintf(want, 200, "\nvote: %.*s, %d of %d\n", (int)a[winner].count, a[winner].bytes, most, count);
}

static int plain(const char *text)  // as it is in JSON
{
  for (; *text; text++) if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\') return 0;
  return 1;
}

static void generated(void)
{
  static loaded l;
  static grown g[FORKS + 1];
  static char want[FORKS * 3100], texts[FORKS][3000], kept[2][sizeof out];
  char question[40], vote[200], line[4000];
  load(&l, "m", "", "<|asked|>");
  for (int q = 70; q < 76; q++) {
    void *memory;
    size_t used = 0;
    asked(q, question);
    const fr_question placed_q = placed(&l, question, NULL, 0, &memory);
    for (int f = 0; f <= FORKS; f++) {  // the last one: no fork
      const fr_tokens parts[2] = { placed_q.prompt, l.forks[f % FORKS] };
      grow(&l, parts, f < FORKS ? 2 : 1, 40, &g[f]);
      if (f < FORKS) { memcpy(texts[f], g[f].text, sizeof texts[f]); used += (size_t)snprintf(want + used, sizeof want - used, "<think%d> %s%s\n", f + 1, g[f].text, g[f].stop < 0 ? " ... (cut)" : ""); }
    }
    number_vote((const char (*)[3000])texts, FORKS, vote);
    snprintf(want + used, sizeof want - used, "%s", vote);
    CHECK(run("generate --model @/m --prompt '%s' --max-tokens 40 --threads 1", question) == 0 && !err[0] && !strcmp(out, want));
    if (strcmp(out, want)) fprintf(stderr, "%s\n is not\n%s\n", out, want);
    snprintf(line, sizeof line, "%s\n", question);
    write_text("question.txt", line);
    CHECK(run("generate --model @/m --file @/question.txt --max-tokens 40 --threads 1") == 0 && !strcmp(out, want));
    CHECK(run("generate -m @/m -f @/question.txt -n 40 -t 2") == 0 && !strcmp(out, want));
    snprintf(input, sizeof input, "%s/question.txt", place);
    CHECK(run("generate --model @/m --max-tokens 40 --threads 1") == 0 && !strcmp(out, want));
    snprintf(input, sizeof input, "/dev/null");
    // JSON
    CHECK(run("generate --model @/m --prompt '%s' --max-tokens 40 --threads 1 --json", question) == 0);
    const char *at = out;
    for (int f = 0; f < FORKS; f++) {
      snprintf(line, sizeof line, "{\"fork\":%d,\"text\":\"%s\"", f + 1, g[f].text);
      if (plain(g[f].text)) CHECK(strstr(out, line) != NULL);
      snprintf(line, sizeof line, "{\"fork\":%d,", f + 1);
      if (!CHECK((at = strstr(at, line)) != NULL)) break;
      CHECK((fr_int)number_of(at, "\"tokens\":") == g[f].count);
      CHECK_BELOW(fabs(number_of(at, "\"logp\":") - g[f].logp), 1e-4 * (1 + fabs(g[f].logp)));
      CHECK((strstr(at, "\"finished\":true") != NULL) >= (g[f].stop >= 0));
    }
    snprintf(line, sizeof line, "\"vote\":\"%.*s\",\"votes\":%d}\n", (int)strcspn(vote + 7, ","), vote + 7, (int)number_of(vote, ", "));
    CHECK(strstr(out, line) || !strncmp(vote, "\nvote: no", 9));
    for (int f = 0; f <= FORKS; f++) {  // one alone, and none
      snprintf(line, sizeof line, g[f % (FORKS + 1)].stop < 0 ? "%s\n(cut at 40 tokens; --max-tokens)\n" : "%s\n", g[f].text);
      CHECK(run("generate --model @/m --prompt '%s' --max-tokens 40 --threads 1 --fork %d", question, f < FORKS ? f + 1 : 0) == 0 && !strcmp(out, line));
    }
    if (q == 70) {
      for (int most = 1; most < 4; most++) {
        CHECK(run("generate --model @/m --prompt '%s' --max-tokens %d --threads 1 --fork 2 --json", question, most) == 0);
        CHECK((int)number_of(out, "\"tokens\":") == most && strstr(out, "\"finished\":false") && !strncmp(strstr(out, "\"text\":\"") + 8, g[1].text, (size_t)most));
      }
      CHECK(run("generate --model @/m --prompt '%s' --max-tokens 2 --threads 1", question) == 0 && strstr(out, " ... (cut)\n"));
      CHECK(run("generate --model @/m --prompt '%s' --max-tokens 2 --threads 1 --fork 2", question) == 0 && strstr(out, "\n(cut at 2 tokens; --max-tokens)\n"));
    }
    free(memory);
  }
  for (int seed = 1; seed < 3; seed++)
    for (int twice = 0; twice < 2; twice++) {
      CHECK(run("generate --model @/m --prompt '3+4=' --max-tokens 30 --temp 1.5 --seed %d --threads %d", seed, twice + 1) == 0);
      if (twice) CHECK(!strcmp(out, kept[0]));
      snprintf(kept[0], sizeof kept[0], "%s", out);
      if (seed == 2) CHECK(strcmp(out, kept[1]) != 0);
      else snprintf(kept[1], sizeof kept[1], "%s", out);
    }
  // another framing, and a text before all, which is what a system turn is in a template by hand
  for (int i = 0; i < 2; i++) {
    static loaded other;
    void *memory;
    load(&other, "m", i ? "Now " : "Say ", i ? "<|asked|>" : "!\n<|asked|>");
    const fr_question placed_q = placed(&other, "3+4=", NULL, 0, &memory);
    const fr_tokens parts[2] = { placed_q.prompt, other.forks[1] };
    grow(&other, parts, 2, 30, &g[0]);
    snprintf(line, sizeof line, g[0].stop < 0 ? "%s\n(cut at 30 tokens; --max-tokens)\n" : "%s\n", g[0].text);
    CHECK(run("generate --model @/m --prompt 3+4= --max-tokens 30 --fork 2 --threads 1 %s", i ? "--system 'Now '" : "--framing 'Say {question}!\\n<|asked|>'") == 0 && !strcmp(out, line));
    free(memory);
    unload(&other);
  }
  // what is drawn from one token alone is greedy
  CHECK(fine("generate --model @/m --prompt 3+4= --max-tokens 30 --threads 1"));
  snprintf(kept[0], sizeof kept[0], "%s", out);
  CHECK(fine("generate --model @/m --prompt 3+4= --max-tokens 30 --temp 1.5 --top-k 1 --threads 1") && !strcmp(out, kept[0]));
  CHECK(fine("generate --model @/m --prompt 3+4= --max-tokens 30 --temperature=1.5 --top-p .000001 --threads 1") && !strcmp(out, kept[0]));
  CHECK(fine("generate --model @/m --prompt 3+4= --max-new-tokens 30 --temperature=1.5 --min-p 1 --threads 1") && !strcmp(out, kept[0]));
  CHECK(fine("generate --model @/m --prompt 3+4= --max-tokens 30 --temp 1.5 --top-k 40 --repeat-penalty 1.2 --threads 1") && strcmp(out, kept[0]));
  unload(&l);
}

// ---- chat: replies beside those that grow from the whole talk, run anew for each
typedef struct talk { fr_tokens parts[40]; void *memory[40]; grown *g[40]; int count, memories, grown; } talk;

// A turn under a fork, or -1: none; what was said goes behind want.
static grown *turn(loaded *l, talk *t, const char *text, int fork, const char *between, fr_int most)
{
  const fr_text before = l->framing.before;
  const fr_text other = { between, (fr_int)strlen(between) };
  grown *g = (grown *)test_alloc(sizeof *g);
  if (t->count) l->framing.before = other;
  const fr_question q = placed(l, text, NULL, 0, &t->memory[t->memories++]);
  l->framing.before = before;
  t->parts[t->count++] = q.prompt;
  if (fork >= 0) t->parts[t->count++] = l->forks[fork];
  grow(l, t->parts, t->count, most, g);
  t->g[t->grown++] = g;
  t->parts[t->count].ids = g->tokens;
  t->parts[t->count++].count = g->count;
  return g;
}
static void talk_end(talk *t)
{
  for (int i = 0; i < t->memories; i++) free(t->memory[i]);
  for (int i = 0; i < t->grown; i++) free(t->g[i]);
  memset(t, 0, sizeof *t);
}

static void chatted(void)
{
  static loaded l;
  static talk t;
  static char want[20000];
  size_t used = 0;
  memset(&t, 0, sizeof t);
  snprintf(input, sizeof input, "%s/talk.txt", place);
  load(&l, "m", "", "<|asked|>");
  // three turns, an empty line, another fork, none
  write_text("talk.txt", "3+4=\n\n1+1=\n/fork 3\n2+5=\n/fork 0\n4+4=\n/new\n3+4=\n");
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "3+4=", 0, "", 25)->text);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "1+1=", 0, "", 25)->text);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "2+5=", 2, "", 25)->text);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "4+4=", -1, "", 25)->text);
  talk_end(&t);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "3+4=", -1, "", 25)->text);
  talk_end(&t);
  CHECK(run("chat --model @/m --max-tokens 25 --threads 1") == 0 && !err[0]);
  if (!CHECK(!strcmp(out, want))) fprintf(stderr, "%s\n is not\n%s\n", out, want);
  // words, and the end without a line end
  write_text("talk.txt", "/help\n/fork\n/fork 7\n/fork x\n/fork 6\n/what is this\n5+2=");
  snprintf(want, sizeof want, "/fork K, /vote, /new, /quit\n/fork K, from 0 to 6\n/fork K, from 0 to 6\n/fork K, from 0 to 6\n/fork K, /vote, /new, /quit\n%s\n", turn(&l, &t, "5+2=", 5, "", 25)->text);
  talk_end(&t);
  CHECK(run("chat --model @/m --max-tokens 25 --threads 1") == 0 && !err[0] && !strcmp(out, want));
  write_text("talk.txt", "/quit\n5+2=\n");
  CHECK(run("chat --model @/m --max-tokens 25") == 0 && !err[0] && !out[0]);
  write_text("talk.txt", "");
  CHECK(run("chat --model @/m --max-tokens 25") == 0 && !err[0] && !out[0]);
  // a vote: the winner's text goes on
  {
    static char texts[FORKS][3000];
    char vote[200];
    int stays = 0;
    fr_text one[FORKS];
    used = 0;
    for (int f = 0; f < FORKS; f++) {
      const grown *g = turn(&l, &t, "5+2=", f, "", 25);
      memcpy(texts[f], g->text, sizeof texts[f]);
      used += (size_t)snprintf(want + used, sizeof want - used, "<think%d> %s\n", f + 1, g->text);
      one[f] = fr_answer_find(FR_ANSWER_NUMBER, (fr_text){ texts[f], (fr_int)strlen(texts[f]) });
      talk_end(&t);
    }
    number_vote((const char (*)[3000])texts, FORKS, vote);
    if (strncmp(vote, "\nvote: no", 9)) {
      const fr_text won = { vote + 7, (fr_int)strcspn(vote + 7, ",") };
      while (stays < FORKS && !agree(one[stays], won)) stays++;
      used += (size_t)snprintf(want + used, sizeof want - used, "%.*s; <think%d> stays\n", (int)strlen(vote) - 2, vote + 1, stays + 1);
    } else used += (size_t)snprintf(want + used, sizeof want - used, "vote: no text has an answer; <think1> stays\n");
    // a next question whose answer tells which text went on
    int tells = 0;
    for (int next = 0; next < 40 && !tells; next++) {
      char question[40], said_to[FORKS][3000], lines[200];
      asked(next, question);
      for (int f = 0; f < FORKS; f++) {
        turn(&l, &t, "5+2=", f, "", 25);
        memcpy(said_to[f], turn(&l, &t, question, next % FORKS, "", 25)->text, sizeof said_to[f]);
        talk_end(&t);
      }
      tells = stays < FORKS - 1 && strcmp(said_to[stays], said_to[FORKS - 1]) && (!stays || strcmp(said_to[stays], said_to[0]));
      snprintf(lines, sizeof lines, "/vote\n5+2=\n/fork %d\n%s\n", next % FORKS + 1, question);
      write_text("talk.txt", lines);
      snprintf(want + used, sizeof want - used, "%s\n", said_to[stays]);
    }
    CHECK(tells);
    CHECK(run("chat --model @/m --max-tokens 25 --threads 1") == 0 && !err[0]);
    if (!CHECK(!strcmp(out, want))) fprintf(stderr, "%s\n is not\n%s\n", out, want);
  }
  // no room: told, and the talk before stays
  write_text("talk.txt", "3+4=\n1+1=\n/new\n3+4=\n");
  snprintf(want, sizeof want, "%s\n", turn(&l, &t, "3+4=", 0, "", 40)->text);
  used = strlen(want);
  memcpy(want + used, want, used);
  want[2 * used] = 0;
  talk_end(&t);
  CHECK(run("chat --model @/m --max-tokens 40 --context 64 --threads 1") == 0 && strstr(err, "/new begins another") && !strcmp(out, want));
  // a model without forks; with a template of turns
  write_text("talk.txt", "/vote\n3+4=\n/fork 1\n2+2=\n");
  unload(&l);
  load(&l, "base", "", "<|asked|>");
  used = (size_t)snprintf(want, sizeof want, "this model has no forks that could vote\n%s\n/fork K, from 0 to 0\n", turn(&l, &t, "3+4=", -1, "", 25)->text);
  snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "2+2=", -1, "", 25)->text);
  talk_end(&t);
  CHECK(run("chat --model @/base --max-tokens 25 --threads 1") == 0 && !err[0] && !strcmp(out, want));
  unload(&l);
  snprintf(input, sizeof input, "/dev/null");
  CHECK(fine("train --data @/rows.jsonl --held-out 0 " SMALL "--iters 40 --forks 3 --tokenizer tests/data/tokenizer/tiny/qwenstyle/tokenizer.json --out @/turns "
             "--framing '<|im_start|>user\\n{question}<|im_end|>\\n<|im_start|>assistant\\n'"));
  snprintf(input, sizeof input, "%s/talk.txt", place);
  load(&l, "turns", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n");
  CHECK(l.framing.fork_count >= 3);
  write_text("talk.txt", "3+4=\n/fork 2\n2+2=\n1+2=\n");
  used = (size_t)snprintf(want, sizeof want, "%s\n", turn(&l, &t, "3+4=", 0, "", 12)->text);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "2+2=", 1, "<|im_end|>\n<|im_start|>user\n", 12)->text);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "1+2=", 1, "<|im_end|>\n<|im_start|>user\n", 12)->text);
  talk_end(&t);
  CHECK(run("chat --model @/turns --max-tokens 12 --threads 1") == 0 && !err[0]);
  if (!CHECK(!strcmp(out, want))) fprintf(stderr, "%s\n is not\n%s\n", out, want);
  unload(&l);
  load(&l, "turns", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n");
  used = (size_t)snprintf(want, sizeof want, "%s\n", turn(&l, &t, "3+4=", 0, "", 12)->text);
  used += (size_t)snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "2+2=", 1, "<|im_end|>\n<|im_start|>user\n", 12)->text);
  snprintf(want + used, sizeof want - used, "%s\n", turn(&l, &t, "1+2=", 1, "<|im_end|>\n<|im_start|>user\n", 12)->text);
  talk_end(&t);
  CHECK(run("chat --model @/turns --max-tokens 12 --threads 1 --system 'Be brief.'") == 0 && !err[0] && !strcmp(out, want));
  unload(&l);
  snprintf(input, sizeof input, "/dev/null");
}

// ---- a policy: the fork that its own numbers say, for generate and for eval
static void chosen(void)
{
  static loaded l;
  static figures f;
  int policy[TEST_TO - TEST_FROM], other_fork = 0;
  char m[400], question[40], line[200], kept[4000];
  snprintf(m, sizeof m, "%s/m", place);
  forget(strcat(strcpy(line, place), "/policy"));
  CHECK(fine("train --method gfpo --model @/m --data @/rows.jsonl --held-out 0 --batch 8 --group 4 --iters 12 --lr 1e-2 --max-tokens 18 --threads 1 --report-every 4 --json --out @/policy"));
  CHECK(strstr(out, "{\"step\":4,\"steps\":12,\"reward\":") && strstr(out, "{\"step\":12,") && number_of(out, "\"reward\":") >= 0 && number_of(out, "\"reward\":") <= 1);
  load(&l, "policy", "", "<|asked|>");
  for (int q = 0; q < TEST_TO - TEST_FROM; q++) {
    void *memory;
    double logp[FORKS], sum = 0;
    fr_gfpo_options o;
    fr_limits limits;
    fr_work work;
    const fr_policy p = { &l.model, NULL, NULL, NULL };
    asked(TEST_FROM + q, question);
    const fr_question placed_q = placed(&l, question, NULL, 0, &memory);
    memset(&o, 0, sizeof o);
    memset(&work, 0, sizeof work);
    o.forks = l.forks;
    o.fork_count = FORKS;
    o.group = 1;
    o.sampling.max_tokens = 1;
    CHECK(fr_gfpo_limits(&o, placed_q.prompt.count, 1, &limits) == FR_OK && fr_work_new(&work, &l.model.config, &limits) == FR_OK);
    CHECK(fr_policy_logp(&p, &work, &o, &placed_q, 1, logp) == FR_OK);
    policy[q] = 0;
    for (int i = 0; i < FORKS; i++) { sum += exp(logp[i]); if (logp[i] > logp[policy[q]]) policy[q] = i; }
    CHECK_BELOW(fabs(sum - 1), 1e-5);
    other_fork += policy[q] != 0;
    if (q < 4) {
      CHECK(run("generate --model @/m --prompt '%s' --max-tokens 30 --threads 1 --fork %d", question, policy[q] + 1) == 0);
      snprintf(kept, sizeof kept, "%.3990s", out);
      CHECK(run("generate --model @/m --policy @/policy --prompt '%s' --max-tokens 30 --threads 1", question) == 0 && !err[0]);
      snprintf(line, sizeof line, "fork %d, chance %.2f\n", policy[q] + 1, exp(logp[policy[q]]));
      CHECK(!strncmp(out, line, strlen(line)) && !strcmp(out + strlen(line), kept));
      CHECK(run("generate --model @/m --policy @/policy --prompt '%s' --max-tokens 30 --threads 1 --json", question) == 0);
      CHECK((int)number_of(out, "\"fork\":") == policy[q] + 1 && strstr(out, "\"votes\":"));
    }
    fr_work_free(&work);
    free(memory);
  }
  CHECK(other_fork > 0);
  CHECK(run("eval --model @/m --policy @/policy --data @/data/test.jsonl --samples 0 --max-tokens 20 --threads 1 --log-samples @/log --json") == 0 && !err[0]);
  read_log();
  recompute(m, TEST_TO - TEST_FROM, 0, 6, 0, 0, policy, &f);
  CHECK(mean_of(&f.of[POLICY]) > 0);
  same_json(out, &f);
  CHECK(run("eval --model @/m --policy @/policy --data @/data/test.jsonl --samples 0 --max-tokens 20 --threads 1") == 0);
  same_cell("Pass@1, fork of the policy", 0, &f.of[POLICY], -1);
  unload(&l);
}

// ---- train
enum { STEPS = 40 };
typedef struct progress { double loss[STEPS + 1], rate[STEPS + 1]; int64_t tokens[STEPS + 1], steps; int steps_of[STEPS + 1], reports, valid_at[STEPS + 1], questions[STEPS + 1], valids; } progress;

// Lines of JSON that the run before printed.
static void read_progress(progress *p)
{
  memset(p, 0, sizeof *p);
  for (const char *line = out; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
    char one[400];
    snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
    CHECK(one[0] == '{' && one[strlen(one) - 1] == '}');
    const double step = number_of(one, "\"step\":");
    if (!(step >= 0 && step <= STEPS)) continue;
    if (strstr(one, "\"loss\":")) {
      p->loss[p->reports] = number_of(one, "\"loss\":");
      p->rate[p->reports] = number_of(one, "\"rate\":");
      p->tokens[p->reports] = (int64_t)number_of(one, "\"tokens\":");
      p->steps = (int64_t)number_of(one, "\"steps\":");
      p->steps_of[p->reports++] = (int)step;
    } else {
      CHECK(number_of(one, "\"matched\":") <= number_of(one, "\"mixture\":") + .7 && number_of(one, "\"matched\":") > 0);
      p->questions[p->valids] = (int)number_of(one, "\"questions\":");
      p->valid_at[p->valids++] = (int)step;
    }
  }
}
#define FRESH(words) (forget(run_path), fine("train --data @/rows.jsonl --out @/run " SMALL words))

// Are these the numbers of the steps, which end with -1?
static int same_steps(const int *have, int count, const int *want)
{
  for (int i = 0; i < count; i++) if (have[i] != want[i]) return 0;
  return want[count] == -1;
}

static void trained(void)
{
  static progress p, q;
  char run_path[400], name[40];
  snprintf(run_path, sizeof run_path, "%s/run", place);
  // every step, every third, and without JSON
  CHECK(FRESH("--held-out 0 --iters 11 --report-every 1 --json"));
  read_progress(&p);
  CHECK(p.reports == 11 && p.steps == 11 && p.valids == 0);
  for (int i = 0; i < 11; i++) CHECK(p.steps_of[i] == i + 1);
  CHECK(FRESH("--held-out 0 --iters 11 --report-every 3 --json"));
  read_progress(&q);
  CHECK(same_steps(q.steps_of, q.reports, (int[]){ 3, 6, 9, 11, -1 }));
  for (int i = 0, at = 0; i < q.reports; i++) {
    double sum = 0;
    const int first = at;
    for (; at < q.steps_of[i]; at++) sum += p.loss[at];
    CHECK_BELOW(fabs(q.loss[i] - sum / (at - first)), 2e-5);
    CHECK(q.tokens[i] == p.tokens[at - 1]);
  }
  CHECK(FRESH("--held-out 0 --iters 11 --report-every 3"));
  for (int i = 0; i < q.reports; i++) {
    char want[100];
    snprintf(want, sizeof want, "step %5d/11   loss ", q.steps_of[i]);
    const char *at = strstr(out, want);
    if (!CHECK(at != NULL)) continue;
    CHECK_BELOW(fabs(strtod(at + strlen(want), NULL) - q.loss[i]), 6e-5);
    CHECK_BELOW(fabs(number_of(at, "   rate ") / q.rate[i] - 1), 6e-3);
  }
  // tokens: in an epoch each trace is seen once, its bytes and an end
  CHECK(FRESH("--held-out 0 --batch 4 --report-every 5 --json"));
  read_progress(&p);
  {
    int64_t tokens = 0;
    for (int row = 0; row < 80; row++) for (int way = 0; way < 3; way++) { char text[60]; told(row, way, text); tokens += (int64_t)strlen(text) + 1; }
    CHECK(p.steps == 20 && p.reports == 4 && p.tokens[3] == tokens);
  }
  // epochs to steps
  static const struct { const char *words; int steps; } epochs[] = { { "--epochs 2 --batch 8", 20 }, { "--epochs .25 --batch 3", 7 }, { "--epochs 1 --batch 4 --accum 3", 7 },
                                                                     { "--limit 10 --batch 4", 3 }, { "--limit 10 --epochs 3 --batch 4", 8 }, { "--epochs 9 --iters 5", 5 } };
  for (size_t i = 0; i < sizeof epochs / sizeof epochs[0]; i++) {
    char words[200];
    snprintf(words, sizeof words, "train --data @/rows.jsonl --out @/run " SMALL "--held-out 0 --json --report-every 1 %s", epochs[i].words);
    forget(run_path);
    CHECK(fine(words));
    read_progress(&p);
    if (!CHECK(p.steps == epochs[i].steps && p.reports == p.steps)) fprintf(stderr, "  %s: %d steps\n", epochs[i].words, (int)p.steps);
  }
  // a batch in two passes
  CHECK(FRESH("--held-out 0 --iters 12 --report-every 1 --json --batch 4"));
  read_progress(&p);
  CHECK(FRESH("--held-out 0 --iters 12 --report-every 1 --json --batch 2 --accum 2"));
  read_progress(&q);
  for (int i = 0; i < 12; i++) { CHECK_BELOW(fabs(p.loss[i] - q.loss[i]), 1e-4); CHECK(p.tokens[i] == q.tokens[i]); }
  CHECK(p.loss[0] - p.loss[11] > .5);
  // validation: each so many steps, at the beginning and at the end; five times if nothing is said
  CHECK(FRESH("--held-out .3 --iters 11 --eval-every 4 --eval-questions 2 --json"));
  read_progress(&p);
  CHECK(same_steps(p.valid_at, p.valids, (int[]){ 0, 4, 8, 11, -1 }) && p.questions[0] == 2 && p.questions[2] == 2 && p.questions[3] == 20);
  CHECK(FRESH("--held-out .3 --iters 10 --json"));
  read_progress(&p);
  CHECK(same_steps(p.valid_at, p.valids, (int[]){ 0, 2, 4, 6, 8, 10, -1 }) && p.questions[0] == 4 && p.questions[5] > 10 && p.questions[5] < 40);
  CHECK(FRESH("--valid @/held.jsonl --iters 2 --eval-questions 9 --eval-every 100"));
  CHECK(strstr(out, "step     0      held out, 9 questions: mixture ") && strstr(out, "step     2      held out, "));
  // checkpoints
  static const struct { const char *words; int left[6]; } saves[] = { { "--save-every 3", { 10, -1 } }, { "--save-every 3 --keep-last 2", { 9, 10, -1 } },
    { "--save-every 3 --keep-last 9", { 3, 6, 9, 10, -1 } }, { "--save-every 0 --keep-last 9", { 10, -1 } }, { "--save-every 5 --keep-last 9", { 5, 10, -1 } } };
  for (size_t i = 0; i < sizeof saves / sizeof saves[0]; i++) {
    char words[200];
    int there = 0;
    snprintf(words, sizeof words, "train --data @/rows.jsonl --out @/run " SMALL "--held-out 0 --iters 10 %s", saves[i].words);
    forget(run_path);
    CHECK(fine(words) && exists(run_path, "model.safetensors") && !exists(run_path, "checkpoint-000010.fr.tmp"));
    for (int step = 0; step < 12; step++) {
      int want = 0;
      for (int k = 0; saves[i].left[k] >= 0; k++) want |= saves[i].left[k] == step;
      snprintf(name, sizeof name, "checkpoint-%06d.fr", step);
      if (!CHECK(exists(run_path, name) == want)) fprintf(stderr, "  %s: step %d\n", saves[i].words, step);
      there += want;
      snprintf(name, sizeof name, "step %5d      saved\n", step);
      CHECK((strstr(out, name) != NULL) == (step > 0 && step < 10 && step % (i < 3 ? 3 : i == 3 ? 99 : 5) == 0));
    }
    CHECK(there > 0);
  }
  // rates: of the step printed, the first of a run is 1
  static const char *const schedules[] = { "cosine", "linear", "constant" };
  for (int s = 0; s < 3; s++)
    for (int warmup = test_brief() ? 4 : 0; warmup < 9; warmup += test_brief() ? 9 : 4) {
      char words[300];
      snprintf(words, sizeof words, "train --data @/rows.jsonl --out @/run " SMALL "--held-out 0 --iters 21 --report-every 1 --json --lr 2e-3 --schedule %s --warmup %d", schedules[s], warmup);
      forget(run_path);
      CHECK(fine(words));
      read_progress(&p);
      CHECK(p.reports == 21);
      for (int i = 0; i < p.reports; i++) {
        const int step = p.steps_of[i] - 1;
        const double way = step < warmup ? 0 : (double)(step - warmup) / (20 - warmup);
        double want = step < warmup ? (step + 1.0) / (warmup + 1.0) : s == 0 ? .1 + .9 * .5 * (1 + cos(3.14159265358979 * way)) : s == 1 ? 1 - way : 1;
        if (!CHECK(fabs(p.rate[i] - 2e-3 * want) < 1e-8)) fprintf(stderr, "  %s, warm-up %d, step %d: %g, not %g\n", schedules[s], warmup, step, p.rate[i], 2e-3 * want);
      }
      CHECK_BELOW(fabs(p.rate[20] - 2e-3 * (s == 0 ? .1 : s == 1 ? 0 : 1)), 1e-9);
    }
  // what was kept, and the framing, in a dry run
  CHECK(fine("train --data @/rows.jsonl --held-out 0 " SMALL "--limit 7 --iters 3 --dry-run --framing 'Q: {question}\\nA:'"));
  CHECK(strstr(out, "kept      7 questions with 21 traces") && strstr(out, ": 7 questions to train on, 0 held out\n") && strstr(out, "=\nA:<think?>[[#### ") && strstr(out, "<|end|>]]\n   ...<think?>[["));
  CHECK(strstr(out, "\nQ: ") && strstr(out, ", 3 steps: "));
  CHECK(fine("train --data @/rows.jsonl --held-out 0 " SMALL "--limit 79 --iters 3 --dry-run") && strstr(out, ": 79 questions to train on, 0 held out\n"));
  CHECK(fine("train --data @/rows.jsonl --valid @/held.jsonl " SMALL "--limit 7 --iters 3 --dry-run") && strstr(out, "7 questions to train on, 14 held out\n"));
  CHECK(fine("train --model @/turns --data @/rows.jsonl --forks 3 --threads 1 --iters 3 --dry-run --system 'Be brief.'"));
  CHECK(strstr(out, "\n<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n") != NULL);
  CHECK(fine("train --model @/turns --data @/rows.jsonl --forks 3 --threads 1 --iters 3 --dry-run") && !strstr(out, "system") && strstr(out, "<|im_start|>user\n"));
  CHECK(fine("train --model @/turns --data @/rows.jsonl --forks 3 --threads 1 --iters 3 --dry-run --framing 'Now {question} so'") && !strstr(out, "<|im_start|>") && strstr(out, "= so<think?>"));
  // the forks alone: all else stays, and the loss of a text without forks
  forget(run_path);
  CHECK(fine("train --model @/m --data @/rows.jsonl --held-out 0 --traces 3 --train forks --iters 5 --lr 1e-2 --threads 1 --out @/run"));
  {
    char left[2][8000];
    CHECK(fine("generate --model @/m --prompt 3+4= --fork 0 --max-tokens 30 --json --threads 1"));
    snprintf(left[0], sizeof left[0], "%.7990s", out);
    CHECK(fine("generate --model @/run --prompt 3+4= --fork 0 --max-tokens 30 --json --threads 1"));
    snprintf(left[1], sizeof left[1], "%.7990s", out);
    CHECK(!strncmp(left[0], left[1], strcspn(left[0], ",") + 20));
    CHECK(fine("match --model @/m --data @/rows.jsonl --json --threads 1"));
    snprintf(left[0], sizeof left[0], "%.7990s", out);
    CHECK(fine("match --model @/run --data @/rows.jsonl --json --threads 1") && strcmp(out, left[0]));
  }
}

// ---- spellings: every flag with several is taken by each of them, which do the same
// What a run printed and left in @/run, without times and the room on the disk.
static char *outcome(char *to, size_t room)
{
  char command[900], path[400], list[9000];
  size_t used = 0;
  for (const char *c = out; *c && used + 1 < room;) {
    if (!strncmp(c, ",\"tokens_per_second\"", 20)) c += strcspn(c, "\n");
    else if (!strncmp(c, "time    ", 8) || !strncmp(c, "disk    ", 8)) c += strcspn(c, "\n");
    else to[used++] = *c++;
  }
  snprintf(command, sizeof command, "cd %s && { ls run; cat run/README.md; } >list 2>&1", place);
  tool_status(command);
  snprintf(path, sizeof path, "%s/list", place);
  slurp(path, list, sizeof list);
  snprintf(to + used, room - used, "%s", exists(place, "run") ? list : "");
  return to;
}

enum { SPELLINGS = 89 };
static void spelled(void)
{
  // of a flag by its first name: the rest of the command line, a value, and whether it makes another outcome
  static const char train[] = "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --held-out .2 --eval-every 3 --iters 6 --report-every 4 --json --out @/run";
  static const char choosing[] = "--data @/rows.jsonl --model @/m --method gfpo --batch 2 --group 2 --iters 1 --max-tokens 6 --out @/run --json --entropy 1";
  static const char eval[] = "--model @/m --data @/data/test.jsonl --limit 4 --samples 6 --max-tokens 12 --json";
  static const char drawn[] = "--model @/m --data @/data/test.jsonl --limit 4 --samples 6 --max-tokens 12 --log-samples /dev/stdout";
  static const char generate[] = "--model @/m --prompt 3+4= --max-tokens 12 --json";
  static const struct { const char *command, *flag, *base, *value; int differs; } flags[] = {
    { "train", "--out", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 1 --json", "@/run", 0 },
    { "train", "--model", "--data @/rows.jsonl --iters 1 --json --out @/run", "@/m", 1 },
    { "train", "--iters", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --json --out @/run", "3", 1 },
    { "train", "--epochs", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --batch 8 --json --out @/run", ".5", 1 },
    { "train", "--batch", train, "3", 1 }, { "train", "--accum", train, "2", 1 }, { "train", "--lr", train, ".002", 1 }, { "train", "--warmup", train, "2", 1 },
    { "train", "--schedule", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 6 --warmup 1 --json --out @/run", "constant", 1 }, { "train", "--clip", train, ".01", 1 }, { "train", "--max-len", train, "20", 1 },
    { "train", "--temp", choosing, "9", 0 }, { "train", "--max-tokens", "--data @/rows.jsonl --model @/m --method gfpo --batch 2 --group 2 --iters 1 --out @/run --json", "3", 1 },
    { "train", "--report-every", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 6 --json --out @/run", "2", 1 },
    { "train", "--eval-every", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 6 --json --out @/run", "4", 1 },
    { "train", "--eval-questions", train, "2", 1 }, { "train", "--save-every", "--keep-last 9 --data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 6 --json --out @/run", "2", 1 },
    { "train", "--keep-last", "--save-every 2 --data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 6 --json --out @/run", "2", 1 },
    { "train", "--threads", "--data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --iters 1 --dry-run", "3", 1 },
    { "eval", "--model", "--data @/data/test.jsonl --limit 2 --samples 0 --json", "@/m", 1 }, { "eval", "--temp", drawn, "3", 1 }, { "eval", "--repeat-penalty", drawn, "50", 1 },
    { "eval", "--max-tokens", "--model @/m --data @/data/test.jsonl --limit 4 --samples 6 --json --log-samples /dev/stdout", "3", 1 }, { "eval", "--threads", eval, "1", 0 },
    { "generate", "--model", "--prompt 3+4= --json", "@/m", 1 }, { "generate", "--prompt", "--model @/m --json --max-tokens 12", "4+4=", 1 },
    { "generate", "--file", "--model @/m --json --max-tokens 12", "@/question.txt", 1 }, { "generate", "--temp", generate, "2", 1 },
    { "generate", "--repeat-penalty", generate, "50", 1 }, { "generate", "--max-tokens", "--model @/m --prompt 3+4= --json", "3", 1 }, { "generate", "--threads", generate, "1", 0 },
    { "chat", "--model", "--max-tokens 12", "@/m", 1 }, { "chat", "--temp", "--model @/m --max-tokens 12", "3", 1 }, { "chat", "--repeat-penalty", "--model @/m --max-tokens 12", "50", 1 },
    { "chat", "--max-tokens", "--model @/m", "3", 1 }, { "chat", "--threads", "--model @/m --max-tokens 12", "1", 0 },
    { "convert", "--type", "@/m @/run", "bf16", 1 }, { "convert", "--license", "@/m @/run", "mit", 1 }, { "tokenize", "--file", "@/m --ids", "@/question.txt", 1 },
    { "match", "--model", "--data @/rows.jsonl --json", "@/m", 1 }, { "match", "--threads", "--model @/m --data @/rows.jsonl --json", "1", 0 } };
  static const char *const commands[] = { "train", "eval", "generate", "chat", "match", "inspect", "convert", "tokenize" };
  static char help[20000], first[60000], other[60000];
  char run_path[400];
  int seen = 0, spellings = 0;
  snprintf(run_path, sizeof run_path, "%s/run", place);
  for (int c = 0; c < 8; c++) {
    CHECK(run("%s --help", commands[c]) == 0);
    snprintf(help, sizeof help, "%.19990s", out);
    for (const char *line = help; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
      char names[6][60];
      int count = 0, f = 0;
      if (strncmp(line, "  --", 4)) continue;
      for (const char *at = line + 2; *at == '-' && count < 6;) {
        const int length = (int)strcspn(at, ", \n");
        snprintf(names[count++], 60, "%.*s", length, at);
        at += length;
        if (at[0] == ',' && at[1] == ' ') at += 2;
        else break;
      }
      if (count < 2) continue;
      while (f < (int)(sizeof flags / sizeof flags[0]) && (strcmp(flags[f].command, commands[c]) || strcmp(flags[f].flag, names[0]))) f++;
      if (!CHECK(f < (int)(sizeof flags / sizeof flags[0]))) { fprintf(stderr, "  %s %s is not in the list\n", commands[c], names[0]); continue; }
      seen++;
      spellings += count;
      if (!strcmp(commands[c], "chat")) { write_text("talk.txt", "3+4=\n/fork 2\n2+6=\n"); snprintf(input, sizeof input, "%s/talk.txt", place); }
      for (int n = 0; n < count; n++)
        for (int joined = 0; joined < (n && !test_brief() ? 2 : 1); joined++) {
          forget(run_path);
          const int status = run("%s %s %s%s%s", commands[c], flags[f].base, names[n], joined ? "=" : " ", flags[f].value);
          outcome(n ? other : first, sizeof first);
          if (!CHECK(status == 0 && (!n || !strcmp(first, other)))) fprintf(stderr, "  %s %s: status %d: %s\n%s\n%s\n", commands[c], names[n], status, err, first, other);
        }
      if (flags[f].differs && !test_brief()) {
        forget(run_path);
        run("%s %s", commands[c], flags[f].base);
        if (!CHECK(strcmp(first, outcome(other, sizeof other)))) fprintf(stderr, "  %s %s does nothing\n", commands[c], names[0]);
      }
      snprintf(input, sizeof input, "/dev/null");
    }
  }
  CHECK(seen == (int)(sizeof flags / sizeof flags[0]));
  if (!CHECK(spellings == SPELLINGS)) fprintf(stderr, "  %d spellings\n", spellings);  // none is lost: scripts have it
  // the same in a file; the command line goes before it
  write_text("run.cfg", "# a run\ndata: none.jsonl\niters = 5\n\nlearning_rate: .002  # of it\r\nlr-scheduler-type: \"constant\"\n  batch:3\njson: true\ntruncate: false\nreport_every 1\n");
  forget(run_path);
  CHECK(fine("train --config @/run.cfg --data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --out @/run"));
  outcome(first, sizeof first);
  forget(run_path);
  CHECK(fine("train --lr .002 --schedule constant --batch 3 --json --report-every 1 --iters 5 --data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --out @/run"));
  CHECK(!strcmp(first, outcome(other, sizeof other)) && strstr(first, "\"steps\":5,") && !strstr(first, "\"steps\":6"));
  forget(run_path);
  CHECK(fine("train --iters 2 --config @/run.cfg --data @/rows.jsonl --layers 1 --dim 16 --heads 2 --ffn 24 --out @/run --max-grad-norm 1") && strstr(out, "\"steps\":2,"));
  write_text("run.cfg", "iters: 5\nbatch-sise: 3\n");
  expect("train --config @/run.cfg --data @/rows.jsonl --out @/run2", 2, "--batch-size is the nearest");
  write_text("run.cfg", "iters: five\n");
  expect("train --config @/run.cfg --data @/rows.jsonl --out @/run2", 2, "--iters is a whole number");
}

// ---- wrong use
static void refused(void)
{
  static const struct { const char *words; int status; const char *message; } wrong[] = {
    { "eval", 2, "eval takes --model and --data" }, { "eval --model @/m", 2, "eval takes --model and --data" }, { "eval --data @/data", 2, "eval takes --model and --data" },
    { "match --model @/m", 2, "match takes --model and --data" }, { "match --data @/rows.jsonl", 2, "match takes --model and --data" },
    { "generate --prompt x", 2, "generate needs --model" }, { "chat", 2, "chat takes --model" }, { "train", 2, "train needs --data" },
    { "train --data @/rows.jsonl", 2, "train needs --out" }, { "evl --model @/m", 2, "eval is the nearest" }, { "trian", 2, "train is the nearest" },
    { "eval --modl @/m", 2, "--model is the nearest" }, { "eval --sample 3", 2, "--samples is the nearest" }, { "match --questoin 3", 2, "--question is the nearest" },
    { "generate --promt x", 2, "--prompt is the nearest" }, { "chat --contxt 3", 2, "--context is the nearest" }, { "train --learning-rat 3", 2, "--learning-rate is the nearest" },
    { "train --grad-acumulation-steps 3", 2, "--gradient-accumulation-steps is the nearest" }, { "generate -q", 2, "is the nearest" },
    { "generate --model", 2, "--model needs a value" }, { "eval --json=1 --model @/m --data @/data", 2, "--json takes no value" }, { "generate --model @/m word", 2, "not as word" },
    { "eval --model @/m --data @/data word", 2, "eval takes" }, { "match --model @/m --data @/data word", 2, "match takes" }, { "chat --model @/m word", 2, "no words" },
    { "generate --model @/m --temp -1", 2, "--temp is a number from 0 to 1000, not -1" }, { "generate --model @/m --top-p 1.5", 2, "--top-p" },
    { "generate --model @/m --min-p nan", 2, "--min-p" }, { "generate --model @/m --max-tokens 0", 2, "--max-tokens is a whole number from 1" },
    { "generate --model @/m --seed 1.5", 2, "--seed is a whole number" }, { "generate --model @/m --threads 1e9", 2, "--threads" },
    { "generate --model @/m --prompt x --fork 65", 2, "--fork is a whole number from 0 to 64" }, { "generate --model @/m --prompt x --fork x", 2, "not x" },
    { "generate --model @/m --prompt x --fork -1", 2, "--fork is a whole number" }, { "generate --model @/m --prompt x --fork ''", 2, "--fork is a whole number" },
    { "generate --model @/m --prompt x --fork 7", 1, "/m has 6 forks; there is no fork 7" }, { "generate --model @/base --prompt x --fork 1", 1, "/base has 0 forks" },
    { "generate --model @/m --prompt x --answer some", 2, "--answer is hash, gsm8k, boxed or number, not some" }, { "eval --model @/m --data @/data --answer some", 2, "not some" },
    { "generate --model @/m --prompt x --framing y", 2, "--framing is BEFORE{question}AFTER, not y" }, { "generate --model @/m --prompt x --file @/question.txt", 2, "exclude each other" },
    { "generate --model @/m --prompt x --fork 1 --policy @/m", 2, "exclude each other" }, { "generate --model @/m --prompt x --policy @/base", 1, "/base has no fork to choose" },
    { "generate --model @/m --prompt ''", 1, "the question is empty" }, { "generate --model @/m", 1, "the question is empty" },
    { "generate --model @/nothing --prompt x", 1, "/nothing cannot be opened" }, { "generate --model @/m --file @/nothing", 1, "/nothing cannot be read" },
    { "generate --model @/m --file @/data", 1, "/data cannot be read" }, { "generate --model @/m --prompt x --policy @/nothing", 1, "/nothing" },
    { "generate --model @/rows.jsonl --prompt x", 1, "rows.jsonl: " }, { "generate --model @/data --prompt x", 1, "/data" }, { "generate --model tests/data/model/llama_a --prompt x", 1, "no tokenizer.json" },
    { "chat --model @/nothing", 1, "/nothing cannot be opened" }, { "chat --model @/m --fork 7", 1, "/m has 6 forks; there is no fork 7" }, { "chat --model @/m --context 5", 2, "--context is a whole number from 64" },
    { "chat --model @/m --fork 65", 2, "--fork is a whole number from 0 to 64" }, { "chat --model @/m --answer some", 2, "not some" },
    { "match --model @/nothing --data @/rows.jsonl", 1, "/nothing cannot be opened" }, { "match --model @/m --data @/nothing", 1, "/nothing: there is no such file" },
    { "match --model @/m --data @/data", 1, "/data/train.jsonl: there is no such file" }, { "match --model @/m --data @/rows.jsonl --question 81", 1, "rows.jsonl has 80 questions" },
    { "match --model @/m --data @/rows.jsonl --question 0", 2, "--question is a whole number from 1" }, { "match --model @/m --data @/rows.jsonl --match-tokens x", 2, "--match-tokens" },
    { "match --model @/base --data @/rows.jsonl", 1, "/base has no forks; --forks N adds some" }, { "match --model @/m --data tests/data/jsonl/bad_cut_line.jsonl", 1, "bad_cut_line.jsonl: line " },
    { "eval --model @/nothing --data @/data", 1, "/nothing cannot be opened" }, { "eval --model @/m --base @/nothing --data @/data", 1, "/nothing cannot be opened" },
    { "eval --model @/m --data @/nothing", 1, "/nothing: there is no such file" }, { "eval --model @/m --data @/run", 1, "/run/test.jsonl: there is no such file" },
    { "eval --model @/m --data @/data --valid @/nothing", 1, "/nothing: there is no such file" }, { "eval --model @/m --data @/data --policy @/nothing", 1, "/nothing" },
    { "eval --model @/m --data @/data --log-samples @/nothing/x", 1, "/nothing/x cannot be opened for writing" }, { "eval --model @/m --data @/data --policy @/sft", 1, "/sft has 1 forks" },
    { "eval --model @/m --data @/data --k 0", 2, "--k is a whole number from 1" }, { "eval --model @/m --data @/data --samples -1", 2, "--samples is a whole number from 0" },
    { "eval --model @/m --data @/many.jsonl", 1, "many.jsonl: no question has an answer" }, { "eval --model @/m --data tests/data/jsonl/bad_cut_line.jsonl", 1, "bad_cut_line.jsonl: line " },
    { "train --data @/nothing --out @/new", 1, "/nothing: there is no such file" }, { "train --data @/data --out @/new", 1, "/data/train.jsonl: there is no such file" },
    { "train --data @/rows.jsonl --out @/new --model @/nothing", 1, "/nothing cannot be opened" }, { "train --data @/rows.jsonl --valid @/nothing --out @/new", 1, "/nothing: there is no such file" },
    { "train --data @/rows.jsonl --out @/new --epochs 0", 2, "--epochs 0" }, { "train --data @/rows.jsonl --out @/new --train some", 2, "--train is all or forks, not some" },
    { "train --data @/rows.jsonl --out @/new --held-out 1", 2, "--held-out is a number from 0 to 0.9" }, { "train --data @/rows.jsonl --out @/new --config @/nothing", 1, "/nothing cannot be opened" },
    { "train --data @/rows.jsonl --out @/data", 1, "/data holds test.jsonl" }, { "train --data @/rows.jsonl --out @/data", 1, "take another folder" },
    { "train --data @/rows.jsonl --out @/m", 1, "/m holds a run" }, { "train --resume @/nothing", 1, "/nothing holds no checkpoint" } };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    expect(wrong[i].words, wrong[i].status, wrong[i].message);
    CHECK((strstr(err, "--help tells more") != NULL) == (wrong[i].status == 2));
    if (strncmp(wrong[i].words, "train", 5) && !CHECK(!out[0])) fprintf(stderr, "  forkreason %s\n  said %s\n", wrong[i].words, out);
  }
  // files that may not be read: a superuser may read all
  char command[1500];
  snprintf(command, sizeof command, "cp %s/rows.jsonl %s/secret.jsonl && chmod 000 %s/secret.jsonl && ! cat %s/secret.jsonl >/dev/null 2>&1", place, place, place, place);
  if (tool_status(command) == 0) {
    expect("eval --model @/m --data @/secret.jsonl", 1, "secret.jsonl cannot be opened: ");
    expect("generate --model @/m --file @/secret.jsonl", 1, "secret.jsonl cannot be read: ");
  }
}

int main(void)
{
  char path[400];
  if (!tool_there("test_commands")) return 77;
  snprintf(place, sizeof place, "%.200s/test_commands.files", folder);
  forget(place);
  snprintf(path, sizeof path, "mkdir -p %s", place);
  CHECK(tool_status(path) == 0);
  replies = (reply *)test_alloc(REPLIES * sizeof *replies);
 make_models();
  evaluated();
  matched();
  generated();
  chatted();
  chosen();
  trained();
  spelled();
  refused();
  free(replies);
  forget(place);
  return test_done("commands");
}
#endif
