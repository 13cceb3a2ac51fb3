// cli_inspect.h - forkreason inspect: what a model is, and what it takes.
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include "chat.h"

static const cli_flag cli_inspect_flags[] = {
  CLI_SWITCH("--tensors", " each tensor: its type, shape, and whether it is used where it lies"),
  CLI_WHOLE("--context", 0, 16, 1 << 20, "N tokens that memory is told for; 0: 2048, or the model's; to train, at most 512 of them"),
  CLI_WHOLE("--forks", 6, 1, 64, "N leaves that are decoded at once, and forks that are trained"),
  CLI_TEXT("--type", "T f32 or bf16: what weights become that cannot be used as they are [bf16]"),
  CLI_TEXT("--shape", "S the memory of a model that is not here: LAYERS,DIM,HEADS,KV_HEADS,HEAD_DIM,FFN,VOCAB, instead of PATH"),
  CLI_SWITCH("--json", " one JSON object"),
  CLI_END };
static const char cli_inspect_help[] =
  "forkreason inspect PATH: a folder with config.json, a GGUF, or a llama2.c file\n\n"
  "  forkreason inspect SmolLM2-135M-Instruct.Q4_1.gguf\n"
  "  forkreason inspect Qwen3-0.6B --context 8192 --forks 4 --json\n\n"
  "Exit status 1: there is no such model, its tokenizer is damaged, or something is missing, left over or misshapen.\n\n";

// Of a file, as far as it is read; of weights that are copied; of the workspace to decode, or all of training.
typedef struct cli_memory { fr_int stays, copied, work, parameters, training; } cli_memory;

// p NULL: all weights are bfloat16 in a file.
static inline int cli_measure(const fr_pretrained *p, const fr_config *config, fr_type type, fr_int context, fr_int forks, cli_memory *memory,
                              fr_reason *reason)
{
  fr_pretrained_options options = { 0, FR_FLOAT32, 0 };
  fr_limits limits;
  fr_ssft_options training;
  fr_tokens names[64];
  fr_token ids[64];
  fr_int bytes = 0, length;
  fr_found found;
  memset(memory, 0, sizeof *memory);
  options.type = type;
  if (fr_model_place(NULL, config, NULL, 0, &memory->parameters)) return 1;
  for (fr_int i = 0; p && fr_pretrained_tensor(p, i, &found) == FR_OK; i++) if (found.stays) memory->stays += found.bytes;
  if (!p) memory->stays = memory->parameters / 2;
  if (p && fr_pretrained_model(p, &options, NULL, NULL, 0, &memory->copied, reason)) return 1;
  memset(&limits, 0, sizeof limits);  // a prompt of half the context, and forks that fill the rest
  limits.rows = context / 2 > forks ? context / 2 : forks;
  limits.spans = 1 + 2 * forks;
  limits.leaves = forks;
  limits.depth = context;
  limits.cache_rows = context / 2 + forks * (context - context / 2);
  if (fr_work_place(NULL, config, &limits, NULL, 0, &memory->work)) return 1;
  memset(&training, 0, sizeof training);
  for (fr_int i = 0; i < forks && i < 64; i++) { ids[i] = (fr_token)i; names[i].ids = &ids[i]; names[i].count = 1; }
  training.forks = names;
  training.fork_count = forks;
  length = context < 512 ? context : 512;
  training.prefix = length / 4;
  if (fr_ssft_limits(&training, length / 4, length - length / 4 - 1, forks < 4 ? forks : 4, 1, &limits)) return 1;
  if (fr_work_place(NULL, config, &limits, NULL, 0, &bytes)) return 1;
  memory->training = 4 * memory->parameters + bytes;  // parameters, gradients, two moments
  return 0;
}

static inline void cli_say_memory(const cli_memory *memory, fr_int context, fr_int forks)
{
  char a[32], b[32];
  printf("  to run: %td tokens, %td forks: %s, of it %s to work in\n", context, forks,
         cli_bytes((double)(memory->stays + memory->copied + memory->work), a), cli_bytes((double)memory->work, b));
  printf("  to train: %td tokens, %td forks, all weights: %s, of it %s parameters, gradients and moments\n", context < 512 ? context : 512, forks,
         cli_bytes((double)memory->training, a), cli_bytes(4.0 * (double)memory->parameters, b));
}

static inline void cli_json_memory(const cli_memory *memory, fr_int context, fr_int forks)
{
  printf("{\"context\":%td,\"forks\":%td,\"in_place\":%td,\"copied\":%td,\"work\":%td,\"training\":%td}", context, forks, memory->stays,
         memory->copied, memory->work, memory->training);
}

// A model that is not here: LAYERS,DIM,HEADS,KV_HEADS,HEAD_DIM,FFN,VOCAB, its head tied.
static inline int cli_shape(const char *text, fr_type type, fr_int context, fr_int forks, int json)
{
  fr_config config;
  fr_int *const at[] = { &config.layers, &config.dim, &config.heads, &config.kv_heads, &config.head_dim, &config.ffn, &config.vocab };
  cli_memory memory;
  fr_reason reason;
  const char *p = text;
  char a[32];
  memset(&config, 0, sizeof config);
  config.tied = 1;
  for (int i = 0; i < 7; i++) {
    char *end;
    *at[i] = (fr_int)strtol(p, &end, 10);
    if (end == p || *end != (i < 6 ? ',' : 0) || *at[i] < 1) return cli_wrong("--shape is LAYERS,DIM,HEADS,KV_HEADS,HEAD_DIM,FFN,VOCAB, not %s", text);
    p = end + 1;
  }
  if (fr_config_check(&config, &config, &reason)) return cli_fail("%s", reason.text);
  if (!context) context = 2048;
  if (cli_measure(NULL, &config, type, context, forks, &memory, &reason)) return cli_fail("its memory does not fit this machine's address space");
  if (json) {
    printf("{\"parameters\":%td,\"memory\":", memory.parameters / 4);
    cli_json_memory(&memory, context, forks);
    printf("}\n");
    return 0;
  }
  printf("%.1f million parameters, as bfloat16 %s\n", (double)memory.parameters / 4e6, cli_bytes((double)memory.stays, a));
  cli_say_memory(&memory, context, forks);
  return 0;
}

static inline int cli_inspect(cli_given *given)
{
  static const char *const fits[] = { "", "misshapen", "left over", "missing" };
  const char *path = given->word[0], *type_name = cli_value(given, "--type"), *shape = cli_value(given, "--shape");
  const int json = cli_value(given, "--json") != NULL, all = cli_value(given, "--tensors") != NULL;
  const fr_int forks = cli_whole(given, "--forks");
  fr_int context = cli_whole(given, "--context"), parameters = 0, counts[FR__TYPES], sizes[FR__TYPES];
  const fr_type type = type_name && !strcmp(type_name, "f32") ? FR_FLOAT32 : FR_BFLOAT16;
  cli_model m;
  cli_memory memory;
  fr_found found;
  char a[32], b[32];
  int status, known = 0;
  const fr_pretrained *p = &m.pretrained;
  chat framing;
  if (given->words != (shape ? 0 : 1)) return cli_wrong("inspect takes one PATH");
  if (type_name && strcmp(type_name, "f32") && strcmp(type_name, "bf16")) return cli_wrong("--type is f32 or bf16, not %s", type_name);
  if (shape) return cli_shape(shape, type, context, forks, json);
  status = cli_model_open(&m, path, 0);
  if (status) { cli_model_close(&m); return status; }
  framing = chat_of(p->chat, NULL);
  if (!context) context = p->context < 16 ? 16 : p->context < 2048 ? p->context : 2048;
  memset(counts, 0, sizeof counts);
  memset(sizes, 0, sizeof sizes);
  for (fr_int i = 0; fr_pretrained_tensor(p, i, &found) == FR_OK; i++)
    for (int t = 0; t < FR__TYPES; t++) if (!strcmp(found.type, fr__types[t].name)) { counts[t]++; sizes[t] += found.bytes; parameters += found.rows * found.cols; }
  if (!p->wrong) known = !cli_measure(p, &p->config, type, context, forks, &memory, &m.reason);
  if (json) {
    const fr_config *g = &p->config;
    printf("{\"path\":"); cli_quoted(path, (fr_int)strlen(path));
    printf(",\"form\":\"%s\",\"family\":\"%s\",\"parameters\":%td,\"layers\":%td,\"dim\":%td,\"heads\":%td,\"kv_heads\":%td,\"head_dim\":%td,\"ffn\":%td,"
           "\"vocab\":%td,\"context\":%td,\"tied\":%s,\"qkv_bias\":%s,\"qk_norm\":%s,\"norm_eps\":%.9g,\"rope_theta\":%.9g,\"rope_factor\":%.9g",
           cli_form(p->form), p->family, parameters, g->layers, g->dim, g->heads, g->kv_heads, g->head_dim, g->ffn, g->vocab, p->context,
           g->tied ? "true" : "false", g->qkv_bias ? "true" : "false", g->qk_norm ? "true" : "false", (double)g->norm_eps, (double)g->rope_theta,
           (double)g->rope_factor);
    if (p->begin >= 0) printf(",\"begin\":%d", (int)p->begin);
    printf(",\"ends\":[");
    for (fr_int i = 0; i < p->end_count; i++) printf("%s%d", i ? "," : "", (int)p->ends[i]);
    printf("],\"types\":{");
    for (int t = 0, any = 0; t < FR__TYPES; t++) if (counts[t]) printf("%s\"%s\":{\"tensors\":%td,\"bytes\":%td}", any++ ? "," : "", fr__types[t].name, counts[t], sizes[t]);
    printf("}");
    if (framing.kind) {
      printf(",\"chat\":\"%s\",\"before\":", framing.kind); cli_quoted(framing.before, (fr_int)strlen(framing.before));
      printf(",\"after\":"); cli_quoted(framing.after, (fr_int)strlen(framing.after));
    }
    if (m.has_tokenizer) printf(",\"tokenizer\":{\"ids\":%td,\"merges\":%td,\"specials\":%td,\"split\":\"%s\"}", m.tokenizer.vocab, m.tokenizer.merge_count,
                                m.tokenizer.special_count, cli_split(m.tokenizer.split));
    else { printf(",\"no_tokenizer\":"); cli_quoted(m.no_tokenizer.text, (fr_int)strlen(m.no_tokenizer.text)); }
    if (known) { printf(",\"memory\":"); cli_json_memory(&memory, context, forks); }
    for (int wrong = !all; wrong < 2; wrong++) {
      printf(wrong ? ",\"wrong\":[" : ",\"tensors\":[");
      for (fr_int i = 0, any = 0; fr_pretrained_tensor(p, i, &found) == FR_OK; i++) {
        if (wrong && found.fit == FR_FITS) continue;
        printf("%s{\"fit\":\"%s\",\"name\":", any++ ? "," : "", fits[(int)found.fit]);
        cli_quoted(found.name, (fr_int)strlen(found.name));
        printf(",\"rows\":%td,\"cols\":%td,\"type\":\"%s\",\"in_place\":%s}", found.rows, found.cols, found.type, found.stays ? "true" : "false");
      }
      printf("]");
    }
    printf("}\n");
  } else {
    const fr_config *g = &p->config;
    printf("%s: %s, %s, %.1f million parameters\n", path, cli_form(p->form), p->family, (double)parameters / 1e6);
    printf("  layers %td, channels %td, heads %td of %td, key/value heads %td, MLP %td, vocabulary %td%s, context %td\n", g->layers, g->dim, g->heads,
           g->head_dim, g->kv_heads, g->ffn, g->vocab, g->tied ? " (head tied)" : "", p->context);
    printf("  theta %g, eps %g%s%s%s\n", (double)g->rope_theta, (double)g->norm_eps, g->qkv_bias ? ", biases" : "", g->qk_norm ? ", norms of heads" : "",
           g->rope_factor > 0.0f ? ", llama3 scaling of rope" : "");
    printf("  weights:");
    for (int t = 0; t < FR__TYPES; t++) if (counts[t]) printf("  %s %td, %s", fr__types[t].name, counts[t], cli_bytes((double)sizes[t], a));
    printf("\n  end tokens:");
    for (fr_int i = 0; i < p->end_count; i++) {
      const fr_text text = m.has_tokenizer ? fr_tokenizer_token(&m.tokenizer, p->ends[i]) : p->end;
      printf(" %d%s%.*s", (int)p->ends[i], text.bytes ? " " : "", text.bytes ? (int)text.count : 0, text.bytes ? text.bytes : "");
    }
    printf(p->end_count ? "\n" : " none\n");
    if (m.has_tokenizer)
      printf("  tokenizer: %td ids, %td merges, %td special, split of %s%s\n", m.tokenizer.vocab, m.tokenizer.merge_count, m.tokenizer.special_count,
             cli_split(m.tokenizer.split), m.tokenizer.nfc ? ", normal form C" : "");
    else printf("  no tokenizer: %s\n", m.no_tokenizer.text);
    if (m.has_tokenizer && m.tokenizer.vocab > g->vocab) printf("  it does not fit: the tokenizer has more ids than the model rows\n");
    if (framing.kind) printf("  chat: %s\n", framing.kind);
    else printf("  chat: %s%s\n", framing.wrong, p->chat.count ? "; convert has --before and --after to state a framing by hand" : "");
    if (known) {
      printf("  used where it lies %s, copied as %s %s\n", cli_bytes((double)memory.stays, a), type == FR_FLOAT32 ? "float32" : "bfloat16",
             cli_bytes((double)memory.copied, b));
      cli_say_memory(&memory, context, forks);
    }
    for (fr_int i = 0; fr_pretrained_tensor(p, i, &found) == FR_OK; i++)
      if (all || found.fit != FR_FITS)
        printf("  %-9s %s  %s [%td, %td]%s\n", fits[(int)found.fit], found.name, found.type, found.rows, found.cols, found.stays ? "  where it lies" : "");
  }
  if (!known) status = p->wrong ? cli_fail("%s: %td tensors are missing, left over or misshapen", path, p->wrong) : cli_fail("%s: %s", path, m.reason.text);
  else if (m.tokenizer_damaged) status = cli_fail("%s: %s", path, m.no_tokenizer.text);
  cli_model_close(&m);
  return status;
}

#endif
