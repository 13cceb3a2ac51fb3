// Checkpoints: what is written is read back to the bit, in files and in memory; every truncation and every flipped byte is
// refused with nothing changed; a failed save leaves no file behind and the old one as it was.
#define FORKREASON_IMPLEMENTATION
#include "forkreason.h"
#include "tests/test.h"

typedef struct bundle { fr_model model; fr_adamw adamw; unsigned char user[21]; } bundle;

static fr_config small_config(void)
{
  fr_config c;
  memset(&c, 0, sizeof c);
  c.layers = 1; c.dim = 4; c.heads = 2; c.kv_heads = 1; c.head_dim = 6; c.ffn = 5; c.vocab = 7;
  c.norm_eps = 1e-6f; c.rope_theta = 500000.0f; c.embed_scale = 2.0f;
  c.tied = 1; c.qkv_bias = 1; c.qk_norm = 1;
  c.rope_factor = 8.0f;
  return c;
}

static bundle make(const fr_config *config, uint64_t seed)
{
  bundle b;
  memset(&b, 0, sizeof b);
  CHECK(fr_model_new(&b.model, config) == FR_OK && fr_adamw_new(&b.adamw, &b.model) == FR_OK);
  fr_random random = fr_random_stream(seed, 0, 0);
  for (fr_int i = 0; i < b.model.count; i++) {
    b.model.params[i] = fr_random_normal(&random);
    b.adamw.m[i] = fr_random_normal(&random);
    b.adamw.v[i] = fr_random_uniform(&random);
    b.adamw.grads[i] = 0.5f;
  }
  b.model.params[0] = -0.0f;
  b.model.params[1] = 1e-42f;
  b.adamw.step = (int64_t)seed + ((int64_t)1 << 40);
  b.adamw.skipped = 3 * (int64_t)seed;
  const float more = 0.125f * (float)(seed % 3);
  b.adamw.beta1 = 0.5f + more; b.adamw.beta2 = 0.25f + more; b.adamw.eps = 1e-3f + more; b.adamw.decay = 0.25f + more; b.adamw.clip = 2.5f + more;
  for (size_t i = 0; i < sizeof b.user; i++) b.user[i] = (unsigned char)(seed + 7 * i);
  return b;
}

static void drop(bundle *b)
{
  fr_adamw_free(&b->adamw);
  fr_model_free(&b->model);
}

static int same_floats(const float *a, const float *b, fr_int count) { return memcmp(a, b,
                                                                                     (size_t)count * sizeof(float)) == 0; }
static int same_state(const bundle *a, const bundle *b)
{
  const fr_adamw *x = &a->adamw, *y = &b->adamw;
  return same_floats(x->m, y->m, x->count) && same_floats(x->v, y->v, x->count) && x->step == y->step &&
      x->skipped == y->skipped &&
         same_floats(&x->beta1, &y->beta1, 1) && same_floats(&x->beta2, &y->beta2, 1) &&
             same_floats(&x->eps, &y->eps, 1) &&
         same_floats(&x->decay, &y->decay, 1) && same_floats(&x->clip, &y->clip, 1);
}
static int same(const bundle *a, const bundle *b)
{
  return same_floats(a->model.params, b->model.params, a->model.count) && same_state(a, b) &&
      !memcmp(a->user, b->user, sizeof a->user);
}
static int grads_kept(const bundle *b)
{
  for (fr_int i = 0; i < b->adamw.count; i++)
    if (b->adamw.grads[i] < 0.5f || b->adamw.grads[i] > 0.5f) return 0;
  return 1;
}

static unsigned char *image(const bundle *b, fr_int *bytes)
{
  unsigned char *memory;
  fr_reason reason;
  CHECK(fr_checkpoint_write(NULL, 0, bytes, &b->model, &b->adamw, "any", sizeof b->user, NULL) == FR_OK);
  memory = (unsigned char *)test_alloc((size_t)*bytes);
  CHECK(fr_checkpoint_write(memory, *bytes, NULL, &b->model, &b->adamw, b->user, sizeof b->user, &reason) == FR_OK &&
        reason.text[0] == 0);
  return memory;
}

static uint64_t number(const unsigned char *p, int bytes)
{
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | p[bytes - 1 - i];
  return value;
}

// A sum over the bytes written once more, from the words of the format's description.
static void seal(unsigned char *file, fr_int bytes)
{
  uint64_t hash = 0;
  for (fr_int at = 0; at < bytes - 8; at += 8) {
    hash = (hash ^ number(file + at, bytes - 8 - at < 8 ? (int)(bytes - 8 - at) : 8)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  for (int i = 0; i < 8; i++) file[bytes - 8 + i] = (unsigned char)(hash >> (8 * i));
}

// The places of the format, byte by byte.
static void layout(void)
{
  const fr_config config = small_config();
  bundle b = make(&config, 5);
  fr_int bytes;
  unsigned char *file = image(&b, &bytes), *sealed = (unsigned char *)test_alloc((size_t)bytes);
  const fr_int n = b.model.count;
  CHECK(bytes == 192 + 12 * n + 21 + 8);
  CHECK(!memcmp(file, "\x89" "FRK\r\n\x1A\n", 8) && number(file + 8, 4) == 1 && number(file + 12, 4) == 1);
  CHECK(number(file + 16, 8) == (uint64_t)bytes && number(file + 24, 8) == (uint64_t)n &&
        number(file + 32, 8) == 21 && number(file + 40, 8) == 0);
  const uint64_t sizes[8] = { 1, 4, 2, 1, 6, 5, 7, 8192 };
  for (int i = 0; i < 8; i++) CHECK(number(file + 48 + 8 * i, 8) == sizes[i]);
  CHECK(number(file + 112, 4) == 1 && number(file + 116, 4) == 1 && number(file + 120, 4) == 1);
  CHECK(number(file + 132, 4) == 0x40000000 && number(file + 136, 4) == 0x41000000 &&
        number(file + 144, 4) == 0x40800000);
  CHECK(number(file + 148, 4) == 0x3F400000 && number(file + 164, 4) == 0x40300000);
  CHECK(number(file + 168, 8) == ((uint64_t)1 << 40) + 5 && number(file + 176, 8) == 15 &&
        number(file + 184, 8) == 0);
  CHECK(number(file + 192, 4) == 0x80000000u);  // -0
  for (fr_int i = 0; i < n; i++) {
    uint32_t bits[3];
    memcpy(&bits[0], &b.model.params[i], 4);
    memcpy(&bits[1], &b.adamw.m[i], 4);
    memcpy(&bits[2], &b.adamw.v[i], 4);
    for (int k = 0; k < 3; k++) CHECK(number(file + 192 + 4 * (k * n + i), 4) == bits[k]);
  }
  CHECK(!memcmp(file + 192 + 12 * n, b.user, 21));
  memcpy(sealed, file, (size_t)bytes);
  seal(sealed, bytes);
  CHECK(!memcmp(file, sealed, (size_t)bytes));
  free(file);
  free(sealed);
  drop(&b);
}

static void memory_round(void)
{
  const fr_config config = small_config();
  bundle a = make(&config, 1), b = make(&config, 2);
  fr_int bytes, plain;
  unsigned char *file = image(&a, &bytes);
  fr_checkpoint info;
  fr_reason reason;
  memset(&info, 0, sizeof info);
  CHECK(fr_checkpoint_read(file, bytes, &info, NULL, NULL, NULL, 0, &reason) == FR_OK);
  CHECK(info.count == a.model.count && info.has_adamw == 1 && info.step == a.adamw.step && info.user_bytes == 21 &&
        info.bytes == bytes);
  CHECK(info.config.dim == 4 && info.config.kv_heads == 1 && info.config.tied == 1 &&
        info.config.rope_original == 8192);
  CHECK(!same(&a, &b));
  CHECK(fr_checkpoint_read(file, bytes, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_OK && same(&a, &b) &&
        grads_kept(&b));
  drop(&b);
  b = make(&config, 2);  // the model alone
  CHECK(fr_checkpoint_read(file, bytes, NULL, &b.model, NULL, NULL, 0, &reason) == FR_OK);
  CHECK(same_floats(a.model.params, b.model.params, a.model.count) && !same_state(&a, &b));
  drop(&b);
  b = make(&config, 2);

  // What does not fit is refused with nothing changed.
  bundle before = make(&config, 2);
  fr_config other = config;
  other.norm_eps = 1e-5f;
  bundle c = make(&other, 2);
  CHECK(fr_checkpoint_read(file, bytes, NULL, &c.model, NULL, NULL, 0, &reason) == FR_CONFIG &&
        strstr(reason.text, "norm_eps of the checkpoint is 1000e-9, of the model 10000e-9") != NULL);
  CHECK(same_floats(c.model.params, before.model.params, c.model.count));
  CHECK(fr_checkpoint_read(file, bytes, NULL, &b.model, &b.adamw, b.user, 20, &reason) == FR_FORMAT &&
        strstr(reason.text, "21") != NULL);
  CHECK(fr_checkpoint_write(NULL, 0, &plain, &a.model, NULL, NULL, 0, NULL) == FR_OK && plain == 192 + 4 * a.model.count + 8);
  CHECK(fr_checkpoint_write(file, plain - 1, NULL, &a.model, NULL, NULL, 0, &reason) == FR_MEMORY);
  CHECK(fr_checkpoint_write(file, bytes, NULL, &a.model, NULL, NULL, 0, &reason) == FR_OK);
  CHECK(fr_checkpoint_read(file, plain, NULL, &b.model, &b.adamw, NULL, 0, &reason) == FR_FORMAT &&
        strstr(reason.text, "optimiser") != NULL);
  CHECK(fr_checkpoint_read(file, bytes, NULL, &b.model, NULL, NULL, 0, &reason) == FR_FORMAT &&
        strstr(reason.text, "goes on") != NULL);
  CHECK(same(&b, &before));
  CHECK(fr_checkpoint_read(file, plain, NULL, &b.model, NULL, NULL, 0, &reason) == FR_OK &&
        same_floats(a.model.params, b.model.params, a.model.count));
  CHECK(fr_checkpoint_read(NULL, plain, NULL, &b.model, NULL, NULL, 0, &reason) == FR_INVALID &&
        fr_checkpoint_read(file, plain, NULL, NULL, NULL, NULL, 0, &reason) == FR_INVALID);
  CHECK(fr_checkpoint_write(NULL, 0, &plain, &a.model, NULL, "any", -1, NULL) == FR_INVALID &&
        fr_checkpoint_write(NULL, 0, &plain, NULL, NULL, NULL, 0, NULL) == FR_INVALID);
  free(file);
  drop(&a); drop(&b); drop(&c); drop(&before);
}

static void damage(void)
{
  const fr_config config = small_config();
  bundle a = make(&config, 1), b = make(&config, 2), before = make(&config, 2);
  fr_int bytes;
  unsigned char *file = image(&a, &bytes);
  fr_reason reason;
  fr_checkpoint info, info_before;
  memset(&info, 0x55, sizeof info);
  info_before = info;
  for (fr_int cut = 0; cut < bytes; cut++) {  // memory of exactly that size, for the sanitizer
    unsigned char *part = (unsigned char *)test_alloc((size_t)cut);
    memcpy(part, file, (size_t)cut);
    CHECK(fr_checkpoint_read(part, cut, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_FORMAT && reason.text[0]);
    CHECK(fr_checkpoint_read(part, cut, &info, NULL, NULL, NULL, 0, &reason) == FR_FORMAT);
    if (cut >= 192) {
      char words[40];
      sprintf(words, "the file has %ld bytes", (long)cut);
      CHECK(strstr(reason.text, words) != NULL);
    }
    free(part);
  }
  for (fr_int at = 0; at < bytes; at++)
    for (int bit = 0; bit < 9; bit++) {
      const unsigned char kept = file[at];
      file[at] = (unsigned char)(bit < 8 ? kept ^ 1 << bit : ~kept);
      const fr_status status = fr_checkpoint_read(file, bytes, NULL, &b.model, &b.adamw, b.user, 21, &reason);
      CHECK(status != FR_OK && reason.text[0]);
      if (at < 8) CHECK(status == FR_FORMAT);
      else if (at < 12) CHECK(status == FR_UNSUPPORTED && strstr(reason.text, "version") != NULL);
      else if (at >= 192) CHECK(status == FR_CHECKSUM);
      file[at] = kept;
    }
  CHECK(same(&b, &before) && grads_kept(&b) && !memcmp(&info, &info_before, sizeof info));

  // Heads that lie, with a checksum that is right.
  static const struct { int at, bytes; uint64_t value; fr_status status; } lies[] = {
    { 8, 4, 2, FR_UNSUPPORTED }, { 8, 4, 0, FR_UNSUPPORTED }, { 12, 4, 0, FR_FORMAT }, { 12, 4, 2, FR_FORMAT },
    { 16, 8, 7, FR_FORMAT }, { 24, 8, 1, FR_FORMAT },
    { 32, 8, 20, FR_FORMAT }, { 32, 8, UINT64_MAX, FR_OVERFLOW }, { 32, 8, (uint64_t)INT64_MAX, FR_OVERFLOW },
    { 40, 8, 1, FR_FORMAT },
    { 48, 8, 0, FR_CONFIG }, { 48, 8, 2, FR_FORMAT }, { 48, 8, (uint64_t)1 << 62, FR_OVERFLOW },
    { 56, 8, UINT64_MAX, FR_CONFIG }, { 96, 8, (uint64_t)1 << 40, FR_CONFIG },
    { 72, 8, 3, FR_CONFIG }, { 80, 8, 7, FR_CONFIG }, { 88, 8, (uint64_t)1 << 61, FR_OVERFLOW },
    { 112, 4, 2, FR_FORMAT }, { 124, 4, 0x7FC00000, FR_CONFIG },
    { 168, 8, UINT64_MAX, FR_FORMAT }, { 184, 8, 1, FR_FORMAT } };
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    unsigned char *lie = (unsigned char *)test_alloc((size_t)bytes);
    memcpy(lie, file, (size_t)bytes);
    for (int k = 0; k < lies[i].bytes; k++) lie[lies[i].at + k] = (unsigned char)(lies[i].value >> (8 * k));
    seal(lie, bytes);
    const fr_status status = fr_checkpoint_read(lie, bytes, &info, NULL, NULL, NULL, 0, &reason);
    // On a 32-bit machine a huge size is out of range at once.
    if (!CHECK(status == lies[i].status || (sizeof(fr_int) < 8 && (status == FR_CONFIG || status == FR_OVERFLOW))))
      fprintf(stderr, "  field at %d: status %d, %s\n", lies[i].at, (int)status, reason.text);
    free(lie);
  }
  CHECK(!memcmp(&info, &info_before, sizeof info));

  // Random damage: never accepted.
  for (int round = 0; round < 20000; round++) {
    unsigned char *wild = (unsigned char *)test_alloc((size_t)bytes);
    memcpy(wild, file, (size_t)bytes);
    for (ptrdiff_t changes = test_below_int(6); changes >= 0; changes--) {
      const ptrdiff_t at = test_below_int(round % 2 ? bytes : 192);
      wild[at] = (unsigned char)(wild[at] + 1 + test_below_int(255));
    }
    if (memcmp(wild, file, (size_t)bytes))
      CHECK(fr_checkpoint_read(wild, bytes, NULL, &b.model, &b.adamw, b.user, 21, &reason) != FR_OK);
    free(wild);
  }
  CHECK(same(&b, &before));
  free(file);
  drop(&a); drop(&b); drop(&before);
}

static int exists(const char *path)
{
  FILE *f = fopen(path, "rb");
  if (f) fclose(f);
  return f != NULL;
}

static void write_file(const char *path, const unsigned char *bytes, size_t count)
{
  FILE *f = fopen(path, "wb");
  if (!CHECK(f != NULL)) exit(1);
  CHECK(fwrite(bytes, 1, count, f) == count);
  CHECK(fclose(f) == 0);
}

static void files(void)
{
  const char *folder = getenv("TEST_BUILD") ? getenv("TEST_BUILD") : "build";
  char path[500], temporary[510], long_path[1200];
  fr_config config = small_config();
  fr_reason reason;
  fr_checkpoint info;
  config.vocab = 500;  // several times the buffer
  bundle a = make(&config, 1), b = make(&config, 2), before = make(&config, 2);
  fr_int bytes;
  unsigned char *file = image(&a, &bytes), *read = (unsigned char *)test_alloc((size_t)bytes + 1);
  CHECK(bytes > 3 * 4096);
  sprintf(path, "%.400s/test_checkpoint.tmp.ckpt", folder);
  sprintf(temporary, "%s.tmp", path);
  remove(path);
  CHECK(fr_checkpoint_load(path, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_IO &&
        strstr(reason.text, "test_checkpoint") != NULL);
  CHECK(fr_checkpoint_load(path, &info, NULL, NULL, NULL, 0, &reason) == FR_IO);
  if (!CHECK(fr_checkpoint_save(path, &a.model, &a.adamw, a.user, 21, &reason) == FR_OK))
    fprintf(stderr, "  %s\n", reason.text);
  CHECK(!exists(temporary));
  FILE *f = fopen(path, "rb");
  if (!CHECK(f != NULL)) exit(1);
  CHECK(fread(read, 1, (size_t)bytes + 1, f) == (size_t)bytes &&
        !memcmp(read, file, (size_t)bytes));  // file and memory alike
  fclose(f);
  CHECK(fr_checkpoint_load(path, &info, NULL, NULL, NULL, 0, &reason) == FR_OK && info.config.vocab == 500 && info.bytes == bytes);
  for (fr_int cut = 0; cut < bytes; cut += cut % 997 == 0 ? 1 : 83) {
    write_file(path, file, (size_t)cut);
    CHECK(fr_checkpoint_load(path, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_FORMAT);
  }
  for (fr_int at = 0; at < bytes; at += at < 192 ? 7 : 211) {
    file[at] ^= 0x10;
    write_file(path, file, (size_t)bytes);
    CHECK(fr_checkpoint_load(path, NULL, &b.model, &b.adamw, b.user, 21, &reason) != FR_OK);
    file[at] ^= 0x10;
  }
  memcpy(read, file, (size_t)bytes);
  read[bytes] = 0;
  write_file(path, read, (size_t)bytes + 1);
  CHECK(fr_checkpoint_load(path, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_FORMAT &&
        strstr(reason.text, "goes on") != NULL);
  CHECK(fr_checkpoint_load(folder, NULL, &b.model, NULL, NULL, 0, &reason) == FR_IO && strstr(reason.text, folder));
  CHECK(same(&b, &before));

  // Saving over an old file; loading; saving where it cannot be done.
  CHECK(fr_checkpoint_save(path, &b.model, &b.adamw, b.user, 21, &reason) == FR_OK &&
        fr_checkpoint_save(path, &a.model, &a.adamw, a.user, 21, &reason) == FR_OK);
  CHECK(fr_checkpoint_load(path, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_OK && same(&a, &b) && grads_kept(&b));
  sprintf(long_path, "%.400s/no such folder/x", folder);
  CHECK(fr_checkpoint_save(long_path, &a.model, NULL, NULL, 0, &reason) == FR_IO &&
        strstr(reason.text, "no such folder") != NULL);
  memset(long_path, 'x', sizeof long_path);
  long_path[1000] = 0;
  CHECK(fr_checkpoint_save(long_path, &a.model, NULL, NULL, 0, &reason) == FR_LIMIT);
  CHECK(fr_checkpoint_save("", &a.model, NULL, NULL, 0, &reason) == FR_INVALID &&
        fr_checkpoint_save(NULL, &a.model, NULL, NULL, 0, &reason) == FR_INVALID);
  // A folder cannot be replaced by a file: the rename fails, and the temporary file goes.
  sprintf(long_path, "%.400s.tmp", folder);
  CHECK(!exists(long_path));
  CHECK(fr_checkpoint_save(folder, &a.model, NULL, NULL, 0, &reason) == FR_IO && !exists(long_path));
  // A device without room, where the system has one: the write fails, and the link to it is removed, the old file not.
  write_file(path, file, (size_t)bytes);
#ifdef __linux__
  {
    extern int symlink(const char *, const char *);
    FILE *device = fopen("/dev/full", "ab");
    const int full = device && (fputc('x', device) == EOF || fflush(device) == EOF);
    if (device) fclose(device);
    remove(temporary);
    if (full && symlink("/dev/full", temporary) == 0) {
      CHECK(fr_checkpoint_save(path, &b.model, &b.adamw, b.user, 21, &reason) == FR_IO &&
            strstr(reason.text, "cannot be written") != NULL);
      CHECK(!exists(temporary));
    }
  }
#endif
  CHECK(fr_checkpoint_load(path, NULL, &b.model, &b.adamw, b.user, 21, &reason) == FR_OK && same(&a, &b));
  remove(path);
  free(file);
  free(read);
  drop(&a); drop(&b); drop(&before);
}

int main(void)
{
  layout();
  memory_round();
  damage();
  files();
  return test_done("checkpoint");
}
