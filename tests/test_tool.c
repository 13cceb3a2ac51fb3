// The program of examples/forkreason.c, command by command, within this process: what it says, its exit status, what it writes, and
// what stays as it was when it fails.
#define main tool_main
#include "../examples/forkreason.c"
#undef main
#include "hostile.h"
#if defined(_WIN32)
#include <io.h>
#define dup _dup
#define dup2 _dup2
#define fileno _fileno
#else
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#endif

static char place[400], said[400000], complained[20000];

static void slurp(const char *path, char *out, size_t room)
{
  FILE *f = fopen(path, "rb");
  size_t bytes = f ? fread(out, 1, room - 1, f) : 0;
  out[bytes] = 0;
  if (f) fclose(f);
}

// Runs the program with words separated by blanks; %s is our folder. Its output is in said, its errors in complained.
static int run(const char *line)
{
  char words[40][700], path[2][500], *list[41];
  int count = 1, status, kept[2];
  FILE *const streams[] = { stdout, stderr };
  FILE *files[2];
  snprintf(words[0], sizeof words[0], "forkreason");
  while (*line) {
    size_t length = strcspn(line, " "), used = 0;
    for (size_t i = 0; i < length; i++)
      if (line[i] == '%') used += (size_t)snprintf(words[count] + used, sizeof words[0] - used, "%s", place);
      else words[count][used++] = line[i] == '~' ? ' ' : line[i];
    words[count++][used] = 0;
    line += length + (line[length] == ' ');
  }
  for (int i = 0; i < count; i++) list[i] = words[i];
  list[count] = NULL;
  for (int i = 0; i < 2; i++) {
    fflush(streams[i]);
    snprintf(path[i], sizeof path[i], "%s.%d", place, i);
    kept[i] = dup(fileno(streams[i]));
    files[i] = fopen(path[i], "wb");
    if (!files[i] || dup2(fileno(files[i]), fileno(streams[i])) < 0) exit(2);
  }
  status = tool_main(count, list);
  for (int i = 0; i < 2; i++) {
    fflush(streams[i]);
    dup2(kept[i], fileno(streams[i]));
    fclose(files[i]);
    close(kept[i]);
    slurp(path[i], i ? complained : said, i ? sizeof complained : sizeof said);
    remove(path[i]);
  }
  return status;
}

static int expect(const char *line, int status, const char *words)
{
  const int got = run(line);
  const int good = CHECK(got == status && strstr(status ? complained : said, words) != NULL && (status == 0) == (complained[0] == 0));
  if (!good) fprintf(stderr, "  forkreason %s\n  status %d: %s%s\n", line, got, said, complained);
  return good;
}

static void write_file(const char *name, const void *bytes, size_t count)
{
  char path[900];
  FILE *out;
  snprintf(path, sizeof path, "%s/%s", place, name);
  out = fopen(path, "wb");
  if (!out || fwrite(bytes, 1, count, out) != count || fclose(out)) { fprintf(stderr, "%s cannot be written\n", path); exit(2); }
}
static void copy_file(const char *from, const char *to)
{
  ptrdiff_t count;
  unsigned char *bytes = store_file(from, &count);
  write_file(to, bytes, (size_t)count);
  free(bytes);
}
static void make_folder(const char *name)
{
  char path[900];
  snprintf(path, sizeof path, "%s%s%s", place, *name ? "/" : "", name);
  cli_make_folder(path);
}
static int is_there(const char *name)
{
  char path[900], wrong[MAP_WRONG];
  map_file file;
  const int there = (snprintf(path, sizeof path, "%s/%s", place, name), map_open(&file, path, wrong));
  map_close(&file);
  return there;
}

static int same_files(const char *a, const char *b)
{
  char path[2][900], wrong[MAP_WRONG];
  map_file file[2];
  int same = 1;
  for (int i = 0; i < 2; i++) {
    snprintf(path[i], sizeof path[i], "%s/%s", place, i ? b : a);
    same = map_open(&file[i], path[i], wrong) && same;
  }
  same = same && file[0].count == file[1].count && !memcmp(file[0].bytes, file[1].bytes, (size_t)file[0].count);
  for (int i = 0; i < 2; i++) map_close(&file[i]);
  return same;
}

static void forget(const char *name)  // a folder that we wrote
{
  snprintf(cli_beside, sizeof cli_beside, "%s/%s", place, name);
  cli_drop();
}
static int is_folder(const char *name)
{
  struct stat found;
  char path[900];
  snprintf(path, sizeof path, "%s/%s", place, name);
  return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

static void clean(void)
{
  static const char *const folders[] = { "a", "b", "c", "hostile", "others", "c.old", "c.tmp", "bad", "link", "d.gguf", "b.old", "m", "empty", "stopped" };
  static const char *const files[] = { "others/mine", "a.gguf", "b.gguf", "a.bin", "text", "cut.gguf", "tokenizer.json", "b.old/mine" };
  char path[900];
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) { snprintf(path, sizeof path, "%s/%s", place, files[i]); remove(path); }
  for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) forget(folders[i]);
  cli_remove_folder(place);
}

// ---- the command line
static void words(void)
{
  expect("", 2, "inspect PATH");
  expect("--help", 0, "convert FROM TO");
  for (int i = 0; i < COMMANDS; i++) {
    char line[60];
    int examples = 0;
    snprintf(line, sizeof line, "%s --help", commands[i].name);
    expect(line, 0, "forkreason ");
    for (const char *at = said; (at = strstr(at, "\n  forkreason ")) != NULL; at++) examples++;
    CHECK(examples >= 2);
  }
  expect("insepct x", 2, "inspect is the nearest");
  expect("inspect --contxt 5 x", 2, "--context is the nearest");
  expect("inspect", 2, "one PATH");
  expect("inspect a b", 2, "one PATH");
  expect("inspect a b c d", 2, "too many words: d");
  expect("inspect --json=5 x", 2, "--json takes no value");
  expect("inspect x --context", 2, "--context needs a value");
  expect("inspect x --context 1x", 2, "--context is a whole number from 16");
  expect("inspect x --forks=0", 2, "--forks is a whole number from 1");
  expect("inspect x --type f16", 2, "--type is f32 or bf16, not f16");
  expect("inspect --shape 2,64,4,2,16,172", 2, "--shape is LAYERS");
  expect("inspect --shape 2,64,4,3,16,172,300", 1, "kv_heads 3");
  expect("inspect --shape 2,64,4,2,16,172,300 --context 64", 0, "0.1 million parameters, as bfloat16");
  expect("inspect --shape 2,64,4,2,16,172,300 --json", 0, "{\"parameters\":");
  CHECK(strstr(said, "\"training\":") && strstr(said, "}}\n"));
  expect("convert x", 2, "FROM and TO");
  expect("convert x x", 2, "the same");
  expect("convert x y --type q4", 2, "not q4");
  expect("tokenize x --specials some", 2, "not some");
  expect("tokenize x --split perl", 2, "not perl");
  expect("inspect %/nothing", 1, "nothing");
  expect("tokenize %/nothing text", 1, "nothing");
  expect("convert %/nothing %/c", 1, "nothing");
}

// ---- a folder with a tokenizer, there and back
static void forms(void)
{
  make_folder("a");
  copy_file("tests/data/model/llama_a/config.json", "a/config.json");
  copy_file("tests/data/model/llama_a/model.safetensors", "a/model.safetensors");
  copy_file("tests/data/tokenizer/fuzz/ok_small.json", "a/tokenizer.json");
  expect("inspect %/a", 0, "folder, llama, 0.1 million parameters");
  CHECK(strstr(said, "split of gpt2") && strstr(said, "F32 21") && strstr(said, "used where it lies"));
  expect("inspect %/a --tensors", 0, "model.layers.1.mlp.up_proj.weight  F32 [172, 64]  where it lies");
  expect("inspect %/a --json --context 64 --forks 2", 0, "\"family\":\"llama\",\"parameters\":129344,\"layers\":2");
  CHECK(strstr(said, "\"context\":64,\"forks\":2") && strstr(said, "\"wrong\":[]}") && !strstr(said, "\"tensors\":["));
  expect("inspect %/a --json --tensors", 0, "\"name\":\"model.layers.1.mlp.up_proj.weight\",\"rows\":172,\"cols\":64,\"type\":\"F32\",\"in_place\":true}");
  expect("convert %/a %/b --forks 3 --check --name a~\"name\"", 0, "loss of the text");
  CHECK(strstr(said, "f32") && strstr(said, "<think1> is ") && strstr(said, "logits at most 0 apart"));
  expect("tokenize %/b <think2>x --ids", 0, " ");
  expect("convert %/b %/c --forks 3", 0, "<think1> is ");  // the rows that it has stay
  CHECK(same_files("b/model.safetensors", "c/model.safetensors") && !same_files("a/model.safetensors", "c/model.safetensors"));
  expect("inspect %/b", 0, "split of gpt2");
  expect("convert %/b %/c --type bf16 --check --json", 0, "\"type\":\"bf16\"");
  CHECK(strstr(said, "\"loss_after\":"));
  expect("convert %/b %/a.gguf --check", 0, "GGUF, f32");
  expect("inspect %/a.gguf", 0, "GGUF, llama");
  CHECK(strstr(said, "split of gpt2") != NULL);
  expect("convert %/a.gguf %/c --check", 0, "folder, f32");
  expect("tokenize %/c <think2>x --ids", 0, "");
  {
    char from_folder[200];
    snprintf(from_folder, sizeof from_folder, "%.199s", said);
    expect("tokenize %/a.gguf <think2>x --ids", 0, from_folder);
  }
  expect("convert %/b %/b.gguf --type f16", 0, "read again");
  expect("convert %/b %/a.bin --check", 0, "llama2.c");
  expect("inspect %/a.bin --json", 0, "\"form\":\"llama2.c\"");
  expect("convert %/a.bin %/c --check", 0, "folder, f32");  // in the place of the one before
  expect("convert %/a.bin %/d.gguf", 1, "a file of its own");
  expect("convert %/a.bin %/c --forks 2", 1, "a file of its own");
  expect("convert %/b %/no/folder.gguf", 1, "folder.gguf");
  expect("convert tests/data/model/qwen3_a %/a.bin", 1, "llama2.c does not have norms of heads");
}

// A template of no known kind goes along as it is, but gets no forks without a framing.
static void by_hand(void)
{
  char path[900], text[3000];
  FILE *f;
  snprintf(path, sizeof path, "%s/a/chat_template.jinja", place);
  f = fopen(path, "wb");
  if (f) { fputs("{{ '[INST] ' + messages[0].content }}", f); fclose(f); }
  expect("inspect %/a", 0, "none of ChatML, Llama 3 and DeepSeek-R1; convert has --before and --after");
  expect("convert %/a %/c", 0, "folder");
  expect("convert %/a %/c --forks 2", 1, "--before and --after state the framing");
  expect("convert %/a %/c --before x", 2, "together");
  expect("convert %/a %/c --forks 2 --before Q: --after it's", 0, "folder");
  remove(path);
  snprintf(path, sizeof path, "%s/c/chat_template.jinja", place);
  slurp(path, text, sizeof text);
  CHECK(!strncmp(text, "{% for m in messages %}{{ 'Q:' + m['content'] + 'it\\'s' if", 50) && strstr(text, "else '<think1>' }}"));
  expect("convert %/a %/c --before Q: --after it's --fork any~text:", 0, "folder");  // without a token
  slurp(path, text, sizeof text);
  CHECK(strstr(text, "else 'any text:' }}") != NULL);
  {
    static char written[3000];
    char from[900];
    expect("convert %/b %/c --before '<|im_start|> --after <|im_end|> --fork <think2>", 0, "folder");
    expect("convert %/c %/link --fork <think3>", 0, "folder");
    snprintf(from, sizeof from, "%s/link/chat_template.jinja", place);
    slurp(from, written, sizeof written);
    CHECK(strstr(written, "else '<think3>' }}") && !strstr(written, "<think2>"));
    expect("convert %/c %/link", 0, "folder");
    slurp(from, written, sizeof written);
    CHECK(strstr(written, "else '<think2>' }}") != NULL);
    forget("link");
  }
}

// ---- text
static void texts(void)
{
  char path[900];
  FILE *f;
  snprintf(path, sizeof path, "%s/text", place);
  f = fopen(path, "wb");
  if (f) { fputs("two\nlines \xFF", f); fclose(f); }
  copy_file("tests/data/tokenizer/tiny/qwenstyle/tokenizer.json", "tokenizer.json");
  expect("tokenize %/tokenizer.json a", 0, "\"a\"\n1 tokens\n");
  expect("tokenize %/tokenizer.json --file %/text --json", 0, "{\"count\":");
  CHECK(strstr(said, "\\u000a") && strstr(said, "\\ufffd") && said[strlen(said) - 2] == '}');
  expect("tokenize %/tokenizer.json --file=%/text --ids", 0, " ");
  expect("tokenize %/tokenizer.json --file %/absent", 1, "absent");
  expect("tokenize %/tokenizer.json --file %/text x", 2, "one text");
  expect("tokenize %/text x", 1, "text: ");
  expect("tokenize tests/data/model/llama_a x", 1, "no tokenizer.json");
}

// ---- chat templates, as those of the families are written
static void chats(void)
{
  static const char smol[] = "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  static const char qwen2[] = "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {{- messages[0]['content'] }}{{- '<|im_end|>\\n' }}\n{%- else %}\n"
    "    {%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}"
    "{{- '<|im_start|>system\\nI don't guess.<|im_end|>\\n' }}{%- endif %}{%- endif %}{{- '<|im_start|>assistant\\n' }}";
  static const char qwen3[] = "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}{{- '<|im_start|>assistant\\n' }}";
  static const char llama3[] = "{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'+ m['content'] | trim + '<|eot_id|>' %}";
  static const char dated[] = "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}{{- \"Today Date: \" + date_string }}{{- \"<|eot_id|>\" }}";
  static const char r1[] = "{{ '<\xEF\xBD\x9CUser\xEF\xBD\x9C>' + m['content'] }}{{ '<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>' }}";
  static const char r1_thinks[] = "{{ '<\xEF\xBD\x9CUser\xEF\xBD\x9C>' + m['content'] }}{{ '<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C><think>\\n' }}";
  static const struct { const char *text, *system, *kind, *before, *after; } cases[] = {
    { smol, NULL, "ChatML", "<|im_start|>system\nYou help.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n" },
    { smol, "S", "ChatML", "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n" },
    { qwen2, NULL, "ChatML", "<|im_start|>system\nI don't guess.<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n" },
    { qwen3, NULL, "ChatML", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n" },
    { llama3, NULL, "Llama 3", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { llama3, "S", "Llama 3", "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
      "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n" },
    { r1, NULL, "DeepSeek-R1", "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C><\xEF\xBD\x9CUser\xEF\xBD\x9C>", "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>" },
    { r1_thinks, NULL, "DeepSeek-R1", "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C><\xEF\xBD\x9CUser\xEF\xBD\x9C>", "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C><think>\n" },
    { dated, NULL, NULL, "date", "" }, { "{{ '[INST] ' + m['content'] }}", NULL, NULL, "none of", "" }, { "", NULL, NULL, "no chat template", "" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const fr_text text = { cases[i].text, (fr_int)strlen(cases[i].text) };
    const chat c = chat_of(text, cases[i].system);
    char longer[2000];
    size_t count;
    if (!cases[i].kind) { CHECK(!c.kind && strstr(c.wrong, cases[i].before) != NULL); continue; }
    if (!CHECK(c.kind && !strcmp(c.kind, cases[i].kind) && !strcmp(c.before, cases[i].before) && !strcmp(c.after, cases[i].after)))
      fprintf(stderr, "  case %d: %s|%s|%s\n", (int)i, c.kind ? c.kind : c.wrong, c.before, c.after);
    count = chat_with_fork(text, "<think4>", longer, sizeof longer);
    CHECK(count == strlen(longer) && !memcmp(longer, text.bytes, (size_t)text.count) && strstr(longer, "else '<think4>' }}{% endif %}"));
    count = chat_with_fork(text, "it's \\ one\n", longer, sizeof longer);
    CHECK(count == strlen(longer) && strstr(longer, "else 'it\\'s \\\\ one\\n' }}") != NULL);
    for (fr_int cut = 0; cut < text.count; cut++) {  // wherever a template ends
      char *part = (char *)test_alloc((size_t)cut);
      const fr_text less = { part, cut };
      memcpy(part, text.bytes, (size_t)cut);
      chat_of(less, NULL);
      free(part);
    }
  }
}

static void chat_ends(void)
{
  static const char *const texts[] = { "{{ x }}", "{{ x }}\n", "{{ x }}\r\n", "{{ x }}\n\n", "\n", "" };
  static const int stays[] = { 7, 7, 7, 8, 0, 0 };  // as Jinja leaves out one line end
  for (int i = 0; i < 6; i++) {
    const fr_text text = { texts[i], (fr_int)strlen(texts[i]) };
    char longer[1400];
    chat_with_fork(text, "f", longer, sizeof longer);
    CHECK(!memcmp(longer, texts[i], (size_t)stays[i]) && !memcmp(longer + stays[i], "{% if add", 9));
  }
}

// ---- what is not to be lost
static void kept(void)
{
  make_folder("others");
  copy_file("tests/data/model/llama_a/config.json", "others/mine");
  expect("convert %/a %/others", 1, "others holds mine");
  expect("convert %/a %/others/mine", 1, "is a file");
#if !defined(_WIN32)
  char inside[900];
  expect("convert %/a %/./a", 1, "are the same");
  expect("convert %/a.gguf %/others/../a.gguf", 1, "are the same");
  expect("convert %/a %/a/inside", 1, "lies within");
  expect("convert %/others/mine %", 1, "lies within");
  expect("convert %/b %/b/inside.gguf", 0, "GGUF");  // nothing is moved away
  CHECK(is_there("b/inside.gguf") && cli_related("build", "no/such/folder/x") == 0 && cli_room(place) > 0.0 && cli_room("no/such/x") == 0.0);
  snprintf(inside, sizeof inside, "%s/b/inside.gguf", place);
  remove(inside);
#endif
  CHECK(is_there("others/mine"));
#if !defined(_WIN32)
  {  // a file may not grow: a full disk
    struct rlimit limit, old;
    signal(SIGXFSZ, SIG_IGN);
    expect("convert %/a %/c", 0, "folder");
    getrlimit(RLIMIT_FSIZE, &old);
    limit = old;
    limit.rlim_cur = 100000;
    setrlimit(RLIMIT_FSIZE, &limit);
    expect("convert %/b %/c", 1, "c is as it was");
    expect("convert %/b %/a.gguf", 1, "a.gguf is as it was");
    setrlimit(RLIMIT_FSIZE, &old);
    CHECK(!is_there("c.tmp/config.json") && !is_there("c.old/config.json") && !is_there("a.gguf.tmp"));
    expect("inspect %/c", 0, "folder, llama");
    expect("inspect %/a.gguf", 0, "GGUF, llama");
  }
  expect("convert %/b /dev/full/x.gguf", 1, "/dev/full");
#endif
}

// Folders beside TO, and what TO was, are nobody's to take.
static void replaced(void)
{
  char path[2][900];
  make_folder("b.old");
  write_file("b.old/mine", "x", 1);
  expect("convert %/a %/b --forks 3", 0, "folder");
  CHECK(is_there("b.old/mine"));
  forget("c");
  expect("convert %/a %/c.old", 0, "folder");
  expect("convert %/a %/c.tmp", 0, "folder");
  expect("convert %/a %/c", 0, "folder");
  expect("convert %/c.old %/c", 0, "folder");  // FROM has that name
  expect("convert %/c.tmp %/c", 0, "folder");
  CHECK(is_there("c.old/model.safetensors") && is_there("c.tmp/model.safetensors") && is_there("c/model.safetensors") && !is_folder("c.tmp2") && !is_folder("c.old2"));
  make_folder("empty");
  expect("convert %/nothing %/empty", 1, "nothing");
  CHECK(is_folder("empty"));
  expect("convert %/a %/empty", 0, "folder");
  expect("convert %/a %/empty/../empty/", 0, "folder");
  CHECK(is_there("empty/model.safetensors"));
  expect("convert %/a %/empty/..", 2, "TO needs a name");
  make_folder("bad");
  write_file("bad/config.json", "{}", 2);
  expect("convert %/a %/bad", 1, "not of a model");
  CHECK(is_there("bad/config.json"));
  make_folder("d.gguf");
  expect("convert %/a %/d.gguf", 1, "is a folder");
#if !defined(_WIN32)
  for (int i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], i ? "%s/link" : "a", place);
  CHECK(symlink(path[0], path[1]) == 0);
  expect("convert %/b %/link", 0, "folder");  // the link goes, and not what it points to
  CHECK(is_there("a/model.safetensors") && same_files("link/model.safetensors", "b/model.safetensors"));
  for (int i = 0; i < 2; i++) {  // stopped while it writes, and while it takes the place of TO
    pid_t child;
    int status = 0;
    forget("stopped");
    make_folder("stopped");
    write_file("stopped/model.safetensors.tmp", "x", 1);
    fflush(stdout);
    fflush(stderr);
    child = fork();
    if (child == 0) {
      snprintf(cli_beside, sizeof cli_beside, "%s/stopped", place);
      cli_placing = i;
      stopped(SIGTERM);
      _exit(7);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) exit(2);
    CHECK(i ? WIFEXITED(status) && WEXITSTATUS(status) == 7 : WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    CHECK(is_folder("stopped") == i);
  }
#else
  (void)path;
#endif
}

// What does not fit, or is not finite, does not take the place of what is there.
static void broken(void)
{
  static const char *const numbers[] = { "\x00\xB8\x88\x47", "\x00\x00\xC0\x7F" };  // 70000, NaN
  static char bytes[1 << 20], config[10000];
  char path[900], *at;
  size_t count = 0, where = 0;
  cli_model m;
  fr_text weights = { NULL, 0 };
  snprintf(path, sizeof path, "%s/a", place);
  if (CHECK(!cli_model_open(&m, path, 0) && map_folder_open(&m.folder, "model.safetensors", &weights) && weights.count < (fr_int)sizeof bytes)) {
    const struct fr__pretrained *b = m.pretrained.body;
    count = (size_t)weights.count;
    memcpy(bytes, weights.bytes, count);
    where = (size_t)((const char *)b->named[b->places_of[FR__PART_DOWN]].at - weights.bytes);
  }
  cli_model_close(&m);
  forget("m");
  make_folder("m");
  copy_file("tests/data/model/llama_a/config.json", "m/config.json");
  expect("convert %/a %/a.gguf", 0, "GGUF");
  expect("convert %/a %/b.gguf", 0, "GGUF");
  for (int i = 0; i < 2; i++) {
    memcpy(bytes + where, numbers[i], 4);
    write_file("m/model.safetensors", bytes, count);
    copy_file("tests/data/tokenizer/fuzz/ok_small.json", "m/tokenizer.json");
    expect("convert %/m %/a.gguf --type f16", 1, i ? "its loss is not finite" : "too large for float16");
    expect("convert %/m %/a.gguf --type f16 --check", 1, "a.gguf is as it was");
    CHECK(same_files("a.gguf", "b.gguf") && !is_folder("a.gguf.tmp"));
    expect("convert %/m %/a.gguf --check --json", i, i ? "not finite" : "\"apart\":0,");
    expect("convert %/a %/a.gguf", 0, "GGUF");
  }
  copy_file("tests/data/model/llama_a/model.safetensors", "m/model.safetensors");
  copy_file("tests/data/tokenizer/tiny/qwenstyle/tokenizer.json", "m/tokenizer.json");
  expect("convert %/m %/a.gguf", 1, "the tokenizer has 527 ids, but the model 300 rows");
  expect("inspect %/m", 0, "the tokenizer has more ids than the model rows");
  copy_file("tests/data/tokenizer/fuzz/ok_small.json", "m/tokenizer.json");
  snprintf(path, sizeof path, "%s/m/config.json", place);
  slurp(path, config, sizeof config);
  at = strstr(config, "\"max_position_embeddings\": ");
  if (CHECK(at != NULL)) {  // a context of one token
    at += 27;
    *at++ = '1';
    while (*at >= '0' && *at <= '9') *at++ = ' ';
    write_file("m/config.json", config, strlen(config));
  }
  expect("inspect %/m --json", 0, "\"context\":1,");
  expect("inspect %/m", 0, "context 1");
  expect("convert %/m %/c --json --check", 0, "\"loss\":0,\"loss_after\":0,");
  at = strstr(config, "\"bos_token_id\": 1");
  if (CHECK(at != NULL)) {
    memcpy(at + 15, "-1", 2);  // in place of the blank and the 1
    write_file("m/config.json", config, strlen(config));
  }
  expect("inspect %/m", 1, "a token id was expected");
}

#if !defined(_WIN32)
// In a process of its own, its output into a file, or, `to` NULL, into a pipe that nobody reads. Its exit status; -1: it was killed.
static int run_into(const char *to, const char *first, const char *second, const char *third)
{
  char path[500], *words[5];
  int ends[2] = { -1, -1 }, status = -1;
  pid_t child;
  snprintf(path, sizeof path, "%s.1", place);
  fflush(stdout);
  fflush(stderr);
  if (!to && pipe(ends)) exit(2);
  if (!to) close(ends[0]);
  child = fork();
  if (child == 0) {
    words[0] = (char *)(uintptr_t)"forkreason";
    words[1] = (char *)(uintptr_t)first;
    words[2] = (char *)(uintptr_t)second;
    words[3] = (char *)(uintptr_t)third;
    words[4] = NULL;
    if (!freopen(path, "wb", stderr) || dup2(to ? open(to, O_WRONLY) : ends[1], 1) < 0) _exit(99);
    status = tool_main(third ? 4 : second ? 3 : 2, words);
    fflush(stderr);
    _exit(status);
  }
  if (!to) close(ends[1]);
  if (child < 0 || waitpid(child, &status, 0) != child) exit(2);
  slurp(path, complained, sizeof complained);
  remove(path);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Output that nobody gets is an error, in words.
static void unheard(void)
{
  for (int full = 0; full < 2; full++) {
    const char *to = full ? "/dev/full" : NULL;
    if (full && access("/dev/full", W_OK)) continue;
    CHECK(run_into(to, "--help", NULL, NULL) == 1 && strstr(complained, "the output cannot be written"));
    CHECK(run_into(to, "convert", "--help", NULL) == 1 && strstr(complained, "the output cannot be written"));
    CHECK(run_into(to, "inspect", "tests/data/model/llama_a", "--tensors") == 1 && strstr(complained, "the output cannot be written"));
    CHECK(run_into(to, "tokenize", "tests/data/tokenizer/tiny/qwenstyle/tokenizer.json", "a b") == 1);
  }
}
#endif

// A file that is there but cannot be read is not one that is absent; a name that leads out of the folder is none.
static void unreadable(void)
{
  static const char *const names[] = { "../a/config.json", "..", "", "/etc/passwd", "sub/config.json", "c:config.json", "..\\a" };
  static map_folder folder;
  fr_text text;
  char path[900];
  snprintf(path, sizeof path, "%s/b/generation_config.json", place);
  remove(path);
  make_folder("b/generation_config.json");
  expect("inspect %/b", 1, "generation_config.json cannot be");
  cli_remove_folder(path);
  snprintf(path, sizeof path, "%s/b/tokenizer.json", place);
  remove(path);
  expect("inspect %/b", 0, "there is no tokenizer.json");
  make_folder("b/tokenizer.json");
  expect("inspect %/b", 0, "tokenizer.json cannot be");
  expect("tokenize %/b x", 1, "tokenizer.json cannot be");
  expect("convert %/b %/c", 1, "tokenizer.json cannot be");  // not a folder without it
  cli_remove_folder(path);
  snprintf(folder.path, sizeof folder.path, "%s/b", place);
  CHECK(map_folder_open(&folder, "config.json", &text) && text.count > 0);
  CHECK(!map_folder_open(&folder, "absent.json", &text) && !folder.wrong[0]);
  for (int i = 0; i < 7; i++) {
    folder.wrong[0] = 0;
    CHECK(!map_folder_open(&folder, names[i], &text) && folder.wrong[0] && folder.count == 2);
  }
  map_folder_close(&folder);
}

// ---- hostile files: exit status 1, and words that name the file
static void damaged_folders(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/safetensors/MANIFEST.tsv", &size);
  int counted = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char name[200], path[300], verdict[20];
    if (!CHECK(sscanf(line, "%199s %19s", name, verdict) == 2)) continue;
    const int config = name[0] == 'c', refused = !strcmp(verdict, "reject");
    const char *file = config ? "config.json" : "model.safetensors";
    copy_file("tests/data/model/llama_a/config.json", "hostile/config.json");
    copy_file("tests/data/model/llama_a/model.safetensors", "hostile/model.safetensors");
    snprintf(path, sizeof path, "tests/data/%s", name);
    copy_file(path, config ? "hostile/config.json" : "hostile/model.safetensors");
    const int status = run("inspect %/hostile"), unfit = strstr(complained, "hostile: ") && strstr(complained, "tensors are missing, left over");
    // What is sound of itself may be no file of this model: then what does not fit is counted.
    if (!CHECK(status == 1 || (status == 0 && config && !refused)) ||
        !CHECK(status == 0 || (strstr(complained, "hostile: ") && (unfit ? !refused : strcmp(verdict, "ok") && strstr(complained, file)))))
      fprintf(stderr, "  %s: status %d: %s\n", line, status, complained);
    counted += refused;
  }
  CHECK(counted > 60);
  free(text);
}

static void damaged_ggufs(void)
{
  hostile h = hostile_open();
  int counted = 0;
  while (hostile_next(&h)) {
    write_file("cut.gguf", h.bytes, (size_t)h.count);
    counted += h.refuse == 1;
    if (!expect("inspect %/cut.gguf", h.refuse != 0, h.refuse ? "cut.gguf: " : "GGUF, llama")) fprintf(stderr, "  %s\n", h.name);
  }
  CHECK(counted > 55);
  hostile_close(&h);
}

// Beside a sound model, and alone. A tokenizer of another kind is no damage: the model is told of, and why it is not used.
static void damaged_tokenizers(void)
{
  ptrdiff_t size;
  char *text = (char *)store_file("tests/data/tokenizer/fuzz/MANIFEST.tsv", &size);
  int counted[2] = { 0, 0 };
  copy_file("tests/data/model/llama_a/config.json", "hostile/config.json");
  copy_file("tests/data/model/llama_a/model.safetensors", "hostile/model.safetensors");
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char name[100], path[200], verdict[20], words[300];
    if (!CHECK(sscanf(line, "%99s %19s", name, verdict) == 2) || strncmp(name, "bad_", 4)) continue;
    snprintf(words, sizeof words, "tokenize tests/data/tokenizer/fuzz/%s x%s", name, strstr(name, "tiktoken") ? " --split gpt2" : "");
    expect(words, 1, name);
    if (strstr(name, "tiktoken")) continue;
    snprintf(path, sizeof path, "tests/data/tokenizer/fuzz/%s", name);
    copy_file(path, "hostile/tokenizer.json");
    expect("tokenize %/hostile x", 1, "hostile/tokenizer.json: ");
    const int other = strstr(complained, "not supported") != NULL;
    counted[other]++;
    if (!expect("inspect %/hostile", !other, other ? "no tokenizer: tokenizer.json: line 1, column " : "hostile: tokenizer.json: ")) fprintf(stderr, "  %s\n", name);
  }
  CHECK(counted[0] == 19 && counted[1] == 3);
  free(text);
}

int main(void)
{
  snprintf(place, sizeof place, "%.300s/test_tool.files", getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build");
  clean();
  make_folder("");
  words();
  forms();
  by_hand();
  texts();
  chats();
  chat_ends();
  kept();
  replaced();
  broken();
  unreadable();
#if !defined(_WIN32)
  unheard();
#endif
  make_folder("hostile");
  damaged_folders();
  damaged_ggufs();
  damaged_tokenizers();
  clean();
  return test_done("tool");
}
