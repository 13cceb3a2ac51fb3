// emulation_track.h - the first race finder. With EMU_TRACK the unit is compiled with -fsanitize=thread and linked without it, so that
// every access of memory comes here before it is made.
//
// Kept for every byte (for four together as long as nobody touches a part): who wrote and who read it last, in which interval
// between barriers, in which block. Found:
//   two threads of a block touch a byte in one interval and one of them writes, unless they are of one warp and a __syncwarp lies
//   between; two blocks of one launch touch a byte of device memory and one of them writes; an access out of the bounds of an
//   allocation, of the kernel's own shared memory, or to the host's or another thread's; one that is not aligned; reading what nobody
//   has written, or where an asynchronous copy has not landed.
#ifndef EMU_TRACK
static EMU_QUIET inline void emu_read(const void *, size_t) {}
static EMU_QUIET inline void emu_write(const void *, size_t) {}
static EMU_QUIET inline void emu_in_flight(const void *, int) {}
static EMU_QUIET inline void emu_host_wrote(const void *, size_t) {}
#else

// The first eight are told, one a kernel and sort; all are counted.
static EMU_QUIET void emu_found(const char *what, const void *p, const emu_cell *other, int other_reads)
{
  const std::string key = emu.job->kernel->name + what;
  int known = 0;
  for (const std::string &t : emu.told) known |= t == key;
  if (known || emu.told.size() >= 8) {
    emu.errors++;
  } else {
    std::string text = emu_block_name() + emu_format(", thread %u: ", emu_here.thread.x) + what + ", " + emu_name(p);
    if (other) {
      const unsigned who = other_reads ? other->reader : other->writer;
      const uint32_t block = other_reads ? other->read_block : other->write_block;
      if (block == EMU_MANY || block != emu.block_number) {
        text += block == EMU_MANY ? " with several blocks" : emu_format(" with the block of number %u", block);
      } else if (who == EMU_ALL) {
        text += " with several warps";
      } else {
        text += who & EMU_LANES_OF ? emu_format(" with lanes of warp %u", who & ~(unsigned)EMU_LANES_OF) : emu_format(" with thread %u", who);
      }
    }
    emu_note(text);
    emu.told.push_back(key);
  }
}

// One cell, of a byte or of four. The interval tells the block as well; blocks of one launch are told apart by their numbers.
static EMU_QUIET void emu_touch(emu_cell *c, int writes, const void *p, int device)
{
  const uint16_t self = (uint16_t)emu_here.thread.x;
  const unsigned warp = self / EMU_LANES;
  const uint16_t sync = (uint16_t)emu.warps[warp].syncs;
  // Most often nothing is new: it was read in this interval by so many, or written by this thread, and not touched otherwise.
  if (!writes && c->read == emu.interval && c->write != emu.interval && !c->in_flight &&
      (c->reader == EMU_ALL || (c->read_sync == sync && (c->reader == self || c->reader == (EMU_LANES_OF | warp))))) return;
  if (writes && c->write == emu.interval && c->read != emu.interval && !c->in_flight && c->writer == self && c->write_sync == sync) return;
  if (c->in_flight && c->write >= emu.block_interval) emu_found("touches what an asynchronous copy has not yet brought", p, c, 0);
  if (!writes && (device ? !c->write : c->write < emu.block_interval)) {
    if (emu.unwritten) emu_found("reads what nobody has written", p, nullptr, 0);
  }
  if (device && c->write >= emu.launch_interval && c->write_block != emu.block_number)
    emu_found(writes ? "two blocks write" : "reads what another block writes", p, c, 0);
  if (device && writes && c->read_launch == emu.launch_number && c->read_block != emu.block_number)
    emu_found("writes what another block reads", p, c, 1);
  if (c->write == emu.interval && c->writer != self && !(c->writer / EMU_LANES == warp && c->write_sync != sync))
    emu_found(writes ? "two threads write without a barrier between" : "reads what a thread wrote, without a barrier between", p, c, 0);
  if (writes) {
    if (c->read == emu.interval && c->reader != self) {
      const int my_warp = c->reader != EMU_ALL && (c->reader & EMU_LANES_OF ? c->reader & ~EMU_LANES_OF : c->reader / EMU_LANES) == (int)warp;
      if (!(my_warp && c->read_sync != sync)) emu_found("writes what a thread read, without a barrier between", p, c, 1);
    }
    c->write = emu.interval;
    c->writer = self;
    c->write_sync = sync;
    c->write_block = emu.block_number;
    return;
  }
  if (c->read != emu.interval) {
    c->reader = self;
  } else if (c->reader != self && c->reader != EMU_ALL) {
    const unsigned theirs = c->reader & EMU_LANES_OF ? c->reader & ~(unsigned)EMU_LANES_OF : c->reader / EMU_LANES;
    c->reader = theirs != warp ? (uint16_t)EMU_ALL : c->read_sync != sync ? self : (uint16_t)(EMU_LANES_OF | warp);
  }
  c->read = emu.interval;
  c->read_sync = sync;
  if (device) {
    c->read_block = c->read_launch != emu.launch_number || c->read_block == emu.block_number ? emu.block_number : EMU_MANY;
    c->read_launch = emu.launch_number;
  }
}

static EMU_QUIET emu_cell *emu_split(const emu_shadow *s, size_t at)  // the cells of the bytes at / 4 * 4 ..
{
  emu_cell *word = &s->words[at / 4], *bytes = &s->bytes[at / 4 * 4];
  if (!word->split) {
    for (int i = 0; i < 4; i++) bytes[i] = *word;
    word->split = 1;
  }
  return bytes;
}

static EMU_QUIET void emu_touch_range(const emu_shadow *s, const char *base, const char *p, size_t bytes, int writes, int device)
{
  for (size_t at = (size_t)(p - base), end = at + bytes; at < end;) {
    if (at % 4 == 0 && end - at >= 4 && !s->words[at / 4].split) {
      emu_touch(&s->words[at / 4], writes, base + at, device);
      at += 4;
    } else {
      emu_touch(&emu_split(s, at)[at % 4], writes, base + at, device);
      at++;
    }
  }
}

// The shadow of what p points to, and where that begins. NULL: none of the three.
static EMU_QUIET const emu_shadow *emu_shadow_of(const char *p, const char **base)
{
  if (emu_in_arena(p)) { *base = emu.arena; return &emu.on_device; }
  if (emu_in(p, emu.dynamic, EMU_DYNAMIC + EMU_PAGE)) { *base = emu.dynamic; return &emu.on_dynamic; }
  if (p >= emu.static_first && p < emu.static_last) { *base = emu.static_first; return &emu.on_static; }
  return nullptr;
}

[[noreturn]] static EMU_QUIET void emu_stop_access(const char *what, const void *p)
{
  emu_stop_thread((std::string(what) + ": " + emu_name(p)).c_str());
}

static EMU_QUIET void emu_look(const void *at, size_t bytes, int writes, size_t alignment)
{
  const char *p = (const char *)at, *base;
  const emu_shadow *s = emu_shadow_of(p, &base);
  int inside = 0;
  if (!s) {
    const emu_fiber *f = emu.fiber;
    if (emu_in(p, f->stack, EMU_STACK) || emu_in(p, (const char *)&emu_here, sizeof emu_here)) return;
    emu_stop_access(writes ? "writes host memory or another thread's" : "reads host memory or another thread's", p);
  }
  if ((uintptr_t)p % alignment) emu_found("an access that is not aligned", p, nullptr, 0);
  if (s == &emu.on_device) {
    inside = emu_find(p, bytes) != nullptr;
  } else if (s == &emu.on_dynamic) {
    inside = p >= emu.dynamic_at && bytes <= emu.job->dynamic_bytes && (size_t)(p - emu.dynamic_at) <= emu.job->dynamic_bytes - bytes;
  } else {
    for (int i = 0; i < emu.shared_count; i++) {
      const emu_range *r = emu.shared + i;
      inside |= emu_in(p, r->at, r->bytes) && bytes <= r->bytes - (size_t)(p - r->at);
    }
  }
  if (!inside) emu_stop_access(writes ? "writes out of bounds" : "reads out of bounds", p);
  emu_touch_range(s, base, p, bytes, writes, s == &emu.on_device);
}

// Of a kernel: what is done on the way, by templates of the library too, is not. A thread's own stack is no one else's business.
static EMU_QUIET void emu_look_quietly(const void *p, size_t bytes, int writes, size_t alignment)
{
  emu.in_device = 0;
  emu_look(p, bytes, writes, alignment);
  emu.in_device = 1;
}
static EMU_QUIET inline __attribute__((always_inline)) void emu_access(const void *p, size_t bytes, int writes, size_t alignment)
{
  if (emu.in_device && !emu_in(p, emu.stack, EMU_STACK)) emu_look_quietly(p, bytes, writes, alignment);
}

static EMU_QUIET inline void emu_read(const void *p, size_t bytes) { emu_access(p, bytes, 0, 1); }
static EMU_QUIET inline void emu_write(const void *p, size_t bytes) { emu_access(p, bytes, 1, 1); }
static EMU_QUIET void emu_in_flight(const void *p, int on)
{
  const char *base;
  const emu_shadow *s = emu_shadow_of((const char *)p, &base);
  const size_t at = (size_t)((const char *)p - base);
  if (!s) return;
  for (size_t i = at; i < at + 16; i++) (s->words[i / 4].split ? s->bytes[i] : s->words[i / 4]).in_flight = (uint8_t)on;
}
static EMU_QUIET void emu_host_wrote(const void *p, size_t bytes)
{
  const size_t first = (size_t)((const char *)p - emu.arena);
  for (size_t at = first, end = first + bytes; at < end;) {
    emu_cell *c;
    if (at % 4 == 0 && end - at >= 4 && !emu.on_device.words[at / 4].split) c = &emu.on_device.words[at / 4], at += 4;
    else c = &emu_split(&emu.on_device, at)[at % 4], at++;
    c->write = 1;
    c->read = 0;
  }
}

// ---- what the compiler calls
#define EMU_HOOK extern "C" __attribute__((used, no_sanitize("thread"), visibility("default")))
#define EMU_HOOKS(bytes)                                                                                                         \
  EMU_HOOK void __tsan_read##bytes(void *p) { emu_access(p, bytes, 0, bytes); }                               \
  EMU_HOOK void __tsan_write##bytes(void *p) { emu_access(p, bytes, 1, bytes); }                              \
  EMU_HOOK void __tsan_unaligned_read##bytes(void *p) { emu_access(p, bytes, 0, 1); }                         \
  EMU_HOOK void __tsan_unaligned_write##bytes(void *p) { emu_access(p, bytes, 1, 1); }
EMU_HOOKS(1) EMU_HOOKS(2) EMU_HOOKS(4) EMU_HOOKS(8) EMU_HOOKS(16)
EMU_HOOK void __tsan_read_range(void *p, unsigned long bytes) { emu_access(p, bytes, 0, 1); }
EMU_HOOK void __tsan_write_range(void *p, unsigned long bytes) { emu_access(p, bytes, 1, 1); }
EMU_HOOK void __tsan_init() {}
EMU_HOOK void __tsan_func_entry(void *) {}
EMU_HOOK void __tsan_func_exit() {}
EMU_HOOK void __tsan_vptr_update(void **, void *) {}
EMU_HOOK void __tsan_vptr_read(void **) {}
#define EMU_ATOMIC(bits, type)                                                                                                   \
  EMU_HOOK type __tsan_atomic##bits##_load(const volatile type *p, int)                                                          \
  { if (emu.in_device) emu_stop_thread("an atomic"); return *p; }                                                                \
  EMU_HOOK void __tsan_atomic##bits##_store(volatile type *p, type value, int)                                                   \
  { if (emu.in_device) emu_stop_thread("an atomic"); *p = value; }                                                               \
  EMU_HOOK type __tsan_atomic##bits##_fetch_add(volatile type *p, type value, int)                                               \
  { if (emu.in_device) emu_stop_thread("an atomic"); return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST); }
EMU_ATOMIC(8, uint8_t) EMU_ATOMIC(32, uint32_t) EMU_ATOMIC(64, uint64_t)

// memcpy and its like, linked with --wrap: a compiler makes them of loops and of structs.
#define EMU_WRAP(name)                                                                                                           \
  extern "C" void *__real_##name(void *, const void *, size_t);                                                                  \
  EMU_HOOK void *__wrap_##name(void *to, const void *from, size_t bytes)                                                         \
  {                                                                                                                              \
    if (bytes) emu_access(from, bytes, 0, 1), emu_access(to, bytes, 1, 1);                                      \
    return __real_##name(to, from, bytes);                                                                                       \
  }
EMU_WRAP(memcpy) EMU_WRAP(memmove)
extern "C" void *__real_memset(void *, int, size_t);
EMU_HOOK void *__wrap_memset(void *to, int value, size_t bytes)
{
  if (bytes) emu_access(to, bytes, 1, 1);
  return __real_memset(to, value, bytes);
}
#endif
