// cli.h - what the commands of forkreason.c share: flags, errors, JSON, and a model with its tokenizer from a path.
#ifndef CLI_H
#define CLI_H

#include "map.h"
#include <math.h>
#include <stdarg.h>

// ---- errors
static inline int cli_said(int status, const char *format, va_list list)
{
  fflush(stdout);
  fprintf(stderr, "forkreason: ");
  vfprintf(stderr, format, list);
  fprintf(stderr, status == 2 ? "\nforkreason --help tells more\n" : "\n");
  return status;
}
static inline int cli_fail(const char *format, ...)
{
  va_list list;
  va_start(list, format);
  cli_said(1, format, list);
  va_end(list);
  return 1;
}
static inline int cli_wrong(const char *format, ...)
{
  va_list list;
  va_start(list, format);
  cli_said(2, format, list);
  va_end(list);
  return 2;
}

// ---- flags: --name VALUE or --name=VALUE, or without a value; the rest are words
enum { CLI_FLAGS = 16, CLI_WORDS = 3 };
typedef struct cli_flag { const char *name, *other; int has_value; } cli_flag;  // other: a second spelling, or NULL
typedef struct cli_given {
  const cli_flag *flags;
  const char *value[CLI_FLAGS];  // NULL: not given
  const char *word[CLI_WORDS];
  int words;
} cli_given;
typedef struct cli_command {
  const char *name;
  int (*run)(const cli_given *given);
  const cli_flag *flags;  // the last has no name
  const char *help;
} cli_command;

// Letters that differ: the least number of insertions, deletions and replacements.
static inline int cli_distance(const char *a, const char *b)
{
  int row[64], n = (int)strlen(b);
  if (n > 62) n = 62;
  for (int j = 0; j <= n; j++) row[j] = j;
  for (int i = 1; a[i - 1] && i < 64; i++) {
    int before = row[0];
    row[0] = i;
    for (int j = 1; j <= n; j++) {
      const int here = before + (a[i - 1] != b[j - 1]), least = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      before = row[j];
      row[j] = here < least ? here : least;
    }
  }
  return row[n];
}
static inline const char *cli_nearest(const char *name, const char *const *names, int count)
{
  int best = 0;
  for (int i = 1; i < count; i++) if (cli_distance(name, names[i]) < cli_distance(name, names[best])) best = i;
  return names[best];
}

static inline int cli_run(const cli_command *command, int count, char **words)
{
  cli_given given;
  const char *names[CLI_FLAGS + 1];
  int flags = 0, plain = 0;
  memset(&given, 0, sizeof given);
  given.flags = command->flags;
  for (; command->flags[flags].name; flags++) names[flags] = command->flags[flags].name;
  names[flags] = "--help";
  for (int i = 0; i < count; i++) {
    const char *word = words[i], *value = strchr(word, '=');
    char name[64];
    int f = 0;
    if (plain || word[0] != '-' || !word[1]) {
      if (given.words == CLI_WORDS) return cli_wrong("too many words: %s", word);
      given.word[given.words++] = word;
      continue;
    }
    if (!strcmp(word, "--")) { plain = 1; continue; }
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return fputs(command->help, stdout) < 0;
    snprintf(name, sizeof name, "%.*s", value ? (int)(value - word < 60 ? value - word : 60) : 60, word);
    while (f < flags && strcmp(command->flags[f].name, name) && (!command->flags[f].other || strcmp(command->flags[f].other, name))) f++;
    if (f == flags) return cli_wrong("%s: there is no flag %s; %s is the nearest", command->name, name, cli_nearest(name, names, flags + 1));
    if (value && !command->flags[f].has_value) return cli_wrong("%s takes no value", name);
    if (command->flags[f].has_value && !value && i + 1 == count) return cli_wrong("%s needs a value", name);
    given.value[f] = value ? value + 1 : command->flags[f].has_value ? words[++i] : "";
  }
  return command->run(&given);
}

static inline const char *cli_value(const cli_given *given, const char *name)
{
  for (int f = 0; given->flags[f].name; f++) if (!strcmp(given->flags[f].name, name)) return given->value[f];
  return NULL;
}
// A whole number low .. high, or `otherwise`; -1, said, if it is none.
static inline fr_int cli_number(const cli_given *given, const char *name, fr_int otherwise, fr_int low, fr_int high)
{
  const char *text = cli_value(given, name);
  char *end;
  long value;
  if (!text) return otherwise;
  errno = 0;
  value = strtol(text, &end, 10);
  if (!*text || *end || errno || value < low || value > high) {
    cli_wrong("%s has to be a whole number from %ld to %ld, not %s", name, (long)low, (long)high, text);
    return -1;
  }
  return value;
}

// ---- JSON and units
static inline void cli_quoted(const char *bytes, fr_int count)  // a byte that is no UTF-8 becomes U+FFFD
{
  putchar('"');
  for (fr_int i = 0; i < count;) {
    const fr_int size = fr__utf8(bytes + i, count - i);
    const unsigned char c = (unsigned char)bytes[i];
    if (size == 0) fputs("\\ufffd", stdout);
    else if (c < 0x20 || c == 0x7F) printf("\\u%04x", c);
    else if (c == '"' || c == '\\') printf("\\%c", c);
    else fwrite(bytes + i, 1, (size_t)size, stdout);
    i += size ? size : 1;
  }
  putchar('"');
}
static inline const char *cli_bytes(double bytes, char out[32])
{
  static const char *const units[] = { "B", "KB", "MB", "GB", "TB" };
  int unit = 0;
  for (; bytes >= 1000.0 && unit < 4; unit++) bytes /= 1000.0;
  snprintf(out, 32, unit == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return out;
}

// ---- a model and its tokenizer
typedef struct cli_model {
  map_file   file;    // GGUF or llama2.c
  map_folder folder;
  fr_pretrained pretrained;
  fr_tokenizer  tokenizer;
  fr_reason     reason, no_tokenizer;  // why there is none
  int has_tokenizer, tokenizer_absent;  // neither: there is one, but it cannot be read
  int tokenizer_damaged;                // that is why: it is not one of another kind
} cli_model;

static inline int cli_is_folder(const char *path)
{
  char wrong[MAP_WRONG], inside[900];
  map_file file;
  snprintf(inside, sizeof inside, "%.700s/config.json", path);
  if (map_open(&file, inside, wrong)) { map_close(&file); return 1; }
  if (map_open(&file, path, wrong)) { map_close(&file); return 0; }
  return !file.absent;  // a folder cannot be read as a file
}

static inline void cli_model_close(cli_model *m)
{
  fr_tokenizer_free(&m->tokenizer);
  fr_pretrained_free(&m->pretrained);
  map_close(&m->file);
  map_folder_close(&m->folder);
}

// forks: added to the tokenizer as <think1> .. ; 0, or what is to be returned
static inline int cli_model_open(cli_model *m, const char *path, fr_int forks)
{
  fr_pretrained_source source;
  fr_tokenizer_source text;
  char wrong[MAP_WRONG];
  memset(m, 0, sizeof *m);
  memset(&source, 0, sizeof source);
  memset(&text, 0, sizeof text);
  text.forks = forks;
  if (cli_is_folder(path)) {
    if (strlen(path) >= sizeof m->folder.path) return cli_fail("%s: the path is too long", path);
    memcpy(m->folder.path, path, strlen(path) + 1);
    source.open = map_folder_open;
    source.user = &m->folder;
    if (!map_folder_open(&m->folder, "tokenizer.json", &text.file)) {
      m->tokenizer_absent = !m->folder.wrong[0];
      snprintf(m->no_tokenizer.text, sizeof m->no_tokenizer.text, "%.180s", m->folder.wrong[0] ? m->folder.wrong : "there is no tokenizer.json");
      m->folder.wrong[0] = 0;
    }
  } else {
    if (!map_open(&m->file, path, wrong)) return cli_fail("%s", wrong);
    source.file.bytes = text.file.bytes = m->file.bytes;
    source.file.count = text.file.count = m->file.count;
  }
  if (fr_pretrained_new(&m->pretrained, &source, &m->reason))
    return cli_fail("%s: %s", path, m->folder.wrong[0] ? m->folder.wrong : m->reason.text);
  if (m->folder.wrong[0]) return cli_fail("%s", m->folder.wrong);  // a file is there, but not to be read
  if (m->pretrained.form == FR_LLAMA2C) {
    m->tokenizer_absent = 1;
    snprintf(m->no_tokenizer.text, sizeof m->no_tokenizer.text, "a llama2.c model has its tokenizer in a file of its own");
  } else if (text.file.bytes) {
    const fr_status status = fr_tokenizer_new(&m->tokenizer, &text, &m->reason);
    m->has_tokenizer = status == FR_OK;
    m->tokenizer_damaged = status != FR_OK && status != FR_UNSUPPORTED;
    snprintf(m->no_tokenizer.text, sizeof m->no_tokenizer.text, "%s%.170s", source.open ? "tokenizer.json: " : "", m->reason.text);
  }
  if (m->has_tokenizer && m->pretrained.end.bytes && m->pretrained.end_count < FR_ENDS) {  // told by its text
    const fr_token id = fr_tokenizer_find(&m->tokenizer, m->pretrained.end);
    fr_int known = 0;
    while (known < m->pretrained.end_count && m->pretrained.ends[known] != id) known++;
    if (id >= 0 && known == m->pretrained.end_count) m->pretrained.ends[m->pretrained.end_count++] = id;
  }
  return 0;
}

static inline const char *cli_form(fr_form form) { return form == FR_FOLDER ? "folder" : form == FR_GGUF ? "GGUF" : "llama2.c"; }
static inline const char *cli_split(fr_split split)
{
  static const char *const names[] = { "unknown", "none", "gpt2", "llama3", "qwen", "smollm" };
  return (unsigned)split < 6 ? names[(unsigned)split] : "unknown";
}

#endif
