//! `configure`: credentials from everywhere they may come from, tried before they are saved, never shown.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::loopback::{Akamai, Fault, Settings};
use crate::program::{Ended, Place, finish, program};

const SECRET: &str = "bG9vcGJhY2sgc2VjcmV0=";

fn configure(place: &Place, args: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = program();
    command.arg("--config").arg(place.config()).arg("configure").args(args).envs(environment.iter().copied());
    let ended = finish(command, b"");
    assert!(!ended.stderr.contains(SECRET) && !ended.text().contains(SECRET), "{}", ended.stderr);
    ended
}

fn environment(akamai: &Akamai) -> Vec<(&'static str, String)> {
    vec![
        ("AKAMAI_HOST", akamai.url()),
        ("AKAMAI_CONFIG_ID", "14227".into()),
        ("AKAMAI_CLIENT_TOKEN", "akab-client-token".into()),
        ("AKAMAI_CLIENT_SECRET", SECRET.into()),
        ("AKAMAI_ACCESS_TOKEN", "akab-access-token".into()),
    ]
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn credentials_are_tried_and_saved_and_the_rest_of_the_file_stays() {
    let akamai = Akamai::start(Settings::default());
    let place = Place::new("; mine\n[default]\nhost = akab-xxxx.luna.akamaiapis.net\nlimit = 5000\n");
    let given = environment(&akamai);
    configure(&place, &[], &borrowed(&given)).fails(0, "Akamai accepts the credentials");
    let text = fs::read_to_string(place.config()).unwrap();
    assert!(
        text.starts_with("; mine\n[default]\nhost = http://127.0.0.1:") && text.ends_with("limit = 5000\n"),
        "{text}"
    );
    assert_eq!(fs::metadata(place.config()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(akamai.seen().len(), 1);
    place.run(&["fetch"]).expect(0);
    // What is filled in already is not asked for again; a flag changes one value.
    akamai.set_config_ids("14227;7");
    configure(&place, &["--config-id", "14227;7"], &[]).expect(0);
    assert!(fs::read_to_string(place.config()).unwrap().contains("config_id = 14227;7\n"));
    // A file that is not there begins with the template.
    fs::remove_file(place.config()).unwrap();
    let mut given = environment(&akamai);
    given[1].1 = "14227;7".into();
    configure(&place, &[], &borrowed(&given)).expect(0);
    assert!(fs::read_to_string(place.config()).unwrap().contains(";redact_headers"));
}

#[test]
fn another_source_needs_only_what_default_lacks() {
    let akamai = Akamai::start(Settings::default());
    let place = Place::new("[default]\n");
    configure(&place, &[], &borrowed(&environment(&akamai))).expect(0);
    akamai.set_config_ids("7");
    configure(&place, &["--source", "shop", "--config-id", "7"], &[]).expect(0);
    let text = fs::read_to_string(place.config()).unwrap();
    assert!(text.ends_with("\n\n[shop]\nconfig_id = 7\n"), "{text}");
    place.run(&["fetch", "--source", "shop"]).expect(0);
    // What [default] has not filled in either is still asked for.
    let place = Place::new("[default]\nhost = akab-xxxx.luna.akamaiapis.net\n");
    configure(&place, &["--source", "shop", "--config-id", "7"], &[]).fails(2, "host is missing");
}

#[test]
fn a_configuration_named_without_a_folder_is_saved_in_this_one() {
    let akamai = Akamai::start(Settings::default());
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command.current_dir(folder.path()).args(["--config", "a.ini", "configure"]).envs(environment(&akamai));
    finish(command, b"").fails(0, "saved in a.ini");
    assert!(fs::read_to_string(folder.path().join("a.ini")).unwrap().contains(&akamai.url()));
}

#[test]
fn what_akamai_refuses_is_not_saved() {
    let akamai = Akamai::start(Settings::default());
    let place = Place::new("[default]\n");
    let before = fs::read_to_string(place.config()).unwrap();
    let mut given = environment(&akamai);
    given[2].1 = "akab-other-token".into();
    configure(&place, &[], &borrowed(&given)).fails(4, "nothing was saved");
    akamai.fail([Fault::Status(503, None)]);
    configure(&place, &[], &borrowed(&environment(&akamai))).fails(5, "nothing was saved");
    assert_eq!(fs::read_to_string(place.config()).unwrap(), before);
    configure(&place, &["--no-test"], &borrowed(&given)).expect(0);
    assert_ne!(fs::read_to_string(place.config()).unwrap(), before);
}

#[test]
fn unattended_it_fills_in_what_is_open_and_asks_nobody() {
    let place = Place::new("");
    fs::remove_file(place.config()).unwrap();
    let text = || fs::read_to_string(place.config()).unwrap();
    // The template, then a value, then the others; nobody is asked.
    configure(&place, &["--unattended"], &[]).expect(0);
    assert_eq!(text(), include_str!("../../etc/akamai_config.ini"));
    assert_eq!(fs::metadata(place.config()).unwrap().permissions().mode() & 0o777, 0o600);
    let akamai = Akamai::start(Settings::default());
    let given = environment(&akamai);
    configure(&place, &["--unattended"], &borrowed(&given[..1])).expect(0);
    assert!(text().contains(&akamai.url()) && text().contains("YOUR_CLIENT_SECRET"));
    configure(&place, &["--unattended"], &borrowed(&given[1..])).expect(0);
    assert!(akamai.seen().is_empty());
    place.run(&["fetch"]).expect(0);
    // What is filled in stays; so does what is not understood.
    let filled = text();
    configure(&place, &["--unattended"], &[("AKAMAI_CONFIG_ID", "9")]).expect(0);
    assert_eq!(text(), filled);
    fs::write(place.config(), "[default]\nconfig_id = x\n").unwrap();
    configure(&place, &["--unattended"], &borrowed(&given)).fails(3, "AKAMAI_CONFIG_ID is not used");
    assert_eq!(text(), "[default]\nconfig_id = x\n");
    // A bad value is told of and nothing of it is saved.
    fs::remove_file(place.config()).unwrap();
    configure(&place, &["--unattended"], &[("AKAMAI_CONFIG_ID", "x")]).fails(3, "were not saved");
    assert_eq!(text(), include_str!("../../etc/akamai_config.ini"));
    configure(&place, &["--unattended", "--host", "h"], &[]).fails(2, "cannot be used with");
    // Keys that are not there at all are open as well; what cannot be used is said.
    fs::write(place.config(), "[default]\nhost = a.luna.akamaiapis.net\n").unwrap();
    configure(&place, &["--unattended"], &borrowed(&given)).fails(0, "AKAMAI_HOST is not used");
    assert!(
        text().contains("host = a.luna.akamaiapis.net") && text().contains("client_secret = bG9vcGJhY2sgc2VjcmV0=")
    );
    fs::write(place.config(), "[shop]\nhost = a.luna.akamaiapis.net\n").unwrap();
    configure(&place, &["--unattended"], &borrowed(&given)).fails(0, "AKAMAI_CONFIG_ID is not used");
}

#[test]
fn an_edgerc_and_a_secret_in_a_file_are_taken() {
    let akamai = Akamai::start(Settings::default());
    let place = Place::new("[default]\n");
    let edgerc = place.folder.path().join("edgerc");
    fs::write(&edgerc, format!("[siem]\nhost = {}\nclient_token = akab-client-token\nclient_secret = {SECRET}\naccess_token = akab-access-token\n", akamai.url())).unwrap();
    fs::set_permissions(&edgerc, fs::Permissions::from_mode(0o600)).unwrap();
    let path = edgerc.to_str().unwrap();
    configure(&place, &["--edgerc", path, "--section", "siem", "--config-id", "14227"], &[]).expect(0);
    assert!(!fs::read_to_string(place.config()).unwrap().contains(SECRET));
    place.run(&["fetch"]).expect(0);

    let place = Place::new("[default]\n");
    let secret = place.folder.path().join("secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let mut given = environment(&akamai);
    given.remove(3);
    configure(&place, &["--client-secret-file", secret.to_str().unwrap()], &borrowed(&given)).expect(0);
}

#[test]
fn an_edgerc_needs_nothing_of_what_the_environment_has() {
    let place = Place::new("[default]\n");
    let edgerc = place.folder.path().join("edgerc");
    fs::write(&edgerc, format!("[default]\nhost = akab-e.luna.akamaiapis.net\nclient_token = akab-e\nclient_secret = {SECRET}\naccess_token = akab-a\n")).unwrap();
    fs::set_permissions(&edgerc, fs::Permissions::from_mode(0o600)).unwrap();
    let args = ["--edgerc", edgerc.to_str().unwrap(), "--config-id", "7", "--no-test"];
    configure(&place, &args, &[("AKAMAI_HOST", "akab-o.luna.akamaiapis.net"), ("AKAMAI_CLIENT_TOKEN", "o")]).expect(0);
    assert!(!fs::read_to_string(place.config()).unwrap().contains("akab-o"));
    for flag in ["--host", "--client-token", "--client-secret-file"] {
        configure(&place, &[&args[..], &[flag, "x"]].concat(), &[]).fails(2, "cannot be used with");
    }
}

#[test]
fn a_byte_order_mark_and_another_case_make_no_second_section() {
    for head in ["[DEFAULT]", "\u{feff}[default]", "[default]"] {
        for source in ["default", "Default"] {
            let tokens = "client_token = akab-t\nclient_secret = s=\naccess_token = akab-a\n";
            let text = |id: &str| format!("{head}\nhost = a.luna.akamaiapis.net\nconfig_id = {id}\n{tokens}");
            let place = Place::new(&text("YOUR_CONFIG_ID"));
            configure(&place, &["--unattended"], &[("AKAMAI_CONFIG_ID", "7")]).expect(0);
            assert_eq!(fs::read_to_string(place.config()).unwrap(), text("7"));
            configure(&place, &["--no-test", "--source", source, "--config-id", "8"], &[]).expect(0);
            assert_eq!(fs::read_to_string(place.config()).unwrap(), text("8"));
        }
    }
}

#[test]
fn a_name_that_no_section_can_have_is_refused() {
    let place = Place::new("[default]\n");
    for name in ["", " ", "a\nb", "a\rb"] {
        configure(&place, &["--source", name, "--config-id", "7"], &[]).fails(2, "section");
    }
    assert_eq!(fs::read_to_string(place.config()).unwrap(), "[default]\n");
}

#[test]
fn a_link_to_the_configuration_stays_one() {
    let place = Place::new(wazuh_akamai::config::TEMPLATE);
    let real = place.folder.path().join("real.ini");
    fs::rename(place.config(), &real).unwrap();
    symlink("real.ini", place.config()).unwrap();
    let given = [("AKAMAI_HOST", "akab-h.luna.akamaiapis.net"), ("AKAMAI_CLIENT_TOKEN", "akab-t")];
    configure(&place, &["--unattended"], &given).expect(0);
    assert!(fs::symlink_metadata(place.config()).unwrap().is_symlink());
    assert!(fs::read_to_string(real).unwrap().contains("akab-h"));
}

#[test]
fn without_a_terminal_what_is_missing_is_named() {
    let place = Place::new("[default]\n");
    configure(&place, &["--host", "akab-h.luna.akamaiapis.net"], &[])
        .fails(2, "config_id is missing: give it as AKAMAI_CONFIG_ID");
    configure(&place, &["--client-secret", "x"], &[]).fails(2, "unexpected argument");
}

#[test]
fn an_argument_that_is_no_text_is_wrong_usage() {
    let mut command = program();
    command.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    assert!(!finish(command, b"").expect(2).stderr.contains("panic"));
}

#[test]
fn on_a_terminal_it_asks_and_does_not_echo_secrets() {
    let akamai = Akamai::start(Settings::default());
    let place = Place::new("[default]\n");
    let mut command = std::process::Command::new("script");
    let configure = format!("{} --config {} configure", env!("CARGO_BIN_EXE_wazuh-akamai"), place.config().display());
    command.args(["-q", "-e", "-c", &configure, "/dev/null"]).env("NO_PROXY", "*");
    let answers = format!("{}\n14227\nakab-client-token\n", akamai.url());
    // The secrets come when they are asked for: what is typed ahead is echoed by the terminal itself.
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut shown = String::new();
    let mut wait_for = |text: &str, shown: &mut String| {
        use std::io::Read;
        let mut buffer = [0; 512];
        while !shown.contains(text) {
            let read = output.read(&mut buffer).unwrap();
            assert!(read > 0, "{shown}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    use std::io::Write;
    input.write_all(answers.as_bytes()).unwrap();
    wait_for("client_secret (not shown)", &mut shown);
    std::thread::sleep(std::time::Duration::from_millis(300));
    input.write_all(format!("{SECRET}\n").as_bytes()).unwrap();
    wait_for("access_token (not shown)", &mut shown);
    std::thread::sleep(std::time::Duration::from_millis(300));
    input.write_all(b"akab-access-token\n").unwrap();
    wait_for("saved in", &mut shown);
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(!shown.contains(SECRET) && !shown.contains("akab-access-token"), "{shown}");
    place.run(&["fetch"]).expect(0);
}
