// pool.h - a small pool of POSIX threads that fits the thread hook of forkreason.h:
//
//     pool threads;
//     pool_start(&threads, pool_default_threads());      // the caller is one of them
//     limits.tasks = threads.threads;                   // before fr_work_new: pieces of work at once, 1 without it
//     work.run = pool_run; work.pool = &threads;
//     ...
//     pool_stop(&threads);
//
// A training step hands out a region of work every few dozen microseconds, which is less than it takes to wake
// a sleeping thread. So a worker that runs out of work spins for a while before it goes to sleep. Every task
// of a region is taken by whoever is free; a worker that comes late, or is not scheduled at all because the
// machine is busy, delays nobody. One thread at a time may call pool_run on a pool; tasks must not call it.
//
// Needs gcc or clang (__atomic builtins) and, with -std=c99, _POSIX_C_SOURCE 200809L before the first include.
#ifndef POOL_H
#define POOL_H

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#define POOL_MAX_THREADS 256
#define POOL_SPINS 4000  // pauses before a worker sleeps, about a tenth of a millisecond
#define POOL_EAGER 200   // pauses before a waiting thread begins to offer its core to others

typedef struct pool {
  // Generation of the region in the upper half, tasks not yet taken in the lower half. A thread takes task
  // left-1 by exchanging the whole word, so nobody can take a task of a region that is over, and whoever
  // succeeds knows that task and arg, read before, belonged to this region.
  uint64_t state __attribute__((aligned(64)));
  void (*task)(void *arg, ptrdiff_t index);
  void *arg;
  ptrdiff_t unfinished __attribute__((aligned(64)));  // tasks of the region that have not returned
  int sleepers;                                       // workers that wait on `wake`, or are about to
  int stop;
  int threads;  // with the caller
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  pthread_t workers[POOL_MAX_THREADS - 1];
} pool;

static inline void pool__pause(int spins)
{
  if (spins > POOL_EAGER && spins % 16 == 0) { sched_yield(); return; }
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Takes tasks of the running region until none is left to take.
static inline void pool__help(pool *threads)
{
  uint64_t state = __atomic_load_n(&threads->state, __ATOMIC_SEQ_CST);
  while ((uint32_t)state > 0) {
    void (*task)(void *, ptrdiff_t) = __atomic_load_n(&threads->task, __ATOMIC_RELAXED);
    void *arg = __atomic_load_n(&threads->arg, __ATOMIC_RELAXED);
    if (!__atomic_compare_exchange_n(&threads->state, &state, state - 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      continue;  // another thread was faster, and `state` is fresh now
    task(arg, (ptrdiff_t)((uint32_t)state - 1));
    __atomic_fetch_sub(&threads->unfinished, 1, __ATOMIC_ACQ_REL);
    state = __atomic_load_n(&threads->state, __ATOMIC_SEQ_CST);
  }
}

static inline int pool__idle(pool *threads)
{
  return (uint32_t)__atomic_load_n(&threads->state, __ATOMIC_SEQ_CST) == 0 &&
         !__atomic_load_n(&threads->stop, __ATOMIC_SEQ_CST);
}

static inline void *pool__worker(void *user)
{
  pool *threads = (pool *)user;
  while (!__atomic_load_n(&threads->stop, __ATOMIC_SEQ_CST)) {
    for (int spins = 0; spins < POOL_SPINS && pool__idle(threads); spins++) pool__pause(spins);
    if (pool__idle(threads)) {
      // First count as a sleeper, then look again: pool_run first publishes, then looks for sleepers. One of
      // the two sees the other.
      pthread_mutex_lock(&threads->mutex);
      __atomic_fetch_add(&threads->sleepers, 1, __ATOMIC_SEQ_CST);
      while (pool__idle(threads)) pthread_cond_wait(&threads->wake, &threads->mutex);
      __atomic_fetch_sub(&threads->sleepers, 1, __ATOMIC_SEQ_CST);
      pthread_mutex_unlock(&threads->mutex);
    }
    pool__help(threads);
  }
  return NULL;
}

static inline void pool__wake(pool *threads)
{
  if (__atomic_load_n(&threads->sleepers, __ATOMIC_SEQ_CST) == 0) return;
  pthread_mutex_lock(&threads->mutex);
  pthread_cond_broadcast(&threads->wake);
  pthread_mutex_unlock(&threads->mutex);
}

// Processors that are online, at least 1.
static inline int pool_default_threads(void)
{
#ifdef _WIN32
  const long online = pthread_num_processors_np();  // of winpthreads
#else
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
#endif
  return online < 1 ? 1 : online > POOL_MAX_THREADS ? POOL_MAX_THREADS : (int)online;
}

// Starts count-1 threads and returns how many there are with the caller: fewer than asked for where the
// system gives no more.
static inline int pool_start(pool *threads, int count)
{
  threads->state = 0;
  threads->unfinished = 0;
  threads->task = NULL;
  threads->arg = NULL;
  threads->sleepers = threads->stop = 0;
  threads->threads = 1;
  pthread_mutex_init(&threads->mutex, NULL);
  pthread_cond_init(&threads->wake, NULL);
  if (count > POOL_MAX_THREADS) count = POOL_MAX_THREADS;
  while (threads->threads < count &&
         pthread_create(&threads->workers[threads->threads - 1], NULL, pool__worker, threads) == 0)
    threads->threads++;
  return threads->threads;
}

static inline void pool_stop(pool *threads)
{
  __atomic_store_n(&threads->stop, 1, __ATOMIC_SEQ_CST);
  pool__wake(threads);
  for (int i = 0; i < threads->threads - 1; i++) pthread_join(threads->workers[i], NULL);
  pthread_cond_destroy(&threads->wake);
  pthread_mutex_destroy(&threads->mutex);
  threads->threads = 1;
}

// The fr_run hook: runs task(arg, 0) .. task(arg, tasks-1) on all threads, the caller's included.
static inline void pool_run(void *user, ptrdiff_t tasks, void (*task)(void *arg, ptrdiff_t index), void *arg)
{
  pool *threads = (pool *)user;
  if (tasks <= 0) return;
  if (tasks == 1 || threads->threads == 1 || (uint64_t)tasks > UINT32_MAX) {
    for (ptrdiff_t i = 0; i < tasks; i++) task(arg, i);
    return;
  }
  const uint64_t generation = (__atomic_load_n(&threads->state, __ATOMIC_SEQ_CST) >> 32) + 1;
  __atomic_store_n(&threads->task, task, __ATOMIC_RELAXED);
  __atomic_store_n(&threads->arg, arg, __ATOMIC_RELAXED);
  __atomic_store_n(&threads->unfinished, tasks, __ATOMIC_RELAXED);
  __atomic_store_n(&threads->state, generation << 32 | (uint64_t)tasks, __ATOMIC_SEQ_CST);
  pool__wake(threads);
  pool__help(threads);
  for (int spins = 0; __atomic_load_n(&threads->unfinished, __ATOMIC_ACQUIRE) != 0;) pool__pause(++spins);
}

#endif
