// forkreason train and stream_forks: a run that was stopped, or killed at any moment, and goes on ends with the same files, byte for byte,
// as an unbroken one, for every method; so does one with another number of threads. What is wrong is said before a step is made.
#ifdef _WIN32
#include <stdio.h>
int main(void)
{
  printf("skipped: it drives the examples through a POSIX shell\n");
  return 77;
}
#else
#define _POSIX_C_SOURCE 200809L
#include "tool.h"
#include <signal.h>

static char data_path[300], whole[300], part[300];

// Runs the tool; returns its exit status. What it said is in log_path.
static int run(const char *options)
{
  char command[3000];
  snprintf(command, sizeof command, "%s/forkreason train %s >%s 2>&1 </dev/null", folder, options, log_path);
  return tool_status(command);
}

// The same in a process of its own, which is given back at once.
static pid_t start(const char *options)
{
  char command[3000];
  snprintf(command, sizeof command, "exec %s/forkreason train %s >%s 2>&1 </dev/null", folder, options, log_path);
  const pid_t process = fork();
  if (process == 0) signal(SIGINT, SIG_DFL);  // a shell that runs something behind it lets it ignore this
  if (process == 0) { execl("/bin/sh", "sh", "-c", command, (char *)NULL); _exit(99); }
  return process;
}

static void make_data(void)
{
  FILE *f = fopen(data_path, "wb");
  if (!CHECK(f != NULL)) exit(1);
  for (int q = 0; q < 60; q++)
    fprintf(f, "{\"question\":\"%d + %d?\",\"traces\":[{\"text\":\"it is %d\",\"source\":\"A\"},{\"text\":\"%d\",\"source\":\"B\"},"
               "{\"text\":\"%d and %d make %d\"},{\"text\":\"no idea\",\"correct\":false},{\"text\":\"%0200d\"}]}\n",
            q, q / 2, q + q / 2, q + q / 2, q, q / 2, q + q / 2, 7);
  CHECK(fclose(f) == 0);
}

// Checkpoint and model of the two runs.
static int same_end(const char *checkpoint)
{
  char a[700], b[700];
  snprintf(a, sizeof a, "%s/%s", whole, checkpoint);
  snprintf(b, sizeof b, "%s/%s", part, checkpoint);
  if (!same_file(a, b)) return 0;
  snprintf(a, sizeof a, "%s/model.safetensors", whole);
  snprintf(b, sizeof b, "%s/model.safetensors", part);
  return same_file(a, b);
}

static const char small[] = "--layers 1 --dim 16 --heads 2 --ffn 24 --forks 4 --traces 2 --match-tokens 6 --max-len 100 --batch 3 --iters 30 --eval-questions 3 --held-out 0.2";

static void stopped_and_gone_on(void)
{
  static const char *const ways[] = { "--method ssft", "--method random", "--method sft", "--method fixed", "--train forks", "--accum 2 --schedule linear",
                                      "--vocab 280 --truncate", "--tokenizer tests/data/tokenizer/tiny/qwenstyle/tokenizer.json" };
  char options[2000];
  for (int i = 0; i < 8; i++) {
    forget(whole);
    forget(part);
    snprintf(options, sizeof options, "--data %s %s %s --threads 2 --out %s", data_path, small, ways[i], whole);
    CHECK(run(options) == 0);
    CHECK(said("60 incorrect, 0 empty, 0 repeated") && said("is the model"));
    snprintf(options, sizeof options, "--data %s %s %s --threads 1 --stop 13 --out %s", data_path, small, ways[i], part);
    CHECK(run(options) == 0 && said("stopped at step 13 of 30; forkreason train --resume ") && exists(part, "checkpoint-000013.fr") && !exists(part, "model.safetensors"));
    snprintf(options, sizeof options, "--resume %s --stop 14 --threads 1", part);
    CHECK(run(options) == 0 && said("goes on   from step 13 of 30") && exists(part, "checkpoint-000014.fr") && !exists(part, "checkpoint-000013.fr"));
    snprintf(options, sizeof options, "--resume %s", part);
    CHECK(run(options) == 0 && said("held out, "));
    CHECK(same_end("checkpoint-000030.fr"));
    if (i) continue;
    forget(part);
    snprintf(options, sizeof options, "--data %s %s --threads 2 --seed 2 --out %s", data_path, small, part);
    CHECK(run(options) == 0 && !same_end("checkpoint-000030.fr"));
  }
}
// examples/stream_forks: trained in one go; killed when it has saved for the first time, and continued; on other data.
static void stream(const char *file, const char *whole_path, const char *part_path)
{
  char command[2000];
  remove(whole_path);
  remove(part_path);
  snprintf(command, sizeof command, "%s/stream_forks %s %s 30 >%s 2>&1 </dev/null", folder, file, whole_path, log_path);
  CHECK(system(command) == 0);
  CHECK(said("step 20: ") && said("step 30: ") && said("<think1> ") && said("<think4> "));
  snprintf(command, sizeof command, "%s/stream_forks %s %s 30 >%s 2>&1 </dev/null & p=$!; while kill -0 $p 2>%s && [ ! -s %s ]; do sleep .05; done;"
           " kill -9 $p 2>>%s; wait $p", folder, file, part_path, log_path, log_path, part_path, log_path);
  CHECK(system(command) != -1);
  snprintf(command, sizeof command, "%s/stream_forks %s %s 30 >%s 2>&1 </dev/null", folder, file, part_path, log_path);
  CHECK(system(command) == 0 && said("<think4> ") && same_file(whole_path, part_path));
  snprintf(command, sizeof command, "%s/stream_forks tests/data/jsonl/ok.jsonl %s 30 >%s 2>&1 </dev/null", folder, part_path, log_path);
  CHECK(system(command) != 0 && said("other data"));
}


static int ended(pid_t process)
{
  int status = 0;
  while (waitpid(process, &status, 0) < 0) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// --train forks moves the rows of the forks, of embedding and head, and nothing else.
static void forks_alone(void)
{
  char options[2000], a[700], b[700];
  size_t x, y, differ = 0;
  forget(whole);
  forget(part);
  snprintf(options, sizeof options, "--data %s %s --out %s", data_path, small, whole);
  CHECK(run(options) == 0);
  snprintf(options, sizeof options, "--data %s --model %s --forks 4 --train forks --iters 5 --lr 1e-2 --weight-decay 1 --out %s", data_path, whole, part);
  CHECK(run(options) == 0);
  snprintf(a, sizeof a, "%s/model.safetensors", whole);
  snprintf(b, sizeof b, "%s/model.safetensors", part);
  char *p = contents(a, &x), *q = contents(b, &y);
  CHECK(x == y && x > 10000);
  for (size_t i = 0; i < x && i < y; i++) differ += p[i] != q[i];
  if (!CHECK(differ > 2 * 4 * 16 && differ <= 2 * 4 * 16 * sizeof(float))) fprintf(stderr, "  %d of %d bytes differ\n", (int)differ, (int)x);
  free(p);
  free(q);
}

// Killed without warning: at any moment, and while a checkpoint is being written.
static void killed(void)
{
  static const char wide[] = "--layers 2 --dim 64 --heads 2 --ffn 128 --forks 4 --traces 2 --match-tokens 6 --max-len 100 --batch 3 --iters 30 --eval-every 1000 --held-out 0.2 --save-every 1";
  char options[2000];
  int in_save = 0, at_all = 0;
  forget(whole);
  snprintf(options, sizeof options, "--data %s %s --out %s", data_path, wide, whole);
  CHECK(run(options) == 0);
  for (int attempt = 0; attempt < 20 && (in_save < 1 || at_all < 3); attempt++) {
    char name[64], resume[1000];
    const int while_saving = attempt % 2;
    forget(part);
    snprintf(options, sizeof options, "--data %s %s --out %s", data_path, wide, part);
    snprintf(resume, sizeof resume, "--resume %s", part);
    for (int kill_number = 1; kill_number < 4; kill_number++) {
      const pid_t process = start(kill_number == 1 ? options : resume);
      int there = 0;
      snprintf(name, sizeof name, while_saving ? "checkpoint-%06d.fr.tmp" : "checkpoint-%06d.fr", 7 * kill_number);
      for (int64_t spins = 0; spins < 400000000 && !there && (spins % 1000 || !waitpid(process, NULL, WNOHANG)); spins++) there = exists(part, name);
      kill(process, SIGKILL);
      ended(process);
      at_all += there;
      in_save += while_saving && exists(part, name);
    }
    snprintf(options, sizeof options, "cp %s/README.md %s/checkpoint-000777.fr.tmp", part, part);  // of a save at a step that does not come again
    CHECK(system(options) == 0);
    if (run(resume) || !CHECK(same_end("checkpoint-000030.fr"))) said("nothing");
    CHECK(!exists(part, "checkpoint-000777.fr.tmp"));
  }
  CHECK(at_all >= 3 && in_save >= 1);
}

static void interrupted(void)
{
  char options[2000];
  pid_t process;
  forget(whole);
  forget(part);
  snprintf(options, sizeof options, "--data %s %s --iters 60 --save-every 0 --out %s", data_path, small, whole);
  CHECK(run(options) == 0);
  snprintf(options, sizeof options, "--data %s %s --iters 60 --save-every 0 --report-every 10 --out %s", data_path, small, part);
  CHECK(run(options) == 0);  // how often it reports is kept, and nothing else differs
  for (int twice = 0; twice < 2; twice++) {
    forget(part);
    snprintf(options, sizeof options, "--data %s %s --iters 60 --save-every 20 --layers 3 --dim 128 --out %s", data_path, small, part);
    process = start(options);
    while (!exists(part, "checkpoint-000020.fr")) {}
    kill(process, SIGINT);
    if (twice) kill(process, SIGINT);
    const int status = ended(process);
    if (!twice) {
      CHECK(status == 130 && said("stopped at step ") && !exists(part, "model.safetensors"));
    } else CHECK(status == 130 || status == 1000 + SIGINT);
    snprintf(options, sizeof options, "--resume %s", part);
    CHECK(run(options) == 0 && said("is the model"));
    if (!twice) {  // the same in one go
      forget(whole);
      snprintf(options, sizeof options, "--data %s %s --iters 60 --save-every 20 --layers 3 --dim 128 --out %s", data_path, small, whole);
      CHECK(run(options) == 0);
    }
    CHECK(same_end("checkpoint-000060.fr"));
  }
}

// What is wrong is said before a step is made.
static void refused(void)
{
  char options[2000], command[3000], path[600];
  const char *const wrong[][3] = {
    { "--dim 1e3x", "2", "--dim is a whole number" }, { "--batch 1.5", "2", "--batch" }, { "--batch", "2", "needs a value" }, { "--what 3", "2", "is the nearest" },
    { "--itres 5", "2", "--iters is the nearest" }, { "--forks 0", "2", "from 1 to 64" }, { "--method other", "2", "--method is sft, ssft, random, fixed, gfpo or grpo, not other" },
    { "--dim 30 --heads 4", "1", "not a multiple of heads" }, { "--vocab 100", "2", "--vocab is at least 264" }, { "--vocab 400x", "2", "not 400x" },
    { "--tokenizer no/such/file", "1", "no/such/file cannot be opened" }, { "--max-len 5", "1", "there is no question to train on" },
    { "--model no/such/model", "1", "no/such/model" }, { "--valid no/such/file", "1", "no/such/file" }, { "--model tests/data/model/llama_a", "1", "tokenizer" },
    { "--framing x", "2", "BEFORE{question}AFTER" }, { "--system x", "2", "needs a chat template" }, { "--method gfpo", "2", "needs --model" },
    { "--html no/such/folder/x.html", "1", "no/such/folder" }, { "--tokenizer a --vocab 300", "2", "exclude each other" }, { "word", "2", "no word" },
    { "--config no/such/file", "1", "no/such/file" }, { "--resume tests/data", "1", "holds no checkpoint" }, { "--schedule x", "2", "cosine, linear or constant" } };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    forget(part);
    snprintf(options, sizeof options, "--data %s --iters 2 --layers 1 --dim 16 --heads 2 --ffn 24 --out %s %s", data_path, part, wrong[i][0]);
    if (!CHECK(run(options) == atoi(wrong[i][1]) && said(wrong[i][2])) || strstr(options, "step ")) fprintf(stderr, "  %s\n", wrong[i][0]);
  }
  snprintf(options, sizeof options, "--iters 2 --out %s", part);
  CHECK(run(options) == 2 && said("needs --data"));
  snprintf(options, sizeof options, "--iters 2 --data %s", data_path);
  CHECK(run(options) == 2 && said("needs --out"));
  snprintf(options, sizeof options, "--data no/such/file.jsonl --out %s", part);
  CHECK(run(options) == 1 && said("no/such/file.jsonl"));
  for (int i = 0; i < 12; i++) {  // hostile rows: a message and status 1, and OUT stays empty
    static const char *const bad[] = { "array", "cut_line", "missing_traces", "non_utf8", "traces_empty", "traces_type", "two_per_line",
                                       "empty_file", "last_turn", "role", "completion", "pretty" };
    forget(part);
    snprintf(options, sizeof options, "--data tests/data/jsonl/bad_%s.jsonl --iters 2 --out %s", bad[i], part);
    CHECK(run(options) == 1 && said("bad_") && !exists(part, "config.json"));
  }
  forget(part);
  snprintf(options, sizeof options, "--data %s --out %s/below", data_path, data_path);  // beneath a file
  CHECK(run(options) == 1 && said("cannot be made"));
  forget(part);
  snprintf(options, sizeof options, "--data %s %s --out %s", data_path, small, part);
  CHECK(run(options) == 0 && run(options) == 1 && said("goes on with it"));
  snprintf(options, sizeof options, "--resume %s --dim 16", part);
  CHECK(run(options) == 2 && said("--dim belongs to the run"));
  snprintf(options, sizeof options, "--resume %s --data tests/data/jsonl/ok.jsonl", part);
  CHECK(run(options) == 1 && said("is not the data"));
  snprintf(path, sizeof path, "%s/checkpoint-000030.fr", part);
  {  // a damaged checkpoint
    FILE *f = fopen(path, "r+b");
    if (CHECK(f != NULL)) { fseek(f, 3000, SEEK_SET); fputc(fgetc(f) ^ 1, f); fclose(f); }
    snprintf(options, sizeof options, "--resume %s", part);
    CHECK(run(options) == 1 && said("checkpoint-000030.fr"));
  }
  // A full disk: nothing can be written, then what is small can. (Files may not grow beyond so many blocks of 512 bytes.)
  for (int blocks = 0; blocks < 80; blocks += 60) {
    forget(part);
    snprintf(command, sizeof command, "( trap '' XFSZ; ulimit -f %d; %s/forkreason train --data %s %s --out %s; echo status $? ) 2>&1 </dev/null | cat >%s", blocks, folder,
             data_path, small, part, log_path);
    CHECK(system(command) == 0);
    CHECK(said("cannot be written") && said("status 1") && !exists(part, "checkpoint-000030.fr"));
  }
}

int main(void)
{
  char options[1000];
  if (!tool_there("test_resume")) return 77;
  snprintf(data_path, sizeof data_path, "%.200s/test_resume.jsonl", folder);
  snprintf(whole, sizeof whole, "%.200s/test_resume.whole", folder);
  snprintf(part, sizeof part, "%.200s/test_resume.part", folder);
  make_data();
  stopped_and_gone_on();
  forks_alone();
  killed();
  interrupted();
  refused();
  forget(whole);
  forget(part);
  static const char real[] = "../shared/data/gsm8k_traces.jsonl";
  snprintf(options, sizeof options, "%s/stream_forks", folder);
  FILE *there[2] = { fopen(options, "rb"), fopen(real, "rb") };
  if (!there[0]) printf("left out: %s is not there (make examples)\n", options);
  else stream(data_path, whole, part);
  if (there[0] && there[1]) stream(real, whole, part);
  for (int i = 0; i < 2; i++)
    if (there[i]) fclose(there[i]);
  remove(log_path);
  remove(data_path);
  forget(whole);
  forget(part);
  return test_done(there[1] ? "resume" : "resume, without ../shared/data/gsm8k_traces.jsonl");
}
#endif
