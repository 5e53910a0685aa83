"""What the Wazuh side looks like when it is whole and when it is out, whatever package brought it. Never changes a machine."""
from machine import equal
from stand_in import DEFAULT_CONF, NOW

CONF = "var/ossec/etc/ossec.conf"
RULES = "var/ossec/etc/rules/akamai.xml"
CONFIG = "etc/wazuh-akamai/akamai_config.ini"
STATE = "var/lib/wazuh-akamai"
PROGRAM = "var/ossec/wodles/akamai/wazuh-akamai"
SHARE = "usr/share/wazuh-akamai"
LOG = "var/log/wazuh-akamai.log"
DEFAULT = DEFAULT_CONF.read_text()

# All that setting up adds to a Wazuh home.
SET_UP = [
    "+var/ossec/etc/rules/akamai.xml", "+var/ossec/wodles/akamai", "+var/ossec/wodles/akamai/installed.json",
    "+var/ossec/wodles/akamai/wazuh-akamai",
]  # fmt: skip

CREDENTIALS = {
    "AKAMAI_HOST": "akab-test.luna.akamaiapis.net", "AKAMAI_CONFIG_ID": "14227;7", "AKAMAI_CLIENT_TOKEN": "akab-client-token",
    "AKAMAI_CLIENT_SECRET": "c2VjcmV0IHNlY3JldA==", "AKAMAI_ACCESS_TOKEN": "akab-access-token",
}  # fmt: skip

SECRETS = [CREDENTIALS[name] for name in ("AKAMAI_CLIENT_TOKEN", "AKAMAI_CLIENT_SECRET", "AKAMAI_ACCESS_TOKEN")]


def block():
    snippet = (DEFAULT_CONF.parents[3] / "ossec-snippets/wodle.xml").read_text()
    note = "<!-- Do not edit between these lines: uninstall takes all of it out. -->\n"
    return f"<!-- BEGIN wazuh-akamai -->\n{note}{snippet}<!-- END wazuh-akamai -->\n"


def is_set_up(machine, conf=DEFAULT, says=NOW):
    """The Wazuh side is whole: block, rules and program, each with its owner."""
    equal(machine.text(CONF), conf + block())
    equal(machine.owner(CONF), "root:wazuh 0660")
    equal(machine.owner(RULES), "wazuh:wazuh 0660")
    assert says in machine.path(RULES).read_bytes()
    equal(machine.owner("var/ossec/wodles/akamai"), "root:wazuh 0750")
    equal(machine.owner(PROGRAM), "root:wazuh 0750")
    equal(machine.path(PROGRAM).read_bytes(), machine.path("usr/bin/wazuh-akamai").read_bytes())
    assert "Usage" in machine.run(f"/{PROGRAM}", "--help")


def is_out(machine, conf=DEFAULT):
    equal(machine.text(CONF), conf)
    for name in (RULES, "var/ossec/wodles/akamai"):
        assert not machine.path(name).exists(), name


def restarts(machine):
    return machine.text("var/ossec/logs/ossec.log").count("restart umask 0022")


def says_one_line(output, text):
    lines = [line for line in output.splitlines() if "wazuh-akamai: " in line]
    assert len(lines) == 1 and text in lines[0], (text, lines)


def without_log(tree):
    """Wazuh's own log grows with each of its restarts."""
    return {name: what for name, what in tree.items() if name != "var/ossec/logs/ossec.log"}


def scenarios_of(module):
    """Functions of one argument, `kit`, in the order in which they stand there."""
    found = [each for each in module.values() if getattr(each, "__code__", None) and each.__code__.co_argcount == 1]
    return [each for each in found if each.__code__.co_varnames[0] == "kit"]
