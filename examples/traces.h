// traces.h - a file of questions with their traces as tokens: data set, tokenizer, and what the framing makes of both.
//
// A sequence is  question <|asked|> <thinkI> trace <|end|>.  Tokens are, as `words` says,
//   NULL      bytes: 0-255, 256 ends a trace, 257 the question, 258 and above are the forks
//   train:N   N tokens, learned from the questions and traces to train on
//   FILE      those of tokenizer.json, tokenizer.bin or *.tiktoken (then split as by Llama 3); ours come behind them
#ifndef TRACES_H
#define TRACES_H

#include "../forkreason.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FORKS = 64 };

typedef struct data {
  fr_dataset   set;
  fr_tokenizer tokenizer;
  fr_encoder   encoder;
  fr_framing   framing;
  fr_int       most;            // tokens of a question, fork and trace
  fr_text      fork_texts[MOST_FORKS];
  fr_token     fork_ids[MOST_FORKS];
  fr_tokens    forks[MOST_FORKS];
  char        *memory;          // of all questions
  fr_tokens   *prompts, *traces;  // as set.problems and set.traces
  fr_int      *order, train;    // problems to train on, then those held out
  fr_int       longest_prompt, longest_trace, tokens;
  uint64_t     print;           // of all tokens
} data;

static inline int fail(const char *format, ...)
{
  va_list list;
  va_start(list, format);
  fprintf(stderr, "train_traces: ");
  vfprintf(stderr, format, list);
  fprintf(stderr, "\n");
  va_end(list);
  return 1;
}

static inline void *need(fr_int count, size_t size)
{
  void *memory = calloc((size_t)count + 1, size);
  if (!memory) exit(fail("out of memory"));
  return memory;
}

static inline int learn_tokenizer(data *d, fr_training *training, int on_texts, fr_reason *reason)
{
  fr_text *texts = (fr_text *)need(d->set.problem_count + d->set.trace_count, sizeof *texts);
  fr_int count = 0;
  for (fr_int i = 0; on_texts && i < d->train; i++) {
    const fr_problem *p = &d->set.problems[d->order[i]];
    texts[count++] = p->text;
    for (fr_int j = 0; j < p->count; j++) texts[count++] = d->set.traces[p->first + j].text;
  }
  const fr_status status = fr_tokenizer_train_new(&d->tokenizer, training, texts, count, reason);
  free(texts);
  return status != FR_OK;
}

// The tokenizer, and with it the forks. Names of forks are made by the library: <think1> ...
static inline int open_tokenizer(data *d, const char *words, fr_int forks)
{
  const fr_special specials[2] = { { { "<|end|>", 7 }, -1 }, { { "<|asked|>", 9 }, -1 } };
  fr_tokenizer_source source;
  fr_training training;
  fr_reason reason;
  fr_int longest = 0, count;
  memset(&source, 0, sizeof source);
  memset(&training, 0, sizeof training);
  source.specials = training.specials = specials;
  source.special_count = training.special_count = 2;
  source.forks = training.forks = forks;
  training.vocab = 256 + 2 + forks;
  if (!words || !strncmp(words, "train:", 6)) {
    if (words) {
      char *end;
      const long wanted = strtol(words + 6, &end, 10);
      if (end == words + 6 || *end || wanted < training.vocab || wanted > 1000000)
        return fail("--tokenizer train:N needs a whole number from %td to 1000000, not '%s'", training.vocab, words + 6);
      training.vocab = wanted;
    }
    if (learn_tokenizer(d, &training, words != NULL, &reason)) return fail("tokens: %s", reason.text);
  } else {
    if (strstr(words, ".tiktoken")) source.split = FR_SPLIT_LLAMA3;
    if (fr_tokenizer_load(&d->tokenizer, words, NULL, &source, &reason)) return fail("--tokenizer %s: %s", words, reason.text);
  }
  for (fr_int p = 0; p < d->set.problem_count; p++)
    if (longest < d->set.problems[p].text.count) longest = d->set.problems[p].text.count;
  for (fr_int t = 0; t < d->set.trace_count; t++)
    if (longest < d->set.traces[t].text.count) longest = d->set.traces[t].text.count;
  if (fr_encoder_new(&d->encoder, &d->tokenizer, longest, 1 << 14)) return fail("no memory for the encoder");
  for (fr_int i = 0; i < forks; i++) {
    char name[24];
    fr_text text = { name, snprintf(name, sizeof name, "<think%td>", i + 1) };
    d->fork_texts[i] = fr_tokenizer_token(&d->tokenizer, fr_tokenizer_find(&d->tokenizer, text));
  }
  d->framing.after = fr_tokenizer_token(&d->tokenizer, fr_tokenizer_find(&d->tokenizer, specials[1].text));
  d->framing.forks = d->fork_texts;
  d->framing.fork_count = forks;
  d->framing.end = fr_tokenizer_find(&d->tokenizer, specials[0].text);
  return fr_framing_forks(&d->encoder, &d->framing, d->fork_ids, MOST_FORKS, d->forks, &count) ? fail("%s", d->encoder.reason.text) : 0;
}

static inline int short_enough(void *user, const fr_problem *problem, const fr_trace *trace)
{
  data *d = (data *)user;
  fr_int question = 0, answer = 0;
  if (fr_tokenizer_encode(&d->encoder, problem->text.bytes, problem->text.count, FR_SPECIALS_TEXT, NULL, 0, &question) ||
      fr_tokenizer_encode(&d->encoder, trace->text.bytes, trace->text.count, FR_SPECIALS_TEXT, NULL, 0, &answer))
    return 0;
  return question + 1 + 1 + answer + 1 <= d->most;  // with <|asked|>, fork and <|end|>
}

static inline int split_data(data *d, double held_out, uint64_t seed)
{
  return fr_dataset_split(&d->set, held_out, seed, d->order, &d->train) ? fail("the data cannot be split") : 0;
}

// Reads all, drops what has more than `most` tokens, and splits by question: that does not depend on what else is there.
static inline int read_data(data *d, const char *path, const char *words, fr_int forks, fr_int most, double held_out, uint64_t seed)
{
  fr_reason reason;
  fr_int room = 0, used = 0, traces = 0, size, took;
  if (fr_dataset_load(&d->set, path, &reason)) return fail("%s: %s", path, reason.text);
  d->order = (fr_int *)need(d->set.problem_count, sizeof *d->order);
  if (split_data(d, held_out, seed) || open_tokenizer(d, words, forks)) return 1;
  d->most = most;
  fr_dataset_filter(&d->set, short_enough, d);
  if (split_data(d, held_out, seed)) return 1;
  d->prompts = (fr_tokens *)need(d->set.problem_count, sizeof *d->prompts);
  d->traces = (fr_tokens *)need(d->set.trace_count, sizeof *d->traces);
  for (fr_int p = 0; p < d->set.problem_count; p++)
    if (traces < d->set.problems[p].count) traces = d->set.problems[p].count;
  fr_text *texts = (fr_text *)need(traces, sizeof *texts);
  for (int pass = 0; pass < 2; pass++) {  // measure, then place one behind the other
    if (pass == 1) d->memory = (char *)need(room, 1);
    for (fr_int p = 0; p < d->set.problem_count; p++) {
      const fr_problem *problem = &d->set.problems[p];
      fr_question q;
      for (fr_int j = 0; j < problem->count; j++) texts[j] = d->set.traces[problem->first + j].text;
      if (pass == 0) {
        if (fr_question_place(NULL, NULL, &d->framing, problem->text, texts, problem->count, NULL, 0, &size)) return fail("%s is too large", path);
        room += size;
        continue;
      }
      if (fr_question_place(&q, &d->encoder, &d->framing, problem->text, texts, problem->count, d->memory + used, room - used, &took))
        return fail("%s: question \"%.*s\": %s", path, (int)(problem->text.count < 60 ? problem->text.count : 60), problem->text.bytes,
                    d->encoder.reason.text);
      used += took;
      d->prompts[p] = q.prompt;
      if (d->longest_prompt < q.prompt.count) d->longest_prompt = q.prompt.count;
      for (fr_int j = -1; j < q.trace_count; j++) {
        const fr_tokens tokens = j < 0 ? q.prompt : q.traces[j];
        if (j >= 0) d->traces[problem->first + j] = tokens;
        if (j >= 0 && d->longest_trace < tokens.count) d->longest_trace = tokens.count;
        d->tokens += tokens.count;
        for (fr_int i = 0; i < tokens.count; i++) d->print = (d->print ^ (uint64_t)tokens.ids[i]) * 0x9E3779B97F4A7C15u;
        d->print ^= d->print >> 32;
      }
    }
  }
  free(texts);
  return 0;
}

static inline void free_data(data *d)
{
  fr_encoder_free(&d->encoder);
  fr_tokenizer_free(&d->tokenizer);
  fr_dataset_free(&d->set);
  free(d->memory); free(d->prompts); free(d->traces); free(d->order);
}
#endif
