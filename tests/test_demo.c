// test_demo.c - the demo: its task and its scoring piece by piece, its flags, and what `--quick` ends with.
#ifdef _WIN32
#include <stdio.h>
int main(void)
{
  printf("skipped: it drives the demo through a POSIX shell\n");
  return 77;
}
#else
#define main four_ways_main
#include "../examples/four_ways.c"
#undef main
#include "test.h"

#include <sys/wait.h>

// The exact traces of 57*34, as people read them and as the model does.
static void traces(void)
{
  static const char *const read[WAYS] = {
    "57*30=1710;57*4=228;1710+228=1938#1938", "50*34=1700;7*34=238;1700+238=1938#1938",
    "40*57=2280;6*57=342;2280-342=1938#1938", "60*34=2040;3*34=102;2040-102=1938#1938",
  };
  static const char written[] = "75*03=0171;75*4=822;0171+822=8391#8391";
  const pair q = { 57, 34 };
  char text[ROOM], back[ROOM];
  fr_token tokens[ROOM];
  for (int way = 0; way < WAYS; way++) {
    write_trace(text, q, way);
    CHECK(!strcmp(text, read[way]));
    CHECK(way_of(text, q) == way);
    CHECK(answer_of(text) == 1938);
    const fr_int count = encode(tokens, text);
    CHECK(count == (fr_int)strlen(text));
    decode(back, tokens, count);
    CHECK(!strcmp(back, text));
    if (way == 0)
      for (fr_int i = 0; i < count; i++) CHECK(alphabet[tokens[i]] == written[i]);
  }
  const fr_int count = encode_question(tokens, q);
  CHECK(count == QUESTION && alphabet[tokens[0]] == '7' && alphabet[tokens[3]] == '4');
}

static void ways(void)
{
  const pair q = { 57, 34 };
  // Wrong results do not change the way ...
  CHECK(way_of("57*30=999;57*4=1;5+5=10#77", q) == 0);
  CHECK(answer_of("57*30=999;57*4=1;5+5=10#77") == 77);
  // ... another plan, another sign or a broken form is no way.
  CHECK(way_of("57*30=1710;57*4=228;1710-228=1938#1938", q) == NONE);
  CHECK(way_of("57*30=1710;7*34=228;1710+228=1938#1938", q) == NONE);
  CHECK(way_of("57*20=1710;57*4=228;1710+228=1938#1938", q) == NONE);
  CHECK(way_of("40*57=2280;6*57=342;2280+342=1938#1938", q) == NONE);
  CHECK(way_of("57*30=1710;57*4=228;1710+228=1938", q) == NONE);
  CHECK(way_of("57*30=1710;57*4=228;1710+228=1938#", q) == NONE);
  CHECK(way_of("57*30=1710;57*4=228;1710+228=1938#1938;", q) == NONE);
  CHECK(way_of("57*30=;57*4=228;1710+228=1938#1938", q) == NONE);
  CHECK(way_of("57*030=1710;57*4=228;1710+228=1938#1938", q) == NONE);
  CHECK(way_of("57*30=1710", q) == NONE);
  CHECK(way_of("", q) == NONE);
  CHECK(answer_of("") == -1 && answer_of("1938") == -1 && answer_of("#") == -1);
  CHECK(answer_of("#01938") == -1 && answer_of("#1938#1938") == -1 && answer_of("#19+38") == -1);
  CHECK(answer_of("#1938") == 1938 && answer_of("#0") == 0);
}

// Every ordered pair is there once, held-out pairs in one order only and in neither order among the training pairs; no two
// ways of a question share a plan; no trace is longer than announced.
static void split(uint64_t seed, int largest, fr_int held_out)
{
  static int seen[100][100];
  data_set data;
  char text[ROOM];
  fr_int digits = 0, wrong = 0, longest = 0;
  memset(seen, 0, sizeof seen);
  for (int a = 11; a <= largest; a++) digits += a % 10 != 0;
  CHECK(data_new(&data, largest, held_out * 2 / 3, held_out / 3, stream(seed, FOR_SPLIT, 0, 0)));
  CHECK(data.train_count == digits * (digits - 1) - 2 * held_out);
  for (fr_int i = 0; i < held_out + data.train_count; i++) {
    const pair q = data.all[i];
    wrong += q.a < 11 || q.b < 11 || q.a > largest || q.b > largest || q.a == q.b || q.a % 10 == 0 || q.b % 10 == 0;
    wrong += seen[q.a][q.b]++ != 0;
    if (i < held_out) wrong += seen[q.b][q.a]++ != 0;  // marks the other order, too
    for (int way = 0; way < WAYS; way++) {
      write_trace(text, q, way);
      wrong += way_of(text, q) != way || answer_of(text) != q.a * q.b;
      if ((fr_int)strlen(text) + 1 > longest) longest = (fr_int)strlen(text) + 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(longest == data.longest && longest < ROOM);
  data_free(&data);
}

// A page is made of single steps that hold true, and never shows a question with its fork or an answer mark.
static void pages(void)
{
  static learner r;
  fr_token page[ROOM];
  float weights[PAGE];
  char text[ROOM + 1];
  fr_int steps = 0, wrong = 0, kinds[3] = { 0 };
  r.job = &multiplication;
  CHECK(data_new(&r.data, 99, 300, 150, stream(1, FOR_SPLIT, 0, 0)));
  for (fr_int i = 0; i < 200; i++) {
    fr_random random = stream(1, FOR_PAGES, 0, i);
    fill_page(&r, page, weights, &random);
    decode(text, page, PAGE);
    wrong += strspn(text, "0123456789*+-=;") != PAGE;
    for (fr_int j = 0, result = 0; j < PAGE; j++) {  // in full count results, with what ends them
      wrong += weights[j] != (result ? 1.0f : 0.1f);
      result = alphabet[page[j]] == '=' || (result && alphabet[page[j]] != ';');
    }
    char *last = strrchr(text, ';');
    if (last) last[1] = '\0';  // the page's end cuts a step short
    for (const char *c = text; *c && !wrong; steps++) {
      int left, right, result;
      char sign, equals, end;
      if (!read_number(&c, &left, &sign) || !read_number(&c, &right, &equals) || !read_number(&c, &result, &end) ||
          equals != '=' || end != ';' || result != (sign == '*' ? left * right : sign == '+' ? left + right : left - right))
        wrong++;
      else
        kinds[sign == '*' ? 0 : sign == '+' ? 1 : 2]++;
    }
  }
  CHECK(wrong == 0);
  CHECK(steps > 800 && kinds[0] > 100 && kinds[1] > 100 && kinds[2] > 100);
  data_free(&r.data);
}

// The information in a table of fork and way, through a diagnosis that is fed one trace at a time.
static double information_in(fr_int count[FORKS][WAYS + 1], fr_int forks)
{
  static learner l;
  fr_diagnosis *d = diagnose(&l, SEEN_ANSWERS, forks);
  for (fr_int f = 0; f < forks; f++)
    for (int w = 0; w <= WAYS; w++)
      for (fr_int n = 0; n < count[f][w]; n++) CHECK(fr_diagnosis_note(d, f, w, 1, NULL) == FR_OK);
  const double value = information(d);
  fr_diagnosis_free(&l.seen[SEEN_ANSWERS]);
  return value;
}

static void scoring(void)
{
  fr_int same[FORKS][WAYS + 1], parted[FORKS][WAYS + 1], half[FORKS][WAYS + 1];
  for (int f = 0; f < FORKS; f++)
    for (int w = 0; w <= WAYS; w++) {
      same[f][w] = w + 1;
      parted[f][w] = f == w ? 100 : 0;
      half[f][w] = (w < 2) == (f < 2) && w < 4 ? 50 : 0;
    }
  CHECK_BELOW(fabs(information_in(same, FORKS)), 1e-12);
  CHECK_BELOW(fabs(information_in(parted, WAYS) - 1.0), 1e-12);
  CHECK_BELOW(fabs(information_in(half, WAYS) - 0.5), 1e-12);  // which two of the four ways: one bit of two

  const pair q = { 57, 34 };
  reply replies[6];
  const int answers[6] = { -1, 7, 1938, -1, 1938, -1 };
  for (int i = 0; i < 6; i++) replies[i].answer = answers[i];
  CHECK(vote_is_right(replies, 6, q));
  CHECK(!vote_is_right(replies, 2, q));
  CHECK(!vote_is_right(replies, 3, q));  // a tie goes to the first answer
  CHECK(!vote_is_right(replies, 1, q));  // nobody has an answer
}

static int shell(const char *format, const char *build, const char *rest)
{
  char command[1200];
  snprintf(command, sizeof command, format, build, rest);
  const int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// "key":number after the place where the method begins.
static double value(const char *json, const char *method, const char *key)
{
  char quoted[64];
  snprintf(quoted, sizeof quoted, "\"%s\":{", method);
  const char *at = strstr(json, quoted), *end = at ? strchr(at, '}') : NULL;
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  at = at ? strstr(at, quoted) : NULL;
  if (!CHECK(at && end && at < end)) return NAN;
  return strtod(at + strlen(quoted), NULL);
}

// The page shows the run: seven figures, the accuracies of the JSON in its table, six replies.
static void page(const char *path, const char *json)
{
  static char html[1000000];
  char cell[60];
  FILE *file = fopen(path, "r");
  if (!CHECK(file != NULL)) return;
  html[fread(html, 1, sizeof html - 1, file)] = '\0';
  fclose(file);
  int figures = 0, replies = 0;
  for (const char *s = html; (s = strstr(s, "<figure ")) != NULL; s++) figures++;
  for (const char *s = html; (s = strstr(s, "class=\"reply\"")) != NULL; s++) replies++;
  CHECK(figures == 7 && replies == FORKS && !strstr(html, "Nothing was measured") && strstr(html, "</html>\n"));
  CHECK(strstr(html, "four_ways --quick --seed 1 --steps 250"));
  for (int i = 0; i < ARMS; i++) {
    const char *row = strstr(html, "<summary>The numbers of figure 1<");
    snprintf(cell, sizeof cell, "<tr><th scope=\"row\">%s</th><td>%.4f", arms[i].name, value(json, arms[i].key, "pass1_best"));
    CHECK(row && strstr(row, cell));
  }
}

// What is kept of a run: means over the steps of a point, shares of the questions of a window, the widest fork of the second
// half, the greedy answers.
static void keeping(void)
{
  static record r;
  static learner l;
  static const course matched = { "", "", FR_SSFT, FORKS, 1, WAYS, 1 }, mixed = { "", "", FR_SFT_MIXED, 1, 1, WAYS, 1 };
  fr_int fork[WAYS] = { 5, 0, 1, 2 }, late[WAYS] = { 5, 4, 1, 3 }, one[WAYS] = { 0, 0, 0, 0 }, way[1][WAYS] = { { 3, 2, 1, 0 } };
  fr_tokens traces[WAYS] = { { NULL, 9 }, { NULL, 8 }, { NULL, 7 }, { NULL, 6 } };
  fr_question q;
  memset(&q, 0, sizeof q);
  q.traces = traces;
  q.trace_count = WAYS;
  q.fork = fork;
  l.set.batch = 1;
  record_start(NULL, "", 1, 1);
  record_loss(NULL, 0, 1.0);
  record_first(NULL, 0, "", 0, 0);
  see_step(&l, &matched, 0, &q, way);  // without a record
  record_start(&r, "x", FORKS, 2 * RECORD_POINTS + 100);
  l.history = &r;
  diagnose(&l, SEEN_WINDOW, FORKS);
  diagnose(&l, SEEN_LATE, FORKS);
  for (int step = 0; step < r.steps; step++) {
    record_loss(&r, step, (double)step);
    if (record_window(&r, step) >= RECORD_WINDOWS - 5) q.fork = late;  // too few to be widest, and not in the first half
    see_step(&l, &matched, step, &q, way);
  }
  double sum = 0.0;
  int wrong = 0;
  for (int i = 0, step = 0; i < r.points; i++) {
    double mean = 0.0, count = 0.0;
    for (; step < r.steps && step * r.points / r.steps == i; step++) mean += step, count++;
    wrong += !(count >= 2.0) || fabs(r.loss[i] - mean / count) > 1e-9;
    sum += count;
  }
  CHECK(wrong == 0 && (int)sum == r.steps);
  for (int i = 0; i < r.windows; i++)
    for (int f = 0; f < FORKS; f++)
      for (int w = 0; w < WAYS; w++) {
        int there = 0;
        for (int j = 0; j < WAYS; j++) there |= (i < RECORD_WINDOWS - 5 ? fork : late)[j] == f && way[0][j] == w;
        wrong += r.share[i][f * WAYS + w] != (double)there;
      }
  CHECK(wrong == 0);
  CHECK(l.seen[SEEN_LATE].questions == r.steps / 2 && l.seen[SEEN_LATE].coverage[5] == r.steps / 2 && r.widest == 1);
  // SFT-mixed has all traces in one fork.
  record_start(&r, "x", 1, 3);
  q.fork = one;
  diagnose(&l, SEEN_WINDOW, 1);
  diagnose(&l, SEEN_LATE, 1);
  for (int step = 0; step < 3; step++) see_step(&l, &mixed, step, &q, way);
  CHECK(r.widest == 0 && l.seen[SEEN_LATE].traces == 2 * WAYS && l.seen[SEEN_WINDOW].traces == 0);
  // Answers of two forks to three questions.
  static reply replies[6];
  for (int i = 0; i < 6; i++) {
    reply *a = &replies[i];
    a->fork = i % 2;
    a->way = i == 3 ? NONE : 2 * (i % 2);
    a->answer = i + 7;
    a->count = i == 1 ? 4 : 3;
    strcpy(a->text, i == 1 ? "12#7" : "123");
  }
  record_start(&r, "x", 2, 1);
  const fr_diagnosis *d = see_answers(&l, &r, replies, 3, 2);
  CHECK(r.tests == 3 && r.length[0][3] == 3 && r.length[1][3] == 2 && r.length[1][4] == 1 && d->tokens[1] == 10.0);
  CHECK(r.first[1].answer == 8 && r.first[1].way == 2 && !strcmp(r.first[1].text, "12#7") && r.first[0].answer == 7);
  CHECK(r.ways[0][0] == 1.0 && r.ways[1][2] == 2.0 / 3.0 && r.ways[1][NONE] == 1.0 / 3.0 && r.ways[1][0] == 0.0);
  CHECK(see_answers(&l, NULL, replies, 3, 2)->traces == 6);
  for (int i = 0; i < SEEN; i++) fr_diagnosis_free(&l.seen[i]);
}

static void quick(const char *build)
{
  static const char *const keys[] = { "pass1_best", "pass1_mean", "cons6_greedy", "cons6", "cons32", "pass6", "ways",
                                      "mi_over_log4" };
  static char json[8000];
  char path[300];
  snprintf(path, sizeof path, "%s/quick.json", build);
  remove(path);
  char rest[1000], html[300];
  snprintf(html, sizeof html, "%.200s/quick.html", build);
  remove(html);
  snprintf(rest, sizeof rest, "--quick --json '%s' --html '%s' >'%.200s/quick.out' 2>&1", path, html, build);
  CHECK(shell("'%s/four_ways' %s", build, rest) == 0);
  FILE *file = fopen(path, "r");
  if (!CHECK(file != NULL)) return;
  json[fread(json, 1, sizeof json - 1, file)] = '\0';
  fclose(file);
  for (int i = 0; i < ARMS; i++)
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
      const double number = value(json, arms[i].key, keys[k]);
      CHECK(number >= 0.0 && number <= (k == 6 ? 4.0 : k == 7 ? 1.161 : 1.0));  // 4 ways; log 5 / log 4: none is a fifth class
    }
  const double ssft = value(json, "ssft", "mi_over_log4"), random = value(json, "ssft_random", "mi_over_log4");
  CHECK(ssft >= random + 0.2);
  page(html, json);
  CHECK(strstr(json, "\"settings\":{") && strstr(json, "\"seed\":1,"));
  const char *seconds = strstr(json, "\"seconds\":");
  CHECK(seconds != NULL);
  // The matchings of the two arms that match, a line every tenth, each with a bar of four for six forks; and plain words.
  snprintf(path, sizeof path, "%.200s/quick.out", build);
  file = fopen(path, "r");
  if (!CHECK(file != NULL)) return;
  int lines = 0, full = 0, headings = 0, plain = 0;
  while (fgets(rest, sizeof rest, file)) {
    int bars = 0, tenth = 0, end = 0;
    for (const char *c = rest; *c; c++) bars += *c == '|';
    headings += strstr(rest, "what the matching gives each fork") != NULL;
    plain += strstr(rest, "Nobody has learned") != NULL;
    if (sscanf(rest, " %d %% %n", &tenth, &end) == 1 && end && rest[end] == '|' && bars == 2 * FORKS && tenth == 10 * (lines % 10 + 1)) lines++;
    full += strstr(rest, "\xE2\x96\x88") != NULL;  // a fork that took one way of every question
  }
  fclose(file);
  CHECK(headings == 2 && lines == 20 && full > 0 && plain == 1);
  printf("--quick took %.1f s (20 are allowed on two cores); I(fork; way)/log 4: SSFT %.3f, random matching %.3f\n",
         seconds ? strtod(seconds + 10, NULL) : NAN, ssft, random);
}

int main(void)
{
  const char *build = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  traces();
  ways();
  split(1, 99, 450);
  split(2, 99, 450);
  split(3, 39, 90);
  data_set none;
  CHECK(!data_new(&none, 12, 1, 0, stream(1, FOR_SPLIT, 0, 0)));  // a single pair cannot be held out and trained on
  pages();
  scoring();
  keeping();
  static const char *const wrong[] = { "--bogus", "--seed", "--seed x", "--seed -1", "--steps 0", "--threads 0",
                                       "--steps 1e3", "--json", "--html", "extra" };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    CHECK(shell("'%s/four_ways' %s >/dev/null 2>&1", build, wrong[i]) == 2);
  CHECK(shell("'%s/four_ways' %s >/dev/null 2>&1", build, "--help") == 0);
  CHECK(shell("'%s/four_ways' %s >/dev/null 2>&1", build, "--html '/no such folder/x.html'") == 1);
  quick(build);
  return test_done("test_demo");
}
#endif
