// test.h - what all test programs share: counted checks and a generator that is not the library's.
//
// A program calls CHECK or CHECK_BELOW any number of times and ends with `return test_done("name");`.
// The exit status is the verdict. Programs run from the repository root.
#ifndef FR_TEST_H
#define FR_TEST_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef TEST_SHOWN
#define TEST_SHOWN 20  // failures printed; the rest are only counted
#endif

static long test_checks, test_failures;

static inline int test_check(int good, const char *what, const char *file, int line)
{
  test_checks++;
  if (!good && ++test_failures <= TEST_SHOWN) fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
  return good;
}

// NaN is below nothing, so it fails.
static inline int test_below(double value, double bound, const char *what, const char *file, int line)
{
  char text[300];
  snprintf(text, sizeof text, "%.200s: %.9g, at most %.9g allowed", what, value, bound);
  return test_check(value <= bound, text, file, line);
}

#define CHECK(condition) test_check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
#define CHECK_BELOW(value, bound) test_below((double)(value), (double)(bound), #value, __FILE__, __LINE__)

static inline int test_done(const char *name)
{
  printf("%s: %ld checks, %ld failed\n", name, test_checks, test_failures);
  return test_failures != 0 || test_checks == 0;
}

// Repetitions: a tenth with TEST_BRIEF in the environment, for sanitizers and emulators, which look for other faults than rare numbers.
static inline int test_brief(void) { return getenv("TEST_BRIEF") != NULL; }
static inline int test_times(int times) { return test_brief() ? (times + 9) / 10 : times; }

// Memory for tests: never NULL.
static inline void *test_alloc(size_t bytes)
{
  void *memory = malloc(bytes ? bytes : 1);
  if (!memory) { fprintf(stderr, "out of memory\n"); exit(2); }
  return memory;
}

// SplitMix64.
static uint64_t test_state = 1;
static inline uint64_t test_bits(void)
{
  uint64_t z = (test_state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
static inline double test_uniform(double low, double high)
{
  return low + (high - low) * ((double)(test_bits() >> 11) / 9007199254740992.0);
}
static inline ptrdiff_t test_below_int(ptrdiff_t bound) { return (ptrdiff_t)(test_bits() % (uint64_t)bound); }
static inline double test_normal(void)
{
  const double radius = sqrt(-2.0 * log(1.0 - test_uniform(0.0, 1.0)));
  return radius * cos(6.283185307179586 * test_uniform(0.0, 1.0));
}

#endif
