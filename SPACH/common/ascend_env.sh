# The Ascend toolkit for the shell that sources this; or, run by itself, one word for what this host can do.
#
#     . common/ascend_env.sh atc       # afterwards atc can be called; else one line says why not, and the status is 1
#     . common/ascend_env.sh infer     # the same for python3 -m ais_bench
#     . common/ascend_env.sh runtime   # the same for other programs that run .om files
#     bash common/ascend_env.sh        # prints ascend (atc), ascend-infer (ais_bench alone) or none
#
# An environment that is loaded already is left as it is. ASCEND_ROOTS (folders, colons between) replaces the places where
# toolkits are looked for, ASCEND_PYTHON the python3 that has ais_bench.

_ascend_roots=${ASCEND_ROOTS-/usr/local/Ascend:${HOME-}/Ascend:${CONDA_PREFIX:+$CONDA_PREFIX/Ascend}}
_ascend_tried=

# CPU stand-ins bear the same names; and without the variables of set_env.sh atc finds neither libraries nor operators.
_ascend_has_atc() {
    local path
    path=$(command -v atc) || return 1
    case $path in */common/cpu/bin/atc) return 1 ;; esac
    [ -n "${ASCEND_HOME_PATH-}${ASCEND_TOOLKIT_HOME-}${ASCEND_OPP_PATH-}" ]
}

_ascend_has_infer() {
    "${ASCEND_PYTHON:-python3}" -c 'import aclruntime, ais_bench.infer' >/dev/null 2>&1
}

_ascend_has_runtime() {
    [ -n "${ASCEND_HOME_PATH-}${ASCEND_TOOLKIT_HOME-}${ASCEND_OPP_PATH-}" ]
}

# set_env.sh reads unset variables, and commands in it may fail; neither may end the recipe.
_ascend_source() {
    local options=$- file=$1
    shift
    set +eu
    . "$file" >/dev/null
    case $options in *e*) set -e ;; esac
    case $options in *u*) set -u ;; esac
}

# _ascend_load atc|infer|runtime: source what is found until that is usable. cann/ is of CANN 8.5 and newer, nnrt/ has no atc.
_ascend_load() {
    local IFS=: root kind
    "_ascend_has_$1" && return 0
    for root in $_ascend_roots; do
        for kind in cann ascend-toolkit nnrt; do
            [ -r "$root/$kind/set_env.sh" ] || continue
            _ascend_tried="${_ascend_tried:+$_ascend_tried, }$root/$kind/set_env.sh"
            unset IFS
            _ascend_source "$root/$kind/set_env.sh"
            "_ascend_has_$1" && return 0
            IFS=:
        done
    done
    return 1
}

# Say what ais_bench lacks; there is an LLM evaluation tool of the same name.
_ascend_why_not() {
    "${ASCEND_PYTHON:-python3}" - <<'PYTHON'
from importlib.util import find_spec


def has(name):
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


if has("ais_bench") and not has("ais_bench.infer"):
    print("the ais_bench of this python3 is another tool (it evaluates language models, or is the CPU stand-in), not the one "
          "that runs .om files — install the wheels aclruntime and ais_bench of Ascend/tools, in a python3 of their own")
elif has("ais_bench"):
    print("this python3 has ais_bench, but aclruntime does not load — install the aclruntime wheel of this Python version "
          "(python3 -c 'import aclruntime' says more)")
else:
    print("this python3 has no ais_bench — install the wheels aclruntime and ais_bench of Ascend/tools")
PYTHON
}

_ascend_fail() {
    echo "error: $1" >&2
    return 1
}

# A host without an NPU has no driver, whose library atc is linked with; the toolkit has a stub of it.
_ascend_devlib() {
    local folder
    [ -e /dev/davinci_manager ] && return 0
    for folder in "${ASCEND_HOME_PATH:-${ASCEND_TOOLKIT_HOME-/nowhere}}"/*-linux/devlib; do
        [ -d "$folder" ] && export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
    done
    return 0
}

_ascend_main() {
    case ${1-} in
        atc)
            _ascend_load atc && _ascend_devlib && return 0
            if [ -n "$_ascend_tried" ]; then
                _ascend_fail "atc cannot be called after sourcing $_ascend_tried — is the toolkit (not only nnrt) installed there?"
            else
                _ascend_fail "there is no atc, and no set_env.sh below $_ascend_roots — install CANN's toolkit, or say where it is (ASCEND_ROOTS=/path), or use ENGINE=openvino"
            fi ;;
        infer)
            _ascend_load infer && return 0
            _ascend_fail "$(_ascend_why_not)${_ascend_tried:+ (sourced: $_ascend_tried)}" ;;
        runtime)
            _ascend_load runtime && return 0
            _ascend_fail "no set_env.sh below $_ascend_roots — install CANN's toolkit or nnrt, or say where it is (ASCEND_ROOTS=/path)" ;;
        "")
            _ascend_load atc && echo ascend && return 0
            # Without CANN ais_bench cannot be there; starting a Python to see that would take its time at every make.
            [ -n "$_ascend_tried${ASCEND_HOME_PATH-}${ASCEND_TOOLKIT_HOME-}${ASCEND_OPP_PATH-}" ] || { echo none && return 0; }
            _ascend_load infer && echo ascend-infer && return 0
            _ascend_fail "CANN is installed${_ascend_tried:+ ($_ascend_tried)}, but neither atc nor ais_bench is usable: $(_ascend_why_not). To go without it: ENGINE=openvino" ;;
        *)
            _ascend_fail "common/ascend_env.sh takes atc, infer, runtime or nothing, not $1" ;;
    esac
}

_ascend_main "$@"
