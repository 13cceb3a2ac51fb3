// cli_convert.h - forkreason convert: from a folder, a GGUF or a llama2.c file to any of them, with tokens for forks if asked.
//
// All is made in a folder beside TO, TO.tmp, and takes the place of TO when it is whole and, if asked, has been read again. Names that
// exist are left alone: then it is TO.tmp2. A folder is replaced only if it holds nothing but what is written here.
#ifndef CLI_CONVERT_H
#define CLI_CONVERT_H

#include "chat.h"
#include <float.h>
#include <signal.h>
#include <sys/stat.h>
#if defined(_WIN32)
#include <direct.h>
#define cli_make_folder(path) _mkdir(path)
#define cli_remove_folder(path) _rmdir(path)
#define cli_remove_file(path) remove(path)
#define cli_stat(path, found) stat(path, found)
#define cli_is_link(mode) 0
#else
#include <dirent.h>
#include <sys/statvfs.h>
#define cli_make_folder(path) mkdir(path, 0777)
#define cli_remove_folder(path) rmdir(path)
#define cli_remove_file(path) unlink(path)
#define cli_stat(path, found) lstat(path, found)
#define cli_is_link(mode) S_ISLNK(mode)
#endif

enum { CLI_FORKS = 1000 };
static const cli_flag cli_convert_flags[] = {
  CLI_TEXT("--type|--dtype", "T f32, f16 or bf16 [bf16 if FROM has nothing wider, else f32]; the loss of a text is told before and after rounding"),
  CLI_WHOLE("--forks", 0, 1, CLI_FORKS, "N adds the tokens <think1> .. <thinkN>; their rows: the mean of all, and a little noise"),
  CLI_TEXT("--fork", "TEXT what the chat template takes where `fork` is not given to it [<think1>]; any text, such as <think2>"),
  CLI_TEXT("--before", "TEXT the framing of a question, stated by hand: it is written in place of the chat template;"),
  CLI_TEXT("--after", "TEXT what stands between question and fork"),
  CLI_WHOLE("--seed", 1, 0, 0x7fffffff, "S of that noise"),
  CLI_SWITCH("--check", " reads it again before it takes the place of TO, and compares logits: float32 to 1e-5, else that they are finite"),
  CLI_TEXT("--name", "TEXT for the model card and the GGUF's head, as the next three [of FROM]"),
  CLI_TEXT("--base", "TEXT"), CLI_TEXT("--license|--licence", "TEXT"), CLI_TEXT("--data", "TEXT"),
  CLI_SWITCH("--json", " one JSON object"),
  CLI_END };
static const char cli_convert_help[] =
  "forkreason convert FROM TO: FROM is a folder, a GGUF or a llama2.c file; TO ends in .gguf, in .bin (llama2.c), or is a folder\n\n"
  "  forkreason convert SmolLM2-135M-Instruct.Q4_1.gguf smol --forks 6 --license apache-2.0 --base HuggingFaceTB/SmolLM2-135M-Instruct\n"
  "  forkreason convert smol smol.gguf --type f16 --check\n\n"
  "A model in TO is replaced. Exit status: 0; 1: the work failed, and TO is as it was; 2: the command line is wrong.\n\n";

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
  *loss = bad || !last ? 0.0 : sum.nll / (double)last;
  fr_work_free(&work);
  return bad;
}

// ---- beside TO, then in its place
static char cli_beside[1100];              // the folder in which TO is made; empty: there is none
static volatile sig_atomic_t cli_placing;  // that name changes, or TO does: no moment to stop

// Removes it and what is written there; it calls only what a handler of signals may call.
static inline void cli_drop(void)
{
  for (int f = 0; cli_beside[0] && f < 16; f++) {
    const char *const parts[] = { cli_beside, "/", f < 14 ? fr_export_name((fr_export_file)(f / 2)) : "model", f % 2 ? ".tmp" : "" };
    char path[1200];
    size_t used = 0;
    for (int i = 0; i < 4; i++) { memcpy(path + used, parts[i], strlen(parts[i]) + 1); used += strlen(parts[i]); }
    cli_remove_file(path);
  }
  if (cli_beside[0]) cli_remove_folder(cli_beside);
  cli_beside[0] = 0;
}

// TO as a path that stays right when things are renamed: its folder in full, and a name.
static inline int cli_resolve(const char *given, char to[1000])
{
  const char *slash = strrchr(given, '/'), *name;
  char folder[800];
  int status = 0;
#if defined(_WIN32)
  const char *back = strrchr(given, '\\');
  if (back > slash) slash = back;
#endif
  name = slash ? slash + 1 : given;
  if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) return cli_wrong("TO needs a name, not %s", given);
  snprintf(folder, sizeof folder, "%.*s.", slash ? (int)(slash - given) + 1 : 0, given);
#if defined(_WIN32)
  if (!_fullpath(to, given, 900)) return cli_fail("%s: this path cannot be used", given);
#else
  {
    char *full = realpath(folder, NULL);
    if (!full) status = cli_fail("%s: %s", given, strerror(errno));
    else if (strlen(full) + strlen(name) > 900) status = cli_fail("%s: the path is too long", given);
    else { to[0] = 0; strcat(strcat(strcat(to, full), "/"), name); }
    free(full);
  }
#endif
  return status;
}

static inline int cli_ours(const char *name)  // . and .. too
{
  for (int f = 0; fr_export_name((fr_export_file)f); f++) if (!strcmp(name, fr_export_name((fr_export_file)f))) return 1;
  return !strcmp(name, ".") || !strcmp(name, "..");
}
// Calls visit with the name of each thing in a folder, until it returns something else than 0, which is returned; -1: it cannot be read.
static inline int cli_walk(const char *folder, int (*visit)(void *user, const char *name), void *user)
{
  int found = 0;
#if defined(_WIN32)
  WIN32_FIND_DATAA one;
  HANDLE all;
  char pattern[1100];
  snprintf(pattern, sizeof pattern, "%s\\*", folder);
  all = FindFirstFileA(pattern, &one);
  for (int more = all != INVALID_HANDLE_VALUE; more && !found; more = FindNextFileA(all, &one)) found = visit(user, one.cFileName);
  if (all != INVALID_HANDLE_VALUE) FindClose(all);
#else
  DIR *all = opendir(folder);
  if (!all) return -1;
  for (const struct dirent *one; !found && (one = readdir(all)) != NULL;) found = visit(user, one->d_name);
  closedir(all);
#endif
  return found;
}
// Whether a folder holds other files than ours; the name of one, of at most 300 bytes.
static inline int cli_is_stranger(void *name, const char *found)
{
  return cli_ours(found) ? 0 : snprintf((char *)name, 300, "%s", found);
}
static inline int cli_stranger(const char *folder, char name[300])
{
  const int found = cli_walk(folder, cli_is_stranger, name);
  return found < 0 ? snprintf(name, 300, "what cannot be read") : found;
}
// 1: something is at TO that may be replaced, 0: nothing is there; -1, said: it stays as it is.
static inline int cli_target(const char *to, const char *shown, int folder)
{
  struct stat found;
  char name[300], path[1100], wrong[MAP_WRONG];
  map_file config;
  fr_text text;
  int model;
  if (cli_stat(to, &found)) return 0;
  if (cli_is_link(found.st_mode)) return 1;
  if (!folder && S_ISREG(found.st_mode)) return 1;
  if (!S_ISDIR(found.st_mode)) return -cli_fail(folder ? "%s is a file; a folder would be written there" : "%s is no file", shown);
  if (!folder) return -cli_fail("%s is a folder; a file would be written there", shown);
  if (cli_stranger(to, name)) return -cli_fail("%s holds %s, which is nothing that is written here: take another folder", shown, name);
  snprintf(path, sizeof path, "%s/config.json", to);
  if (!map_open(&config, path, wrong)) return 1;  // an empty one, or one without it
  text.bytes = config.bytes;
  text.count = config.count;
  model = chat_find(text, "\"model_type\"", NULL) != NULL;
  map_close(&config);
  return model ? 1 : -cli_fail("%s holds a config.json that is not of a model: take another folder", shown);
}

static inline int cli_make_beside(const char *to)
{
  char path[1100];
  for (int i = 1; i < 100; i++) {
    snprintf(path, sizeof path, i > 1 ? "%s.tmp%d" : "%s.tmp", to, i);
    cli_placing = 1;
    if (!cli_make_folder(path)) { memcpy(cli_beside, path, sizeof path); cli_placing = 0; return 0; }
    cli_placing = 0;
    if (errno != EEXIST) break;
  }
  return cli_fail("%s cannot be made: %s", path, strerror(errno));
}
static inline int cli_write(const fr_export *what, fr_export_file file)
{
  char path[1200];
  fr_reason reason;
  for (int f = 0; fr_export_name((fr_export_file)f); f++) {
    const fr_export_file one = file == FR_EXPORT_CONFIG ? (fr_export_file)f : file;
    if ((one == FR_EXPORT_CHAT && !what->chat.count) || (!what->tokenizer && (one == FR_EXPORT_TOKENIZER || one == FR_EXPORT_TOKENIZER_CONFIG))) continue;
    snprintf(path, sizeof path, "%s/%s", cli_beside, file == FR_EXPORT_CONFIG ? fr_export_name(one) : "model");
    if (fr_export_save(path, what, one, &reason)) return cli_fail("%s", reason.text);
    if (file != FR_EXPORT_CONFIG) break;
  }
  return 0;
}
// What was there is put back if this fails, and removed when all is well; of a link only the link.
static inline int cli_place(const char *to, const char *shown, int folder)
{
  char old[1100] = "", from[1200];
  struct stat was, other;
  int why = 0;
  const int there = folder && !cli_stat(to, &was);
  snprintf(from, sizeof from, folder ? "%s" : "%s/model", cli_beside);
  for (int i = 1; there && i < 100; i++) {
    snprintf(old, sizeof old, i > 1 ? "%s.old%d" : "%s.old", to, i);
    if (cli_stat(old, &other)) break;
  }
  cli_placing = 1;
  if (!folder) why = fr__replace(from, to) ? 0 : errno;
  else if (there && rename(to, old)) why = errno;
  else if (rename(from, to)) { why = errno; if (there && rename(old, to)) cli_fail("what was %s is now %s", shown, old); }
  if (!why && folder) cli_beside[0] = 0;
  if (!why && there && cli_is_link(was.st_mode)) cli_remove_file(old);
  else if (!why && there) memcpy(cli_beside, old, sizeof old);
  cli_placing = 0;
  if (why) return cli_fail("%s cannot be put in its place: %s", shown, strerror(why));
  cli_drop();
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

static inline fr_text cli_fork(fr_int i, char name[32])
{
  fr_text text;
  text.count = snprintf(name, 32, "<think%d>", (int)i + 1);
  text.bytes = name;
  return text;
}

// Name, base or licence of FROM: key of a GGUF, or in the front matter of a folder's README.md.
static inline const char *cli_general(cli_model *m, const char *key, const char *front, char out[200])
{
  fr_text text = { m->file.bytes, m->file.count };
  const char *at;
  fr__gguf g;
  if (m->pretrained.form == FR_GGUF) {
    if (fr__gguf_open(&g, text, NULL)) return NULL;
    text = fr__gguf_string(&g, key);
  } else {
    if (m->pretrained.form != FR_FOLDER || !front || !map_folder_open(&m->folder, "README.md", &text) || text.count < 4 || memcmp(text.bytes, "---\n", 4)) return NULL;
    if ((at = chat_find(text, "\n---", NULL)) == NULL) return NULL;
    text.count = at - text.bytes + 1;
    if ((at = chat_find(text, front, NULL)) == NULL) return NULL;
    at += strlen(front) + (at[strlen(front)] == '"');
    text.count = (const char *)memchr(at, '\n', (size_t)(text.bytes + text.count - at)) - at;
    text.bytes = at;
    text.count -= text.count && at[text.count - 1] == '"';
  }
  if (!text.count || text.count >= 200) return NULL;
  memcpy(out, text.bytes, (size_t)text.count);
  out[text.count] = 0;
  return out;
}

static inline void cli_real(const char *name, double value)  // JSON has no other numbers than finite ones
{
  if (fabs(value) <= DBL_MAX) printf(",\"%s\":%.9g", name, value);
  else printf(",\"%s\":null", name);
}

static inline int cli_ends_in(const char *text, const char *end)
{
  const size_t a = strlen(text), b = strlen(end);
  return a > b && !strcmp(text + a - b, end);
}

static inline int cli_convert(cli_given *given)
{
  static const char *const types[] = { "f32", "f16", "bf16", NULL }, *const said[] = { "--name", "--base", "--license", "--data" };
  static const char *const keys[] = { "general.name", "general.base_model.0.name", "general.license" }, *const fronts[] = { NULL, "\nbase_model: ", "\nlicense: " };
  const char *from = given->word[0], *asked = cli_value(given, "--type"), *words = NULL, *before = cli_value(given, "--before"),
    *after = cli_value(given, "--after"), *fork = cli_value(given, "--fork"), *general[4];
  const int json = cli_value(given, "--json") != NULL, check = cli_value(given, "--check") != NULL;
  const fr_int forks = cli_whole(given, "--forks"), seed = cli_whole(given, "--seed");
  char to[1000] = "", shown[701], sizes[2][32], by_hand[2200], *chat_text = NULL, name[32], had[CLI_FORKS], texts[3][200];
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
  struct stat left;
  int type = cli_choice(given, "--type", types, 0), status = 0, wide = 0, finite = 1, takes_fork, related, folder, there;
  if (type < 0) return 2;
  if (given->words != 2) return cli_wrong("convert takes FROM and TO");
  length = strlen(given->word[1]);
  if (length > 690 || !length) return cli_wrong("TO is empty or too long");
  memcpy(shown, given->word[1], length + 1);
  while (length > 1 && shown[length - 1] == '/') shown[--length] = 0;
  file = cli_ends_in(shown, ".gguf") ? FR_EXPORT_GGUF : cli_ends_in(shown, ".bin") ? FR_EXPORT_LLAMA2C : FR_EXPORT_CONFIG;
  folder = file == FR_EXPORT_CONFIG;
  if (!strcmp(from, shown)) return cli_wrong("FROM and TO are the same");
  if (!before != !after) return cli_wrong("--before and --after state a framing together");
  if ((fork && strlen(fork) > 480) || (before && (strlen(before) > 480 || strlen(after) > 480))) return cli_wrong("--fork, --before, --after: 480 bytes at most");
  for (int i = 0; i < 4; i++) {
    general[i] = cli_value(given, said[i]);
    for (const char *c = general[i]; c && *c; c++) if ((unsigned char)*c < 0x20) return cli_wrong("%s is one line of text", said[i]);
  }
  if ((status = cli_resolve(shown, to)) != 0) return status;
  related = cli_related(from, to);
  if (related == 1) return cli_fail("%s and %s are the same", from, shown);
  if (related && folder) return cli_fail("%s lies within %s: take another folder", related == 2 ? shown : from, related == 2 ? from : shown);
  there = cli_target(to, shown, folder);
  if (there < 0) return 1;
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
  if (!status && m.has_tokenizer) {
    fr_int ids_of = m.tokenizer.vocab;
    for (fr_int i = 0; i < forks; i++) ids_of -= !had[i];
    if (ids_of > m.pretrained.config.vocab) status = cli_fail("%s: the tokenizer has %td ids, but the model %td rows", from, ids_of, m.pretrained.config.vocab);
  }
  takes_fork = fork || (forks && (!had[0] || before)) || (before && m.has_tokenizer && fr_tokenizer_find(&m.tokenizer, cli_fork(0, name)) >= 0);
  if (!status && before) {
    m.pretrained.chat.bytes = by_hand;
    m.pretrained.chat.count = (fr_int)chat_by_hand(before, after, by_hand, sizeof by_hand);
  } else if (!status && fork && !m.pretrained.chat.count) {
    status = cli_fail("%s has no chat template that could take a fork; --before and --after state a framing by hand", from);
  } else if (!status && takes_fork && m.pretrained.chat.count) {
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
  if (space > 0.0 && (double)model.count * (type ? 2.0 : 4.0) > space)
    status = cli_fail("%s takes %s, and %s are free there", shown, cli_bytes((double)model.count * (type ? 2.0 : 4.0), sizes[0]), cli_bytes(space, sizes[1]));
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
  if (takes_fork && what.chat.count) {
    const size_t room = (size_t)what.chat.count + 1200;
    chat_text = (char *)malloc(room);
    if (chat_text) what.chat.count = (fr_int)chat_with_fork(m.pretrained.chat, fork ? fork : "<think1>", chat_text, room);
    if (chat_text) what.chat.bytes = chat_text;
    else status = cli_fail("no memory");
  }
  for (int i = 0; i < 3; i++) if (!general[i]) general[i] = cli_general(&m, keys[i], fronts[i], texts[i]);
  what.name = general[0];
  what.base = general[1];
  what.license = general[2];
  what.data = general[3];
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
  if (!status && !(fabs(loss) <= DBL_MAX)) status = cli_fail("%s: its loss is not finite: a weight is NaN, or too large", from);
  if (!status) status = cli_make_beside(to);
  if (!status) status = cli_write(&what, file);
  if (!status && (check || type)) {
    char path[1200];
    fr_model read;
    memset(&read, 0, sizeof read);
    memset(&options, 0, sizeof options);
    snprintf(path, sizeof path, folder ? "%s" : "%s/model", cli_beside);
    status = cli_model_open(&again, path, 0);
    if (!status && (fr_pretrained_model_new(&again.pretrained, &options, &read, &again.reason) ||
                    memcmp(&read.config, &model.config, sizeof read.config) || cli_loss(&read, ids, count, &loss_after, logits[1])))
      status = cli_fail("what was written cannot be read again: %s", again.reason.text);
    for (fr_int v = 0; !status && v < model.config.vocab * (count < CLI_ROWS ? count : CLI_ROWS); v++) {
      finite &= fabs((double)logits[1][v]) <= DBL_MAX;
      apart = fmax(apart, fabs((double)logits[0][v] - (double)logits[1][v]));
      largest = fmax(largest, fabs((double)logits[0][v]));
    }
    fr_model_free(&read);
    cli_model_close(&again);
    if (!status && (!finite || !(fabs(loss_after) <= DBL_MAX))) status = cli_fail("as %s its logits are not finite", types[type]);
    if (!status && check && !type && !(apart <= 1e-5 * largest)) status = cli_fail("its logits are %.3g off, of %.3g", apart, largest);
  }
  if (!status) status = cli_place(to, shown, folder);
  cli_drop();
  if (status && there && !cli_stat(to, &left)) cli_fail("%s is as it was", shown);
  if (!status && json) {
    printf("{\"to\":"); cli_quoted(shown, (fr_int)strlen(shown));
    printf(",\"type\":\"%s\",\"vocab\":%td,\"forks\":%td", types[type], model.config.vocab, forks);
    cli_real("loss", loss);
    if (check || type) { cli_real("loss_after", loss_after); cli_real("apart", apart); cli_real("largest", largest); }
    printf("}\n");
  } else if (!status) {
    printf("%s: %s, %s, vocabulary %td", shown, file == FR_EXPORT_GGUF ? "GGUF" : file == FR_EXPORT_LLAMA2C ? "llama2.c" : "folder", types[type], model.config.vocab);
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
