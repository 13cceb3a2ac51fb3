// word_problems.c - short word problems with four ways of solving each, as JSON lines to train on: what fr_dataset_load reads.
//
//     cc -O2 -o word_problems examples/word_problems.c -lm && ./word_problems --set ways --out problems
//
// Every problem is a product of two numbers, every trace ends with `#### answer`. Two sets:
//   ways     47 * 6. The ways begin with different words, so that the first token tells them apart:
//              Split 47 into 40 and 7. 40 * 6 = 240. 7 * 6 = 42. 240 + 42 = 282. #### 282
//              Round 47 up to 50. 50 * 6 = 300. Too much by 3 * 6 = 18. 300 - 18 = 282. #### 282
//              Add 47 again and again. 47 + 47 = 94. 94 + 47 = 141. ... 235 + 47 = 282. #### 282
//              Double 47 step by step. 47 * 2 = 94. 94 * 2 = 188. 94 + 188 = 282. #### 282
//   hidden   147 * 6, up to 899. The ways are other computations in the same words, so that no word names them:
//              Work it out. 140 * 6 = 840. 7 * 6 = 42. 840 + 42 = 882. #### 882
//              Work it out. 7 * 6 = 42. 140 * 6 = 840. 42 + 840 = 882. #### 882
//              Work it out. 150 * 6 = 900. 3 * 6 = 18. 900 - 18 = 882. #### 882
//              Work it out. 3 * 6 = 18. 150 * 6 = 900. 900 - 18 = 882. #### 882
// The pairs of numbers are dealt to training, validation and test once, by the seed: no pair is in two parts. The order of the
// traces of a question is drawn, so that their index tells nothing; `source` names the way.
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(_WIN32)
#include <direct.h>
#else
#include <sys/stat.h>
#endif

enum { WAYS = 4, KINDS = 6, PAIRS = 560, ROOM = 400 };
enum { TRAIN, VALID, TEST, PARTS };
static const char *const part_names[PARTS] = { "train", "valid", "test" };
static const int part_first[PARTS] = { 156, 100, 0 }, part_pairs[PARTS] = { 404, 56, 100 };  // of the pairs, as they are dealt

typedef struct pair { int a, b, kind; } pair;  // a * b, and the kind of problem that it is told as first
typedef struct trace { char text[ROOM]; int used; } trace;

// ---- problems: # is a, @ is b
static const char *const kinds[KINDS] = {
  "A box holds # nails. How many nails are in @ boxes?",
  "A printer prints # pages an hour. How many pages does it print in @ hours?",
  "A chair costs # dollars. How many dollars do @ chairs cost?",
  "There are @ halls with # seats in each. How many seats are there in all?",
  "A train goes # miles a day. How many miles does it go in @ days?",
  "Mia saves # dollars a month. How many dollars does she save in @ months?"
};

// ---- ways
static void say(trace *t, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  t->used += vsnprintf(t->text + t->used, (size_t)(ROOM - t->used), format, list);
  va_end(list);
}
static int multiply(trace *t, int x, int y) { say(t, " %d * %d = %d.", x, y, x * y); return x * y; }
static int add(trace *t, int x, int y) { say(t, " %d + %d = %d.", x, y, x + y); return x + y; }
static int subtract(trace *t, int x, int y) { say(t, " %d - %d = %d.", x, y, x - y); return x - y; }

static void write_ways(trace *t, int a, int b, int way)
{
  const int tens = a / 10 * 10, up = tens + 10;
  int sum = a;
  if (way == 0) {
    say(t, "Split %d into %d and %d.", a, tens, a - tens);
    sum = multiply(t, tens, b);
    add(t, sum, multiply(t, a - tens, b));
  } else if (way == 1) {
    say(t, "Round %d up to %d.", a, up);
    sum = multiply(t, up, b);
    say(t, " Too much by");
    subtract(t, sum, multiply(t, up - a, b));
  } else if (way == 2) {
    say(t, "Add %d again and again.", a);
    for (int i = 1; i < b; i++) sum = add(t, sum, a);
  } else {  // a times 1, 2, 4, 8; then the sum of those that b is made of
    say(t, "Double %d step by step.", a);
    for (int power = 2; power <= b; power *= 2) sum = multiply(t, sum, 2);
    sum = 0;
    for (int power = 1; power <= b; power *= 2)
      if (b & power) sum = sum ? add(t, sum, a * power) : a * power;
  }
}

// Tens, rounded down or up, times b, and what is then to be added or taken away: this first, or that.
static void write_hidden(trace *t, int a, int b, int way)
{
  const int up = way / 2, tens = (a / 10 + up) * 10, ones = abs(a - tens), first = way % 2 ? ones : tens;
  int one, other;
  say(t, "Work it out.");
  one = multiply(t, first, b);
  other = multiply(t, tens + ones - first, b);
  if (up) subtract(t, tens * b, ones * b);
  else add(t, one, other);
}

// ---- sets
typedef struct set {
  const char *name;
  void (*write)(trace *t, int a, int b, int way);  // all but the answer at its end
  const char *ways[WAYS];                          // what `source` calls them
  int hundreds;                                    // the a of a pair gets up to so many of them, drawn; 0: none
} set;
static const set sets[] = {
  { "ways", write_ways, { "split", "round up", "add", "double" }, 0 },
  { "hidden", write_hidden, { "tens, ones", "ones, tens", "up, back", "back, up" }, 8 }
};
enum { SETS = sizeof sets / sizeof sets[0] };

static pair pairs[PAIRS];

// The pairs, a from 12 to 99 without multiples of ten, b from 3 to 9, in an order drawn by the seed.
static void deal(uint64_t seed)
{
  fr_random random = fr_random_stream(seed, 0, 0);
  int count = 0;
  for (int a = 12; a < 100; a++)
    for (int b = 3; b < 10 && a % 10; b++) {  // Fisher and Yates, while they come
      const int place = (int)fr_random_below(&random, count + 1);
      pairs[count++] = pairs[place];
      pairs[place].a = a;
      pairs[place].b = b;
      pairs[place].kind = (int)fr_random_below(&random, KINDS);
    }
}

static void write_problem(FILE *out, const set *s, pair q, int kind, fr_random random)
{
  int order[WAYS] = { 0 };
  fprintf(out, "{\"question\":\"");
  for (const char *c = kinds[kind]; *c; c++)
    if (*c == '#' || *c == '@') fprintf(out, "%d", *c == '#' ? q.a : q.b);
    else putc(*c, out);
  fprintf(out, "\",\"answer\":\"%d\",\"traces\":[", q.a * q.b);
  for (int i = 0; i < WAYS; i++) {
    const int place = (int)fr_random_below(&random, i + 1);
    order[i] = order[place];
    order[place] = i;
  }
  for (int i = 0; i < WAYS; i++) {
    trace t = { "", 0 };
    s->write(&t, q.a, q.b, order[i]);
    say(&t, " #### %d", q.a * q.b);
    fprintf(out, "%s{\"text\":\"%s\",\"answer\":\"%d\",\"source\":\"%s\"}", i ? "," : "", t.text, q.a * q.b, s->ways[order[i]]);
  }
  fprintf(out, "]}\n");
}

static void write_part(FILE *out, const set *s, uint64_t seed, int part, long questions)
{
  for (int i = 0; i < questions; i++) {  // each pair once, then each once more as another kind of problem
    const int which = part_first[part] + i % part_pairs[part];
    pair q = pairs[which];
    fr_random random = fr_random_stream(seed, 1 + PARTS, (uint64_t)which);
    if (s->hundreds) q.a += 100 * (1 + (int)fr_random_below(&random, s->hundreds));
    write_problem(out, s, q, (q.kind + i / part_pairs[part]) % KINDS, fr_random_stream(seed, (uint64_t)(1 + part), (uint64_t)i));
  }
}

// ---- the command line
static const char help[] =
  "word_problems: short word problems with four ways of solving each, as JSON lines\n\n"
  "  --set ways|hidden   ways that begin with different words, or in the same words [ways]\n"
  "  --seed N            deals the pairs of numbers and the order of the traces [1]\n"
  "  --train N           questions to train on [800]\n"
  "  --valid N           to validate [100]\n"
  "  --test N            to test [200]; no pair of numbers is in two parts\n"
  "  --out DIR           writes train.jsonl, valid.jsonl and test.jsonl there; without it the\n"
  "                      training part goes to standard output\n\n"
  "Exit status: 0; 1: something cannot be written; 2: the command line is wrong.\n";

static int fail(int status, const char *format, ...)
{
  va_list list;
  va_start(list, format);
  fprintf(stderr, "word_problems: ");
  vfprintf(stderr, format, list);
  fprintf(stderr, status == 2 ? "\nword_problems --help tells more\n" : "\n");
  va_end(list);
  return status;
}

int main(int count, char **words)
{
  static const char *const names[] = { "--train", "--valid", "--test", "--seed", "--set", "--out" };
  enum { SEED = PARTS, SET, OUT, FLAGS };
  long number[SEED + 1] = { 800, 100, 200, 1 };
  const char *folder = NULL;
  const set *s = &sets[0];
  FILE *out[PARTS] = { stdout, NULL, NULL };
  char path[1000];
  int bad = 0;
  for (int i = 1; i < count; i++) {
    const char *value = strchr(words[i], '=');
    const size_t length = value ? (size_t)(value - words[i]) : strlen(words[i]);
    int flag = 0;
    if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h")) return fputs(help, stdout) < 0;
    while (flag < FLAGS && (strlen(names[flag]) != length || strncmp(names[flag], words[i], length))) flag++;
    if (flag == FLAGS) return fail(2, "there is no flag %s", words[i]);
    if (!value && i + 1 == count) return fail(2, "%s needs a value", names[flag]);
    value = value ? value + 1 : words[++i];
    if (flag == OUT) {
      folder = value;
      if (!*folder || strlen(folder) > 900) return fail(2, "--out is empty or too long");
    } else if (flag == SET) {
      int one = 0;
      while (one < SETS && strcmp(sets[one].name, value)) one++;
      if (one == SETS) return fail(2, "--set is ways or hidden, not %s", value);
      s = &sets[one];
    } else {
      char *end;
      long most;
      errno = 0;
      number[flag] = strtol(value, &end, 10);
      most = flag == SEED ? 1000000000 : KINDS * part_pairs[flag];
      if (!*value || *end || errno || number[flag] < (flag == TRAIN) || number[flag] > most)
        return fail(2, "%s is a whole number from %d to %ld, not %s", names[flag], flag == TRAIN, most, value);
    }
  }
  deal((uint64_t)number[SEED]);
#if defined(_WIN32)
  if (folder && _mkdir(folder) && errno != EEXIST) return fail(1, "%s cannot be made: %s", folder, strerror(errno));
#else
  if (folder && mkdir(folder, 0777) && errno != EEXIST) return fail(1, "%s cannot be made: %s", folder, strerror(errno));
#endif
  for (int part = 0; folder && part < PARTS && !bad; part++) {  // all are opened before the first is written
    snprintf(path, sizeof path, "%s/%s.jsonl", folder, part_names[part]);
    out[part] = fopen(path, "wb");
    if (!out[part]) bad = fail(1, "%s cannot be written: %s", path, strerror(errno));
  }
  for (int part = 0; part < PARTS && !bad; part++)
    if (out[part]) write_part(out[part], s, (uint64_t)number[SEED], part, number[part]);
  for (int part = 0; part < PARTS; part++) {
    const int wrong = out[part] && (fflush(out[part]) || ferror(out[part]));
    if (out[part] && ((out[part] != stdout && fclose(out[part])) || wrong))
      bad = fail(1, "%s: what is for %s cannot be written", folder ? folder : "standard output", part_names[part]);
  }
  return bad;
}
