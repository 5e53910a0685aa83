"""A machine of its own for one scenario: a chroot, commands in it, and what its file system looks like from outside. Never
writes outside its folder; what it mounts and starts goes at the latest with the process."""
import contextlib
import difflib
import hashlib
import os
import pathlib
import shutil
import stat
import subprocess

# Longest time for one command, in seconds: a maintainer script that asks something would wait for ever.
COMMAND_S_MAX = 300

# What installing any package changes, and packages that lie ready to be installed.
PASSING = (
    "dev", "proc", "sys", "run", "packages",
    "var/cache", "var/lib/apt", "var/lib/dpkg", "var/lib/rpm", "var/lib/dnf", "var/log/apt", "var/log/alternatives.log",
    "var/log/dpkg.log", "var/log/hawkey.log", "var/log/dnf.log", "var/log/dnf.librepo.log",
    "var/log/dnf.rpm.log", "var/log/faillog", "var/log/lastlog", "etc/passwd-", "etc/group-", "etc/shadow-",
    "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
)  # fmt: skip

# Mounts of this process go with it (scripts/test-packages starts it so where that can be done).
CAN_MOUNT = os.environ.get("MOUNTS") == "private"


def mount(*args, must=True):
    return subprocess.run(["mount", *args], check=must, capture_output=not must).returncode == 0


class Failed(AssertionError):
    """A command that ended otherwise than it should."""


class Machine:
    """A chroot like `base`, which stays as it is; `packages`: files that lie in its /packages."""

    def __init__(self, base, folder, packages=()):
        self.root, above, work = (folder / name for name in ("root", "above", "work"))
        for made in (self.root, above, work):
            made.mkdir(parents=True)
        self.transcript = []
        self.mounted = CAN_MOUNT and mount(
            "-t", "overlay", "overlay", "-o", f"lowerdir={base},upperdir={above},workdir={work}", self.root, must=False
        )
        if not self.mounted:
            subprocess.run(["cp", "--archive", f"{base}/.", self.root], check=True)
        if CAN_MOUNT:
            mount("-t", "proc", "proc", self.root / "proc")
        (self.root / "packages").mkdir()
        for package in packages:
            shutil.copy(package, self.root / "packages")

    def run(self, *command, status=0, **environment):
        """Runs a command as root and gives its output, both streams together."""
        ended = subprocess.run(
            ["chroot", self.root, *command], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=COMMAND_S_MAX, cwd="/",
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive", **environment,
            },
        )  # fmt: skip
        self.transcript.append(f"$ {' '.join(map(str, command))}\n{ended.stdout}[{ended.returncode}]")
        if status is not None and ended.returncode != status:
            raise Failed(f"{command} ended with {ended.returncode} instead of {status}")
        return ended.stdout

    @contextlib.contextmanager
    def a_mount(self, name, options="rw"):
        """This folder is a mount of its own meanwhile."""
        folder = self.path(name)
        mount("--bind", "-o", options, folder, folder)
        try:
            yield
        finally:
            subprocess.run(["umount", folder], check=True)

    def read_only(self, name):
        """Nothing can be written below this folder meanwhile."""
        return self.a_mount(name, "ro")

    def path(self, name):
        return self.root / name.lstrip("/")

    def text(self, name):
        return self.path(name).read_text(encoding="utf-8")

    def write(self, name, text, mode=None):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if mode is not None:
            path.chmod(mode)

    def owner(self, name):
        """user:group mode, as the machine itself names them."""
        found = self.path(name).lstat()
        names = {}
        for kind in ("passwd", "group"):
            lines = (line.split(":") for line in self.text(f"etc/{kind}").splitlines())
            names[kind] = {int(fields[2]): fields[0] for fields in lines}
        user, group = names["passwd"].get(found.st_uid), names["group"].get(found.st_gid)
        return f"{user}:{group} {stat.S_IMODE(found.st_mode):04o}"

    def tree(self):
        """Path → kind, mode, owner and content of everything but what passes."""
        found = {}
        for folder, folders, files in os.walk(self.root):
            inside = os.path.relpath(folder, self.root)
            name = lambda entry: os.path.normpath(os.path.join(inside, entry))  # noqa: E731
            folders[:] = [entry for entry in folders if name(entry) not in PASSING]
            for entry in [*folders, *files]:
                if name(entry) not in PASSING:
                    found[name(entry)] = _look(os.path.join(folder, entry))
        return found

    def forget(self):
        if CAN_MOUNT:
            subprocess.run(["umount", "--lazy", self.root / "proc"], check=True)
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.root], check=True)
        shutil.rmtree(self.root.parent)


def _look(path):
    status = os.lstat(path)
    about = (stat.filemode(status.st_mode), status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return (*about, os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return (*about, hashlib.sha256(file.read()).hexdigest())
    return about


def difference(before, after):
    """What came (+), went (-) and changed (~), as sorted lines."""
    lines = [f"+{name}" for name in after.keys() - before.keys()]
    lines += [f"-{name}" for name in before.keys() - after.keys()]
    lines += [f"~{name}" for name in before.keys() & after.keys() if before[name] != after[name]]
    return sorted(lines, key=lambda line: line[1:])


def equal(found, wanted):
    """Like assert, with the difference in the message."""
    if found == wanted:
        return
    if isinstance(found, str) and isinstance(wanted, str):
        lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), "wanted", "found", n=1, lineterm="")
        raise AssertionError("\n".join(lines) or "they differ at their ends")
    if isinstance(found, bytes):
        raise AssertionError(f"{len(found)} bytes, not those {len(wanted)}")
    raise AssertionError(f"found  {found!r}\nwanted {wanted!r}")
