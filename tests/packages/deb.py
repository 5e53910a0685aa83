"""What the user of the .deb sees, one scenario a function: transactions of dpkg and apt with a stand-in wazuh-manager. After
each: exit status, ossec.conf byte by byte, owners, and the difference of the whole file system."""
import json
import shutil

from machine import CAN_MOUNT, Machine, difference, equal
from stand_in import EARLIER, make_earlier, repacked_deb, wazuh_deb
from wazuh_side import (
    CONF, CONFIG, CREDENTIALS, DEFAULT, LOG, PROGRAM, RULES, SECRETS, SET_UP, SHARE, STATE, block, is_out, is_set_up, restarts,
    says_one_line, scenarios_of, without_log,
)  # fmt: skip

# Documentation.
DOC = "usr/share/doc/wazuh-akamai"


class Kit:
    """The packages, and machines to install them on."""

    def __init__(self, ours, bases, folder):
        self.folder = folder
        self.bases = bases
        self.count = 0
        packages = folder / "packages"
        self.ours = shutil.copy(ours, packages / "ours.deb")
        self.earlier = repacked_deb(ours, packages, "0.0.9-1", make_earlier).rename(packages / "earlier.deb")
        self.wazuh = wazuh_deb(packages, "4.14.9").rename(packages / "wazuh.deb")
        self.old_wazuh = wazuh_deb(packages, "4.14.8").rename(packages / "old-wazuh.deb")
        self.new_wazuh = wazuh_deb(packages, "5.0.0").rename(packages / "wazuh-5.deb")
        self.machines = []

    def machine(self, base="debian", also=()):
        self.count += 1
        packages = [self.ours, self.earlier, self.wazuh, self.old_wazuh, self.new_wazuh, *also]
        made = Machine(self.bases / base, self.folder / str(self.count), packages)
        self.machines.append(made)
        return made

    def with_wazuh(self, package="wazuh", runs=True):
        """A machine with a Wazuh manager that runs."""
        machine = self.machine()
        dpkg_install(machine, package)
        if runs:
            machine.run("/var/ossec/bin/wazuh-control", "start")
        return machine


def dpkg_install(machine, *packages, **how):
    return machine.run("dpkg", "--install", *[f"/packages/{package}.deb" for package in packages], **how)


def installed_after_wazuh_it_sets_itself_up(kit):
    machine = kit.with_wazuh()
    before = machine.tree()
    output = machine.run("apt-get", "install", "--yes", "/packages/ours.deb")
    says_one_line(output, "set up in Wazuh v4.14.9 manager in /var/ossec; left to do: fill in /etc/wazuh-akamai/akamai_config.ini")
    is_set_up(machine)
    equal(restarts(machine), 1)
    equal((machine.owner("etc/wazuh-akamai"), machine.owner(CONFIG)), ("root:root 0700", "root:root 0600"))
    equal(machine.owner(STATE), "root:root 0700")
    equal(machine.text(CONFIG), machine.text(f"{SHARE}/akamai_config.ini"))
    owned = {name.lstrip("/") for name in machine.run("dpkg", "--listfiles", "wazuh-akamai").splitlines()}
    assert not [name for name in owned if name.startswith("var")], owned
    changed = [line for line in difference(before, machine.tree()) if line[1:] not in owned]
    equal(changed, [f"+{CONFIG.rsplit('/', 1)[0]}", f"+{CONFIG}", f"+{STATE}", f"~{CONF}", SET_UP[0], "~var/ossec/logs/ossec.log", *SET_UP[1:]])


def it_holds_what_was_promised_and_tells_what_it_is_made_of(kit):
    machine = kit.machine()
    dpkg_install(machine, "ours")
    owned = machine.run("dpkg", "--listfiles", "wazuh-akamai").split()
    for name in (
        "/usr/bin/wazuh-akamai", f"/{SHARE}/rules/akamai.xml", f"/{SHARE}/ossec-snippets/wodle.xml", f"/{SHARE}/akamai_config.ini",
        f"/{SHARE}/dashboard/akamai.ndjson", "/etc/logrotate.d/wazuh-akamai", "/usr/share/man/man1/wazuh-akamai.1.gz", "/usr/share/man/man1/wazuh-akamai-collect.1.gz",
        "/usr/share/bash-completion/completions/wazuh-akamai", "/usr/share/zsh/vendor-completions/_wazuh-akamai",
        "/usr/share/fish/vendor_completions.d/wazuh-akamai.fish", f"/{DOC}/README.md", f"/{DOC}/changelog.Debian.gz",
        f"/{DOC}/copyright", f"/{DOC}/third-party-licences.txt", f"/{DOC}/wazuh-akamai.cdx.json",
    ):  # fmt: skip
        assert name in owned and machine.path(name).stat().st_size > 0, name
    for script in ("postinst", "prerm", "postrm"):
        text = machine.text(f"var/lib/dpkg/info/wazuh-akamai.{script}")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert len(lines) <= 15, (script, len(lines))
    bill = json.loads(machine.text(f"{DOC}/wazuh-akamai.cdx.json"))
    equal((bill["bomFormat"], bill["metadata"]["component"]["name"]), ("CycloneDX", "wazuh-akamai"))
    refs = {component["bom-ref"] for component in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    names = {component["name"]: component for component in bill["components"]}
    assert {"std", "ring", "rustls", "serde_json"} <= names.keys() and "tempfile" not in names
    # What comes with the compiler and the linker is in no registry.
    assert {"gimli", "addr2line", "object", "rustc-demangle", "libunwind"} <= names.keys()
    with_compiler = {each["name"] for each in bill["components"] if not each["bom-ref"].startswith("pkg:")}
    crates = [each for each in bill["components"] if each["bom-ref"].startswith("pkg:")]
    assert all(len(each["hashes"][0]["content"]) == 64 for each in crates)
    equal(len(refs), len(bill["components"]) + 1)
    assert all(refs.issuperset([entry["ref"], *entry["dependsOn"]]) for entry in bill["dependencies"])
    licences = machine.text(f"{DOC}/third-party-licences.txt")
    assert all(f"\n{name} " in licences for name in names.keys() - with_compiler)
    assert "LLVM Exceptions to the Apache 2.0 License" in licences and "libunwind" in licences
    assert "Permission is hereby granted" in licences and "Apache License" in licences


def installed_before_wazuh_it_is_set_up_by_the_trigger(kit):
    machine = kit.machine()
    says_one_line(dpkg_install(machine, "ours"), "there is no Wazuh in /var/ossec")
    assert not machine.path("var/ossec").exists()
    output = dpkg_install(machine, "wazuh")
    says_one_line(output, "set up in Wazuh v4.14.9")
    is_set_up(machine)


def installed_in_the_same_run_as_wazuh_it_is_set_up(kit):
    for order in (("ours", "wazuh"), ("wazuh", "ours")):
        machine = kit.machine()
        dpkg_install(machine, *order)
        is_set_up(machine)
    machine = kit.machine()
    machine.run("apt-get", "install", "--yes", "/packages/ours.deb", "/packages/wazuh.deb")
    is_set_up(machine)


def an_upgrade_brings_program_and_rules_and_keeps_the_rest(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "earlier", **CREDENTIALS)
    is_set_up(machine, says=EARLIER)
    machine.write(f"{STATE}/cursor", "kept")
    # As the collector leaves it.
    machine.run("chown", "--recursive", "wazuh:wazuh", f"/{STATE}")
    before = machine.tree()
    output = dpkg_install(machine, "ours", AKAMAI_CONFIG_ID="1")
    says_one_line(output, "left to do: wazuh-akamai check")
    is_set_up(machine)
    equal(restarts(machine), 2)
    outside = [line for line in difference(before, machine.tree()) if not line[1:].startswith("usr/")]
    equal(outside, [f"~{RULES}", "~var/ossec/logs/ossec.log", "~var/ossec/wodles/akamai/installed.json", f"~{PROGRAM}"])
    # And back again.
    dpkg_install(machine, "earlier")
    is_set_up(machine, says=EARLIER)


def upgraded_in_the_same_run_as_wazuh_nothing_is_lost(kit):
    for order in (("ours", "wazuh"), ("wazuh", "ours")):
        machine = kit.with_wazuh("old-wazuh")
        dpkg_install(machine, "earlier")
        edited = machine.text(CONF).replace("<logall>no", "<logall>yes")
        machine.write(CONF, edited)
        dpkg_install(machine, *order)
        is_set_up(machine, conf=DEFAULT.replace("<logall>no", "<logall>yes"))
        assert "running" in machine.run("/var/ossec/bin/wazuh-control", "status")


def an_upgrade_of_wazuh_leaves_it_set_up(kit):
    machine = kit.with_wazuh("old-wazuh")
    dpkg_install(machine, "ours")
    before = without_log(machine.tree())
    says_one_line(dpkg_install(machine, "wazuh"), "set up in Wazuh v4.14.9")
    is_set_up(machine)
    changed = difference(before, without_log(machine.tree()))
    equal(changed, ["~var/ossec/bin/wazuh-control", "+var/ossec/etc/ossec.conf.new", "~var/ossec/wodles/aws/aws-s3"])


def a_wazuh_that_was_removed_and_installed_again_is_set_up_again(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "ours", **CREDENTIALS)
    machine.run("dpkg", "--remove", "wazuh-manager")
    assert not machine.path(CONF).exists() and machine.path(CONFIG).exists()
    dpkg_install(machine, "wazuh")
    is_set_up(machine)
    machine.run("dpkg", "--purge", "wazuh-manager")
    assert not machine.path("var/ossec").exists()
    # As the user of the Wazuh that went had it, which the new one need not have the number of.
    machine.write(f"{STATE}/cursor", "kept")
    machine.run("chown", "--recursive", "4711:4711", f"/{STATE}")
    dpkg_install(machine, "wazuh")
    is_set_up(machine)
    equal((machine.owner(STATE), machine.owner(f"{STATE}/cursor")), ("wazuh:wazuh 0700", "wazuh:wazuh 0644"))


def installed_again_nothing_changes(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "ours", **CREDENTIALS)
    before = machine.tree()
    dpkg_install(machine, "ours")
    machine.run("apt-get", "install", "--reinstall", "--yes", "/packages/ours.deb")
    equal(difference(before, machine.tree()), [])


def what_was_taken_away_comes_back_when_it_is_installed_again(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "ours")
    machine.write(CONF, DEFAULT)
    machine.path(RULES).unlink()
    shutil.rmtree(machine.path("var/ossec/wodles/akamai"))
    dpkg_install(machine, "ours")
    is_set_up(machine)


def removed_it_leaves_configuration_and_state_only(kit):
    machine = kit.with_wazuh()
    before = without_log(machine.tree())
    dpkg_install(machine, "ours", **CREDENTIALS)
    machine.write(f"{STATE}/cursor", "kept")
    machine.write(LOG, "kept")
    output = machine.run("apt-get", "remove", "--yes", "wazuh-akamai")
    says_one_line(output, "removed from Wazuh v4.14.9 manager in /var/ossec; credentials, state and log are kept unless they are purged")
    is_out(machine)
    equal(restarts(machine), 2)
    kept = ["+etc/logrotate.d/wazuh-akamai", "+etc/wazuh-akamai", f"+{CONFIG}", f"+{STATE}", f"+{STATE}/cursor", f"+{LOG}"]
    equal([line for line in difference(before, without_log(machine.tree())) if line != "+etc/logrotate.d"], kept)
    dpkg_install(machine, "ours", AKAMAI_HOST="other.luna.akamaiapis.net")
    is_set_up(machine)
    assert "host = akab-test" in machine.text(CONFIG)


def purged_it_leaves_nothing(kit):
    for first in ("", "--remove"):
        machine = kit.with_wazuh()
        before = without_log(machine.tree())
        dpkg_install(machine, "ours", **CREDENTIALS)
        machine.write(f"{STATE}/cursor", "x")
        for name in (LOG, f"{LOG}.1", f"{LOG}.2.gz", f"{LOG}-20260101", f"{LOG}-20260102.gz"):
            machine.write(name, "x")
        if first:
            machine.run("dpkg", first, "wazuh-akamai")
        machine.run("dpkg", "--purge", "wazuh-akamai")
        equal(difference(before, without_log(machine.tree())), [])
        machine.run("dpkg", "--status", "wazuh-akamai", status=1)


def purged_where_the_state_is_a_mount_it_says_what_stays(kit):
    machine = kit.machine()
    before = machine.tree()
    dpkg_install(machine, "ours", **CREDENTIALS)
    machine.write(f"{STATE}/cursor", "x")
    with machine.a_mount(STATE):
        assert f"wazuh-akamai: /{STATE} stays; remove it by hand\n" in machine.run("dpkg", "--purge", "wazuh-akamai")
    equal(difference(before, machine.tree()), [f"+{STATE}"])
    machine.run("dpkg", "--status", "wazuh-akamai", status=1)


def purged_without_wazuh_it_leaves_nothing(kit):
    machine = kit.machine()
    before = machine.tree()
    dpkg_install(machine, "ours", **CREDENTIALS)
    machine.run("dpkg", "--purge", "wazuh-akamai")
    equal(difference(before, machine.tree()), [])


def where_wazuh_was_removed_first_nothing_of_ours_stays(kit):
    for how in ("--remove", "--purge"):
        bare = kit.with_wazuh()
        bare.run("dpkg", how, "wazuh-manager")
        machine = kit.with_wazuh()
        dpkg_install(machine, "ours")
        machine.run("dpkg", how, "wazuh-manager")
        says_one_line(machine.run("dpkg", "--remove", "wazuh-akamai"), "there is no Wazuh in /var/ossec")
        machine.run("dpkg", "--purge", "wazuh-akamai")
        equal(difference(bare.tree(), machine.tree()), [])


def removed_together_with_wazuh_nothing_of_ours_stays(kit):
    bare = kit.with_wazuh()
    bare.run("dpkg", "--remove", "wazuh-manager")
    for order in (("wazuh-akamai", "wazuh-manager"), ("wazuh-manager", "wazuh-akamai")):
        machine = kit.with_wazuh()
        dpkg_install(machine, "ours")
        machine.run("dpkg", "--remove", *order)
        machine.run("dpkg", "--purge", "wazuh-akamai")
        equal(difference(bare.tree(), machine.tree()), [])


def a_broken_configuration_of_wazuhs_is_left_alone(kit):
    for broken in (DEFAULT.replace("</ossec_config>", "", 1), DEFAULT + "<!-- BEGIN wazuh-akamai -->\n", DEFAULT + "<!-- open"):
        machine = kit.with_wazuh()
        machine.write(CONF, broken)
        before = machine.tree()
        output = dpkg_install(machine, "ours")
        assert "when that is fixed, run: wazuh-akamai install" in output, output
        changed = [line[1:] for line in difference(before, machine.tree()) if line[1:].startswith("var/ossec")]
        equal(changed, [])
        machine.write(CONF, DEFAULT)
        machine.run("wazuh-akamai", "install")
        is_set_up(machine)


def a_configuration_that_broke_later_is_left_alone_and_purge_finishes_the_removal(kit):
    machine = kit.with_wazuh()
    before = without_log(machine.tree())
    dpkg_install(machine, "ours")
    whole = machine.text(CONF)
    machine.write(CONF, whole + "<!-- open")
    output = machine.run("dpkg", "--remove", "wazuh-akamai")
    assert "when that is fixed, run: /var/ossec/wodles/akamai/wazuh-akamai uninstall" in output, output
    equal(machine.text(CONF), whole + "<!-- open")
    # Whatever the wodle still runs must be there.
    assert machine.path(PROGRAM).exists()
    machine.write(CONF, whole)
    machine.run("dpkg", "--purge", "wazuh-akamai")
    equal(difference(before, without_log(machine.tree())), [])


def an_edited_block_is_kept_and_goes_with_the_package(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "earlier")
    edited = machine.text(CONF).replace("<run_on_start>yes", "<run_on_start>no")
    assert edited != machine.text(CONF)
    machine.write(CONF, edited)
    dpkg_install(machine, "ours")
    equal(machine.text(CONF), edited)
    dpkg_install(machine, "wazuh")
    equal(machine.text(CONF), edited)
    machine.run("dpkg", "--remove", "wazuh-akamai")
    is_out(machine)


def edited_rules_are_kept(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "earlier")
    edited = machine.text(RULES).replace('level="3"', 'level="4"')
    machine.write(RULES, edited)
    says_one_line(dpkg_install(machine, "ours"), "set up, but with problems")
    equal(machine.text(RULES), edited)
    equal(machine.text("var/ossec/wodles/akamai/akamai.xml.new"), machine.text(f"{SHARE}/rules/akamai.xml"))
    assert "akamai.xml.new" in machine.run("wazuh-akamai", "check", "--offline", status=None)
    machine.run("dpkg", "--purge", "wazuh-akamai")
    equal(machine.text(RULES), edited)
    assert not machine.path("var/ossec/wodles/akamai").exists()


def the_original_integration_is_taken_over_and_given_back(kit):
    machine = kit.with_wazuh()
    wodle = (
        '<ossec_config>\n  <wodle name="command">\n    <disabled>no</disabled>\n    <tag>akamai_siem</tag>\n'
        "    <command>/usr/bin/python3 /opt/akamai/akamai.py</command>\n  </wodle>\n</ossec_config>\n"
    )
    machine.write(CONF, DEFAULT + wodle)
    values = "".join(f"{key[7:].lower()} = {value}\n" for key, value in CREDENTIALS.items())
    machine.write("opt/akamai/akamai_config.ini", f"[default]\n{values}")
    before = without_log(machine.tree())
    dpkg_install(machine, "ours")
    equal(machine.text(CONFIG), f"[default]\n{values}")
    assert machine.text(CONF).startswith(DEFAULT + wodle.replace(">no<", ">yes<"))
    machine.run("dpkg", "--purge", "wazuh-akamai")
    equal(difference(before, without_log(machine.tree())), [])


def systemd_is_neither_needed_nor_called(kit):
    machine = kit.with_wazuh()
    assert not machine.path("usr/bin/systemctl").exists()
    for name in ("systemctl", "service", "invoke-rc.d", "deb-systemd-invoke"):
        machine.write(f"usr/local/sbin/{name}", "#!/bin/sh\ntouch /called\nexit 1\n", 0o755)
    dpkg_install(machine, "ours")
    dpkg_install(machine, "ours", "wazuh")
    machine.run("dpkg", "--purge", "wazuh-akamai")
    assert not machine.path("called").exists()


def without_documentation_it_works_as_well(kit):
    machine = kit.with_wazuh()
    machine.write("etc/dpkg/dpkg.cfg.d/docs", "path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n")
    dpkg_install(machine, "ours")
    assert not machine.path("usr/share/doc/wazuh-akamai/README.md").exists()
    is_set_up(machine)


def where_documentation_cannot_be_written_dpkg_fails_and_nothing_has_changed(kit):
    machine = kit.with_wazuh()
    before = machine.tree()
    with machine.read_only("usr/share/doc"):
        dpkg_install(machine, "ours", status=1)
    equal(difference(before, machine.tree()), [])
    # An upgrade that dies there leaves the earlier version, and the Wazuh side as that one made it.
    dpkg_install(machine, "earlier")
    before = machine.tree()
    with machine.read_only("usr/share/doc"):
        dpkg_install(machine, "ours", status=1)
    is_set_up(machine, says=EARLIER)
    equal(difference(before, machine.tree()), [])
    dpkg_install(machine, "ours")
    is_set_up(machine)


def an_upgrade_that_is_broken_off_leaves_the_earlier_version_set_up(kit):
    def clash(root):
        (root / "usr/bin/env").write_text("of another package")

    refused = repacked_deb(kit.ours, kit.folder / "refused", "0.2.0-1", clash)
    machine = kit.machine(also=[refused.rename(kit.folder / "refused.deb")])
    dpkg_install(machine, "wazuh", "earlier")
    machine.write(CONF, DEFAULT)
    output = dpkg_install(machine, "refused", status=1)
    assert "trying to overwrite" in output, output
    is_set_up(machine, says=EARLIER)


def every_abort_ends_well(kit):
    machine = kit.with_wazuh()
    dpkg_install(machine, "ours")
    scripts = "/var/lib/dpkg/info/wazuh-akamai"
    for how in ("abort-remove", "abort-deconfigure", "abort-upgrade"):
        machine.run(f"{scripts}.prerm", "deconfigure")
        is_out(machine)
        machine.run(f"{scripts}.postinst", how, "0.0.9-1")
        is_set_up(machine)
    for how in ("upgrade", "failed-upgrade"):
        machine.run(f"{scripts}.prerm", how, "0.0.9-1")
        is_set_up(machine)
    for how in ("upgrade", "failed-upgrade", "abort-install", "abort-upgrade", "disappear", "remove"):
        machine.run(f"{scripts}.postrm", how, "0.0.9-1")
        is_set_up(machine)


def credentials_come_from_variables_and_are_never_shown(kit):
    machine = kit.with_wazuh()
    output = machine.run("apt-get", "install", "--yes", "/packages/ours.deb", **CREDENTIALS)
    says_one_line(output, "set up in Wazuh v4.14.9 manager in /var/ossec; left to do: wazuh-akamai check")
    text = machine.text(CONFIG)
    for variable, value in CREDENTIALS.items():
        assert f"\n{variable[7:].lower()} = {value}\n" in text, variable
    told = output + machine.text("var/ossec/logs/ossec.log")
    assert restarts(machine) == 1 and not [value for value in SECRETS if value in told]
    equal(machine.owner(CONFIG), "root:root 0600")
    # Some of them, or bad ones, are no failure of the package.
    machine = kit.machine()
    dpkg_install(machine, "ours", AKAMAI_CONFIG_ID="14227")
    assert "config_id = 14227\n" in machine.text(CONFIG) and "YOUR_CLIENT_SECRET" in machine.text(CONFIG)
    machine = kit.machine()
    assert "were not saved" in dpkg_install(machine, "ours", **{**CREDENTIALS, "AKAMAI_CONFIG_ID": "all"})
    equal(machine.text(CONFIG), machine.text(f"{SHARE}/akamai_config.ini"))


def what_the_admin_forbids_is_not_done(kit):
    machine = kit.with_wazuh()
    says_one_line(dpkg_install(machine, "ours", WAZUH_AKAMAI_NO_INSTALL="1"), "Wazuh was left as it is")
    is_out(machine)
    output = dpkg_install(machine, "ours", WAZUH_AKAMAI_NO_RESTART="1")
    says_one_line(output, "wazuh-control restart")
    is_set_up(machine)
    machine.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    machine.run("dpkg", "--remove", "wazuh-akamai")
    dpkg_install(machine, "ours")
    is_set_up(machine)
    equal(restarts(machine), 0)
    # 104 is one of the two answers that allow it.
    machine = kit.with_wazuh()
    machine.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 104\n", 0o755)
    dpkg_install(machine, "ours")
    is_set_up(machine)
    equal(restarts(machine), 1)
    machine.run("dpkg", "--remove", "wazuh-akamai")
    equal(restarts(machine), 2)


def where_systemd_runs_wazuh_it_restarts_it(kit):
    machine = kit.with_wazuh()
    machine.path("run/systemd/system").mkdir(parents=True)
    # systemctl as it is seen by install: a unit that is active, and a restart that stops first.
    machine.write("usr/bin/systemctl", """#!/bin/sh
echo "$*" >>/run/called
case "$1" in
show) echo ActiveState=active; echo "ExecStart={ argv[]=/usr/bin/env /var/ossec/bin/wazuh-control start }" ;;
restart) /var/ossec/bin/wazuh-control stop; /var/ossec/bin/wazuh-control start ;;
esac
""", 0o755)
    dpkg_install(machine, "ours")
    is_set_up(machine)
    assert machine.text("run/called").endswith("\nrestart wazuh-manager\n")
    equal(restarts(machine), 0)
    # What it could not start again is not stopped.
    machine.write("var/ossec/bin/wazuh-remoted", "#!/bin/sh\necho refused >&2\nexit 1\n", 0o750)
    control = machine.path("var/ossec/bin/wazuh-control")
    control.write_text(control.read_text().replace("wazuh-modulesd wazuh-a", "wazuh-modulesd wazuh-remoted wazuh-a"))
    machine.path(RULES).unlink()
    machine.run("wazuh-akamai", "install", status=1)
    equal(machine.text("run/called").count("restart"), 1)
    assert "running" in machine.run("/var/ossec/bin/wazuh-control", "status")


def beside_another_wazuh_than_4_it_changes_nothing(kit):
    machine = kit.with_wazuh("wazuh-5")
    before = machine.tree()
    says_one_line(dpkg_install(machine, "ours"), "Wazuh 5 is not supported yet; what works today is a 4.14 agent")
    equal([line for line in difference(before, machine.tree()) if "var/ossec" in line], [])
    machine.run("dpkg", "--purge", "wazuh-akamai")
    equal(difference(before, machine.tree()), [])


def on_agents_and_cluster_workers_it_brings_no_rules(kit):
    agent = kit.with_wazuh()
    control = agent.path("var/ossec/bin/wazuh-control")
    control.write_text(control.read_text().replace('TYPE="server"', 'TYPE="agent"'))
    shutil.copy2(agent.path("var/ossec/bin/wazuh-modulesd"), agent.path("var/ossec/bin/wazuh-agentd"))
    worker = kit.with_wazuh()
    cluster = "<ossec_config>\n<cluster><node_type>worker</node_type><disabled>no</disabled></cluster>\n</ossec_config>\n"
    worker.write(CONF, DEFAULT.replace("</ossec_config>\n\n<ossec_config>", f"</ossec_config>\n{cluster}\n<ossec_config>"))
    for machine, kind in ((agent, "agent"), (worker, "manager (a cluster worker)")):
        before = without_log(machine.tree())
        conf = machine.text(CONF)
        says_one_line(dpkg_install(machine, "ours"), f"set up in Wazuh v4.14.9 {kind} in /var/ossec")
        equal(machine.text(CONF), conf + block())
        assert machine.path(PROGRAM).exists() and not machine.path(RULES).exists()
        machine.run("dpkg", "--purge", "wazuh-akamai")
        equal(difference(before, without_log(machine.tree())), [])


def it_starts_on_the_oldest_debian_there_is(kit):
    machine = kit.machine("oldest")
    assert "2.31" in machine.run("ldd", "--version")
    dpkg_install(machine, "wazuh", "ours", **CREDENTIALS)
    is_set_up(machine)
    machine.write("line", '{"httpMessage":{"host":"a","status":"200","start":"1470923133"}}\n')
    assert '"type":"akamai_siem"' in machine.run("wazuh-akamai", "decode", "/line")
    machine.run("dpkg", "--purge", "wazuh-akamai")
    is_out(machine)


SCENARIOS = scenarios_of(globals())
if not CAN_MOUNT:
    SCENARIOS.remove(where_documentation_cannot_be_written_dpkg_fails_and_nothing_has_changed)
    SCENARIOS.remove(purged_where_the_state_is_a_mount_it_says_what_stays)
