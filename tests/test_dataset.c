// JSON lines to data sets: forms of rows, what is dropped and counted, errors with their place, memory.
#include "tests/test.h"
#include <time.h>

// Allocation number `failing` of those since `allocated` was 0 fails; -1: none does.
static long allocated, failing = -1, alive;
static void *counted_malloc(size_t bytes)
{
  if (allocated++ == failing) return NULL;
  alive++;
  return test_alloc(bytes);
}
static void counted_free(void *memory)
{
  alive--;
  free(memory);
}
#define FR_MALLOC(bytes) counted_malloc(bytes)
#define FR_FREE(memory) counted_free(memory)
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"

static int is(fr_text text, const char *value)
{
  if (!value) return text.bytes == NULL;
  return text.bytes && text.count == (fr_int)strlen(value) && !memcmp(text.bytes, value, strlen(value));
}

// A data set in memory of exactly the measured size, at an odd address, from text of exactly its size.
typedef struct placed { fr_dataset dataset; unsigned char *memory; char *text; fr_int bytes; } placed;
enum { GUARD = 32 };

static fr_status place(placed *p, const char *text, size_t length, fr_reason *reason)
{
  fr_status status;
  p->memory = NULL;
  p->text = (char *)test_alloc(length);
  if (length) memcpy(p->text, text, length);
  status = fr_dataset_place(NULL, p->text, (fr_int)length, NULL, 0, &p->bytes, reason);
  if (status) return status;
  p->memory = (unsigned char *)test_alloc((size_t)p->bytes + GUARD + 1);
  memset(p->memory, 0xA5, (size_t)p->bytes + GUARD + 1);
  status = fr_dataset_place(&p->dataset, p->text, (fr_int)length, p->memory + 1, p->bytes, NULL, reason);
  for (fr_int i = 0; i < GUARD; i++) CHECK(p->memory[1 + p->bytes + i] == 0xA5);
  memset(p->text, '#', length);  // the data set keeps copies
  return status;
}

static void drop(placed *p)
{
  free(p->memory);
  free(p->text);
}

static void sums(const fr_dataset *d)
{
  const fr_dataset_counts *c = &d->counts;
  fr_int traces = 0;
  CHECK(c->rows == d->problem_count + c->merged + c->no_trace);
  CHECK(c->traces == d->trace_count + c->incorrect + c->empty + c->repeated);
  for (fr_int p = 0; p < d->problem_count; p++) {
    CHECK(d->problems[p].first == traces && d->problems[p].count > 0);
    for (fr_int t = traces; t < traces + d->problems[p].count; t++) {
      CHECK(d->traces[t].problem == p && d->traces[t].source >= -1 && d->traces[t].source < d->source_count);
      for (fr_int u = traces; u < t; u++) CHECK(fr__text_order(d->traces[t].text, d->traces[u].text) != 0);
    }
    traces += d->problems[p].count;
  }
  CHECK(traces == d->trace_count);
}

static void forms(void)
{
  static const char text[] =
    "\xEF\xBB\xBF{\"question\":\"q1\",\"answer\":\"18\",\"extra\":{\"a\":[1,{\"text\":\"x\"}]},\"traces\":["
      "{\"text\":\"a\",\"answer\":\"18\",\"correct\":true,\"source\":\"S\"},{\"source\":\"T\",\"text\":\"b\",\"correct\":false},"
      "\"c\",{\"text\":\"d\",\"answer\":\"17\"},{\"text\":\"e\",\"answer\":18,\"source\":\"T\"},{\"text\":\" \\n\\t\"},\"c\","
      "{\"text\":\"f\",\"answer\":\"17\",\"correct\":true,\"source\":null}]}\r\n"
    "\n  \t\r\n"
    "{\"traces\":[],\"question\":\"none\"}\n"
    "{\"problem\":\"q2\",\"correctness_math_verify\":[true,false,null],\"answer\":7,\"generations\":[\"g\",\"h\",\"\\u0069\"]}\n"
    "{\"thinking_trajectories\":[\"t1\",\"t2\"],\"question\":\"q3\",\"source\":[\"not\",\"a name\"],\"correct\":3,\"answer\":null}\n"
    "{\"prompt\":\"q4\",\"completion\":\"c1\",\"source\":\"T\"}\n"
    "{\"prompt\":\"\\u00714\",\"completion\":\"c2\",\"correct\":true,\"answer\":\"1\"}\n"
    "{\"prompt\":\"q4\",\"completion\":\"c3\",\"correct\":false}\n"
    "{\"question\":\"q2\",\"traces\":[\"i\",{\"text\":\"j\",\"source\":\"S\"}],\"answer\":\"8\"}\n"
    "{\"prompt\":\"q4\",\"completion\":\"c1\"}";
  placed p;
  fr_reason reason;
  if (!CHECK(place(&p, text, sizeof text - 1, &reason) == FR_OK)) {
    fprintf(stderr, "%s\n", reason.text);
    drop(&p);
    return;
  }
  const fr_dataset *d = &p.dataset;
  CHECK(reason.text[0] == 0);
  sums(d);
  CHECK(d->problem_count == 4 && d->trace_count == 4 + 3 + 2 + 2 && d->source_count == 2);
  CHECK(is(d->sources[0], "S") && is(d->sources[1], "T"));
  CHECK(is(d->problems[0].text, "q1") && is(d->problems[0].answer, "18") && is(d->problems[1].text, "q2") &&
        is(d->problems[1].answer, "7"));
  CHECK(is(d->problems[2].text, "q3") && is(d->problems[2].answer, NULL) && is(d->problems[3].text, "q4") &&
        is(d->problems[3].answer, "1"));
  static const struct { const char *text, *answer; fr_int source; } expected[] = {
    { "a", "18", 0 }, { "c", NULL, -1 }, { "e", "18", 1 }, { "f", "17", -1 }, { "g", NULL, -1 }, { "i", NULL, -1 },
    { "j", NULL, 0 },
    { "t1", NULL, -1 }, { "t2", NULL, -1 }, { "c1", NULL, 1 }, { "c2", NULL, -1 } };
  for (fr_int t = 0; t < 11; t++)
    CHECK(is(d->traces[t].text, expected[t].text) && is(d->traces[t].answer, expected[t].answer) &&
          d->traces[t].source == expected[t].source);
  CHECK(d->counts.rows == 9 && d->counts.merged == 4 && d->counts.conflicts == 1 && d->counts.no_trace == 1);
  CHECK(d->counts.traces == 19 && d->counts.incorrect == 4 && d->counts.empty == 1 && d->counts.repeated == 3);
  CHECK(d->problems[0].key != d->problems[1].key && d->longest == 2);
  drop(&p);
}

// Rows of others, and that the same question in two forms is one.
static void forms_of_others(void)
{
  static const char text[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"q1\",\"name\":\"x\"},{\"role\":\"assistant\",\"content\":\"a1\"}],\"answer\":\"1\",\"source\":\"S\",\"input\":3}\n"
    "{\"prompt\":[{\"content\":\"q1\",\"role\":\"user\"}],\"completion\":[{\"role\":\"assistant\",\"content\":\"a2\"}]}\n"
    "{\"prompt\":\"q1\",\"completion\":[{\"role\":\"assistant\",\"content\":\"a3\",\"reasoning_content\":\"r3\"}]}\n"
    "{\"prompt\":[{\"role\":\"user\",\"content\":\"\\u00711\"}],\"completion\":\"a4\"}\n"
    "{\"instruction\":\"q1\",\"input\":\"\",\"output\":\"a5\"}\n{\"instruction\":\"q1\",\"input\":null,\"output\":\"a6\"}\n{\"instruction\":\"q1\",\"output\":\"a1\"}\n"
    "{\"instruction\":\"do\",\"input\":\"this\",\"output\":\"a7\",\"correct\":true}\n"
    "{\"question\":\"do\\n\\nthis\",\"traces\":[\"a8\"],\"messages\":3,\"instruction\":[],\"output\":{}}\n\n"
    "{\"messages\":[{\"role\":\"developer\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"x\"},"
      "{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"only\"}]}\n"
    "{\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"x\"},"
      "{\"role\":\"user\",\"content\":\"q\"}],\"completion\":\"a9\",\"answer\":2}\n"
    "{\"prompt\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"user\",\"content\":\"q\"}],\"completion\":\" \"}\n"
    "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"traces\":[\"t\"],\"question\":\"plain\"}\n";
  static const char *const questions[] = { "q1", "do\n\nthis", "\xFF" "ss\xFF" "uu\xFF" "ax\xFF" "uq", "plain" };
  static const char *const traces[] = { "a1", "a2", "r3\n\na3", "a4", "a5", "a6", "a7", "a8", "only", "a9", "t" };
  static const fr_int lines[] = { 1, 8, 11, 14 }, counts[] = { 6, 2, 2, 1 };
  placed p;
  fr_reason reason;
  if (!CHECK(place(&p, text, sizeof text - 1, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); drop(&p); return; }
  const fr_dataset *d = &p.dataset;
  sums(d);
  CHECK(d->problem_count == 4 && d->trace_count == 11 && d->counts.repeated == 1 && d->counts.empty == 1 && d->counts.no_trace == 1);
  for (fr_int i = 0; i < 4 && i < d->problem_count; i++)
    CHECK(is(d->problems[i].text, questions[i]) && d->problems[i].line == lines[i] && d->problems[i].count == counts[i]);
  for (fr_int i = 0; i < 11 && i < d->trace_count; i++) CHECK(is(d->traces[i].text, traces[i]));
  CHECK(is(d->problems[0].answer, "1") && is(d->problems[2].answer, "2") && d->traces[0].source == 0 && d->traces[1].source == -1);
  drop(&p);
}

static void errors(void)
{
  static const struct { const char *text; fr_status status; const char *words; } cases[] = {
    { "[]", FR_FORMAT, "line 1, column 1: each line" }, { "\n \"x\"", FR_FORMAT, "line 2, column 2: each line" },
    { "3", FR_FORMAT, "line 1, column 1:" },
    { "{\"traces\":[\"a\"]}", FR_FORMAT, "line 1, column 1: this row has no question" },
    { "{\"traces\":[\"a\"],\"qestion\":\"q\"}", FR_FORMAT, "column 17: this row has no question; is this name" },
    { "{\"Question\":\"q\",\"traces\":[\"a\"]}", FR_FORMAT, "column 2: this row has no question; is this name" },
    { "{\"question\":\"q\",\"tarces\":[\"a\"]}", FR_FORMAT, "column 17: this row has no traces; is this name" },
    { "{\"question\":\"q\",\"trace\":[\"a\"]}", FR_FORMAT, "column 17: this row has no traces; is this name" },
    { "{\"question\":\"q\",\"taxes\":[\"a\"]}", FR_FORMAT, "column 1: this row has no traces" },
    { "{\"question\":\"q\",\"traces\":[{\"txt\":\"a\"}]}", FR_FORMAT, "column 28: this trace has no text; is this name" },
    { "{\n  \"question\": \"q\",\n  \"traces\": []\n}", FR_SYNTAX, "line 1, column 2: the text ends too early: one object per line; of JSON over several lines: jq -c ." },
    { "\xFF\xFE{\0\"\0", FR_FORMAT, "UTF-16" }, { "\xFE\xFF", FR_FORMAT, "UTF-16" },
    { "{\"question\":\"\",\"traces\":[]}", FR_FORMAT, "column 13: the question is empty" },
    { "{\"question\":null,\"traces\":[]}", FR_FORMAT, "column 13: the question must be" },
    { "{\"question\":3,\"traces\":[]}", FR_FORMAT, "column 13:" },
    { "{\"prompt\":[{\"role\":\"user\"}],\"completion\":\"a\"}", FR_FORMAT, "column 12: this message has no content" },
    { "{\"prompt\":3,\"completion\":\"a\"}", FR_FORMAT, "column 11: the prompt must be a string or a list of messages" },
    { "{\"prompt\":[],\"completion\":\"a\"}", FR_FORMAT, "column 11: the last message must be the user's" },
    { "{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"completion\":\"a\"}", FR_FORMAT,
      "column 11: the last message must be the user's" },
    { "{\"prompt\":\"q\",\"completion\":[{\"role\":\"user\",\"content\":\"a\"}]}", FR_FORMAT, "column 28: the last message must be the assistant's" },
    { "{\"prompt\":\"q\",\"completion\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"a\"}]}", FR_FORMAT,
      "column 28: a completion must be one message" },
    { "{\"prompt\":\"q\",\"completion\":[]}", FR_FORMAT, "column 28: the last message must be the assistant's" },
    { "{\"messages\":[]}", FR_FORMAT, "column 13: the last message must be the assistant's" },
    { "{\"messages\":\"x\"}", FR_FORMAT, "column 13: messages must be a list" },
    { "{\"messages\":[3]}", FR_FORMAT, "column 14: a message must be an object" },
    { "{\"messages\":[{\"content\":\"q\"}]}", FR_FORMAT, "column 14: this message has no role" },
    { "{\"messages\":[{\"rloe\":\"user\",\"content\":\"q\"}]}", FR_FORMAT, "column 15: this message has no role; is this name misspelt?" },
    { "{\"messages\":[{\"role\":\"tool\",\"content\":\"q\"}]}", FR_FORMAT, "column 22: a role must be system, developer, user or assistant" },
    { "{\"messages\":[{\"role\":3,\"content\":\"q\"}]}", FR_FORMAT, "column 22: a role must be a string" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[\"q\"]}]}", FR_FORMAT, "column 39: a content must be a string" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"assistant\",\"content\":\"a\"}]}", FR_FORMAT, "column 14: this message has no content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":null}]}", FR_FORMAT, "column 44: this message has no content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}", FR_FORMAT, "column 13: the last message must be the assistant's" },
    { "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\"}]}", FR_FORMAT, "column 13: the message before the last must be the user's" },
    { "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"assistant\",\"content\":\"a\"}]}", FR_FORMAT, "column 13: the message before the last" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"correct\":3}", FR_FORMAT, "correct must be true or false" },
    { "{\"instruction\":\"q\"}", FR_FORMAT, "column 1: the output must be a string" },
    { "{\"instruction\":\"q\",\"output\":3}", FR_FORMAT, "column 29: the output must be a string" },
    { "{\"instruction\":\"q\",\"input\":3,\"output\":\"a\"}", FR_FORMAT, "column 28: the input must be a string" },
    { "{\"instruction\":\"\",\"output\":\"a\"}", FR_FORMAT, "column 16: the question is empty" },
    { "[\n  {\"question\": \"q\"}]", FR_FORMAT, "line 1, column 1: each line must hold one object; of a list: jq -c '.[]'" },
    { "PAR1xxxx", FR_FORMAT, "pandas.read_parquet" }, { "\x1F\x8B\x08x", FR_FORMAT, "gzip" }, { "\x28\xB5\x2F\xFDx", FR_FORMAT, "zstd" },
    { "\n\n {\"question\":\"q\"}", FR_FORMAT, "line 3, column 2: this row has no traces" },
    { "{\"question\":\"q\",\"traces\":null}", FR_FORMAT, "column 26: the traces must" },
    { "{\"question\":\"q\",\"problem\":\"q\",\"traces\":[]}", FR_FORMAT, "column 17: this repeats" },
    { "{\"question\":\"q\",\"generations\":[],\"traces\":[]}", FR_FORMAT, "column 34: this repeats" },
    { "{\"question\":\"q\",\"completion\":\"c\",\"traces\":[]}", FR_FORMAT, "column 1: this row has both" },
    { "{\"question\":\"q\",\"traces\":[3]}", FR_FORMAT, "column 27: a trace must" },
    { "{\"question\":\"q\",\"traces\":[{}]}", FR_FORMAT, "column 27: this trace has no text" },
    { "{\"question\":\"q\",\"traces\":[\"a\",{\"text\":[]}]}", FR_FORMAT, "column 39: a trace's text" },
    { "{\"question\":\"q\",\"traces\":[{\"text\":\"a\",\"correct\":1}]}", FR_FORMAT, "column 49: correct must" },
    { "{\"question\":\"q\",\"traces\":[{\"text\":\"a\",\"source\":1}]}", FR_FORMAT, "column 48: a source" },
    { "{\"question\":\"q\",\"traces\":[{\"text\":\"a\",\"answer\":{}}]}", FR_FORMAT, "column 48: an answer" },
    { "{\"question\":\"q\",\"answer\":true,\"traces\":[]}", FR_FORMAT, "column 26: an answer" },
    { "{\"question\":\"q\",\"completion\":\"c\",\"correct\":1}", FR_FORMAT, "column 44: correct must" },
    { "{\"question\":\"q\",\"completion\":\"c\",\"source\":false}", FR_FORMAT, "column 43: a source" },
    { "{\"question\":\"q\",\"completion\":\"c\",\"correctness_math_verify\":[]}", FR_FORMAT,
      "column 60: this list needs" },
    { "{\"question\":\"q\",\"traces\":[\"a\",\"b\"],\"correctness_math_verify\":[true]}", FR_FORMAT,
      "column 62: this list is shorter" },
    { "{\"question\":\"q\",\"traces\":[\"a\"],\"correctness_math_verify\":[true,true]}", FR_FORMAT,
      "column 58: this list is longer" },
    { "{\"question\":\"q\",\"traces\":[\"a\"],\"correctness_math_verify\":[[]]}", FR_FORMAT,
      "column 59: true or false" },
    { "{\"question\":\"q\",\"traces\":[\"a\"]}\n{\"question\":\"q\",\n\"traces\":[\"a\"]}", FR_SYNTAX,
      "line 2, column 17: the text ends" },
    { "{\"question\":\"q\",\"traces\":[\"a\"]} {}", FR_SYNTAX, "column 33: the text goes on" },
    { "{\"question\":\"q\",\"question\":\"q\",\"traces\":[]}", FR_FORMAT, "column 17: this repeats" },
    { "{\"question\":\"q\",\"x\":[{\"y\":0,\"y\":1}],\"traces\":[]}", FR_SYNTAX, "column 29: this name is already" },
    { " \xEF\xBB\xBF{\"question\":\"q\",\"traces\":[\"a\"]}", FR_SYNTAX, "column 2:" },
    { "{\"question\":\"\xC3\xA9\",\"traces\":[\"\xC3(\"]}", FR_SYNTAX, "column 28: the text is not valid UTF-8" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    placed p;
    fr_reason reason;
    const fr_status status = place(&p, cases[i].text, strlen(cases[i].text), &reason);
    if (!CHECK(status == cases[i].status && strstr(reason.text, cases[i].words) != NULL))
      fprintf(stderr, "  %s\n  gave %d, %s\n", cases[i].text, (int)status, reason.text);
    drop(&p);
  }
  {  // more names than the reader notes, and just as many
    static char wide[10 * FR_DATASET_NAMES + 100];
    for (int more = 0; more < 2; more++) {
      placed p;
      fr_reason reason;
      size_t n = (size_t)sprintf(wide, "{\"question\":\"q\",\"traces\":[\"a\"]");
      for (int i = 0; i < FR_DATASET_NAMES - 2 + more; i++) n += (size_t)sprintf(wide + n, ",\"%d\":0", i);
      wide[n++] = '}';
      CHECK(place(&p, wide, n, &reason) == (more ? FR_LIMIT : FR_OK));
      drop(&p);
    }
  }
  {  // arguments; nothing changes
    static const char good[] = "{\"question\":\"q\",\"traces\":[\"a\"]}",
        bad[] = "{\"question\":\"q\",\"traces\":[1]}";
    unsigned char memory[2000];
    fr_dataset d, before;
    fr_int bytes = 77;
    fr_reason reason;
    memset(&d, 0x3C, sizeof d);
    before = d;
    CHECK(fr_dataset_place(NULL, bad, sizeof bad - 1, NULL, 0, &bytes, NULL) == FR_FORMAT && bytes == 77);
    CHECK(fr_dataset_place(NULL, NULL, 3, NULL, 0, &bytes, &reason) == FR_INVALID &&
          fr_dataset_place(NULL, good, -1, NULL, 0, &bytes, &reason) == FR_INVALID && bytes == 77);
    CHECK(fr_dataset_place(NULL, good, sizeof good - 1, NULL, 0, &bytes, &reason) == FR_OK && bytes < 2000);
    CHECK(fr_dataset_place(&d, good, sizeof good - 1, memory, bytes - 1, NULL, &reason) == FR_MEMORY &&
          strstr(reason.text, "bytes") != NULL);
    CHECK(fr_dataset_place(&d, bad, sizeof bad - 1, memory, bytes, NULL, &reason) == FR_FORMAT);
    CHECK(memcmp(&d, &before, sizeof d) == 0);
    memset(&before, 0, sizeof before);  // new and load zero it on failure, so that free is safe
    CHECK(fr_dataset_new(&d, bad, sizeof bad - 1, &reason) == FR_FORMAT && memcmp(&d, &before, sizeof d) == 0);
    memset(&d, 0x3C, sizeof d);
    CHECK(fr_dataset_load(&d, "tests/data/jsonl/no such file", &reason) == FR_IO &&
          strstr(reason.text, "no such file") != NULL);
    CHECK(strstr(reason.text, ": ") != NULL);  // and why
    CHECK(fr_dataset_load(&d, "tests", &reason) == FR_IO);
    {
      const char *folder = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
      char path[300];
      FILE *empty;
      snprintf(path, sizeof path, "%s/empty.jsonl", folder);
      empty = fopen(path, "wb");
      if (CHECK(empty != NULL)) fclose(empty);
      CHECK(fr_dataset_load(&d, path, &reason) == FR_FORMAT && strstr(reason.text, "empty.jsonl is empty") != NULL);
      remove(path);
    }
    CHECK(fr_dataset_load(&d, "", &reason) == FR_INVALID && strstr(reason.text, "path is NULL or empty") != NULL);
    CHECK(fr_dataset_load(&d, NULL, &reason) == FR_INVALID && strstr(reason.text, "path is NULL") != NULL);
    CHECK(memcmp(&d, &before, sizeof d) == 0);
    CHECK(fr_dataset_new(&d, NULL, 0, &reason) == FR_OK && d.problem_count == 0 && d.trace_count == 0 &&
          d.source_count == 0);
    fr_dataset_free(&d);
    fr_dataset_free(&d);
    fr_dataset_free(NULL);
  }
}

// The files of tests/data/jsonl with what MANIFEST.tsv says about each.
static void files(void)
{
  FILE *manifest = fopen("tests/data/jsonl/MANIFEST.tsv", "rb");
  char line[300], path[300], verdict[20];
  int count = 0;
  if (!CHECK(manifest != NULL)) return;
  while (fgets(line, sizeof line, manifest)) {
    fr_dataset d;
    fr_reason reason;
    char name[100];
    if (sscanf(line, "%99s %19s", name, verdict) != 2) continue;
    sprintf(path, "tests/data/%s", name);
    const fr_status status = fr_dataset_load(&d, path, &reason);
    count++;
    if (!CHECK(status != FR_IO && (verdict[0] == 'o' ? status == FR_OK : verdict[0] == 'r' ? status != FR_OK : 1)))
      fprintf(stderr, "  %s: %s\n", name, reason.text);
    if (!strcmp(name, "jsonl/bad_cut_line.jsonl"))
      CHECK(status == FR_SYNTAX && strstr(reason.text, "line 6, ") != NULL);
    if (!strcmp(name, "jsonl/bad_non_utf8.jsonl"))
      CHECK(status == FR_SYNTAX && strstr(reason.text, "line 6, column 14:") != NULL);
    if (!strcmp(name, "jsonl/ok_unicode.jsonl"))
      CHECK(is(d.problems[0].text, "\xC3\xA9 \xF0\x9F\x98\x80 \xF0\x9F\x98\x80 \n\t\" is 1+1?"));
    if (!strcmp(name, "jsonl/ok_crlf.jsonl"))
      CHECK(d.problem_count == 5 && is(d.problems[4].text, "What is 4+4?") && is(d.traces[9].text, "4 twice is 8"));
    if (!strcmp(name, "jsonl/ok_messages.jsonl"))
      CHECK(d.problem_count == 2 && d.problems[0].count == 2 && is(d.traces[0].text, "1 and 1 make 2.\n\n#### 2") && d.counts.merged == 1 &&
            is(d.problems[1].text, "\xFFsBe brief.\xFFuWhat is 2+2?\xFF" "a4\xFFuAnd 3+3?"));
    if (!strcmp(name, "jsonl/ok_prompt.jsonl")) CHECK(d.problem_count == 3 && is(d.traces[1].text, "2 and 2.\n\n4") && is(d.problems[2].text, "What is 2+2?"));
    if (!strcmp(name, "jsonl/ok_instruction.jsonl")) CHECK(d.problem_count == 2 && is(d.problems[0].text, "Add.\n\n1 and 1"));
    if (!strcmp(name, "jsonl/bad_pretty.jsonl")) CHECK(status == FR_SYNTAX && strstr(reason.text, "jq -c") != NULL);
    if (status == FR_OK) { sums(&d); fr_dataset_free(&d); }
  }
  fclose(manifest);
  CHECK(count == 20);
}

static void allocations(void)
{
  fr_dataset d, before;
  fr_reason reason;
  memset(&before, 0, sizeof before);
  for (failing = 0; failing < 2; failing++) {
    allocated = 0;
    memset(&d, 0x3C, sizeof d);
    CHECK(fr_dataset_load(&d, "tests/data/jsonl/ok.jsonl", &reason) == FR_MEMORY &&
          strstr(reason.text, "no memory") != NULL);
    CHECK(alive == 0 && memcmp(&d, &before, sizeof d) == 0);
  }
  failing = -1;
  allocated = 0;
  CHECK(fr_dataset_load(&d, "tests/data/jsonl/ok.jsonl", &reason) == FR_OK && allocated == 2 && alive == 1);
  fr_dataset_free(&d);
  CHECK(alive == 0);
}

// Rows that are all one question, traces that are all alike, names that are all distinct: memory as promised. Returns the time.
static double rows_take(int count, int kind, char *text)
{
  fr_dataset d;
  fr_int bytes = 0;
  char *end = text;
  if (kind < 3) end += sprintf(end, "{\"prompt\":\"q\",\"generations\":[");
  for (int i = 0; i < count; i++) {
    const char *comma = i ? "," : "";
    switch (kind) {
    case 0: end += sprintf(end, "%s\"a\"", comma); break;
    case 1: end += sprintf(end, "%s\"the same beginning, then %d\"", comma, i * 7919 % count); break;
    case 2: end += sprintf(end, "%s{\"text\":\"%d\",\"source\":\"%d\"}", comma, i, i % (count / 2)); break;
    case 3: end += sprintf(end, "{\"prompt\":\"q\",\"completion\":\"%d\"}\n", i); break;
    case 4: end += sprintf(end, "{\"prompt\":\"%d\",\"completion\":\"a\"}\n", i * 7919 % count); break;
    default: end += sprintf(end, "{\"prompt\":\"%d\",\"completion\":\"%d\"}\n", i % 17, i); break;
    }
  }
  if (kind < 3) end += sprintf(end, "]}");
  const clock_t begin = clock();
  CHECK(fr_dataset_place(NULL, text, end - text, NULL, 0, &bytes, NULL) == FR_OK);
  CHECK_BELOW((double)bytes, 20.0 * (double)(end - text) + 1000.0);
  CHECK(fr_dataset_new(&d, text, end - text, NULL) == FR_OK);
  const double took = (double)(clock() - begin) / CLOCKS_PER_SEC;
  CHECK(d.trace_count == (kind == 0 ? 1 : count) && d.counts.traces == count && d.source_count == (kind == 2 ? count / 2 : 0));
  CHECK(d.problem_count == (kind == 4 ? count : kind == 5 ? 17 : 1) &&
        d.counts.merged == (kind == 3 ? count - 1 : kind == 5 ? count - 17 : 0));
  for (fr_int t = 0, p = 0; kind == 5 && t < count; p++)
    for (fr_int i = 0; i < d.problems[p].count; i++, t++) {
      char expected[20];
      sprintf(expected, "%ld", (long)(p + 17 * i));
      if (!is(d.traces[t].text, expected)) { CHECK(is(d.traces[t].text, expected)); t = count; }
    }
  fr_dataset_free(&d);
  return took;
}

// Near-linear: 60,000 against an eighth take 8 to 10 times as long, in the square 64 times. The best of up to three rounds counts,
// and a time that the clock hardly resolves does not.
static void hostile(void)
{
  const int count = test_brief() ? 16000 : 60000;
  char *text = (char *)test_alloc(200 * (size_t)count);
  clock_t tick = clock(), now;
  while ((now = clock()) == tick) {}
  tick = now - tick;
  for (int kind = 0; kind < 6; kind++) {
    double few = 1e9, all = 1e9;
    for (int round = 0; round == 0 || (round < 3 && all > 25.0 * few); round++) {
      few = fmin(few, rows_take(count / 8, kind, text));
      all = fmin(all, rows_take(count, kind, text));
    }
    if (few * CLOCKS_PER_SEC >= 20.0 * (double)tick) CHECK_BELOW(all / few, 25.0);
  }
  free(text);
}

// Damaged rows: success with sums that hold, or an error with a place.
static void damaged(void)
{
  static const char seed[] =
    "{\"question\":\"q1\",\"answer\":\"18\",\"traces\":[{\"text\":\"a\",\"answer\":\"18\",\"correct\":true,\"source\":\"S\"},\"b\",{\"text\":\"c\"}]}\n"
    "{\"prompt\":\"q1\",\"completion\":\"\\u0061\",\"correct\":true}\r\n"
    "{\"problem\":\"q2\",\"generations\":[\"g\",\"h\"],\"correctness_math_verify\":[true,false]}\n";
  static const char pieces[] = "{}[]\",:\\u0dD8e-+.1tfn \n\x80\xC3qab";
  long good = 0;
  for (int round = 0; round < 60000; round++) {
    char text[sizeof seed + 8];
    size_t bytes = sizeof seed - 1;
    memcpy(text, seed, bytes);
    for (ptrdiff_t changes = test_below_int(3); changes >= 0 && bytes > 0; changes--) {
      const size_t at = (size_t)test_below_int((ptrdiff_t)bytes);
      const char piece = pieces[test_below_int((ptrdiff_t)sizeof pieces - 1)];
      switch (test_below_int(4)) {
      case 0: text[at] = piece; break;
      case 1: memmove(text + at + 1, text + at, bytes++ - at); text[at] = piece; break;
      case 2: memmove(text + at, text + at + 1, --bytes - at); break;
      default: bytes = at + 1; break;
      }
    }
    placed p;
    fr_reason reason;
    const fr_status status = place(&p, text, bytes, &reason);
    if (status == FR_OK) { sums(&p.dataset); good++; }
    else CHECK((status == FR_SYNTAX || status == FR_FORMAT) && !strncmp(reason.text, "line ", 5));
    drop(&p);
  }
  CHECK(good > 1000 && good < 59000);
}

// Answers that are spelled in two ways agree: of a trace and its row, and of two rows of one question.
static void spelled_otherwise(void)
{
  fr_dataset d;
  fr_reason reason;
  static const char rows[] = "{\"question\":\"q\",\"answer\":\"1/2\",\"traces\":[{\"text\":\"a\",\"answer\":\"\\\\frac12\"}]}\n"
    "{\"question\":\"q\",\"answer\":0.5,\"traces\":[{\"text\":\"b\",\"answer\":\".6\"}]}\n"
    "{\"question\":\"q\",\"answer\":\"0.25\",\"traces\":[]}\n";
  CHECK(fr_dataset_load(&d, "tests/data/cases/answers_spelled_otherwise.jsonl", &reason) == FR_OK && d.problem_count == 2 &&
        d.trace_count == 3 && d.counts.incorrect == 0);
  fr_dataset_free(&d);
  CHECK(fr_dataset_new(&d, rows, sizeof rows - 1, &reason) == FR_OK && d.problem_count == 1 && d.trace_count == 1 &&
        d.counts.incorrect == 1 && d.counts.merged == 2 && d.counts.conflicts == 1);
  fr_dataset_free(&d);
}

int main(void)
{
  spelled_otherwise();
  forms();
  forms_of_others();
  errors();
  files();
  allocations();
  hostile();
  damaged();
  CHECK(alive == 0);  // nothing above leaked
  return test_done("dataset");
}
