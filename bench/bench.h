// bench.h - what the benches share: the clock, best of several, the processor's measured limits, rows of the tables.
//
//     #define _POSIX_C_SOURCE 200809L
//     #define FORKREASON_IMPLEMENTATION
//     #include "forkreason.h"
//     #include "bench.h"
//
// A row compares ours with a peer and is printed; if the environment names a file in BENCH_ROWS, it is also added there,
// one JSON object a line (run.sh makes build/bench.json of them).
//   BENCH_TORCH, BENCH_SCIPY  a python that has the module; not set: the rows without that peer
//   BENCH_OPENBLAS            a library to try before the usual names
//   BENCH_NO_PEERS            set: no peer is looked for
#ifndef BENCH_H
#define BENCH_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef BENCH_FLAGS
#define BENCH_FLAGS "not told (make bench tells them)"
#endif

// ---- ground

static inline void bench_fail(const char *what)
{
  fprintf(stderr, "bench: %s\n", what);
  exit(1);
}

// Fails unless status is FR_OK.
static inline void bench_require(fr_status status, const fr_work *work)
{
  if (status) bench_fail(work && work->reason.text[0] ? work->reason.text : fr_status_text(status));
}

static inline double bench_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Zeroed, at a multiple of 64 bytes; freed by bench_free, which finds what calloc gave just before it.
static inline void *bench_memory(fr_int count, size_t size)
{
  const size_t before = 64 + sizeof(void *);
  char *given = (char *)calloc((size_t)count * size + before, 1), *memory = given + before - (uintptr_t)(given + before) % 64;
  if (!given) bench_fail("out of memory");
  ((void **)(void *)memory)[-1] = given;
  return memory;
}

static inline void bench_free(void *memory)
{
  if (memory) free(((void **)memory)[-1]);
}

// The number of index i that a peer in another language computes, too (splitmix64).
static inline uint64_t bench_hash(uint64_t i)
{
  uint64_t z = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

static inline double bench_uniform(uint64_t i) { return (double)(bench_hash(i) >> 11) * 0x1p-53; }

static inline void bench_fill(float *x, fr_int count)
{
  for (fr_int i = 0; i < count; i++) x[i] = 2.0f * (float)bench_uniform((uint64_t)i) - 1.0f;
}

// ---- best of several

typedef void (*bench_work)(void *arg);
typedef struct bench_pair { double ours, peer; } bench_pair;  // seconds a call; peer 0: there is none

static inline double bench_once(bench_work work, void *arg, int calls)
{
  const double began = bench_now();
  for (int i = 0; i < calls; i++) work(arg);
  return (bench_now() - began) / (double)calls;
}

// Warms up, tells how many calls last two milliseconds (short ones would measure the clock), and returns the time of one.
static inline double bench_first(bench_work work, void *arg, int *calls)
{
  double once = bench_once(work, arg, 1);
  if (once < 0.1) once = bench_once(work, arg, 1);
  *calls = once > 2e-3 ? 1 : (int)(2e-3 / (once + 1e-9)) + 1;
  return once;
}

// Ours, peer, ours, peer ... for about `seconds`, and at least three times (twice if that takes more than a second); the
// best of each. Taking turns, both meet the same machine: a change of its clock rate does not favour one.
static inline bench_pair bench_compare(bench_work ours, void *our_arg, bench_work peer, void *peer_arg, double seconds)
{
  int our_calls, peer_calls = 0;
  bench_pair best;
  const double began = bench_now();
  best.ours = bench_first(ours, our_arg, &our_calls);
  best.peer = peer ? bench_first(peer, peer_arg, &peer_calls) : 0.0;
  const int least = bench_now() - began > 1.0 ? 1 : 2;
  for (int i = 0; i < least || bench_now() - began < seconds; i++) {
    best.ours = fmin(best.ours, bench_once(ours, our_arg, our_calls));
    if (peer) best.peer = fmin(best.peer, bench_once(peer, peer_arg, peer_calls));
  }
  return best;
}

static inline double bench_best(bench_work work, void *arg, double seconds)
{
  return bench_compare(work, arg, NULL, NULL, seconds).ours;
}

// ---- limits of the machine
//
// Peak: twelve independent chains of fused multiply-adds that never leave the registers. (Two a cycle, each ready after
// four cycles, need eight chains.) Bandwidth: the sum of an array that is far larger than the caches.
static volatile float bench_sink;  // results go here, so that no compiler leaves the work out

enum { BENCH_FMA_ROUNDS = 20000 };

#define BENCH_EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

static inline void bench_fma_scalar(float x, float y)
{
#define BENCH_START(i) float t##i = (float)(i);
#define BENCH_FMA(i) t##i = t##i * x + y;
#define BENCH_SUM(i) +t##i
  BENCH_EACH(BENCH_START)
  for (int r = 0; r < BENCH_FMA_ROUNDS; r++) { BENCH_EACH(BENCH_FMA) }
  bench_sink = 0.0f BENCH_EACH(BENCH_SUM);
#undef BENCH_START
#undef BENCH_FMA
#undef BENCH_SUM
}

static inline float bench_sum_scalar(const float *x, fr_int n)  // n a multiple of 128, as for the others
{
  float s[8] = { 0 };
  for (fr_int i = 0; i < n; i += 8)
    for (int j = 0; j < 8; j++) s[j] += x[i + j];
  return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
}

static inline int bench_there_scalar(void) { return 1; }

#if !defined(FR_NO_SIMD) && defined(__GNUC__) && defined(__x86_64__)  // forkreason.h has included immintrin.h
#define BENCH_X86 1
__attribute__((target("avx2,fma"))) static inline void bench_fma_avx2(float x1, float y1)
{
  const __m256 x = _mm256_set1_ps(x1), y = _mm256_set1_ps(y1);
  float lanes[8];
#define BENCH_START(i) __m256 t##i = _mm256_set1_ps((float)(i));
#define BENCH_FMA(i) t##i = _mm256_fmadd_ps(t##i, x, y);
#define BENCH_ADD(i) sum = _mm256_add_ps(sum, t##i);
  __m256 sum = _mm256_setzero_ps();
  BENCH_EACH(BENCH_START)
  for (int r = 0; r < BENCH_FMA_ROUNDS; r++) { BENCH_EACH(BENCH_FMA) }
  BENCH_EACH(BENCH_ADD)
  _mm256_storeu_ps(lanes, sum);
  bench_sink = lanes[0];
#undef BENCH_START
#undef BENCH_FMA
#undef BENCH_ADD
}

__attribute__((target("avx2,fma"))) static inline float bench_sum_avx2(const float *x, fr_int n)
{
  __m256 a = _mm256_setzero_ps(), b = a, c = a, d = a;
  float lanes[8];
  for (fr_int i = 0; i < n; i += 32) {
    a = _mm256_add_ps(a, _mm256_loadu_ps(x + i));
    b = _mm256_add_ps(b, _mm256_loadu_ps(x + i + 8));
    c = _mm256_add_ps(c, _mm256_loadu_ps(x + i + 16));
    d = _mm256_add_ps(d, _mm256_loadu_ps(x + i + 24));
  }
  _mm256_storeu_ps(lanes, _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
  return bench_sum_scalar(lanes, 8);
}

static inline int bench_there_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

__attribute__((target("avx512f"))) static inline void bench_fma_avx512(float x1, float y1)
{
  const __m512 x = _mm512_set1_ps(x1), y = _mm512_set1_ps(y1);
  float lanes[16];
#define BENCH_START(i) __m512 t##i = _mm512_set1_ps((float)(i));
#define BENCH_FMA(i) t##i = _mm512_fmadd_ps(t##i, x, y);
#define BENCH_ADD(i) sum = _mm512_add_ps(sum, t##i);
  __m512 sum = _mm512_setzero_ps();
  BENCH_EACH(BENCH_START)
  for (int r = 0; r < BENCH_FMA_ROUNDS; r++) { BENCH_EACH(BENCH_FMA) }
  BENCH_EACH(BENCH_ADD)
  _mm512_storeu_ps(lanes, sum);
  bench_sink = lanes[0];
#undef BENCH_START
#undef BENCH_FMA
#undef BENCH_ADD
}

__attribute__((target("avx512f"))) static inline float bench_sum_avx512(const float *x, fr_int n)
{
  __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
  float lanes[16];
  for (fr_int i = 0; i < n; i += 64) {
    a = _mm512_add_ps(a, _mm512_loadu_ps(x + i));
    b = _mm512_add_ps(b, _mm512_loadu_ps(x + i + 16));
    c = _mm512_add_ps(c, _mm512_loadu_ps(x + i + 32));
    d = _mm512_add_ps(d, _mm512_loadu_ps(x + i + 48));
  }
  _mm512_storeu_ps(lanes, _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d)));
  return bench_sum_scalar(lanes, 16);
}

static inline int bench_there_avx512(void) { return __builtin_cpu_supports("avx512f"); }
#endif

typedef struct bench_isa {
  const char *name;
  int lanes;
  int (*there)(void);
  void (*fma)(float x, float y);
  float (*sum)(const float *x, fr_int n);
} bench_isa;

// The instruction sets, best first.
static const bench_isa bench_isas[] = {
#ifdef BENCH_X86
  { "avx512", 16, bench_there_avx512, bench_fma_avx512, bench_sum_avx512 },
  { "avx2", 8, bench_there_avx2, bench_fma_avx2, bench_sum_avx2 },
#endif
  { "scalar", 1, bench_there_scalar, bench_fma_scalar, bench_sum_scalar }
};
enum { BENCH_ISAS = sizeof bench_isas / sizeof bench_isas[0] };

static inline const bench_isa *bench_best_isa(void)
{
  const bench_isa *isa = bench_isas;
  while (!isa->there()) isa++;
  return isa;
}

// A bench_work; arg is a bench_isa.
static inline void bench_fma(void *arg) { ((const bench_isa *)arg)->fma(0.5f, 0.25f); }
static inline double bench_fma_flops(const bench_isa *isa) { return 2.0 * 12.0 * BENCH_FMA_ROUNDS * (double)isa->lanes; }

// Multiply-adds of one core, in operations a second (two each).
static inline double bench_peak(const bench_isa *isa)
{
  bench_isa copy = *isa;
  return bench_fma_flops(isa) / bench_best(bench_fma, &copy, 0.15);
}

enum { BENCH_STREAM = 64 << 20 };  // floats: 256 MB
typedef struct bench_stream { const bench_isa *isa; float *x; } bench_stream;

static inline bench_stream bench_stream_new(void)
{
  bench_stream s;
  s.isa = bench_best_isa();
  s.x = (float *)bench_memory(BENCH_STREAM, sizeof(float));
  return s;
}
// A bench_work; arg is a bench_stream.
static inline void bench_read(void *arg)
{
  const bench_stream *s = (const bench_stream *)arg;
  bench_sink = s->isa->sum(s->x, BENCH_STREAM);
}
static inline double bench_read_bytes(void) { return (double)BENCH_STREAM * (double)sizeof(float); }

// ---- the tables

// One line of /proc/cpuinfo, or "unknown processor".
static inline void bench_processor(char *name, size_t room)
{
  FILE *file = fopen("/proc/cpuinfo", "r");
  char line[256];
  snprintf(name, room, "unknown processor");
  while (file && fgets(line, sizeof line, file)) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) || !colon) continue;
    snprintf(name, room, "%s", colon + 2);
    name[strcspn(name, "\n")] = '\0';
    break;
  }
  if (file) fclose(file);
}

static inline const fr__kernels *bench_best_row(void)
{
  const fr__kernels *row = fr__rows;
  while (!row->available()) row++;
  return row;
}

static inline void bench_title(const char *title)
{
  char processor[200];
  bench_processor(processor, sizeof processor);
  printf("\n==== %s\nforkreason %s on %s; best kernel row %s\n", title, FR_VERSION, processor, bench_best_row()->name);
#ifdef __VERSION__
  printf("compiler %s; built by: %s\n", __VERSION__, BENCH_FLAGS);
#endif
  fflush(stdout);
}

static inline void bench_section(const char *title)
{
  printf("\n-- %s\n%-60s %10s %-9s %10s  %-20s %8s %8s\n", title, "", "ours", "", "peer", "", "ratio", "target");
}

static inline void bench_json_text(FILE *file, const char *text)
{
  fputc('"', file);
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') fputc('\\', file);
    if ((unsigned char)*text >= ' ') fputc(*text, file);
  }
  fputc('"', file);
}

static inline void bench_json_number(FILE *file, const char *name, double value, int there)
{
  fprintf(file, ", \"%s\": ", name);
  if (there) fprintf(file, "%.6g", value);
  else fprintf(file, "null");
}

// What the two numbers are. The ratio is peer / ours for times, else ours / peer; a share is met when it is at most the
// target, the others when they are at least the target.
typedef enum bench_kind { BENCH_TIME, BENCH_RATE, BENCH_SHARE } bench_kind;

// Returns the ratio, 0 if there is none; *met is 1, 0, or -1 where there is nothing to judge.
static inline double bench_ratio(bench_kind kind, double ours, double peer, double target, int *met)
{
  const int compared = peer > 0.0 && ours > 0.0;
  const double ratio = !compared ? 0.0 : kind == BENCH_TIME ? peer / ours : ours / peer;
  *met = !compared || !(target > 0.0) ? -1 : kind == BENCH_SHARE ? ratio <= target : ratio >= target;
  return ratio;
}

// Adds a row to the file.
static inline void bench_record(const char *name, const char *unit, bench_kind kind, double ours, double peer,
                                const char *peer_name, double target)
{
  int met;
  const double ratio = bench_ratio(kind, ours, peer, target, &met);
  const char *path = getenv("BENCH_ROWS");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  fprintf(file, "{\"name\": ");
  bench_json_text(file, name);
  fprintf(file, ", \"unit\": ");
  bench_json_text(file, unit);
  bench_json_number(file, "ours", ours, ours > 0.0);
  bench_json_number(file, "peer", peer, ratio > 0.0);
  fprintf(file, ", \"peer_name\": ");
  if (*peer_name) bench_json_text(file, peer_name);
  else fprintf(file, "null");
  bench_json_number(file, "ratio", ratio, ratio > 0.0);
  bench_json_number(file, "target", target, target > 0.0);
  fprintf(file, ", \"met\": %s}\n", met < 0 ? "null" : met ? "true" : "false");
  fclose(file);
}

// Prints a row and adds it to the file. peer 0: there is none, and peer_name says why ("" if there is none to have);
// ours 0: it is nothing without the peer; target 0: none.
static inline void bench_row(const char *name, const char *unit, bench_kind kind, double ours, double peer,
                             const char *peer_name, double target)
{
  int met;
  const double ratio = bench_ratio(kind, ours, peer, target, &met);
  if (ours > 0.0) printf("%-60s %10.4g %-9s ", name, ours, unit);
  else printf("%-60s %10s %-9s ", name, "", unit);
  if (ratio > 0.0) printf("%10.4g  %-20s %8.3f ", peer, peer_name, ratio);
  else printf("%10s  %-20s %8s ", "", peer_name, "");
  if (target > 0.0)
    printf("%s %5.2f %s", kind == BENCH_SHARE ? "<=" : ">=", target, met < 0 ? "" : met ? "met" : "MISSED");
  printf("\n");
  fflush(stdout);
  bench_record(name, unit, kind, ours, peer, peer_name, target);
}

// ---- peers

extern char **environ;

// OPENBLAS_CORETYPE and its like would hold OpenBLAS back; it must choose its best core type itself.
static inline void bench_clear_openblas(void)
{
  char **entry = environ;
  while (*entry) {
    char name[128];
    const size_t length = strcspn(*entry, "=");
    if (strncmp(*entry, "OPENBLAS_", 9) || length >= sizeof name) { entry++; continue; }
    memcpy(name, *entry, length);
    name[length] = '\0';
    unsetenv(name);
    entry = environ;  // unsetenv has moved the entries
  }
}

static inline int bench_no_peers(void) { return getenv("BENCH_NO_PEERS") != NULL; }

// What a peer program printed: "version TEXT" and lines of "NAME NUMBER".
enum { BENCH_VALUES = 32 };
typedef struct bench_peer {
  char version[200];  // empty: the peer is not there, or failed
  int count;
  struct { char name[40]; double value; } values[BENCH_VALUES];
} bench_peer;

// Runs bench/SCRIPT with the python that the environment variable `python` names.
static inline void bench_peer_run(bench_peer *peer, const char *python, const char *script_and_flags)
{
  char command[600], line[400];
  FILE *pipe;
  int printed;
  memset(peer, 0, sizeof *peer);
  if (bench_no_peers() || !getenv(python)) return;
  bench_clear_openblas();
  fflush(stdout);
  printed = snprintf(command, sizeof command, "\"$%s\" bench/%s", python, script_and_flags);
  pipe = printed < (int)sizeof command ? popen(command, "r") : NULL;
  if (!pipe) return;
  while (fgets(line, sizeof line, pipe)) {
    char *space = strchr(line, ' ');
    line[strcspn(line, "\n")] = '\0';
    if (!space) continue;
    *space++ = '\0';
    if (!strcmp(line, "version")) {
      snprintf(peer->version, sizeof peer->version, "%s", space);
    } else if (peer->count < BENCH_VALUES && strlen(line) < sizeof peer->values[0].name) {
      strcpy(peer->values[peer->count].name, line);
      peer->values[peer->count++].value = atof(space);
    }
  }
  if (pclose(pipe)) peer->version[0] = '\0';
}

// 0 if the peer did not say.
static inline double bench_peer_value(const bench_peer *peer, const char *name)
{
  for (int i = 0; peer->version[0] && i < peer->count; i++)
    if (!strcmp(peer->values[i].name, name)) return peer->values[i].value;
  return 0.0;
}

#endif
