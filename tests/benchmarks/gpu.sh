#!/usr/bin/env bash
# Checks ahekit on one GPU, in under eight minutes and without a network.
#
#   tests/benchmarks/gpu.sh --collect WHEELS [--for 3.12]   on a machine with a network and ahekit: fill the folder
#   tests/benchmarks/gpu.sh --wheels WHEELS [--to DIR]      on the machine with the GPU, in a checkout
#   tests/benchmarks/gpu.sh --device cpu --here             a try without a GPU, tiny, in the running environment
#
# The machine with the GPU needs Python 3.11 or later with pip, torch and torchvision for its card; the folder holds
# every other package that ahekit needs, in the versions of the environment that collected them, for this Python or the
# one named with --for on Linux x86-64. Of those that the machine has already in a version that will do, the wheels
# aren't needed and may be deleted. --here takes the running environment as it is. One line is printed for each item,
# PASS or FAIL with its numbers; DIR (gpu-check) gets summary.json and summary.md. Exit 1 when an item failed.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
wheels= to=gpu-check device=cuda here= collect= version=
usage() { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
while [ $# -gt 0 ]; do
    case $1 in
        --here) here=1; shift ;;
        --collect|--wheels|--to|--device)
            [ $# -ge 2 ] || usage
            printf -v "${1#--}" %s "$2"
            shift 2 ;;
        --for)
            [ $# -ge 2 ] || usage
            version=$2
            shift 2 ;;
        *) usage ;;
    esac
done

if [ -n "$collect" ]; then
    mkdir -p "$collect"
    # What ahekit needs and torch doesn't bring, as it is installed here.
    "$python" - > "$collect/requirements.txt" <<'PYTHON'
import re
from importlib.metadata import PackageNotFoundError, distribution

BROUGHT = {"torch", "torchvision"}
needed: dict[str, str] = {}
todo = ["ahekit"]
while todo:
    name = todo.pop()
    for line in distribution(name).requires or ():
        other = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        if other in needed or other in BROUGHT or "extra ==" in line:
            continue
        try:
            needed[other] = distribution(other).version
        except PackageNotFoundError:
            continue  # for another system
        todo.append(other)
print("\n".join(f"{name}=={version}" for name, version in sorted(needed.items())))
PYTHON
    # pip matches a wheel's platform by its exact name.
    for_other=(${version:+--python-version "$version" --implementation cp})
    if [ -n "$version" ]; then
        for glibc in 2_28 2_27 2_26 2_24 2_17 2014 2010 1; do
            for_other+=(--platform "manylinux${glibc/#2_/_2_}_x86_64")
        done
    fi
    "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary :all: --dest "$collect" \
        "${for_other[@]}" --requirement "$collect/requirements.txt" "setuptools>=77"
    echo "$(ls "$collect"/*.whl | wc -l) wheels in $collect; go on with: $0 --wheels $collect"
    exit 0
fi

if [ -z "$here" ]; then
    [ -n "$wheels" ] || usage
    environment=$(mktemp -d)
    trap 'rm -rf "$environment"' EXIT
    "$python" -m venv --system-site-packages --without-pip "$environment"
    # The packages of $python, also where it is itself that of an environment.
    "$python" -c 'import sysconfig; path = sysconfig.get_path("purelib"); print(f"import site; site.addsitedir({path!r})")' \
        > "$(echo "$environment"/lib/python*/site-packages)/image.pth"
    install() {
        "$python" -m pip --disable-pip-version-check --python "$environment/bin/python" install --quiet --no-index \
            --find-links "$wheels" "$@"
    }
    install "setuptools>=77"
    install --no-build-isolation "$root"
    python=$environment/bin/python
fi
cd "$root"
"$python" -m tests.benchmarks.gpu_checks --device "$device" --to "$to"
