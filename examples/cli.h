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

// ---- flags: --name VALUE or --name=VALUE, or without a value; the rest are words. A command's table is what is read, and its help.
enum { CLI_FLAGS = 80, CLI_WORDS = 3 };
typedef struct cli_flag {
  const char *names;            // with other spellings: "--lr|--learning-rate"
  char kind;                    // 0: a switch; 's' a text, 'w' a whole number, 'd' a number
  double otherwise, low, high;  // of numbers: what it is when it is not given, and what it may be
  const char *help;             // begins with the word that stands for its value, or with a blank; NULL: told elsewhere
} cli_flag;
#define CLI_SWITCH(names, help) { names, 0, 0, 0, 0, help }
#define CLI_TEXT(names, help) { names, 's', 0, 0, 0, help }
#define CLI_WHOLE(names, otherwise, low, high, help) { names, 'w', otherwise, low, high, help }
#define CLI_DECIMAL(names, otherwise, low, high, help) { names, 'd', otherwise, low, high, help }
#define CLI_END { NULL, 0, 0, 0, 0, NULL }
typedef struct cli_given {
  const cli_flag *flags;
  const char *value[CLI_FLAGS];  // NULL: not given
  const char *word[CLI_WORDS];
  int words;
} cli_given;
typedef struct cli_command {
  const char *name;
  int (*run)(cli_given *given);
  const cli_flag *flags;  // the last has no name
  const char *help;
} cli_command;

// Letters that differ: the least number of insertions, deletions and replacements.
static inline int cli_distance(const char *a, const char *b, int n)
{
  int row[64];
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
// Is `name` one of names, which | divides? Otherwise the nearest so far, if one of them is nearer.
static inline int cli_named(const char *names, const char *name, fr_text *nearest, int *least)
{
  for (;; names++) {
    const int count = (int)strcspn(names, "|"), far_off = nearest ? cli_distance(name, names, count) : 0;
    if (!strncmp(names, name, (size_t)count) && !name[count]) return 1;
    if (nearest && far_off < *least) { *least = far_off; nearest->bytes = names; nearest->count = count; }
    names += count;
    if (!*names) return 0;
  }
}
// The number of a flag, or -1, said.
static inline int cli_find(const cli_flag *flags, const char *name, const char *where)
{
  fr_text nearest = { NULL, 0 };
  int f = 0, least = 1000;
  for (; flags[f].names; f++) if (cli_named(flags[f].names, name, &nearest, &least)) return f;
  cli_named("--help", name, &nearest, &least);
  cli_wrong("%s: there is no flag %s; %.*s is the nearest", where, name, (int)nearest.count, nearest.bytes);
  return -1;
}

// Takes a value of a flag, 0, or says what is wrong with it.
static inline int cli_take(cli_given *given, int f, const char *name, const char *value)
{
  const cli_flag *flag = &given->flags[f];
  char *end;
  double number;
  given->value[f] = value;
  if (flag->kind != 'w' && flag->kind != 'd') return 0;
  number = strtod(value, &end);
  if (*value && !*end && number >= flag->low && number <= flag->high && (flag->kind == 'd' || floor(number) >= number)) return 0;
  return cli_wrong("%s is a %snumber from %.15g to %.15g, not %s", name, flag->kind == 'w' ? "whole " : "", flag->low, flag->high, value);
}
// Lines of `name: value` or `name = value`, with # before comments, for flags that were not given yet. The text is cut to pieces.
static inline int cli_take_lines(cli_given *given, char *text, const char *where)
{
  for (char *line = text, *next; line; line = next) {
    char name[80], *value, *end;
    int f;
    next = strchr(line, '\n');
    if (next) *next++ = 0;
    line += strspn(line, " \t");
    if (!*line || *line == '#' || *line == '\r') continue;
    value = line + strcspn(line, " \t:=");
    snprintf(name, sizeof name, "--%.*s", (int)(value - line < 60 ? value - line : 60), line);
    for (char *c = name; *c; c++) if (*c == '_') *c = '-';
    value += strspn(value, " \t");
    if (*value == ':' || *value == '=') value++;
    value += strspn(value, " \t");
    if (*value == '"' || *value == '\'') { end = strchr(value + 1, *value); value++; }
    else { end = value + strcspn(value, "\r"); for (char *c = value; c + 1 < end; c++) if (c[0] == ' ' && c[1] == '#') end = c; while (end > value && end[-1] == ' ') end--; }
    if (end) *end = 0;
    if ((f = cli_find(given->flags, name, where)) < 0) return 2;
    if (!strcmp(value, "false") && !given->flags[f].kind) continue;
    if (!given->value[f] && cli_take(given, f, name, value)) return 2;
  }
  return 0;
}

static inline int cli_help(const cli_command *command)
{
  int status = fputs(command->help, stdout) < 0;
  for (const cli_flag *f = command->flags; f->names; f++) {
    char names[100];
    size_t used = 0, word = f->help ? strcspn(f->help, " ") : 0;
    if (!f->help) continue;
    for (const char *c = f->names; *c && used < 90; c++) {
      if (*c == '|') names[used++] = ',';
      names[used++] = *c == '|' ? ' ' : *c;
    }
    names[used] = 0;
    status |= printf("  %s%s%.*s%*s %s", names, word ? " " : "", (int)word, f->help, used + word + (word > 0) < 22 ? 22 - (int)(used + word + (word > 0)) : 0, "", f->help + word) < 0;
    if (f->kind == 'w' || f->kind == 'd') printf(" [%.9g]", f->otherwise);
    printf("\n");
  }
  return status;
}

static inline int cli_run(const cli_command *command, int count, char **words)
{
  cli_given given;
  char *config = NULL;
  int plain = 0, status = 0;
  memset(&given, 0, sizeof given);
  given.flags = command->flags;
  for (int i = 0; i < count; i++) {
    const char *word = words[i], *value = strchr(word, '=');
    char name[64];
    int f;
    if (plain || word[0] != '-' || !word[1]) {
      if (given.words == CLI_WORDS) return cli_wrong("too many words: %s", word);
      given.word[given.words++] = word;
      continue;
    }
    if (!strcmp(word, "--")) { plain = 1; continue; }
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return cli_help(command);
    snprintf(name, sizeof name, "%.*s", value ? (int)(value - word < 60 ? value - word : 60) : 60, word);
    if ((f = cli_find(given.flags, name, command->name)) < 0) return 2;
    if (value && !given.flags[f].kind) return cli_wrong("%s takes no value", name);
    if (given.flags[f].kind && !value && i + 1 == count) return cli_wrong("%s needs a value", name);
    if (cli_take(&given, f, name, value ? value + 1 : given.flags[f].kind ? words[++i] : "")) return 2;
  }
  for (int f = 0; given.flags[f].names; f++)
    if (!strcmp(given.flags[f].names, "--config") && given.value[f]) {
      map_file file;
      char wrong[MAP_WRONG];
      if (!map_open(&file, given.value[f], wrong)) status = cli_fail("%s", wrong);
      else if ((config = (char *)malloc((size_t)file.count + 1)) != NULL) {
        memcpy(config, file.bytes, (size_t)file.count);
        config[file.count] = 0;
        status = cli_take_lines(&given, config, given.value[f]);
      }
      map_close(&file);
    }
  if (!status) status = command->run(&given);
  free(config);
  return status;
}

static inline const char *cli_value(const cli_given *given, const char *name)
{
  for (int f = 0; given->flags[f].names; f++) if (cli_named(given->flags[f].names, name, NULL, NULL)) return given->value[f];
  return NULL;
}
static inline double cli_decimal(const cli_given *given, const char *name)
{
  for (int f = 0; given->flags[f].names; f++)
    if (cli_named(given->flags[f].names, name, NULL, NULL)) return given->value[f] ? strtod(given->value[f], NULL) : given->flags[f].otherwise;
  return 0.0;
}
static inline fr_int cli_whole(const cli_given *given, const char *name) { return (fr_int)cli_decimal(given, name); }
// The place of a word in a list that ends with NULL, `otherwise` if it is not given; -1, said.
static inline int cli_choice(const cli_given *given, const char *name, const char *const *choices, int otherwise)
{
  const char *value = cli_value(given, name);
  char all[200] = "";
  if (!value) return otherwise;
  for (int i = 0; choices[i]; i++) {
    if (!strcmp(value, choices[i])) return i;
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", !i ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
  }
  cli_wrong("%s is %s, not %s", name, all, value);
  return -1;
}

// ---- JSON and units
static inline void cli_quoted_to(FILE *out, const char *bytes, fr_int count)  // a byte that is no UTF-8 becomes U+FFFD
{
  putc('"', out);
  for (fr_int i = 0; i < count;) {
    const fr_int size = fr__utf8(bytes + i, count - i);
    const unsigned char c = (unsigned char)bytes[i];
    if (size == 0) fputs("\\ufffd", out);
    else if (c < 0x20 || c == 0x7F) fprintf(out, "\\u%04x", c);
    else if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
    else fwrite(bytes + i, 1, (size_t)size, out);
    i += size ? size : 1;
  }
  putc('"', out);
}
static inline void cli_quoted(const char *bytes, fr_int count) { cli_quoted_to(stdout, bytes, count); }
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
