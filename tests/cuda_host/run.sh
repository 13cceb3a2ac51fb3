#!/bin/sh
# Device code without a GPU: builds every tests/cuda_host/test_*.cpp in up to three ways, from the root of the repository, and runs it.
#   sh tests/cuda_host/run.sh [plain] [track] [pthreads]        all three by default; ONLY="test_a" leaves the others out
# plain: the emulation. track, pthreads: the two race finders, see emulation.h.
BUILD=${BUILD:-build} CXX=${CXX:-g++} ONLY=${ONLY:-} FLAGS=${FLAGS:-}
common="-std=c++17 -g -Wall -Wextra -I. -Itests/cuda_host $FLAGS"
mkdir -p "$BUILD/cuda_host" || exit 1
[ $# -gt 0 ] || set -- plain track pthreads
passed=0 failed=0

build() {  # WAY SOURCE PROGRAM
  case $1 in
    plain)    $CXX $common -O2 -o "$3" "$2" -lm ;;
    track)    $CXX $common -O2 -fsanitize=thread -DEMU_TRACK -c -o "$3.o" "$2" &&  # and linked without it
                $CXX -o "$3" "$3.o" -Wl,--wrap=memcpy,--wrap=memmove,--wrap=memset -lm ;;
    pthreads) $CXX $common -O1 -fsanitize=thread -DEMU_PTHREADS -pthread -o "$3" "$2" -lm ;;
    *)        echo "no way $1"; return 1 ;;
  esac
}
for way; do
  for source in tests/cuda_host/test_*.cpp; do
    name=${source##*/} name=${name%.cpp}
    case " $ONLY " in "  " | *" $name "*) ;; *) continue ;; esac
    [ "$way-$name" = pthreads-test_cuda ] && continue  # would take hours: test_races has the same kernels at work on less
    program="$BUILD/cuda_host/$name-$way" log="$BUILD/cuda_host/$name-$way.log" wrap="" parts="" began=$(date +%s)
    [ "$way-$name" = track-test_cuda ] && parts="models training leaves traffic mistakes"  # the rest would add minutes and no kernel
    [ "$way" = pthreads ] && wrap="setarch -R"  # the sanitizer wants a layout of memory that a randomising kernel may not give
    if { [ -x "$program" ] && [ -z "$(find forkreason.h tests -newer "$program" -type f)" ]; } || build "$way" "$source" "$program" >"$log" 2>&1
    then $wrap "$program" $parts >"$log" 2>&1 </dev/null; status=$?
    else rm -f "$program"; status="not built"
    fi
    if [ "$status" = 0 ]; then
      passed=$((passed + 1)); printf 'passed   %-16s %-8s %3ds  %s\n' "$name" "$way" $(($(date +%s) - began)) "$(tail -n 1 "$log")"
    else
      failed=$((failed + 1)); printf 'FAILED   %-16s %-8s status %s, the end of %s:\n' "$name" "$way" "$status" "$log"; tail -n 40 "$log"
    fi
  done
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
