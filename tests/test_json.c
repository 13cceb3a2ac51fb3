// The JSON reader against tables, against a second reader written differently, and against damaged text.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/test.h"
#include <time.h>

enum { NAMES = 4096 };
static fr_int names[2 * NAMES];

// A copy that ends where its memory ends, so that a sanitizer sees a read beyond.
static char *exact(const char *text, size_t bytes)
{
  char *copy = (char *)test_alloc(bytes);
  if (bytes) memcpy(copy, text, bytes);
  return copy;
}

// Reads all of the text; writes the kinds of its events. Every string is decoded on the way.
static fr_status events(const char *text, fr_int bytes, fr_int limit, char *kinds, fr_int room, fr_reason *reason)
{
  fr__json json;
  fr_int count = 0, steps = 0;
  char kind;
  fr__json_start(&json, text, 0, bytes, 1, names, limit);
  do {
    kind = fr__json_next(&json);
    if (count + 1 < room) kinds[count++] = kind;
    if (kind == 'k' || kind == '"') {
      char *out = (char *)test_alloc((size_t)json.token.count);
      const fr_int size = fr__json_copy(text, json.token, out);
      fr_int at = 0;
      CHECK(size <= json.token.count && size == fr__json_copy(text, json.token, NULL));
      while (at < size && fr__utf8(out + at, size - at)) at += fr__utf8(out + at, size - at);
      CHECK(at == size);
      free(out);
    }
    if (!CHECK(++steps <= bytes + 2)) break;
  } while (kind != '$' && kind != '!');
  if (room) kinds[count] = 0;
  if (kind == '!') CHECK(fr__json_next(&json) == '!');
  return kind == '!' ? fr__json_fail(&json, reason) : FR_OK;
}

static void accepted(void)
{
  static const char *const cases[][2] = {
    { "0", "0$" }, { " \t\r\n-0.5e+10 ", "0$" }, { "1E9", "0$" }, { "true", "t$" }, { "false", "f$" },
    { "null", "n$" },
    { "\"\"", "\"$" }, { "[]", "[]$" }, { "{}", "{}$" }, { "[[],{},[{}]]", "[[]{}[{}]]$" }, { "[1,2]", "[00]$" },
    { "{\"a\":1,\"b\":[true,null]}", "{k0k[tn]}$" }, { "{\"\":\"\"}", "{k\"}$" }, { "\"\\u0000\x7f\"", "\"$" },
    { "[{\"a\":{\"a\":{\"a\":0}}},{\"a\":0}]", "[{k{k{k0}}}{k0}]$" },  // one name in several objects
    { "\"\xC3\xA9 \xE4\xB8\x80 \xF0\x9F\x98\x80\"", "\"$" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const size_t bytes = strlen(cases[i][0]);
    char *text = exact(cases[i][0], bytes), kinds[100];
    fr_reason reason;
    if (!CHECK(events(text, (fr_int)bytes, NAMES, kinds, 100, &reason) == FR_OK) ||
        !CHECK(!strcmp(kinds, cases[i][1])))
      fprintf(stderr, "  text %s gave %s\n", cases[i][0], kinds);
    free(text);
  }
}

static void refused(void)
{
  static const struct { const char *text; fr_status status; const char *place; } cases[] = {
    { "", FR_SYNTAX, "line 1, column 1:" }, { " \n ", FR_SYNTAX, "line 2, column 2:" },
    { "01", FR_SYNTAX, "line 1, column 2:" },
    { "-", FR_SYNTAX, "line 1, column 2:" }, { "1.", FR_SYNTAX, "column 3:" }, { ".5", FR_SYNTAX, "column 1:" },
    { "+1", FR_SYNTAX, "column 1:" }, { "1e", FR_SYNTAX, "column 3:" }, { "1e+", FR_SYNTAX, "column 4:" },
    { "0x1", FR_SYNTAX, "column 2:" },
    { "NaN", FR_SYNTAX, "column 1:" }, { "Infinity", FR_SYNTAX, "column 1:" }, { "tru", FR_SYNTAX, "column 1:" },
    { "truee", FR_SYNTAX, "column 5:" }, { "nul", FR_SYNTAX, "column 1:" }, { "1 2", FR_SYNTAX, "column 3:" },
    { "{}{}", FR_SYNTAX, "column 3:" },
    { "[1,]", FR_SYNTAX, "column 4:" }, { "[,1]", FR_SYNTAX, "column 2:" }, { "[1 2]", FR_SYNTAX, "column 4:" },
    { "[1", FR_SYNTAX, "column 3:" },
    { "[1}", FR_SYNTAX, "column 3:" }, { "{\"a\":1]", FR_SYNTAX, "column 7:" }, { "]", FR_SYNTAX, "column 1:" },
    { "}", FR_SYNTAX, "column 1:" },
    { "{\"a\":1,}", FR_SYNTAX, "column 8:" }, { "{a:1}", FR_SYNTAX, "column 2:" },
    { "{\"a\" 1}", FR_SYNTAX, "column 6:" },
    { "{\"a\":}", FR_SYNTAX, "column 6:" }, { "{\"a\"}", FR_SYNTAX, "column 5:" },
    { "{1:1}", FR_SYNTAX, "column 2:" }, { "{,}", FR_SYNTAX, "column 2:" },
    { "'a'", FR_SYNTAX, "column 1:" }, { "\"a", FR_SYNTAX, "column 1:" }, { "\"a\\", FR_SYNTAX, "column 3:" },
    { "\"\\q\"", FR_SYNTAX, "column 2:" },
    { "\"\\u12\"", FR_SYNTAX, "column 2:" }, { "\"\\u12g4\"", FR_SYNTAX, "column 2:" },
    { "\"\\", FR_SYNTAX, "column 2:" },
    { "\"\\ud800\"", FR_SYNTAX, "column 2:" }, { "\"\\udc00\"", FR_SYNTAX, "column 2:" },
    { "\"\\ud800\\u0041\"", FR_SYNTAX, "column 2:" },
    { "\"\\ud800\\ud800\"", FR_SYNTAX, "column 2:" }, { "\"\\ud83d\\ude0\"", FR_SYNTAX, "column 2:" },
    { "\"\\ud83d", FR_SYNTAX, "column 2:" },
    { "\"a\nb\"", FR_SYNTAX, "line 1, column 3:" }, { "\"\t\"", FR_SYNTAX, "column 2:" },
    { "[1,\n 2,\n  x]", FR_SYNTAX, "line 3, column 3:" },
    { "\"\xC3\xA9\xE4\xB8\x80\xFF\"", FR_SYNTAX, "column 4:" },  // columns count characters
    { "\"\xC0\x80\"", FR_SYNTAX, "column 2:" }, { "\"\xE0\x80\x80\"", FR_SYNTAX, "column 2:" },
    { "\"\xED\xA0\x80\"", FR_SYNTAX, "column 2:" },
    { "\"\xF4\x90\x80\x80\"", FR_SYNTAX, "column 2:" }, { "\"\xE4\xB8\"", FR_SYNTAX, "column 2:" },
    { "\"\x80\"", FR_SYNTAX, "column 2:" },
    { "\xEF\xBB\xBF{}", FR_SYNTAX, "column 1:" }, { "/**/1", FR_SYNTAX, "column 1:" },
    { "[1]//", FR_SYNTAX, "column 4:" },
    { "{\"a\":1,\"a\":2}", FR_SYNTAX, "column 8:" }, { "{\"a\":1,\"\\u0061\":2}", FR_SYNTAX, "column 8:" },
    { "{\"x\":{\"b\":0,\n\"c\":0,\"b\":0},\"y\":1}", FR_SYNTAX, "line 2, column 7:" },
    { "[{\"\":0,\"\":0}]", FR_SYNTAX, "column 8:" },
    { "{\"\\ud83d\\ude00\":0,\"\xF0\x9F\x98\x80\":0}", FR_SYNTAX, "column 19:" },
    { "{\"/\":0,\"\\/\":0}", FR_SYNTAX, "column 8:" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const size_t bytes = strlen(cases[i].text);
    char *text = exact(cases[i].text, bytes);
    fr_reason reason;
    const fr_status status = events(text, (fr_int)bytes, NAMES, NULL, 0, &reason);
    if (!CHECK(status == cases[i].status && strstr(reason.text, cases[i].place) != NULL))
      fprintf(stderr, "  text %s gave %d, %s\n", cases[i].text, (int)status, status ? reason.text : "");
    free(text);
  }
}

static void strings(void)
{
  static const struct { const char *text, *value; size_t bytes; } cases[] = {
    { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8 },
    { "\"\\u0041\\u00e9\\u00E9\\u4e00\"", "A\xC3\xA9\xC3\xA9\xE4\xB8\x80", 8 },
    { "\"\\ud83d\\ude00\\udbff\\udfff\"", "\xF0\x9F\x98\x80\xF4\x8F\xBF\xBF", 8 }, { "\"a\\u0000b\"", "a\0b", 3 },
    { "\"\\u07ff\\u0800\\uffff\\u007f\\u0080\"", "\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF\x7F\xC2\x80", 11 },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const fr_int bytes = (fr_int)strlen(cases[i].text);
    char out[100];
    fr__json json;
    fr__json_start(&json, cases[i].text, 0, bytes, 1, names, NAMES);
    CHECK(fr__json_next(&json) == '"');
    CHECK(fr__json_copy(json.text, json.token, out) == (fr_int)cases[i].bytes &&
          !memcmp(out, cases[i].value, cases[i].bytes));
    CHECK(fr__json_next(&json) == '$');
  }
  {
    static const char text[] = "{\"t\\u0065xt\":1}";
    fr__json json;
    fr__json_start(&json, text, 0, (fr_int)sizeof text - 1, 1, names, NAMES);
    CHECK(fr__json_next(&json) == '{' && fr__json_next(&json) == 'k');
    CHECK(fr__json_is(&json, json.token, "text") && !fr__json_is(&json, json.token, "tex") &&
          !fr__json_is(&json, json.token, "texts"));
  }
}

// All characters are accepted, and as many sequences of 2 and 3 bytes as there are characters, so nothing else is.
static void utf8(void)
{
  unsigned char s[4];
  long two = 0, three = 0, four = 0, wrong = 0;
  static const unsigned char tail[4] = { 0x7F, 0x80, 0xBF, 0xC0 };
  for (uint32_t code = 0; code < 0x110000; code++) {
    char out[4];
    fr_int count;
    if (code >= 0xD800 && code < 0xE000) continue;
    count = fr__utf8_put(code, out);
    if (fr__utf8(out, count) != count || (count > 1 && fr__utf8(out, count - 1) != 0)) wrong++;
    fr_int at = 0;
    if (code != '"' && code != '\\' && fr__json_code(out, &at, count) != (int32_t)code) wrong++;
  }
  for (int a = 0; a < 256; a++)
    for (int b = 0; b < 256; b++) {
      s[0] = (unsigned char)a; s[1] = (unsigned char)b;
      two += fr__utf8((char *)s, 2) == 2;
      for (int c = 0; c < 256; c++) { s[2] = (unsigned char)c; three += fr__utf8((char *)s, 3) == 3; }
      for (int c = 0; c < 16; c++) { s[2] = tail[c / 4]; s[3] = tail[c % 4]; four += fr__utf8((char *)s, 4) == 4; }
    }
  CHECK(wrong == 0);
  CHECK(two == 0x800 - 0x80);
  CHECK(three == 0x10000 - 0x800 - 0x800);
  CHECK(four == (0x110000 - 0x10000) / 4096 * 4);
}

static void limits(void)
{
  char text[200], kinds[200];
  fr_reason reason;
  for (int depth = 63; depth <= 66; depth++)
    for (int objects = 0; objects < 2; objects++) {
      char long_text[600];
      size_t n = 0;
      for (int i = 0; i < depth; i++) {
        const char *open = objects ? "{\"a\":" : "[";
        memcpy(long_text + n, open, strlen(open));
        n += strlen(open);
      }
      long_text[n++] = '1';
      for (int i = 0; i < depth; i++) long_text[n++] = objects ? '}' : ']';
      const fr_status status = events(long_text, (fr_int)n, NAMES, kinds, 200, &reason);
      CHECK(status == (depth <= 64 ? FR_OK : FR_LIMIT));
      if (status) CHECK(strstr(reason.text, objects ? "column 321:" : "column 65:") != NULL);
    }
  // Names of closed objects leave their room to others.
  strcpy(text, "{\"a\":{\"b\":0,\"c\":0},\"d\":{\"e\":0,\"f\":0}}");
  CHECK(events(text, (fr_int)strlen(text), 4, kinds, 200, &reason) == FR_OK);
  CHECK(events(text, (fr_int)strlen(text), 3, kinds, 200, &reason) == FR_LIMIT &&
        strstr(reason.text, "column 31:") != NULL);
}

static long compares;
static int by_value(const void *context, fr_int a, fr_int b)
{
  const int *v = (const int *)context;
  compares++;
  return (v[a] > v[b]) - (v[a] < v[b]);
}

static void sorting(void)
{
  static int values[1000];
  static fr_int next[1000];
  CHECK(fr__sort(-1, next, by_value, values) == -1);
  for (fr_int count = 1; count <= 1000; count += count < 40 ? 1 : 96) {
    fr_int seen = 0, last = -1;
    for (fr_int i = 0; i < count; i++) { values[i] = (int)test_below_int(count / 3 + 1); next[i] = i + 1 < count ? i + 1 : -1; }
    compares = 0;
    for (fr_int i = fr__sort(0, next, by_value, values); i >= 0; last = i, i = next[i]) {
      seen++;
      if (last >= 0) CHECK(values[last] < values[i] || (values[last] == values[i] && last < i));
    }
    CHECK(seen == count);
    CHECK((double)compares <= (double)count * (log2((double)count) + 1.0));
  }
}

// The time for so many names, each longer than what a compare may skip: in order, backwards, scattered, or one of them twice.
static double names_take(long count, int order, char *text, fr_int *room)
{
  fr__json json;
  fr_reason reason;
  size_t n = 0;
  text[n++] = '{';
  for (long i = 0; i < count; i++) {
    const long key = order == 0 ? i : order == 1 ? count - i : order == 2 ? i * 7919 % count : i % (count - 1);
    n += (size_t)sprintf(text + n, "%s\"a name that is like all the others %06ld\":0", i ? "," : "", key);
  }
  text[n++] = '}';
  const clock_t begin = clock();
  fr__json_start(&json, text, 0, (fr_int)n, 1, room, (fr_int)count);
  CHECK(fr__json_next(&json) == '{');
  CHECK(fr__json_skip(&json) == (order < 3));
  const double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
  if (order == 3) CHECK(fr__json_fail(&json, &reason) == FR_SYNTAX && json.wrong_at == (fr_int)n - 46);
  return took;
}

// 100,000 names against an eighth: n log n takes 10 times as long, the square 64 times. The best of up to three rounds counts, and
// a time that the clock hardly resolves does not.
static void many_names(void)
{
  const long count = test_brief() ? 24000 : 100000;
  char *text = (char *)test_alloc(64 * (size_t)count);
  fr_int *room = (fr_int *)test_alloc(2 * (size_t)count * sizeof(fr_int));
  clock_t tick = clock(), now;
  while ((now = clock()) == tick) {}
  tick = now - tick;
  for (int order = 0; order < 4; order++) {
    double few = 1e9, all = 1e9;
    for (int round = 0; round == 0 || (round < 3 && all > 25.0 * few); round++) {
      few = fmin(few, names_take(count / 8, order, text, room));
      all = fmin(all, names_take(count, order, text, room));
    }
    if (few * CLOCKS_PER_SEC >= 20.0 * (double)tick) CHECK_BELOW(all / few, 25.0);
  }
  free(text);
  free(room);
}

// A second reader, recursive and slow, that only says yes or no.
typedef struct second { const unsigned char *p, *end; int depth; } second;
static int peek(const second *s) { return s->p < s->end ? *s->p : -1; }
static void step(second *s) { if (s->p < s->end) s->p++; }
static void blanks(second *s) { while (peek(s) == ' ' || peek(s) == '\t' || peek(s) == '\r' ||
                                       peek(s) == '\n') step(s); }
static int hex4(second *s, long *code)
{
  *code = 0;
  for (int i = 0; i < 4; i++, step(s)) {
    const int c = peek(s);
    if (c >= '0' && c <= '9') *code = *code * 16 + c - '0';
    else if ((c | 32) >= 'a' && (c | 32) <= 'f') *code = *code * 16 + (c | 32) - 'a' + 10;
    else return 0;
  }
  return 1;
}
// Writes the code points of the string, ended by -1.
static int second_string(second *s, long *out)
{
  if (peek(s) != '"') return 0;
  for (step(s); peek(s) != '"'; out++) {
    int c = peek(s), more;
    long smallest;
    if (c < 32) return 0;
    step(s);
    if (c == '\\') {
      c = peek(s);
      step(s);
      switch (c) {
      case '"': case '\\': case '/': *out = c; continue;
      case 'b': *out = 8; continue;
      case 'f': *out = 12; continue;
      case 'n': *out = 10; continue;
      case 'r': *out = 13; continue;
      case 't': *out = 9; continue;
      case 'u': break;
      default: return 0;
      }
      if (!hex4(s, out)) return 0;
      if (*out >= 0xDC00 && *out <= 0xDFFF) return 0;
      if (*out >= 0xD800 && *out <= 0xDBFF) {
        long low;
        if (peek(s) != '\\') return 0;
        step(s);
        if (peek(s) != 'u') return 0;
        step(s);
        if (!hex4(s, &low) || low < 0xDC00 || low > 0xDFFF) return 0;
        *out = (*out - 0xD800) * 1024 + (low - 0xDC00) + 65536;
      }
      continue;
    }
    if (c < 128) { *out = c; continue; }
    if (c >> 5 == 6) { more = 1; *out = c & 31; smallest = 128; }
    else if (c >> 4 == 14) { more = 2; *out = c & 15; smallest = 2048; }
    else if (c >> 3 == 30) { more = 3; *out = c & 7; smallest = 65536; }
    else return 0;
    while (more--) {
      if ((peek(s) & ~63) != 128) return 0;
      *out = *out * 64 + (*s->p++ & 63);
    }
    if (*out < smallest || *out > 0x10FFFF || (*out >= 0xD800 && *out <= 0xDFFF)) return 0;
  }
  step(s);
  *out = -1;
  return 1;
}
static int second_number(second *s)
{
  if (peek(s) == '-') step(s);
  if (peek(s) < '0' || peek(s) > '9') return 0;
  if (*s->p++ != '0') while (peek(s) >= '0' && peek(s) <= '9') step(s);
  for (int part = 0; part < 2; part++) {
    if (part == 0 ? peek(s) != '.' : (peek(s) | 32) != 'e') continue;
    step(s);
    if (part == 1 && (peek(s) == '+' || peek(s) == '-')) step(s);
    if (peek(s) < '0' || peek(s) > '9') return 0;
    while (peek(s) >= '0' && peek(s) <= '9') step(s);
  }
  return 1;
}
static int second_value(second *s)
{
  enum { MOST = 24, LONG = 300 };
  static long scratch[LONG];
  blanks(s);
  const int c = peek(s);
  if (c == '"') return second_string(s, scratch);
  if (c == '-' || (c >= '0' && c <= '9')) return second_number(s);
  if (c == '{' || c == '[') {
    long (*seen)[LONG] = (long (*)[LONG])test_alloc(MOST * sizeof *seen);
    int count = 0, good = s->depth++ < 64;
    step(s);
    blanks(s);
    if (good && peek(s) == (c == '{' ? '}' : ']')) { step(s); s->depth--; free(seen); return 1; }
    while (good) {
      if (c == '{') {
        blanks(s);
        good = count < MOST && second_string(s, seen[count]);
        for (int i = 0; good && i < count; i++) {
          int k = 0;
          while (seen[i][k] == seen[count][k] && seen[i][k] >= 0) k++;
          if (seen[i][k] == seen[count][k]) good = 0;
        }
        count++;
        blanks(s);
        good = good && peek(s) == ':';
        step(s);
      }
      good = good && second_value(s);
      blanks(s);
      if (good && peek(s) == (c == '{' ? '}' : ']')) break;
      good = good && peek(s) == ',';
      step(s);
    }
    step(s);
    s->depth--;
    free(seen);
    return good;
  }
  const char *word = c == 't' ? "true" : c == 'f' ? "false" : "null";
  if (s->end - s->p < (ptrdiff_t)strlen(word) || memcmp(s->p, word, strlen(word))) return 0;
  s->p += strlen(word);
  return 1;
}

static void damaged(void)
{
  static const char *const seeds[] = {
    "{\"question\": \"caf\xC3\xA9 \\ud83d\\ude00\", \"traces\": [{\"text\": \"\\u0031 + 1\", \"correct\": true}, \"two\"], \"n\": -1.5e+3}",
    "[{\"a\":[[],{}],\"b\":null,\"\\u0062b\":0},[0,1e1,\"\xF0\x9F\x98\x80\xE4\xB8\x80\",false]]",
    "{\"a\":1,\"b\":{\"a\":2,\"c\":3},\"c\":{\"b\":[{\"a\":0,\"b\":0}]}}",
  };
  static const char pieces[] = "{}[]\",:\\u0dD8e-+.1tfn \n\x80\xC3\xE0\xED\xF4" "ab";
  long good = 0;
  for (int round = 0; round < 200000; round++) {
    const char *seed = seeds[round % 3];
    size_t bytes = strlen(seed);
    char buffer[256], kinds[300];
    memcpy(buffer, seed, bytes);
    for (ptrdiff_t changes = test_below_int(4); changes >= 0; changes--) {
      const size_t at = (size_t)test_below_int((ptrdiff_t)bytes);
      const char piece = pieces[test_below_int((ptrdiff_t)sizeof pieces - 1)];
      switch (test_below_int(4)) {
      case 0: buffer[at] = piece; break;
      case 1: memmove(buffer + at + 1, buffer + at, bytes++ - at); buffer[at] = piece; break;
      case 2: memmove(buffer + at, buffer + at + 1, --bytes - at); break;
      default: buffer[at] = seed[test_below_int((ptrdiff_t)strlen(seed))]; break;
      }
    }
    char *text = exact(buffer, bytes);
    second s = { (const unsigned char *)text, (const unsigned char *)text + bytes, 0 };
    int expected = second_value(&s);
    blanks(&s);
    expected = expected && s.p == s.end;
    fr_reason reason;
    const fr_status status = events(text, (fr_int)bytes, NAMES, kinds, 300, &reason);
    if (!CHECK((status == FR_OK) == expected)) fprintf(stderr, "  %.*s\n", (int)bytes, text);
    good += expected;
    free(text);
  }
  CHECK(good > 2000);  // else nothing was tried
  for (int i = 0; i < 3; i++)
    for (size_t bytes = 0; bytes < strlen(seeds[i]); bytes++) {
      char *text = exact(seeds[i], bytes);
      fr_reason reason;
      CHECK(events(text, (fr_int)bytes, NAMES, NULL, 0, &reason) == FR_SYNTAX);
      free(text);
    }
}

int main(void)
{
  accepted();
  refused();
  strings();
  utf8();
  limits();
  sorting();
  many_names();
  damaged();
  return test_done("json");
}
