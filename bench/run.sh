#!/bin/sh
# Builds and runs the benches from the root of the repository and makes build/bench.json; called by `make bench`.
#   make bench                       all of them, minutes
#   make bench ONLY="gemm step"      some: gemm step ssft decode choose assign bpe
#   make bench PYTHON=/opt/bin/python3     a python to try first for the peers PyTorch and scipy
#   BENCH_NO_PEERS=1 make bench      no peers, not even OpenBLAS
# A peer that is not there is skipped, and its rows say so.
# bench.json: a list of {name, unit, ours, peer, peer_name, ratio, target, met}; met is null where it cannot be judged.
BUILD=${BUILD:-build} COMPILE=${COMPILE:-cc -std=c99 -O2 -I. -pthread} LDLIBS=${LDLIBS:--lm} ONLY=${ONLY:-}
mkdir -p "$BUILD/bench" || exit 1
BENCH_ROWS="$BUILD/bench/rows"
export BENCH_ROWS
: >"$BENCH_ROWS" || exit 1

# The first python that can import all of the modules.
python_with() {
  [ -z "${BENCH_NO_PEERS:-}" ] || return 1
  for python in "${PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$python" ] && "$python" -c "import $1" >/dev/null 2>&1 && { echo "$python"; return 0; }
  done
  return 1
}
unset BENCH_TORCH BENCH_SCIPY
if found=$(python_with "torch, scipy"); then BENCH_TORCH=$found; export BENCH_TORCH
else echo "no python with torch and scipy: the rows against PyTorch are skipped"; fi
if found=$(python_with "numpy, scipy"); then BENCH_SCIPY=$found; export BENCH_SCIPY
else echo "no python with scipy: the rows against scipy are skipped"; fi

wrong=0
for name in gemm step ssft decode choose assign bpe; do
  case " ${ONLY:-$name} " in *" $name "*) ;; *) continue ;; esac
  program="$BUILD/bench/$name" libraries=$LDLIBS
  [ "$name" = bpe ] && program="$BUILD/bpe"  # bpe_peers.js, too, finds it there
  # OpenBLAS is opened at run time; systems whose libc does not hold dlopen have it in libdl.
  [ "$name" = gemm ] && libraries="$LDLIBS -ldl"
  if ! $COMPILE "-DBENCH_FLAGS=\"$COMPILE\"" -o "$program" "bench/$name.c" $libraries; then
    echo "bench/$name.c does not compile"; wrong=1; continue
  fi
  "$program" || { echo "bench/$name.c failed"; wrong=1; }
done

# One object a line becomes a list.
awk 'BEGIN { print "[" } { if (NR > 1) print last ","; last = $0 } END { if (NR) print last; print "]" }' "$BENCH_ROWS" \
  >"$BUILD/bench.json" || exit 1
echo
awk '/"met": true/ { met++ } /"met": false/ { missed++ } /"target": [0-9.]+, "met": null/ { open++ }
  END { printf "%d rows; %d targets met, %d missed, %d without their peer\n", NR, met, missed, open }' "$BENCH_ROWS"
echo "written: $BUILD/bench.json"
exit $wrong
