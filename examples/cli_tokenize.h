// cli_tokenize.h - forkreason tokenize: ids and pieces of a text.
#ifndef CLI_TOKENIZE_H
#define CLI_TOKENIZE_H

static const cli_flag cli_tokenize_flags[] = {
  CLI_TEXT("--file|-f", "F the text is in this file"),
  CLI_TEXT("--specials", "S special tokens in the text: match, text, refuse [match]"),
  CLI_TEXT("--split", "S of *.tiktoken: gpt2, llama3, qwen, smollm"),
  CLI_SWITCH("--ids", " ids alone, on one line"),
  CLI_SWITCH("--json", " one JSON object"),
  CLI_END };
static const char cli_tokenize_help[] =
  "forkreason tokenize PATH [TEXT]: PATH is a folder, a GGUF, a tokenizer.json, *.tiktoken or tokenizer.bin; without TEXT it is read\n"
  "from standard input\n\n"
  "  forkreason tokenize SmolLM2-135M-Instruct.Q4_1.gguf \"Once upon a time\"\n"
  "  forkreason tokenize Qwen3-0.6B --file README.md --ids\n\n";

static inline char *cli_read_all(FILE *in, fr_int *count)
{
  char *text = NULL;
  size_t room = 0, used = 0, got = 1;
  while (got) {
    if (room - used < 65536) {
      char *more = (char *)realloc(text, room = room * 2 + 65536);
      if (!more) { free(text); return NULL; }
      text = more;
    }
    got = fread(text + used, 1, room - used, in);
    used += got;
  }
  if (ferror(in)) { free(text); return NULL; }
  *count = (fr_int)used;
  return text;
}

static inline int cli_tokenize(cli_given *given)
{
  static const char *const splits[] = { "gpt2", "llama3", "qwen", "smollm" };
  static const fr_split split[] = { FR_SPLIT_GPT2, FR_SPLIT_LLAMA3, FR_SPLIT_QWEN, FR_SPLIT_SMOLLM };
  static const char *const specials[] = { "text", "match", "refuse" };
  const char *path = given->word[0], *file = cli_value(given, "--file"), *asked = cli_value(given, "--specials"), *cut = cli_value(given, "--split");
  const int json = cli_value(given, "--json") != NULL, plain = !json && cli_value(given, "--ids") != NULL;
  fr_tokenizer_source source;
  fr_tokenizer tokenizer;
  fr_encoder encoder;
  fr_reason reason;
  map_folder folder;
  map_file mapped, text_file;
  fr_text text = { "", 0 };
  char wrong[MAP_WRONG], *owned = NULL;
  fr_token *ids;
  fr_int count = 0;
  int how = 1, status = 0;
  memset(&source, 0, sizeof source);
  memset(&mapped, 0, sizeof mapped);
  memset(&text_file, 0, sizeof text_file);
  memset(&folder, 0, sizeof folder);
  if (given->words < 1 || given->words > 2 || (given->words == 2 && file)) return cli_wrong("tokenize takes a PATH, and one text");
  if (asked) for (how = 0; how < 3 && strcmp(specials[how], asked);) how++;
  if (how == 3) return cli_wrong("--specials is text, match or refuse, not %s", asked);
  for (int i = 0; cut && i < 4; i++) if (!strcmp(splits[i], cut)) source.split = split[i];
  if (cut && source.split == FR_SPLIT_UNKNOWN) return cli_wrong("--split is gpt2, llama3, qwen or smollm, not %s", cut);
  memset(&tokenizer, 0, sizeof tokenizer);
  memset(&encoder, 0, sizeof encoder);
  if (cli_is_folder(path)) {
    snprintf(folder.path, sizeof folder.path, "%s", path);
    if (!map_folder_open(&folder, "tokenizer.json", &source.file))
      status = folder.wrong[0] ? cli_fail("%s", folder.wrong) : cli_fail("%s: there is no tokenizer.json in it", path);
  } else if (map_open(&mapped, path, wrong)) {
    source.file.bytes = mapped.bytes;
    source.file.count = mapped.count;
  } else {
    status = cli_fail("%s", wrong);
  }
  if (!status && fr_tokenizer_new(&tokenizer, &source, &reason)) status = cli_fail("%s%s: %s", path, mapped.bytes ? "" : "/tokenizer.json", reason.text);
  if (given->words == 2) {
    text.bytes = given->word[1];
    text.count = (fr_int)strlen(text.bytes);
  } else if (!status && file) {
    if (!map_open(&text_file, file, wrong)) status = cli_fail("%s", wrong);
    text.bytes = text_file.bytes;
    text.count = text_file.count;
  } else if (!status) {
    text.bytes = owned = cli_read_all(stdin, &text.count);
    if (!owned) status = cli_fail("standard input cannot be read");
  }
  ids = status ? NULL : (fr_token *)malloc(((size_t)text.count * 3 + 1) * sizeof *ids);  // normal form C may be longer
  if (!status && (!ids || fr_encoder_new(&encoder, &tokenizer, text.count + 1, 0)))
    status = cli_fail("no memory for a text of %td bytes", text.count);
  if (!status && fr_tokenizer_encode(&encoder, text.bytes, text.count, (fr_specials)how, ids, text.count * 3 + 1, &count))
    status = cli_fail("%s", encoder.reason.text);
  if (!status && json) printf("{\"count\":%td,\"tokens\":[", count);
  for (fr_int i = 0; !status && i < count; i++) {
    const fr_text piece = fr_tokenizer_token(&tokenizer, ids[i]);
    if (plain) printf("%s%d", i ? " " : "", (int)ids[i]);
    else if (json) printf("%s{\"id\":%d,\"text\":", i ? "," : "", (int)ids[i]);
    else printf("%7d  ", (int)ids[i]);
    if (!plain) cli_quoted(piece.bytes, piece.count);
    if (!plain) printf(json ? "}" : "\n");
  }
  if (!status) printf(json ? "]}\n" : plain ? "\n" : "%td tokens\n", count);
  fr_encoder_free(&encoder);
  fr_tokenizer_free(&tokenizer);
  free(ids);
  free(owned);
  map_close(&mapped);
  map_close(&text_file);
  map_folder_close(&folder);
  return status;
}

#endif
