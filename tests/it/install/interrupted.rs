//! `install` and `uninstall` that are refused, killed, or come upon somebody else's changes: nothing of anybody is lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use super::{CONF, ORIGINAL_RULES, ORIGINAL_WODLE, Root};
use crate::program::finish;

const CREDENTIALS: &str = "[default]\nhost = akab-h.luna.akamaiapis.net\nconfig_id = 1\nclient_token = akab-t\nclient_secret = geheim=\naccess_token = akab-a\n";

/// A manager with the original integration.
fn with_original() -> Root {
    let root = Root::manager();
    fs::write(root.home("etc/ossec.conf"), format!("{ORIGINAL_WODLE}{CONF}")).unwrap();
    fs::write(root.home("etc/rules/akamai.xml"), ORIGINAL_RULES).unwrap();
    fs::create_dir_all(root.path("opt/akamai")).unwrap();
    fs::write(root.path("opt/akamai/akamai_config.ini"), CREDENTIALS).unwrap();
    root
}

/// Runs a command that dies at its `nth` call of this kind; whether it did.
fn dies(root: &Root, command: &str, call: &str, nth: usize) -> bool {
    let trace = root.path("trace");
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o"]).arg(&trace).arg("-e").arg(format!("trace={call}"));
    strace.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={nth}"));
    strace.arg(env!("CARGO_BIN_EXE_wazuh-akamai")).arg(command).arg("--root").arg(root.path(""));
    finish(strace, b"");
    let died = fs::read_to_string(&trace).unwrap().contains("killed by SIGKILL");
    fs::remove_file(trace).unwrap();
    died
}

#[test]
fn killed_at_any_step_it_is_finished_or_taken_out_by_the_next_command() {
    for (killed, call) in
        [("install", "rename"), ("install", "unlink"), ("uninstall", "rename"), ("uninstall", "unlink")]
    {
        for nth in 1.. {
            let root = with_original();
            let before = root.tree();
            if killed == "uninstall" {
                root.run(&["install"]).expect(0);
            }
            let died = dies(&root, killed, call, nth);
            root.run(&["install"]).expect(0);
            assert!(root.conf().contains("BEGIN wazuh-akamai") && root.home("wodles/akamai/wazuh-akamai").exists());
            assert!(root.run(&["install"]).expect(0).text().contains("nothing to do"), "{killed} {call} {nth}");
            root.run(&["uninstall"]).expect(0);
            let after = root.tree();
            let left: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
            let lost: Vec<_> =
                before.iter().filter(|(path, was)| after.get(*path) != Some(was)).map(|(path, _)| path).collect();
            assert!(lost.is_empty(), "{killed} {call} {nth}: {lost:?}");
            assert!(
                left.iter().all(|path| path.to_str().unwrap().contains("-wazuh-akamai")),
                "{killed} {call} {nth}: {left:?}"
            );
            if !died {
                assert!(left.is_empty(), "{left:?}");
                break;
            }
        }
    }
}

#[test]
fn what_cannot_be_written_is_told_of_once_and_nothing_is_left() {
    let mut told_of = Vec::new();
    for nth in 1.. {
        let root = Root::manager();
        let before = root.tree();
        let mut strace = Command::new("strace");
        // As where a file is immutable or its file system cannot be written to: nor can anything be put back in its place.
        strace.args(["-qq", "-o", "/dev/null", "-e"]).arg(format!("inject=rename:error=EPERM:when={nth}+"));
        strace.arg(env!("CARGO_BIN_EXE_wazuh-akamai")).args(["install", "--root"]).arg(root.path(""));
        let ended = finish(strace, b"");
        if ended.code == 0 {
            break;
        }
        let ended = ended.expect(1);
        if root.restarts() == 0 {
            assert_eq!(root.tree(), before, "{nth}");
            assert_eq!(ended.stderr.matches("cannot ").count(), 1, "{}", ended.stderr);
            assert!(!ended.stderr.contains("put back"), "{}", ended.stderr);
            told_of.push(ended.stderr);
        }
    }
    assert!(told_of.iter().any(|said| said.contains("ossec.conf.new-wazuh-akamai: Operation not permitted")));
}

#[test]
fn an_uninstall_that_wazuh_refuses_puts_everything_back() {
    let root = with_original();
    root.run(&["install"]).expect(0);
    let installed = root.tree();
    root.program(
        "wazuh-analysisd",
        "grep -q 100191 \"$(dirname \"$0\")/../etc/rules/akamai.xml\" || { echo refused >&2; exit 1; }",
    );
    let program = root.home("bin/wazuh-analysisd");
    root.run(&["uninstall"]).fails(6, "everything was put back");
    let mut after = root.tree();
    after.insert(program.clone(), installed[&program].clone());
    assert_eq!(after, installed);
}

#[test]
fn what_was_begun_and_not_taken_up_is_finished_by_the_next_install() {
    let root = Root::manager();
    root.run(&["install"]).expect(0);
    let record = root.home("wodles/akamai/installed.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("\"pending\":false", "\"pending\":true")).unwrap();
    assert_eq!(root.restarts(), 1);
    root.run(&["install"]).expect(0);
    assert_eq!(root.restarts(), 2);
    assert!(root.run(&["install"]).expect(0).text().contains("nothing to do"));
}

#[test]
fn changes_that_others_make_meanwhile_are_not_lost() {
    let root = Root::manager();
    root.program("wazuh-modulesd", "echo '<!-- from the dashboard -->' >> \"$(dirname \"$0\")/../etc/ossec.conf\"");
    root.run(&["install"]).fails(6, "was changed by someone else in the meantime");
    assert_eq!(root.conf(), format!("{CONF}<!-- from the dashboard -->\n"));
    assert!(!root.home("wodles/akamai").exists() && !root.home("etc/rules/akamai.xml").exists());
}

#[test]
fn an_admins_own_configuration_is_never_written_over() {
    for own in [
        "[default]\nedgerc = /root/.edgerc\nconfig_id = 77\n".to_owned(),
        format!("{CREDENTIALS}limit = abc\n"),
        format!("{CREDENTIALS}enabled = no\n"),
    ] {
        let root = with_original();
        let config = root.path("etc/wazuh-akamai/akamai_config.ini");
        fs::write(&config, &own).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        let before = root.tree();
        root.run(&["install"]).expect(0);
        assert_eq!(fs::read_to_string(&config).unwrap(), own);
        root.run(&["uninstall"]).expect(0);
        assert_eq!(root.tree(), before);
    }
    let root = with_original();
    let config = root.path("etc/wazuh-akamai/akamai_config.ini");
    fs::write(&config, wazuh_akamai::config::TEMPLATE).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    let before = root.tree();
    root.run(&["install"]).expect(0);
    root.run(&["uninstall"]).expect(0);
    assert_eq!(root.tree(), before);
}

#[test]
fn rules_that_were_edited_are_not_written_over_by_the_originals() {
    let root = with_original();
    root.run(&["install"]).expect(0);
    let rules = root.home("etc/rules/akamai.xml");
    let edited = fs::read_to_string(&rules).unwrap().replace("level=\"3\"", "level=\"4\"");
    fs::write(&rules, &edited).unwrap();
    let shown = root.run(&["uninstall"]).expect(0).text();
    assert!(shown.contains("has been edited and is kept") && shown.contains("original-rules.xml"), "{shown}");
    assert_eq!(fs::read_to_string(&rules).unwrap(), edited);
    assert_eq!(fs::read_to_string(root.home("wodles/akamai/original-rules.xml")).unwrap(), ORIGINAL_RULES);
}

#[test]
fn links_out_of_the_home_are_not_followed() {
    for (name, target) in [("wodles/akamai", "out"), ("etc/rules", "outrules")] {
        let root = Root::manager();
        fs::create_dir(root.path(target)).unwrap();
        let _ = fs::remove_dir(root.home(name));
        symlink(root.path(target), root.home(name)).unwrap();
        root.run(&["install"]).fails(6, "not a regular file inside the Wazuh home");
        assert_eq!(fs::read_dir(root.path(target)).unwrap().count(), 0);
    }
}

#[test]
fn an_image_can_be_moved() {
    let root = with_original();
    let before = root.tree().len();
    root.run(&["install"]).expect(0);
    let moved = tempfile::tempdir().unwrap();
    let target = moved.path().join("image");
    fs::rename(root.path(""), &target).unwrap();
    let mut command = crate::program::program();
    command.args(["uninstall", "--root"]).arg(&target);
    finish(command, b"").expect(0);
    fs::rename(&target, root.path("")).unwrap();
    assert_eq!(root.tree().len(), before);
}

#[test]
fn extended_attributes_of_the_configuration_stay() {
    let root = Root::manager();
    let conf = root.home("etc/ossec.conf");
    let note = |value: &mut [u8]| rustix::fs::getxattr(&conf, "user.note", value).ok();
    if rustix::fs::setxattr(&conf, "user.note", b"mine", rustix::fs::XattrFlags::empty()).is_err() {
        // A file system without them has none to lose.
        return;
    }
    for command in ["install", "uninstall"] {
        root.run(&[command]).expect(0);
        let mut value = [0; 8];
        assert_eq!(note(&mut value).map(|length| value[..length].to_vec()), Some(b"mine".to_vec()), "{command}");
    }
}

#[test]
fn a_wodle_that_cannot_be_taken_over_or_given_back_is_named() {
    let root = Root::manager();
    let other = ORIGINAL_WODLE.replace(">no<", ">no<!-- prod --><");
    fs::write(root.home("etc/ossec.conf"), format!("{CONF}{other}")).unwrap();
    let shown = root.run(&["install"]).expect(0).text();
    assert!(shown.contains("WARNING") && shown.contains("ossec.conf:14: another wodle"), "{shown}");

    let root = with_original();
    root.run(&["install"]).expect(0);
    let conf = root.conf().replace("/usr/bin/python3 ", "/usr/bin/python3.11 ");
    fs::write(root.home("etc/ossec.conf"), conf).unwrap();
    assert!(root.run(&["uninstall"]).expect(0).text().contains("has been changed since"));
}
