// test_compare.c - the comparison: what it keeps, its flags, and that a run that is killed again and again ends with the
// same table, byte for byte, as one that nobody disturbed, whatever the number of threads.
#ifdef _WIN32
#include <stdio.h>
int main(void)
{
  printf("skipped: it drives bench/compare through a POSIX shell\n");
  return 77;
}
#else
#define _POSIX_C_SOURCE 200809L
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#include "../bench/ledger.h"
#include "test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *build;
static char program[300];

static char *contents(const char *path)
{
  char *text = (char *)test_alloc(400000);
  FILE *file = fopen(path, "rb");
  size_t bytes = 0;
  if (file) {
    bytes = fread(text, 1, 399999, file);
    fclose(file);
  }
  text[bytes] = '\0';
  return text;
}

static void ledgers(void)
{
  static ledger r, back;
  char path[300];
  snprintf(path, sizeof path, "%.200s/test_compare.txt", build);
  remove(path);
  CHECK(!ledger_load(&back, path));
  ledger_clear(&r);
  ledger_put(&r, 1.0 / 3.0, "a third");
  ledger_put(&r, -0.0, "fork %d", 3);
  ledger_put(&r, 5e-324, "least");
  ledger_put(&r, NAN, "none");
  CHECK(ledger_save(&r, path) && ledger_load(&back, path));
  CHECK(back.count == 4 && ledger_get(&back, "a third") == 1.0 / 3.0 && ledger_get(&back, "least") == 5e-324);
  CHECK(signbit(ledger_get(&back, "fork %d", 3)) && isnan(ledger_get(&back, "none")) && isnan(ledger_get(&back, "absent")));
  // Cut anywhere, it is no ledger.
  char *text = contents(path);
  const long bytes = (long)strlen(text);
  for (long cut = 0; cut < bytes; cut++) {
    FILE *file = fopen(path, "wb");
    if (!CHECK(file != NULL)) break;
    fwrite(text, 1, (size_t)cut, file);
    fclose(file);
    CHECK(!ledger_load(&back, path));
  }
  free(text);
  CHECK(!ledger_save(&r, "no/such/folder/x.txt"));
  remove(path);
}

static int shell(const char *flags)
{
  char command[900];
  snprintf(command, sizeof command, "'%s' %s >/dev/null 2>&1", program, flags);
  const int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// Starts a quick run; kills it after so many milliseconds if that is not negative. Returns 1 if it ended by itself, well.
static int quick(const char *folder, const char *threads, const char *out, long milliseconds)
{
  const pid_t child = fork();
  int status;
  if (child == 0) {
    if (!freopen(out, "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(3);
    execl(program, program, "--quick", "--seeds", "1", "--threads", threads, "--build", folder, (char *)NULL);
    _exit(3);
  }
  if (!CHECK(child > 0)) return 0;
  if (milliseconds >= 0) {
    struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
    nanosleep(&time, NULL);
    kill(child, SIGKILL);
  }
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static double seconds(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void killed(void)
{
  char whole[300], parts[300], path[600], other[600], command[700];
  int kills = 0;
  snprintf(whole, sizeof whole, "%.200s/compare_whole", build);
  snprintf(parts, sizeof parts, "%.200s/compare_parts", build);
  snprintf(command, sizeof command, "rm -rf '%s' '%s'", whole, parts);
  CHECK(system(command) == 0);
  snprintf(path, sizeof path, "%.200s/compare_whole.out", build);
  snprintf(other, sizeof other, "%.200s/compare_parts.out", build);

  const double began = seconds();
  CHECK(quick(whole, "2", path, -1));
  const double took = seconds() - began;
  const long most = 1 + (long)(took * 200.0);  // so that each life is a tenth of a whole run, on average
  while (kills < 40 && !quick(parts, "1", other, (long)test_below_int(most))) kills++;
  if (kills == 40) CHECK(quick(parts, "1", other, -1));
  char *a = contents(path), *b = contents(other);
  char *cut_a = strstr(a, "\nwritten: "), *cut_b = strstr(b, "\nwritten: ");  // the paths behind it differ
  if (CHECK(cut_a && cut_b)) *cut_a = *cut_b = '\0';
  CHECK(strlen(a) > 4000 && !strcmp(a, b));
  CHECK(strstr(a, "SSFT + GFPO") && strstr(a, "Cons@32") && strstr(a, "Differences"));
  free(a);
  free(b);
  snprintf(path, sizeof path, "%s/compare.json", whole);
  snprintf(other, sizeof other, "%s/compare.json", parts);
  a = contents(path);
  b = contents(other);
  CHECK(strlen(a) > 10000 && !strcmp(a, b));
  // Something was learned: not all of its figures are 0.
  int figures = 0, zeros = 0;
  for (const char *s = a; (s = strstr(s, "\"ours\": ")) != NULL; s++) {
    const double value = strtod(s + 8, NULL);
    figures++;
    zeros += value == 0.0;
    CHECK(value >= -1.0 && value <= 56.0);
  }
  CHECK(figures > 200 && zeros < figures - 20);
  free(a);
  free(b);
  printf("a run of %.1f s, killed %d times; %d of %d figures are not 0\n", took, kills, figures - zeros, figures);
  CHECK(system(command) == 0);
}

int main(void)
{
  static const char *const wrong[] = { "--bogus", "--seeds", "--seeds 0", "--seeds 9", "--seeds x", "--threads 0", "--task",
                                       "--task x", "--build", "extra" };
  build = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  snprintf(program, sizeof program, "%.200s/bench/compare", build);
  FILE *there = fopen(program, "rb");
  ledgers();
  if (!there) return printf("skipped: %s is not there (make %s)\n", program, program), 77;
  fclose(there);
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) CHECK(shell(wrong[i]) == 2);
  CHECK(shell("--help") == 0);
  CHECK(shell("--quick --build /no/such/folder") == 1);
  killed();
  return test_done("test_compare");
}
#endif
