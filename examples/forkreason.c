// forkreason.c - models of others on the command line: look at one, turn one form into another, see what a tokenizer makes of text.
//
//     cc -O2 -o forkreason examples/forkreason.c -lm && ./forkreason --help
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

static const cli_command commands[] = {
  { "inspect", cli_inspect, cli_inspect_flags, cli_inspect_help },
  { "convert", cli_convert, cli_convert_flags, cli_convert_help },
  { "tokenize", cli_tokenize, cli_tokenize_flags, cli_tokenize_help },
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int usage(FILE *out, int status)
{
  fprintf(out, "forkreason " FR_VERSION ": models of others\n\n"
    "  inspect PATH            what a model is, what of it is used where it lies, the memory that it takes\n"
    "  convert FROM TO         from a folder, a GGUF or a llama2.c file to any of them\n"
    "  tokenize PATH [TEXT]    ids and pieces of a text\n\n"
    "  forkreason inspect SmolLM2-135M-Instruct.Q4_1.gguf\n"
    "  forkreason convert SmolLM2-135M-Instruct.Q4_1.gguf smol --forks 6\n\n"
    "forkreason COMMAND --help tells the rest. Exit status: 0; 1: what was given, or the work, failed; 2: the command line is wrong.\n");
  return status;
}

#if !defined(_WIN32)
static void stopped(int number)  // leaves nothing behind
{
  if (cli_placing) return;
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
    const char *names[COMMANDS];
    for (i = 0; i < COMMANDS; i++) names[i] = commands[i].name;
    return cli_wrong("there is no command %s; %s is the nearest", name, cli_nearest(name, names, COMMANDS));
  }
  if ((fflush(stdout) || ferror(stdout)) && !status) status = cli_fail("the output cannot be written");
  return status;
}
