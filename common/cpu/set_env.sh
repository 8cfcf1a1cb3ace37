# Source this file, as one sources Ascend's own set_env.sh, on a host that has no NPU:
#
#     source common/cpu/set_env.sh
#     atc --framework=5 --model=x.onnx --output=x_bs8 --input_shape="input:8,3,224,224"
#     python3 -m ais_bench --model x_bs8.om --input prep/ --output result --output_dirname x_bs8
#
# It puts `atc` on PATH and `ais_bench` on PYTHONPATH, and first on PATH the .venv of the model
# folder or of the one above it, so that `python3` is the one that has the packages. HOST_ENGINE
# becomes the engine that make takes for the model, unless it is set. It prints nothing.

_host=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]:-$0}")" && pwd -P)
# Sourcing it again must not make the lists longer.
case ":$PATH:" in
    *":$_host/bin:"*) ;;
    *)
        PATH=$_host/bin:$PATH PYTHONPATH=$_host${PYTHONPATH:+:$PYTHONPATH}
        for _venv in "${_host%/*/*/*}/.venv" "${_host%/*/*}/.venv"; do
            [ -x "$_venv/bin/python3" ] && PATH=$_venv/bin:$PATH
        done ;;
esac
_engine=$(sed -n 's/^ENGINE_CPU := *//p' "${_host%/*/*}/Makefile" 2>/dev/null)
[ -n "$_engine" ] && export HOST_ENGINE="${HOST_ENGINE:-$_engine}"
export PATH PYTHONPATH
unset _host _engine _venv
