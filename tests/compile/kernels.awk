# What ptxas -v says of each kernel, as a table with a column an architecture, held under bounds: registers, bytes of static shared
# memory, of stack (arrays that are indexed at run time lie there, in slow memory) and of spills.
#   nvcc ... -Xptxas -v -c tests/compile/cuda.cu 2>&1 | awk -v expected="80 90 100 120" -f tests/compile/kernels.awk
# A register file has 65536: a block of 256 threads gets in at 255 registers a thread, two of them at 128.
BEGIN {
  registers = 128; shared = 16384
  stack = 32; spills = 64                          # a few words that ptxas puts aside outside of the loops
  # attention has blocks of 128 threads; with heads above 128, q, o or gradients of 4 rows are up to 128 registers by themselves
  most["fr__attend_back_keys", "registers"] = most["fr__attend_back_queries", "registers"] = 255
  most["fr__attend_kernel", "registers"] = most["fr__attend_few", "registers"] = 255
  most["fr__attend_few", "stack"] = 48
  most["fr__attend_few", "spills"] = most["fr__attend_kernel", "spills"] = 128  # of heads above 256 alone
}
function bound(name, what, otherwise) { return (name, what) in most ? most[name, what] : otherwise }
function plain(symbol,   n, name, rest, out, value) {  # _Z<length><name>I<arguments>E... as name<arguments>
  match(symbol, /[0-9]+/)
  n = substr(symbol, RSTART, RLENGTH)
  name = substr(symbol, RSTART + RLENGTH, n)
  rest = substr(symbol, RSTART + RLENGTH + n)
  base[symbol] = name
  if (substr(rest, 1, 2) != "IL") return name
  for (rest = substr(rest, 2); match(rest, /^L[a-z][0-9]+E/); rest = substr(rest, RLENGTH + 1)) {
    value = substr(rest, 3, RLENGTH - 3)
    out = out (out == "" ? "" : ",") value
  }
  return name "<" out ">"
}
function least(kernel, what, value) {  # keeps the largest
  if (!((kernel, what) in worst) || worst[kernel, what] < value) worst[kernel, what] = value
}
/(warning|error) ?[:#]/ { print; bad = 1 }
/Compiling entry function/ {
  split($0, part, "'")
  symbol = part[2]; arch = part[4]; sub(/^sm_/, "", arch)
  kernel = plain(symbol)
  if (!(kernel in seen)) order[++count] = kernel
  seen[kernel] = base[symbol]
  next
}
/bytes stack frame/ {
  least(kernel, "stack", $1 + 0)
  least(kernel, "spills", $5 + $9)
}
/Used [0-9]+ registers/ {
  match($0, /Used [0-9]+/)
  used[kernel, arch] = substr($0, RSTART + 5, RLENGTH - 5) + 0
  least(kernel, "registers", used[kernel, arch])
  least(kernel, "shared", match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH) + 0 : 0)
}
END {
  n = split(expected, archs, " ")
  printf "%-34s", "registers on sm_"
  for (a = 1; a <= n; a++) printf "%6s", archs[a]
  printf "%9s%7s%8s\n", "shared", "stack", "spills"
  for (k = 1; k <= count; k++) {
    kernel = order[k]; name = seen[kernel]; over = ""
    printf "%-34s", kernel
    for (a = 1; a <= n; a++) {
      printf "%6s", (kernel, archs[a]) in used ? used[kernel, archs[a]] : "-"
      if (!((kernel, archs[a]) in used)) over = over " is not on sm_" archs[a]
    }
    printf "%9d%7d%8d", worst[kernel, "shared"], worst[kernel, "stack"], worst[kernel, "spills"]
    if (worst[kernel, "registers"] > bound(name, "registers", registers)) over = over " registers"
    if (worst[kernel, "shared"] > bound(name, "shared", shared)) over = over " shared"
    if (worst[kernel, "stack"] > bound(name, "stack", stack)) over = over " stack"
    if (worst[kernel, "spills"] > bound(name, "spills", spills)) over = over " spills"
    if (over != "") { printf "   OVER:%s", over; bad = 1 }
    printf "\n"
    if (worst[kernel, "registers"] > top) top = worst[kernel, "registers"]
    if (worst[kernel, "spills"] > spilt) spilt = worst[kernel, "spills"]
  }
  if (count < 15) { print "too few kernels to believe"; bad = 1 }
  printf "%d kernels on %d architectures, at most %d registers and %d bytes of spills%s\n", count, n, top, spilt, bad ? ": NOT GOOD" : ""
  exit bad
}
