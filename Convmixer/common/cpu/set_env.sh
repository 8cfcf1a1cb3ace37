# Source this file, as one sources Ascend's own set_env.sh, on a host that has no NPU:
#
#     source common/cpu/set_env.sh
#     atc --framework=5 --model=x.onnx --output=x_bs8 --input_shape="input:8,3,224,224"
#     python3 -m ais_bench --model x_bs8.om --input prep/ --output result --output_dirname x_bs8
#
# It puts `atc` on PATH and `ais_bench` on PYTHONPATH, and first on PATH the .venv of the model
# folder or of the one above it, so that `python3` is the one that has the packages. It prints
# nothing.

_host_dir=$(CDPATH= cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
_host_root=${_host_dir%/*/*}

# Sourcing it again must not make the lists longer.
case ":$PATH:" in *":$_host_dir/bin:"*) ;; *) PATH=$_host_dir/bin:$PATH ;; esac
case ":${PYTHONPATH-}:" in
    *":$_host_dir:"*) ;;
    *) PYTHONPATH=$_host_dir${PYTHONPATH:+:$PYTHONPATH} ;;
esac
for _host_venv in "$_host_root/.venv" "${_host_root%/*}/.venv"; do
    [ -x "$_host_venv/bin/python3" ] || continue
    case ":$PATH:" in *":$_host_venv/bin:"*) ;; *) PATH=$_host_venv/bin:$PATH ;; esac
    break
done
export PATH PYTHONPATH
unset _host_dir _host_root _host_venv
