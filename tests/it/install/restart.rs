//! What Wazuh's programs are started with, when it is restarted, and what is owed to it.

use std::fs;
use std::process::Command;

use super::{CONF, ORIGINAL_RULES, Root};
use crate::program::{finish, program};

#[test]
fn no_variable_of_ours_gets_into_wazuhs_programs() {
    let root = Root::manager();
    let secrets = [
        ("AKAMAI_CLIENT_SECRET", "geheim"),
        ("WAZUH_REGISTRATION_PASSWORD", "geheim"),
        ("HTTPS_PROXY", "http://u:geheim@p"),
    ];
    root.run_with(&["install"], &secrets).expect(0);
    root.run_with(&["uninstall"], &secrets).expect(0);
    assert_eq!(root.restarts(), 2);
    for program in ["wazuh-control", "wazuh-modulesd", "wazuh-analysisd"] {
        let environment = fs::read_to_string(root.home("bin").join(format!("{program}.environment"))).unwrap();
        for line in environment.lines() {
            // The last four are the shell's own.
            let known = ["PATH=/usr/local/sbin:", "LANG=C", "PWD=", "OLDPWD=", "SHLVL=", "_="];
            assert!(known.iter().any(|known| line.starts_with(known)), "{program}: {line}");
        }
    }
}

#[test]
fn a_variable_says_yes_unless_it_says_no() {
    for (value, restarts) in [("true", 0), ("yes", 0), ("1", 0), ("2", 0), ("", 1), ("0", 1), ("no", 1), ("False", 1)] {
        let root = Root::manager();
        root.run_with(&["install"], &[("WAZUH_AKAMAI_NO_RESTART", value)]).expect(0);
        assert_eq!(root.restarts(), restarts, "{value:?}");
        let root = Root::manager();
        root.run_with(&["install"], &[("WAZUH_AKAMAI_NO_INSTALL", value)]).expect(0);
        assert_eq!(root.conf() == CONF, restarts == 0, "{value:?}");
    }
}

#[test]
fn a_restart_that_is_owed_is_remembered() {
    let root = Root::manager();
    fs::create_dir_all(root.home("var/run")).unwrap();
    let life = |pid: u32| {
        let _ = fs::remove_dir_all(root.home("var/run"));
        fs::create_dir(root.home("var/run")).unwrap();
        fs::write(root.home(&format!("var/run/wazuh-modulesd-{pid}.pid")), pid.to_string()).unwrap();
    };
    life(1);
    let later = [("WAZUH_AKAMAI_NO_RESTART", "1")];
    assert!(root.run_with(&["install"], &later).expect(0).text().contains("Wazuh has not loaded this yet"));
    root.run_with(&["install"], &later).expect(0);
    assert_eq!(root.restarts(), 0);
    let check = || {
        let mut command = program();
        let config = root.path("etc/wazuh-akamai/akamai_config.ini");
        fs::write(&config, format!("[default]\nwazuh_home = {}\n", root.home("").display())).unwrap();
        Command::new("chmod").arg("600").arg(&config).status().unwrap();
        command.arg("--config").arg(&config).args(["check", "--offline"]);
        let ended = finish(command, b"");
        fs::remove_file(config).unwrap();
        ended.text()
    };
    assert!(check().contains("fix: restart Wazuh"), "{}", check());
    root.run(&["install"]).expect(0);
    assert_eq!(root.restarts(), 1);
    assert!(!check().contains("fix: restart Wazuh"), "{}", check());
    assert!(root.run(&["install"]).expect(0).text().contains("nothing to do"));

    // Whoever else restarts it has done it.
    root.run_with(&["uninstall"], &later).expect(0);
    root.run_with(&["install"], &later).expect(0);
    life(2);
    assert!(!check().contains("fix: restart Wazuh"), "{}", check());
    root.run(&["install"]).expect(0);
    assert_eq!(root.restarts(), 1);
}

#[test]
fn a_restart_that_fails_says_what_failed_and_is_tried_again() {
    let root = Root::manager();
    let control = fs::read_to_string(root.home("bin/wazuh-control")).unwrap();
    fs::write(root.home("bin/wazuh-control"), control.replace("restart) ", "restart) exit 3; ")).unwrap();
    root.run(&["install"]).fails(1, "wazuh-control restart says: nothing, and it ended with exit status: 3");
    fs::write(root.home("bin/wazuh-control"), control).unwrap();
    root.run(&["install"]).expect(0);
    assert_eq!(root.restarts(), 1);
}

#[test]
fn after_uninstall_nobody_is_told_to_install_again() {
    let root = Root::manager();
    root.run(&["install"]).expect(0);
    let control = fs::read_to_string(root.home("bin/wazuh-control")).unwrap();
    fs::write(root.home("bin/wazuh-control"), control.replace("restart) ", "restart) exit 3; ")).unwrap();
    let ended = root.run(&["--quiet", "uninstall"]).expect(1);
    let said = ended.text() + &ended.stderr;
    assert!(said.contains("when that is fixed, run: wazuh-control restart"), "{said}");
    assert!(!said.contains("wazuh-akamai install") && !said.contains("wazuh-akamai uninstall"), "{said}");
    fs::write(root.home("bin/wazuh-control"), control).unwrap();
    root.run(&["install"]).expect(0);
    let said = root.run_with(&["uninstall"], &[("WAZUH_AKAMAI_NO_RESTART", "1")]).expect(0).text();
    assert!(said.contains("restart it (wazuh-control restart)") && !said.contains("wazuh-akamai install"), "{said}");
}

#[test]
fn one_install_or_uninstall_at_a_time() {
    let root = Root::manager();
    for program in ["wazuh-modulesd", "wazuh-analysisd"] {
        root.program(program, "sleep 0.1");
    }
    let start = |command: &str| {
        let mut child = program();
        child.args([command, "--root"]).arg(root.path(""));
        std::thread::spawn(move || finish(child, b""))
    };
    for _ in 0..3 {
        let at_once = ["install", "install", "uninstall", "install"].map(start);
        for running in at_once {
            running.join().unwrap().expect(0);
        }
        let is_in = root.conf().contains("BEGIN wazuh-akamai");
        for name in ["etc/rules/akamai.xml", "wodles/akamai/wazuh-akamai", "wodles/akamai/installed.json"] {
            assert_eq!(root.home(name).exists(), is_in, "{name}");
        }
        root.run(&["uninstall"]).expect(0);
        assert_eq!(root.conf(), CONF);
    }
}

#[test]
fn rules_that_could_not_be_installed_are_told_of_in_wazuh() {
    let root = Root::manager();
    fs::write(root.home("etc/rules/local_rules.xml"), format!("<group name=\"x,\"></group>\n{ORIGINAL_RULES}"))
        .unwrap();
    root.run(&["install"]).expect(0);
    let site = crate::check::site(&root);
    let config = fs::read_to_string(site.place.config()).unwrap();
    let told = |lines: &str| lines.matches("\"config_error\"").count();
    let first = site.collect().expect(0).text();
    assert!(told(&first) == 1 && first.contains("local_rules.xml:3-6: rule 100100"), "{first}");
    assert_eq!(told(&site.collect().expect(0).text()), 0);
    fs::remove_file(root.home("etc/rules/local_rules.xml")).unwrap();
    root.run(&["install"]).expect(0);
    let last = site.collect().expect(0).text();
    assert!(last.contains("\"recovered\"") && told(&last) == 1, "{last}");
    assert_eq!(fs::read_to_string(site.place.config()).unwrap(), config);
}
