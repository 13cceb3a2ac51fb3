// examples/word_problems.c: every equation of every trace, the answers, the split, the same bytes for the same seed, how the ways
// begin, and what it says to a command line that is wrong or a folder that cannot be written.
#define main words_main
#include "../examples/word_problems.c"
#undef main
#include "store.h"
#if defined(_WIN32)
#include <io.h>
#define dup _dup
#define dup2 _dup2
#define fileno _fileno
#else
#include <unistd.h>
#endif

static char folder[400];
static pair dealt[PAIRS];

// Runs the program with words separated by blanks, % is our folder; what it says goes to %.out and %.err.
static int run(const char *line)
{
  char text[2000], *list[20], path[500];
  int count = 1, used = 0, kept[2], status;
  FILE *const streams[] = { stdout, stderr };
  list[0] = text;
  used = 1 + snprintf(text, sizeof text, "word_problems");
  while (*line) {
    const int length = (int)strcspn(line, " %");
    if (used == 0 || text[used - 1] == 0) list[count++] = text + used;
    used += snprintf(text + used, sizeof text - (size_t)used, "%.*s%s", length, line, line[length] == '%' ? folder : "");
    if (line[length] != '%') used++;
    line += length + (line[length] != 0);
  }
  text[used] = 0;
  list[count] = NULL;
  for (int i = 0; i < 2; i++) {
    FILE *file;
    fflush(streams[i]);
    kept[i] = dup(fileno(streams[i]));
    snprintf(path, sizeof path, "%s.%s", folder, i ? "err" : "out");
    file = fopen(path, "wb");
    if (!file || dup2(fileno(file), fileno(streams[i])) < 0) exit(2);
    fclose(file);
  }
  status = words_main(count, list);
  for (int i = 0; i < 2; i++) {
    fflush(streams[i]);
    dup2(kept[i], fileno(streams[i]));
    close(kept[i]);
  }
  return status;
}
static char *file_of(const char *name)  // NAME behind our folder's path
{
  char path[500];
  ptrdiff_t size;
  snprintf(path, sizeof path, "%s%s", folder, name);
  return (char *)store_file(path, &size);
}
static int same(const char *name, const char *text)
{
  char *is = file_of(name);
  const int equal = !strcmp(is, text);
  free(is);
  return equal;
}

static int is(fr_text a, const char *b) { return (fr_int)strlen(b) == a.count && !memcmp(a.bytes, b, strlen(b)); }

// A whole number at *at, which moves behind it; -1: there is none.
static long number_at(const char **at)
{
  char *end;
  const long value = **at >= '0' && **at <= '9' ? strtol(*at, &end, 10) : -1;
  if (value >= 0) *at = end;
  return value;
}

// Equations x * y = z, all of which have to hold; *last is the z of the last one, first what is left of the
// first one's z.
static int equations(const char *text, long *last, char first[40])
{
  int count = 0;
  for (const char *at = text; *at;) {
    const char *begin = at;
    const long x = number_at(&at);
    char sign;
    long y;
    if (x < 0) { at++; continue; }
    if (strncmp(at, " * ", 3) && strncmp(at, " + ", 3) && strncmp(at, " - ", 3)) continue;
    sign = at[1];
    at += 3;
    y = number_at(&at);
    if (y < 0 || strncmp(at, " = ", 3)) return -1;
    at += 3;
    if (!count) snprintf(first, 40, "%.*s", (int)(at - begin), begin);
    *last = number_at(&at);
    if (*last != (sign == '*' ? x * y : sign == '+' ? x + y : x - y) || *at != '.') return -1;
    count++;
  }
  return count;
}

// How many it has to have: a times a power of two for each doubling, and one less sums than b has bits.
static int wanted(const set *s, int way, long b)
{
  const int twice = b > 7 ? 3 : b > 3 ? 2 : 1, bits = (int)((b & 1) + (b >> 1 & 1) + (b >> 2 & 1) + (b >> 3 & 1));
  return s->write == write_hidden || way < 2 ? 3 : way == 2 ? (int)b - 1 : twice + bits - 1;
}

// The words of a text: what is no digit, and signs as one.
static void words_of(char out[ROOM], const char *text)
{
  int used = 0;
  for (; *text; text++)
    if (*text < '0' || *text > '9') out[used++] = *text == '+' ? '-' : *text;
  out[used] = 0;
}

static unsigned char part_seen[100][10];  // bit p: the pair is in part p

static void check_part(const set *s, const char *name, int part, int questions, int at_index[WAYS][WAYS])
{
  char path[600];
  fr_reason reason;
  fr_dataset data;
  snprintf(path, sizeof path, "%s/%s.jsonl", folder, name);
  if (!CHECK(fr_dataset_load(&data, path, &reason) == FR_OK)) return;
  CHECK(data.problem_count == questions && data.counts.rows == questions && data.trace_count == WAYS * questions);
  CHECK(data.counts.merged + data.counts.incorrect + data.counts.repeated + data.counts.empty == 0);  // no question, no trace twice
  for (fr_int i = 0; i < data.problem_count; i++) {
    const fr_problem *p = &data.problems[i];
    char text[WAYS][ROOM], first[WAYS][40], words[2][ROOM], answer[20];
    const char *at = text[0];
    long a = -1, b = -1;
    int ways = 0, alike = 0, good = p->count == WAYS && p->text.count < ROOM;
    if (!CHECK(good)) break;
    snprintf(text[0], ROOM, "%.*s", (int)p->text.count, p->text.bytes);
    for (; *at; at += *at != 0) {
      const long x = number_at(&at);
      if (x >= 10) a = x; else if (x >= 0) b = x;
    }
    good = good && a % 100 > 11 && (s->hundreds ? a > 100 && a < 100 * s->hundreds + 100 : a < 100) && a % 10 && b > 2;
    if (!CHECK(good)) break;
    part_seen[a % 100][b] |= (unsigned char)(1 << part);
    snprintf(answer, sizeof answer, "%ld", a * b);
    good = is(p->answer, answer) && (s->write == write_hidden) == (a > 100);
    for (int j = 0; j < WAYS; j++) {
      const fr_trace *t = &data.traces[p->first + j];
      const fr_text source = data.sources[t->source];
      char end[40];
      const size_t end_count = (size_t)snprintf(end, sizeof end, ". #### %s", answer);
      long last = -1;
      int way = 0;
      snprintf(text[j], ROOM, "%.*s", (int)t->text.count, t->text.bytes);
      good = good && strlen(text[j]) > end_count && !strcmp(text[j] + strlen(text[j]) - end_count, end);
      good = good && is(t->answer, answer);
      while (way < WAYS && !is(source, s->ways[way])) way++;
      if (!CHECK(way < WAYS)) break;
      good = good && t->text.count < ROOM && equations(text[j], &last, first[j]) == wanted(s, way, b) && last == a * b;
      ways |= 1 << way;
      at_index[j][way]++;
      for (int k = 0; k < j; k++) {
        if (s->write == write_ways) good = good && strcspn(text[j], " ") > 0 && strncmp(text[j], text[k], 2) != 0;  // another word
        else {
          words_of(words[0], text[j]);
          words_of(words[1], text[k]);
          good = good && !strcmp(words[0], words[1]) && strlen(text[j]) < 80;
          alike += !strcmp(first[j], first[k]);
        }
      }
    }
    if (CHECK(good && ways == (1 << WAYS) - 1 && alike == (s->write == write_hidden && a % 10 == 5))) continue;
    fprintf(stderr, "  %s\n  %s\n  %s\n  %s\n", text[0], text[1], text[2], text[3]);
    break;
  }
  fr_dataset_free(&data);
}

// Returns how many pairs of numbers there are.
static int check_set(const set *s, int seed, int train, int valid, int test)
{
  static const char *const names[PARTS] = { "train", "valid", "test" };
  const int questions[PARTS] = { train, valid, test };
  int at_index[WAYS][WAYS] = { { 0 } }, both = 0, uneven = 0, seen = 0;
  char line[300];
  memset(part_seen, 0, sizeof part_seen);
  snprintf(line, sizeof line, "--set %s --seed %d --train=%d --valid %d --test %d --out %%", s->name, seed, train, valid, test);
  CHECK(run(line) == 0 && same(".out", "") && same(".err", ""));
  for (int part = 0; part < PARTS; part++) check_part(s, names[part], part, questions[part], at_index);
  for (int a = 0; a < 100; a++)
    for (int b = 0; b < 10; b++) {
      both += (part_seen[a][b] & (part_seen[a][b] - 1)) != 0;
      seen += part_seen[a][b] != 0;
    }
  CHECK(both == 0);
  for (int j = 0; j < WAYS; j++)  // four deviations
    for (int way = 0; way < WAYS; way++)
      uneven += fabs(at_index[j][way] - .25 * (train + valid + test)) > 4.0 * sqrt(.1875 * (train + valid + test));
  CHECK(uneven == 0);
  return seen;
}

static void examples(void)
{
  static const char *const ways[] = {
    "Split 47 into 40 and 7. 40 * 6 = 240. 7 * 6 = 42. 240 + 42 = 282.",
    "Round 47 up to 50. 50 * 6 = 300. Too much by 3 * 6 = 18. 300 - 18 = 282.",
    "Add 47 again and again. 47 + 47 = 94. 94 + 47 = 141. 141 + 47 = 188. 188 + 47 = 235. 235 + 47 = 282.",
    "Double 47 step by step. 47 * 2 = 94. 94 * 2 = 188. 94 + 188 = 282.",
  };
  static const char *const hidden[] = {
    "Work it out. 140 * 6 = 840. 7 * 6 = 42. 840 + 42 = 882.", "Work it out. 7 * 6 = 42. 140 * 6 = 840. 42 + 840 = 882.",
    "Work it out. 150 * 6 = 900. 3 * 6 = 18. 900 - 18 = 882.", "Work it out. 3 * 6 = 18. 150 * 6 = 900. 900 - 18 = 882.",
  };
  for (int way = 0; way < WAYS; way++) {
    trace t[2] = { { "", 0 }, { "", 0 } };
    write_ways(&t[0], 47, 6, way);
    write_hidden(&t[1], 147, 6, way);
    CHECK(!strcmp(t[0].text, ways[way]));
    CHECK(!strcmp(t[1].text, hidden[way]));
  }
}

static void bytes(void)
{
  char *train, *valid, *test, *again;
  CHECK(run("--out %") == 0);
  train = file_of("/train.jsonl");
  valid = file_of("/valid.jsonl");
  test = file_of("/test.jsonl");
  CHECK(run("") == 0 && same(".out", train));  // standard output has the training part, and the same seed gives the same bytes
  CHECK(run("--seed=1 --set ways --out %") == 0);
  CHECK(same("/train.jsonl", train) && same("/valid.jsonl", valid) && same("/test.jsonl", test));
  CHECK(run("--seed 2 --out %") == 0);
  CHECK(!same("/train.jsonl", train) && !same("/valid.jsonl", valid) && !same("/test.jsonl", test));
  CHECK(run("--valid 0 --test 0 --train 10") == 0);  // fewer of the same
  again = file_of(".out");
  CHECK(strlen(again) > 1000 && !strncmp(again, train, strlen(again)));
  free(train);
  free(valid);
  free(test);
  free(again);
}

static void expect(const char *line, int status, const char *words)
{
  char *complained;
  const int got = run(line), good = CHECK(got == status && same(".out", ""));
  complained = file_of(".err");
  if (!CHECK(strstr(complained, words) != NULL) || !good) fprintf(stderr, "  %s: status %d: %s\n", line, got, complained);
  free(complained);
}

int main(void)
{
  const char *build = getenv("TEST_BUILD");
  snprintf(folder, sizeof folder, "%.300s/tests/word_problems.files", build ? build : "build");
  examples();
  CHECK(check_set(&sets[0], 1, 800, 100, 200) == PAIRS);
  CHECK(check_set(&sets[0], 2, 6 * 404, 6 * 56, 6 * 100) == 560);  // all there is
  CHECK(check_set(&sets[1], 1, 800, 100, 200) == PAIRS);
  CHECK(check_set(&sets[1], 3, 404, 1, 400) == 505);
  deal(1);
  memcpy(dealt, pairs, sizeof dealt);
  deal(2);
  CHECK(memcmp(dealt, pairs, sizeof dealt) != 0);  // another seed, another split
  bytes();
  CHECK(run("--help") == 0 && same(".err", ""));
  CHECK(run("--train 5 -h") == 0 && same(".out", help));
  expect("--set other", 2, "--set is ways or hidden, not other");
  expect("--test 601", 2, "--test is a whole number from 0 to 600, not 601");
  expect("--train 0", 2, "--train is a whole number from 1 to 2424, not 0");
  expect("--seed 1x", 2, "--seed is a whole number");
  expect("--seed", 2, "--seed needs a value");
  expect("--sets ways", 2, "there is no flag --sets");
  expect("ways", 2, "there is no flag ways");
  expect("--out=", 2, "--out is empty");
  expect("--out %.none/deeper", 1, "word_problems.files.none/deeper cannot be made");
  expect("--out %.err", 1, "cannot be written");  // a file, and no folder
  return test_done("test_word_problems");
}
