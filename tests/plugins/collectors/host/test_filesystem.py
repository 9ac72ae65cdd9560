"""The collector filesystem, the reader of mountinfo, and the watch over calls that may hang."""

import asyncio
import errno
import os
import threading
from contextlib import suppress
from inspect import isawaitable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentd.plugin import Clock, Context, Duration, Host, HostPaths, Regex
from agentd_plugins.collectors.host._mountinfo import label, parse, plain
from agentd_plugins.collectors.host.filesystem import Filesystem, FilesystemConfig, spelled

FIXTURES = Path(__file__).parents[3] / "fixtures" / "host"
EASY = settings(max_examples=100, deadline=None)
STRANGE = "/srv/with blank\ttab\nline\\slash"
ANSWER = SimpleNamespace(f_bsize=4096, f_frsize=512, f_blocks=1000, f_bfree=500, f_bavail=400, f_files=64, f_ffree=32)
PATIENCE = Duration(1)


class Kernel:
    """Answers in the place of statvfs, notes who was asked, and lets mounts hang or fail."""

    def __init__(self, failing=()):
        self.asked = []
        self.failing = dict(failing)
        self.hanging = {}
        self.events = []
        self.begun = threading.Event()

    def hang(self, path):
        """Let calls for a mount hang from now on."""
        self.hanging[path] = threading.Event()
        self.events.append(self.hanging[path])

    def mend(self, path, *, release):
        """Let further calls for a mount be answered, and those that hang return if so said."""
        event = self.hanging.pop(path)
        if release:
            event.set()

    def __call__(self, path):
        self.asked.append(path)
        if path in self.hanging:
            self.begun.set()
            self.hanging[path].wait()
        if path in self.failing:
            raise self.failing[path]
        return ANSWER


@pytest.fixture
async def kernel():
    """Return a kernel of which nothing hangs any more when the test is over, and its threads are waited for."""
    kernel = Kernel()
    yield kernel
    for event in kernel.events:
        event.set()


def collector(kernel, root=FIXTURES, rootfs="/", **options):
    """Return a collector that asks this kernel in the place of the real one."""
    context = Context(host=Host(HostPaths(procfs=f"{root}/proc", rootfs=rootfs)))
    filesystem = Filesystem(FilesystemConfig(mount_timeout=PATIENCE, **options), context)
    filesystem.statvfs = kernel
    return filesystem


async def told(filesystem):
    """Return the samples of each family that a collector returns, by the family's name."""
    collected = filesystem.collect()
    families = await collected if isawaitable(collected) else collected
    return {family.name.removeprefix("node_filesystem_"): family.samples for family in families}


def mountpoints(samples):
    return {labels[1] for labels in samples}


def machine(folder, *lines):
    """Write a mountinfo of these lines, and return the folder."""
    (folder / "proc/1").mkdir(parents=True, exist_ok=True)
    (folder / "proc/1/mountinfo").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


async def test_sizes_are_told_in_bytes(kernel):
    """Numbers of blocks are multiplied by f_bsize, as node_exporter does, and files are counted."""
    samples = await told(collector(kernel))
    root = ("/dev/sda2", "/", "ext4", "")
    assert {name: values[root] for name, values in samples.items() if name != "mount_info"} == {
        "size_bytes": 4096000.0,
        "free_bytes": 2048000.0,
        "avail_bytes": 1638400.0,
        "files": 64.0,
        "files_free": 32.0,
        "readonly": 0.0,
        "device_error": 0.0,
    }
    assert samples["mount_info"]["/dev/sda2", "8", "2", "/"] == 1.0


async def test_what_stores_nothing_is_left_out_by_default(kernel):
    """By default kernel file systems and the layers of containers are not told of."""
    assert mountpoints((await told(collector(kernel)))["size_bytes"]) == {"/", "/run", STRANGE, "/mnt/nas", "/data"}


async def test_filters_on_mount_points_and_types(kernel):
    """Includes take the place of the defaults, for mount points and for types."""
    by_path = collector(kernel, mount_points_include=Regex("^/(proc|run)$"), fs_types_exclude=Regex(""))
    assert mountpoints((await told(by_path))["size_bytes"]) == {"/proc", "/run"}
    by_type = collector(kernel, mount_points_exclude=Regex(""), fs_types_include=Regex("^(overlay|proc)$"))
    assert mountpoints((await told(by_type))["size_bytes"]) == {"/proc", "/var/lib/docker/overlay2/abc/merged"}


async def test_readonly_by_mount_or_by_file_system(kernel):
    """A mount is read-only when either the mount or the file system is."""
    samples = await told(collector(kernel))
    assert mountpoints(k for k, value in samples["readonly"].items() if value) == {"/mnt/nas", "/data"}


async def test_escapes_are_decoded(kernel):
    """Blanks, tabs, line breaks and backslashes are written out in labels, and asked for as they are."""
    samples = await told(collector(kernel))
    assert ("/dev/sda3", STRANGE, "xfs", "") in samples["size_bytes"]
    assert ("nas:/export/my share", "/mnt/nas", "nfs4", "") in samples["size_bytes"]
    assert STRANGE.encode() in kernel.asked


async def test_bytes_that_are_no_text(tmp_path, kernel):
    """Bytes that are no UTF-8 become one replacement character in the label, and statvfs gets the true ones."""
    root = machine(tmp_path, b"21 1 8:2 / /mnt/cass\xe9\xe9e rw - ext4 /dev/sd\xff rw")
    samples = await told(collector(kernel, root))
    assert list(samples["size_bytes"]) == [("/dev/sd\ufffd", "/mnt/cass\ufffde", "ext4", "")]
    assert kernel.asked == [b"/mnt/cass\xe9\xe9e"]


async def test_rootfs_is_taken_from_labels_and_put_before_what_is_asked(tmp_path, kernel):
    """In a container, mount points are those of the host, and are asked for where the container has them."""
    lines = [b"1 0 8:1 / /host rw - ext4 /dev/sda1 rw", b"2 1 8:2 / /host/data rw - ext4 /dev/sda2 rw"]
    root = machine(tmp_path, *lines, b"3 1 8:3 / /hostile rw - ext4 /dev/sda3 rw")
    samples = await told(collector(kernel, root, rootfs="/host/"))
    assert mountpoints(samples["size_bytes"]) == {"/", "/data", "/hostile"}
    assert sorted(kernel.asked) == [b"/host/", b"/host/data", b"/host/hostile"]


async def test_a_file_system_that_is_mounted_twice_in_one_place_is_told_once(tmp_path, kernel):
    """Of equal mounts over each other the upper is told, and the place is asked once."""
    lines = [
        b"1 0 0:40 / /a rw - tmpfs tmpfs rw",
        b"2 1 0:41 / /a ro - tmpfs tmpfs rw",
        b"3 2 8:1 / /a rw - ext4 /dev/x rw",
    ]
    samples = await told(collector(kernel, machine(tmp_path, *lines)))
    assert samples["readonly"] == {("tmpfs", "/a", "tmpfs", ""): 1.0, ("/dev/x", "/a", "ext4", ""): 0.0}
    assert kernel.asked == [b"/a"]


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
async def test_our_own_mounts_are_told_where_those_of_the_first_process_are_hidden(kernel, monkeypatch, error):
    """Where 1/mountinfo is hidden, or may not be read, self/mountinfo is read."""
    filesystem = collector(kernel)
    read = filesystem.host.proc

    def proc(name):
        if name.startswith("1/"):
            raise error(errno.ENOENT, "hidden", name)
        return read(name)

    monkeypatch.setattr(filesystem.host, "proc", proc)
    assert list((await told(filesystem))["size_bytes"]) == [("/dev/mapper/container", "/", "ext4", "")]


async def test_mounts_that_come_and_go_are_noticed(tmp_path, kernel):
    """A change in mountinfo shows at the next scrape."""
    filesystem = collector(kernel, machine(tmp_path, b"1 0 8:1 / / rw - ext4 /dev/sda1 rw"))
    await filesystem.collect()
    machine(tmp_path, b"1 0 8:1 / / rw - ext4 /dev/sda1 rw", b"2 1 8:2 / /new rw - ext4 /dev/sda2 rw")
    assert mountpoints((await told(filesystem))["size_bytes"]) == {"/", "/new"}


async def test_a_mount_that_cannot_be_asked_is_an_error_of_its_own(kernel, caplog):
    """A mount that fails has device_error and readonly alone, with the error's text, and no other mount suffers."""
    kernel.failing[b"/mnt/nas"] = OSError(errno.EACCES, os.strerror(errno.EACCES))
    kernel.failing[b"/data"] = kernel.failing[b"/mnt/nas"]
    filesystem = collector(kernel)
    await told(filesystem)
    del kernel.failing[b"/data"]
    samples = await told(filesystem)
    assert caplog.text.count("read-all.conf") == 1, "the log names once what right is lacking"
    labels = ("nas:/export/my share", "/mnt/nas", "nfs4", "permission denied")
    assert samples["device_error"][labels] == 1.0
    assert samples["readonly"][labels] == 1.0
    assert [name for name, values in samples.items() if "/mnt/nas" in {k for key in values for k in key}] == [
        "readonly",
        "device_error",
    ]
    assert "/data" in mountpoints(samples["size_bytes"])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ENOENT, "no such file or directory"),
        (errno.ENOTCONN, "transport endpoint is not connected"),
        (errno.EIO, "input/output error"),
        (errno.ESTALE, "stale NFS file handle"),
        (errno.EDOTDOT, "RFS specific error"),
    ],
)
def test_errors_are_spelled_as_node_exporter_spells_them(number, text):
    """Texts begin with a small letter, unless the first word is an abbreviation."""
    assert spelled(OSError(number, os.strerror(number))) == text


def test_an_error_without_a_text_is_not_taken_for_success():
    """Whatever is wrong with an error, its text is not empty."""
    assert spelled(OSError())


async def test_all_mounts_are_asked_in_one_hop(kernel):
    """However many mounts there are, a worker is asked for once."""
    filesystem = collector(kernel)
    hops = []

    async def in_worker(function, *args):
        hops.append(function)
        return await asyncio.to_thread(function, *args)

    filesystem.context.in_worker = in_worker
    await filesystem.collect()
    assert (len(hops), len(kernel.asked)) == (1, 5)


async def test_a_mount_that_hangs_is_marked_and_the_others_are_told(kernel, caplog):
    """A hanging mount has device_error with node_exporter's text, others have their sizes, and the log names it."""
    kernel.hang(b"/run")
    samples = await told(collector(kernel))
    labels = ("tmpfs", "/run", "tmpfs", "mountpoint timeout")
    assert samples["device_error"][labels] == 1.0
    assert samples["readonly"][labels] == 0.0
    assert mountpoints(samples["size_bytes"]) == {"/", STRANGE, "/mnt/nas", "/data"}
    assert [("/run" in record.getMessage(), record.levelname) for record in caplog.records] == [(True, "WARNING")]


async def test_a_mount_that_hangs_is_not_asked_again(kernel, caplog):
    """While the call hangs, further scrapes mark the mount without asking it, and the log stays silent."""
    kernel.hang(b"/run")
    filesystem = collector(kernel)
    for _ in range(3):
        assert 1.0 in (await told(filesystem))["device_error"].values()
    assert kernel.asked.count(b"/run") == 1
    assert kernel.asked.count(b"/data") == 3
    assert len(caplog.records) == 1


async def test_several_mounts_may_hang(kernel):
    """Each mount that hangs is marked, whether first, in the middle or last, and the others are told."""
    for path in (b"/", b"/run", b"/data"):
        kernel.hang(path)
    samples = await told(collector(kernel))
    assert mountpoints(key for key in samples["device_error"] if key[3]) == {"/", "/run", "/data"}
    assert mountpoints(samples["size_bytes"]) == {STRANGE, "/mnt/nas"}


async def test_a_mount_that_recovers_is_told_again(kernel, caplog):
    """When the call returns, the mark goes, the log says so, and the next scrape asks it again."""
    kernel.hang(b"/run")
    filesystem = collector(kernel)
    await filesystem.collect()
    kernel.mend(b"/run", release=True)
    for _ in range(1000):
        samples = await told(filesystem)
        if "/run" in mountpoints(samples["size_bytes"]):
            break
        await asyncio.sleep(0.01)
    assert samples["device_error"]["tmpfs", "/run", "tmpfs", ""] == 0.0
    assert ["recovered" in record.getMessage() for record in caplog.records] == [False, True]


async def test_a_mount_in_the_place_of_one_that_hangs_is_asked(tmp_path, kernel):
    """A new mount in the same place is another: it is asked although the call on the old one still hangs."""
    kernel.hang(b"/mnt")
    filesystem = collector(kernel, machine(tmp_path, b"7 1 0:30 / /mnt rw - nfs4 old:/x rw"))
    await filesystem.collect()
    kernel.mend(b"/mnt", release=False)
    machine(tmp_path, b"8 1 0:31 / /mnt rw - nfs4 new:/x rw")
    assert list((await told(filesystem))["size_bytes"]) == [("new:/x", "/mnt", "nfs4", "")]


async def test_a_collection_that_is_given_up_does_not_ask_what_hangs_again(kernel):
    """When the collection is cancelled while a mount hangs, the next one knows it."""
    kernel.hang(b"/")
    filesystem = collector(kernel)
    task = asyncio.create_task(filesystem.collect())
    await asyncio.to_thread(kernel.begun.wait)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert 1.0 in (await told(filesystem))["device_error"].values()
    assert kernel.asked.count(b"/") == 1


async def test_without_a_free_worker_the_collector_fails(kernel):
    """Where no worker comes free in time, the error says so rather than blaming a mount."""
    filesystem = collector(kernel)

    async def never(*_):
        await asyncio.Event().wait()

    filesystem.context.in_worker = never
    with pytest.raises(TimeoutError, match="no worker thread"):
        await filesystem.collect()


async def test_a_fault_in_asking_is_not_swallowed(kernel):
    """Anything but an OSError is a fault of the program, and comes out of collect."""
    kernel.failing[b"/"] = ZeroDivisionError("fault")
    with pytest.raises(ZeroDivisionError):
        await told(collector(kernel))


@pytest.mark.parametrize(("left", "patience"), [(100.0, 5.0), (5.0, 4.0), (1.0, 0.8), (0.01, 0.0), (-3.0, 0.0)])
def test_patience_ends_before_the_collection_has_to_be_done(left, patience):
    """A mount is waited for at most mount_timeout, and at most four fifths of the time that is left."""

    class Still(Clock):
        def monotonic(self):
            return 1000.0

    filesystem = Filesystem(FilesystemConfig(), Context(clock=Still(), deadline=1000.0 + left))
    assert filesystem._patience() == pytest.approx(patience)


async def test_the_real_statvfs_is_asked(tmp_path):
    """Without anything injected, the numbers are those of os.statvfs."""
    shown = os.fsencode(tmp_path).replace(b" ", b"\\040")
    root = machine(tmp_path, b"1 0 8:1 / " + shown + b" rw - ext4 /dev/sda1 rw")
    options = FilesystemConfig(mount_points_exclude=Regex(""))
    filesystem = Filesystem(options, Context(host=Host(HostPaths(procfs=f"{root}/proc"))))
    (size,) = (family for family in await filesystem.collect() if family.name == "node_filesystem_size_bytes")
    answer = os.statvfs(tmp_path)
    assert list(size.samples.values()) == [float(answer.f_blocks) * answer.f_bsize]


@pytest.mark.parametrize(
    "options",
    [
        {"mount_points_exclude": Regex("a"), "mount_points_include": Regex("b")},
        {"fs_types_exclude": Regex("a"), "fs_types_include": Regex("b")},
        {"mount_timeout": Duration(0)},
    ],
)
def test_options_that_make_no_sense(options):
    """Contradicting filters and a timeout of nothing are errors that name the option."""
    with pytest.raises(ValueError, match="|".join(options)):
        FilesystemConfig(**options)


def test_stat_workers_is_accepted():
    """A configuration with node_exporter's number of workers checks."""
    assert FilesystemConfig(stat_workers=8).stat_workers == 8


@pytest.mark.parametrize(
    "line",
    [
        b"21",
        b"21 1 8:2 / / rw ext4 /dev/sda2 rw",
        b"21 1 8:2 / / rw - ext4",
        b"x 1 8:2 / / rw - ext4 /dev/sda2 rw",
        b"21 1 nope / / rw - ext4 /dev/sda2 rw",
        b"21 1 8:x / / rw - ext4 /dev/sda2 rw",
        b"21 1 8:2:3 / / rw - ext4 /dev/sda2 rw",
    ],
)
def test_lines_that_make_no_sense(line):
    """A line that is cut off, without a dash or without numbers is refused with what was found."""
    with pytest.raises(ValueError, match=r"in mountinfo, found b'(21|x)"):
        parse(line)


def test_an_empty_source_and_emergency_ro():
    """A file system may have an empty source, and the kernel's word for an emergency counts as read-only."""
    (mount,) = parse(b"21 1 0:2 / /x rw master:1 shared:2 - tmpfs  rw,emergency_ro\n")
    assert (mount.device, mount.fstype, mount.readonly) == ("", "tmpfs", True)


@EASY
@given(st.binary(max_size=40))
def test_escapes_come_out_as_they_went_in(raw):
    """Whatever a path is made of, what the kernel writes for it leads back to it."""
    escaped = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in raw)
    assert plain(escaped) == raw
    assert label(raw).encode().decode() == label(raw)


@EASY
@given(
    st.one_of(
        st.binary(max_size=200), st.integers(0, 700).map(lambda n: (FIXTURES / "proc/1/mountinfo").read_bytes()[:n])
    )
)
def test_any_text_is_read_or_refused(text):
    """Binary, truncated and empty texts give an answer or ValueError, and nothing else."""
    for before in (b"", b"1 2 3:4 / /"):
        with suppress(ValueError):
            parse(before + text)


async def test_only_what_may_wait_is_asked_in_a_worker(tmp_path, kernel):
    """What the kernel has in memory is asked at once when it has answered before, whatever may wait never is."""
    root = machine(
        tmp_path,
        b"21 1 8:2 / / rw - ext4 /dev/sda2 rw",
        b"22 21 0:40 / /nas rw - nfs4 nas:/ rw",
        b"23 22 8:3 / /nas/local rw - ext4 /dev/sda3 rw",
        b"24 21 0:41 / /tmp rw - tmpfs tmpfs rw",
    )
    filesystem = collector(kernel, root)
    asked_in_worker = []

    async def in_worker(function, *arguments):
        before = len(kernel.asked)
        result = await asyncio.to_thread(function, *arguments)
        asked_in_worker.append(set(kernel.asked[before:]))
        return result

    filesystem.context.in_worker = in_worker
    first, second = await told(filesystem), await told(filesystem)
    assert asked_in_worker == [{b"/", b"/nas", b"/nas/local", b"/tmp"}, {b"/nas", b"/nas/local"}]
    assert first == second


async def test_without_doubtful_mounts_nothing_is_awaited(tmp_path, kernel):
    """On a machine of local file systems only the first collection needs a worker."""
    filesystem = collector(kernel, machine(tmp_path, b"21 1 8:2 / / rw - ext4 /dev/sda2 rw"))
    first = filesystem.collect()
    assert isawaitable(first)
    assert await first == filesystem.collect()
