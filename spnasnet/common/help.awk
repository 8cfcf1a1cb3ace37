# Prints the settings of a .mk file: name, the comments above it, its choices and default.
function show(    i) {
    printf "  %-13s %s\n", name, text[1]
    for (i = 2; i <= n; i++) printf "  %-13s %s\n", "", text[i]
    if (choices) printf "  %-13s one of %s; default %s\n", "", choices, value
    else if (value !~ /^$|\$/) printf "  %-13s default %s\n", "", value
    n = 0; name = choices = ""
}
BEGIN { print "" }
/^## / { if (name) show(); text[++n] = substr($0, 4); next }
/^include / { if (name) show() }
/^[A-Z_]+_is :=/ { choices = substr($0, index($0, ":=") + 3); next }
/^[A-Z_]+ :=/ && n { if (name) show(); name = $1; value = substr($0, index($0, ":=") + 3) }
END { if (name) show() }
