"""What the supervisor does with its children, seen from outside: a program of its own with small fake children."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from config.supervisor.processes import ProcessIdentity, end_orphans, identify, record, recorded
from tests.config.conftest import Program, Start, exists, wait_for

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from config.supervisor.console import Console
from config.supervisor.spec import ChildSpec
from config.supervisor.supervisor import Supervisor

HELLO = "import os, signal, sys, time; print('pid', os.getpid(), flush=True)\\n"

def child(name, code, **more):
    return ChildSpec(name=name, command=(sys.executable, "-S", "-u", "-c", HELLO + code), **more)

SLEEP = "time.sleep(600)"

async def main(*groups):
    console = Console()
    supervisor = Supervisor(console, record_path=Path("children.json"))
    async def work():
        for group in groups:
            await supervisor.start(group)
        console.say("all started")
    return await supervisor.run(work)
"""

pytestmark = pytest.mark.no_database


def supervise(program: Start, groups: str) -> Program:
    """A supervisor with these groups of children; `groups` is Python."""
    return program(SUPERVISOR + f"\nsys.exit(asyncio.run(main({groups})))\n")


def test_each_line_names_its_process(program: Start) -> None:
    running = supervise(program, "[child('one', 'print(\"hello\"); ' + SLEEP), child('two', SLEEP)]")
    running.wait_for_output("two      | pid ")
    running.wait_for_output("one      | hello")
    assert running.end() == 0


def test_a_child_that_dies_is_started_again(program: Start) -> None:
    running = supervise(program, "[child('one', SLEEP)]")
    wait_for(lambda: running.pid_of("one"))
    first = running.pid_of("one")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: running.pid_of("one") != first)
    assert "one died (SIGKILL); starting it again" in running.output
    assert running.end() == 0
    assert not exists(running.pid_of("one"))


def test_five_deaths_of_one_child_end_everything_with_its_last_words(program: Start) -> None:
    running = supervise(program, "[child('good', SLEEP)], [child('bad', 'print(\"no luck\"); sys.exit(3)')]")
    assert running.process.wait(20) == 1
    assert running.output.count("bad died (exit code 3)") == 4
    assert "bad died 5 times within 60 s. Its last lines:" in running.output
    assert running.output.rindex("no luck") > running.output.index("Its last lines")
    assert not exists(running.pid_of("good"))


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_groups_in_reverse_order(program: Start, stop_signal: signal.Signals) -> None:
    code = (
        '\'signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), sys.exit(0))); print("set"); \' + SLEEP'
    )
    running = supervise(program, f"[child('first', {code})], [child('second', {code})], [child('third', {code})]")
    wait_for(lambda: running.output.count("| set") == 3)
    assert running.end(stop_signal) == 0
    assert [line.split()[0] for line in running.output.splitlines() if line.endswith("bye")] == [
        "third",
        "second",
        "first",
    ]


def test_a_child_that_ignores_the_stop_is_killed_in_time_with_all_it_started(program: Start) -> None:
    stubborn = (
        "'signal.signal(signal.SIGTERM, signal.SIG_IGN); import subprocess; "
        'print("grandchild pid", subprocess.Popen(["sleep", "600"]).pid, flush=True); \' + SLEEP'
    )
    running = supervise(program, f"[child('deaf', {stubborn}, stop_grace_s=0.5)]")
    running.wait_for_output("grandchild pid")
    grandchild = running.pid_of("deaf")
    begin = time.monotonic()
    assert running.end() == 0
    assert time.monotonic() - begin < 20
    assert not exists(grandchild)


def test_asked_twice_it_ends_everything_at_once(program: Start) -> None:
    deaf = "'signal.signal(signal.SIGTERM, signal.SIG_IGN); print(\"deaf\"); ' + SLEEP"
    running = supervise(program, f"[child('one', {deaf}, stop_grace_s=600)]")
    running.wait_for_output("| deaf")
    running.process.send_signal(signal.SIGINT)
    running.wait_for_output("stopping")
    begin = time.monotonic()
    assert running.end(signal.SIGINT) == 0
    assert time.monotonic() - begin < 60, "asked once, it would take longer"


def test_what_a_killed_child_started_does_not_outlive_it(program: Start) -> None:
    code = '\'import subprocess; print("grandchild pid", subprocess.Popen(["sleep", "600"]).pid, flush=True); \''
    running = supervise(program, f"[child('parent', {code} + SLEEP)]")
    running.wait_for_output("grandchild pid")
    grandchild = running.pid_of("parent")
    parent = int(running.output.partition("pid ")[2].split()[0])
    os.kill(parent, signal.SIGKILL)
    wait_for(lambda: not exists(grandchild), what="the end of the grandchild")
    running.end()


def test_a_killed_supervisor_leaves_no_process(program: Start) -> None:
    running = supervise(program, "[child('one', SLEEP), child('two', SLEEP)]")
    wait_for(lambda: running.pid_of("one") and running.pid_of("two"))
    running.process.kill()
    wait_for(lambda: not exists(running.pid_of("one")) and not exists(running.pid_of("two")))


def test_a_group_may_be_empty(program: Start) -> None:
    running = supervise(program, "[], [child('one', SLEEP)], []")
    running.wait_for_output("all started")
    assert running.end() == 0


def test_a_mistake_in_the_work_ends_the_children_and_is_told(program: Start) -> None:
    running = program(
        SUPERVISOR
        + """
async def broken():
    supervisor = Supervisor(Console())
    async def work():
        await supervisor.start([child('one', SLEEP)])
        raise LookupError("mistaken")
    await supervisor.run(work)
asyncio.run(broken())
"""
    )
    assert running.process.wait(20) == 1
    assert "LookupError: mistaken" in running.output
    assert not exists(running.pid_of("one"))


def test_a_child_that_ends_by_itself_is_waited_for(program: Start) -> None:
    text = """
async def once(status):
    supervisor = Supervisor(Console())
    async def work():
        await supervisor.run_once(child('task', f'sys.exit({status})'))
        supervisor.request_stop()
    return await supervisor.run(work)
sys.exit(asyncio.run(once(0)) * 10 + asyncio.run(once(4)))
"""
    running = program(SUPERVISOR + text)
    assert running.process.wait(20) == 1
    assert "task failed (exit code 4)" in running.output


def test_a_child_not_ready_in_time_ends_everything(program: Start) -> None:
    never = "async def never(): return False\n"
    running = program(
        SUPERVISOR + never + "sys.exit(asyncio.run(main([child('slow', SLEEP, ready=never, ready_timeout_s=0.3)])))"
    )
    assert running.process.wait(20) == 1
    assert "slow was not ready within 0 s" in running.output


def test_a_long_line_without_end_is_cut_and_bytes_that_are_no_text_do_no_harm(program: Start) -> None:
    code = '\'os.write(1, b"x" * 200_000 + b"\\\\xff\\\\n"); print("after", flush=True); \' + SLEEP'
    running = supervise(program, f"[child('loud', {code})]")
    running.wait_for_output("loud     | after")
    assert running.end() == 0


def test_a_closed_log_ends_everything(program: Start) -> None:
    running = program(
        "import os, sys\n"
        "reader, writer = os.pipe(); os.close(reader); keep = os.dup(1); os.dup2(writer, 1)\n"
        + SUPERVISOR
        + "\nstatus = asyncio.run(main([child('one', SLEEP)]))\nos.dup2(keep, 1); sys.exit(status)"
    )
    assert running.process.wait(20) == 0, running.output


def test_a_log_on_a_full_disk_ends_nothing(program: Start) -> None:
    running = program(
        "import os, sys\n"
        "keep = os.dup(1); os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
        + SUPERVISOR
        + "\nstatus = asyncio.run(main([child('one', SLEEP)]))\nos.dup2(keep, 1); sys.exit(status)"
    )
    children = running.folder / "children.json"
    wait_for(lambda: recorded(children) or running.process.poll() is not None, what="the child")
    first = recorded(children)
    os.kill(first[0].pid, signal.SIGKILL)
    wait_for(lambda: recorded(children) != first or running.process.poll() is not None, what="another one")
    assert running.end() == 0, running.output


def test_what_was_started_to_outlive_its_terminal_does(program: Start) -> None:
    running = program(
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        + SUPERVISOR
        + "\nsys.exit(asyncio.run(main([child('one', SLEEP)])))\n"
    )
    running.wait_for_output("pid ")
    first = running.pid_of("one")
    assert first
    running.process.send_signal(signal.SIGHUP)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: running.pid_of("one") != first or running.process.poll() is not None, what="another one")
    assert running.end() == 0, running.output
    assert running.pid_of("one") != first


def test_an_orphan_is_ended_only_when_it_is_surely_the_one(program: Start, tmp_path: Path) -> None:
    orphan = program("import time; time.sleep(600)")
    identity = identify("one", orphan.process.pid)
    assert identity is not None
    stranger = ProcessIdentity("one", identity.pid, identity.started + 1, identity.boot)
    other_boot = ProcessIdentity("one", identity.pid, identity.started, "another boot")
    assert end_orphans([stranger, other_boot], grace_s=0.1) == []
    assert exists(orphan.process.pid)
    record(tmp_path / "children.json", [identity])
    assert recorded(tmp_path / "children.json") == [identity]


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "children.json").write_text(json.dumps([{"pid": 1}]))
    assert recorded(tmp_path / "children.json") == []
    assert recorded(tmp_path / "missing.json") == []
