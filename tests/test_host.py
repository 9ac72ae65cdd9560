"""The machine's own files, and how they are read."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd import host as host_module
from agentd.host import Host, HostPaths, read


@pytest.fixture
def host():
    """The host that the tests run on; what it keeps open is closed at the end."""
    made = Host()
    yield made
    made.close()


@pytest.fixture
def fake(tmp_path):
    """A host whose file systems are folders with files on a disk."""
    paths = HostPaths(procfs=str(tmp_path / "proc"), sysfs=str(tmp_path / "sys"), rootfs=str(tmp_path / "root"))
    for folder in ("proc/net", "sys/class", "root/etc"):
        (tmp_path / folder).mkdir(parents=True)
    return Host(paths)


def descriptors():
    """Return what this process has open below procfs and sysfs."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(str(Path("/proc/self/fd", number).readlink()))
        except OSError:  # that of the listing itself
            continue
    return sorted(each for each in found if each.startswith(("/proc/", "/sys/")) and not each.endswith("/fd"))


def test_files_are_looked_for_where_the_paths_say(fake, tmp_path):
    """In a container the host's file systems lie elsewhere; sysfs's line break at the end goes."""
    (tmp_path / "proc/net/dev").write_bytes(b"one\ntwo\n")
    (tmp_path / "sys/class/value").write_bytes(b"7\n")
    assert fake.proc("net/dev") == b"one\ntwo\n"
    assert fake.sys("class/value") == b"7"
    assert fake.sys("class/value", lasting=True) == b"7"
    assert fake.path("/etc/os-release") == fake.path("etc/os-release") == tmp_path / "root/etc/os-release"


@pytest.mark.parametrize("name", ["nothing", "1/nothing", "4242424242/stat"])
def test_a_file_that_is_not_there_is_an_oserror(host, name):
    """It is the error that opening it gives, with its name."""
    with pytest.raises(FileNotFoundError) as caught:
        host.proc(name)
    assert caught.value.filename == f"/proc/{name}"
    with pytest.raises(FileNotFoundError):
        host.sys(name)


def test_files_of_the_kernel_are_kept_open_and_read_afresh(host):
    """Each reading tells what is so now, and opens nothing more."""
    before = descriptors()
    uptimes = {host.proc("uptime")}
    assert descriptors() == sorted([*before, "/proc/uptime"])
    for _ in range(1000):
        uptimes.add(host.proc("uptime"))
        if len(uptimes) > 1:
            break
        threading.Event().wait(0.01)
    assert len(uptimes) > 1
    assert descriptors() == sorted([*before, "/proc/uptime"])
    host.close()
    assert descriptors() == before
    assert host.proc("uptime"), "it can be used again"


def test_the_whole_of_a_file_is_read_each_time(host):
    """However long it is, and however the kernel cuts it into pieces."""
    for name in ("kallsyms", "cpuinfo", "self/status"):
        once = host.proc(name)
        assert len(host.proc(name)) == pytest.approx(len(once), abs=200)
        assert once.splitlines()[0] == Path("/proc", name).read_bytes().splitlines()[0]
    if len(host.proc("kallsyms")) > 100_000:
        assert host.proc("kallsyms") == Path("/proc/kallsyms").read_bytes()


def test_files_of_single_processes_are_not_kept(host):
    """They come and go; only the first process stays."""
    before = descriptors()
    assert host.proc(f"{os.getpid()}/stat").startswith(str(os.getpid()).encode())
    assert descriptors() == before
    host.proc("1/stat")
    assert descriptors() == sorted([*before, "/proc/1/stat"])


def test_a_kept_file_that_went_away_is_looked_for_anew(host, monkeypatch):
    """What has no file behind it any more is closed, and its absence told."""
    monkeypatch.setattr(host_module, "GRACE", -1.0)
    before = descriptors()
    end, ready = threading.Event(), threading.Event()
    names = []

    def work():
        names.append(f"self/task/{threading.get_native_id()}/stat")
        ready.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    assert host.proc(names[0])
    assert len(descriptors()) == len(before) + 1
    end.set()
    thread.join()
    while Path("/proc", names[0]).exists():
        pass
    with pytest.raises(FileNotFoundError):
        host.proc(names[0])
    assert descriptors() == before


@pytest.mark.parametrize("content", [b"", b"new", b"x" * 4096])
def test_files_on_a_disk_are_not_kept(fake, tmp_path, content):
    """They may be replaced by renaming, as fixtures and container runtimes do."""
    file = tmp_path / "proc/version"
    for text in (content, b"newer", content):
        (tmp_path / "new").write_bytes(text)
        (tmp_path / "new").rename(file)
        assert fake.proc("version") == text


def test_sysfs_is_kept_where_that_is_asked_for(host):
    """What is of a device may go away, and is opened each time."""
    candidates = ("kernel/mm/transparent_hugepage/enabled", "kernel/uevent_seqnum", "kernel/profiling")
    name = next((each for each in candidates if Path("/sys", each).is_file()), None)
    if name is None:
        pytest.skip("this kernel has none of the files that the test reads")
    before = descriptors()
    once = host.sys(name)
    assert once.strip() == once != b""
    assert descriptors() == before
    assert host.sys(name, lasting=True) == host.sys(name, lasting=True) == once
    assert descriptors() == sorted([*before, f"/sys/{name}"])


def test_several_threads_may_read_at_once(host):
    """Each gets the whole, and one descriptor is kept for all of them."""
    before = descriptors()
    barrier = threading.Barrier(8)

    def work(_):
        barrier.wait()
        return [host.proc("stat").startswith(b"cpu ") for _ in range(50)]

    with ThreadPoolExecutor(8) as pool:
        assert all(all(each) for each in pool.map(work, range(8)))
    assert descriptors() == sorted([*before, "/proc/stat"])


@settings(max_examples=50, deadline=None)
@given(st.integers(-3, 3), st.sampled_from([3, 4096, 16384, 16384 + 65536, 16384 + 3 * 65536]))
def test_read_returns_files_of_any_length(tmp_path_factory, more, length):
    """Borders of the pieces in which it reads are no borders of what it returns."""
    file = tmp_path_factory.mktemp("read") / "file"
    file.write_bytes(os.urandom(length + more))
    assert read(str(file)) == file.read_bytes()


def test_a_descriptor_that_another_thread_may_have_is_closed_later(host, monkeypatch):
    """What is forgotten stays open for a moment: its number would mean another file to who is about to read from it."""
    before = descriptors()
    for _ in range(50):
        host.proc("loadavg")
        host.forget("class")
        host._forget("/proc/loadavg")
    assert len(descriptors()) == len(before) + 50
    monkeypatch.setattr(host_module, "GRACE", -1.0)
    host._forget("/proc/loadavg")
    assert descriptors() == before


def test_nothing_is_remembered_of_what_is_forgotten(host):
    """Devices that come and go leave nothing behind."""
    host.sys("class/net/lo/mtu", lasting=True)
    host.forget("class/net")
    assert (host._kept, host._sizes) == ({}, {})


def test_it_is_told_at_once_whether_there_are_devices(host, tmp_path):
    """A folder with something in it is told from an empty one and from one that is not there."""
    assert host.has("class/net")
    fake = Host(HostPaths(sysfs=str(tmp_path)))
    (tmp_path / "class" / "empty").mkdir(parents=True)
    assert not fake.has("class/empty")
    assert not fake.has("class/nothing")
    assert fake.has("class")


def test_an_error_of_reading_names_the_file(tmp_path, monkeypatch):
    """What a driver answers to a read, when the file is open already, is told with the file's path, too."""
    (tmp_path / "temp1_input").write_bytes(b"1\n")

    def refuse(descriptor, size):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(host_module.os, "read", refuse)
    with pytest.raises(OSError, match=f"Input/output error: '{tmp_path}/temp1_input'"):
        Host(HostPaths(sysfs=str(tmp_path))).sys("temp1_input")
