// emulation.h - CUDA's execution model in host C++17, so that the device code of forkreason.h is compiled and run without a GPU.
//
//   #include "emulation.h"                       first
//   #define FORKREASON_CUDA_IMPLEMENTATION
//   #include "../../forkreason.h"                kernels and host side, unchanged
//
// A block's threads are fibers of one thread of the machine, blocks follow one another: all of it is deterministic. Device memory
// is apart from the host's: locked while the host runs, with unmapped pages behind each allocation, and made of NaN at first, as is
// shared memory in every block. The stream is a queue that runs when the host waits for it, not before: who reads pinned memory too
// early reads NaN. What is wrong is an error that names kernel, block and thread, and ends the launch; emu_errors() counts them.
//
// Two other ways to build it find races:
//   EMU_TRACK      compiled with -fsanitize=thread and linked without: the compiler then calls __tsan_read4 and its like at every
//                  access, and these are defined here. All accesses of kernels to shared and device memory are kept by byte.
//   EMU_PTHREADS   the real thread sanitizer over one pthread a CUDA thread and a pthread_barrier for __syncthreads.
//
// What is not here does not compile: atomics (but EMU_ATOMIC_ADD), __ldg, rsqrtf, partial warps, blocks of more than one dimension.
#ifndef EMULATION_H
#define EMULATION_H
#define FR__CUDA_EMULATED

#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <elf.h>
#include <functional>
#include <link.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>
#if defined(EMU_PTHREADS)
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#elif defined(EMU_UCONTEXT) || !(defined(__x86_64__) || defined(__aarch64__))
#define EMU_BY_UCONTEXT
#include <ucontext.h>
#endif

// Code of the emulation itself, which no sanitizer shall see.
#if defined(__clang__)
#define EMU_QUIET __attribute__((disable_sanitizer_instrumentation, unused))
#define EMU_WHOLE __attribute__((noinline, unused))
#else
#define EMU_QUIET __attribute__((no_sanitize("thread"), unused))
#define EMU_WHOLE __attribute__((noipa, unused))
#endif

// What it does with a kernel's memory, which the thread sanitizer shall see as the kernel's doing; EMU_TRACK is told otherwise.
#ifdef EMU_PTHREADS
#define EMU_SEEN __attribute__((unused))
#else
#define EMU_SEEN EMU_QUIET
#endif

// ---- words of the language
// `used` keeps the compiler from thinking that only the code that it sees can change a shared variable.
#define __global__ EMU_WHOLE
#define __device__ __attribute__((unused))
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static __attribute__((used))
#define FR__DYNAMIC(type, name) type *const name = (type *)emu_dynamic()

struct alignas(8)  float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8)  int2   { int x, y; };
struct alignas(16) int4   { int x, y, z, w; };
struct alignas(8)  uint2  { unsigned x, y; };
struct alignas(16) uint4  { unsigned x, y, z, w; };
static inline float2 make_float2(float x, float y) { return { x, y }; }
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }
static inline int2 make_int2(int x, int y) { return { x, y }; }
static inline int4 make_int4(int x, int y, int z, int w) { return { x, y, z, w }; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return { x, y }; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return { x, y, z, w }; }

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct emu_dim1 { unsigned x; };
struct emu_dim3 { unsigned x, y, z; };
struct emu_place { emu_dim1 thread, block_size; emu_dim3 block, grid; };
#ifdef EMU_PTHREADS
inline thread_local emu_place emu_here;
#else
inline emu_place emu_here;
#endif
#define threadIdx (emu_here.thread)
#define blockIdx  (emu_here.block)
#define blockDim  (emu_here.block_size)
#define gridDim   (emu_here.grid)

// ---- what the emulation holds
enum { EMU_THREADS = 1024, EMU_LANES = 32, EMU_STACK = 1 << 17, EMU_PAGE = 4096, EMU_DYNAMIC = 227 * 1024, EMU_COPIES = 64 };
static const size_t EMU_ARENA = (size_t)1 << 32;  // addresses of the device; none is given twice
enum { EMU_UNSTARTED, EMU_RUNS, EMU_AT_BARRIER, EMU_AT_WARP, EMU_FINISHED };

struct emu_fiber {
  char *stack, *top;              // tops lie at different places of a page: else they are in each other's way in the cache
#ifdef EMU_BY_UCONTEXT
  ucontext_t context;
#else
  void *sp;
#endif
};

struct emu_copy { char *to; const char *from; unsigned group; };  // 16 bytes of cp.async that have not landed

struct emu_thread {
  emu_fiber *fiber;
  int state, line;
  unsigned group;                 // of cp.async that is open
  int copy_count;
  emu_copy copies[EMU_COPIES];
};

struct emu_warp {
  int count, line, what;          // lanes that wait, where and for what
  unsigned round;                 // meetings so far: a lane may leave one and enter the next before the others have left
  unsigned syncs;                 // __syncwarp so far
  uint64_t value[2][EMU_LANES];
  uint32_t a[2][EMU_LANES][4], b[2][EMU_LANES][2];
  float d[2][EMU_LANES][4];
#ifdef EMU_PTHREADS
  pthread_barrier_t barrier[2];
#endif
};

struct emu_allocation { char *at; size_t bytes; int live; };
struct emu_range { char *at; size_t bytes; std::string name; };
struct emu_kernel { const void *at; std::string name; std::vector<emu_range> shared; size_t shared_bytes, dynamic_most; };

struct emu_job {                  // a launch
  emu_kernel *kernel;
  dim3 grid;
  unsigned threads;
  size_t dynamic_bytes;
  void (*call)(const void *);     // the kernel with its arguments, as the thread emu_here
  const void *bound;
};

struct emu_cell {                 // EMU_TRACK: who touched four bytes last, or one
  uint32_t write, read;           // the interval between barriers: 0 never, 1 by the host
  uint32_t write_block, read_block, read_launch;  // read_block: EMU_MANY for several of this launch
  uint16_t writer, reader;        // thread; reader may be EMU_LANES_OF | warp, EMU_ALL
  uint16_t write_sync, read_sync; // __syncwarp's that its warp had seen
  uint8_t split, in_flight;       // split: look at the bytes; in_flight: cp.async has not landed
};
enum { EMU_LANES_OF = 0x8000, EMU_ALL = 0xFFFF };
static const uint32_t EMU_MANY = 0xFFFFFFFFu;

struct emu_shadow { emu_cell *words, *bytes; };

struct emu_state {
  // what a test sets
  int devices = 1, show = 1;      // show: errors go to stderr
  int major = 9, minor = 0;
  size_t memory = (size_t)1 << 30;
  long fail_malloc = 0, fail_call = 0;  // the k-th allocation finds no memory; the k-th call of the host API fails
  uint64_t seed = 0;              // orders of threads and blocks: 0 as they are numbered, else shuffled
  int unwritten = 1;              // EMU_TRACK: 1: reading what nobody wrote is an error
  // what it counts
  long calls = 0, mallocs = 0, launches = 0, live = 0, streams = 0, pinned = 0, waits = 0;
  size_t bytes_in_use = 0, bytes_to_device = 0, bytes_to_host = 0;
  long errors = 0;
  std::string text;               // the first error
  // the device
  char *arena = nullptr, *dynamic = nullptr;
  size_t arena_used = 0;
  uint32_t *owner = nullptr;      // [page of the arena] 1 + which allocation
  int open = 0;                   // 1: kernels may touch device memory
  std::vector<emu_allocation> allocations;
  std::vector<emu_range> pinned_blocks;
  std::vector<std::function<void()>> queue;
  std::vector<emu_kernel *> kernels;
  std::vector<emu_range> variables, functions;  // of the program's table of symbols: those that stand in a function; all
  char *static_first = nullptr, *static_last = nullptr;  // where those variables lie
  int last = 0, stuck = 0;        // errors of CUDA; a stuck one stays
  // the block that runs
  const emu_job *job = nullptr;
  char *dynamic_at = nullptr;
  emu_thread threads[EMU_THREADS];
  emu_warp warps[EMU_THREADS / EMU_LANES];
  emu_fiber *free_fibers[EMU_THREADS + 1];
  int free_count = 0, fibers = 0;
  emu_fiber main = {};
  emu_fiber *fiber = nullptr;     // that runs now, and its stack
  const char *stack = nullptr;
  emu_thread *current = nullptr;
  uint16_t ready[EMU_THREADS];    // a ring
  unsigned ready_first = 0, ready_count = 0, finished = 0, at_barrier = 0;
  int barrier_line = 0, in_device = 0, aborted = 0;
  sigjmp_buf escape;
  uint64_t random = 0;
  // EMU_TRACK
  uint32_t interval = 1, block_interval = 1, launch_interval = 1, launch_number = 0, block_number = 0;
  emu_shadow on_device, on_dynamic, on_static;
  const emu_range *shared = nullptr;  // the kernel's variables
  int shared_count = 0;
  std::vector<std::string> told;
#ifdef EMU_PTHREADS
  pthread_t pool[EMU_THREADS];
  unsigned pool_count = 0;
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t begin = PTHREAD_COND_INITIALIZER, end = PTHREAD_COND_INITIALIZER;
  unsigned block_serial = 0, running = 0;
  pthread_barrier_t barrier[2], start;
  emu_place place;
#endif
};
inline emu_state emu;

// ---- errors
static EMU_QUIET std::string emu_format(const char *format, ...)
{
  char text[600];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  return text;
}

// A symbol as a person writes it, without arguments: "product<16>", "product<16>::tile".
static EMU_QUIET std::string emu_plain_name(const std::string &symbol)
{
  int status = 0;
  char *text = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  std::string name = text ? text : symbol;
  free(text);
  if (!name.compare(0, 5, "void ")) name.erase(0, 5);
  const size_t open = name.find('('), close = name.rfind(')');
  if (open != std::string::npos && close != std::string::npos) name.erase(open, close - open + 1);
  return name;
}

static EMU_QUIET std::string emu_block_name()
{
  return emu_format("kernel %s, block (%u,%u,%u)", emu.job ? emu.job->kernel->name.c_str() : "?", emu_here.block.x, emu_here.block.y, emu_here.block.z);
}

static EMU_QUIET void emu_note(const std::string &text)
{
  const int was = emu.in_device;
  emu.in_device = 0;
  if (!emu.errors++) emu.text = text;
  if (emu.show) fprintf(stderr, "emulation: %s\n", text.c_str());
  emu.in_device = was;
}

// How many errors there were, from now on none.
static inline long emu_errors()
{
  const long count = emu.errors;
  emu.errors = 0;
  return count;
}

[[noreturn]] static EMU_QUIET void emu_leave();  // from a thread of a kernel: the launch is over

[[noreturn]] static EMU_QUIET void emu_stop(const std::string &text)
{
  emu_note(text);
  emu_leave();
}

[[noreturn]] static EMU_QUIET void emu_stop_thread(const char *what)
{
  emu.in_device = 0;
  emu_stop(emu_block_name() + emu_format(", thread %u: ", emu_here.thread.x) + what);
}

// ---- device memory
static EMU_QUIET uint64_t emu_random()
{
  uint64_t z = (emu.random += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static EMU_QUIET void *emu_map(size_t bytes, int access)
{
  void *at = mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) { perror("emulation: mmap"); exit(3); }
  return at;
}

static EMU_QUIET size_t emu_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
static EMU_QUIET char *emu_page_of(const char *at) { return (char *)((uintptr_t)at / EMU_PAGE * EMU_PAGE); }
static EMU_QUIET int emu_in(const void *p, const char *from, size_t bytes)
{
  return (uintptr_t)p - (uintptr_t)from < bytes;
}
static EMU_QUIET int emu_in_arena(const void *p) { return emu.arena && emu_in(p, emu.arena, EMU_ARENA); }

// The allocation that all of these bytes are in.
static EMU_QUIET emu_allocation *emu_find(const void *p, size_t bytes)
{
  const uint32_t owner = emu_in_arena(p) ? emu.owner[(size_t)((const char *)p - emu.arena) / EMU_PAGE] : 0;
  emu_allocation *a = owner ? &emu.allocations[owner - 1] : nullptr;
  return a && a->live && emu_in(p, a->at, a->bytes) && bytes <= a->bytes - (size_t)((const char *)p - a->at) ? a : nullptr;
}

// "buffer 3 + 4096 (of 4000 bytes)"
static EMU_QUIET std::string emu_name(const void *p)
{
  const char *at = (const char *)p;
  if (emu_in_arena(p)) {
    const emu_allocation *nearest = nullptr;
    int number = 0;
    for (size_t i = 0; i < emu.allocations.size(); i++)  // addresses only grow
      if (!nearest || emu_page_of(emu.allocations[i].at) <= at) { nearest = &emu.allocations[i]; number = (int)i; }
    if (!nearest) return "device memory that was never given";
    return emu_format("device buffer %d + %td (of %zu bytes%s)", number, at - nearest->at, nearest->bytes, nearest->live ? "" : ", freed");
  }
  if (emu.dynamic && emu_in(p, emu.dynamic, EMU_DYNAMIC + EMU_PAGE))
    return emu_format("dynamic shared memory + %td (of %zu bytes)", at - emu.dynamic_at, emu.job ? emu.job->dynamic_bytes : (size_t)0);
  for (const emu_range &r : emu.variables)
    if (emu_in(p, r.at, r.bytes)) return emu_format("shared %s + %td (of %zu bytes)", emu_plain_name(r.name).c_str(), at - r.at, r.bytes);
  return emu_format("host memory %p", p);
}

static EMU_QUIET void emu_unlock(int open)
{
  if (open == emu.open) return;
  emu.open = open;
  for (const emu_allocation &a : emu.allocations) {
    char *page = emu_page_of(a.at);
    if (a.live) mprotect(page, emu_up((size_t)(a.at + a.bytes - page), EMU_PAGE), open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }
}

// A kernel that goes where nothing is mapped, and the host that touches device memory, end here.
static EMU_QUIET void emu_on_fault(int number, siginfo_t *info, void *)
{
  const void *p = info->si_addr;
  if (emu.in_device) {
    emu.in_device = 0;
    emu_note(emu_block_name() + emu_format(", thread %u: out of bounds at ", emu_here.thread.x) + emu_name(p));
#ifndef EMU_PTHREADS
    siglongjmp(emu.escape, 1);
#endif
    _exit(3);
  }
  if (emu_in_arena(p)) {
    fprintf(stderr, "emulation: the host touches %s\n", emu_name(p).c_str());
    _exit(3);
  }
  signal(number, SIG_DFL);
}

static EMU_QUIET void emu_read_symbols();

static EMU_QUIET void emu_prepare()
{
  static char handler_stack[1 << 16];
  stack_t stack;
  struct sigaction action;
  if (emu.arena) return;
  emu.arena = (char *)emu_map(EMU_ARENA, PROT_NONE);
  emu.arena_used = EMU_PAGE;
  emu.owner = (uint32_t *)emu_map(EMU_ARENA / EMU_PAGE * sizeof(uint32_t), PROT_READ | PROT_WRITE);
  emu.dynamic = (char *)emu_map(emu_up(EMU_DYNAMIC, EMU_PAGE) + EMU_PAGE, PROT_NONE);  // its end is the end of a page
  mprotect(emu.dynamic, emu_up(EMU_DYNAMIC, EMU_PAGE), PROT_READ | PROT_WRITE);
  memset(&stack, 0, sizeof stack);
  stack.ss_sp = handler_stack;
  stack.ss_size = sizeof handler_stack;
  sigaltstack(&stack, nullptr);
  memset(&action, 0, sizeof action);
  action.sa_sigaction = emu_on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  emu_read_symbols();
#ifdef EMU_TRACK
  const size_t cells = EMU_ARENA * sizeof(emu_cell), small = (EMU_DYNAMIC + EMU_PAGE) * sizeof(emu_cell);
  const size_t statics = ((size_t)(emu.static_last - emu.static_first) + 8) * sizeof(emu_cell);
  emu.on_device = { (emu_cell *)emu_map(cells / 4, PROT_READ | PROT_WRITE), (emu_cell *)emu_map(cells, PROT_READ | PROT_WRITE) };
  emu.on_dynamic = { (emu_cell *)emu_map(small / 4, PROT_READ | PROT_WRITE), (emu_cell *)emu_map(small, PROT_READ | PROT_WRITE) };
  emu.on_static = { (emu_cell *)emu_map(statics, PROT_READ | PROT_WRITE), (emu_cell *)emu_map(statics, PROT_READ | PROT_WRITE) };
#endif
}

// ---- the program's own symbols: which shared variables are a kernel's
// A kernel is _Z<name>, its variable v is _ZZ<name>E<length>v. (A section of their own would be simpler, but gcc puts none in it that
// stand in templates.)
static EMU_QUIET void emu_read_symbols()
{
  FILE *file = fopen("/proc/self/exe", "rb");
  ElfW(Ehdr) head;
  std::vector<ElfW(Shdr)> sections;
  uintptr_t base = 0;
  dl_iterate_phdr([](dl_phdr_info *info, size_t, void *to) { *(uintptr_t *)to = info->dlpi_addr; return 1; }, &base);
  if (file && fread(&head, sizeof head, 1, file) == 1) {
    sections.resize(head.e_shnum);
    fseek(file, (long)head.e_shoff, SEEK_SET);
    if (fread(sections.data(), sizeof sections[0], sections.size(), file) != sections.size()) sections.clear();
  }
  for (const ElfW(Shdr) &s : sections) {
    if (s.sh_type != SHT_SYMTAB) continue;
    std::vector<ElfW(Sym)> symbols(s.sh_size / sizeof(ElfW(Sym)));
    std::vector<char> names(sections[s.sh_link].sh_size + 1);
    fseek(file, (long)s.sh_offset, SEEK_SET);
    if (fread(symbols.data(), sizeof symbols[0], symbols.size(), file) != symbols.size()) break;
    fseek(file, (long)sections[s.sh_link].sh_offset, SEEK_SET);
    if (fread(names.data(), 1, names.size() - 1, file) != names.size() - 1) break;
    for (const ElfW(Sym) &y : symbols) {
      const int kind = y.st_info & 15;
      char *at = (char *)(base + y.st_value);
      if (kind == STT_FUNC) emu.functions.push_back({ at, y.st_size, &names[y.st_name] });
      if (kind != STT_OBJECT || strncmp(&names[y.st_name], "_ZZ", 3)) continue;
      emu.variables.push_back({ at, y.st_size, &names[y.st_name] });
      if (!emu.static_first || at < emu.static_first) emu.static_first = at;
      if (at + y.st_size > emu.static_last) emu.static_last = at + y.st_size;
    }
  }
  if (file) fclose(file);
  emu.static_first -= (uintptr_t)emu.static_first % 16;
}

static EMU_QUIET emu_kernel *emu_kernel_of(const void *at)
{
  for (emu_kernel *k : emu.kernels) if (k->at == at) return k;
  emu_kernel *k = new emu_kernel();
  k->at = at;
  k->shared_bytes = 0;
  k->dynamic_most = 48 * 1024;
  for (const emu_range &f : emu.functions) {
    if (f.at != at || f.name.compare(0, 2, "_Z")) continue;
    const std::string prefix = "_ZZ" + f.name.substr(2) + "E";
    k->name = emu_plain_name(f.name);
    for (const emu_range &v : emu.variables)
      if (!v.name.compare(0, prefix.size(), prefix)) k->shared.push_back(v);
    break;
  }
  if (k->name.empty()) { fprintf(stderr, "emulation: the program has no symbols, so shared variables cannot be found\n"); exit(3); }
  for (const emu_range &r : k->shared) k->shared_bytes += r.bytes;
  emu.kernels.push_back(k);
  return k;
}

static EMU_QUIET void *emu_dynamic() { return emu.dynamic_at; }
static EMU_QUIET emu_warp *emu_my_warp() { return &emu.warps[emu_here.thread.x / EMU_LANES]; }
static EMU_QUIET unsigned emu_lane() { return emu_here.thread.x % EMU_LANES; }

static EMU_QUIET void emu_together(emu_warp *w, int what, unsigned side);  // what the last lane of a warp does for all

// ---- fibers: a stack each, and a switch that saves what a call must keep
#ifndef EMU_PTHREADS
static EMU_QUIET void emu_work();
#if defined(EMU_BY_UCONTEXT)
static EMU_QUIET void emu_switch(emu_fiber *from, emu_fiber *to) { swapcontext(&from->context, &to->context); }
static EMU_QUIET void emu_rewind(emu_fiber *f)
{
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = f->stack;
  f->context.uc_stack.ss_size = (size_t)(f->top - f->stack);
  f->context.uc_link = nullptr;
  makecontext(&f->context, emu_work, 0);
}
#else
extern "C" void emu_swap(void **save, void *load);
#if defined(__x86_64__)
__asm__(".text\n.p2align 4\n.type emu_swap,@function\nemu_swap:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size emu_swap,.-emu_swap\n");
enum { EMU_SAVED = 8, EMU_ENTRY = 6 };  // words of a new stack: zeros, where `ret` goes, and a return address that is none
#else
__asm__(".text\n.p2align 4\n.type emu_swap,%function\nemu_swap:\n"
        "sub sp,sp,#160\nstp x19,x20,[sp]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\nstp x27,x28,[sp,#64]\n"
        "stp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
        "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
        "ldp x19,x20,[sp]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\nldp x27,x28,[sp,#64]\n"
        "ldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
        "add sp,sp,#160\nret\n.size emu_swap,.-emu_swap\n");
enum { EMU_SAVED = 20, EMU_ENTRY = 11 };
#endif
static EMU_QUIET void emu_switch(emu_fiber *from, emu_fiber *to) { emu_swap(&from->sp, to->sp); }
static EMU_QUIET void emu_rewind(emu_fiber *f)
{
  void **words = (void **)f->top - EMU_SAVED;
  for (int i = 0; i < EMU_SAVED; i++) words[i] = nullptr;
  words[EMU_ENTRY] = (void *)emu_work;
  f->sp = words;
}
#endif

static EMU_QUIET emu_fiber *emu_new_fiber()
{
  emu_fiber *f;
  if (emu.free_count) {
    f = emu.free_fibers[--emu.free_count];
  } else {
    f = new emu_fiber();
    f->stack = (char *)emu_map(EMU_STACK + EMU_PAGE, PROT_READ | PROT_WRITE) + EMU_PAGE;
    mprotect(f->stack - EMU_PAGE, EMU_PAGE, PROT_NONE);
    f->top = f->stack + EMU_STACK - emu.fibers++ % 61 * 192;
  }
  emu_rewind(f);
  return f;
}

static EMU_QUIET void emu_go(emu_fiber *to)
{
  emu_fiber *from = emu.fiber;
  if (from == to) return;
  emu.fiber = to;
  emu.stack = to->stack;
  emu_switch(from, to);
}

// ---- a block: threads that are ready stand in a ring
static EMU_QUIET void emu_push(unsigned thread)
{
  emu.ready[(emu.ready_first + emu.ready_count++) % EMU_THREADS] = (uint16_t)thread;
}

static EMU_QUIET int emu_pop()
{
  if (!emu.ready_count) return -1;
  const int thread = emu.ready[emu.ready_first];
  emu.ready_first = (emu.ready_first + 1) % EMU_THREADS;
  emu.ready_count--;
  return thread;
}

static EMU_QUIET void emu_enter(int thread)
{
  emu.current = &emu.threads[thread];
  emu_here.thread.x = (unsigned)thread;
}

// Nobody can go on, though not all have finished.
[[noreturn]] static EMU_QUIET void emu_stuck()
{
  static const char *const doing[] = { "has not begun", "runs", "waits at the barrier of line ", "waits for its warp at line ",
                                       "has returned" };
  int told[5] = { 0, 0, 0, 0, 0 };
  emu.in_device = 0;
  std::string text = emu_block_name() + ": not all threads reach the same place:";
  for (unsigned i = 0; i < emu.job->threads; i++) {
    const emu_thread *t = &emu.threads[i];
    if (told[t->state]++) continue;
    text += emu_format(" thread %u %s", i, doing[t->state]);
    if (t->state == EMU_AT_BARRIER || t->state == EMU_AT_WARP) text += emu_format("%d", t->line);
    text += ",";
  }
  text.back() = '.';
  emu_note(text);
  emu_leave();
}

[[noreturn]] static EMU_QUIET void emu_leave()
{
  emu.aborted = 1;
  emu.in_device = 0;
  emu_go(&emu.main);
  abort();
}

// To the next that is ready.
static EMU_QUIET void emu_go_on()
{
  const int next = emu_pop();
  if (next < 0) emu_stuck();
  emu_enter(next);
  if (emu.current->state == EMU_UNSTARTED) emu.current->fiber = emu_new_fiber();
  emu_go(emu.current->fiber);
}

// The running thread waits until another makes it ready.
static EMU_QUIET void emu_wait(int state, int line)
{
  emu_thread *self = emu.current;
  self->state = state;
  self->line = line;
  emu_go_on();
}

static EMU_QUIET void emu_shuffle_order(uint16_t *order, unsigned count)
{
  for (unsigned i = count; i > 1; i--) {
    const unsigned j = (unsigned)(emu_random() % i);
    const uint16_t t = order[i - 1];
    order[i - 1] = order[j];
    order[j] = t;
  }
}

// All of first .. first+count-1 are ready. As numbered: the one that came last goes on at once, and the others are next, so that a
// warp runs alone until a barrier, in a few stacks that stay in the cache; shuffled: anyone may.
static EMU_QUIET void emu_release(unsigned first, unsigned count)
{
  uint16_t order[EMU_THREADS];
  for (unsigned i = count; i-- > 0;) {
    emu.threads[first + i].state = EMU_RUNS;
    order[i] = (uint16_t)(first + i);
    if (emu.seed || &emu.threads[first + i] == emu.current) continue;
    emu.ready_first = (emu.ready_first + EMU_THREADS - 1) % EMU_THREADS;
    emu.ready[emu.ready_first] = order[i];
    emu.ready_count++;
  }
  if (!emu.seed) return;
  emu_shuffle_order(order, count);
  for (unsigned i = 0; i < count; i++) emu_push(order[i]);
  emu_go_on();
}

// A fiber runs threads, one after the other as long as they do not wait: without barriers a block is a plain loop.
static EMU_QUIET void emu_work()
{
  for (;;) {
    emu_thread *t = emu.current;
    emu_fiber *self = emu.fiber;
    t->fiber = self;
    t->state = EMU_RUNS;
    emu.in_device = 1;
    emu.job->call(emu.job->bound);
    emu.in_device = 0;
    if (t->copy_count) emu_stop_thread("it returns before its asynchronous copies have landed");
    t->state = EMU_FINISHED;
    emu.finished++;
    const int next = emu_pop();
    if (next < 0) {
      if (emu.finished < emu.job->threads) emu_stuck();
      emu.free_fibers[emu.free_count++] = self;
      emu_go(&emu.main);
      abort();
    }
    emu_enter(next);
    emu.in_device = 1;
    if (emu.current->state == EMU_UNSTARTED) continue;
    emu.free_fibers[emu.free_count++] = self;
    emu_go(emu.current->fiber);
    abort();
  }
}

static EMU_QUIET void emu_barrier(int line)
{
  if (emu.at_barrier && emu.barrier_line != line) {
    emu.in_device = 0;
    for (unsigned i = 0; i < emu.job->threads; i++)
      if (emu.threads[i].state == EMU_AT_BARRIER)
        emu_stop(emu_block_name() + emu_format(": thread %u waits at the barrier of line %d and thread %u at that of line %d", i,
                                               emu.barrier_line, emu_here.thread.x, line));
  }
  emu.barrier_line = line;
  if (++emu.at_barrier < emu.job->threads) {
    emu_wait(EMU_AT_BARRIER, line);
  } else {
    emu.at_barrier = 0;
    emu.interval++;
    emu_release(0, emu.job->threads);
  }
}

// ---- a warp: 32 lanes meet, the last one does what is to be done together
static EMU_QUIET void emu_meet(emu_warp *w, int what, int line)
{
  if (w->count && (w->what != what || w->line != line)) {
    emu.in_device = 0;
    emu_stop_thread(emu_format("lanes of its warp wait at line %d, this one comes to line %d", w->line, line).c_str());
  }
  w->what = what;
  w->line = line;
  if (++w->count < EMU_LANES) {
    emu_wait(EMU_AT_WARP, line);
  } else {
    w->count = 0;
    emu_together(w, what, w->round++ & 1);
    emu_release((unsigned)(w - emu.warps) * EMU_LANES, EMU_LANES);
  }
}
#else
#include "emulation_pthreads.h"
#endif

enum { EMU_SYNC, EMU_VALUE, EMU_BF16, EMU_TF32 };

// Shuffles do not order memory, __syncwarp does.
#ifndef EMU_PTHREADS
static EMU_QUIET void emu_sync_warp(int line) { emu_meet(emu_my_warp(), EMU_SYNC, line); }
#endif
#define __syncthreads() emu_barrier(__LINE__)
#define __syncwarp() emu_sync_warp(__LINE__)

static EMU_QUIET void emu_full(unsigned mask)
{
  if (mask != 0xFFFFFFFFu) emu_stop_thread("a warp function without all 32 lanes");
}

template <class T> static EMU_QUIET T emu_exchange(int line, unsigned mask, T value, unsigned from)
{
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "4 or 8 bytes are exchanged");
  union { T value; uint64_t bits; } in, out;
  emu_full(mask);
  emu_warp *w = emu_my_warp();
  const unsigned side = w->round & 1;
  in.bits = 0;
  in.value = value;
  w->value[side][emu_lane()] = in.bits;
  emu_meet(w, EMU_VALUE + 16 * (int)sizeof(T), line);
  out.bits = w->value[side][from];
  return out.value;
}
template <class T> static EMU_QUIET T emu_shuffle_xor(int line, unsigned mask, T value, int lanes)
{
  if (lanes < 0 || lanes >= EMU_LANES) emu_stop_thread("a shuffle from a lane that is not there");
  return emu_exchange(line, mask, value, emu_lane() ^ (unsigned)lanes);
}
template <class T> static EMU_QUIET T emu_shuffle(int line, unsigned mask, T value, int lane)
{
  return emu_exchange(line, mask, value, (unsigned)lane % EMU_LANES);
}
template <class T> static EMU_QUIET T emu_shuffle_down(int line, unsigned mask, T value, unsigned lanes)
{
  const unsigned from = emu_lane() + lanes;
  return emu_exchange(line, mask, value, lanes < EMU_LANES && from < EMU_LANES ? from : emu_lane());
}
static EMU_QUIET unsigned emu_ballot(int line, unsigned mask, int yes)
{
  unsigned votes = 0;
  emu_full(mask);
  emu_warp *w = emu_my_warp();
  const unsigned side = w->round & 1;
  w->value[side][emu_lane()] = yes != 0;
  emu_meet(w, EMU_VALUE, line);
  for (unsigned i = 0; i < EMU_LANES; i++) votes |= (unsigned)w->value[side][i] << i;
  return votes;
}
#define __shfl_xor_sync(...)  emu_shuffle_xor(__LINE__, __VA_ARGS__)
#define __shfl_sync(...)      emu_shuffle(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emu_shuffle_down(__LINE__, __VA_ARGS__)
#define __ballot_sync(...)    emu_ballot(__LINE__, __VA_ARGS__)

// ---- tensor cores
static EMU_QUIET uint32_t emu_bits(float x) { union { float x; uint32_t bits; } u; u.x = x; return u.bits; }
static EMU_QUIET float emu_float(uint32_t bits) { union { float x; uint32_t bits; } u; u.bits = bits; return u.x; }
static EMU_QUIET inline uint32_t __float_as_uint(float x) { return emu_bits(x); }
static EMU_QUIET inline float __uint_as_float(uint32_t x) { return emu_float(x); }
static EMU_QUIET inline int __float_as_int(float x) { return (int)emu_bits(x); }
static EMU_QUIET inline float __int_as_float(int x) { return emu_float((uint32_t)x); }

// To 10 bits of fraction; what lies in the middle goes away from zero.
static EMU_QUIET inline uint32_t fr__to_tf32(float x)
{
  const uint32_t bits = emu_bits(x);
  if (x != x) return 0x7FFFE000u;
  return (bits & 0x7F800000u) == 0x7F800000u ? bits : (bits + 0x1000u) & 0xFFFFE000u;
}

// To 7 bits of fraction; what lies in the middle goes to the even one.
static EMU_QUIET inline uint32_t emu_to_bf16(float x)
{
  const uint32_t bits = emu_bits(x);
  return x != x ? 0x7FFFu : (bits + 0x7FFFu + (bits >> 16 & 1)) >> 16;
}
static EMU_QUIET inline uint32_t fr__to_bf16x2(float low, float high) { return emu_to_bf16(high) << 16 | emu_to_bf16(low); }

// D (16,8) += A (16,K) B (K,8), the sums in order of k. Lane = 4 group + t holds, PTX ISA "Matrix fragments for mma":
//   d[0 1 2 3]   rows group, group, group + 8, group + 8; columns 2t, 2t + 1, 2t, 2t + 1
//   bf16, K = 16, two in a register, low half first:
//     a[0..3]    rows group, group + 8, group, group + 8; k = 2t (+1), 2t (+1), 2t + 8 (+1), 2t + 8 (+1)
//     b[0..1]    k = 2t (+1), 2t + 8 (+1); column group
//   tf32, K = 8:
//     a[0..3]    rows group, group + 8, group, group + 8; k = t, t, t + 4, t + 4
//     b[0..1]    k = t, t + 4; column group
static EMU_QUIET void emu_multiply(emu_warp *w, int bf16, unsigned side)
{
  float A[16][16], B[16][8], D[16][8];
  const int K = bf16 ? 16 : 8;
  for (int lane = 0; lane < EMU_LANES; lane++) {
    const int group = lane / 4, t = lane % 4;
    const uint32_t *a = w->a[side][lane], *b = w->b[side][lane];
    for (int i = 0; i < 4; i++) {
      const int row = group + 8 * (i & 1);
      if (bf16) {
        A[row][2 * t + 8 * (i >> 1)] = emu_float(a[i] << 16);
        A[row][2 * t + 8 * (i >> 1) + 1] = emu_float(a[i] & 0xFFFF0000u);
      } else {
        A[row][t + 4 * (i >> 1)] = emu_float(a[i]);
      }
      D[group + 8 * (i >> 1)][2 * t + (i & 1)] = w->d[side][lane][i];
    }
    for (int i = 0; i < 2; i++) {
      if (bf16) {
        B[2 * t + 8 * i][group] = emu_float(b[i] << 16);
        B[2 * t + 8 * i + 1][group] = emu_float(b[i] & 0xFFFF0000u);
      } else {
        B[t + 4 * i][group] = emu_float(b[i]);
      }
    }
  }
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) D[i][j] += A[i][k] * B[k][j];
  for (int lane = 0; lane < EMU_LANES; lane++)
    for (int i = 0; i < 4; i++) w->d[side][lane][i] = D[lane / 4 + 8 * (i >> 1)][2 * (lane % 4) + (i & 1)];
}

static EMU_QUIET void emu_together(emu_warp *w, int what, unsigned side)
{
  if (what == EMU_SYNC) w->syncs++;
  if (what == EMU_BF16 || what == EMU_TF32) emu_multiply(w, what == EMU_BF16, side);
}

static EMU_QUIET void emu_read(const void *p, size_t bytes);  // tells EMU_TRACK of an access that the compiler does not see
static EMU_QUIET void emu_write(const void *p, size_t bytes);

static EMU_QUIET void emu_mma(int line, int what, float *d, const uint32_t *a, const uint32_t *b)
{
  emu_warp *w = emu_my_warp();
  const unsigned side = w->round & 1, lane = emu_lane();
  emu_read(d, 16), emu_write(d, 16), emu_read(a, 16), emu_read(b, 8);
  for (int i = 0; i < 4; i++) w->a[side][lane][i] = a[i], w->d[side][lane][i] = d[i];
  for (int i = 0; i < 2; i++) w->b[side][lane][i] = b[i];
  if (what == EMU_TF32 && ((a[0] | a[1] | a[2] | a[3] | b[0] | b[1]) & 0x1FFFu))
    emu_stop_thread("fr__mma_tf32 of a number that is not rounded to tf32");
  emu_meet(w, what, line);
  for (int i = 0; i < 4; i++) d[i] = w->d[side][lane][i];
}
#define fr__mma_bf16(d, a, b) emu_mma(__LINE__, EMU_BF16, d, a, b)
#define fr__mma_tf32(d, a, b) emu_mma(__LINE__, EMU_TF32, d, a, b)

// ---- asynchronous copies land when they are waited for; before, NaN lies there
static EMU_QUIET void emu_in_flight(const void *p, int on);

static EMU_SEEN void emu_sixteen(void *to, const void *from)
{
  for (int i = 0; i < 4; i++) ((volatile uint32_t *)to)[i] = from ? ((const volatile uint32_t *)from)[i] : 0xFFFFFFFFu;
}

static EMU_QUIET inline void fr__copy_async16(void *shared, const void *global)
{
  emu_thread *t = &emu.threads[emu_here.thread.x];
  if (((uintptr_t)shared | (uintptr_t)global) & 15) emu_stop_thread("an asynchronous copy that is not aligned to 16 bytes");
  if (!emu_in_arena(global)) emu_stop_thread("an asynchronous copy from what is not device memory");
  if (t->copy_count == EMU_COPIES) emu_stop_thread("more asynchronous copies on their way than the emulation keeps");
  emu_read(global, 16);
  emu_write(shared, 16);
  emu_in_flight(shared, 1);
  emu_sixteen(shared, nullptr);
  emu_copy *c = &t->copies[t->copy_count++];
  c->to = (char *)shared;
  c->from = (const char *)global;
  c->group = t->group;
}
static EMU_QUIET inline void fr__copy_commit() { emu.threads[emu_here.thread.x].group++; }
static EMU_QUIET inline void fr__copy_wait(int left)  // all groups but the `left` last ones have landed
{
  emu_thread *t = &emu.threads[emu_here.thread.x];
  int kept = 0;
  for (int i = 0; i < t->copy_count; i++) {
    emu_copy *c = &t->copies[i];
    if (c->group + (unsigned)left >= t->group) { t->copies[kept++] = *c; continue; }
    emu_in_flight(c->to, 0);
    emu_read(c->from, 16);
    emu_write(c->to, 16);
    emu_sixteen(c->to, c->from);
  }
  t->copy_count = kept;
}

#ifdef EMU_ATOMIC_ADD  // to be found by those who look for races: it gives other bits from run to run on a GPU
static inline float atomicAdd(float *at, float value)
{
  const float old = *at;
  *at = old + value;
  return old;
}
#endif

#include "emulation_track.h"

// ---- launch
static EMU_QUIET void emu_fill_shared(const emu_job *job)
{
  for (const emu_range &r : job->kernel->shared) memset(r.at, 0xFF, r.bytes);
  emu.dynamic_at = emu.dynamic + emu_up(EMU_DYNAMIC, EMU_PAGE) - emu_up(job->dynamic_bytes, 16);
  memset(emu.dynamic_at, 0xFF, emu_up(job->dynamic_bytes, 16));
}

#ifndef EMU_PTHREADS
static EMU_QUIET void emu_run_block(const emu_job *job)
{
  uint16_t order[EMU_THREADS];
  emu_fill_shared(job);
  emu.ready_first = emu.ready_count = emu.finished = emu.at_barrier = 0;
  emu.block_interval = ++emu.interval;
  for (unsigned i = 0; i < job->threads; i++) {
    emu.threads[i].state = EMU_UNSTARTED;
    emu.threads[i].group = 0;
    emu.threads[i].copy_count = 0;
    order[i] = (uint16_t)i;
  }
  for (unsigned i = 0; i < job->threads / EMU_LANES; i++) emu.warps[i].count = 0, emu.warps[i].syncs = 0;
  if (emu.seed) emu_shuffle_order(order, job->threads);
  for (unsigned i = 0; i < job->threads; i++) emu_push(order[i]);
  emu_enter(emu_pop());
  emu.current->fiber = emu_new_fiber();
  if (sigsetjmp(emu.escape, 0) == 0) emu_go(emu.current->fiber);
  else emu.aborted = 1;
  emu.fiber = &emu.main;
  emu.in_device = 0;
  if (!emu.aborted) return;
  for (unsigned i = 0; i < job->threads; i++) {  // the stacks of those that were left where they stood
    emu_thread *t = &emu.threads[i];
    if (t->state != EMU_FINISHED && t->state != EMU_UNSTARTED) emu.free_fibers[emu.free_count++] = t->fiber;
    t->state = EMU_FINISHED;
  }
}
#endif

static EMU_QUIET void emu_run(const emu_job *job)
{
  const size_t blocks = (size_t)job->grid.x * job->grid.y * job->grid.z;
  std::vector<uint32_t> order;
  emu.job = job;
  emu.shared = job->kernel->shared.data();
  emu.shared_count = (int)job->kernel->shared.size();
  emu.aborted = 0;
  emu.fiber = &emu.main;
  emu.launch_number++;
  emu.launch_interval = emu.interval + 1;
  emu.random = emu.seed + emu.launch_number;
  if (emu.seed) {
    order.resize(blocks);
    for (size_t i = 0; i < blocks; i++) order[i] = (uint32_t)i;
    for (size_t i = blocks; i > 1; i--) std::swap(order[i - 1], order[emu_random() % i]);
  }
  emu_here.grid = { job->grid.x, job->grid.y, job->grid.z };
  emu_here.block_size.x = job->threads;
  for (size_t i = 0; i < blocks && !emu.aborted; i++) {
    const unsigned n = emu.seed ? order[i] : (unsigned)i;
    emu.block_number = n;
    emu_here.block = { n % job->grid.x, n / job->grid.x % job->grid.y, n / job->grid.x / job->grid.y };
    emu_run_block(job);
  }
  emu.job = nullptr;
}

// ---- the host's side
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9,
                   cudaErrorInvalidMemcpyDirection = 21, cudaErrorNoDevice = 100, cudaErrorInvalidDevice = 101,
                   cudaErrorInvalidResourceHandle = 400, cudaErrorIllegalAddress = 700, cudaErrorLaunchFailure = 719,
                   cudaErrorUnknown = 999 };
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlock = 8, cudaDevAttrMultiProcessorCount = 16,
                      cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76,
                      cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
struct emu_stream { int device; };
typedef emu_stream *cudaStream_t;
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin;
  int major, minor, multiProcessorCount;
};

static inline const char *cudaGetErrorString(cudaError_t error)
{
  switch (error) {
  case cudaSuccess: return "no error";
  case cudaErrorInvalidValue: return "invalid argument";
  case cudaErrorMemoryAllocation: return "out of memory";
  case cudaErrorInvalidConfiguration: return "invalid configuration argument";
  case cudaErrorInvalidMemcpyDirection: return "invalid copy direction for memcpy";
  case cudaErrorNoDevice: return "no CUDA-capable device is detected";
  case cudaErrorInvalidDevice: return "invalid device ordinal";
  case cudaErrorInvalidResourceHandle: return "invalid resource handle";
  case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
  case cudaErrorLaunchFailure: return "unspecified launch failure";
  case cudaErrorUnknown: break;
  }
  return "unknown error";
}

static EMU_QUIET cudaError_t emu_result(cudaError_t error)
{
  if (error) emu.last = error;
  return error;
}

// Every call begins here: not 0 if it is the one that shall fail.
static EMU_QUIET cudaError_t emu_call()
{
  emu_prepare();
  if (++emu.calls == emu.fail_call) return emu_result(cudaErrorUnknown);
  return emu_result((cudaError_t)emu.stuck);
}
#define EMU_CALL() do { const cudaError_t failed = emu_call(); if (failed) return failed; } while (0)

static EMU_QUIET void emu_drain()
{
  std::vector<std::function<void()>> work;
  work.swap(emu.queue);
  emu_unlock(1);
  for (std::function<void()> &f : work) {
    if (emu.stuck) break;
    f();
  }
  emu_unlock(0);
}

static EMU_QUIET int emu_is_pinned(const void *p, size_t bytes)
{
  for (const emu_range &r : emu.pinned_blocks)
    if (emu_in(p, r.at, r.bytes)) {
      if (bytes > r.bytes - (size_t)((const char *)p - r.at)) emu_note("a copy goes over the end of pinned memory");
      return 1;
    }
  return 0;
}

static EMU_QUIET inline cudaError_t cudaGetDeviceCount(int *count)
{
  *count = 0;
  EMU_CALL();
  *count = emu.devices;
  return emu_result(emu.devices ? cudaSuccess : cudaErrorNoDevice);
}
static EMU_QUIET inline cudaError_t cudaSetDevice(int device)
{
  EMU_CALL();
  return emu_result(device >= 0 && device < emu.devices ? cudaSuccess : emu.devices ? cudaErrorInvalidDevice : cudaErrorNoDevice);
}
static EMU_QUIET inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
  EMU_CALL();
  if (device < 0 || device >= emu.devices) return emu_result(cudaErrorInvalidDevice);
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "emulated device");
  p->totalGlobalMem = emu.memory;
  p->sharedMemPerBlock = 48 * 1024;
  p->sharedMemPerBlockOptin = EMU_DYNAMIC;
  p->major = emu.major;
  p->minor = emu.minor;
  p->multiProcessorCount = 3;
  return cudaSuccess;
}
static EMU_QUIET inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr what, int device)
{
  EMU_CALL();
  if (device < 0 || device >= emu.devices) return emu_result(cudaErrorInvalidDevice);
  switch (what) {
  case cudaDevAttrMaxSharedMemoryPerBlock: *value = 48 * 1024; return cudaSuccess;
  case cudaDevAttrMultiProcessorCount: *value = 3; return cudaSuccess;
  case cudaDevAttrComputeCapabilityMajor: *value = emu.major; return cudaSuccess;
  case cudaDevAttrComputeCapabilityMinor: *value = emu.minor; return cudaSuccess;
  case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = EMU_DYNAMIC; return cudaSuccess;
  }
  return emu_result(cudaErrorInvalidValue);
}
static EMU_QUIET inline cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
  EMU_CALL();
  if (!emu.devices) return emu_result(cudaErrorNoDevice);
  *stream = new emu_stream();
  emu.streams++;
  return cudaSuccess;
}
static EMU_QUIET inline cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
  EMU_CALL();
  if (!stream) { emu_note("the default stream is waited for"); return emu_result(cudaErrorInvalidResourceHandle); }
  emu.waits++;
  emu_drain();
  return emu_result((cudaError_t)emu.stuck);
}
static EMU_QUIET inline cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
  const cudaError_t failed = emu_call();  // it is gone even so
  if (!stream) return emu_result(cudaErrorInvalidResourceHandle);
  emu_drain();
  delete stream;
  emu.streams--;
  return failed;
}

// The end of an allocation is, but for 256 bytes of alignment, the end of a page behind which nothing is mapped.
static EMU_QUIET inline cudaError_t emu_malloc(void **out, size_t bytes)
{
  EMU_CALL();
  const size_t size = emu_up(bytes ? bytes : 1, 256), pages = emu_up(size, EMU_PAGE);
  if (!emu.devices) return emu_result(cudaErrorNoDevice);
  if (++emu.mallocs == emu.fail_malloc || bytes > emu.memory - emu.bytes_in_use || pages + 2 * EMU_PAGE > EMU_ARENA - emu.arena_used)
    return emu_result(cudaErrorMemoryAllocation);
  char *page = emu.arena + emu.arena_used;
  emu.arena_used += pages + EMU_PAGE;
  mprotect(page, pages, PROT_READ | PROT_WRITE);
  memset(page, 0xFF, pages);
  if (!emu.open) mprotect(page, pages, PROT_NONE);
  emu.allocations.push_back({ page + pages - size, bytes, 1 });
  for (size_t i = 0; i < pages; i += EMU_PAGE) emu.owner[(size_t)(page - emu.arena + (ptrdiff_t)i) / EMU_PAGE] = (uint32_t)emu.allocations.size();
  emu.bytes_in_use += bytes;
  emu.live++;
  *out = page + pages - size;
  return cudaSuccess;
}
template <class T> static EMU_QUIET cudaError_t cudaMalloc(T **out, size_t bytes) { return emu_malloc((void **)out, bytes); }
static EMU_QUIET inline cudaError_t cudaFree(void *p)
{
  const cudaError_t failed = emu_call();
  if (!p) return failed;
  emu_drain();
  for (emu_allocation &a : emu.allocations) {
    if (a.at != p || !a.live) continue;
    char *page = emu_page_of(a.at);
    const size_t pages = emu_up((size_t)(a.at + a.bytes - page), EMU_PAGE);
    mprotect(page, pages, PROT_NONE);
    madvise(page, pages, MADV_DONTNEED);
    a.live = 0;
    emu.bytes_in_use -= a.bytes;
    emu.live--;
    return failed;
  }
  emu_note("cudaFree of what was not allocated: " + emu_name(p));
  return emu_result(cudaErrorInvalidValue);
}
static EMU_QUIET inline cudaError_t emu_malloc_host(void **out, size_t bytes)
{
  EMU_CALL();
  if (++emu.mallocs == emu.fail_malloc) return emu_result(cudaErrorMemoryAllocation);
  *out = malloc(bytes ? bytes : 1);
  memset(*out, 0xFF, bytes);
  emu.pinned_blocks.push_back({ (char *)*out, bytes, "" });
  emu.pinned++;
  return cudaSuccess;
}
template <class T> static EMU_QUIET cudaError_t cudaMallocHost(T **out, size_t bytes) { return emu_malloc_host((void **)out, bytes); }
static EMU_QUIET inline cudaError_t cudaFreeHost(void *p)
{
  const cudaError_t failed = emu_call();
  if (!p) return failed;
  emu_drain();
  for (size_t i = 0; i < emu.pinned_blocks.size(); i++) {
    if (emu.pinned_blocks[i].at != p) continue;
    emu.pinned_blocks.erase(emu.pinned_blocks.begin() + (long)i);
    emu.pinned--;
    free(p);
    return failed;
  }
  emu_note("cudaFreeHost of what was not allocated");
  return emu_result(cudaErrorInvalidValue);
}

// Memory that is not pinned: what goes to the device is read at once, what comes from it is there when the call returns.
static EMU_QUIET inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
  EMU_CALL();
  if (!stream) { emu_note("a copy on the default stream"); return emu_result(cudaErrorInvalidResourceHandle); }
  if (!bytes) return cudaSuccess;
  const int to_device = emu_in_arena(to), from_device = emu_in_arena(from);
  if (to_device != (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) ||
      from_device != (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice)) {
    emu_note("a copy whose kind is not that of its memory: to " + emu_name(to) + ", from " + emu_name(from));
    return emu_result(cudaErrorInvalidValue);
  }
  if ((to_device && !emu_find(to, bytes)) || (from_device && !emu_find(from, bytes))) {
    emu_note(emu_format("a copy of %zu bytes out of bounds: to ", bytes) + emu_name(to) + ", from " + emu_name(from));
    return emu_result(cudaErrorInvalidValue);
  }
  if (to_device && !from_device) {
    emu.bytes_to_device += bytes;
    if (emu_is_pinned(from, bytes)) {
      emu.queue.push_back([=] { memcpy(to, from, bytes); emu_host_wrote(to, bytes); });
    } else {
      std::string kept((const char *)from, bytes);
      emu.queue.push_back([=] { memcpy(to, kept.data(), bytes); emu_host_wrote(to, bytes); });
    }
  } else if (from_device && !to_device) {
    emu.bytes_to_host += bytes;
    const int pinned = emu_is_pinned(to, bytes);
    if (pinned) memset(to, 0xFF, bytes);
    emu.queue.push_back([=] { memcpy(to, from, bytes); });
    if (!pinned) emu_drain();
  } else {
    emu.queue.push_back([=] { memmove(to, from, bytes); if (to_device) emu_host_wrote(to, bytes); });
  }
  return emu_result((cudaError_t)emu.stuck);
}
static EMU_QUIET inline cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
  EMU_CALL();
  if (!stream) { emu_note("a fill on the default stream"); return emu_result(cudaErrorInvalidResourceHandle); }
  if (!bytes) return cudaSuccess;
  if (!emu_find(to, bytes)) {
    emu_note(emu_format("a fill of %zu bytes out of bounds: ", bytes) + emu_name(to));
    return emu_result(cudaErrorInvalidValue);
  }
  emu.queue.push_back([=] { memset(to, value, bytes); emu_host_wrote(to, bytes); });
  return cudaSuccess;
}
static EMU_QUIET inline cudaError_t cudaGetLastError()
{
  const cudaError_t failed = emu_call(), last = (cudaError_t)emu.last;
  emu.last = emu.stuck;
  return failed ? failed : last;
}
template <class... P>
static EMU_QUIET cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute what, int value)
{
  EMU_CALL();
  if (what != cudaFuncAttributeMaxDynamicSharedMemorySize) return emu_result(cudaErrorInvalidValue);
  emu_kernel *k = emu_kernel_of((const void *)kernel);
  if (value < 0 || (size_t)value + k->shared_bytes > EMU_DYNAMIC) return emu_result(cudaErrorInvalidValue);
  k->dynamic_most = (size_t)value;
  return cudaSuccess;
}

// ---- FR__LAUNCH
// Arguments are copied when the kernel is launched. A pointer among them must be the device's; inside of structs EMU_TRACK finds it.
template <class... P> struct emu_pack {};
template <class H, class... T> struct emu_pack<H, T...> { H head; emu_pack<T...> tail; };
template <class... P> struct emu_bound { void (*kernel)(P...); emu_pack<P...> pack; };

template <class K, class B> struct emu_apply;
template <class... P> struct emu_apply<void (*)(P...), emu_pack<>> {
  template <class... A> static EMU_QUIET void call(void (*kernel)(P...), const emu_pack<> &, const A &...args) { kernel(args...); }
};
template <class... P, class H, class... T> struct emu_apply<void (*)(P...), emu_pack<H, T...>> {
  template <class... A> static EMU_QUIET void call(void (*kernel)(P...), const emu_pack<H, T...> &pack, const A &...args)
  {
    emu_apply<void (*)(P...), emu_pack<T...>>::call(kernel, pack.tail, args..., pack.head);
  }
};
template <class... P> static EMU_QUIET void emu_call_bound(const void *at)
{
  const emu_bound<P...> *bound = (const emu_bound<P...> *)at;
  emu_apply<void (*)(P...), emu_pack<P...>>::call(bound->kernel, bound->pack);
}

template <class T> static EMU_QUIET int emu_bad(const T &) { return 0; }
template <class T> static EMU_QUIET int emu_bad(T *const &p) { return p && !emu_find((const void *)p, 0); }
static EMU_QUIET inline int emu_first_bad(const emu_pack<> &, int) { return 0; }
template <class H, class... T> static EMU_QUIET int emu_first_bad(const emu_pack<H, T...> &pack, int at)
{
  return emu_bad(pack.head) ? at : emu_first_bad(pack.tail, at + 1);
}

template <class... P> struct emu_launcher {
  void (*kernel)(P...);
  dim3 grid;
  size_t threads, dynamic_bytes;
  cudaStream_t stream;
  EMU_QUIET void operator()(P... args) const
  {
    if (emu_call()) return;
    emu_kernel *k = emu_kernel_of((const void *)kernel);
    const emu_bound<P...> bound = { kernel, pack(args...) };
    const int bad = emu_first_bad(bound.pack, 1);
    if (!stream) emu_note(emu_format("kernel %s is launched on the default stream", k->name.c_str()));
    if (bad) emu_note(emu_format("kernel %s: argument %d points neither to nothing nor into device memory", k->name.c_str(), bad));
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535 || threads < EMU_LANES ||
        threads > EMU_THREADS || threads % EMU_LANES || dynamic_bytes > k->dynamic_most ||
        k->shared_bytes + dynamic_bytes > EMU_DYNAMIC || k->shared_bytes > 48 * 1024) {
      emu_note(emu_format("kernel %s cannot be launched: grid (%u,%u,%u), %zu threads, shared %zu + %zu bytes (%zu allowed)",
                          k->name.c_str(), grid.x, grid.y, grid.z, threads, k->shared_bytes, dynamic_bytes, k->dynamic_most));
      emu.last = cudaErrorInvalidConfiguration;
      return;
    }
    if (!stream || bad) { emu.last = emu.stuck = cudaErrorIllegalAddress; return; }
    emu.launches++;
    const emu_launcher launch = *this;
    emu.queue.push_back([launch, k, bound] {
      const emu_job job = { k, launch.grid, (unsigned)launch.threads, launch.dynamic_bytes, emu_call_bound<P...>, &bound };
      emu_run(&job);
      if (emu.aborted) emu.last = emu.stuck = cudaErrorLaunchFailure;
    });
  }
  static EMU_QUIET emu_pack<> pack() { return {}; }
  template <class H, class... T> static EMU_QUIET emu_pack<H, T...> pack(const H &head, const T &...tail)
  {
    return { head, emu_launcher::pack(tail...) };
  }
};
template <class... P>
static EMU_QUIET emu_launcher<P...> emu_launch(void (*kernel)(P...), dim3 grid, size_t threads, size_t dynamic_bytes, cudaStream_t stream)
{
  return { kernel, grid, threads, dynamic_bytes, stream };
}
#define FR__LAUNCH(kernel, grid, threads, shared_bytes, stream, arguments) \
  emu_launch(kernel, dim3(grid), (size_t)(threads), (size_t)(shared_bytes), stream) arguments

// ---- for tests
// A device as new: what was allocated is gone, errors are forgotten, counters are 0.
static EMU_QUIET inline void emu_reset()
{
  emu_prepare();
  emu.queue.clear();
  emu_unlock(1);
  for (emu_allocation &a : emu.allocations)
    if (a.live) mprotect(emu_page_of(a.at), emu_up((size_t)(a.at + a.bytes - emu_page_of(a.at)), EMU_PAGE), PROT_NONE);
  for (emu_allocation &a : emu.allocations) a.live = 0;
  for (emu_range &r : emu.pinned_blocks) free(r.at);
  emu.pinned_blocks.clear();
  emu.open = 0;
  emu.devices = emu.show = 1;
  emu.memory = (size_t)1 << 30;
  emu.fail_malloc = emu.fail_call = emu.calls = emu.mallocs = emu.launches = emu.live = emu.streams = emu.pinned = emu.waits = 0;
  emu.seed = emu.bytes_in_use = emu.bytes_to_device = emu.bytes_to_host = 0;
  emu.errors = emu.last = emu.stuck = 0;
  emu.text.clear();
  emu.told.clear();
}
#endif
