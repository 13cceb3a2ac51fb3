#!/bin/sh
# Builds and runs every tests/test_*.c from the root of the repository; called by `make test`.
#   exit status of a program: 0 passed, 77 skipped (it says why), anything else failed
# JOBS workers share the programs: whoever creates the claim directory of a program takes it.
BUILD=${BUILD:-build} JOBS=${JOBS:-2} COMPILE=${COMPILE:-cc -std=c99 -O2 -I. -pthread} LDLIBS=${LDLIBS:--lm}
SKIP=${SKIP:-} WRAP=${WRAP:-} ONLY=${ONLY:-}
export TEST_BUILD="$BUILD"
mkdir -p "$BUILD/tests" || exit 1
rm -rf "$BUILD"/tests/*.claim "$BUILD"/tests/*.verdict

listed() { case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac }

one() {
  name=$1 program="$BUILD/tests/$1" log="$BUILD/tests/$1.log" began=$(date +%s)
  if listed "$name" "$SKIP" || { [ -n "$ONLY" ] && ! listed "$name" "$ONLY"; }; then
    echo "left out of this run" >"$log"; status=77
  elif { [ -x "$program" ] && [ -z "$(find forkreason.h tests examples Makefile -newer "$program")" ]; } ||
       $COMPILE -o "$program" "tests/$name.c" $LDLIBS >"$log" 2>&1; then
    $WRAP "$program" >"$log" 2>&1 </dev/null; status=$?
  else
    rm -f "$program"; echo "does not compile" >>"$log"; status=1
  fi
  took=$(($(date +%s) - began))
  case $status in
    0)  verdict=passed ;;
    77) verdict=skipped ;;
    *)  verdict=failed ;;
  esac
  echo "$verdict" >"$BUILD/tests/$name.verdict"
  # One printf, so that the lines of two workers do not mix.
  case $verdict in
    failed) printf 'FAILED   %-22s %3ds  status %d, the end of %s:\n%s\n' "$name" "$took" "$status" "$log" \
              "$(tail -n 25 "$log")" ;;
    *)      printf '%-8s %-22s %3ds  %s\n' "$verdict" "$name" "$took" "$(tail -n 1 "$log")" ;;
  esac
}

worker() {
  for source in tests/test_*.c; do
    name=${source#tests/} name=${name%.c}
    mkdir "$BUILD/tests/$name.claim" 2>/dev/null && one "$name"
  done
}

count=0
while [ "$count" -lt "$JOBS" ]; do worker & count=$((count + 1)); done
wait

tally() { cat "$BUILD"/tests/*.verdict 2>/dev/null | grep -c "^$1\$"; }
passed=$(tally passed) skipped=$(tally skipped)
set -- tests/test_*.c
failed=$(($# - passed - skipped))  # a program that left no verdict has failed
rm -rf "$BUILD"/tests/*.claim
if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"
else echo "$passed passed, $failed failed"; fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
