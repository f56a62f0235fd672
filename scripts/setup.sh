# Sourced by the other scripts. Creates .venv in the repository's root and installs tmsjax into it once.
# TMSJAX_EXTRAS (for example "dev") adds extras; adds a CUDA extra if nvidia-smi works.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

is_usable() { # python [oldest minor version]
    "$1" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, ${2:-11}))" 2>/dev/null
}

usable_python() {
    local name
    for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3 python; do
        [ -n "$name" ] && is_usable "$name" && { echo "$name"; return; }
    done
    echo "tmsjax needs Python 3.11 or newer with venv and pip; set PYTHON to its path" >&2
    return 1
}

newer_python() { # prints the first Python 3.12 or newer on PATH or in pyenv, or nothing
    local name
    for name in python3.12 python3.13 python3.14 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do
        is_usable "$name" 12 && { echo "$name"; return; }
    done
    return 0
}

cuda_extra() {
    command -v nvidia-smi >/dev/null 2>&1 || return 0
    local version
    version="$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\).*/\1/p' | head -n 1)"
    case "$version" in
        '') ;;
        12) echo cuda12 ;;
        *) [ "$version" -lt 13 ] || echo cuda13 ;;
    esac
}

setup() { # [folder of the environment] [python]
    local extras have gpu venv python
    venv="$root/${1:-.venv}"
    extras="${TMSJAX_EXTRAS:-}"
    gpu="$(cuda_extra)"
    [ -z "$gpu" ] || extras="${extras:+$extras,}$gpu"
    have="$(cksum < "$root/pyproject.toml") [$extras]"
    if [ ! -f "$venv/.tmsjax" ] || ! grep -qxF "$have" "$venv/.tmsjax"; then
        python="${2:-$(usable_python)}" && [ -n "$python" ] || return 1
        echo "setting up ${1:-.venv} with $("$python" --version)${extras:+, extras $extras}" >&2
        if command -v uv >/dev/null 2>&1; then
            [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv" || return 1
            uv pip install --quiet --python "$venv/bin/python" -e "$root${extras:+[$extras]}" || return 1
        else
            [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || return 1
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root${extras:+[$extras]}" || return 1
        fi
        echo "$have" >> "$venv/.tmsjax"
    fi
    export PATH="$venv/bin:$PATH"
}

read_options() { # splits "$@" into quick ("-quick" or empty), out (DIR of --out DIR) and options (the rest)
    quick="" out="" options=()
    while [ $# -gt 0 ]; do
        case "$1" in
            --quick) quick=-quick ;;
            --out)
                out="${2:?--out needs a directory}"
                shift
                ;;
            *) options+=("$1") ;;
        esac
        shift
    done
}
