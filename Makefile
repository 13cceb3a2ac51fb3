# forkreason.h - needs only cc, make, a POSIX sh, libc and libm. Everything made goes to build/.
#   make demo      trains six forks to multiply in four ways, shows the table and writes build/four_ways.html
#   make test      every tests/test_*.c, one program each; ends with "N passed, N failed"
#   make examples  the programs in examples/
#   make bench     how fast products, training, decoding and matching are, against the machine and peers; build/bench.json
#   make compare   nine arms on two tasks, three seeds: 45 minutes, resumes; make ablate: one thing at a time
#   make cuda-host-test   the CUDA unit without a GPU, under emulation and two race finders (g++); WAYS=plain for the first alone
#   make cuda-test, make cuda-bench   on a GPU, with nvcc
#   make check     the wider checks of .ci/run with the tools that are installed: compilers, sanitizers, options
CFLAGS = -O2
LDLIBS = -lm
BUILD  = build
JOBS   = 2
COMPILE = $(CC) -std=c99 $(CFLAGS) -I. -pthread
SHARED  = forkreason.h $(addprefix examples/, pool.h progress.h multiply.h number_line.h recipe.h record.h report.h \
            map.h chat.h cli.h cli_inspect.h cli_convert.h cli_tokenize.h)

all: examples

examples: $(addprefix $(BUILD)/, first four_ways train_traces stream_forks forkreason word_problems)

$(BUILD)/%: examples/%.c $(SHARED)
	@mkdir -p $(BUILD)
	$(COMPILE) -o $@ $< $(LDLIBS)

demo: $(BUILD)/four_ways
	$(BUILD)/four_ways --html $(BUILD)/four_ways.html

# Peers (OpenBLAS, PyTorch, scipy) are looked for at run time; ONLY="gemm step" runs a part, PYTHON= names a python to try.
bench:
	@BUILD='$(BUILD)' COMPILE='$(COMPILE)' LDLIBS='$(LDLIBS)' ONLY='$(ONLY)' PYTHON='$(PYTHON)' sh bench/run.sh

$(BUILD)/bpe: bench/bpe.c forkreason.h
	@mkdir -p $(BUILD)
	$(COMPILE) -o $@ bench/bpe.c $(LDLIBS)

$(BUILD)/bench/compare: bench/compare.c $(addprefix bench/, compare_units.h compare_table.h compare_page.h ledger.h) $(SHARED)
	@mkdir -p $(BUILD)/bench
	$(COMPILE) -o $@ bench/compare.c $(LDLIBS)

compare: $(BUILD)/bench/compare
	$(BUILD)/bench/compare --build $(BUILD)

ablate: $(BUILD)/bench/compare
	$(BUILD)/bench/compare --build $(BUILD) --ablate

# JOBS programs are built and run at a time; SKIP="test_a test_b" leaves some out, ONLY="test_a" all others, and says so.
test: examples $(BUILD)/bench/compare
	@BUILD='$(BUILD)' JOBS='$(JOBS)' COMPILE='$(COMPILE)' LDLIBS='$(LDLIBS)' SKIP='$(SKIP)' ONLY='$(ONLY)' sh tests/run.sh

cuda-host-test:
	@BUILD='$(BUILD)' sh tests/cuda_host/run.sh $(WAYS)

# 1675: a pragma of gcc in the CPU's half, to which the device is compared.
NVCC = nvcc -std=c++17 -O2 -arch=$(ARCH) -diag-suppress 1675 -Xcompiler -pthread -I.
ARCH = native

cuda-test: tests/cuda_host/test_cuda.cpp forkreason.h
	@mkdir -p $(BUILD)
	$(NVCC) -x cu -o $(BUILD)/test_cuda $<
	$(BUILD)/test_cuda

cuda-bench: bench/cuda.cu forkreason.h
	@mkdir -p $(BUILD)
	$(NVCC) -o $(BUILD)/bench_cuda $<
	$(BUILD)/bench_cuda $(ONLY)

check:
	bash .ci/run --no-install

clean:
	rm -rf build

.PHONY: all examples demo bench compare ablate test cuda-host-test cuda-test cuda-bench check clean
