# Sourced by the other scripts: makes .venv in the repository's root and installs tmsjax into it, once.
# TMSJAX_EXTRAS (for example "dev") adds extras; a CUDA extra is added when nvidia-smi answers.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

usable_python() {
    local name
    for name in "${PYTHON:-}" python3.12 python3.11 python3.13 python3.14 python3 python; do
        [ -n "$name" ] || continue
        "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$name"; return; }
    done
    echo "tmsjax needs Python 3.11 or newer with venv and pip; set PYTHON to one" >&2
    return 1
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

setup() {
    local extras have gpu python
    extras="${TMSJAX_EXTRAS:-}"
    gpu="$(cuda_extra)"
    [ -z "$gpu" ] || extras="${extras:+$extras,}$gpu"
    have="$(cksum < "$root/pyproject.toml") [$extras]"
    if [ ! -f "$root/.venv/.tmsjax" ] || ! grep -qxF "$have" "$root/.venv/.tmsjax"; then
        python="$(usable_python)" || return 1
        echo "setting up .venv with $("$python" --version)${extras:+, extras $extras}" >&2
        if command -v uv >/dev/null 2>&1; then
            [ -x "$root/.venv/bin/python" ] || uv venv --quiet --python "$python" "$root/.venv" || return 1
            uv pip install --quiet --python "$root/.venv/bin/python" -e "$root${extras:+[$extras]}" || return 1
        else
            [ -x "$root/.venv/bin/python" ] || "$python" -m venv "$root/.venv" || return 1
            "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root${extras:+[$extras]}" || return 1
        fi
        echo "$have" >> "$root/.venv/.tmsjax"
    fi
    export PATH="$root/.venv/bin:$PATH"
}
