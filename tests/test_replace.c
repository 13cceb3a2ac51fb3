// test_replace.c - a save that fails leaves a whole file under the old name, whatever rename refuses, and one that another reads.
#ifndef _WIN32
#define _XOPEN_SOURCE 600
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif
#include <stdio.h>

static int replaces, refused, calls;  // whether rename replaces a file; which of its calls fail, a bit each from the first

static int rename_or_not(const char *from, const char *to)
{
  FILE *there = replaces ? NULL : fopen(to, "rb");
  if (there) fclose(there);
  return ((refused >> calls++) & 1) || there ? -1 : rename(from, to);
}
#define rename(from, to) rename_or_not(from, to)
#define FORKREASON_IMPLEMENTATION
#include "../forkreason.h"
#undef rename
#include "test.h"

static int exists(const char *path)
{
  FILE *file = fopen(path, "rb");
  if (file) fclose(file);
  return file != NULL;
}

#ifndef _WIN32
// A pipe gets the bytes, and stays a pipe; a device swallows them, and the link to it stays; an empty file becomes the checkpoint.
static void devices(const char *folder, const fr_model *model)
{
  char path[510];
  fr_int bytes = 0;
  fr_reason reason;
  struct stat found;
  CHECK(fr_checkpoint_write(NULL, 0, &bytes, model, NULL, NULL, 0, &reason) == FR_OK);
  unsigned char *wanted = (unsigned char *)malloc((size_t)bytes), *got = (unsigned char *)malloc((size_t)bytes + 1);
  CHECK(fr_checkpoint_write(wanted, bytes, NULL, model, NULL, NULL, 0, &reason) == FR_OK);
  sprintf(path, "%.400s/test_replace.pipe", folder);
  remove(path);
  if (CHECK(mkfifo(path, 0600) == 0)) {
    const int reader = open(path, O_RDONLY | O_NONBLOCK);
    CHECK(fr_checkpoint_save(path, model, NULL, NULL, 0, &reason) == FR_OK);
    CHECK(lstat(path, &found) == 0 && S_ISFIFO(found.st_mode));
    CHECK(read(reader, got, (size_t)bytes + 1) == (ssize_t)bytes && !memcmp(got, wanted, (size_t)bytes));
    close(reader);
  }
  remove(path);
  sprintf(path, "%.400s/test_replace.device", folder);
  remove(path);
  if (CHECK(symlink("/dev/null", path) == 0)) {
    CHECK(fr_checkpoint_save(path, model, NULL, NULL, 0, &reason) == FR_OK);
    CHECK(lstat(path, &found) == 0 && S_ISLNK(found.st_mode));
  }
  remove(path);
  if (symlink("/dev/full", path) == 0 && stat(path, &found) == 0) {
    CHECK(fr_checkpoint_save(path, model, NULL, NULL, 0, &reason) == FR_IO && strstr(reason.text, "written") != NULL);
    CHECK(lstat(path, &found) == 0 && S_ISLNK(found.st_mode));
  }
  remove(path);
  for (int refuses = 0; refuses < 2; refuses++) {  // an empty file is one like others: it is replaced, or as empty as before
    FILE *empty = fopen(path, "wb");
    if (CHECK(empty != NULL)) fclose(empty);
    refused = refuses ? 15 : 0;
    calls = 0;
    CHECK(fr_checkpoint_save(path, model, NULL, NULL, 0, &reason) == (refuses ? FR_IO : FR_OK));
    CHECK(stat(path, &found) == 0 && found.st_size == (refuses ? 0 : (off_t)bytes));
  }
  remove(path);
  free(wanted);
  free(got);
}
#endif

int main(void)
{
  const char *folder = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  char path[500], temporary[510], old[510];
  fr_config config = { 0 };
  fr_model model[2], read;
  fr_reason reason;
  int last = 0;
  sprintf(path, "%.400s/test_replace.ckpt", folder);
  sprintf(temporary, "%s.tmp", path);
  sprintf(old, "%s.old", path);
  config.layers = 1; config.dim = config.ffn = 8; config.heads = 1; config.vocab = 5;
  for (int i = 0; i < 2; i++) {
    if (!CHECK(fr_model_new(&model[i], &config) == FR_OK)) return 1;
    fr_model_init(&model[i], (uint64_t)i + 1);
  }
  if (!CHECK(fr_model_new(&read, &config) == FR_OK)) return 1;
  remove(path); remove(old);
  replaces = 1;
  CHECK(fr_checkpoint_save(path, &model[0], NULL, NULL, 0, &reason) == FR_OK);
  for (int way = 0; way < 64; way++) {  // every choice of four calls that fail, both kinds of systems, an old PATH.old or none
    fr_status status;
    FILE *stale = way & 32 ? fopen(old, "wb") : NULL;
    if (stale) fclose(stale);
    replaces = way >> 4 & 1;
    refused = way & 15;
    calls = 0;
    status = fr_checkpoint_save(path, &model[!last], NULL, NULL, 0, &reason);
    if (status == FR_OK) last = !last;
    else CHECK(status == FR_IO && strstr(reason.text, "renamed to its place") != NULL);
    if (!(way & 15)) CHECK(status == FR_OK && (way & 32 || !exists(old)));
    CHECK(!exists(temporary));
    if (!exists(path)) {  // the way back is refused too: then the old file is PATH.old, whole
      CHECK(way & 15 && rename(old, path) == 0);
    }
    if (!CHECK(fr_checkpoint_load(path, NULL, &read, NULL, NULL, 0, &reason) == FR_OK &&
               !memcmp(read.params, model[last].params, (size_t)read.count * sizeof(float))))
      fprintf(stderr, "  way %d\n", way);
    remove(old);
  }
  // A folder is not moved aside, and a file that another program reads is replaced or kept.
  replaces = refused = 0;
  CHECK(fr_checkpoint_save(folder, &model[0], NULL, NULL, 0, &reason) == FR_IO);
  sprintf(temporary, "%.400s.old", folder);
  CHECK(!exists(temporary));
  FILE *reader = fopen(path, "rb");
  if (fr_checkpoint_save(path, &model[!last], NULL, NULL, 0, &reason) == FR_OK) last = !last;
  if (CHECK(reader != NULL)) fclose(reader);
  CHECK(fr_checkpoint_load(path, NULL, &read, NULL, NULL, 0, &reason) == FR_OK &&
        !memcmp(read.params, model[last].params, (size_t)read.count * sizeof(float)));
  remove(path);
  replaces = 1;
#ifndef _WIN32
  devices(folder, &model[0]);
#endif
  for (int i = 0; i < 2; i++) fr_model_free(&model[i]);
  fr_model_free(&read);
  return test_done("replace");
}
