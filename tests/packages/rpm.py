"""What the user of the .rpm sees, one scenario a function: transactions of rpm and dnf with a stand-in wazuh-manager. After
each: exit status, ossec.conf byte by byte, owners, and the difference of the whole file system."""
import shutil

from machine import CAN_MOUNT, Machine, difference, equal
from stand_in import EARLIER, base_rpm, wazuh_rpm
from wazuh_side import (
    CONF, CONFIG, CREDENTIALS, DEFAULT, LOG, PROGRAM, RULES, SECRETS, SET_UP, SHARE, STATE, is_out, is_set_up, restarts, says_one_line,
    scenarios_of, without_log,
)  # fmt: skip

DOC = "usr/share/doc/wazuh-akamai"
LICENCES = "usr/share/licenses/wazuh-akamai"

# Without any repository: everything lies in /packages.
DNF = ("dnf", "--assumeyes", "--disablerepo=*", "--setopt=install_weak_deps=False")


class Kit:
    """The packages, and machines to install them on."""

    def __init__(self, ours, earlier, bases, folder):
        self.folder = folder
        self.bases = bases
        self.count = 0
        packages = folder / "rpms"
        packages.mkdir()
        self.packages = {
            "ours": shutil.copy(ours, packages / "ours.rpm"),
            "earlier": shutil.copy(earlier, packages / "earlier.rpm"),
            "base": base_rpm(packages).rename(packages / "base.rpm"),
            "wazuh": wazuh_rpm(packages, "4.14.9").rename(packages / "wazuh.rpm"),
            "old-wazuh": wazuh_rpm(packages, "4.14.8").rename(packages / "old-wazuh.rpm"),
        }
        self.machines = []

    def machine(self):
        self.count += 1
        made = Machine(self.bases / "rpm", self.folder / f"rpm-{self.count}", self.packages.values())
        self.machines.append(made)
        made.write("etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
        rpm_install(made, "base")
        return made

    def with_wazuh(self, package="wazuh"):
        """A machine with a Wazuh manager that runs."""
        machine = self.machine()
        rpm_install(machine, package)
        machine.run("/var/ossec/bin/wazuh-control", "start")
        return machine


def rpm_install(machine, *packages, options=(), **how):
    return machine.run("rpm", "--upgrade", *options, *[f"/packages/{package}.rpm" for package in packages], **how)


def dnf(machine, what, *packages, **how):
    return machine.run(*DNF, what, *[f"/packages/{package}.rpm" for package in packages], **how)


def erase(machine, *names):
    return machine.run("rpm", "--erase", *names)


def installed_after_wazuh_it_sets_itself_up(kit):
    machine = kit.with_wazuh()
    before = machine.tree()
    output = dnf(machine, "install", "ours")
    says_one_line(output, "set up in Wazuh v4.14.9 manager in /var/ossec; left to do: fill in /etc/wazuh-akamai/akamai_config.ini")
    is_set_up(machine)
    equal(restarts(machine), 1)
    equal((machine.owner("etc/wazuh-akamai"), machine.owner(CONFIG)), ("root:root 0700", "root:root 0600"))
    equal(machine.owner(STATE), "root:root 0700")
    owned = {name.lstrip("/") for name in machine.run("rpm", "--query", "--list", "wazuh-akamai").splitlines()}
    assert not [name for name in owned if name.startswith("var")], owned
    folders = {name.rsplit("/", 1)[0] for name in owned} | {"usr/share/wazuh-akamai"}
    changed = [line for line in difference(before, machine.tree()) if line[1:] not in owned | folders]
    changed = [line for line in changed if not line.startswith(("+usr/share/zsh", "+usr/share/fish", "+usr/share/licenses"))]
    equal(changed, ["+etc/wazuh-akamai", f"+{CONFIG}", f"+{STATE}", f"~{CONF}", SET_UP[0], "~var/ossec/logs/ossec.log", *SET_UP[1:]])
    equal(machine.run("rpm", "--verify", "wazuh-akamai"), "")


def it_holds_what_was_promised(kit):
    machine = kit.machine()
    rpm_install(machine, "ours")
    owned = machine.run("rpm", "--query", "--list", "wazuh-akamai").split()
    for name in (
        "/usr/bin/wazuh-akamai", f"/{SHARE}/rules/akamai.xml", f"/{SHARE}/ossec-snippets/wodle.xml", f"/{SHARE}/akamai_config.ini",
        f"/{SHARE}/dashboard/akamai.ndjson", "/etc/logrotate.d/wazuh-akamai", "/usr/share/man/man1/wazuh-akamai.1.gz",
        "/usr/share/man/man1/wazuh-akamai-collect.1.gz", "/usr/share/bash-completion/completions/wazuh-akamai",
        "/usr/share/zsh/site-functions/_wazuh-akamai", "/usr/share/fish/vendor_completions.d/wazuh-akamai.fish",
        f"/{DOC}/README.md", f"/{DOC}/CHANGELOG.md", f"/{DOC}/wazuh-akamai.cdx.json", f"/{LICENCES}/third-party-licences.txt",
        f"/{LICENCES}/LICENSE",
    ):  # fmt: skip
        assert name in owned and machine.path(name).stat().st_size > 0, name


def installed_before_wazuh_check_says_what_to_run(kit):
    machine = kit.machine()
    says_one_line(rpm_install(machine, "ours"), "there is no Wazuh in /var/ossec; install it, then run: wazuh-akamai install")
    assert not machine.path("var/ossec").exists()
    rpm_install(machine, "wazuh")
    is_out(machine)
    assert "fix: wazuh-akamai install" in machine.run("wazuh-akamai", "check", "--offline", status=1)
    machine.run("wazuh-akamai", "install")
    is_set_up(machine)


def installed_in_the_same_run_as_wazuh_it_is_set_up(kit):
    for install in (rpm_install, lambda machine, *packages: dnf(machine, "install", *packages)):
        for order in (("ours", "wazuh"), ("wazuh", "ours")):
            machine = kit.machine()
            says_one_line(install(machine, *order), "set up in Wazuh v4.14.9")
            is_set_up(machine)


def an_upgrade_brings_program_and_rules_and_keeps_the_rest(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "earlier", **CREDENTIALS)
    is_set_up(machine, says=EARLIER)
    machine.write(f"{STATE}/cursor", "kept")
    # As the collector leaves it.
    machine.run("chown", "--recursive", "wazuh:wazuh", f"/{STATE}")
    before = machine.tree()
    says_one_line(dnf(machine, "upgrade", "ours", AKAMAI_CONFIG_ID="1"), "left to do: wazuh-akamai check")
    is_set_up(machine)
    equal(restarts(machine), 2)
    outside = [line for line in difference(before, machine.tree()) if not line[1:].startswith("usr/")]
    equal(outside, [f"~{RULES}", "~var/ossec/logs/ossec.log", "~var/ossec/wodles/akamai/installed.json", f"~{PROGRAM}"])
    rpm_install(machine, "earlier", options=["--oldpackage"])
    is_set_up(machine, says=EARLIER)


def upgraded_in_the_same_run_as_wazuh_nothing_is_lost(kit):
    for order in (("ours", "wazuh"), ("wazuh", "ours")):
        machine = kit.with_wazuh("old-wazuh")
        rpm_install(machine, "earlier")
        edited = machine.text(CONF).replace("<logall>no", "<logall>yes")
        machine.write(CONF, edited)
        dnf(machine, "upgrade", *order)
        is_set_up(machine, conf=DEFAULT.replace("<logall>no", "<logall>yes"))
        assert "running" in machine.run("/var/ossec/bin/wazuh-control", "status")


def an_upgrade_of_wazuh_leaves_it_set_up(kit):
    machine = kit.with_wazuh("old-wazuh")
    rpm_install(machine, "ours")
    before = without_log(machine.tree())
    dnf(machine, "upgrade", "wazuh")
    is_set_up(machine)
    changed = difference(before, without_log(machine.tree()))
    equal(changed, ["~var/ossec/bin/wazuh-control", "+var/ossec/etc/ossec.conf.new", "~var/ossec/wodles/aws/aws-s3"])


def after_wazuh_was_removed_and_installed_again_check_says_what_to_run(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "ours", **CREDENTIALS)
    erase(machine, "wazuh-manager")
    rpm_install(machine, "wazuh")
    equal(machine.text(CONF), DEFAULT)
    assert "does not contain our block\n         fix: wazuh-akamai install" in machine.run("wazuh-akamai", "check", "--offline", status=1)
    machine.run("wazuh-akamai", "install")
    is_set_up(machine)


def installed_again_nothing_changes(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "ours", **CREDENTIALS)
    before = machine.tree()
    rpm_install(machine, "ours", options=["--replacepkgs"])
    dnf(machine, "reinstall", "ours")
    equal(difference(before, machine.tree()), [])


def removed_it_leaves_configuration_and_state_only(kit):
    machine = kit.with_wazuh()
    before = without_log(machine.tree())
    rpm_install(machine, "ours", **CREDENTIALS)
    machine.write(f"{STATE}/cursor", "kept")
    machine.write(LOG, "kept")
    output = machine.run(*DNF, "remove", "wazuh-akamai")
    says_one_line(output, "removed from Wazuh v4.14.9 manager in /var/ossec; credentials, state and log are kept unless they are purged")
    is_out(machine)
    equal(restarts(machine), 2)
    kept = ["+etc/wazuh-akamai", f"+{CONFIG}", f"+{STATE}", f"+{STATE}/cursor", f"+{LOG}"]
    equal(without_shared_folders(difference(before, without_log(machine.tree()))), kept)
    rpm_install(machine, "ours", AKAMAI_HOST="other.luna.akamaiapis.net")
    is_set_up(machine)
    assert "host = akab-test" in machine.text(CONFIG)


def removed_before_it_was_configured_it_leaves_nothing(kit):
    machine = kit.with_wazuh()
    before = without_log(machine.tree())
    rpm_install(machine, "ours")
    says_one_line(erase(machine, "wazuh-akamai"), "removed from Wazuh v4.14.9")
    equal(without_shared_folders(difference(before, without_log(machine.tree()))), [])
    machine.run("rpm", "--query", "wazuh-akamai", status=1)


def where_wazuh_was_removed_first_nothing_of_ours_stays(kit):
    bare = kit.with_wazuh()
    erase(bare, "wazuh-manager")
    machine = kit.with_wazuh()
    rpm_install(machine, "ours")
    erase(machine, "wazuh-manager")
    says_one_line(erase(machine, "wazuh-akamai"), "there is no Wazuh in /var/ossec")
    equal(without_shared_folders(difference(bare.tree(), machine.tree())), [])


def removed_together_with_wazuh_nothing_of_ours_stays(kit):
    bare = kit.with_wazuh()
    erase(bare, "wazuh-manager")
    machine = kit.with_wazuh()
    rpm_install(machine, "ours")
    machine.run(*DNF, "remove", "wazuh-manager", "wazuh-akamai")
    equal(without_shared_folders(difference(bare.tree(), machine.tree())), [])


def a_broken_configuration_of_wazuhs_is_left_alone(kit):
    for broken in (DEFAULT.replace("</ossec_config>", "", 1), DEFAULT + "<!-- BEGIN wazuh-akamai -->\n", DEFAULT + "<!-- open"):
        machine = kit.with_wazuh()
        machine.write(CONF, broken)
        before = machine.tree()
        assert "when that is fixed, run: wazuh-akamai install" in dnf(machine, "install", "ours")
        equal([line for line in difference(before, machine.tree()) if line[1:].startswith("var/ossec")], [])
        machine.write(CONF, DEFAULT)
        machine.run("wazuh-akamai", "install")
        is_set_up(machine)
        machine.write(CONF, broken)
        output = machine.run(*DNF, "remove", "wazuh-akamai")
        assert "when that is fixed, run: /var/ossec/wodles/akamai/wazuh-akamai uninstall" in output, output
        # And the reason, which the program tells on its standard error.
        assert "wazuh-akamai: error: /var/ossec/etc/ossec.conf is left as it is: " in output, output
        equal(machine.text(CONF), broken)
        # What is left of ours can take itself out.
        machine.write(CONF, DEFAULT)
        machine.run(f"/{PROGRAM}", "uninstall")
        is_out(machine)


def an_edited_block_is_kept_and_goes_with_the_package(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "earlier")
    edited = machine.text(CONF).replace("<run_on_start>yes", "<run_on_start>no")
    assert edited != machine.text(CONF)
    machine.write(CONF, edited)
    rpm_install(machine, "ours")
    equal(machine.text(CONF), edited)
    erase(machine, "wazuh-akamai")
    is_out(machine)


def edited_rules_are_kept(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "earlier")
    edited = machine.text(RULES).replace('level="3"', 'level="4"')
    machine.write(RULES, edited)
    says_one_line(rpm_install(machine, "ours"), "set up, but with problems")
    equal(machine.text(RULES), edited)
    equal(machine.text("var/ossec/wodles/akamai/akamai.xml.new"), machine.text(f"{SHARE}/rules/akamai.xml"))
    erase(machine, "wazuh-akamai")
    equal(machine.text(RULES), edited)
    assert not machine.path("var/ossec/wodles/akamai").exists()


def without_documentation_it_works_as_well(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "ours", options=["--excludedocs"])
    assert not machine.path("usr/share/doc/wazuh-akamai/README.md").exists()
    is_set_up(machine)
    erase(machine, "wazuh-akamai")
    is_out(machine)


def where_documentation_cannot_be_written_the_wazuh_side_stays(kit):
    machine = kit.with_wazuh()
    rpm_install(machine, "earlier")
    with machine.read_only("usr/share/doc"):
        assert "failed" in rpm_install(machine, "ours", status=None)
    is_set_up(machine, says=EARLIER)
    rpm_install(machine, "ours")
    is_set_up(machine)


def credentials_come_from_variables_and_are_never_shown(kit):
    machine = kit.with_wazuh()
    output = dnf(machine, "install", "ours", **CREDENTIALS)
    says_one_line(output, "set up in Wazuh v4.14.9 manager in /var/ossec; left to do: wazuh-akamai check")
    text = machine.text(CONFIG)
    for variable, value in CREDENTIALS.items():
        assert f"\n{variable[7:].lower()} = {value}\n" in text, variable
    told = output + machine.text("var/ossec/logs/ossec.log")
    assert restarts(machine) == 1 and not [value for value in SECRETS if value in told]
    equal(machine.owner(CONFIG), "root:root 0600")


def what_the_admin_forbids_is_not_done(kit):
    machine = kit.with_wazuh()
    says_one_line(rpm_install(machine, "ours", WAZUH_AKAMAI_NO_INSTALL="1"), "Wazuh was left as it is")
    is_out(machine)
    output = rpm_install(machine, "ours", options=["--replacepkgs"], WAZUH_AKAMAI_NO_RESTART="1")
    says_one_line(output, "wazuh-control restart")
    is_set_up(machine)
    equal(restarts(machine), 0)


def without_shared_folders(lines):
    """Folders of completions and the like that no package of this chroot owns."""
    shared = ("etc/logrotate.d", "usr/share/zsh", "usr/share/fish", "usr/share/bash-completion", "usr/share/licenses")
    return [line for line in lines if not line[1:].startswith(shared)]


SCENARIOS = scenarios_of(globals())
if not CAN_MOUNT:
    SCENARIOS.remove(where_documentation_cannot_be_written_the_wazuh_side_stays)
