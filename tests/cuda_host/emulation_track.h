static EMU_QUIET inline void emu_read(const void *, size_t) {}
static EMU_QUIET inline void emu_write(const void *, size_t) {}
static EMU_QUIET inline void emu_in_flight(const void *, int) {}
static EMU_QUIET inline void emu_host_wrote(const void *, size_t) {}
