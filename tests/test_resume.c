// examples/train_traces and stream_forks: a run that was stopped at a checkpoint and continued ends with the same file, byte for byte, as an
// unbroken one, for every method; so does one with another number of threads. Bad input ends in a message and status 1.
#ifdef _WIN32
#include <stdio.h>
int main(void)
{
  printf("skipped: it drives the examples through a POSIX shell\n");
  return 77;
}
#else
#define _POSIX_C_SOURCE 200809L
#include "tests/test.h"
#include <sys/wait.h>

static const char *folder;
static char log_path[300], data_path[300];

// Runs the example; returns its exit status. What it said is in log_path.
static int run(const char *file, const char *options)
{
  char command[2000];
  snprintf(command, sizeof command, "%s/train_traces %s %s >%s 2>&1 </dev/null", folder, file, options, log_path);
  const int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static char *contents(const char *path, size_t *bytes)
{
  FILE *f = fopen(path, "rb");
  char *text = (char *)test_alloc(4000000);
  *bytes = 0;
  if (!f) return text;
  *bytes = fread(text, 1, 3999999, f);
  text[*bytes] = 0;
  fclose(f);
  return text;
}

static int said(const char *words)
{
  size_t bytes;
  char *text = contents(log_path, &bytes);
  const int found = strstr(text, words) != NULL;
  if (!found) fprintf(stderr, "  it said: %s\n", text);
  free(text);
  return found;
}

static int same_file(const char *a, const char *b)
{
  size_t x, y;
  char *p = contents(a, &x), *q = contents(b, &y);
  const int same = x == y && x > 1000 && !memcmp(p, q, x);
  free(p);
  free(q);
  return same;
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
  snprintf(command, sizeof command, "--load %s", part_path);
  CHECK(run(file, command) == 1 && said("is not a checkpoint of this program"));
}

// A path that cannot be written is told before the training; one that fails later (files may not grow) spares the results.
static void unwritable(const char *small, const char *path)
{
  char command[2000];
  snprintf(command, sizeof command, "%s --threads 1 --save %s/no_such_folder/x", small, folder);
  CHECK(run(data_path, command) == 1 && said("no_such_folder/x.tmp cannot be opened for writing"));
  size_t bytes;
  char *text = contents(log_path, &bytes);
  CHECK(!strstr(text, "held-out loss"));
  free(text);
  remove(path);
  snprintf(command, sizeof command, "( trap '' XFSZ; ulimit -f 0; %s/train_traces %s %s --threads 1 --every 10 --save %s; "
           "echo status $? ) 2>&1 </dev/null | cat >%s", folder, data_path, small, path, log_path);
  CHECK(system(command) == 0);
  CHECK(said("held out  all") && said(".other.tmp cannot be written") && said("status 1"));
}

int main(void)
{
  static const char *const method[] = { "ssft", "random", "sft" };
  static const char small[] = "--layers 1 --dim 16 --heads 2 --ffn 24 --forks 4 --most 2 --prefix 6 --length 100 --batch 3 --steps 30 --evaluations 5 --sample 3 --held-out 0.2";
  char whole_path[300], part_path[300], other_path[300], options[1000];
  folder = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  snprintf(options, sizeof options, "%s/train_traces", folder);
  FILE *program = fopen(options, "rb");
  if (!program) {
    printf("skipped: %s is not there (make examples)\n", options);
    return 77;
  }
  fclose(program);
  snprintf(log_path, sizeof log_path, "%.200s/test_resume.out", folder);
  snprintf(data_path, sizeof data_path, "%.200s/test_resume.jsonl", folder);
  snprintf(whole_path, sizeof whole_path, "%.200s/test_resume.whole", folder);
  snprintf(part_path, sizeof part_path, "%.200s/test_resume.part", folder);
  snprintf(other_path, sizeof other_path, "%.200s/test_resume.other", folder);
  make_data();
  for (int m = 0; m < 3; m++) {
    remove(whole_path);
    remove(part_path);
    snprintf(options, sizeof options, "%s --method %s --threads 2 --save %s", small, method[m], whole_path);
    CHECK(run(data_path, options) == 0);
    CHECK(said("60 rows with 300 traces") && said("60 incorrect, 0 empty, 0 repeated, 60 too long") &&
          said("0 skipped"));
    snprintf(options, sizeof options, "%s --method %s --threads 1 --stop 13 --save %s", small, method[m], part_path);
    CHECK(run(data_path, options) == 0 && said("stopped   at step 13 of 30"));
    CHECK(!same_file(whole_path, part_path));
    snprintf(options, sizeof options, "--load %s --save %s --stop 14", part_path, part_path);
    CHECK(run(data_path, options) == 0 && said("step 13 of 30") && said("stopped   at step 14 of 30"));
    snprintf(options, sizeof options, "--load %s --save %s", part_path, part_path);
    CHECK(run(data_path, options) == 0 && said("held out  all"));
    CHECK(same_file(whole_path, part_path));
    snprintf(options, sizeof options, "%s --method %s --seed 2 --save %s", small, method[m], part_path);
    CHECK(run(data_path, options) == 0 && !same_file(whole_path, part_path));
  }
  // Learned tokens: the same again; with other tokens the checkpoint is refused.
  snprintf(options, sizeof options, "%s --tokenizer train:280 --threads 2 --save %s", small, whole_path);
  CHECK(run(data_path, options) == 0 && said("train:280: 280 ids, 18 merges"));
  snprintf(options, sizeof options, "%s --tokenizer train:280 --threads 1 --stop 13 --save %s", small, part_path);
  CHECK(run(data_path, options) == 0);
  snprintf(options, sizeof options, "--load %s --save %s --tokenizer train:270", part_path, part_path);
  CHECK(run(data_path, options) == 1 && said("its tokens are others: the model was trained with another tokenizer"));
  snprintf(options, sizeof options, "--load %s --save %s --tokenizer train:280", part_path, other_path);
  CHECK(run(data_path, options) == 0 && same_file(whole_path, other_path));
  snprintf(options, sizeof options, "--load %s --save %s", part_path, part_path);  // they come with the file
  CHECK(run(data_path, options) == 0 && same_file(whole_path, part_path));
  snprintf(options, sizeof options, "%s --tokenizer tests/data/tokenizer/tiny/qwenstyle/tokenizer.json", small);
  CHECK(run(data_path, options) == 0 && said("tokenizer.json: 529 ids, 256 merges"));
  CHECK(run(data_path, "--tokenizer train:100") == 1 && said("needs a whole number from 264"));
  CHECK(run(data_path, "--tokenizer train:400x") == 1 && said("not '400x'"));
  CHECK(run(data_path, "--tokenizer no/such/file") == 1 && said("no/such/file cannot be opened"));
  CHECK(run("no/such/file.jsonl", "") == 1 && said("no/such/file.jsonl cannot be opened"));
  CHECK(run("", "") == 1 && said("which FILE.jsonl"));
  CHECK(run(data_path, "--forks 0") == 1 && said("--forks is a whole number from 1"));
  CHECK(run(data_path, "--dim 1e3x") == 1 && run(data_path, "--batch 1.5") == 1 && run(data_path, "--batch") == 1 &&
        run(data_path, "--what 3") == 1 && said("unknown"));
  CHECK(run(data_path, "--method other") == 1 && run(data_path, "--dim 30 --heads 4") == 1 &&
        said("not a multiple of heads"));
  CHECK(run(data_path, "--length 5") == 1 && said("no question has a correct trace"));
  CHECK(run(data_path, "--held-out 0") == 1 && said("0 held out"));
  CHECK(run("tests/data/jsonl/bad_cut_line.jsonl", "") == 1 && said("line 6, column 30"));
  snprintf(options, sizeof options, "--load %s", data_path);
  CHECK(run(data_path, options) == 1 && said("not a checkpoint"));
  snprintf(options, sizeof options, "--load %s --dim 16", whole_path);
  CHECK(run(data_path, options) == 1 && said("cannot be given again"));
  snprintf(options, sizeof options, "--load %s", whole_path);
  CHECK(run("tests/data/jsonl/ok.jsonl", options) == 1 && said("is not the data"));
  CHECK(run(data_path, "--help") == 0 && said("--evaluations"));
  snprintf(options, sizeof options, "%s --steps 1 --save no/such/folder/x", small);
  CHECK(run(data_path, options) == 1 && said("cannot be opened for writing"));
  unwritable(small, other_path);
  static const char real[] = "../shared/data/gsm8k_traces.jsonl";
  snprintf(options, sizeof options, "%s/stream_forks", folder);
  FILE *there[2] = { fopen(options, "rb"), fopen(real, "rb") };
  if (!there[0]) printf("left out: %s is not there (make examples)\n", options);
  else stream(data_path, whole_path, part_path);
  if (there[0] && there[1]) stream(real, whole_path, part_path);
  for (int i = 0; i < 2; i++)
    if (there[i]) fclose(there[i]);
  remove(log_path); remove(data_path); remove(whole_path); remove(part_path); remove(other_path);
  return test_done(there[1] ? "resume" : "resume, without ../shared/data/gsm8k_traces.jsonl");
}
#endif
