"""What the user of the repositories sees, one scenario a function: apt and dnf install from a local file: source whose key they
know, and take nothing that this key has not signed."""
import subprocess

import deb
import rpm
from machine import equal
from wazuh_side import is_out, is_set_up

APT_SOURCE = "deb [signed-by=/usr/share/keyrings/wazuh-akamai.asc] file:/packages/repo/apt stable main\n"
YUM_SOURCE = """\
[wazuh-akamai]
name=wazuh-akamai
baseurl=file:///packages/repo/yum
gpgcheck=1
repo_gpgcheck=1
gpgkey=file:///packages/repo/wazuh-akamai.asc
"""
DNF = ("dnf", "--assumeyes")


class Kit:
    """The machines of the other kits, with the repository in them."""

    def __init__(self, folder, debs, rpms):
        self.folder = folder
        self.debs = debs
        self.rpms = rpms

    @property
    def machines(self):
        return _Both(self.debs.machines, self.rpms.machines)

    def with_apt(self):
        machine = self.debs.with_wazuh()
        subprocess.run(["cp", "--recursive", self.folder, machine.path("packages/repo")], check=True)
        for source in machine.path("etc/apt").glob("sources.list*"):
            subprocess.run(["rm", "--recursive", source], check=True)
        machine.write("etc/apt/sources.list", APT_SOURCE)
        machine.write("usr/share/keyrings/wazuh-akamai.asc", (self.folder / "wazuh-akamai.asc").read_text())
        return machine

    def with_yum(self):
        machine = self.rpms.with_wazuh()
        subprocess.run(["cp", "--recursive", self.folder, machine.path("packages/repo")], check=True)
        machine.write("etc/yum.repos.d/wazuh-akamai.repo", YUM_SOURCE)
        return machine


class _Both:
    def __init__(self, *lists):
        self.lists = lists

    def __iter__(self):
        return (machine for each in self.lists for machine in each)

    def clear(self):
        for each in self.lists:
            each.clear()


def apt_installs_and_upgrades_from_the_repository(kit):
    machine = kit.with_apt()
    deb.dpkg_install(machine, "earlier")
    machine.run("apt-get", "update")
    machine.run("apt-get", "upgrade", "--yes")
    is_set_up(machine)
    machine.run("apt-get", "purge", "--yes", "wazuh-akamai")
    machine.run("apt-get", "install", "--yes", "wazuh-akamai")
    is_set_up(machine)


def apt_takes_nothing_that_is_not_signed(kit):
    machine = kit.with_apt()
    index = machine.path("packages/repo/apt/dists/stable/InRelease")
    index.write_text(index.read_text().replace("Suite: stable", "Suite: other"))
    machine.path("packages/repo/apt/dists/stable/Release.gpg").unlink()
    assert "not signed" in machine.run("apt-get", "update", status=100)
    machine.run("apt-get", "install", "--yes", "wazuh-akamai", status=100)
    machine = kit.with_apt()
    machine.run("apt-get", "update")
    change_a_bit(machine, "apt/pool/*_amd64.deb")
    machine.run("apt-get", "install", "--yes", "wazuh-akamai", status=100)
    is_out(machine)


def dnf_installs_and_upgrades_from_the_repository(kit):
    machine = kit.with_yum()
    rpm.rpm_install(machine, "earlier")
    machine.run(*DNF, "upgrade")
    is_set_up(machine)
    machine.run(*DNF, "remove", "wazuh-akamai")
    machine.run(*DNF, "install", "wazuh-akamai")
    is_set_up(machine)


def dnf_takes_nothing_that_is_not_signed(kit):
    machine = kit.with_yum()
    index = machine.path("packages/repo/yum/repodata/repomd.xml")
    index.write_text(index.read_text() + "\n")
    machine.run(*DNF, "install", "wazuh-akamai", status=1)
    # A package that the index knows and nobody signed.
    machine = kit.with_yum()
    machine.write("etc/yum.repos.d/wazuh-akamai.repo", YUM_SOURCE.replace("repo_gpgcheck=1", "repo_gpgcheck=0"))
    signed = next(machine.path("packages/repo/yum").glob("*.x86_64.rpm"))
    unsigned = machine.path("packages/ours.rpm").read_bytes()
    assert unsigned != signed.read_bytes()
    signed.write_bytes(unsigned)
    subprocess.run(["createrepo_c", "--quiet", machine.path("packages/repo/yum")], check=True)
    assert "is not signed" in machine.run(*DNF, "install", "wazuh-akamai", status=1)
    is_out(machine)


def checksums_and_their_signature_are_right(kit):
    machine = kit.with_yum()
    checked = machine.run("sh", "-c", "cd /packages/repo && sha256sum --check SHA256SUMS")
    equal(checked.count(": OK"), len(machine.text("packages/repo/SHA256SUMS").splitlines()))
    assert "_amd64.deb: OK" in checked and ".x86_64.rpm: OK" in checked
    verify = "cd /packages/repo && gpg --import wazuh-akamai.asc && gpg --verify SHA256SUMS.asc SHA256SUMS"
    assert "Good signature" in machine.run("sh", "-c", verify)
    machine.run("rpm", "--import", "/packages/repo/wazuh-akamai.asc")
    assert "signatures OK" in machine.run("sh", "-c", "rpm --checksig /packages/repo/yum/*.rpm")
    change_a_bit(machine, "yum/*.x86_64.rpm")
    machine.run("sh", "-c", "rpm --checksig /packages/repo/yum/*.rpm", status=1)


def change_a_bit(machine, name):
    """In the middle of the payload."""
    path = next(machine.path("packages/repo").glob(name))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


SCENARIOS = [
    apt_installs_and_upgrades_from_the_repository,
    apt_takes_nothing_that_is_not_signed,
    dnf_installs_and_upgrades_from_the_repository,
    dnf_takes_nothing_that_is_not_signed,
    checksums_and_their_signature_are_right,
]
