"""What the image must do as its user, without a network: shell scripts that fail where it does not, by name."""

from __future__ import annotations

TRAIN = """
set -e
vgim data synth --out /tmp/corpus --utterances 48
vgim data prepare librispeech --corpus /tmp/corpus --out /tmp/shards
vgim train quickstart data.shards=/tmp/shards storage.root=/tmp/runs storage.name=few cluster.workers=0 \
  train.max_steps=3
vgim runs /tmp/runs | grep few
"""

# As Triton builds its library: Python's headers, a shared library, the loaded module.
TRITON = """
set -e
python - <<'END'
import tempfile
from pathlib import Path
from triton.runtime.build import compile_module_from_src
source = '''
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyLong_FromLong(42); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, 0}, {0, 0, 0, 0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "built", 0, -1, methods};
PyMODINIT_FUNC PyInit_built(void) { return PyModule_Create(&module); }
'''
assert compile_module_from_src(source, "built").answer() == 42
from vgim.model.kernels.triton_needs import missing_to_build
assert missing_to_build() is None, missing_to_build()
END
"""

# As train.compile builds its loops for a CPU.
OPENMP = """
set -e
cd /tmp
printf '#include <omp.h>\\n#include <vector>\\nint main() { return omp_get_max_threads() < 1; }\\n' > loop.cpp
g++ -std=c++20 -O3 -fopenmp loop.cpp -o loop
./loop
"""

# A head, and a worker beside it whose agent has another port. Each is healthy until its raylet is killed.
HEALTH = """
head() { HEALTH_CHECK; }
worker() { WORKER_CHECK; }
within_a_minute() {
  for attempt in $(seq 60); do "$@" && return; sleep 1; done
  echo "not within a minute: $*"
  exit 1
}
dead() { ! "$@"; }
start() { ray start "$@" --num-cpus=1 --disable-usage-stats; }
head || { echo "unhealthy before ray start"; exit 1; }
ray get-auth-token --generate > /dev/null || exit 1
start --head --include-dashboard=false || exit 1
within_a_minute head
dead worker || { echo "a worker that was not started is healthy"; exit 1; }
start --address=127.0.0.1:6379 --dashboard-agent-listen-port=52366 || exit 1
within_a_minute worker
for folder in /proc/[0-9]*; do
  test "$(cat $folder/comm 2> /dev/null)" != raylet || kill -9 "${folder#/proc/}"
done
within_a_minute dead worker
within_a_minute dead head
"""

CHECKS = {
    "runs as a user without rights": 'test "$(id -un)" = ray && ! touch /opt/vgim/new 2>/dev/null && touch /shared/new',
    "vgim --version": "vgim --version",
    "pip check": "pip check",
    "keeps no packages of apt": 'test -z "$(find /var/lib/apt/lists /var/cache/apt/archives -name "*_*" -type f)"',
    "trains": TRAIN,
    "compiles as Triton does": TRITON,
    "compiles C++ with OpenMP": OPENMP,
    "health check": HEALTH,
}
