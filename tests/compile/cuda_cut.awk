# The header without what FORKREASON_CUDA brings: whole blocks of the preprocessor whose condition names it, or FR__CUDA alone, with
# their directives. Conditions that name FR__METHOD or others beside it stay: the CPU's program has a part in them.
function cuts(line) { return line ~ /CUDA/ && line !~ /FR__METHOD|FORKREASON_IMPLEMENTATION|FORKREASON_BACKEND/ }
/^[[:space:]]*#[[:space:]]*if/ { if (depth || cuts($0)) { depth++; cut++; next } }
/^[[:space:]]*#[[:space:]]*endif/ { if (depth) { depth--; cut++; next } }
depth { cut++; next }
{ print }
END { print cut + 0 " lines cut" >"/dev/stderr" }
