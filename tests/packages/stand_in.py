"""Packages made for the tests: a wazuh-manager that behaves like the real one where its package life is concerned, and earlier
versions of ours. Never a part of what is shipped."""
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
SCRIPTS = HERE / "stand-in"
DEFAULT_CONF = HERE.parent / "data/wazuh/ossec-manager-default.conf"

# Words of our rules that an earlier version spells otherwise, with as many bytes: they stand in the program as well.
NOW, EARLIER = b"Akamai - Event fetched.", b"Akamai - Event FETCHED."


def wazuh_tree(folder, version):
    """The files of a Wazuh manager below `folder`."""
    home = folder / "var/ossec"
    for name in ("bin", "etc/decoders", "etc/lists", "etc/rules", "etc/shared/default", "logs", "packages_files", "queue/sockets",
                 "ruleset/rules", "tmp", "var/run", "var/wodles", "wodles/aws"):  # fmt: skip
        (home / name).mkdir(parents=True)
    control = (SCRIPTS / "wazuh-control").read_text().replace("@VERSION@", version)
    (home / "bin/wazuh-control").write_text(control)
    for daemon in ("wazuh-modulesd", "wazuh-analysisd"):
        shutil.copy(SCRIPTS / "wazuh-daemon", home / "bin" / daemon)
    for program in (home / "bin").iterdir():
        program.chmod(0o750)
    conf = DEFAULT_CONF.read_text()
    (home / "packages_files/ossec.conf").write_text(conf)
    (home / "etc/ossec.conf").write_text(f"<!-- from the payload of {version} -->\n{conf}")
    for name, text in {
        "etc/internal_options.conf": "wazuh_modules.max_eps=100\n",
        "etc/local_internal_options.conf": "# local\n",
        "etc/rules/local_rules.xml": '<group name="local,">\n</group>\n',
        "etc/decoders/local_decoder.xml": "<!-- local -->\n",
        "etc/lists/audit-keys": "audit-wazuh-w:write\n",
        "etc/shared/default/agent.conf": "<agent_config>\n</agent_config>\n",
        "ruleset/rules/0010-rules_config.xml": "<group>\n</group>\n",
        "wodles/aws/aws-s3": f"#!/bin/sh\n# {version}\n",
    }.items():
        (home / name).write_text(text)


def deb(root, into):
    """Packs a folder with a DEBIAN in it."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, into], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root)


def wazuh_deb(folder, version):
    """A wazuh-manager of this version; gives its file."""
    root = folder / "build"
    wazuh_tree(root, version)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: wazuh-manager\nVersion: {version}-1\nArchitecture: amd64\nMaintainer: nobody <nobody@localhost>\n"
        "Depends: passwd\nDescription: stand-in for Wazuh's manager\n"
    )
    (root / "DEBIAN/conffiles").write_text("")
    for script in ("preinst", "postinst", "prerm", "postrm"):
        shutil.copy(SCRIPTS / script, root / "DEBIAN" / script)
        (root / "DEBIAN" / script).chmod(0o755)
    deb(root, folder)
    return folder / f"wazuh-manager_{version}-1_amd64.deb"


def earlier_program(text):
    """The program as an earlier version would have been: other bytes, other rules."""
    assert NOW in text
    return text.replace(NOW, EARLIER)


def repacked_deb(ours, folder, version, change=lambda root: None):
    """Our package under another version, with whatever `change` does to its tree."""
    root = folder / "build"
    folder.mkdir(exist_ok=True)
    subprocess.run(["dpkg-deb", "--raw-extract", ours, root], check=True)
    control = (root / "DEBIAN/control").read_text()
    lines = [f"Version: {version}" if line.startswith("Version: ") else line for line in control.splitlines()]
    (root / "DEBIAN/control").write_text("\n".join(lines) + "\n")
    change(root)
    deb(root, folder)
    return folder / f"wazuh-akamai_{version}_amd64.deb"


def make_earlier(root):
    """Changes a tree of ours into that of an earlier version."""
    for name in ("usr/bin/wazuh-akamai", "usr/share/wazuh-akamai/rules/akamai.xml"):
        path = root / name
        path.write_bytes(earlier_program(path.read_bytes()))


def rpm(folder, name, version, extra, *more):
    """Builds a package of a spec made of the heading and `extra`."""
    spec = folder / f"{name}.spec"
    heading = f"Name: {name}\nVersion: {version}\nRelease: 1\nSummary: stand-in\nLicense: none\nBuildArch: x86_64\nAutoReqProv: no\n"
    spec.write_text(heading + extra)
    subprocess.run(
        ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}/rpmbuild", "--define", f"_rpmdir {folder}",
         "--define", "_build_name_fmt %{NAME}-%{VERSION}.rpm", *more, spec],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return folder / f"{name}-{version}.rpm"


def base_rpm(folder):
    """What every RPM system has and a Debian chroot does not know of."""
    return rpm(folder, "base", "1", "Provides: /bin/sh\nProvides: libc.so.6(GLIBC_2.17)(64bit)\n%description\nx\n%files\n")


def wazuh_rpm(folder, version):
    """A wazuh-manager of this version; gives its file."""
    tree = folder / f"tree-{version}"
    wazuh_tree(tree, version)
    # Made at installation, known to the package as %ghost.
    (tree / "var/ossec/etc/ossec.conf").write_text("")
    made = rpm(folder, "wazuh-manager", version, (SCRIPTS / "wazuh-manager.spec").read_text(), "--define", f"tree {tree}")
    shutil.rmtree(tree)
    return made


def main(program, into):
    """stand_in.py PROGRAM INTO: writes the program of the earlier version."""
    path = pathlib.Path(into)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(earlier_program(pathlib.Path(program).read_bytes()))
    path.chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
