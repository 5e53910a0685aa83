//! `install` and `uninstall` in Wazuh homes of real files, with programs in Wazuh's place that check what they are told.

mod interrupted;
mod restart;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{Ended, finish, program};

const CONF: &str = "<!-- Wazuh -->\n<ossec_config>\n  <global>\n    <jsonout_output>yes</jsonout_output>\n  </global>\n</ossec_config>\n\n<ossec_config>\n  <localfile>\n    <location>/var/log/x</location>\n  </localfile>\n</ossec_config>\n";

const ORIGINAL_WODLE: &str = "<ossec_config>\n  <wodle name=\"command\">\n    <disabled>no</disabled>\n    <tag>akamai_siem</tag>\n    <command>/usr/bin/python3 /opt/akamai/akamai.py</command>\n    <interval>5m</interval>\n  </wodle>\n</ossec_config>\n";

const ORIGINAL_RULES: &str = "<group name=\"akamai,\">\n  <rule id=\"100100\" level=\"3\">\n    <location>command_akamai_siem</location>\n    <description>Akamai - Event fetched.</description>\n  </rule>\n</group>\n";

/// A file system with a Wazuh in it.
pub struct Root {
    folder: TempDir,
}

/// Everything below a folder: path → mode and text.
pub type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

impl Root {
    pub fn manager() -> Self {
        Self::of("server", "v4.14.9")
    }

    pub fn of(kind: &str, version: &str) -> Self {
        let root = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["bin", "etc/rules", "wodles", "queue/sockets"] {
            fs::create_dir_all(root.home(folder)).unwrap();
        }
        fs::create_dir_all(root.path("etc/wazuh-akamai")).unwrap();
        root.program(
            "wazuh-control",
            &format!(
                "case $1 in info) echo WAZUH_VERSION=\\\"{version}\\\"; echo WAZUH_TYPE=\\\"{kind}\\\";;\n\
                 status) echo wazuh-modulesd is running...;;\n\
                 restart) umask >> \"$0.restarts\";; esac"
            ),
        );
        // Refuses what it is told to refuse, as Wazuh refuses an unknown element.
        let check = "f=$(dirname \"$0\")/../etc; ! grep -q unknown \"$f/ossec.conf\" || { echo 'ERROR: (1230): Invalid element' >&2; exit 1; }";
        root.program("wazuh-modulesd", check);
        root.program("wazuh-agentd", check);
        root.program("wazuh-analysisd", &format!("{check}; ! [ -e \"$f/refuse-rules\" ] || ! grep -q 100191 \"$f/rules/akamai.xml\" || {{ echo 'ERROR: rules' >&2; exit 1; }}"));
        fs::write(root.home("etc/ossec.conf"), CONF).unwrap();
        fs::set_permissions(root.home("etc/ossec.conf"), fs::Permissions::from_mode(0o660)).unwrap();
        root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.path("var/ossec").join(name)
    }

    pub fn program(&self, name: &str, script: &str) {
        let path = self.home("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nenv >> \"$0.environment\"\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o750)).unwrap();
    }

    pub fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Ended {
        let mut command = program();
        command.args(args).arg("--root").arg(self.folder.path()).envs(environment.iter().copied());
        finish(command, b"")
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        self.run_with(args, &[])
    }

    pub fn conf(&self) -> String {
        fs::read_to_string(self.home("etc/ossec.conf")).unwrap()
    }

    pub fn restarts(&self) -> usize {
        fs::read_to_string(self.home("bin/wazuh-control.restarts")).map_or(0, |text| text.lines().count())
    }

    pub fn tree(&self) -> Tree {
        fn add(folder: &Path, tree: &mut Tree) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if path.to_str().unwrap().ends_with(".restarts") || path.to_str().unwrap().ends_with(".environment") {
                    continue;
                }
                let text = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                tree.insert(path.clone(), (metadata.mode(), text));
                if metadata.is_dir() {
                    add(&path, tree);
                }
            }
        }
        let mut tree = Tree::new();
        add(self.folder.path(), &mut tree);
        tree
    }
}

#[test]
fn what_was_installed_comes_out_of_a_wazuh_of_any_version() {
    let root = Root::manager();
    let before = root.tree();
    root.run(&["install"]).expect(0);
    let control = fs::read_to_string(root.home("bin/wazuh-control")).unwrap();
    for version in ["v5.0.0", ""] {
        fs::write(root.home("bin/wazuh-control"), control.replace("v4.14.9", version)).unwrap();
        root.run(&["install"]).expect(0);
        assert!(root.conf().contains("BEGIN wazuh-akamai"));
    }
    root.run(&["uninstall"]).expect(0);
    fs::write(root.home("bin/wazuh-control"), control).unwrap();
    let after = root.tree();
    assert!(after.keys().eq(before.keys()) && root.conf() == CONF, "{:?}", after.keys());
}

#[test]
fn beside_a_manager_of_wazuh_5_it_says_what_works_today() {
    let root = Root::manager();
    fs::remove_dir_all(root.home("")).unwrap();
    fs::create_dir_all(root.path("var/wazuh-manager/etc")).unwrap();
    let before = root.tree();
    let said = root.run(&["install"]).expect(0);
    let said = format!("{}{}", said.text(), said.stderr);
    let line = "var/wazuh-manager is a manager of 5.0 or later: Wazuh 5 is not supported yet; what works today is a 4.14 agent";
    assert!(said.contains(line), "{said}");
    assert_eq!(root.tree(), before);
}

#[test]
fn installing_is_one_command_and_uninstalling_leaves_no_trace() {
    let root = Root::manager();
    let before = root.tree();
    let shown = root.run(&["install", "--dry-run"]).expect(0).text();
    assert!(shown.contains("+<!-- BEGIN wazuh-akamai -->") && shown.contains("+    <tag>akamai_siem</tag>"), "{shown}");
    assert_eq!(root.tree(), before);

    root.run(&["install"]).expect(0);
    assert!(root.conf().starts_with(CONF) && root.conf().contains("/var/ossec/wodles/akamai/wazuh-akamai collect"));
    let mode = |name: &str| fs::metadata(root.home(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("wodles/akamai"), mode("wodles/akamai/wazuh-akamai")), (0o750, 0o750));
    assert_eq!((mode("etc/rules/akamai.xml"), mode("etc/ossec.conf")), (0o660, 0o660));
    let binary = fs::read(root.home("wodles/akamai/wazuh-akamai")).unwrap();
    assert_eq!(binary, fs::read(env!("CARGO_BIN_EXE_wazuh-akamai")).unwrap());
    assert_eq!(root.restarts(), 1);
    assert_eq!(fs::read_to_string(root.home("bin/wazuh-control.restarts")).unwrap().trim(), "0022");

    let installed = root.tree();
    assert!(root.run(&["install"]).expect(0).text().contains("nothing to do"));
    assert_eq!((root.tree(), root.restarts()), (installed, 1));
    root.run(&["uninstall"]).expect(0);
    assert_eq!(root.tree(), before);
    assert_eq!(root.restarts(), 2);
    assert!(root.run(&["uninstall"]).expect(0).text().contains("nothing to do"));
}

#[test]
fn what_wazuh_refuses_is_put_back() {
    let root = Root::manager();
    fs::write(root.home("etc/refuse-rules"), "").unwrap();
    let before = root.tree();
    root.run(&["install"]).fails(6, "everything was put back. wazuh-analysisd says: ERROR: rules");
    assert_eq!((root.tree(), root.restarts()), (before, 0));

    let root = Root::manager();
    fs::write(root.home("etc/ossec.conf"), CONF.replace("global", "unknown")).unwrap();
    let before = root.tree();
    root.run(&["install"]).fails(6, "rejects its current configuration");
    assert_eq!(root.tree(), before);
}

#[test]
fn what_is_not_safely_edited_is_left_alone_with_line_and_reason() {
    for (text, says) in [
        (format!("{CONF}<!-- BEGIN wazuh-akamai -->\n"), "line 13: our END marker is missing"),
        (format!("{CONF}<!-- x"), "line 13: this comment is not closed"),
        (format!("{CONF}<ossec_config>"), "line 13: <ossec_config> is not closed"),
    ] {
        let root = Root::manager();
        fs::write(root.home("etc/ossec.conf"), text).unwrap();
        let before = root.tree();
        for command in ["install", "uninstall"] {
            root.run(&[command]).fails(6, says);
        }
        assert_eq!(root.tree(), before);
    }
    let root = Root::manager();
    fs::rename(root.home("etc/ossec.conf"), root.path("elsewhere")).unwrap();
    symlink(root.path("elsewhere"), root.home("etc/ossec.conf")).unwrap();
    root.run(&["install"]).fails(6, "not a regular file inside the Wazuh home");
    let root = Root::manager();
    fs::create_dir(root.home("wodles/akamai")).unwrap();
    symlink("/etc/passwd", root.home("wodles/akamai/wazuh-akamai")).unwrap();
    root.run(&["install"]).fails(6, "not a regular file inside the Wazuh home");
}

#[test]
fn where_there_is_nothing_to_install_into_nothing_changes_and_it_is_no_failure() {
    let empty = Root { folder: tempfile::tempdir().unwrap() };
    empty.run(&["install"]).fails(0, "there is no Wazuh in");
    for (version, says) in [("v5.0.0", "Wazuh 5 is not supported yet"), ("v4.2.7", "works with 4.3 to 4.x")] {
        let root = Root::of("server", version);
        let before = root.tree();
        let ended = root.run(&["install"]);
        assert!(ended.stderr.contains("nothing was changed"), "{}", ended.stderr);
        ended.fails(0, says);
        assert_eq!(root.tree(), before);
    }
    let root = Root::manager();
    let before = root.tree();
    root.run_with(&["install"], &[("WAZUH_AKAMAI_NO_INSTALL", "1")]).fails(0, "nothing was changed");
    assert_eq!(root.tree(), before);
    root.run_with(&["install"], &[("WAZUH_AKAMAI_NO_RESTART", "1")]).expect(0);
    assert_eq!(root.restarts(), 0);
}

#[test]
fn agents_and_workers_get_no_rules() {
    let agent = Root::of("agent", "v4.14.9");
    assert!(agent.run(&["install"]).expect(0).text().contains("no rules: this is an agent"));
    let worker = Root::manager();
    let cluster =
        "<ossec_config><cluster><node_type>worker</node_type><disabled>no</disabled></cluster></ossec_config>\n";
    fs::write(worker.home("etc/ossec.conf"), format!("{CONF}{cluster}")).unwrap();
    assert!(worker.run(&["install"]).expect(0).text().contains("no rules: this is a cluster worker"));
    for root in [agent, worker] {
        assert!(root.conf().contains("BEGIN wazuh-akamai") && !root.home("etc/rules/akamai.xml").exists());
    }
}

#[test]
fn the_original_integration_is_taken_over_and_given_back() {
    for rules in ["akamai.xml", "akamai_rules.xml"] {
        let root = Root::manager();
        fs::write(root.home("etc/ossec.conf"), format!("{ORIGINAL_WODLE}{CONF}")).unwrap();
        let original_rules = root.home("etc/rules").join(rules);
        fs::write(&original_rules, ORIGINAL_RULES).unwrap();
        fs::set_permissions(&original_rules, fs::Permissions::from_mode(0o640)).unwrap();
        fs::create_dir_all(root.path("opt/akamai")).unwrap();
        let credentials = "[default]\nhost = akab-h.luna.akamaiapis.net\nconfig_id = 1\nclient_token = akab-t\nclient_secret = geheim=\naccess_token = akab-a\n";
        fs::write(root.path("opt/akamai/akamai_config.ini"), credentials).unwrap();
        let before = root.tree();
        let shown = root.run(&["install"]).expect(0).text();
        assert!(shown.contains("-no") && shown.contains("+yes") && !shown.contains("geheim"), "{shown}");
        assert!(root.conf().starts_with(&ORIGINAL_WODLE.replace(">no<", ">yes<")));
        let config = root.path("etc/wazuh-akamai/akamai_config.ini");
        assert_eq!(fs::read_to_string(&config).unwrap(), credentials);
        assert_eq!(fs::metadata(&config).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(root.home("etc/rules/akamai.xml")).unwrap().contains("100191"));
        assert!(root.run(&["install"]).expect(0).text().contains("nothing to do"));
        let said = root.run(&["uninstall"]).expect(0).text();
        assert!(said.contains("are removed") && said.contains("\nstate and log are left where they are\n"), "{said}");
        assert_eq!(root.tree(), before, "{rules}");
    }
}

#[test]
fn ids_of_others_and_edited_rules_are_respected() {
    let root = Root::manager();
    let pasted = format!(
        "<group name=\"local,\">\n  <rule id=\"100010\" level=\"3\"><description>x</description></rule>\n</group>\n{ORIGINAL_RULES}"
    );
    fs::write(root.home("etc/rules/local_rules.xml"), &pasted).unwrap();
    let shown = root.run(&["install"]).expect(0).text();
    assert!(shown.contains("local_rules.xml:5-8: rule 100100"), "{shown}");
    assert!(!root.home("etc/rules/akamai.xml").exists() && root.conf().contains("BEGIN wazuh-akamai"));

    let root = Root::manager();
    root.run(&["install"]).expect(0);
    let rules = root.home("etc/rules/akamai.xml");
    let edited = fs::read_to_string(&rules).unwrap().replace("level=\"3\"", "level=\"4\"");
    fs::write(&rules, &edited).unwrap();
    assert!(root.run(&["install"]).expect(0).text().contains("has been edited and is kept"));
    assert_eq!(fs::read_to_string(&rules).unwrap(), edited);
    assert!(root.home("wodles/akamai/akamai.xml.new").exists());
    root.run(&["uninstall"]).expect(0);
    assert_eq!(fs::read_to_string(&rules).unwrap(), edited);
    assert!(!root.home("wodles/akamai").exists());
}

#[test]
fn an_edited_block_is_kept() {
    let root = Root::manager();
    root.run(&["install"]).expect(0);
    let edited = root.conf().replace("<interval>5m", "<interval>2m");
    fs::write(root.home("etc/ossec.conf"), &edited).unwrap();
    assert!(root.run(&["install"]).expect(0).text().contains("has been edited and is kept"));
    assert_eq!(root.conf(), edited);
    // What somebody put there is not lost without a word.
    let kept = root.home("etc/ossec.conf.edited-wazuh-akamai");
    assert!(root.run(&["uninstall"]).expect(0).text().contains(&format!("it is kept in {}", kept.display())));
    assert_eq!(root.conf(), CONF);
    assert_eq!(format!("{CONF}{}\n", fs::read_to_string(kept).unwrap()), edited);
}

#[test]
fn a_block_without_its_markers_is_ours_all_the_same() {
    let root = Root::manager();
    let before = root.tree();
    root.run(&["install"]).expect(0);
    let whole = root.conf();
    let bare: String = whole
        .lines()
        .filter(|line| !line.contains("wazuh-akamai -->") && !line.contains("Do not edit"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(root.home("etc/ossec.conf"), &bare).unwrap();
    root.run(&["install"]).expect(0);
    assert_eq!(root.conf().replace("<!-- Wazuh -->\n", ""), whole.replace("<!-- Wazuh -->\n", ""));
    fs::write(root.home("etc/ossec.conf"), &bare).unwrap();
    root.run(&["uninstall"]).expect(0);
    assert_eq!(root.tree(), before);
}

#[test]
fn a_configuration_that_does_not_say_which_wazuh_leaves_every_one_alone() {
    let root = Root::manager();
    let config = root.path("etc/wazuh-akamai/akamai_config.ini");
    for (text, mode, says) in [
        ("[default]\nwazuh_home = /opt/wz\n", 0o644, "chmod"),
        ("[default]\n; \u{fc}\nwazuh_home = \"/opt/wz\"\n", 0o600, "quotes"),
        ("[default]\nwazuh_home = opt/wz\n", 0o600, "absolute"),
        ("[default]\nwazuh_home /opt/wz\n", 0o600, "neither"),
    ] {
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        let before = root.tree();
        root.run(&["install"]).fails(3, says);
        assert_eq!(root.tree(), before);
    }
    // What was installed before is taken out all the same.
    fs::remove_file(&config).unwrap();
    let before = root.tree();
    root.run(&["install"]).expect(0);
    fs::write(&config, "[default]\n").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    root.run(&["uninstall"]).expect(0);
    fs::remove_file(&config).unwrap();
    assert_eq!(root.tree(), before);
    // What is wrong elsewhere keeps nothing from being taken out.
    fs::write(&config, "[default]\nlimit = x\nnosuch = 1\n").unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    root.run(&["install"]).expect(0);
    root.run(&["uninstall"]).expect(0);
}

#[test]
fn a_pipe_in_the_place_of_ossec_conf_makes_nobody_wait() {
    let root = Root::manager();
    fs::remove_file(root.home("etc/ossec.conf")).unwrap();
    let (here, mode) = (rustix::fs::CWD, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mkfifoat(here, root.home("etc/ossec.conf"), mode).unwrap();
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_wazuh-akamai"), "install", "--root"]).arg(root.path(""));
    finish(command, b"").fails(6, "not a regular file inside the Wazuh home");
}

#[test]
fn a_leftover_active_response_is_warned_of() {
    let root = Root::manager();
    let response =
        "<ossec_config>\n<active-response>\n<rules_id>100100</rules_id>\n</active-response>\n</ossec_config>\n";
    fs::write(root.home("etc/ossec.conf"), format!("{CONF}{response}")).unwrap();
    let shown = root.run(&["install"]).expect(0).text();
    assert!(shown.contains("WARNING") && shown.contains("ossec.conf:14"), "{shown}");
}

#[test]
fn quietly_it_says_in_one_line_what_was_done_and_what_is_left_to_do() {
    let root = Root::manager();
    let line = |args: &[&str], environment: &[(&str, &str)]| root.run_with(args, environment).expect(0).text();
    let shown = line(&["--quiet", "install"], &[("WAZUH_AKAMAI_NO_RESTART", "1")]);
    assert!(shown.starts_with("wazuh-akamai: set up in Wazuh v4.14.9 manager in "), "{shown}");
    let left = "left to do: wazuh-akamai configure, then wazuh-control restart, then wazuh-akamai check\n";
    assert!(shown.ends_with(left) && shown.lines().count() == 1, "{shown}");
    // No file is named that is not there.
    assert!(root.run(&["install"]).expect(0).text().contains("run wazuh-akamai configure, which makes "));
    let config = root.path("etc/wazuh-akamai/akamai_config.ini");
    fs::write(&config, wazuh_akamai::config::TEMPLATE).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let left =
        format!("left to do: fill in {} or run wazuh-akamai configure, then wazuh-akamai check\n", config.display());
    assert!(line(&["-q", "install"], &[]).ends_with(&left));
    fs::write(root.home("etc/rules/akamai.xml"), "<!-- mine -->").unwrap();
    assert!(line(&["-q", "install"], &[]).contains("set up, but with problems"));
    assert!(line(&["-q", "uninstall"], &[]).starts_with("wazuh-akamai: removed from Wazuh v4.14.9"));
    fs::write(root.home("etc/ossec.conf"), "<ossec_config>").unwrap();
    let refused = root.run(&["-q", "install"]).expect(6);
    assert_eq!(
        refused.text(),
        "wazuh-akamai: the Wazuh side is not set up; when that is fixed, run: wazuh-akamai install\n"
    );
    assert!(refused.stderr.contains("line 1"), "{}", refused.stderr);
}

#[test]
fn what_is_left_where_wazuh_was_removed_first_goes_too() {
    let root = Root::manager();
    // As its package leaves it: no programs, no rules, the configuration under another name.
    let remove_wazuh = || {
        fs::remove_dir_all(root.home("bin")).unwrap();
        fs::rename(root.home("etc/ossec.conf"), root.home("etc/ossec.conf.save")).unwrap();
    };
    fs::write(root.home("wodles/other"), "").unwrap();
    let with_ours = {
        root.run(&["install"]).expect(0);
        root.conf()
    };
    remove_wazuh();
    fs::rename(root.home("etc/rules/akamai.xml"), root.home("etc/rules/akamai.xml.save")).unwrap();
    fs::write(root.home("etc/rules/local_rules.xml.save"), "mine").unwrap();
    root.run(&["uninstall", "--dry-run"]).fails(0, "there is no Wazuh");
    assert!(root.home("wodles/akamai").exists());
    root.run(&["uninstall"]).fails(0, "our leftovers there are removed");
    assert!(with_ours.contains("BEGIN"));
    assert_eq!(fs::read_to_string(root.home("etc/ossec.conf.save")).unwrap(), CONF);
    let left = |folder: &str| {
        let names = fs::read_dir(root.home(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((left("wodles"), left("etc/rules")), (vec!["other".into()], vec!["local_rules.xml.save".into()]));
    assert!(!root.run(&["uninstall"]).expect(0).stderr.contains("ours"));
}
