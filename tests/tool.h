// tool.h - what tests share that drive build/forkreason through a POSIX shell: its exit status, what it said, and its files.
#ifndef FR_TEST_TOOL_H
#define FR_TEST_TOOL_H

#include "test.h"
#include <sys/wait.h>
#include <unistd.h>

static const char *folder;  // where the programs are
static char log_path[300];  // what the last one said

// 0, said: forkreason is not there.
static inline int tool_there(const char *test)
{
  char path[300];
  folder = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  snprintf(path, sizeof path, "%.200s/forkreason", folder);
  FILE *program = fopen(path, "rb");
  if (program) fclose(program);
  else printf("skipped: %s is not there (make examples)\n", path);
  snprintf(log_path, sizeof log_path, "%.200s/%.60s.out", folder, test);
  return program != NULL;
}

static inline int tool_status(const char *command)
{
  const int status = system(command);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void forget(const char *path)
{
  char command[500];
  snprintf(command, sizeof command, "rm -rf %s", path);
  CHECK(system(command) == 0);
}

static inline char *contents(const char *path, size_t *bytes)
{
  FILE *f = fopen(path, "rb");
  char *text = (char *)test_alloc(4000000);
  text[*bytes = 0] = 0;
  if (!f) return text;
  *bytes = fread(text, 1, 3999999, f);
  text[*bytes] = 0;
  fclose(f);
  return text;
}

static inline int said(const char *words)
{
  size_t bytes;
  char *text = contents(log_path, &bytes);
  const int found = strstr(text, words) != NULL;
  if (!found) fprintf(stderr, "  it said: %s\n", text);
  free(text);
  return found;
}

static inline int same_file(const char *a, const char *b)
{
  size_t x, y;
  char *p = contents(a, &x), *q = contents(b, &y);
  const int same = x == y && x > 1000 && !memcmp(p, q, x);
  free(p);
  free(q);
  return same;
}

static inline int exists(const char *inside, const char *name)
{
  char path[700];
  snprintf(path, sizeof path, "%s/%s", inside, name);
  return access(path, F_OK) == 0;
}

#endif
