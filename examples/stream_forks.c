// stream_forks.c - from a file of questions and traces to a model whose forks answer a question it has not seen, and vote.
//
//     cc -O2 -o stream_forks examples/stream_forks.c -lm && ./stream_forks FILE.jsonl MODEL [STEPS]
// MODEL is written while it trains; where it is there already, the run goes on, and ends with the same bits as one never stopped.
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include <stdio.h>
enum { FORKS = 4, WORDS = 100 };
static int fail(const char *why) { fprintf(stderr, "stream_forks: %s\n", why); return 1; }

static char texts[FORKS][1 << 14];
static fr_text said[FORKS];
static int show(void *user, fr_int fork, const fr_leaf *leaf)  // each fork has a line, with the end of what it said so far
{
  fr_int bytes = 0, from;
  fr_tokenizer_decode((const fr_tokenizer *)user, leaf->tokens, leaf->count, texts[fork], sizeof texts[fork], &bytes, NULL);
  for (fr_int i = 0; i < bytes; i++) if (texts[fork][i] == '\n') texts[fork][i] = ' ';
  said[fork] = (fr_text){ texts[fork], bytes };
  from = bytes > 100 ? bytes - 100 : 0;
  printf("\033[%tdA<think%td> %.*s\033[K\033[%tdB\r", FORKS - fork, fork + 1, (int)(bytes - from), texts[fork] + from, FORKS - fork);
  return fflush(stdout) ? FR_STOP_ALL : FR_GO_ON;
}

int main(int count, char **words)
{
  static const fr_special specials[2] = { { { "<|end|>", 7 }, -1 }, { { "<|asked|>", 9 }, -1 } };
  static const fr_text names[FORKS] = { { "<think1>", 8 }, { "<think2>", 8 }, { "<think3>", 8 }, { "<think4>", 8 } };
  fr_dataset set; fr_tokenizer tokenizer; fr_encoder encoder; fr_corpus corpus; fr_bundle bundle;
  fr_model model; fr_adamw adamw; fr_work work; fr_reason reason; fr_limits training, decoding; fr_vote_result vote;
  const int64_t steps = count > 3 ? strtol(words[3], NULL, 10) : 300;
  if (count < 3 || fr_dataset_load(&set, words[1], &reason)) return fail(count < 3 ? "which FILE.jsonl and MODEL?" : reason.text);
  FILE *const there = fopen(words[2], "rb");
  const int absent = !there && errno == ENOENT;
  if (there) fclose(there);
  if (!absent && fr_bundle_load(words[2], NULL, &bundle, &model, &adamw, &reason)) return fail(reason.text);
  if (absent) {  // the first time: learn tokens, say how a sequence is framed and how it is trained
    fr_training learning = { .vocab = 600, .specials = specials, .special_count = 2, .forks = FORKS };
    fr_text *learn = malloc((size_t)set.trace_count * sizeof *learn + 1);
    for (fr_int i = 0; learn && i < set.trace_count; i++) learn[i] = set.traces[i].text;
    if (!learn || fr_tokenizer_train_new(&tokenizer, &learning, learn, set.trace_count, &reason)) return fail("no tokens");
    bundle = (fr_bundle){ .tokenizer = &tokenizer, .options = { .prefix = 32 }, .corpus = { .length = 400, .batch = 4, .held_out = .05 },
      .framing = { { 0, 0 }, specials[1].text, names, FORKS, fr_tokenizer_find(&tokenizer, specials[0].text), NULL } };
    const fr_config config = { .layers = 2, .dim = 64, .heads = 4, .ffn = 192, .vocab = tokenizer.vocab, .tied = 1, .embed_scale = 8 };
    if (fr_model_new(&model, &config) || fr_adamw_new(&adamw, &model)) return fail("no memory");
    fr_model_init(&model, 1);
  }
  if (fr_encoder_new(&encoder, bundle.tokenizer, set.longest, 1 << 14)) return fail("no memory");
  if (fr_corpus_new(&corpus, &set, &encoder, &bundle.framing, &bundle.corpus, &reason)) return fail(reason.text);
  for (int i = 0; i < FR_LEFT_OUT_COUNT; i++)
    if (corpus.left_out[i]) printf("left out: %td, such as %s\n", corpus.left_out[i], corpus.example[i].text);
  if (corpus.train == corpus.count || (bundle.key && bundle.key != corpus.key)) return fail("no question held out, or other data");
  bundle.key = corpus.key;
  bundle.options.forks = corpus.forks;
  bundle.options.fork_count = FORKS;
  const fr_int asked = corpus.order[corpus.train];  // held out; all its forks are decoded at once
  fr_token tokens[FORKS][WORDS]; fr_leaf leaves[FORKS];
  fr_span spans[1 + FORKS] = { { -1, corpus.questions[asked].prompt } };
  for (int i = 0; i < FORKS; i++) {
    spans[1 + i] = (fr_span){ 0, corpus.forks[i] };
    leaves[i] = (fr_leaf){ .span = 1 + i, .leaf = (uint64_t)i, .tokens = tokens[i] };
  }
  const fr_tree tree = { spans, 1 + FORKS, NULL, 0 };
  const fr_sampling greedy = { .max_tokens = WORDS, .stops = &bundle.framing.end, .stop_count = 1, .token = show, .user = (void *)bundle.tokenizer };
  if (fr_corpus_limits(&corpus, &bundle.options, 1, &training) || fr_generate_limits(&tree, &greedy, FORKS, &decoding)) return 1;
  training = fr_limits_max(training, decoding);
  if (fr_work_new(&work, &model.config, &training)) return fail(work.reason.text);
  if (fr_bundle_save(words[2], &bundle, &model, &adamw, &reason)) return fail(reason.text);  // told before it trains, not after
  for (int64_t step = adamw.step + adamw.skipped; step < steps; step++) {
    fr_ssft_report report;
    const float rate = 5e-3f * fr_schedule_cosine(step, 10, steps, .1f);
    fr_corpus_batch(&corpus, step);
    if (fr_ssft_step(&model, &work, &adamw, &bundle.options, corpus.batch, 4, rate, &report)) return fail(work.reason.text);
    if (step % 20 < 19 && step < steps - 1) continue;
    printf("step %lld: %.3f nats a token\n", (long long)step + 1, report.nll / (double)report.tokens);
    if (fr_bundle_save(words[2], &bundle, &model, &adamw, &reason)) return fail(reason.text);
  }
  const fr_text question = set.problems[corpus.problem[asked]].text;
  printf("\n%.*s\n\n\n\n\n", (int)question.count, question.bytes);
  if (fr_generate(&model, &work, &tree, &greedy, leaves, FORKS)) return fail(work.reason.text);
  for (int i = 0; i < FORKS; i++) said[i] = fr_answer_find(FR_ANSWER_NUMBER, said[i]);
  fr_vote(FORKS, fr_answer_agree, said, NULL, &vote, &reason);
  if (vote.winner >= 0) printf("%td of %d say %.*s\n", vote.votes, FORKS, (int)said[vote.winner].count, said[vote.winner].bytes);
}
