# Reads a disassembly of the header (objdump -d --no-show-raw-insn) and looks at the loops of its AVX-512 row: a jump back, with
# no jump back and no return inside. A long loop holds loads, arithmetic and stores; a mask of lanes in it costs half of the speed
# where processors are fast, and slower ones do not show that. fr__combine_avx512 has one loop for the rest of a row.
function look(  i, j, inner, masked, wide) {
  for (i = 1; i <= n; i++) if (to[i] != "" && to[i] <= at[i] && to[i] >= at[1]) {
    inner = 1; masked = ""
    for (j = i - 1; j >= 1 && at[j] >= to[i]; j--) {
      if (to[j] != "" && to[j] <= at[j] && to[j] >= to[i]) inner = 0
    }
    if (!inner) continue
    wide = 0
    for (j = i; j >= 1 && at[j] >= to[i]; j--) {
      if (text[j] ~ /kmov|\{%k[1-7]\}/) masked = text[j]
      if (text[j] ~ /%zmm/) wide = 1
      if (text[j] ~ /\tret/) inner = 0
    }
    if (wide && inner) { loops[name]++; if (masked != "") bad[name] = bad[name] "\n    " masked }
  }
}
/^[0-9a-f]+ <.*>:$/ { if (name ~ /_avx512$/) look(); name = $2; gsub(/[<>:]/, "", name); n = 0; next }
name ~ /_avx512$/ && /^ *[0-9a-f]+:/ {
  n++; at[n] = sprintf("%12s", substr($1, 1, length($1) - 1)); text[n] = $0; to[n] = ""
  if ($2 ~ /^j/ && $3 ~ /^[0-9a-f]+$/) to[n] = sprintf("%12s", $3)
}
END {
  if (name ~ /_avx512$/) look()
  for (f in loops) { total += loops[f]; functions++ }
  delete bad["fr__combine_avx512"]
  for (f in bad) { print "  " f ": a loop under a mask:" bad[f]; wrong++ }
  printf "%d functions, %d loops of whole vectors\n", functions, total
  exit(wrong > 0 || functions < 14)
}
