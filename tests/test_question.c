// From texts to questions: the ids are those of the whole text, or the question is refused; nobody can forge a fork; memory.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/bpe_data.h"

enum { GUARD = 32, MOST = 64 };

static fr_tokenizer open_tokenizer(const char *name, fr_int forks)
{
  const fr_text file = data_file(name);
  fr_tokenizer_source source;
  fr_tokenizer t;
  fr_reason reason;
  memset(&source, 0, sizeof source);
  source.file = file;
  source.forks = forks;
  if (!CHECK(fr_tokenizer_new(&t, &source, &reason) == FR_OK)) { fprintf(stderr, "%s\n", reason.text); exit(1); }
  free((void *)(uintptr_t)file.bytes);
  return t;
}

// A vocabulary of llama2.c, whose encoder puts a blank before a text: bytes, " ", "a", "b", " a", "ab".
static fr_tokenizer sentencepiece(void)
{
  static const char *const pieces[] = { "<unk>", "<s>", "</s>" }, *const more[] = { " ", "a", "b", " a", "ab" };
  unsigned char file[8000], *p = file;
  fr_tokenizer_source source;
  fr_tokenizer t;
  fr_int used = 4;
  memset(file, 0, sizeof file);
  for (int i = 0; i < 264; i++) {
    char name[8];
    const float score = i > 261 ? 5.0f : 0.0f;
    uint32_t bits;
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)(i - 3) & 255u);
    const char *text = i < 3 ? pieces[i] : i < 259 ? name : more[i - 259];
    memcpy(&bits, &score, 4);
    for (int k = 0; k < 4; k++) p[used + k] = (unsigned char)(bits >> 8 * k);
    p[used + 4] = (unsigned char)strlen(text);
    memcpy(p + used + 8, text, strlen(text));
    used += 8 + (fr_int)strlen(text);
  }
  memset(&source, 0, sizeof source);
  source.file.bytes = (const char *)file;
  source.file.count = used;
  source.forks = 3;
  CHECK(fr_tokenizer_new(&t, &source, NULL) == FR_OK && t.sentencepiece);
  return t;
}

// The whole text as it should be: cut by hand at the special tokens that lie in trusted parts, the rest plain.
typedef struct sequence { char text[400]; char trusted[400]; fr_int bytes; } sequence;

static void add(sequence *s, fr_text text, char trusted)
{
  if (text.count) memcpy(s->text + s->bytes, text.bytes, (size_t)text.count);
  memset(s->trusted + s->bytes, trusted, (size_t)text.count);
  s->bytes += text.count;
}

static fr_int whole_ids(fr_encoder *e, const sequence *s, fr_token *ids)
{
  fr_int count = 0, from = 0, got;
  for (fr_int at = 0; at <= s->bytes; at++) {
    fr_token special = -1;
    fr_int length = 0;
    for (fr_token id = 0; id < e->tokenizer->vocab && at < s->bytes; id++) {
      const fr_text t = fr_tokenizer_token(e->tokenizer, id);
      if (!is_special(e->tokenizer, id) || t.count <= length || t.count > s->bytes - at ||
          memcmp(t.bytes, s->text + at, (size_t)t.count) != 0)
        continue;
      // within one run of trusted text: 1 before the question, 2 behind it
      fr_int k = 0;
      while (k < t.count && s->trusted[at] && s->trusted[at + k] == s->trusted[at]) k++;
      if (k == t.count) { special = id; length = t.count; }
    }
    if (special < 0 && at < s->bytes) continue;
    if (at > from) {
      // SentencePiece puts its blank only before the text as a whole.
      CHECK(fr_tokenizer_encode(e, s->text + from, at - from, FR_SPECIALS_TEXT, ids + count, 400, &got) == FR_OK);
      count += got;
    }
    if (special < 0) break;
    ids[count++] = special;
    from = at + length;
    at = from - 1;
  }
  return count;
}

static fr_text some(char *out, const char *const *parts, int part_count, int most)
{
  fr_text text = { out, 0 };
  for (fr_int n = test_below_int(most + 1); n > 0; n--) {
    const char *p = parts[test_below_int(part_count)];
    memcpy(out + text.count, p, strlen(p));
    text.count += (fr_int)strlen(p);
  }
  return text;
}

// Random texts of pieces that like to join; a question is accepted if and only if every whole sequence has the ids of its parts.
static void against_the_whole(const char *name)
{
  static const char *const parts[] = { "in", " the", " ", "  ", "\n", "a", "st", "r", "12", "3", "<think1>", "<thi", "nk2>", "'", "s", ">\n" };
  fr_tokenizer t = open_tokenizer(name, 8);
  fr_encoder e;
  fr_int accepted = 0, refused[2] = { 0, 0 };
  const int rounds = test_brief() ? 1000 : 4000;
  CHECK(fr_encoder_new(&e, &t, 400, 16) == FR_OK);
  for (int round = 0; round < rounds; round++) {
    char room[8][60];
    fr_text forks[2], traces[3];
    fr_framing f;
    fr_question q;
    fr_tokens fork_tokens[2];
    fr_token fork_ids[200];
    fr_int bytes = 0, used = 0, fork_count = 0;
    memset(&f, 0, sizeof f);
    memset(&q, 0x55, sizeof q);
    f.forks = forks;
    f.fork_count = 1 + test_below_int(2);
    f.end = fr_tokenizer_find(&t, as_text("<think8>"));
    if (round % 3 == 0) f.before = some(room[0], parts, 16, 2);
    if (round % 3 == 0) f.after = some(room[1], parts, 16, 2);
    fr_text prompt = some(room[2], parts, 16, 3), said[3];
    fr_turns turns;
    char framed[8][60], turn[3][60], talk[300];
    int roles[3] = { 1, 2, 1 }, turn_count = 0;
    if (round % 5 == 0) {  // a conversation: perhaps a system turn, a turn of each, the question; or what only looks like one
      fr_text *const around[8] = { &turns.before[0], &turns.before[1], &turns.before[2], &turns.after[0], &turns.after[1], &turns.after[2],
                                   &turns.begin[0], &turns.begin[1] };
      for (int i = 0; i < 8; i++) *around[i] = some(framed[i], parts, 16, 2);
      f.turns = &turns;
      turn_count = 1 + (int)test_below_int(3);
      if (turn_count == 2) roles[0] = 0;
      prompt.bytes = talk;
      prompt.count = 0;
      for (int i = 0; i < turn_count; i++) {
        if (turn_count == 2) roles[i] = i;
        said[i] = some(turn[i], parts, 16, 3);
        talk[prompt.count++] = '\xFF';
        talk[prompt.count++] = "sua"[roles[i]];
        if (said[i].count) memcpy(talk + prompt.count, said[i].bytes, (size_t)said[i].count);
        prompt.count += said[i].count;
      }
      if (round % 25 == 0) { talk[1] = 'x'; turn_count = 0; }  // no role: these are bytes like any others
    }
    for (int i = 0; i < 2; i++)
      do forks[i] = round % 2 ? some(room[3 + i], parts, 16, 2) : some(room[3 + i], parts + 10, 1, 1);
      while (forks[i].count == 0);
    const fr_int trace_count = test_below_int(4);
    for (int j = 0; j < 3; j++) traces[j] = some(room[5 + j], parts, 16, 3);

    CHECK(fr_question_place(NULL, NULL, &f, prompt, traces, trace_count, NULL, 0, &bytes) == FR_OK);
    unsigned char *memory = (unsigned char *)test_alloc((size_t)bytes + GUARD + 1);
    memset(memory, 0xA5, (size_t)bytes + GUARD + 1);
    const fr_status status = fr_question_place(&q, &e, &f, prompt, traces, trace_count, memory + 1, bytes, &used);
    for (int i = 0; i < GUARD; i++) CHECK(memory[1 + bytes + i] == 0xA5);
    CHECK(memory[0] == 0xA5);
    const fr_reason why = e.reason;
    CHECK(fr_framing_forks(&e, &f, fork_ids, 200, fork_tokens, &fork_count) == FR_OK);

    // The parts by hand.
    sequence s;
    fr_token prompt_ids[400], ids[800], trace_ids[3][400];
    fr_int counts[3];
    s.bytes = 0;
    if (turn_count) add(&s, turns.begin[roles[0] == 0], 3);
    for (int i = 0; i < turn_count; i++) {
      add(&s, turns.before[roles[i]], (char)(4 + 2 * i));
      add(&s, said[i], 0);
      add(&s, i < turn_count - 1 ? turns.after[roles[i]] : f.after, i < turn_count - 1 ? (char)(5 + 2 * i) : 2);
    }
    if (!turn_count) {
      add(&s, f.before, 1);
      add(&s, prompt, 0);
      add(&s, f.after, 2);
    }
    const fr_int prompt_count = whole_ids(&e, &s, prompt_ids), head = s.bytes;
    int good = prompt_count > 0, forks_good = good;
    for (fr_int j = 0; j < trace_count; j++)
      CHECK(fr_tokenizer_encode(&e, traces[j].bytes, traces[j].count, FR_SPECIALS_TEXT, trace_ids[j], 400, &counts[j]) == FR_OK);
    for (fr_int i = 0; i < f.fork_count; i++) {
      s.bytes = head;
      add(&s, forks[i], 2);
      const fr_int with_fork = s.bytes;
      for (fr_int j = -1; j < trace_count; j++) {
        fr_int n, want = prompt_count + fork_tokens[i].count;
        s.bytes = with_fork;
        if (j >= 0) add(&s, traces[j], 0);
        n = whole_ids(&e, &s, ids);
        int same = n == want + (j < 0 ? 0 : counts[j]) && !memcmp(ids, prompt_ids, (size_t)prompt_count * sizeof *ids) &&
                   !memcmp(ids + prompt_count, fork_tokens[i].ids, (size_t)fork_tokens[i].count * sizeof *ids);
        if (same && j >= 0) same = !memcmp(ids + want, trace_ids[j], (size_t)counts[j] * sizeof *ids);
        good &= same;
        if (j < 0) forks_good &= same;
      }
    }
    CHECK(status == (good ? FR_OK : FR_FORMAT));
    if (status) {
      unsigned char untouched[sizeof q];
      memset(untouched, 0x55, sizeof untouched);
      CHECK(!memcmp(&q, untouched, sizeof q) && used == 0);
      if (prompt_count == 0) CHECK(!strcmp(why.text, "the question has no token"));
      else if (!forks_good && f.fork_count == 1) CHECK(!strncmp(why.text, "question and fork 0: ", 21));
      else if (f.fork_count == 1) CHECK(!strncmp(why.text, "fork 0 and trace ", 17));
      refused[strncmp(why.text, "fork", 4) == 0]++;
    } else {
      accepted++;
      CHECK(used > 0 && used <= bytes && q.trace_count == trace_count && !q.cost && !q.nll);
      CHECK(q.key == fr__hash((uint64_t)prompt.count, prompt.bytes, prompt.count));
      CHECK(q.prompt.count == prompt_count && !memcmp(q.prompt.ids, prompt_ids, (size_t)prompt_count * sizeof *ids));
      memset(memory + 1 + used, 0, (size_t)(bytes - used));  // what is kept lies before
      for (fr_int j = 0; j < trace_count; j++) {
        CHECK(q.traces[j].count == counts[j] + 1 && q.traces[j].ids[counts[j]] == f.end);
        CHECK(!memcmp(q.traces[j].ids, trace_ids[j], (size_t)counts[j] * sizeof *ids));
        q.fork[j] = j;
      }
    }
    free(memory);
  }
  printf("%s: %td accepted, %td refused at the fork, %td behind it\n", name, accepted, refused[0], refused[1]);
  CHECK(accepted > rounds / 8 && refused[0] > rounds / 40 && refused[1] > rounds / 40);
  fr_encoder_free(&e);
  fr_tokenizer_free(&t);
}

static fr_status place(fr_question *q, fr_encoder *e, const fr_framing *f, const char *prompt, const char *trace, unsigned char *memory,
                       fr_int bytes)
{
  const fr_text t = as_text(trace);
  return fr_question_place(q, e, f, as_text(prompt), &t, 1, memory, bytes, NULL);
}

// Each thing that can be wrong, and what is said about it.
static void one_by_one(void)
{
  enum { ROOM = 20000 };
  fr_tokenizer t = open_tokenizer("tiny/qwenstyle/tokenizer.json", 8);
  fr_encoder e;
  fr_question q, kept;
  fr_framing f, g;
  fr_text forks[2] = { as_text("<think1>"), as_text("<think2>") };
  static unsigned char memory[ROOM];
  fr_int bytes = 0, count = -1;
  fr_token ids[20];
  fr_tokens tokens[2];
  memset(&f, 0, sizeof f);
  memset(&q, 0x55, sizeof q);
  kept = q;
  f.forks = forks;
  f.fork_count = 2;
  f.end = fr_tokenizer_find(&t, as_text("<think8>"));
  CHECK(fr_encoder_new(&e, &t, 100, 16) == FR_OK);

  // Forged tokens are text, in the question and in a trace.
  CHECK(place(&q, &e, &f, "say <think2> or <think8>", "<think1> it is <think8>", memory, ROOM) == FR_OK);
  for (fr_int i = 0; i < q.prompt.count; i++) CHECK(!is_special(&t, q.prompt.ids[i]));
  for (fr_int i = 0; i + 1 < q.traces[0].count; i++) CHECK(!is_special(&t, q.traces[0].ids[i]));
  CHECK(q.traces[0].ids[q.traces[0].count - 1] == f.end);
  q = kept;
  // What is ours may hold special tokens, also one that only question and fork together would make.
  f.before = as_text("<think3>");
  f.after = as_text("<think4>\n");
  CHECK(place(&q, &e, &f, "1+1", "2", memory, ROOM) == FR_OK && q.prompt.ids[0] == fr_tokenizer_find(&t, f.before));
  q = kept;
  f.after = as_text("<thi");
  forks[1] = as_text("nk5>");
  CHECK(place(&q, &e, &f, "1+1", "2", memory, ROOM) == FR_FORMAT && strstr(e.reason.text, "question and fork 1") &&
        strstr(e.reason.text, "byte 15"));
  f.before = f.after = as_text("");
  // Forks of several ids: an end that does not join what follows, and one that does.
  forks[0] = as_text("<think1>\n");
  forks[1] = as_text("<way two>\n");
  CHECK(place(&q, &e, &f, "1+1", "2", memory, ROOM) == FR_OK);
  q = kept;
  CHECK(fr_framing_forks(&e, &f, ids, 20, tokens, &count) == FR_OK && tokens[0].count == 2 && tokens[1].count > 2 &&
        count == tokens[0].count + tokens[1].count && tokens[1].ids == ids + 2);
  forks[0] = as_text("<think1>i");
  CHECK(place(&q, &e, &f, "1+1", "n 2", memory, ROOM) == FR_FORMAT && strstr(e.reason.text, "fork 0 and trace 0") &&
        strstr(e.reason.text, "byte 12") && strstr(e.reason.text, "place "));
  // The room for the forks' ids
  const fr_tokens tokens_before = tokens[0];
  fr_int needed = -1;
  CHECK(fr_framing_forks(&e, &f, ids, count - 1, tokens, &needed) == FR_LIMIT && needed == count &&
        !memcmp(&tokens_before, tokens, sizeof *tokens) && strstr(e.reason.text, "there is room for"));
  CHECK(fr_framing_forks(&e, &f, NULL, 0, NULL, &needed) == FR_OK && needed == count);
  CHECK(fr_framing_forks(NULL, &f, ids, 20, tokens, &needed) == FR_INVALID && fr_framing_forks(&e, NULL, ids, 20, tokens, &needed) == FR_INVALID &&
        fr_framing_forks(&e, &f, ids, 20, NULL, &needed) == FR_INVALID && fr_framing_forks(&e, &f, ids, 20, tokens, NULL) == FR_INVALID &&
        fr_framing_forks(&e, &f, ids, -1, tokens, &needed) == FR_INVALID);
  // Empty: a trace is then its end; a question is refused, unless something of ours is in it.
  forks[0] = as_text("<think1>");
  forks[1] = as_text("<think2>");
  CHECK(place(&q, &e, &f, "1+1", "", memory, ROOM) == FR_OK && q.traces[0].count == 1);
  q = kept;
  CHECK(place(&q, &e, &f, "", "2", memory, ROOM) == FR_FORMAT && strstr(e.reason.text, "no token"));
  CHECK(fr_question_place(&q, &e, &f, as_text("1+1"), NULL, 0, memory, ROOM, NULL) == FR_OK && q.trace_count == 0);
  q = kept;
  // Nonsense
  const fr_text trace = as_text("2"), none = { NULL, 1 }, negative = { "a", -1 };
  CHECK(fr_question_place(NULL, NULL, &f, as_text("1+1"), &trace, 1, NULL, 0, &bytes) == FR_OK);
  CHECK(fr_question_place(&q, &e, &f, as_text("1+1"), &trace, 1, memory, bytes - 1, NULL) == FR_MEMORY && strstr(e.reason.text, "were given"));
#define BAD(change)                                                                                                  \
  do {                                                                                                               \
    g = f;                                                                                                           \
    change;                                                                                                          \
    CHECK(fr_question_place(NULL, NULL, &g, as_text("1+1"), &trace, 1, NULL, 0, &bytes) == FR_INVALID);                                    \
    CHECK(place(&q, &e, &g, "1+1", "2", memory, ROOM) == FR_INVALID && e.reason.text[0]);                           \
    CHECK(fr_framing_forks(&e, &g, ids, 20, tokens, &needed) == FR_INVALID);                                         \
  } while (0)
  fr_text broken[2] = { as_text(""), none };
  BAD(g.forks = NULL);
  BAD(g.fork_count = -1);
  BAD(g.forks = broken);
  BAD((g.forks = broken + 1, g.fork_count = 1));
  BAD(g.before = none);
  BAD(g.after = negative);
#undef BAD
  CHECK(fr_question_place(NULL, NULL, NULL, trace, &trace, 1, NULL, 0, &bytes) == FR_INVALID && fr_question_place(NULL, NULL, &f, none, &trace, 1, NULL, 0, &bytes) == FR_INVALID &&
        fr_question_place(NULL, NULL, &f, trace, NULL, 1, NULL, 0, &bytes) == FR_INVALID && fr_question_place(NULL, NULL, &f, trace, &none, 1, NULL, 0, &bytes) == FR_INVALID &&
        fr_question_place(NULL, NULL, &f, trace, &trace, -1, NULL, 0, &bytes) == FR_INVALID && fr_question_place(NULL, NULL, &f, trace, &trace, 1, NULL, 0, NULL) == FR_INVALID);
  CHECK(fr_question_place(NULL, &e, &f, trace, &trace, 1, memory, ROOM, NULL) == FR_INVALID &&
        fr_question_place(&q, NULL, &f, trace, &trace, 1, memory, ROOM, NULL) == FR_INVALID &&
        fr_question_place(&q, &e, &f, trace, &trace, 1, NULL, ROOM, NULL) == FR_INVALID &&
        fr_question_place(&q, &e, &f, trace, &trace, 1, memory, -1, NULL) == FR_MEMORY);
  const fr_text endless = { "a", (fr_int)(((size_t)-1) >> 1) };
  CHECK(fr_question_place(NULL, NULL, &f, endless, &trace, 1, NULL, 0, &bytes) == FR_OVERFLOW && fr_question_place(NULL, NULL, &f, trace, &endless, 1, NULL, 0, &bytes) == FR_OVERFLOW);
  g = f;
  g.end = 600000;
  CHECK(place(&q, &e, &g, "1+1", "2", memory, ROOM) == FR_RANGE && strstr(e.reason.text, "600000"));
  g.end = -1;
  CHECK(place(&q, &e, &g, "1+1", "2", memory, ROOM) == FR_RANGE);
  char longest[200];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  CHECK(place(&q, &e, &f, "1+1", longest, memory, ROOM) == FR_LIMIT && strstr(e.reason.text, "trace 0: a pre-token has 199"));
  CHECK(!memcmp(&q, &kept, sizeof q));
  fr_encoder_free(&e);
  fr_tokenizer_free(&t);
}

// SentencePiece puts one blank before a text, and none before a fork or a trace that goes on with it.
static void one_blank(void)
{
  static unsigned char memory[20000];
  fr_tokenizer t = sentencepiece();
  fr_encoder e;
  fr_question q;
  fr_text forks[2] = { as_text("<think1>"), as_text("b") };
  fr_framing f;
  memset(&f, 0, sizeof f);
  f.forks = forks;
  f.fork_count = 1;
  f.end = fr_tokenizer_find(&t, as_text("<think3>"));
  CHECK(fr_encoder_new(&e, &t, 100, 16) == FR_OK);
  CHECK(place(&q, &e, &f, "b", "a", memory, sizeof memory) == FR_OK);
  CHECK(q.prompt.count == 2 && q.prompt.ids[0] == 259 && q.prompt.ids[1] == 261 && q.traces[0].count == 2 && q.traces[0].ids[0] == 260);
  f.forks = forks + 1;
  CHECK(place(&q, &e, &f, "b", "a", memory, sizeof memory) == FR_OK);  // b b a: nothing joins
  CHECK(place(&q, &e, &f, "ba", "a", memory, sizeof memory) == FR_FORMAT && strstr(e.reason.text, "question and fork 0"));  // ab
  forks[1] = as_text("a");
  CHECK(place(&q, &e, &f, "b", "b", memory, sizeof memory) == FR_FORMAT && strstr(e.reason.text, "fork 0 and trace 0"));
  fr_encoder_free(&e);
  fr_tokenizer_free(&t);
}

// Questions one after the other in one block, trained on for a step.
static void trained(void)
{
  fr_tokenizer t = open_tokenizer("tiny/gpt2style/tokenizer.json", 3);
  const fr_text forks[3] = { as_text("<think1>"), as_text("<think2>\n"), as_text("<way three>\n") };
  const fr_text traces[4] = { as_text("it is in"), as_text("the rest"), as_text("string"), as_text("a") };
  static const char *const prompts[3] = { "where?", "what is the in of 12?", "why" };
  fr_encoder e;
  fr_question q[3];
  fr_framing f;
  fr_tokens fork_tokens[3];
  fr_token fork_ids[40];
  fr_int count, used = 0, most = 20000, prompt = 1, trace = 1;
  unsigned char *memory = (unsigned char *)test_alloc((size_t)most);
  memset(&f, 0, sizeof f);
  f.forks = forks;
  f.fork_count = 3;
  f.end = fr_tokenizer_find(&t, as_text("<think3>"));
  f.after = as_text("\n");
  CHECK(fr_encoder_new(&e, &t, 100, 16) == FR_OK);
  for (int i = 0; i < 3; i++) {
    fr_int took = 0;
    if (!CHECK(fr_question_place(&q[i], &e, &f, as_text(prompts[i]), traces + i % 2, 2 + i % 2, memory + used, most - used, &took) == FR_OK))
      fprintf(stderr, "%s\n", e.reason.text);
    used += took;
  }
  for (int i = 0; i < 3; i++) {
    char back[100];
    fr_int got;
    CHECK(fr_tokenizer_decode(&t, q[i].prompt.ids, q[i].prompt.count, back, 100, &got, NULL) == FR_OK && got == (fr_int)strlen(prompts[i]) + 1 &&
          !memcmp(back, prompts[i], strlen(prompts[i])));
    prompt = q[i].prompt.count > prompt ? q[i].prompt.count : prompt;
    for (fr_int j = 0; j < q[i].trace_count; j++) {
      CHECK(fr_tokenizer_decode(&t, q[i].traces[j].ids, q[i].traces[j].count - 1, back, 100, &got, NULL) == FR_OK &&
            got == traces[i % 2 + j].count && !memcmp(back, traces[i % 2 + j].bytes, (size_t)got));
      trace = q[i].traces[j].count > trace ? q[i].traces[j].count : trace;
    }
  }
  CHECK(fr_framing_forks(&e, &f, fork_ids, 40, fork_tokens, &count) == FR_OK && fork_tokens[2].count > 2);
  fr_config config;
  fr_model model;
  fr_adamw adamw;
  fr_work work;
  fr_limits limits;
  fr_ssft_options options;
  fr_ssft_report report;
  memset(&config, 0, sizeof config);
  memset(&options, 0, sizeof options);
  config.layers = 1; config.dim = 8; config.heads = 2; config.ffn = 8; config.vocab = t.vocab;
  options.forks = fork_tokens;
  options.fork_count = 3;
  CHECK(fr_ssft_limits(&options, prompt, trace, 3, 1, &limits) == FR_OK);
  CHECK(fr_model_new(&model, &config) == FR_OK && fr_adamw_new(&adamw, &model) == FR_OK && fr_work_new(&work, &config, &limits) == FR_OK);
  fr_model_init(&model, 1);
  CHECK(fr_ssft_step(&model, &work, &adamw, &options, q, 3, 1e-3f, &report) == FR_OK && report.traces == 7 && !report.skipped);
  for (int i = 0; i < 3; i++) CHECK(q[i].fork[0] != q[i].fork[1]);
  fr_work_free(&work);
  fr_adamw_free(&adamw);
  fr_model_free(&model);
  free(memory);
  fr_encoder_free(&e);
  fr_tokenizer_free(&t);
}

int main(void)
{
  against_the_whole("tiny/gpt2style/tokenizer.json");
  against_the_whole("tiny/llama3style/tokenizer.json");
  against_the_whole("tiny/qwenstyle/tokenizer.json");
  one_by_one();
  one_blank();
  trained();
  return test_done("test_question");
}
