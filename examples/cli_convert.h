// cli_convert.h - forkreason convert: from a folder, a GGUF or a llama2.c file to any of them, with tokens for forks if asked.
//
// All is written beside TO and takes its place when it is whole: a folder as TO.tmp, while the old one is TO.old.
#ifndef CLI_CONVERT_H
#define CLI_CONVERT_H

#include "chat.h"
#include <sys/stat.h>
#if defined(_WIN32)
#include <direct.h>
#define cli_make_folder(path) _mkdir(path)
#define cli_remove_folder(path) _rmdir(path)
#else
#include <sys/statvfs.h>
#define cli_make_folder(path) mkdir(path, 0777)
#define cli_remove_folder(path) rmdir(path)
#endif

static const cli_flag cli_convert_flags[] = { { "--type", "--dtype", 1 }, { "--forks", NULL, 1 }, { "--fork", NULL, 1 }, { "--seed", NULL, 1 }, { "--check", NULL, 0 },
  { "--name", NULL, 1 }, { "--base", NULL, 1 }, { "--license", "--licence", 1 }, { "--data", NULL, 1 }, { "--json", NULL, 0 },
  { "--before", NULL, 1 }, { "--after", NULL, 1 }, { NULL, NULL, 0 } };
static const char cli_convert_help[] =
  "forkreason convert FROM TO: FROM is a folder, a GGUF or a llama2.c file; TO ends in .gguf, in .bin (llama2.c), or is a folder\n\n"
  "  --type T       f32, f16 or bf16 [bf16 if FROM has nothing wider, else f32]; the loss of a text is told before and after rounding\n"
  "  --forks N      adds the tokens <think1> .. <thinkN>; their rows: the mean of all, and a little noise\n"
  "  --fork TEXT    the one that the chat template takes where `fork` is not given to it [<think1>]\n"
  "  --before, --after TEXT    the framing of a question, where the chat template is of no known kind: it is written in its place\n"
  "  --seed S       of that noise [1]\n"
  "  --check        reads TO again and compares logits\n"
  "  --name, --base, --license, --data TEXT    for the model card and the GGUF's head\n"
  "  --json         one JSON object\n\n"
  "  forkreason convert SmolLM2-135M-Instruct.Q4_1.gguf smol --forks 6 --license apache-2.0 --base HuggingFaceTB/SmolLM2-135M-Instruct\n"
  "  forkreason convert smol smol.gguf --type f16 --check\n";

static const char cli_text[] =
  "A farmer has twelve boxes with eight apples in each of them. On Monday she sells half of all her apples at the market, and on Tuesday "
  "she gives ten to her neighbour, who bakes two cakes with them. To find out how many are left, count the apples first: twelve times "
  "eight is ninety-six. Half of ninety-six is forty-eight, and forty-eight less ten is thirty-eight. So she has thirty-eight apples.";

enum { CLI_ROWS = 32 };
// Mean loss of the next token of the text, and the logits of its last rows, CLI_ROWS at most; 0, or 1.
static inline int cli_loss(const fr_model *model, const fr_token *ids, fr_int count, double *loss, float *logits)
{
  fr_span span = { -1, { NULL, 0 } };
  fr_target targets[512];
  fr_tree tree;
  fr_limits limits;
  fr_work work;
  fr_sum sum;
  const fr_int last = count - 1, shown = count < CLI_ROWS ? count : CLI_ROWS;
  fr_int rows[CLI_ROWS];
  int bad;
  memset(&tree, 0, sizeof tree);
  span.tokens.ids = ids;
  span.tokens.count = count;
  for (fr_int i = 0; i < last; i++) {
    targets[i].row = i;
    targets[i].token = ids[i + 1];
    targets[i].weight = 1.0f;
    targets[i].group = 0;
  }
  for (fr_int i = 0; i < shown; i++) rows[i] = count - shown + i;
  tree.spans = &span;
  tree.span_count = 1;
  tree.targets = targets;
  tree.target_count = last;
  if (fr_tree_limits(&tree, &limits)) return 1;
  limits.grad_rows = 0;
  limits.rows = count;
  if (fr_work_new(&work, &model->config, &limits)) return 1;
  bad = fr_forward(model, &work, &tree, &sum, 1) || fr_logits(model, &work, rows, shown, logits, NULL);
  *loss = bad ? 0.0 : sum.nll / (double)last;
  fr_work_free(&work);
  return bad;
}

static inline void cli_path(char out[1000], const char *folder, const char *suffix, const char *name)
{
  snprintf(out, 1000, name ? "%.700s%s/%s" : "%.700s%s", folder, suffix, name);
}
static inline void cli_remove_all(const char *folder, const char *suffix)  // files that we write, and the folder if it is empty then
{
  char path[1000];
  for (int f = 0; fr_export_name((fr_export_file)f); f++) {
    cli_path(path, folder, suffix, fr_export_name((fr_export_file)f));
    remove(path);
  }
  cli_path(path, folder, suffix, NULL);
  cli_remove_folder(path);
}

static inline int cli_write_folder(const char *to, const fr_export *what)
{
  char path[1000], temporary[1000], old[1000];
  fr_reason reason;
  int there;
  cli_path(temporary, to, ".tmp", NULL);
  cli_path(old, to, ".old", NULL);
  cli_remove_all(to, ".tmp");
  if (cli_make_folder(temporary)) return cli_fail("%s cannot be made: %s", temporary, strerror(errno));
  for (int f = 0; fr_export_name((fr_export_file)f); f++) {
    const fr_export_file file = (fr_export_file)f;
    if ((file == FR_EXPORT_CHAT && !what->chat.count) || (!what->tokenizer && (file == FR_EXPORT_TOKENIZER || file == FR_EXPORT_TOKENIZER_CONFIG)))
      continue;
    cli_path(path, to, ".tmp", fr_export_name(file));
    if (fr_export_save(path, what, file, &reason)) {
      cli_remove_all(to, ".tmp");
      return cli_fail("%s; %s is as it was", reason.text, to);
    }
  }
  cli_remove_all(to, ".old");
  there = rename(to, old) == 0;
  if (rename(temporary, to)) {
    const int why = errno;
    if (there) rename(old, to);
    cli_remove_all(to, ".tmp");
    return cli_fail("%s cannot take its place: %s", temporary, strerror(why));
  }
  if (there) cli_remove_all(to, ".old");  // files of others stay, in TO.old
  return 0;
}

// 1: both are the same file or folder, 2: TO lies in the folder FROM, or would, 3: the other way round; 0: neither, or nobody knows.
static inline int cli_related(const char *from, const char *to)
{
#if defined(_WIN32)
  return !strcmp(from, to);
#else
  struct stat target, here, above;
  char path[4096];
  for (int turn = 0; turn < 2; turn++) {
    const char *inner = turn ? from : to, *slash = strrchr(inner, '/');
    if (stat(turn ? to : from, &target)) continue;
    if (!stat(inner, &here) && here.st_dev == target.st_dev && here.st_ino == target.st_ino) return 1;
    snprintf(path, sizeof path, "%.*s.", slash ? (int)(slash - inner) + 1 : 0, inner);
    while (strlen(path) + 4 < sizeof path && !stat(path, &here)) {  // up to the root, whose .. is itself
      if (here.st_dev == target.st_dev && here.st_ino == target.st_ino) return 2 + turn;
      snprintf(path + strlen(path), 4, "/..");
      if (stat(path, &above) || (above.st_dev == here.st_dev && above.st_ino == here.st_ino)) break;
    }
  }
  return 0;
#endif
}
// Bytes that are free where TO goes; 0: nobody knows.
static inline double cli_room(const char *to)
{
#if defined(_WIN32)
  (void)to;
  return 0.0;
#else
  struct statvfs disk;
  const char *slash = strrchr(to, '/');
  char path[1000];
  snprintf(path, sizeof path, "%.*s.", slash ? (int)(slash - to) + 1 : 0, to);
  return statvfs(path, &disk) ? 0.0 : (double)disk.f_bavail * (double)disk.f_frsize;
#endif
}

enum { CLI_FORKS = 1000 };
static inline fr_text cli_fork(fr_int i, char name[32])
{
  fr_text text;
  text.count = snprintf(name, 32, "<think%d>", (int)i + 1);
  text.bytes = name;
  return text;
}

static inline int cli_ends_in(const char *text, const char *end)
{
  const size_t a = strlen(text), b = strlen(end);
  return a > b && !strcmp(text + a - b, end);
}

static inline int cli_convert(const cli_given *given)
{
  static const char *const types[] = { "f32", "f16", "bf16" };
  const char *from = given->word[0], *asked = cli_value(given, "--type"), *words = NULL, *before = cli_value(given, "--before"),
    *after = cli_value(given, "--after"), *fork = cli_value(given, "--fork") ? cli_value(given, "--fork") : "<think1>";
  const int json = cli_value(given, "--json") != NULL, check = cli_value(given, "--check") != NULL;
  const fr_int forks = cli_number(given, "--forks", 0, 1, CLI_FORKS), seed = cli_number(given, "--seed", 1, 0, 0x7fffffff);
  char to[701] = "", sizes[2][32], by_hand[2200], wrong[MAP_WRONG], *chat_text = NULL, name[32], had[CLI_FORKS];
  fr_pretrained_options options;
  fr_export what;
  fr_model model;
  fr_token ids[512];
  fr_int count = 0;
  double space, loss = 0.0, loss_after = 0.0, apart = 0.0, largest = 0.0;
  float *logits[2] = { NULL, NULL };
  cli_model m, again;
  chat framing;
  fr_export_file file;
  size_t length;
  int type = 0, status = 0, wide = 0, related;
  if (forks < 0 || seed < 0) return 2;
  if (given->words != 2) return cli_wrong("convert takes FROM and TO");
  if (asked) for (type = 0; type < 3 && strcmp(types[type], asked);) type++;
  if (type == 3) return cli_wrong("--type is f32, f16 or bf16, not %s", asked);
  length = strlen(given->word[1]);
  if (length > 690 || !length) return cli_wrong("TO is empty or too long");
  memcpy(to, given->word[1], length + 1);
  while (length > 1 && to[length - 1] == '/') to[--length] = 0;
  file = cli_ends_in(to, ".gguf") ? FR_EXPORT_GGUF : cli_ends_in(to, ".bin") ? FR_EXPORT_LLAMA2C : FR_EXPORT_CONFIG;
  if (!strcmp(from, to)) return cli_wrong("FROM and TO are the same");
  related = cli_related(from, to);
  if (related == 1) return cli_fail("%s and %s are the same", from, to);
  if (related && file == FR_EXPORT_CONFIG) return cli_fail("%s lies within %s: take another folder", related == 2 ? to : from, related == 2 ? from : to);
  if (!before != !after) return cli_wrong("--before and --after state a framing together");
  if (strlen(fork) > 480 || (before && (strlen(before) > 480 || strlen(after) > 480))) return cli_wrong("--fork, --before, --after: 480 bytes at most");
  if (file == FR_EXPORT_CONFIG) {  // nobody's other folder is moved away
    char path[1000];
    map_file there;
    cli_path(path, to, "", "config.json");
    if (map_open(&there, path, wrong)) map_close(&there);
    else if (map_open(&there, to, wrong)) { map_close(&there); return cli_fail("%s is a file; a folder would be written there", to); }
    else if (!there.absent && cli_remove_folder(to)) return cli_fail("%s is a folder without config.json, and not empty: it is left as it is", to);
  }
  memset(had, 0, sizeof had);
  if (forks) {  // a fork that FROM has already keeps its row
    status = cli_model_open(&m, from, 0);
    for (fr_int i = 0; !status && m.has_tokenizer && i < forks; i++) had[i] = fr_tokenizer_find(&m.tokenizer, cli_fork(i, name)) >= 0;
    cli_model_close(&m);
  }
  if (!status) status = cli_model_open(&m, from, forks);
  if (!status && m.pretrained.wrong) status = cli_fail("%s: %td tensors do not fit; forkreason inspect names them", from, m.pretrained.wrong);
  if (!status && !m.has_tokenizer && (forks || file == FR_EXPORT_GGUF || (file == FR_EXPORT_CONFIG && !m.tokenizer_absent)))
    status = cli_fail("%s: %s", from, m.no_tokenizer.text);
  if (!status && before) {
    m.pretrained.chat.bytes = by_hand;
    m.pretrained.chat.count = (fr_int)chat_by_hand(before, after, by_hand, sizeof by_hand);
  } else if (!status && forks && m.pretrained.chat.count) {
    framing = chat_of(m.pretrained.chat, NULL);
    if (!framing.kind) status = cli_fail("%s: %s; --before and --after state the framing by hand", from, framing.wrong);
  }
  if (status) { cli_model_close(&m); return status; }
  for (fr_int i = 0; i < m.pretrained.tensor_count; i++) {
    fr_found found;
    if (fr_pretrained_tensor(&m.pretrained, i, &found) == FR_OK) wide |= found.rows > 1 && (!strcmp(found.type, "F32") || !strcmp(found.type, "F16"));
  }
  if (!asked) type = wide || file == FR_EXPORT_LLAMA2C ? 0 : 2;
  memset(&options, 0, sizeof options);
  memset(&what, 0, sizeof what);
  options.whole = 1;
  options.vocab = m.has_tokenizer && m.tokenizer.vocab > m.pretrained.config.vocab ? m.tokenizer.vocab : 0;
  if (fr_pretrained_model_new(&m.pretrained, &options, &model, &m.reason)) {
    cli_model_close(&m);
    return cli_fail("%s: %s", from, m.reason.text);
  }
  space = cli_room(to);
  if (!status && space > 0.0 && (double)model.count * (type ? 2.0 : 4.0) > space)
    status = cli_fail("%s takes %s, and %s are free there", to, cli_bytes((double)model.count * (type ? 2.0 : 4.0), sizes[0]), cli_bytes(space, sizes[1]));
  for (fr_int i = 0; i < forks && !status; i++) {
    const fr_token id = fr_tokenizer_find(&m.tokenizer, cli_fork(i, name));
    if (had[i]) continue;
    if (id < 0 || fr_model_set_rows(&model, id, 1, 1, .02f, (uint64_t)(seed * 1000 + i))) status = cli_fail("no row for %s", name);
  }
  what.model = &model;
  what.tokenizer = m.has_tokenizer ? &m.tokenizer : NULL;
  what.type = (fr_export_type)type;
  what.context = m.pretrained.context;
  what.begin = m.pretrained.begin;
  what.pad = -1;
  what.ends = m.pretrained.ends;
  what.end_count = m.pretrained.end_count;
  what.chat = m.pretrained.chat;
  if (forks && what.chat.count && (!had[0] || before)) {
    const size_t room = (size_t)what.chat.count + 1200;
    chat_text = (char *)malloc(room);
    if (chat_text) what.chat.count = (fr_int)chat_with_fork(m.pretrained.chat, fork, chat_text, room);
    if (chat_text) what.chat.bytes = chat_text;
    else status = cli_fail("no memory");
  }
  what.name = cli_value(given, "--name");
  what.base = cli_value(given, "--base");
  what.license = cli_value(given, "--license");
  what.data = cli_value(given, "--data");
  if (m.has_tokenizer && !status) {
    fr_encoder encoder;
    if (fr_encoder_new(&encoder, &m.tokenizer, sizeof cli_text, 0) ||
        fr_tokenizer_encode(&encoder, cli_text, sizeof cli_text - 1, FR_SPECIALS_TEXT, ids, 512, &count)) count = 0;
    fr_encoder_free(&encoder);
  }
  if (count < 2) for (count = 0; count < 40; count++) ids[count] = (fr_token)((count * 7919 + 11) % m.pretrained.config.vocab);  // any ids
  else words = "the text";
  if (count > m.pretrained.context) count = m.pretrained.context;
  for (int i = 0; i < 2; i++) logits[i] = (float *)malloc((size_t)model.config.vocab * CLI_ROWS * sizeof(float));
  if (!status && (!logits[0] || !logits[1] || cli_loss(&model, ids, count, &loss, logits[0]))) status = cli_fail("no memory to run the model");
  if (!status && file == FR_EXPORT_CONFIG) status = cli_write_folder(to, &what);
  else if (!status && fr_export_save(to, &what, file, &m.reason)) status = cli_fail("%s; %s is as it was", m.reason.text, to);
  if (!status && (check || type)) {
    fr_model read;
    memset(&read, 0, sizeof read);
    memset(&options, 0, sizeof options);
    status = cli_model_open(&again, to, 0);
    if (!status && (fr_pretrained_model_new(&again.pretrained, &options, &read, &again.reason) ||
                    memcmp(&read.config, &model.config, sizeof read.config) || cli_loss(&read, ids, count, &loss_after, logits[1])))
      status = cli_fail("%s was written, but cannot be read again: %s", to, again.reason.text);
    for (fr_int v = 0; !status && v < model.config.vocab * (count < CLI_ROWS ? count : CLI_ROWS); v++) {
      apart = fmax(apart, fabs((double)logits[0][v] - (double)logits[1][v]));
      largest = fmax(largest, fabs((double)logits[0][v]));
    }
    fr_model_free(&read);
    cli_model_close(&again);
    if (!status && check && !type && !(apart <= 1e-5 * largest)) status = cli_fail("%s: its logits are %.3g off, of %.3g", to, apart, largest);
  }
  if (!status && json) {
    printf("{\"to\":"); cli_quoted(to, (fr_int)strlen(to));
    printf(",\"type\":\"%s\",\"vocab\":%td,\"forks\":%td,\"loss\":%.9g", types[type], model.config.vocab, forks, loss);
    if (check || type) printf(",\"loss_after\":%.9g,\"apart\":%.3g,\"largest\":%.4g", loss_after, apart, largest);
    printf("}\n");
  } else if (!status) {
    printf("%s: %s, %s, vocabulary %td", to, file == FR_EXPORT_GGUF ? "GGUF" : file == FR_EXPORT_LLAMA2C ? "llama2.c" : "folder", types[type], model.config.vocab);
    if (forks) printf(", <think1> is %d", (int)fr_tokenizer_find(&m.tokenizer, cli_fork(0, name)));
    printf("\nloss of %s: %.4f", words ? words : "some tokens", loss);
    if (check || type) printf("; read again %.4f, logits at most %.2g apart, of %.3g", loss_after, apart, largest);
    printf("\n");
  }
  free(chat_text);
  free(logits[0]);
  free(logits[1]);
  fr_model_free(&model);
  cli_model_close(&m);
  return status;
}

#endif
