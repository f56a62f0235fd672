"""Joined processes in an array, and dask-jobqueue, on a real SLURM; skipped where there is none."""

import re
import shlex
import shutil
import subprocess
import time

import pytest
from conftest import command, digest
from processes import stored, sweep, under_way, wait_for

from tmsjax.runs import open_run, run_sweep

MINUTES = 10  # of wall time
SCRIPT = "#!/bin/bash\n{}\n"  # without exec: the processes of a job are signalled one by one


def slurm(*arguments: object, check: bool = True) -> str:
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=check).stdout.strip()


def state(job: str) -> str:
    time.sleep(0.2)  # it is asked in loops
    return re.search(r"JobState=(\w+)", slurm("scontrol", "show", "job", job))[1]


def has_begun_again(job: str) -> bool:
    """Whether a requeued job has begun again, which is two minutes later unless one asks for it."""
    if "Reason=BeginTime" in slurm("scontrol", "show", "job", job):
        slurm("scontrol", "update", f"jobid={job}", "StartTime=now", check=False)  # it may begin at this moment
    return "Restarts=1" in slurm("scontrol", "show", "job", job) and state(job) in ("RUNNING", "COMPLETED")


@pytest.fixture(autouse=True, scope="module")
def idle_node():
    if shutil.which("sbatch") is None:
        pytest.skip("needs SLURM")
    until = time.monotonic() + 5
    while "idle" not in slurm("sinfo", "-h", "-o", "%T", check=False):
        if time.monotonic() > until:
            pytest.skip("no node of SLURM is idle")
        time.sleep(0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[str, str]:
    """A spec of 6 units of some seconds, and the digest of the results of one process."""
    spec = sweep(tmp_path_factory.mktemp("slurm"), steps=60_000)
    return spec, digest(run_sweep(spec).dataset)


@pytest.fixture
def array(tmp_path, trained):
    """The ids of the tasks of an array of four joined processes, which have begun to train."""
    script, out = tmp_path / "job.sh", tmp_path / "run"
    script.write_text(SCRIPT.format(shlex.join(command("run", trained[0], "--out", out, "--join"))))
    resources = ["--array=1-4", "--cpus-per-task=1", "--mem=1G", f"--time={MINUTES}"]
    array = slurm("sbatch", "--parsable", *resources, f"--output={tmp_path}/log-%a", "--open-mode=append", script)
    yield [f"{array}_{task}" for task in range(1, 5)]
    slurm("scancel", array)
    for log in sorted(tmp_path.glob("log-*")):  # shown if the test failed
        print(f"--- {log.name}\n{log.read_text()[-2000:]}")


@pytest.mark.slow
def test_an_array_survives_a_cancelled_a_requeued_and_a_timed_out_task(tmp_path, trained, array):
    out = tmp_path / "run"
    wait_for(lambda: len({path.parts[-3] for path in under_way(out)}) >= 4)
    cancelled, requeued, slow, other = array
    slurm("scancel", "--full", "--signal=STOP", slow)  # it holds its unit, however fast the others are
    slurm("scontrol", "update", f"jobid={slow}", "EndTime=now+1")
    slurm("scancel", cancelled)
    slurm("scontrol", "requeue", requeued)
    wait_for(lambda: has_begun_again(requeued), seconds=150)
    wait_for(lambda: state(slow) == "TIMEOUT", seconds=90)
    wait_for(lambda: {state(requeued), state(other)} == {"COMPLETED"}, seconds=120)
    assert state(cancelled) == "CANCELLED"
    said = [(tmp_path / f"log-{task}").read_text() for task in (1, 2, 3)]
    assert all(f"to continue: tmsjax resume {out} --join" in words for words in said), "they have saved"
    assert [words.count("device: ") for words in said] == [1, 2, 1]
    assert digest(open_run(out).dataset) == trained[1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["scale", "adapt"])
def test_workers_of_slurm_that_come_and_go_change_no_byte(tmp_path, trained, how):
    distributed, jobqueue = pytest.importorskip("distributed"), pytest.importorskip("dask_jobqueue")
    out, name, killed = tmp_path / "run", f"tmsjax-{how}", []

    def kill_one() -> bool:
        """Asked several times a second; kills a worker when all train."""
        running = slurm("squeue", "-h", "-n", name, "-t", "R", "-o", "%A").split()
        if not killed and len(running) > 1 and len({path.parts[-3] for path in under_way(out)}) >= len(running):
            slurm("scancel", "--full", "--signal=KILL", running[0])  # else it has time to finish its unit
            killed.append(running[0])
        return False

    resources = {"cores": 2, "processes": 1, "memory": "1GB", "walltime": f"00:{MINUTES}:00", "job_name": name}
    folders = {"local_directory": tmp_path, "log_directory": tmp_path}
    with jobqueue.SLURMCluster(**resources, **folders) as cluster, distributed.Client(cluster) as client:
        cluster.scale(3) if how == "scale" else cluster.adapt(minimum=1, maximum=3)
        run = run_sweep(trained[0], out, client=client, progress=False, should_stop=kill_one)
    assert state(killed[0]) != "RUNNING"
    assert len(stored(out)) == 6
    assert digest(run.dataset) == trained[1]
