// forkreason.c - models of others on the command line: look at one, turn one form into another, see what a tokenizer makes of text.
//
//     cc -O2 -pthread -o forkreason examples/forkreason.c -lm && ./forkreason --help
//
// A command a header: cli_inspect.h, cli_convert.h, cli_tokenize.h; what they share is in cli.h. Exit status: 0; 1: what was given,
// or the work, failed; 2: the command line is wrong.
#define _XOPEN_SOURCE 700
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "cli.h"
#include "cli_inspect.h"
#include "cli_convert.h"
#include "cli_tokenize.h"
#include "cli_train.h"
#include "cli_match.h"
#include "cli_generate.h"
#include "cli_eval.h"

static const cli_command commands[] = {
  { "inspect", cli_inspect, cli_inspect_flags, cli_inspect_help },
  { "convert", cli_convert, cli_convert_flags, cli_convert_help },
  { "tokenize", cli_tokenize, cli_tokenize_flags, cli_tokenize_help },
  { "train", cli_train, cli_train_flags, cli_train_help },
  { "match", cli_match, cli_match_flags, cli_match_help },
  { "eval", cli_eval, cli_eval_flags, cli_eval_help },
  { "generate", cli_generate, cli_generate_flags, cli_generate_help },
  { "chat", cli_chat, cli_chat_flags, cli_chat_help },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int usage(FILE *out, int status)
{
  fprintf(out, "forkreason " FR_VERSION ": small language models that reason in parallel\n\n"
    "  inspect PATH            what a model is, what of it is used where it lies, the memory that it takes\n"
    "  convert FROM TO         from a folder, a GGUF or a llama2.c file to any of them, with tokens for forks\n"
    "  tokenize PATH [TEXT]    ids and pieces of a text\n"
    "  train                   on questions with several traces each: set supervised fine-tuning, its baselines, the choosing of forks\n"
    "  match                   what it sees of a question: the cost matrix and its matching\n"
    "  eval                    right answers by fork, by vote, by policy; base beside tuned\n"
    "  generate                a question, all forks at once, and their vote\n"
    "  chat                    turns\n\n"
    "  forkreason train --model SmolLM2-135M-Instruct.Q4_1.gguf --data problems/ --out tuned\n"
    "  forkreason generate --model tuned --prompt \"A box holds 47 pens. How many pens are in 6 boxes?\"\n\n"
    "forkreason COMMAND --help tells the rest. Exit status: 0; 1: what was given, or the work, failed; 2: the command line is wrong.\n");
  return status;
}

#if !defined(_WIN32)
static void stopped(int number)  // leaves nothing behind; the first one lets a training step end, and saves
{
  if (cli_placing || (cli_stoppable && !cli_asked++)) return;
  cli_drop();
  signal(number, SIG_DFL);
  raise(number);
}
#endif

int main(int count, char **words)
{
  const char *name = count > 1 ? words[1] : "";
  int i = 0, status;
#if !defined(_WIN32)
  const int stops[] = { SIGINT, SIGTERM, SIGHUP };
  for (int s = 0; s < 3; s++) if (signal(stops[s], stopped) == SIG_IGN) signal(stops[s], SIG_IGN);  // as nohup has it
#endif
#if defined(SIGPIPE)
  signal(SIGPIPE, SIG_IGN);  // a pipe that nobody reads any longer is an error of writing
#endif
  if (!*name) return usage(stderr, 2);
  while (i < COMMANDS && strcmp(commands[i].name, name)) i++;
  if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
    status = usage(stdout, 0);
  } else if (i < COMMANDS) {
    status = cli_run(&commands[i], count - 2, words + 2);
  } else {
    fr_text nearest = { NULL, 0 };
    int least = 1000;
    for (i = 0; i < COMMANDS; i++) cli_named(commands[i].name, name, &nearest, &least);
    return cli_wrong("there is no command %s; %s is the nearest", name, nearest.bytes);
  }
  if ((fflush(stdout) || ferror(stdout)) && !status) status = cli_fail("the output cannot be written");
  return status;
}
