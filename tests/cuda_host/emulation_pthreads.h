// emulation_pthreads.h - the second race finder: one pthread a CUDA thread under the real thread sanitizer, which knows of the first
// finder nothing and of CUDA only this: __syncthreads and __syncwarp are a pthread_barrier. Lanes that meet for a shuffle or for a
// product are not put in order by it, so they wait on a futex, in code that the sanitizer does not see. Blocks follow one another.

// Threads of the pool are still there at the end; the sanitizer would wait a second for them.
extern "C" __attribute__((used)) const char *__tsan_default_options() { return "atexit_sleep_ms=0"; }

[[noreturn]] static EMU_QUIET void emu_leave() { _exit(3); }

// Two barriers take turns. With one, a thread that wakes up late also learns what those have done who are at the next barrier already:
// the sanitizer would take that for order.
inline thread_local unsigned emu_turn, emu_warp_turn;
static EMU_QUIET void emu_barrier(int) { pthread_barrier_wait(&emu.barrier[emu_turn++ & 1]); }
static EMU_QUIET void emu_sync_warp(int) { pthread_barrier_wait(&emu_my_warp()->barrier[emu_warp_turn++ & 1]); }

static EMU_QUIET void emu_meet(emu_warp *w, int what, int)
{
  const unsigned round = __atomic_load_n(&w->round, __ATOMIC_SEQ_CST);
  if (__atomic_add_fetch(&w->count, 1, __ATOMIC_SEQ_CST) == EMU_LANES) {
    w->count = 0;
    emu_together(w, what, round & 1);
    __atomic_store_n(&w->round, round + 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &w->round, FUTEX_WAKE_PRIVATE, EMU_LANES, nullptr, nullptr, 0);
  }
  while (__atomic_load_n(&w->round, __ATOMIC_SEQ_CST) == round)
    syscall(SYS_futex, &w->round, FUTEX_WAIT_PRIVATE, round, nullptr, nullptr, 0);
}

static EMU_QUIET void *emu_thread_main(void *number)
{
  const unsigned self = (unsigned)(uintptr_t)number;
  for (unsigned seen = 0;;) {
    pthread_mutex_lock(&emu.lock);
    while (emu.block_serial == seen) pthread_cond_wait(&emu.begin, &emu.lock);
    seen = emu.block_serial;
    emu_here = emu.place;
    pthread_mutex_unlock(&emu.lock);
    if (self >= emu_here.block_size.x) continue;
    emu_here.thread.x = self;
    emu_turn = emu_warp_turn = 0;
    // All are past the lock before one begins. Else one that ends before another starts would hand it, by that lock, an order that
    // CUDA does not have, and a race would not be seen.
    pthread_barrier_wait(&emu.start);
    emu.job->call(emu.job->bound);
    pthread_mutex_lock(&emu.lock);
    if (!--emu.running) pthread_cond_signal(&emu.end);
    pthread_mutex_unlock(&emu.lock);
  }
  return nullptr;
}

static EMU_QUIET void emu_fill_shared(const emu_job *job);

static EMU_QUIET void emu_run_block(const emu_job *job)
{
  emu_fill_shared(job);
  for (unsigned i = 0; i < job->threads; i++) emu.threads[i].group = 0, emu.threads[i].copy_count = 0;
  pthread_mutex_lock(&emu.lock);
  for (; emu.pool_count < job->threads; emu.pool_count++) {
    if (emu.pool_count % EMU_LANES == 0)
      for (pthread_barrier_t &b : emu.warps[emu.pool_count / EMU_LANES].barrier) pthread_barrier_init(&b, nullptr, EMU_LANES);
    if (pthread_create(&emu.pool[emu.pool_count], nullptr, emu_thread_main, (void *)(uintptr_t)emu.pool_count)) {
      fprintf(stderr, "emulation: no thread %u\n", emu.pool_count);
      _exit(3);
    }
  }
  for (pthread_barrier_t &b : emu.barrier) pthread_barrier_init(&b, nullptr, job->threads);
  pthread_barrier_init(&emu.start, nullptr, job->threads);
  emu.place = emu_here;
  emu.running = job->threads;
  emu.block_serial++;
  emu.in_device = 1;
  pthread_cond_broadcast(&emu.begin);
  while (emu.running) pthread_cond_wait(&emu.end, &emu.lock);
  emu.in_device = 0;
  for (pthread_barrier_t &b : emu.barrier) pthread_barrier_destroy(&b);
  pthread_barrier_destroy(&emu.start);
  pthread_mutex_unlock(&emu.lock);
}
