//! HTTPS to a loopback Akamai: certificates that are not trusted and why, `ca_file`, the system's store, and proxies. Each
//! with what a user is told.

mod server;

use std::fs;
use std::path::PathBuf;

use self::server::{Authority, Proxy, akamai};
use crate::loopback::Akamai;
use crate::program::{Ended, Place, finish, program};

/// A loopback Akamai behind TLS, a configuration for it, and the authority that its certificate is from.
struct Site {
    _akamai: Akamai,
    place: Place,
}

impl Site {
    fn new(name: &str, is_expired: bool) -> Self {
        let authority = Authority::new();
        let akamai = akamai(&authority, name, is_expired);
        let place = Place::new(&akamai.config());
        let folder = place.folder.path().display().to_string();
        let own = format!("state_dir = {folder}/state\nlog_file = {folder}/log\nwazuh_home = {folder}/ossec\n");
        fs::write(place.config(), akamai.config() + &own).unwrap();
        authority.write(&place.folder.path().join("ca.pem"));
        fs::write(place.folder.path().join("empty.pem"), "").unwrap();
        Self { _akamai: akamai, place }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.folder.path().join(name)
    }

    fn set(&self, lines: &str) {
        let config = fs::read_to_string(self.place.config()).unwrap();
        fs::write(self.place.config(), config + lines + "\n").unwrap();
    }

    fn trust(&self) {
        self.set(&format!("ca_file = {}", self.file("ca.pem").display()));
    }

    /// On a machine whose store of certificates is this file.
    fn run(&self, store: &str, args: &[&str]) -> Ended {
        let mut command = program();
        command.env("SSL_CERT_FILE", self.file(store)).env("SSL_CERT_DIR", self.file("none"));
        command.arg("--config").arg(self.place.config()).args(args);
        finish(command, b"")
    }

    /// What `check` says.
    fn finds(&self, store: &str, seen: &str, fix: &str) {
        let text = self.run(store, &["check"]).expect(1).text();
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.ends_with(seen)).unwrap_or_else(|| panic!("{text}"));
        assert!(lines[at + 1].contains(&format!("fix: {fix}")), "{text}");
    }
}

#[test]
fn a_certificate_that_is_trusted_is_taken() {
    let site = Site::new("localhost", false);
    site.run("ca.pem", &["fetch"]).expect(0);
    let site = Site::new("localhost", false);
    site.trust();
    site.run("empty.pem", &["fetch"]).expect(0);
}

#[test]
fn a_certificate_that_is_not_trusted_says_why_and_what_to_do() {
    let site = Site::new("localhost", false);
    Authority::new().write(&site.file("other.pem"));
    let unknown = "its certificate is of an authority that is not trusted (UnknownIssuer); install or update the package ca-certificates; where TLS is inspected on the way, name the CA of that in ca_file";
    let none = "this machine has no CA certificates to check its certificate against; install the package ca-certificates, or set ca_file";
    for (store, says) in [("other.pem", unknown), ("empty.pem", none)] {
        site.run(store, &["fetch"]).fails(5, says);
        let (seen, fix) = says.split_once("; ").unwrap();
        site.finds(store, seen, fix);
    }
    // The same where ca_file names another authority, whatever the system trusts.
    site.set(&format!("ca_file = {}", site.file("other.pem").display()));
    site.run("ca.pem", &["fetch"]).fails(5, unknown);
    for (name, is_expired, says) in [
        ("localhost", true, "its certificate has expired; check this machine's clock"),
        ("other.example", false, "its certificate is of another host; check host for a typing error"),
    ] {
        let site = Site::new(name, is_expired);
        site.trust();
        site.run("empty.pem", &["fetch"]).fails(5, says);
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_an_error_of_the_configuration() {
    let site = Site::new("localhost", false);
    site.set(&format!("ca_file = {}", site.file("none").display()));
    site.run("ca.pem", &["fetch"]).fails(3, "cannot read ca_file");
    fs::write(site.file("none"), "no certificate").unwrap();
    site.run("ca.pem", &["fetch"]).fails(3, "ca_file holds no certificate in PEM form");
}

#[test]
fn the_way_may_lead_through_a_proxy() {
    for (wanted, user) in [(None, ""), (Some("Basic dTpwQHNz"), "u:p%40ss@")] {
        let site = Site::new("localhost", false);
        site.trust();
        let proxy = Proxy::start(wanted);
        site.set(&format!("proxy = http://{user}{}", proxy.address));
        site.run("empty.pem", &["fetch"]).expect(0);
        let asked = proxy.asked();
        assert!(asked.len() == 1 && asked[0].starts_with("CONNECT localhost:"), "{asked:?}");
    }
}

#[test]
fn a_proxy_that_refuses_says_so_and_no_password_is_shown() {
    for user in ["", "u:geheim@"] {
        let site = Site::new("localhost", false);
        site.trust();
        let proxy = Proxy::start(Some("Basic dTpwQHNz"));
        site.set(&format!("proxy = http://{user}{}", proxy.address));
        let seen = "the proxy does not take this user and password, or wants one (407)";
        let ended = site.run("empty.pem", &["-vv", "fetch"]);
        assert!(!ended.stderr.contains("geheim"), "{}", ended.stderr);
        ended.fails(5, &format!("{seen}; set proxy = http://user:password@host:port"));
        site.finds("empty.pem", seen, "set proxy = ");
    }
    // One that is not there.
    let site = Site::new("localhost", false);
    site.trust();
    site.set("proxy = http://127.0.0.1:1");
    site.run("empty.pem", &["fetch"]).fails(5, "cannot reach localhost");
}
