// chat.h - the framing of known chat templates, for one user turn: what stands before and behind the question up to where an answer,
// or a fork, begins. A template is a program in Jinja, which is not run here: it is recognised by its tokens, and its default system
// turn is looked for as a text. What is not recognised is refused. Include after forkreason.h.
//
//   ChatML (Qwen2.5, Qwen3, SmolLM2)   <|im_start|>system S<|im_end|> <|im_start|>user Q<|im_end|> <|im_start|>assistant
//   Llama 3                            <|begin_of_text|><|start_header_id|>user<|end_header_id|> Q<|eot_id|> .. assistant ..
//   DeepSeek-R1                        <begin of sentence>S<User>Q<Assistant>, in its own characters
//   by hand                            what chat_by_hand wrote
#ifndef CHAT_H
#define CHAT_H

#include <stdio.h>
#include <string.h>

typedef struct chat {
  const char *kind;               // NULL: not known
  char before[5000], after[1400]; // a question of one turn
  char begin[2][4300];            // of a conversation: what comes first where it has no system turn, and where it has one;
  char opens[3][600], closes[3][600];  // around a turn of the system, the user, the assistant
  const char *wrong;              // why not
} chat;

static inline const char *chat_find(fr_text text, const char *word, const char *from)
{
  const size_t count = strlen(word);
  const char *end = text.bytes + text.count;
  for (const char *at = from ? from : text.bytes; at && at + count <= end; at++) {
    at = (const char *)memchr(at, word[0], (size_t)(end - at));
    if (!at || at + count > end) return NULL;
    if (!memcmp(at, word, count)) return at;
  }
  return NULL;
}

// The first text between `open` and `close` that is written out, and not put together by the program; \n is a line end there.
static inline int chat_literal(fr_text text, const char *open, const char *close, char *out, size_t room)
{
  for (const char *at = NULL, *end; (at = chat_find(text, open, at)) != NULL; at++) {
    size_t used = 0;
    const char *p = at + strlen(open);
    int plain = 1;
    if (p + 2 <= text.bytes + text.count && p[0] == '\\' && p[1] == 'n') p += 2;
    else if (p < text.bytes + text.count && *p == '\n') p++;
    end = chat_find(text, close, p);
    if (!end || end == p || (size_t)(end - p) >= room) continue;
    for (; p < end; p++) {
      const int line = p[0] == '\\' && p + 1 < end && p[1] == 'n';
      if (*p == '{' || *p == '+' || *p == '"' || (*p == '\'' && (p == at + strlen(open) || p[1] == ' '))) plain = 0;
      out[used++] = line ? '\n' : *p;
      p += line;
    }
    out[used] = 0;
    if (plain) return 1;
  }
  out[0] = 0;
  return 0;
}

// What stands between the quotes behind `open`, as chat_quoted wrote it.
static inline int chat_unquoted(fr_text text, const char *open, char *out, size_t room)
{
  const char *at = chat_find(text, open, NULL), *end = text.bytes + text.count;
  size_t used = 0;
  for (at = at ? at + strlen(open) : end; at < end && *at != '\'' && used + 1 < room; at++) {
    const int turned = *at == '\\' && at + 1 < end;
    at += turned;
    out[used++] = turned && *at == 'n' ? '\n' : *at;
  }
  out[used] = 0;
  return at < end && *at == '\'';
}

// system: another one than the template's own; NULL: that.
static inline chat chat_of(fr_text text, const char *system)
{
  static const char user[] = "<\xEF\xBD\x9CUser\xEF\xBD\x9C>", assistant[] = "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>";
  static const char begin[] = "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", end[] = "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>";
  static const char by_hand[] = "{% for m in messages %}{{ '", *const roles[] = { "system", "user", "assistant" };
  char own[3000], thinks[100];
  const char *first = "", *last = NULL;
  chat c;
  memset(&c, 0, sizeof c);
  if (system && strlen(system) >= sizeof own) { c.wrong = "the system turn is too long"; return c; }
  if (text.count && chat_find(text, "<|im_start|>", NULL) && chat_find(text, "<|im_end|>", NULL)) {
    if (!system && chat_literal(text, "<|im_start|>system", "<|im_end|>", own, sizeof own)) system = own;
    for (int i = 0; i < 3; i++) snprintf(c.opens[i], sizeof c.opens[i], "<|im_start|>%s\n", roles[i]);
    for (int i = 0; i < 3; i++) snprintf(c.closes[i], sizeof c.closes[i], "<|im_end|>\n");
    c.kind = "ChatML";
  } else if (text.count && chat_find(text, "<|start_header_id|>", NULL) && chat_find(text, "<|eot_id|>", NULL)) {
    if (chat_find(text, "Today Date", NULL) || chat_find(text, "strftime_now", NULL)) {
      c.wrong = "the system turn of this template has a date";
      return c;
    }
    first = "<|begin_of_text|>";
    for (int i = 0; i < 3; i++) snprintf(c.opens[i], sizeof c.opens[i], "<|start_header_id|>%s<|end_header_id|>\n\n", roles[i]);
    for (int i = 0; i < 3; i++) snprintf(c.closes[i], sizeof c.closes[i], "<|eot_id|>");
    c.kind = "Llama 3";
  } else if (text.count && chat_find(text, user, NULL) && chat_find(text, assistant, NULL)) {
    first = begin;
    snprintf(c.opens[1], sizeof c.opens[1], "%s", user);
    snprintf(c.opens[2], sizeof c.opens[2], "%s", assistant);
    snprintf(c.closes[2], sizeof c.closes[2], "%s", end);
    snprintf(thinks, sizeof thinks, "%s<think>\\n", assistant);
    if (chat_find(text, thinks, NULL)) last = "<think>\n";
    c.kind = "DeepSeek-R1";
  } else if (text.count && chat_unquoted(text, by_hand, c.opens[1], sizeof c.opens[1]) &&
             chat_unquoted(text, "' + m['content'] + '", c.closes[1], sizeof c.closes[1])) {
    c.kind = "by hand";
  } else {
    c.wrong = text.count ? "the template is none of ChatML, Llama 3 and DeepSeek-R1" : "there is no chat template";
    return c;
  }
  snprintf(c.begin[1], sizeof c.begin[1], "%s", first);
  snprintf(c.begin[0], sizeof c.begin[0], "%s%s%s%s", first, system ? c.opens[0] : "", system ? system : "", system ? c.closes[0] : "");
  snprintf(c.before, sizeof c.before, "%s%s", c.begin[0], c.opens[1]);
  snprintf(c.after, sizeof c.after, "%s%s%s", c.closes[1], c.opens[2], last ? last : "");
  return c;
}

// A text as Jinja has it between quotes.
static inline const char *chat_quoted(const char *text, char out[1000])
{
  size_t used = 0;
  for (; *text && used < 998; text++) {
    if (*text == '\'' || *text == '\\' || *text == '\n') out[used++] = '\\';
    out[used++] = *text == '\n' ? 'n' : *text;
  }
  out[used] = 0;
  return out;
}

// The same template with a fork behind its generation prompt: the variable `fork`, or else `otherwise`. Returns its length, without
// the 0 at its end; what has no room is cut. A line end at its end is no output of Jinja's, but would be one in the middle.
static inline size_t chat_with_fork(fr_text text, const char *otherwise, char *out, size_t room)
{
  static const char takes[] = "{% if add_generation_prompt %}{{ fork if fork is defined else '";
  char quoted[1000];
  const char *had = text.count ? chat_find(text, takes, NULL) : NULL, *end = had ? chat_find(text, "{% endif %}", had) : NULL;
  if (end && end + 11 == text.bytes + text.count) text.count = had - text.bytes;  // it is ours, with another fork
  if (text.count && text.bytes[text.count - 1] == '\n') text.count -= 1 + (text.count > 1 && text.bytes[text.count - 2] == '\r');
  return (size_t)snprintf(out, room, "%.*s{%% if add_generation_prompt %%}{{ fork if fork is defined else '%s' }}{%% endif %%}",
                          text.bytes ? (int)text.count : 0, text.bytes ? text.bytes : "", chat_quoted(otherwise, quoted));
}

// A template of a framing that is stated by hand: turns of the user between before and after, others as they are.
static inline size_t chat_by_hand(const char *before, const char *after, char *out, size_t room)
{
  char b[1000], a[1000];
  return (size_t)snprintf(out, room, "{%% for m in messages %%}{{ '%s' + m['content'] + '%s' if m['role'] == 'user' else m['content'] }}{%% endfor %%}",
                          chat_quoted(before, b), chat_quoted(after, a));
}

#endif
